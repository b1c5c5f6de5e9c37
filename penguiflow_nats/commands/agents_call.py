"""`penguiflow agents call`: one call, with the answer on the terminal as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_jsonable_python

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.options import seconds
from penguiflow.cli.output import say, shown, tell
from penguiflow.durable.wire_errors import WireError
from penguiflow.remote_models import RemoteCallRequest
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow.types import Headers, Message
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.call_errors import AgentNotFound, ReplyGap
from penguiflow_nats.call_subjects import BadAgentAddress
from penguiflow_nats.commands.agents_text import json_of
from penguiflow_nats.commands.server import server_of
from penguiflow_nats.discovering import DiscoveringTransport
from penguiflow_nats.discovery import AgentNotKnown
from penguiflow_nats.plain_values import PlainCodec


class _Transport(DiscoveringTransport):
    """This program does not have the agent's classes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._codec = PlainCodec()


def add_call(parser: ArgumentParser) -> None:
    """The arguments of a call."""
    parser.add_argument(
        "agent", metavar="AGENT", help="its name, or an address as nats://?skill=s&version=1"
    )
    parser.add_argument("skill", metavar="SKILL")
    parser.add_argument(
        "payload",
        metavar="PAYLOAD",
        nargs="?",
        help="JSON, else text; - reads it from standard input",
    )
    parser.add_argument("--text", action="store_true", help="the payload is text, JSON or not")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds for the whole call")


class CallOfAgent:
    """One call, cancelled by Ctrl-C."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._open_line = False
        self._signal = 0

    async def run(self) -> int:
        """Call and show; gives the exit status.

        Raises:
            CommandError: the call has no result.
            NatsError: the server cannot be reached.
        """
        args = self._args
        agent = args.agent if "://" in args.agent else f"nats://{args.agent}"
        message = Message(payload=_payload(args), headers=Headers(tenant=args.tenant))
        request = RemoteCallRequest(
            message=message,
            skill=args.skill,
            agent_url=agent,
            task_id=secrets.token_hex(16),
            timeout_s=args.timeout,
        )
        async with _Transport(server_of(args), tenant=args.tenant) as transport:
            with self._cancelled_by_signals():
                try:
                    await self._follow(transport, request)
                except asyncio.CancelledError:
                    return await self._cancel(transport, request)
                except (AgentNotFound, AgentNotKnown) as error:
                    raise CommandError(
                        str(error), hint="`penguiflow agents ls` lists them"
                    ) from error
                except BadAgentAddress as error:
                    raise UsageError(str(error)) from error
                except (RemoteTaskFailed, TimeoutError, ReplyGap, WireError) as error:
                    raise CommandError(str(error)) from error
                finally:
                    self._end_line()
        return 0

    async def _follow(self, transport: _Transport, request: RemoteCallRequest) -> None:
        async with aclosing(transport.stream(request)) as events:
            async for event in events:
                if self._args.json:
                    _show_json(event)
                else:
                    self._show(event)

    def _show(self, event: NatsStreamEvent) -> None:
        if event.restarted:
            self._end_line()
            tell("the agent was replaced and begins anew; what came before is void")
        elif event.text:
            sys.stdout.write(shown(event.text))
            sys.stdout.flush()
            self._open_line = not event.text.endswith("\n")
        if event.result is not None:
            self._end_line()
            say(event.result if isinstance(event.result, str) else json_of(event.result))

    def _end_line(self) -> None:
        if self._open_line:
            self._open_line = False
            say()

    # The end by a signal

    @contextlib.contextmanager
    def _cancelled_by_signals(self) -> Iterator[None]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        numbers = (signal.SIGINT, signal.SIGTERM)

        def stop(number: int) -> None:
            self._signal = number
            if task is not None:
                task.cancel()

        for number in numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def _cancel(self, transport: _Transport, request: RemoteCallRequest) -> int:
        if not self._signal:
            raise asyncio.CancelledError
        task_id = str(request.task_id)
        outcome = await transport.cancel_task(agent_url=request.agent_url, task_id=task_id)
        self._end_line()
        tell(f"task {task_id}: {outcome}")
        return 128 + self._signal


def _payload(args: Namespace) -> Any:
    text = sys.stdin.read() if args.payload == "-" else args.payload
    if text is None or args.text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _show_json(event: NatsStreamEvent) -> None:
    fields = {
        "task_id": event.task_id,
        "position": event.position,
        "text": event.text,
        "done": event.done,
        "meta": event.meta,
        "result": event.result,
    }
    kept = {name: value for name, value in fields.items() if value not in (None, False)}
    say(json.dumps(to_jsonable_python(kept, fallback=str, inf_nan_mode="null")))


__all__ = ["CallOfAgent", "add_call"]
