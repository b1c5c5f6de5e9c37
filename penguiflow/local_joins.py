"""The joins of a local flow: what they have collected, and their timeouts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penguiflow.events import tell_failed
from penguiflow.join import Bucket, Join, collect, join_timeout
from penguiflow.node import Node

if TYPE_CHECKING:
    from penguiflow.local import LocalHost


class LocalJoins:
    """Collects for the joins of one flow. What is collected goes when its trace is over."""

    def __init__(self, host: LocalHost) -> None:
        self._host = host
        self._ending: set[asyncio.Task[None]] = set()

    def collect(
        self, node: Node, trace_id: str, message: Any, join: Join, *, span: Any = None
    ) -> Any:
        """Add a message; what its group becomes when it is complete, else None.

        `span` is what the instrument made of the run that brings the message.
        """
        bucket = self._host.traces.open(trace_id).bucket(node)
        is_first = not bucket and not bucket.late
        if span is None:
            group = collect(bucket, message, join)
        else:
            group = self._observed(bucket, message, join, span)
        if is_first and group is None and join.timeout_s is not None:
            bucket.group = first = object()

            def over() -> None:
                if bucket.group is first and self._is_kept(node, trace_id, bucket):
                    self._over(node, trace_id, bucket, join)

            self._host.timers.set(join.timeout_s, over)
        elif group is not None:
            bucket.group = None
        return group

    def _observed(self, bucket: Bucket, message: Any, join: Join, span: Any) -> Any:
        """The same, and the instrument is told of what a complete group was made of."""
        if bucket.spans is None:
            bucket.spans = []
        if not bucket.late:
            bucket.spans.append(span)
        before = len(bucket)
        group = collect(bucket, message, join)
        if group is not None:
            count = before + 1 - len(bucket)
            others = [each for each in bucket.spans[:count] if each is not span]
            del bucket.spans[:count]
            if self._host.instrument is not None:
                self._host.instrument.joined(span, others)
        return group

    def _is_kept(self, node: Node, trace_id: str, bucket: Bucket) -> bool:
        """Whether the trace still has what was collected: it may have been cancelled since."""
        trace = self._host.traces.get(trace_id)
        kept = None if trace is None or trace.buckets is None else trace.buckets.get(node)
        return kept is bucket and bool(bucket)

    def _over(self, node: Node, trace_id: str, bucket: Bucket, join: Join) -> None:
        arrived, expected = len(bucket), join.expected(bucket[0])
        bucket.clear()
        bucket.spans = None
        bucket.late = expected - arrived
        seconds = join.timeout_s or 0.0
        error = join_timeout(node, trace_id, seconds, arrived=arrived, expected=expected)
        task = asyncio.get_running_loop().create_task(self._fail(node, error))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _fail(self, node: Node, error: Any) -> None:
        await tell_failed(self._host.events, node, error)
        await self._host.failed(node, error)

    async def stop(self) -> None:
        """Give up what is being told; the error of a join that nobody can take any more."""
        for task in list(self._ending):
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
