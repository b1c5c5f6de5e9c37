"""A thin client over nats-py: answers through one inbox, and a continuous pull.

`js.publish` makes a task, a timeout and an id for every call. Here one subscription `<inbox>.*`
takes all answers, a token names the call, and one future waits for it. The same path confirms acks.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec
import nats
from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client as Connection
    from nats.aio.msg import Msg

ACK = b"+ACK"


class OutcomeUnknownError(Exception):
    """No answer came: the write may or may not be stored."""


class ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Answer(msgspec.Struct):
    """A publish ack, or why there is none."""

    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


decode_answer = msgspec.json.Decoder(Answer).decode


def answer_of(msg: Msg) -> Answer:
    if not msg.data:
        status = (msg.headers or {}).get("Status", "")
        return Answer(error=ApiError(code=int(status or 0), description="no responders"))
    return decode_answer(msg.data)


async def quiet(_error: Exception) -> None:
    """Reconnect attempts fail by the dozen in a chaos run; the run itself checks the outcome."""


class Client:
    def __init__(self, timeout: float = 5.0) -> None:
        self.timeout = timeout
        self.nc: Connection
        self.count = 0
        self.waiting: dict[str, tuple[float, asyncio.Future[Msg]]] = {}
        self.on_reconnect: list[Callable[[], Awaitable[None]]] = []

    async def connect(self, url: str) -> Client:
        self.loop = asyncio.get_running_loop()
        self.nc = await nats.connect(
            url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            ping_interval=5,
            error_cb=quiet,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
        )
        inbox = self.nc.new_inbox()
        self.prefix = inbox + "."
        await self.nc.subscribe(inbox + ".*", cb=self._answered)
        self.sweeper = asyncio.create_task(self._sweep())
        return self

    async def close(self) -> None:
        self.sweeper.cancel()
        await self.nc.close()

    async def send(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> asyncio.Future[Msg]:
        """Publish and return the future of the answer."""
        self.count += 1
        token = str(self.count)
        future: asyncio.Future[Msg] = self.loop.create_future()
        self.waiting[token] = self.loop.time() + self.timeout, future
        try:
            await self.nc.publish(subject, data, reply=self.prefix + token, headers=headers)
        except NatsError as error:
            self._fail(token, OutcomeUnknownError(repr(error)))
        return future

    async def write(self, subject: str, data: bytes, headers: dict[str, str] | None) -> Answer:
        return answer_of(await (await self.send(subject, data, headers)))

    async def api(self, name: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(request).encode() if request else b""
        answer = await (await self.send(f"$JS.API.{name}", data))
        if not answer.data:
            msg = "JetStream is not answering"
            raise OutcomeUnknownError(msg)
        return json.loads(answer.data)

    async def last(self, stream: str, subject: str) -> bytes | None:
        """The stored message of a subject, read from the leader."""
        answer = await self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        if "error" in answer:
            if answer["error"].get("err_code") == 10037:
                return None
            raise OutcomeUnknownError(str(answer["error"]))
        return base64.b64decode(answer["message"].get("data", ""))

    async def _answered(self, msg: Msg) -> None:
        _due, future = self.waiting.pop(msg.subject[len(self.prefix) :], (0.0, None))
        if future is not None and not future.done():
            future.set_result(msg)

    async def _sweep(self) -> None:
        """One timeout for all calls, so the order of insertion is the order of deadlines."""
        while True:
            await asyncio.sleep(0.1)
            now = self.loop.time()
            while self.waiting and next(iter(self.waiting.values()))[0] < now:
                self._fail(next(iter(self.waiting)), OutcomeUnknownError("timeout"))

    def _fail(self, token: str, error: Exception) -> None:
        _due, future = self.waiting.pop(token, (0.0, None))
        if future is not None and not future.done():
            future.set_exception(error)

    async def _disconnected(self) -> None:
        for token in list(self.waiting):
            self._fail(token, OutcomeUnknownError("disconnected"))

    async def _reconnected(self) -> None:
        for callback in self.on_reconnect:
            await callback()


class Puller:
    """A continuous pull: at most `window` messages asked for or in hand, one task for each."""

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        handle: Callable[[Msg], Awaitable[None]],
        window: int,
    ) -> None:
        self.client, self.handle, self.window = client, handle, window
        self.next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self.asked = self.busy = self.generation = 0
        self.heard = 0.0
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.inbox = self.client.nc.new_inbox()
        await self.client.nc.subscribe(self.inbox + ".*", cb=self._on)
        self.client.on_reconnect.append(self.restart)
        self.watcher = asyncio.create_task(self._watch())
        await self.restart()

    async def restart(self) -> None:
        self.generation += 1
        self.asked, self.heard = 0, self.client.loop.time()
        await self._ask()

    async def _ask(self) -> None:
        room = self.window - self.asked - self.busy
        if room >= max(1, self.window // 4):
            self.asked += room
            data = b'{"batch":%d,"expires":30000000000,"idle_heartbeat":1000000000}' % room
            await self.client.nc.publish(self.next, data, reply=f"{self.inbox}.{self.generation}")

    async def _on(self, msg: Msg) -> None:
        self.heard = self.client.loop.time()
        if msg.reply.startswith("$JS.ACK."):
            self.asked, self.busy = max(0, self.asked - 1), self.busy + 1
            task = asyncio.create_task(self._run(msg))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif msg.subject.endswith(f".{self.generation}"):
            headers = msg.headers or {}
            if headers.get("Status") == "408":
                self.asked -= int(headers["Nats-Pending-Messages"])
                await self._ask()
            elif headers.get("Status") != "100":  # 409, 503: ask again when the heartbeat is missed
                self.heard -= 2.0

    async def _run(self, msg: Msg) -> None:
        try:
            await self.handle(msg)
        finally:
            self.busy -= 1
            await self._ask()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            silent = self.client.loop.time() - self.heard > 2.2
            if silent and self.asked and self.client.nc.is_connected:
                await self.restart()
