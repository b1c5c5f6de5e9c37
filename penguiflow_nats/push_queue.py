"""`PushQueue` in a JetStream bucket: a key per job, each write against the revision before it.

queue = NatsPushQueue("nats://127.0.0.1:4222")
service = A2AService(flow, agent_card=card, store=board, push_sender=PushSender(queue))
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta

import msgspec

from penguiflow.durable.tokens import token
from penguiflow.serving.push_queue import PushJob
from penguiflow_nats.call_subjects import checked_name
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.kv_bucket import BucketLimits, Entry
from penguiflow_nats.runtime import Server, connected

_WEEK = timedelta(days=7)


class NatsPushQueue:
    """The jobs of an agent; all its replicas share them.

    Clocks of replicas that differ by more than a lease make two of them tell one webhook for a
    moment; nothing is lost by it.

    Args:
        server: Where the server is, or a connection that the caller owns. By default what
            PENGUIFLOW_NATS_URL says, else the local server.
        agent: Name of the agent, as of its board.
        tenant: Whose bucket.
        limits: How much the bucket holds and how safely, if it has to be made; what is older than
            `max_age` goes, dead letters too.
        unreachable: Seconds for which the server may be away during a call.
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        agent: str,
        tenant: str = "default",
        limits: BucketLimits | None = None,
        unreachable: float = 10.0,
    ) -> None:
        self._server: Server = server or os.environ.get(
            "PENGUIFLOW_NATS_URL", "nats://127.0.0.1:4222"
        ).split(",")
        self._agent = checked_name(agent)
        self._bucket = f"PF_{token(tenant)}_PUSH"
        self._limits = limits or BucketLimits(max_bytes=64 * 1024**2, max_age=_WEEK)
        self._unreachable = unreachable
        self._stack = contextlib.AsyncExitStack()
        self._kv: KeyValue | None = None

    async def start(self) -> None:
        """Connect, and make the bucket if it is missing. Raises NatsError, StreamDrift."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connected(self._server))
            self._kv = await KeyValue.open(
                connection,
                self._bucket,
                self._limits,
                description="PenguiFlow push notifications of one tenant",
                patience=self._unreachable,
            )
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """End the connection unless the caller owns it."""
        self._kv = None
        await self._stack.aclose()

    @property
    def _jobs(self) -> KeyValue:
        if self._kv is None:
            msg = "the queue is not started"
            raise RuntimeError(msg)
        return self._kv

    def _key(self, job_id: str) -> str:
        return f"{self._agent}.{job_id}"

    async def put(self, job: PushJob) -> None:
        """As `PushQueue`."""
        await self._jobs.put(self._key(job.job_id), _bytes(job))

    async def take(self, *, limit: int, lease: float) -> Sequence[PushJob]:
        """As `PushQueue`."""
        moment, held = time.time(), list[PushJob]()
        for job in await self._all():
            if len(held) == limit:
                break
            if job.buried or job.due > moment:
                continue
            taken = await self.save(
                replace(job, holder=secrets.token_hex(8), due=time.time() + lease)
            )
            if taken is not None:
                held.append(taken)
        return held

    async def save(self, job: PushJob) -> PushJob | None:
        """As `PushQueue`."""
        revision = await self._jobs.update(self._key(job.job_id), _bytes(job), job.revision)
        return None if revision is None else replace(job, revision=revision)

    async def remove(self, job_id: str, *, revision: int | None = None) -> None:
        """As `PushQueue`."""
        below = None if revision is None else revision + 1
        await self._jobs.purge(self._key(job_id), below=below)

    async def is_held(self, job: PushJob) -> bool:
        """As `PushQueue`."""
        entry = await self._jobs.get(self._key(job.job_id))
        found = None if entry is None else _job(entry)
        return found is not None and found.holder == job.holder and not found.buried

    async def dead(self) -> Sequence[PushJob]:
        """As `PushQueue`."""
        return [each for each in await self._all() if each.buried]

    async def redrive(self, job_id: str) -> bool:
        """As `PushQueue`."""
        entry = await self._jobs.get(self._key(job_id))
        job = None if entry is None else _job(entry)
        if job is None or not job.buried:
            return False
        return await self.save(replace(job, buried="", failures=0, due=0.0, holder="")) is not None

    async def _all(self) -> list[PushJob]:
        entries = await self._jobs.read([f"{self._agent}.*"])
        return [job for each in entries if (job := _job(each)) is not None]


def _bytes(job: PushJob) -> bytes:
    kept = asdict(job)
    del kept["revision"]
    return msgspec.json.encode(kept)


def _job(entry: Entry) -> PushJob | None:
    try:
        job = msgspec.json.decode(entry.value, type=PushJob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # nothing of ours
    return replace(job, revision=entry.revision)


__all__ = ["NatsPushQueue"]
