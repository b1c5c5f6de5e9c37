"""The test kit: a clock that is turned by hand, and a log that fails on purpose."""

from penguiflow.testing.clock import VirtualClock

__all__ = ["VirtualClock"]
