"""The test kit: a clock that is turned by hand, and a log that fails on purpose."""

from penguiflow.testing.bad_line import Fault
from penguiflow.testing.clock import VirtualClock
from penguiflow.testing.faults import FaultyLog

__all__ = ["Fault", "FaultyLog", "VirtualClock"]
