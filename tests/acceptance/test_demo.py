"""The demo as a newcomer starts it, on a small tree: its figures, last line, and what it leaves.

The figures are compared with those of a plain loop in this process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penguiflow_nats.server import find_server
from tests.acceptance.cli_process import ROOT, environment

EXAMPLE = ROOT / "examples" / "stdlib_census"
LAST_LINE = re.compile(
    r"audit: sent=(\d+) settled=(\d+) lost=(\d+) twice=(\d+) killed=(\d+) trace=([0-9a-f]{32})"
)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small library: some packages of several sizes, one file that cannot be parsed."""
    root = tmp_path / "library"
    for number, size in enumerate((1, 3, 12, 30, 5, 9)):
        package = root / f"package{number}"
        package.mkdir(parents=True)
        for file in range(size):
            body = "\n".join(f"    if a > {n}:\n        a += {n}" for n in range(file + 1))
            text = f'"""File {file}."""\n\n# why\ndef function{file}(a):\n{body}\n    return a\n'
            (package / f"m{file}.py").write_text(text)
    (root / "package2" / "broken.py").write_text("def (:\n")
    (root / "top.py").write_text("x = 1\n")
    return root


class Started:
    """A demo that runs in a session of its own, and what it says."""

    def __init__(self, tree: Path, out: Path, *arguments: str) -> None:
        self.out = out
        # Everything that it starts inherits this, so that it can be found again.
        self.mark = f"CENSUS_TEST={out}"
        extra = {"CENSUS_ROOT": str(tree), "CENSUS_TEST": str(out), "TMPDIR": str(temporary(out))}
        command = [sys.executable, str(EXAMPLE / "flow.py"), "--out", str(out), *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=out.parent,
            env=environment({**extra, "PYTHONPATH": ""}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def said(self, part: str) -> None:
        """Wait for a line on standard output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if part in line:
                return
        raise AssertionError(f"never said {part!r}")

    def left(self) -> list[int]:
        """Processes of this demo that still run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def leaves_nothing(self) -> bool:
        """Whether all its processes and temporary files are gone, after a moment at most."""
        end = time.monotonic() + 5
        while (self.left() or any(temporary(self.out).iterdir())) and time.monotonic() < end:
            time.sleep(0.05)
        return not self.left() and not any(temporary(self.out).iterdir())


def temporary(out: Path) -> Path:
    folder = out.parent / "temporary"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def demo(tree: Path, out: Path, *arguments: str) -> Iterator[Started]:
    started = Started(tree, out, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.communicate()
        for pid in started.left():
            os.kill(pid, signal.SIGKILL)


def direct(tree: Path, out: Path, *arguments: str) -> str:
    """The Markdown report of the census in one process."""
    command = [sys.executable, str(EXAMPLE / "census_direct.py"), str(out), *arguments]
    env = environment({"CENSUS_ROOT": str(tree)})
    subprocess.run(command, env=env, check=True, capture_output=True)
    return (out / "report.md").read_text()


def test_it_counts_every_file_once_although_a_worker_is_killed(tree: Path, tmp_path: Path) -> None:
    with demo(tree, tmp_path / "report") as started:
        out, err = started.process.communicate()
        assert (started.process.returncode, err) == (0, ""), out
        sent, settled, lost, twice, killed, trace = last_line(out)
        assert (sent, settled, lost, twice, killed) == ("62", "62", "0", "0", "1")
        assert re.search(r"killed worker \d \(pid \d+\) with SIGKILL, started worker 4", out)
        assert f"trace {trace}: completed after " in out
        assert (started.out / "report.md").read_text() == direct(tree, tmp_path / "direct")
        assert trace in (started.out / "report.html").read_text()
        assert started.leaves_nothing()


def last_line(out: str) -> tuple[str, ...]:
    found = LAST_LINE.fullmatch(out.splitlines()[-1])
    assert found is not None, out
    return found.groups()


def test_options_choose_packages_and_workers_and_that_nobody_is_killed(
    tree: Path, tmp_path: Path
) -> None:
    options = ("--limit", "3", "--workers", "1", "--no-kill")
    with demo(tree, tmp_path / "report", *options) as started:
        out, _ = started.process.communicate()
        assert started.process.returncode == 0
        assert last_line(out)[:5] == ("5", "5", "0", "0", "0")
        assert "killed worker" not in out
        expected = direct(tree, tmp_path / "direct", "--limit", "3")
        assert (started.out / "report.md").read_text() == expected


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle_it_leaves_nothing(
    signum: signal.Signals, tree: Path, tmp_path: Path
) -> None:
    with demo(tree, tmp_path / "report") as started:
        started.said("files, 0 redelivered")
        began = time.monotonic()
        started.process.send_signal(signum)
        started.process.communicate(timeout=30)
        assert time.monotonic() - began < 15
        assert started.process.returncode == 128 + signum
        assert started.leaves_nothing()


def test_interrupted_while_it_starts_it_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    with demo(tree, tmp_path / "report") as started:
        started.said("Starting")
        started.process.send_signal(signal.SIGINT)
        started.process.communicate(timeout=30)
        assert started.process.returncode == 130
        assert started.leaves_nothing()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end children with their parent")
def test_killed_it_leaves_no_process(tree: Path, tmp_path: Path) -> None:
    with demo(tree, tmp_path / "report") as started:
        started.said("files, 0 redelivered")
        started.process.kill()
        started.process.communicate(timeout=30)
        end = time.monotonic() + 10
        while started.left() and time.monotonic() < end:
            time.sleep(0.05)
        assert started.left() == []


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_started(
    tree: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with demo(tree, taken) as started:
        out, err = started.process.communicate()
        assert started.process.returncode == 1
        assert out == ""
        assert err.startswith(f"error: no report can be written to {taken}: ")
        assert err.rstrip().endswith("name another folder by --out")
        assert err.count("\n") == 1


def test_without_a_server_binary_it_says_how_to_get_one(tree: Path, tmp_path: Path) -> None:
    assert find_server().exists()
    command = [sys.executable, str(EXAMPLE / "flow.py"), "--out", str(tmp_path / "report")]
    env = environment({"CENSUS_ROOT": str(tree), "NATS_SERVER": str(tmp_path / "none")})
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: nats-server not found: ")
    assert "NATS_SERVER" in done.stderr
    assert "Traceback" not in done.stderr
