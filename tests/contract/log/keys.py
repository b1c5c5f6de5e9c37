"""Short ways to name the entries of the contract's tests."""

from __future__ import annotations

from penguiflow.durable.log import Key, Kind, Log, Position


def ingress(trace: str, number: int = 0) -> Key:
    return Key(Kind.INGRESS, trace, "", f"i{number}")


def record(trace: str, node: str = "a", number: int = 0) -> Key:
    return Key(Kind.RECORD, trace, node, f"i{number}")


def output(trace: str, node: str = "b", number: int = 0) -> Key:
    return Key(Kind.OUTPUT, trace, node, f"o{number}")


def end(trace: str) -> Key:
    return Key(Kind.END, trace)


def cancel(trace: str) -> Key:
    return Key(Kind.CANCEL, trace)


async def submit(log: Log, trace: str, number: int = 0) -> Position:
    """Append an ingress entry; returns where it lies."""
    key = ingress(trace, number)
    return Position(key, await log.append(key, f"{trace}/{number}".encode()))


async def submit_many(log: Log, count: int, *, trace: str = "t") -> list[Position]:
    return [await submit(log, trace, number) for number in range(count)]
