"""The examples of remote agents run as they stand, and leave no process behind."""

from __future__ import annotations

import re
import signal

import pytest

from tests.acceptance.test_examples import EXAMPLES, Program
from tests.acceptance.test_examples import program as program  # noqa: PLC0414 - the fixture

STOPPED = "Everything that was started is stopped.\n"


def test_remote_agent(program: Program) -> None:
    out = program.run(EXAMPLES / "remote_agent" / "flow.py")
    chunks = re.findall(r"chunk (\d): (\w+)", out)
    assert chunks == [("0", "there"), ("1", "was"), ("2", "a"), ("3", "penguin")]
    assert "result: {'words': 4}" in out
    assert "chunk: thinking about the iceberg\n  cancel: True\n  agent: no more thinking" in out
    assert out.endswith(STOPPED)


def test_resume_stream(program: Program) -> None:
    out = program.run(EXAMPLES / "resume_stream" / "flow.py")
    assert "the caller heard 'piece 0' to 'piece 9' and was killed at 1.10" in out
    assert "we heard 'piece 10' to 'piece 39'" in out
    assert "result: {'pieces': 40, 'attempts': 1}" in out
    assert "Together all 40 pieces, each once: True" in out
    assert out.endswith(STOPPED)


def test_agent_mesh(program: Program) -> None:
    out = program.run(EXAMPLES / "agent_mesh" / "flow.py")
    found = ["  critic 1.0.0: judge", "  editor 1.0.0: edit", "  writer 1.0.0: write"]
    assert out.splitlines()[1:4] == found
    drafts = " ".join(f"draft {n} about penguins" for n in (1, 2, 3))
    assert f"heard: {drafts}\n  result: {{'text': 'draft 3', 'drafts': 3}}" in out
    assert "7 of 7 pieces of work are in one trace" in out
    assert "the call is cancelled\n  the writer, two calls away, has stopped" in out
    assert out.endswith(STOPPED)


@pytest.mark.parametrize("name", ["remote_agent", "resume_stream", "agent_mesh"])
def test_an_interrupt_stops_everything(program: Program, name: str) -> None:
    process = program.start(EXAMPLES / name / "flow.py")
    assert process.stdout is not None
    for said in process.stdout:
        if said == "\n":  # the agents are there, and the first call begins
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)
    assert (process.returncode, err) == (130, "")
    assert out.endswith(f"Interrupted. {STOPPED}")
