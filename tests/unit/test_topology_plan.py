"""The plan of streams and consumers, from a graph and from what is there. No server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penguiflow import create
from penguiflow.durable.topology import Topology
from penguiflow_nats.stream_types import (
    SECOND,
    ConsumerConfig,
    ConsumerInfo,
    StreamConfig,
    StreamInfo,
    StreamState,
)
from penguiflow_nats.streams import Storage
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_diff import (
    Change,
    TopologyDrift,
    consumer_changes,
    stream_changes,
)
from penguiflow_nats.topology_plan import Wanted, plan_topology, wanted_by_clients, wanted_for
from tests.support.flows import passing

NAMES = Names("acme", "orders-1")


def topology(*, lease: float = 15.0) -> Topology:
    split, price, store = passing("split"), passing("price"), passing("store")
    return Topology(create(split.to(price), price.to(store), store.to()).graph, lease=lease)


def stream_info(config: StreamConfig, **state: Any) -> StreamInfo:
    return StreamInfo(config=config, state=StreamState(**state))


def consumer_info(config: ConsumerConfig, **state: Any) -> ConsumerInfo:
    return ConsumerInfo(
        stream_name=NAMES.log_stream, name=config.durable_name, config=config, **state
    )


def there(wanted: Wanted) -> tuple[dict[str, StreamInfo], dict[str, ConsumerInfo]]:
    """All of it, just as it is wanted."""
    return (
        {each.name: stream_info(each) for each in wanted.streams},
        {each.durable_name: consumer_info(each) for each in wanted.consumers},
    )


def changed(config: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(config, **fields)


def the_log(**fields: Any) -> StreamConfig:
    return changed(wanted_for(NAMES, topology()).streams[0], **fields)


def the_consumer(**fields: Any) -> ConsumerConfig:
    return changed(wanted_for(NAMES, topology()).consumers[1], **fields)


def the_one(changes: Any) -> Change:
    (found,) = changes
    return found


def test_a_flow_needs_three_streams_a_consumer_for_each_node_and_one_for_timers() -> None:
    wanted = wanted_for(NAMES, topology())
    assert [s.name for s in wanted.streams] == ["PF_acme_0", "PF_acme_CHUNKS", "PF_acme_DLQ"]
    names = [c.durable_name for c in wanted.consumers]
    nodes = ["orders-1=split", "orders-1=price", "orders-1=store"]
    assert names == [*nodes, "orders-1=_timers"]
    assert len(wanted_by_clients(NAMES).streams) == 2
    some = wanted_for(NAMES, topology(), nodes=["store"], concurrency=10_000)
    assert [c.max_ack_pending for c in some.consumers] == [10_000, 1_000_000]


def test_on_an_empty_server_all_is_created_and_on_a_good_one_nothing() -> None:
    wanted = wanted_for(NAMES, topology())
    empty = plan_topology(NAMES, wanted, {}, {})
    assert len(empty.missing) == 7
    assert empty.lines()[0] == "+ stream PF_acme_0"
    assert not empty.is_same
    same = plan_topology(NAMES, wanted, *there(wanted), known=("split", "price", "store"))
    assert same.is_same
    assert same.lines() == []


def test_sizes_are_left_alone_unless_they_are_given() -> None:
    streams, consumers = there(wanted_for(NAMES, topology()))
    grown = {n: stream_info(changed(i.config, max_bytes=5)) for n, i in streams.items()}
    assert plan_topology(NAMES, wanted_for(NAMES, topology()), grown, consumers).is_same
    given = wanted_for(NAMES, topology(), storage=Storage())
    plan = plan_topology(NAMES, given, grown, consumers)
    assert {c.field for c in plan.changes} == {"max_bytes"}
    assert not plan.refused


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"max_msgs_per_subject": -1}, "delete all but the newest"),
        ({"retention": "workqueue"}, "does not change it"),
        ({"storage": "memory"}, "does not change it"),
        ({"sealed": True}, "stays sealed"),
        ({"subjects": [NAMES.log_subjects, "foreign.>"]}, "not take foreign.> any more"),
        ({"max_age": 0}, "would be deleted at once"),
    ],
)
def test_a_change_of_a_stream_that_costs_messages_is_refused(
    found: dict[str, Any], words: str
) -> None:
    change = the_one(stream_changes(the_log(), stream_info(the_log(**found)), sizes=True))
    assert change.field == next(iter(found))
    assert words in change.danger
    plan = plan_topology(
        NAMES, Wanted(streams=(the_log(),)), {"PF_acme_0": stream_info(the_log(**found))}, {}
    )
    if change.field != "max_age":
        assert plan.refused == (change,)
        assert plan.lines() == [f"! {change.line()}"]


def test_a_stream_is_not_made_smaller_than_what_it_holds() -> None:
    is_ = stream_info(the_log(max_bytes=2 * 1024**3), bytes=1024**3 + 1)
    assert "holds 1073741825 bytes" in the_one(stream_changes(the_log(), is_, sizes=True)).danger


@pytest.mark.parametrize("found", [{"discard": "old"}, {"allow_direct": False}, {"no_ack": True}])
def test_other_changes_of_a_stream_are_made(found: dict[str, Any]) -> None:
    change = the_one(stream_changes(the_log(), stream_info(the_log(**found)), sizes=False))
    assert not change.danger


@pytest.mark.parametrize(
    "found",
    [
        {"ack_wait": 5 * SECOND},
        {"max_deliver": 3},
        {"backoff": [SECOND]},
        {"max_ack_pending": 100},
        {"headers_only": True},
    ],
)
def test_changes_of_a_consumer_are_made(found: dict[str, Any]) -> None:
    change = the_one(consumer_changes(the_consumer(), consumer_info(the_consumer(**found))))
    assert change.field == next(iter(found))
    assert not change.danger


def test_a_wider_window_that_somebody_set_is_left_alone() -> None:
    found = consumer_info(the_consumer(max_ack_pending=100_000))
    assert not list(consumer_changes(the_consumer(), found))


@pytest.mark.parametrize("found", [{"ack_policy": "none"}, {"deliver_policy": "new"}])
def test_what_the_server_does_not_change_is_refused(found: dict[str, Any]) -> None:
    change = the_one(consumer_changes(the_consumer(), consumer_info(the_consumer(**found))))
    assert "must be made anew" in change.danger


def test_a_subject_that_is_read_no_more_is_refused_while_something_waits() -> None:
    wanted = the_consumer()
    more = changed(wanted, filter_subjects=[*wanted.filter_subjects, "pf.v1.acme.0.orders-1.x"])
    idle = the_one(consumer_changes(wanted, consumer_info(more)))
    assert (idle.field, idle.danger) == ("filter_subjects", "")
    busy = the_one(consumer_changes(wanted, consumer_info(more, num_pending=3, num_ack_pending=1)))
    assert busy.danger.startswith("4 entries wait in it")
    less = changed(wanted, filter_subjects=wanted.filter_subjects[:1])
    wider = the_one(consumer_changes(wanted, consumer_info(less, num_pending=3)))
    assert not wider.danger


def test_a_removed_node_with_something_waiting_is_an_orphan() -> None:
    wanted = wanted_for(NAMES, topology())
    streams, consumers = there(wanted)
    gone = ConsumerConfig(durable_name="orders-1=audit")
    other = ConsumerConfig(durable_name="orders-10=audit")
    consumers["orders-1=audit"] = consumer_info(gone, num_pending=7)
    consumers["orders-10=audit"] = consumer_info(other, num_pending=7)
    known = ("split", "price", "store")
    plan = plan_topology(NAMES, wanted, streams, consumers, known=known)
    (orphan,) = plan.stranded
    assert (orphan.node, orphan.waiting) == ("audit", 7)
    assert not plan.is_same
    assert plan.lines()[-1].startswith("? consumer orders-1=audit: the flow has no node audit")
    consumers["orders-1=audit"] = consumer_info(gone, num_pending=7, num_waiting=1)
    served = plan_topology(NAMES, wanted, streams, consumers, known=known)
    assert served.orphans[0].served
    assert served.is_same


def test_drift_names_the_field_and_both_values() -> None:
    change = Change(where="consumer c", field="ack_wait", found=5 * SECOND, wanted=15 * SECOND)
    error = TopologyDrift([change], "Change it")
    assert str(error) == "consumer c: ack_wait is 5 s, needed is 15 s. Change it"
    assert error.changes == (change,)
