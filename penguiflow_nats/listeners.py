"""Lists of callbacks, where one that raises does not silence the others."""

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec

logger = logging.getLogger("penguiflow.nats")

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Callbacks for one kind of event."""

    def __init__(self) -> None:
        """Begin with none."""
        self._listeners: dict[object, Callable[P, None]] = {}

    def add(self, listener: Callable[P, None]) -> Callable[[], None]:
        """Call `listener` from now on; returns how to end that."""
        key = object()
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)

        return remove

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all of them, in the order they were added."""
        for listener in list(self._listeners.values()):
            try:
                listener(*args, **kwargs)
            except Exception:
                logger.exception("a connection listener raised")
