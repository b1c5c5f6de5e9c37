"""What flows, calls and agents tell an instrument; several instruments are told the same."""

from __future__ import annotations

import asyncio

from penguiflow import Context, Message, Node, create
from penguiflow.decide import Settlement
from penguiflow.durable.client import DurableClient
from penguiflow.remote import RemoteCallRequest
from penguiflow.telemetry.together import Instruments
from penguiflow_nats.agent import Chunk, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.contract.engine.flows import PLAIN, Gate, message, single, square, sum_of_squares
from tests.contract.engine.houses import House, MemoryHouse
from tests.support.eventually import eventually
from tests.telemetry.recorder import Recorder


async def _client(house: House, flow: object, recorder: object) -> DurableClient:
    log = await house.log(flow)  # type: ignore[arg-type]
    client = DurableClient(flow, log, telemetry=recorder)  # type: ignore[arg-type]
    await client.start()
    return client


async def test_every_run_of_a_durable_flow_is_told_once(house: House) -> None:
    recorder, flow = Recorder(), sum_of_squares(3)
    client = await _client(house, flow, recorder)
    await house.worker(flow, telemetry=recorder)
    assert (await client.round_trip(message(3), timeout=20)).payload == 5
    await eventually(lambda: len(recorder.of("end")) == 6)  # split, 3 x square, join, total
    begun = recorder.of("begin")
    assert len(begun) == 6
    assert {each[1] for each in recorder.of("end")} == {each[-1] for each in begun}
    assert all(each[2].settlement is Settlement.ACK for each in recorder.of("end"))
    assert len(recorder.of("emitting")) == 1
    joined = [len(each[1].joined) for each in begun if each[1].joined]
    assert joined == [3]
    sent = [each[1] for each in recorder.of("sending")]
    assert sent.count("split") == 4  # the record, and one for each output
    assert sorted(set(sent)) == ["join", "split", "square", "total"]


async def test_retry_failure_and_dead_letter_are_told() -> None:
    house, recorder = MemoryHouse(), Recorder()

    async def node(msg: Message, ctx: Context) -> Message:
        raise ConnectionError("no")

    flow = single(node, max_retries=1, backoff_base=0.01, errors=True)
    client = await _client(house, flow, recorder)
    await house.worker(flow, telemetry=recorder)
    await client.round_trip(message(1), timeout=10)
    await eventually(lambda: len(recorder.of("end")) == 2)
    ends = [each[2].settlement for each in recorder.of("end")]
    assert ends == [Settlement.RETRY, Settlement.ACK]
    events = [each[1] for each in recorder.of("event")]
    assert [e for e in events if e != "node_start"] == [
        "node_error",
        "node_retry",
        "node_error",
        "node_failed",
    ]
    second = recorder.of("begin")[1][-1]
    assert recorder.of("burying") == [("burying", second)]
    await house.close()


async def test_a_cancel_is_told_with_the_runs_that_it_ends() -> None:
    house, recorder, gate = MemoryHouse(), Recorder(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, recorder)
    await house.worker(flow, telemetry=recorder)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    assert await client.cancel(trace_id)
    await eventually(lambda: recorder.of("end"))
    run = recorder.of("begin")[0][-1]
    traceparent = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    assert recorder.of("cancelled_by") == [("cancelled_by", [run], traceparent)]
    await house.close()


async def test_a_local_flow_tells_where_an_item_comes_from() -> None:
    recorder = Recorder()
    first, second = Node(square, name="a", policy=PLAIN), Node(square, name="b", policy=PLAIN)
    flow = create(first.to(second), second.to(), telemetry=recorder)
    flow.run()
    await flow.emit(message(2))
    assert (await flow.fetch()).payload == 16
    await flow.stop()
    emitted = recorder.of("emitted")[0][-1]
    one, two = recorder.of("begin")
    assert (one[2], two[2]) == (emitted, one[-1])


async def test_several_instruments_are_told_the_same() -> None:
    house, left, right = MemoryHouse(), Recorder(), Recorder()
    flow, both = sum_of_squares(2), Instruments([left, right])
    client = await _client(house, flow, both)
    await house.worker(flow, telemetry=both)
    assert (await client.round_trip(message(2), timeout=20)).payload == 1
    await eventually(lambda: len(left.of("end")) == 5)
    assert left.names() == right.names()
    await house.close()


async def test_a_stream_is_told_by_both_sides() -> None:
    caller, agent = Recorder(), Recorder()

    async def speak(msg: Message, ctx: object):  # type: ignore[no-untyped-def]
        for text in ("one", "two"):
            yield Chunk(text)

    request = RemoteCallRequest(message=message("x"), skill="speak", agent_url="nats://s")
    async with (
        EmbeddedServer() as server,
        serve(speak, server.url, agent="s", telemetry=agent),
        NatsTransport(server.url, telemetry=caller) as transport,
    ):
        texts = [e.text async for e in transport.stream(request) if e.text]
    assert texts == ["one", "two"]
    assert [each[1] for each in caller.of("chunk")] == [3, 3]
    assert caller.of("end")[0][2] is None
    assert agent.of("end")[0][2:] == ("completed", None)
