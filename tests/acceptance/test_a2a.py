"""A2A as a user has it: the command, and the examples as they stand."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import httpx
import pytest

from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import environment
from tests.acceptance.test_examples import EXAMPLES, Program
from tests.acceptance.test_examples import program as program  # noqa: PLC0414 - the fixture

STOPPED = "Everything that was started is stopped.\n"
pytestmark = pytest.mark.timeout(120)

AGENT = '''
async def greet(message, ctx):
    """Greets whoever writes."""
    return f"hello {message.payload}"
'''


def test_grpc_server(program: Program) -> None:
    out = program.run(EXAMPLES / "a2a_grpc_server" / "flow.py")
    assert "counter: Counts the words of a text, and says each of them." in out
    assert "task TASK_STATE_COMPLETED" in out
    assert "stream: 'and '\nstream: 'dive '\n" in out
    assert out.endswith(STOPPED)


def test_replicas(program: Program) -> None:
    out = program.run(EXAMPLES / "a2a_replicas" / "flow.py")
    assert re.search(r"killed after \d+ pieces", out)
    assert "all 40 pieces, each once: True" in out
    assert out.endswith(STOPPED)


def test_mesh(program: Program) -> None:
    out = program.run(EXAMPLES / "a2a_mesh" / "flow.py")
    assert "the agent says {'words': 3}" in out
    assert out.endswith(STOPPED)


@pytest.mark.parametrize("board", ["nats", "memory"])
async def test_serve_takes_messages_until_it_is_told_to_stop(tmp_path: Path, board: str) -> None:
    (tmp_path / "app.py").write_text(AGENT)
    async with EmbeddedServer() as server:
        command = ["-m", "penguiflow.cli", "a2a", "serve", "app:greet", "--port", "0"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *("--grpc-port", "0", "--board", board, "--nats", server.url, "--drain", "2"),
            cwd=tmp_path,
            env=environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(40):
                line = (await process.stderr.readline()).decode()
            found = re.search(r"ready: (http://[\d.:]+), gRPC [\d.:]+, board", line)
            assert found, line
            async with httpx.AsyncClient(headers={"A2A-Version": "1.0"}, timeout=30) as client:
                card = (await client.get(found[1] + "/.well-known/agent-card.json")).json()
                assert card["skills"][0]["description"] == "Greets whoever writes."
                assert {each["protocolBinding"] for each in card["supportedInterfaces"]} == {
                    "JSONRPC",
                    "HTTP+JSON",
                    "GRPC",
                }
                message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "you"}]}
                answer = await client.post(found[1] + "/message:send", json={"message": message})
                task = answer.json()["task"]
                assert task["artifacts"][0]["parts"][0]["text"] == "hello you"
            process.terminate()
            async with asyncio.timeout(40):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
