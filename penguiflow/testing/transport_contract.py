"""The promises of a remote transport, towards an agent with the four skills that it names."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.remote import RemoteCallRequest, RemoteStreamEvent, SupportsRemoteTasks
from penguiflow.testing.contract import Contract, check, check_equal, fresh
from penguiflow.types import Headers, Message

_LIMIT = 30.0
"""Seconds after which an answer is taken for lost."""


class RemoteTransportContract(Contract):
    """What every `RemoteTransport` promises.

    `make_store` gives a transport to an agent at `agent_url` with these skills, each of which takes
    the payload of a `Message`:

        echo     gives the payload back
        count    streams the texts "0" to str(payload - 1), then gives the payload
        fail     ends without a result
        wait     streams the text "started" and never ends, until it is cancelled
    """

    agent_url = "memory://agent"
    tenant = "tenant"

    def request(self, skill: str, payload: Any, **fields: Any) -> RemoteCallRequest:
        """A call."""
        message = Message(payload=payload, headers=Headers(tenant=self.tenant))
        fields.setdefault("timeout_s", _LIMIT)
        return RemoteCallRequest(message=message, skill=skill, agent_url=self.agent_url, **fields)

    async def test_result_comes_back(self) -> None:
        async with self.open_store() as transport:
            for payload in ("text", 7, {"a": [1, None]}):
                answer = await transport.send(self.request("echo", payload))
                check_equal(answer.result, payload, "send gives the result of the agent")

    async def test_texts_come_in_order_and_the_result_after_them(self) -> None:
        async with self.open_store() as transport:
            events = await self._events(transport, self.request("count", 3))
            texts = [event.text for event in events if event.text]
            check_equal(texts, ["0", "1", "2"], "every text is given once, in order")
            results = [event.result for event in events if event.result is not None]
            check_equal(results[-1:], [3], "the last result of a stream is the agent's")

    async def test_failure_of_the_agent_is_a_runtime_error(self) -> None:
        async with self.open_store() as transport:
            promise = "a task that failed raises RuntimeError"
            sent = transport.send(self.request("fail", 1))
            check(await _raises(sent, RuntimeError), promise)
            streamed = self._events(transport, self.request("fail", 1))
            check(await _raises(streamed, RuntimeError), promise)

    async def test_answer_that_does_not_come_is_a_timeout(self) -> None:
        async with self.open_store() as transport:
            call = transport.send(self.request("wait", 1, timeout_s=0.3))
            check(await _raises(call, TimeoutError), "timeout_s bounds the wait for an answer")

    async def test_calls_at_once_do_not_mix(self) -> None:
        async with self.open_store() as transport:
            calls = [transport.send(self.request("echo", number)) for number in range(10)]
            answers = await asyncio.gather(*calls)
            found = [answer.result for answer in answers]
            check_equal(found, list(range(10)), "each call gets its own answer")

    async def test_repeated_key_starts_no_second_task(self) -> None:
        async with self.open_store() as transport:
            key = fresh("key")
            first, second = [
                await transport.send(self.request("echo", "same", idempotency_key=key))
                for _ in range(2)
            ]
            check(first.task_id is not None, "an answer names its task")
            check_equal(second.task_id, first.task_id, "an idempotency key names one task")

    async def test_cancelled_task_ends_and_may_be_cancelled_again(self) -> None:
        async with self.open_store() as transport:
            task: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            following = asyncio.ensure_future(self._wait(transport, task))
            try:
                async with asyncio.timeout(_LIMIT):
                    task_id = await task
                    for _ in range(2):
                        await transport.cancel(agent_url=self.agent_url, task_id=task_id)
                    done, _ = await asyncio.wait({following}, timeout=_LIMIT)
            except TimeoutError:
                done = set()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            check(bool(done), "a cancelled task ends its stream")

    async def test_tasks_are_seen_where_the_transport_has_them(self) -> None:
        async with self.open_store() as transport:
            if not isinstance(transport, SupportsRemoteTasks):
                return
            sent = await transport.send_task(self.request("echo", "seen"), blocking=True)
            check(sent.is_terminal, "send_task with blocking=True waits for the end")
            seen = await transport.get_task(agent_url=self.agent_url, task_id=sent.task_id)
            check_equal(
                (seen.task_id, seen.result), (sent.task_id, "seen"), "a task has its result"
            )
            unknown = transport.get_task(agent_url=self.agent_url, task_id=fresh("task"))
            check(await _raises(unknown, KeyError), "an unknown task raises KeyError")

    async def _events(self, transport: Any, request: RemoteCallRequest) -> list[RemoteStreamEvent]:
        return [event async for event in transport.stream(request)]

    async def _wait(self, transport: Any, task: asyncio.Future[str]) -> None:
        async for event in transport.stream(self.request("wait", 1)):
            if event.task_id is not None and event.text and not task.done():
                task.set_result(event.task_id)


async def _raises(call: Any, kind: type[Exception]) -> bool:
    try:
        async with asyncio.timeout(_LIMIT):
            await call
    except kind:
        return True
    except Exception:  # noqa: BLE001 - another one breaks the promise as well
        return False
    return False


__all__ = ["RemoteTransportContract"]
