"""Claim checks: what is too large for an entry lies in objects, and the entry says where.

In place of a packed value there is an extension with the object's name and size; in place of a
record's many outputs, its parts. An object is kept before the entry that names it is written. Its
name, `<flow>.<trace>.<SHA-256>`, follows from the content, so writing it again writes the same,
and the keeper knows by it when nobody can need it any more: when its trace has left the log.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterable, Sequence

import msgspec
from msgspec import Raw

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.envelope import EGRESS, WITH_CLAIMS, Envelope, Output, Part, encode
from penguiflow.durable.extension import CLAIM
from penguiflow.durable.log import EntryTooLarge, Log

PART_BYTES = 1024 * 1024
"""Bytes of outputs that one part holds; the last output may go beyond."""
LARGE_BYTES = 128 * 1024
"""A value beyond goes into an object of its own before it goes into a part."""
HELD_BYTES = 256 * 1024 * 1024
"""Bytes of claimed inputs that one worker holds at once; a larger one is held alone."""
_FRAME = 128
"""Bytes that an output takes beside its payload and meta, about."""
_SMALL = 1024
"""A value up to this size stays in its entry in any case."""
_LONGEST_ERROR = 4096
_EXT_8 = 0xC7
_TRIES, _PAUSE = 5, 0.2

_pack_outputs = msgspec.msgpack.Encoder().encode
_read_outputs = msgspec.msgpack.Decoder(tuple[Output, ...]).decode
_read_claim = msgspec.msgpack.Decoder(tuple[str, int]).decode


class ObjectMissing(Exception):
    """An entry names an object that is gone or damaged. It will not come back.

    Attributes:
        name: Name of the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"object {name} is gone or damaged; the value in it is lost, submit it again"
        )
        self.name = name


def claim_of(value: Raw) -> tuple[str, int] | None:
    """The name and the size of the object that a packed value lies in; None when it is here."""
    data = memoryview(value)
    if len(data) < 3 or data[0] != _EXT_8 or data[2] != CLAIM:
        return None
    try:
        return _read_claim(data[3:])
    except msgspec.DecodeError:
        return None


def claimed_size(output: Output) -> int:
    """Bytes of the output that lie in objects."""
    found = (claim_of(output.payload), claim_of(output.meta))
    return sum(claim[1] for claim in found if claim is not None)


def trace_of_object(name: str) -> tuple[str, str]:
    """The flow and the trace that an object belongs to, as tokens."""
    flow, _, rest = name.partition(".")
    return flow, rest.partition(".")[0]


class Claims:
    """The claim checks of one flow in this process."""

    def __init__(self, log: Log, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._log = log
        self._clock = clock
        self._held: dict[Hashable, int] = {}
        self._in_hand = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    # Writing

    async def fit(self, trace: str, envelope: Envelope) -> tuple[Envelope, bytes]:
        """The envelope with what is too large in objects, and its bytes.

        Raises:
            EntryTooLarge: it does not fit even so.
            LogError: an object could not be kept.
        """
        if len(envelope.outputs) > 1:
            spill = Spill(self, trace)
            spill.add(envelope.outputs)
            parts, outputs = await spill.finish(inline=0)
            envelope = msgspec.structs.replace(envelope, outputs=outputs, parts=parts)
        elif envelope.outputs:
            small = await self.check_in_output(trace, envelope.outputs[0], beyond=_SMALL)
            envelope = msgspec.structs.replace(envelope, outputs=(small,))
        envelope = msgspec.structs.replace(envelope, v=WITH_CLAIMS)
        data = encode(envelope)
        if len(data) > self._log.inline_bytes and envelope.error is not None:
            envelope = msgspec.structs.replace(envelope, error=_clipped(envelope.error))
            data = encode(envelope)
        if len(data) > self._log.inline_bytes:
            raise EntryTooLarge(len(data), self._log.inline_bytes)
        return envelope, data

    async def check_in_output(
        self, trace: str, output: Output, *, beyond: int = LARGE_BYTES
    ) -> Output:
        """The output, with its payload and meta in objects where they are larger than `beyond`."""
        payload = await self._check_in(trace, output.payload, beyond)
        meta = await self._check_in(trace, output.meta, beyond)
        if payload is output.payload and meta is output.meta:
            return output
        return msgspec.structs.replace(output, payload=payload, meta=meta)

    async def _check_in(self, trace: str, value: Raw, beyond: int) -> Raw:
        data = memoryview(value)
        if len(data) <= beyond or claim_of(value) is not None:
            return value
        name = await self.keep(trace, bytes(data))
        return _claim(name, len(data))

    async def keep(self, trace: str, data: bytes) -> str:
        """Put bytes into an object of the trace; returns its name."""
        # Read again by `trace_of_object`.
        name = f"{self._log.flow}.{trace}.{hashlib.sha256(data).hexdigest()}"
        await self._log.objects.put(name, data)
        return name

    async def adopt(self, trace: str, output: Output, *, copy: bool) -> Output:
        """The output for another trace, which has objects of its own.

        Args:
            trace: The other trace.
            output: An output of any trace of the flow.
            copy: Whether the objects have to be made; else they were, by an earlier call.

        Raises:
            ObjectMissing: an object is gone or damaged.
            LogError: no answer, or no room.
        """
        payload = await self._adopt(trace, output.payload, copy=copy)
        meta = await self._adopt(trace, output.meta, copy=copy)
        return msgspec.structs.replace(output, payload=payload, meta=meta)

    async def _adopt(self, trace: str, value: Raw, *, copy: bool) -> Raw:
        claim = claim_of(value)
        if claim is None:
            return value
        name, size = claim
        digest = name.rpartition(".")[2]
        own = f"{self._log.flow}.{trace}.{digest}"
        if copy:
            await self._log.objects.put(own, await self._object(name))
        return _claim(own, size)

    # Reading

    async def output(self, output: Output) -> Output:
        """The output with all that it holds.

        Raises:
            ObjectMissing: an object is gone or damaged.
            LogError: no answer.
        """
        payload, meta = claim_of(output.payload), claim_of(output.meta)
        if payload is not None:
            output = msgspec.structs.replace(output, payload=Raw(await self._object(payload[0])))
        if meta is not None:
            output = msgspec.structs.replace(output, meta=Raw(await self._object(meta[0])))
        return output

    async def part(self, part: Part) -> tuple[Output, ...]:
        """The outputs of a part. Raises as `output`."""
        try:
            found = _read_outputs(await self._object(part.name))
        except msgspec.DecodeError as error:
            raise ObjectMissing(part.name) from error
        if len(found) != part.count:
            raise ObjectMissing(part.name)
        return found

    async def _object(self, name: str) -> bytes:
        for attempt in range(_TRIES):
            data = await self._log.objects.get(name)
            if data is not None and hashlib.sha256(data).hexdigest() == name.rpartition(".")[2]:
                return data
            if attempt + 1 < _TRIES:
                # Perhaps the same content is just being written over the one that was read.
                await self._clock.sleep(_PAUSE)
        raise ObjectMissing(name)

    # What is held in memory

    @property
    def holds(self) -> bool:
        """Whether anybody holds a claimed value."""
        return bool(self._held)

    async def hold(self, holder: Hashable, size: int) -> None:
        """Wait until so many bytes may be held; `release` must follow."""
        if self._queue or (self._in_hand and self._in_hand + size > HELD_BYTES):
            turn = asyncio.get_running_loop().create_future()
            self._queue.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._in_hand -= size
                self._next()
                raise
        else:
            self._in_hand += size
        self._held[holder] = self._held.get(holder, 0) + size

    def release(self, holder: Hashable) -> None:
        """The holder's value is not needed any more. Of who holds nothing, nothing happens."""
        self._in_hand -= self._held.pop(holder, 0)
        self._next()

    def _next(self) -> None:
        while self._queue:
            size, turn = self._queue[0]
            if not turn.done():
                if self._in_hand and self._in_hand + size > HELD_BYTES:
                    return
                self._in_hand += size
                turn.set_result(None)
            self._queue.popleft()


class Spill:
    """The outputs of one run on their way into parts, in order and in bounded memory."""

    def __init__(self, claims: Claims, trace: str, *, after: Sequence[Part] = ()) -> None:
        self._claims = claims
        self._trace = trace
        self._parts = list(after)
        self._outputs: list[Output] = []
        self._size = 0
        self._writing = asyncio.Lock()

    def add(self, outputs: Iterable[Output]) -> None:
        """Take the next outputs; `relieve` or `finish` must follow."""
        for output in outputs:
            self._outputs.append(output)
            self._size += size_of(output)

    async def relieve(self) -> None:
        """Put what fills a part into one. Raises `LogError`; what was added stays added."""
        async with self._writing:
            while self._size >= PART_BYTES:
                await self._flush()

    async def finish(self, *, inline: int) -> tuple[tuple[Part, ...], tuple[Output, ...]]:
        """All parts, once they are kept; or no parts and the outputs, when they are few.

        Args:
            inline: Bytes below which the outputs are few.

        Raises:
            LogError: an object could not be kept; a repetition goes on.
        """
        async with self._writing:
            if not self._parts and self._size < inline:
                return (), tuple(self._outputs)
            while self._outputs:
                await self._flush()
            return tuple(self._parts), ()

    async def _flush(self) -> None:
        """Put the next outputs into a part: as many as fill it, values that are large beside."""
        batch: list[Output] = []
        size = 0
        while len(batch) < len(self._outputs) and size < PART_BYTES:
            before = self._outputs[len(batch)]
            output = await self._claims.check_in_output(self._trace, before)
            self._outputs[len(batch)] = output
            self._size += size_of(output) - size_of(before)
            batch.append(output)
            size += size_of(output)
        data = _pack_outputs(batch)
        part = Part(
            name=await self._claims.keep(self._trace, data),
            size=len(data),
            first=self._parts[-1].first + self._parts[-1].count if self._parts else 0,
            count=len(batch),
            targets=sum(len(output.targets) for output in batch),
            leaves=any(EGRESS in output.targets for output in batch),
        )
        self._parts.append(part)
        del self._outputs[: len(batch)]
        self._size -= size


def size_of(output: Output) -> int:
    """Bytes that the output takes in a record, about."""
    return len(memoryview(output.payload)) + len(memoryview(output.meta)) + _FRAME


async def batches(
    claims: Claims, envelope: Envelope, size: int
) -> AsyncIterator[tuple[int, Sequence[Output] | Part]]:
    """The outputs of a record in order, at most `size` at once, each time with the number of the
    first; a part whose object is missing comes as itself. Raises `LogError`."""
    number = 0
    for part in envelope.parts:
        number = part.first + part.count
        try:
            outputs = await claims.part(part)
        except ObjectMissing:
            yield part.first, part
            continue
        for start in range(0, len(outputs), size):
            yield part.first + start, outputs[start : start + size]
    for start in range(0, len(envelope.outputs), size):
        yield number + start, envelope.outputs[start : start + size]


def _claim(name: str, size: int) -> Raw:
    data = msgspec.msgpack.encode((name, size))
    return Raw(msgspec.msgpack.encode(msgspec.msgpack.Ext(CLAIM, data)))


def _clipped(error: dict[str, object]) -> dict[str, object]:
    """An error that fits: it must never be lost because of its details."""
    return {
        key: value[:_LONGEST_ERROR] if isinstance(value, str) else value
        for key, value in error.items()
        if not isinstance(value, dict | list | tuple)
    }


__all__ = [
    "Claims",
    "ObjectMissing",
    "Spill",
    "batches",
    "claim_of",
    "claimed_size",
    "size_of",
    "trace_of_object",
]
