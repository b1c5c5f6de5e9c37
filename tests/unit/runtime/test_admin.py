"""`penguiflow-admin`."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from penguiflow.admin import load_state_store, main, render_events
from penguiflow.state import InMemoryStateStore, StoredEvent


def stored(number: int, **payload: Any) -> StoredEvent:
    return StoredEvent(
        trace_id="t", ts=float(number), kind="node_start", node_name="n", node_id="id",
        payload={"number": number, **payload},
    )  # fmt: skip


@pytest.fixture
def stores() -> Iterator[types.ModuleType]:
    module = types.ModuleType("admin_stores")

    async def filled() -> InMemoryStateStore:
        store = InMemoryStateStore()
        for number in range(3):
            await store.save_event(stored(number))
        return store

    def broken() -> None:
        raise ValueError("no such database")

    module.__dict__.update(
        filled=filled, empty=InMemoryStateStore, broken=broken, wrong=object, number=3
    )
    sys.modules["admin_stores"] = module
    yield module
    del sys.modules["admin_stores"]


def test_events_as_lines() -> None:
    (line,) = render_events([stored(1, when={1})])
    assert json.loads(line) == {
        "event": "node_start", "node_id": "id", "node_name": "n", "number": 1, "trace_id": "t",
        "ts": 1.0, "when": "{1}",
    }  # fmt: skip
    assert list(json.loads(line)) == sorted(json.loads(line))


@pytest.mark.parametrize(("tail", "left"), [(None, 3), (2, 2), (9, 3), (0, 0)])
def test_tail(tail: int | None, left: int) -> None:
    events = [stored(number) for number in range(3)]
    lines = render_events(events, tail=tail)
    assert [json.loads(line)["number"] for line in lines] == list(range(3))[3 - left :]


@pytest.mark.parametrize("factory", ["filled", "empty"])
async def test_factory_is_sync_or_a_coroutine(stores: Any, factory: str) -> None:
    assert isinstance(await load_state_store(f"admin_stores:{factory}"), InMemoryStateStore)


def test_history(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--state-store", "admin_stores:filled", "t"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]
    assert main(["history", "--state-store", "admin_stores:filled", "--tail", "1", "t"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 2
    assert main(["history", "--state-store", "admin_stores:empty", "t"]) == 0
    assert capsys.readouterr().out == ""


def test_replay(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["replay", "--state-store", "admin_stores:filled", "--delay", "0.001", "t"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# replay trace=t events=3"
    assert len(lines) == 4
    assert main(["replay", "--state-store", "admin_stores:empty", "t"]) == 0
    assert capsys.readouterr().out == "# trace t has no stored events\n"


@pytest.mark.parametrize("spec", [
    "admin_stores", "admin_stores:", ":filled", "no_such_module:store", "admin_stores:missing",
    "admin_stores:broken", "admin_stores:wrong", "admin_stores:number",
])  # fmt: skip
def test_errors_are_one_line_on_stderr(
    stores: Any, capsys: pytest.CaptureFixture[str], spec: str
) -> None:
    assert main(["history", "--state-store", spec, "t"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
