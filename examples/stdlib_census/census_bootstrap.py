"""Makes ``penguiflow`` importable where it is not installed: in a checkout. Import it first."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if importlib.util.find_spec("penguiflow") is None:
    _root = str(HERE.parents[1])
    sys.path.insert(0, _root)
    # The worker processes need it too.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_root, os.environ.get("PYTHONPATH"))))
