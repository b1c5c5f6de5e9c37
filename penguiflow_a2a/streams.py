"""The events of a task that somebody follows, as the protocol streams them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from penguiflow.remote_models import REMOTE_TERMINAL_TASK_STATES, RemoteTaskState
from penguiflow.serving.board import Following
from penguiflow.serving.models import Began, News
from penguiflow_a2a.picture import Event, TaskPicture

_WAITS = frozenset((RemoteTaskState.INPUT_REQUIRED, RemoteTaskState.AUTH_REQUIRED))


def is_settled(picture: TaskPicture) -> bool:
    """Whether the task is over or waits for its caller."""
    return picture.state in _WAITS or picture.state in REMOTE_TERMINAL_TASK_STATES


async def settled(picture: TaskPicture, following: Following) -> None:
    """Fold what happens until the task is over or waits for its caller."""
    if is_settled(picture):
        return
    async with aclosing(following.news()) as news:
        async for each in news:
            picture.fold(each)
            if is_settled(picture):
                return


async def sent_events(
    picture: TaskPicture, following: Following, *, hold: float
) -> AsyncGenerator[Event, None]:
    """The task, then its events until it is over or waits; or a bare message, which comes alone.

    Args:
        picture: The task as it was when the following began.
        following: Of the task.
        hold: Seconds to wait for a bare message.
    """
    if is_settled(picture):
        yield picture.message or picture.task()
        return
    async with aclosing(_Ahead(following.news())) as news:
        seen = await news.peek(hold) if picture.state is RemoteTaskState.SUBMITTED else []
        alone = picture.after(seen)
        if alone.message is not None:
            yield alone.message
            return
        yield picture.task()
        async for each in news.rest():
            for event in picture.take(each):
                yield event
            if is_settled(picture):
                return


async def followed_events(
    picture: TaskPicture, following: Following
) -> AsyncGenerator[Event, None]:
    """The task, then its events until it is over."""
    yield picture.task()
    async with aclosing(following.news()) as news:
        async for each in news:
            for event in picture.take(each):
                yield event


class _Ahead:
    """News that may be looked at before they are taken."""

    def __init__(self, news: AsyncGenerator[News, None]) -> None:
        self._news = news
        self._seen: list[News] = []
        self._next: asyncio.Future[News] | None = None

    async def peek(self, seconds: float) -> list[News]:
        """What comes within so many seconds, up to the first that is more than a beginning."""
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(seconds):
                while not self._seen or isinstance(self._seen[-1], Began):
                    if self._next is None:
                        self._next = asyncio.ensure_future(anext(self._news))
                    # Not cancelled with the wait: that would end the generator.
                    self._seen.append(await asyncio.shield(self._next))
                    self._next = None
        return list(self._seen)

    async def rest(self) -> AsyncGenerator[News, None]:
        """All of them."""
        for each in self._seen:
            yield each
        if self._next is not None:
            with contextlib.suppress(StopAsyncIteration):
                yield await self._next
            self._next = None
        async for each in self._news:
            yield each

    async def aclose(self) -> None:
        """Take no more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._news.aclose()
