"""`penguiflow agent` and `penguiflow agents`: a replica, and what a user sees of it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import Running, environment, run, running

AGENTS = """
import asyncio
from pathlib import Path

from pydantic import BaseModel

from penguiflow import Node, NodePolicy, create
from penguiflow_nats.agent import AgentOptions, Result, Skill
from penguiflow_nats.commands.agent import AgentSpec


class Words(BaseModel):
    count: int


async def summarise(message, ctx):
    for word in ("short ", "and ", "sweet"):
        yield word
    yield Result(Words(count=len(message.payload.split())))


async def echo(message, ctx):
    return message.payload


async def wait(message, ctx):
    yield "waiting"
    try:
        await asyncio.sleep(60)
    finally:
        Path(message.payload["note"]).write_text("cancelled")


async def fail(message, ctx):
    raise ValueError("no words")


agent = AgentSpec(
    "summary",
    skills=[
        Skill("summarise", summarise, input=str, output=Words, description="In few words"),
        Skill("echo", echo),
        Skill("wait", wait),
        Skill("fail", fail),
    ],
    options=AgentOptions(version="1.2.0", description="Makes it short", lease=2.0),
)
flow = create(Node(echo, name="echo", policy=NodePolicy(validate="none")).to(), name="as-flow")
nothing = 3
"""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENTS)
    return tmp_path


@pytest.fixture
async def replica(server: EmbeddedServer, folder: Path) -> AsyncIterator[Running]:
    async with running("agent", "agents:agent", "--nats", server.url, cwd=folder) as replica:
        await replica.line("agent summary ready")
        yield replica


async def agents(server: EmbeddedServer, folder: Path, *arguments: str) -> tuple[int, str, str]:
    env = {"PENGUIFLOW_NATS_URL": server.url}
    done = await asyncio.to_thread(run, "agents", *arguments, cwd=folder, env=env)
    return done.returncode, done.stdout, done.stderr


async def test_a_replica_says_that_it_is_ready_takes_calls_and_drains(
    server: EmbeddedServer, folder: Path, replica: Running
) -> None:
    line = await replica.line("ready")
    assert re.fullmatch(r"agent summary ready: replica \w{16}, tenant default", line)
    replica.signal()
    assert await replica.status() == 0
    assert "SIGTERM: draining for at most 30 s" in replica.lines


async def test_a_flow_and_a_file_are_served_under_a_name_and_a_tenant(
    server: EmbeddedServer, folder: Path
) -> None:
    env = {"PENGUIFLOW_NATS_URL": server.url, "PENGUIFLOW_TENANT": "blue"}
    async with (
        running("agent", "agents.py:flow", cwd=folder, env=env) as flow,
        running("agent", "agents:echo", "--name", "parrot", cwd=folder, env=env) as parrot,
    ):
        await flow.line("agent as-flow ready")
        await parrot.line("agent parrot ready")
        assert (await agents(server, folder, "ls"))[1].startswith("no agent of tenant default")
        _, out, _ = await agents(server, folder, "ls", "--tenant", "blue", "--json")
        assert [each["name"] for each in json.loads(out)] == ["as-flow", "parrot"]
        call = ("call", "as-flow", "as-flow", "[1]", "--tenant", "blue")
        assert (await agents(server, folder, *call))[:2] == (0, "[\n  1\n]\n")


async def test_a_replica_answers_prompts_of_the_other_protocol(
    server: EmbeddedServer, folder: Path
) -> None:
    prompts = ("--prompts", "summarise", "--owner", "zoo", "--nats", server.url)
    async with running("agent", "agents:agent", *prompts, cwd=folder) as replica:
        await replica.line("agent summary ready")
        nc = await nats.connect(server.url)
        inbox = nc.new_inbox()
        answers = await nc.subscribe(inbox)
        await nc.publish("agents.prompt.summary.zoo.default", b"a long text", reply=inbox)
        found = []
        while data := (await answers.next_msg(timeout=10)).data:
            found.append(json.loads(data)["data"])
        await nc.close()
        assert found[2:] == ["short ", "and ", "sweet"]
        replica.signal()
        assert await replica.status() == 0


@pytest.mark.parametrize("name", ["agents:nothing", "agents:missing", "no_module:agent", "agents"])
def test_what_is_no_agent_is_refused(folder: Path, name: str) -> None:
    done = run("agent", name, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


async def test_ls_and_info(server: EmbeddedServer, folder: Path, replica: Running) -> None:
    status, out, _ = await agents(server, folder, "ls")
    assert status == 0
    assert re.search(r"^summary +1\.2\.0 +1 +echo,fail,summarise,wait +Makes it short$", out, re.M)
    await agents(server, folder, "call", "summary", "fail")
    status, out, _ = await agents(server, folder, "info", "summary")
    assert status == 0
    assert "skill summarise\n  In few words\n" in out
    assert '"count"' in out
    assert "1 calls, " in out
    assert "'HANDLER_EXCEPTION ValueError: no words'" in out
    found = json.loads((await agents(server, folder, "info", "summary", "--json"))[1])
    assert found["address"] == "nats://summary"
    status, out, err = await agents(server, folder, "info", "other")
    assert (status, out) == (1, "")
    assert err == "error: no agent other of tenant default answers; hint: there are summary\n"


async def test_call_streams_and_shows_the_result_without_the_agents_classes(
    server: EmbeddedServer, folder: Path, replica: Running
) -> None:
    call = ("call", "summary", "summarise", "a long text")
    answer = 'short and sweet\n{\n  "count": 3\n}\n'
    assert await agents(server, folder, *call) == (0, answer, "")
    by_skill = ("call", "nats://?skill=summarise&version=1", "summarise", "a long text")
    assert await agents(server, folder, *by_skill) == (0, answer, "")
    _, out, _ = await agents(server, folder, *call, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event.get("text") for event in events[1:4]] == ["short ", "and ", "sweet"]
    assert events[-1]["result"] == {"count": 3}
    assert (await agents(server, folder, "call", "summary", "echo", "[1]", "--text"))[1] == "[1]\n"


FAILURES = [
    (("summary", "fail"), 1, "ValueError: no words"),
    (("summary", "nothing"), 1, "UNKNOWN_SKILL"),
    (("summary", "summarise", "3"), 1, "INVALID_INPUT"),
    (("nats://?skill=paint", "paint"), 1, "there are summary 1.2.0"),
    (("nats://a.b/c", "paint"), 2, "no address"),
    (("summary", "wait", '{"note": "note"}', "--timeout", "2"), 1, "error: "),
]


async def test_a_call_without_a_result_says_why(
    server: EmbeddedServer, folder: Path, replica: Running
) -> None:
    done = await asyncio.gather(*(agents(server, folder, "call", *call) for call, _, _ in FAILURES))
    for (found, _, err), (call, status, word) in zip(done, FAILURES, strict=True):
        assert found == status, call
        assert word in err


async def test_an_interrupt_cancels_the_task(
    server: EmbeddedServer, folder: Path, replica: Running
) -> None:
    payload = json.dumps({"note": str(folder / "note")})
    arguments = ("agents", "call", "summary", "wait", payload, "--json", "--nats", server.url)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "penguiflow_nats.commands", *arguments),
        cwd=folder,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"waiting" not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 128 + signal.SIGINT
    assert re.fullmatch(r"task \w{32}: cancelled\n", err.decode())
    async with asyncio.timeout(5):
        while not (folder / "note").exists():
            await asyncio.sleep(0.02)


async def test_top_shows_counters_in_plain_lines(
    server: EmbeddedServer, folder: Path, replica: Running
) -> None:
    await agents(server, folder, "call", "summary", "echo", "1")
    status, out, err = await agents(server, folder, "top", "--count", "2", "--every", "0.2")
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    rows = re.findall(r"^summary +1\.2\.0 +1 +echo +1 +(\S+) +0 +\d+\.\d ms$", out, re.M)
    assert rows == ["-", "0.0"]
