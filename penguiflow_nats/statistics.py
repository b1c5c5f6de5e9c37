"""What a connection counts."""

from typing import NamedTuple


class ConnectionStatistics(NamedTuple):
    """Counters of one connection since it was opened."""

    requests: int
    """Requests sent."""
    waiting: int
    """Requests that wait for an answer now."""
    timeouts: int
    """Requests that got none in time."""
    callback_errors: int
    """Exceptions raised by subscription callbacks."""
    denied: int
    """Permission violations that the server reported."""
    reconnects: int
    """Times the connection was lost and came back."""
