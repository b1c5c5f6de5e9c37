"""tools/run.py, by itself and under make: what a target starts is stopped at its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "run.py"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")

UNWINDS = """\
import pathlib, subprocess, sys, time
here = pathlib.Path(sys.argv[0]).parent
try:
    (here / "started").touch()
    time.sleep(60)
finally:
    (here / "tidied").touch()
"""

LEAVES_A_CHILD = """\
import pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
(pathlib.Path(sys.argv[0]).parent / "pid").write_text(str(child.pid))
sys.exit(5)
"""

LOOKS_FOR_AN_ORPHAN_THAT_DIED = """\
import pathlib, subprocess, time
pid = int(subprocess.run(["sh", "-c", "true >&2 & echo $!"], stdout=subprocess.PIPE).stdout)
end = time.monotonic() + 10
while pathlib.Path(f"/proc/{pid}").exists():
    assert time.monotonic() < end, "the dead orphan is still to be seen"
    time.sleep(0.01)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the program of a test."""

    def write(text: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(text)
        return path

    return write


def supervised(*command: str | Path) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, command)]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        supervised(*command), capture_output=True, text=True, timeout=30, check=False
    )


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)],
)
def test_exit_status_is_that_of_the_command(code: str, status: int) -> None:
    done = run(sys.executable, "-c", code)
    assert done.returncode == status
    assert done.stderr == ""


def test_missing_command_is_named() -> None:
    done = run("no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_output_and_arguments_pass_through() -> None:
    assert run("echo", "a b", "-x").stdout == "a b -x\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signal_reaches_the_command_as_an_interrupt(
    script: Callable[[str], Path], signum: signal.Signals
) -> None:
    program = script(UNWINDS)
    process = subprocess.Popen(supervised(sys.executable, program), stderr=subprocess.DEVNULL)
    wait_for(program.with_name("started"))
    process.send_signal(signum)
    assert process.wait(20) == 128 + signum
    assert program.with_name("tidied").exists()


def test_signal_arrives_where_a_shell_had_interrupts_ignored(
    script: Callable[[str], Path],
) -> None:
    program = script(UNWINDS)
    background = [
        "sh",
        "-c",
        "trap '' INT; exec \"$@\"",
        "sh",
        *supervised(sys.executable, program),
    ]
    process = subprocess.Popen(background, stderr=subprocess.DEVNULL)
    wait_for(program.with_name("started"))
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert program.with_name("tidied").exists()


@linux_only
def test_what_the_command_leaves_running_is_named_and_stopped(
    script: Callable[[str], Path],
) -> None:
    program = script(LEAVES_A_CHILD)
    done = run(sys.executable, program)
    pid = int(program.with_name("pid").read_text())
    assert done.returncode == 5
    assert f"sleep ({pid})" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@linux_only
def test_dead_orphan_does_not_look_alive(script: Callable[[str], Path]) -> None:
    done = run(sys.executable, script(LOOKS_FOR_AN_ORPHAN_THAT_DIED))
    assert done.returncode == 0, done.stderr


# ---- under make ----------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A checkout whose demo waits; its environment is the one of this test."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    program = tmp_path / "examples" / "stdlib_census" / "flow.py"
    program.parent.mkdir(parents=True)
    program.write_text(UNWINDS)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return program


@pytest.mark.parametrize(
    ("send", "signum"),
    [
        (os.killpg, signal.SIGINT),  # Ctrl-C: the terminal sends it to all of them
        (os.kill, signal.SIGTERM),
        (os.kill, signal.SIGKILL),
    ],
    ids=["ctrl-c", "term", "kill"],
)
def test_stopped_make_lets_the_demo_tidy_up(
    demo: Path, send: Callable[[int, int], None], signum: signal.Signals
) -> None:
    process = subprocess.Popen(
        ["make", "demo", "PYTHON=true"],  # true: there is nothing to set up
        cwd=demo.parents[2],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(demo.with_name("started"))
    send(process.pid, signum)
    assert process.wait(20) != 0
    wait_for(demo.with_name("tidied"))
