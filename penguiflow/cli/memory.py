"""How the garbage collector is set in a process that only serves."""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 10_000
"""Objects until a look at the young ones. Each input in hand holds some dozens, so that Python's
default of 700 has them all looked at every few inputs, in vain: almost nothing is in a cycle."""


def settle_collector() -> None:
    """Keep what a process has loaded out of the collector's way, and let it look less often.

    For processes that are ours from start to end, after the user's modules are loaded; a library
    must not change this for its host. A sixth of a busy worker's time goes to the collector
    otherwise. A module of the user that sets the collector itself is respected.
    """
    if gc.get_threshold() != (700, 10, 10) or not gc.isenabled():
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
