"""A lane: what one worker process does for one node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from penguiflow.async_tasks import this_task
from penguiflow.decide import Outcome, Settlement
from penguiflow.durable.claims import ObjectMissing, claimed_size
from penguiflow.durable.dead_letters import DeadLetter, DeadLetters, Reason
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import Envelope, EnvelopeTooNew, MalformedEnvelope, decode
from penguiflow.durable.inputs import Input, input_for
from penguiflow.durable.join import DurableJoin, passing
from penguiflow.durable.join_timeout import TooLate
from penguiflow.durable.log import Consumption, InputGone, LogDelivery
from penguiflow.durable.notes import Notes
from penguiflow.durable.quarantine import Quarantine, suspected_after
from penguiflow.durable.topology import record_key
from penguiflow.durable.wire_errors import MalformedValue, WireError
from penguiflow.events import log_event
from penguiflow.node import Node
from penguiflow.settle import settle, settle_entry
from penguiflow.telemetry.instrument import Bury, Settle
from penguiflow.worker import Worker

if TYPE_CHECKING:
    from penguiflow.durable.claims import Claims
    from penguiflow.durable.codec import ValueCodec
    from penguiflow.durable.commit import Commit
    from penguiflow.durable.host import DurableHost


class Lane:
    """Takes the deliveries of one node, each in a task of its own, and sees them settled."""

    def __init__(
        self,
        node: Node,
        host: DurableHost,
        *,
        codec: ValueCodec,
        commit: Commit,
        claims: Claims,
        dead_letters: DeadLetters,
        worker_id: str,
        max_deliveries: int,
        newer: tuple[float, float],
        quarantine: Quarantine,
        join: DurableJoin | None = None,
    ) -> None:
        self.node = node
        self.name: str = str(node.name)
        self._token = host.topology.tokens[self.name]
        self._host = host
        self._codec = codec
        self._commit = commit
        self._claims = claims
        self._dead_letters = dead_letters
        self._worker_id = worker_id
        self._max_deliveries = max_deliveries
        self._newer_delay, self._newer_limit = newer
        self._notes = Notes(host.log)
        self._quarantine = quarantine
        self._lease = host.topology.lease
        self._join = join
        self._worker = Worker(node if join is None else passing(node), host)
        self._probe = host.probe(node)
        self._tasks: dict[asyncio.Task[None], LogDelivery] = {}
        self._waiting: dict[DurableDelivery, asyncio.TimerHandle] = {}
        self.consumption: Consumption | None = None
        self.window: int | None = None
        """Inputs to take at once; None is as many as are worked on."""

    async def begin(self) -> None:
        """Get ready to take deliveries. Raises `LogError`."""

    @property
    def in_hand(self) -> list[LogDelivery]:
        """Deliveries that are not settled: running or in back-off."""
        return [*self._tasks.values(), *(d.log_delivery for d in self._waiting)]

    def deliver(self, delivery: LogDelivery) -> None:
        """Take one delivery; called by the log."""
        self._start(delivery, self._handle(delivery))

    def _start(self, delivery: LogDelivery, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = delivery

    async def _handle(self, entry: LogDelivery) -> None:
        """Open an entry, work on it, and give its place in the window free again."""
        task = this_task()
        delivery: DurableDelivery | None = None
        try:
            delivery = self._ready(entry) or await self._open(entry)
            if delivery is not None:
                await self._take(delivery, task)
        except Exception as error:  # noqa: BLE001 - stated outcome: its lease ends, it comes again
            self._not_settled(error)
        finally:
            self._closed(entry, delivery)
            self._over(task, delivery)

    def _closed(self, entry: LogDelivery, delivery: DurableDelivery | None) -> None:
        """What was opened is not in work any more."""
        if self._join is not None and delivery is not None:
            self._join.closed(delivery)

    def _run(self, delivery: DurableDelivery, task: asyncio.Task[Any]) -> Coroutine[Any, Any, None]:
        """What runs an opened delivery."""
        if delivery.suspected:
            return self._alone(delivery, task)
        return self._worker.process(delivery, task)

    _take = _run
    """What is done with an opened delivery."""

    async def _alone(self, delivery: DurableDelivery, task: asyncio.Task[Any]) -> None:
        """Run an input over which workers died, as the only such one in this process."""
        entry, began = delivery.log_delivery, False
        try:
            async with self._quarantine.alone(delivery.suspected):
                await self._notes.begin(delivery.record_key, entry.stored, entry.num_delivered)
                began = True
                await self._worker.process(delivery, task)
        except InputGone:
            await settle_entry(entry)
        except asyncio.CancelledError:
            if not began:  # the worker drains
                await settle(delivery, Outcome(Settlement.HAND_BACK))
            raise

    def _over(self, task: asyncio.Task[Any], delivery: DurableDelivery | None) -> None:
        del self._tasks[task]
        if self._claims.holds and delivery not in self._waiting:
            self._claims.release(delivery)
        if delivery not in self._waiting and self.consumption is not None:
            self.consumption.release()

    def _not_settled(self, error: Exception) -> None:
        failure = {"node_name": self.name, "exception": repr(error)}
        log_event(logging.ERROR, "delivery_not_settled", failure, error)

    # Opening

    def _ready(self, entry: LogDelivery) -> DurableDelivery | None:
        """The delivery of an entry that asks for nothing special; None when it must be looked
        at: it is redelivered, joined, unreadable or not meant for this node."""
        if entry.num_delivered > 1 or self._join is not None:
            return None
        try:
            envelope = decode(entry.stored.data)
            found = input_for(entry.stored, envelope, self.name)
            if found is None or envelope.tenant != self._host.log.tenant:
                return None
            return self._delivery(entry, envelope, found, self._codec.unpack_output(found.output))
        except WireError:
            return None

    def _delivery(
        self, entry: LogDelivery, envelope: Envelope, found: Input, value: Any
    ) -> DurableDelivery:
        return DurableDelivery(
            entry,
            envelope,
            value=value,
            input_id=found.input_id,
            share=found.share,
            record_key=record_key(entry.stored.key.trace, self._token, found.input_id),
            again=self._again,
            hold_limit=self._lease,
            notes=self._notes,
            probe=self._probe,
        )

    async def _open(self, entry: LogDelivery) -> DurableDelivery | None:
        """The delivery for the node; None when the entry is settled otherwise."""
        stored = entry.stored
        try:
            envelope = decode(stored.data)
        except EnvelopeTooNew as exc:
            await self._leave_to_newer(entry, exc)
            return None
        except MalformedEnvelope as exc:
            await self._bury(entry, Reason.MALFORMED, str(exc))
            return None
        if envelope.tenant != self._host.log.tenant:
            detail = f"envelope of tenant {envelope.tenant!r} in the log of another tenant"
            await self._bury(entry, Reason.WRONG_TENANT, detail)
            return None
        found = input_for(stored, envelope, self.name)
        if found is None:
            await settle_entry(entry)
            return None
        return await self._open_input(entry, envelope, found)

    async def _open_input(
        self, entry: LogDelivery, envelope: Envelope, found: Input
    ) -> DurableDelivery | None:
        delivery = self._delivery(entry, envelope, found, None)
        if self._join is None and entry.num_delivered > 1 and await self._known(delivery):
            return None
        try:
            if self._join is not None:
                return await self._join.open(delivery)
            output, size = found.output, claimed_size(found.output)
            if size:
                await self._claims.hold(delivery, size)
                output = await self._claims.output(output)
            delivery.value = self._codec.unpack_output(output)
        except MalformedValue as exc:
            await self._bury_input(delivery, Reason.UNKNOWN_TYPE, str(exc))
        except TooLate as late:
            await self._bury_input(delivery, Reason.JOIN_TIMEOUT, str(late))
        except EnvelopeTooNew as exc:  # an input of the same group of a join
            await self._leave_to_newer(entry, exc)
        except ObjectMissing as exc:
            await self._bury_input(delivery, Reason.OBJECT_MISSING, str(exc))
        else:
            return delivery
        self._claims.release(delivery)
        return None

    async def _known(self, delivery: DurableDelivery) -> bool:
        """Whether a redelivered input needs no run: it has a record, or came too often."""
        if await self._answered(delivery):
            return True
        entry, after = delivery.log_delivery, suspected_after(self._max_deliveries)
        past = await self._notes.past(
            delivery.record_key, entry.stored, entry.num_delivered, suspected_after=after
        )
        delivery.attempt = past.attempts
        delivery.suspected = past.deaths if past.deaths >= after else 0
        if past.deaths >= self._max_deliveries:
            detail = f"delivered {past.deaths} times and never settled; it may end its process"
            await self._bury_input(delivery, Reason.POISON, detail)
            return True
        return False

    async def _answered(self, delivery: DurableDelivery) -> bool:
        """Whether the input has its record; then what that leads to is there too, and it is
        settled."""
        record = await self._host.log.get(delivery.record_key)
        if record is None:
            return False
        if self._probe is not None:
            self._probe.known(delivery)
        await self._commit.finish(delivery, record)
        await settle_entry(delivery.log_delivery)
        return True

    async def _leave_to_newer(self, entry: LogDelivery, problem: EnvelopeTooNew) -> None:
        """Hand it on until a newer worker gets it, or until it waited for one long enough."""
        if entry.num_delivered * self._newer_delay > self._newer_limit:
            await self._bury(entry, Reason.TOO_NEW, str(problem))
            return
        if entry.num_delivered & (entry.num_delivered - 1) == 0:  # said less and less often
            waits = {"node_name": self.name, "deliveries": entry.num_delivered}
            log_event(logging.WARNING, "left_to_newer_worker", {**waits, "detail": str(problem)})
            # Else the newer worker would take its deliveries for the deaths of workers.
            await self._notes.left(self._token, entry.stored, entry.num_delivered)
        # Not all at once: else the same worker might be handed the same entries each time.
        await settle_entry(entry, again_after=self._newer_delay * random.uniform(0.5, 1.5))  # noqa: S311

    async def _bury(self, entry: LogDelivery, reason: Reason, detail: str) -> None:
        letter = DeadLetter(
            stored=entry.stored,
            node=self.name,
            reason=reason,
            detail=detail,
            deliveries=entry.num_delivered,
            worker=self._worker_id,
        )
        span = None if self._probe is None else self._probe.refused(entry)
        with self._dying(span, reason):
            bury: Bury = self._dead_letters.bury
            if self._host.instrument is not None:
                bury = self._host.instrument.burying(span, None, bury)
            await bury(letter)
            failure = {"node_name": self.name, "reason": reason.value, "detail": detail}
            log_event(logging.ERROR, "dead_letter", {**failure, "trace_id": entry.stored.key.trace})
            await self._terminate(entry, span, reason)

    async def _terminate(self, entry: LogDelivery, span: Any, reason: Reason) -> None:
        terminate: Settle = partial(settle_entry, entry, dead=reason.value)
        if self._probe is not None:
            terminate = self._probe.settling(span, "term", terminate)
        await terminate()

    @contextlib.contextmanager
    def _dying(self, span: Any, reason: Reason) -> Iterator[None]:
        """What the instrument made of an input that is buried ends with this block."""
        outcome: Outcome | None = None
        try:
            yield
            outcome = Outcome(Settlement.DEAD, reason=reason.value)
        finally:
            if self._probe is not None:
                self._probe.end(span, outcome)

    async def _bury_input(self, delivery: DurableDelivery, reason: Reason, detail: str) -> None:
        """Bury an input whose trace is known: a record ends its branch of the trace."""
        if self._probe is not None:
            delivery.span = self._probe.begin(delivery, None)
        with self._dying(delivery.span, reason):
            with contextlib.suppress(InputGone):  # cancelled or removed: nothing is left to bury
                await self._commit.dead(delivery, self.name, reason, detail)
            failure = {"node_name": self.name, "reason": reason.value, "detail": detail}
            log_event(logging.ERROR, "dead_letter", {**failure, "trace_id": delivery.trace_id})
            await self._terminate(delivery.log_delivery, delivery.span, reason)

    # Back-off and end

    def _again(self, delivery: DurableDelivery, delay: float) -> None:
        """Keep the delivery and its lease, and run it again after a while."""
        loop = asyncio.get_running_loop()
        self._waiting[delivery] = loop.call_later(delay, self._resume, delivery)

    def _resume(self, delivery: DurableDelivery) -> None:
        if self._waiting.pop(delivery, None) is not None:
            self._start(delivery.log_delivery, self._resumed(delivery))

    async def _resumed(self, delivery: DurableDelivery) -> None:
        task = this_task()
        try:
            await self._run(delivery, task)
        except Exception as error:  # noqa: BLE001 - stated outcome: its lease ends, it comes again
            self._not_settled(error)
        finally:
            self._over(task, delivery)

    async def _hand_back(self, delivery: DurableDelivery) -> None:
        task = this_task()
        try:
            await settle(delivery, Outcome(Settlement.HAND_BACK))
        finally:
            self._over(task, None)

    def drop(self, trace: str) -> None:
        """End the back-offs of a cancelled trace."""
        for delivery in [d for d in self._waiting if d.trace_id == trace]:
            self._waiting.pop(delivery).cancel()
            self._start(delivery.log_delivery, self._dropped(delivery))

    async def _dropped(self, delivery: DurableDelivery) -> None:
        task = this_task()
        try:
            await self._host.events.emit(
                "trace_cancel_drop",
                level=logging.INFO,
                source=self.node,
                trace_id=delivery.trace_id,
            )
            await settle_entry(delivery.log_delivery)
        finally:
            self._over(task, None)

    async def finish(self, limit: float) -> int:
        """Wait for what runs, and for what still arrives, at most `limit` seconds; hand the rest
        back.

        Returns:
            How many deliveries were handed back.
        """
        clock = self._host.clock
        end = clock.monotonic() + limit
        while self._tasks or self._waiting:
            for delivery in list(self._waiting):
                self._waiting.pop(delivery).cancel()
                self._start(delivery.log_delivery, self._hand_back(delivery))
            left = max(0.0, end - clock.monotonic())
            _, running = await asyncio.wait(list(self._tasks), timeout=left)
            if running:
                late = list(self._tasks)
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=5.0)
                return len(late)
        return 0
