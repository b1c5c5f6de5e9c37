"""Runs one command for make, and leaves nothing running behind it.

    python tools/run.py .venv/bin/python -m pytest -q

make hands a SIGTERM on to its recipe, and a program that is ended by one does not tidy up; a killed
make tells nobody at all. So this process stands between:

* SIGTERM, SIGHUP and the death of make reach the command as SIGINT, on which Python unwinds.
  A Ctrl-C has reached the command already, because the terminal sends it to all of them.
* What the command orphaned is adopted (Linux only), and at the end named and stopped.

The exit status is that of the command.
"""

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

GRACE = 20.0
"""Seconds that the command has to tidy up after it was asked to stop."""

LEFTOVER_GRACE = 1.0
"""Seconds in which children of a finished command may still end by themselves."""

PR_SET_CHILD_SUBREAPER = 36


class Run:
    """One command under supervision."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.asked_at: float | None = None
        self.asked_by: int | None = None
        self.parent = os.getppid()

    def to_the_end(self, command: list[str]) -> int:
        """Starts the command, waits for it and returns its exit status."""
        # A handler, not SIG_IGN, even for SIGINT: the command then starts with the default action,
        # also where a shell in the background had set it to be ignored.
        signal.signal(signal.SIGINT, lambda *_: None)
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self.ask)
        signal.signal(signal.SIGALRM, self.tick)
        self.pid = os.posix_spawnp(command[0], command, os.environ)
        if self.asked_at is not None:
            os.kill(self.pid, signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
        status = self.wait(self.pid)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self.asked_by is not None:
            return 128 + self.asked_by
        return status if status >= 0 else 128 - status

    def ask(self, signum: int, _frame: object) -> None:
        """Asks the command to stop, once."""
        if self.asked_at is not None:
            return
        self.asked_at = time.monotonic()
        self.asked_by = signum
        if self.pid is not None:
            os.kill(self.pid, signal.SIGINT)

    def tick(self, _signum: int, _frame: object) -> None:
        """Looks twice a second for a make that is gone and for a command that does not stop."""
        if os.getppid() != self.parent:
            self.ask(signal.SIGHUP, None)
        overdue = self.asked_at is not None and time.monotonic() - self.asked_at > GRACE
        if overdue and self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    @staticmethod
    def wait(wanted: int) -> int:
        """Reaps every child, adopted ones too, so that no dead process looks alive."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == wanted:
                return os.waitstatus_to_exitcode(status)


def adopt_orphans() -> None:
    """Makes this process the parent of the orphans below it, so that it finds them at the end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> dict[int, str]:
    """Process ids and names of everything below a process; empty where there is no /proc."""
    names: dict[int, str] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:  # gone between the listing and the reading
            continue
        head, _, tail = text.rpartition(")")
        pid, _, names_pid = head.partition(" (")
        names[int(pid)] = names_pid
        children[int(tail.split()[1])].append(int(pid))
    found: dict[int, str] = {}
    waiting = list(children[root])
    while waiting:
        pid_found = waiting.pop()
        found[pid_found] = names[pid_found]
        waiting += children[pid_found]
    return found


def wait_until_alone(seconds: float) -> dict[int, str]:
    """Reaps until nothing is left below us or the time is over, and returns what is left."""
    end = time.monotonic() + seconds
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        left = descendants(os.getpid())
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.02)


def stop_leftovers() -> None:
    """Stops what the command left running, and says so: it should have done that itself."""
    left = wait_until_alone(LEFTOVER_GRACE)
    if left:
        names = ", ".join(f"{name} ({pid})" for pid, name in sorted(left.items()))
        print(f"tools/run.py: stopping what was left running: {names}", file=sys.stderr, flush=True)
    for signum, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0), (signal.SIGKILL, 1.0)):
        for pid in left:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue
        if left:
            left = wait_until_alone(seconds)


def main(command: list[str]) -> int:
    """The command line."""
    if not command:
        print("usage: run.py COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    adopt_orphans()
    try:
        return Run().to_the_end(command)
    except FileNotFoundError as error:
        print(f"tools/run.py: {error}", file=sys.stderr)
        return 127
    finally:
        stop_leftovers()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
