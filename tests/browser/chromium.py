"""A real headless Chromium, driven over a pipe by its own protocol."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_LIMIT = 60.0
# The browser reads commands on descriptor 3 and writes answers on 4.
_LAUNCHER = """
import os, sys
first, second = (os.dup(int(n)) for n in sys.argv[1:3])
for number, target in ((os.dup(first), 3), (os.dup(second), 4)):
    os.dup2(number, target)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class BrowserMissing(RuntimeError):
    """There is no browser to look with."""


def find_chromium() -> str:
    """The binary: `CHROMIUM_BIN`, else the first known name on the path.

    Raises:
        BrowserMissing: there is none; the message says what to do.
    """
    named = os.environ.get("CHROMIUM_BIN")
    candidates = (named,) if named else _NAMES
    for name in candidates:
        found = shutil.which(name)
        if found is not None:
            return found
    msg = f"none of {', '.join(candidates)} can be run; install Chromium, or set CHROMIUM_BIN"
    raise BrowserMissing(msg)


class Page:
    """One tab."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; what it answers."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        limit = time.monotonic() + _LIMIT
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0, limit - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser is gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def open(self, path: Path) -> None:
        """Load a file and wait until it is laid out."""
        self.call("Page.navigate", url=path.as_uri())
        while self.value("document.readyState + location.href") != f"complete{path.as_uri()}":
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """A key, down and up."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "End": 35}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        kind = "keyDown" if text else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=kind, text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start a browser with a profile of its own, and end it."""
    in_browser, to_browser = os.pipe()
    from_browser, out_browser = os.pipe()
    command = [
        find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-dev-shm-usage", "--window-size=1200,900", "--remote-debugging-pipe",
        f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip

    given = (str(in_browser), str(out_browser))
    launch = [sys.executable, "-c", _LAUNCHER, *given, *command]
    with (folder / "browser.log").open("wb") as log:
        browser = subprocess.Popen(
            launch, pass_fds=(in_browser, out_browser), stdout=log, stderr=log
        )
        os.close(in_browser)
        os.close(out_browser)
        try:
            yield Page(to_browser, from_browser)
        finally:
            browser.terminate()
            browser.wait(timeout=20)
            os.close(to_browser)
            os.close(from_browser)
