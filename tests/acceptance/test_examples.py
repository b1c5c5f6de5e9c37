"""The examples and the README's code run as they stand, and leave no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MARK = "PENGUIFLOW_TEST_RUN"

_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# (\w+\.py)\n")


@dataclass
class Program:
    """Starts Python programs that can be told from all others by a variable."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, script: Path, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(script), *arguments],
            cwd=self.folder,
            env=os.environ | {MARK: self.mark, "PYTHONUNBUFFERED": "1"} | self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: Path, *arguments: str) -> str:
        """What it prints; it must end well and say nothing on standard error."""
        process = self.start(script, *arguments)
        out, err = process.communicate(timeout=50)
        assert (process.returncode, err) == (0, ""), out
        return out

    def left(self) -> list[int]:
        """Process ids of what was started and still runs, however it was detached."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in environment.read_bytes().split(b"\0"):
                    found.append(int(environment.parent.name))
            except OSError:  # it ended meanwhile, or is another user's
                continue
        return found


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """In a folder that is not the repository's. At the end nothing of it runs."""
    started = Program(tmp_path)
    yield started
    end = time.monotonic() + 5
    while (left := started.left()) and time.monotonic() < end:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"{len(left)} processes were left"


def test_quickstart(program: Program) -> None:
    out = program.run(EXAMPLES / "quickstart" / "flow.py")
    assert out.splitlines() == [
        "'penguins walk' has 2 words",
        "'and they swim very well' has 5 words",
    ]


def test_quickstart_is_about_forty_lines() -> None:
    lines = (EXAMPLES / "quickstart" / "flow.py").read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 45


def test_trace_cancel_reaches_the_subflow(program: Program) -> None:
    out = program.run(EXAMPLES / "trace_cancel" / "flow.py")
    events = [tuple(line.split()) for line in out.splitlines()]
    assert ("parent", "piano", "trace_cancel_start", "OpenSea") in events
    assert ("parent", "piano", "node_trace_cancelled", "order") in events
    assert ("parent", "piano", "trace_cancel_finish", "Rookery") in events
    assert ("subflow", "piano", "node_success", "pack") not in events
    assert ("subflow", "book", "node_success", "pack") in events
    assert out.splitlines()[-2:] == [
        "cancelled: subflow, parent of trace piano (True)",
        "not touched: a packed book, on its way",
    ]


def test_two_workers(program: Program) -> None:
    out = program.run(EXAMPLES / "two_workers" / "flow.py")
    assert re.findall(r"chunk (\d): (\w+)", out) == [
        ("0", "boxed"),
        ("1", "labelled"),
        ("2", "shipped"),
    ]
    assert "result: order 0: a tent" in out
    assert "worker B is killed after 5 results" in out
    assert "20 results, from 'order 1: a lamp' to 'order 20: a lamp'" in out
    assert re.search(r"fetch: trace cancelled: \w{32}\n  status: cancelled", out)
    shares = re.findall(r"worker (\w)  (pick|ship) +(\d+)", out)
    assert {label for label, _, _ in shares} == {"A", "B"}
    for node in ("pick", "ship"):
        assert sum(int(count) for _, name, count in shares if name == node) == 20
    assert "together 40 of 40" in out
    assert out.endswith("Everything that was started is stopped.\n")


@pytest.mark.parametrize("line", ["nats-server at", "worker B is process", "worker B is killed"])
def test_two_workers_stop_everything_on_interrupt(program: Program, line: str) -> None:
    process = program.start(EXAMPLES / "two_workers" / "flow.py")
    assert process.stdout is not None
    for said in process.stdout:
        if line in said:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert out.endswith("Interrupted. Everything that was started is stopped.\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server outlives a killed parent")
def test_two_workers_end_with_a_killed_parent(program: Program) -> None:
    process = program.start(EXAMPLES / "two_workers" / "flow.py")
    assert process.stdout is not None
    for said in process.stdout:
        if "orders:" in said:
            break
    process.kill()
    process.communicate(timeout=30)


def test_the_flow_of_two_workers_is_found_by_the_command_line() -> None:
    from penguiflow.cli.loading import load_flow

    flow = load_flow(f"{EXAMPLES / 'two_workers' / 'flow.py'}:flow")
    assert [node.name for node in flow.graph.nodes] == ["pick", "ship"]


@pytest.fixture
def readme(tmp_path: Path) -> Callable[[str], str]:
    """Writes the README's programs into a folder; gives what it says that one of them prints."""
    blocks = _BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    printed = {}
    for (kind, text), (next_kind, output) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind != "python":
            continue
        name = _NAME.match(text)
        assert name is not None, "the first line of a Python block names its file"
        assert next_kind == "text", f"after {name[1]} stands what it prints"
        (tmp_path / name[1]).write_text(text)
        printed[name[1]] = output
    return printed.__getitem__


@pytest.mark.parametrize("name", ["hello.py", "over_workers.py"])
def test_the_code_of_the_readme(program: Program, readme: Callable[[str], str], name: str) -> None:
    program.variables["PYTHONPATH"] = str(ROOT)  # as if it were installed
    assert program.run(program.folder / name) == readme(name)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
