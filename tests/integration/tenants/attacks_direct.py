"""Attacks that name what is the victim's: its streams, subjects, consumers, inboxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from penguiflow_nats.errors import NatsError
from penguiflow_nats.stream_types import StreamConfig
from tests.integration.tenants.ring import FORGED, SECRET, TRACE, Ring

Attack = Callable[[Ring], Awaitable[bool]]
"""Returns whether it succeeded, by what the victim sees or by what the attacker holds."""


async def read_from_any_replica(ring: Ring) -> bool:
    body = {"last_by_subj": ring.pending}
    got = await ring.ask(f"$JS.API.DIRECT.GET.{ring.names.log_stream}", body)
    return got == {"direct": SECRET}


async def read_by_subject(ring: Ring) -> bool:
    got = await ring.ask(f"$JS.API.DIRECT.GET.{ring.names.log_stream}.{ring.pending}")
    return got == {"direct": SECRET}


async def read_from_the_leader(ring: Ring) -> bool:
    body = {"last_by_subj": ring.pending}
    return await ring.ask(f"$JS.API.STREAM.MSG.GET.{ring.names.log_stream}", body) is not None


async def read_the_state_bucket(ring: Ring) -> bool:
    got = await ring.ask("$JS.API.DIRECT.GET.KV_globex", {"last_by_subj": "$KV.globex.state"})
    return got == {"direct": SECRET}


async def write_the_state_bucket(ring: Ring) -> bool:
    before = await ring.count("KV_globex")
    ring.shout("$KV.globex.state")
    await ring.settled()
    return await ring.count("KV_globex") > before


async def listen_to_its_subjects(ring: Ring) -> bool:
    heard = await ring.listening(ring.evil, "pf.v1.globex.>")
    ring.victim.publish(ring.names.topic("hint.c.t"), SECRET)
    await ring.settled()
    return bool(heard)


async def listen_to_everything(ring: Ring) -> bool:
    heard = await ring.listening(ring.evil, ">")
    ring.victim.publish(ring.names.topic("hint.c.t"), SECRET)
    await ring.settled()
    return any("globex" in message.subject for message in heard)


async def listen_to_its_inboxes(ring: Ring) -> bool:
    heard = await ring.listening(ring.evil, "_INBOX_globex.>")
    await ring.count()
    await ring.settled()
    return bool(heard)


async def listen_to_its_acks(ring: Ring) -> bool:
    heard = await ring.listening(ring.evil, "$JS.ACK.>")
    assert ring.delivery is not None
    ring.victim.publish(ring.delivery.reply, b"+WPI")
    await ring.settled()
    return bool(heard)


async def listen_to_its_advisories(ring: Ring) -> bool:
    heard = await ring.listening(ring.evil, "$JS.EVENT.>")
    assert ring.delivery is not None
    ring.victim.publish(ring.delivery.reply, b"+TERM")
    await ring.settled()
    return any(ring.names.log_stream in message.subject for message in heard)


async def submit_in_its_name(ring: Ring) -> bool:
    before = await ring.count()
    ring.shout(f"{ring.names.log_root}.in.{TRACE}._.evil")
    await ring.settled()
    return await ring.count() > before


async def pre_publish_its_record(ring: Ring) -> bool:
    """The victim would take the forged record for its own, committed before."""
    ring.shout(ring.record)
    await ring.settled()
    return await ring.has(ring.record)


async def claim_its_message_id(ring: Ring) -> bool:
    """The victim's own message with this id would vanish as a duplicate."""
    ring.shout(f"{ring.names.root}.chunk.f-1.evil", FORGED, {"Nats-Msg-Id": "known"})
    await ring.settled()
    subject = f"{ring.names.root}.chunk.f-1.{TRACE}"
    return (await ring.victim_js.append(subject, SECRET, {"Nats-Msg-Id": "known"})).duplicate


async def cancel_its_trace_by_broadcast(ring: Ring) -> bool:
    heard = await ring.listening(ring.victim, ring.names.topic("cancel"))
    ring.shout(ring.names.topic("cancel"), TRACE.encode())
    await ring.settled()
    return bool(heard)


async def cancel_its_trace_by_marker(ring: Ring) -> bool:
    marker = f"{ring.names.log_root}.cancel.{TRACE}"
    ring.shout(marker)
    await ring.settled()
    return await ring.has(marker)


async def forge_a_hint(ring: Ring) -> bool:
    """A client would take the result in it for the trace's."""
    heard = await ring.listening(ring.victim, ring.names.topic("hint.*.*"))
    ring.shout(ring.names.topic(f"hint.client.{TRACE}"))
    await ring.settled()
    return bool(heard)


async def forge_a_chunk(ring: Ring) -> bool:
    ring.shout(f"{ring.names.root}.chunk.f-1.{TRACE}")
    await ring.settled()
    return await ring.count(ring.names.chunk_stream) > 0


async def forge_a_dead_letter(ring: Ring) -> bool:
    ring.shout(f"{ring.names.root}.dlq.f-1.first.{TRACE}.s")
    await ring.settled()
    return await ring.count(ring.names.dlq_stream) > 0


async def delete_a_message(ring: Ring) -> bool:
    await ring.ask(f"$JS.API.STREAM.MSG.DELETE.{ring.names.log_stream}", {"seq": 1})
    return not await ring.has(ring.pending)


async def purge_its_log(ring: Ring) -> bool:
    await ring.ask(f"$JS.API.STREAM.PURGE.{ring.names.log_stream}")
    return await ring.count() == 0


async def delete_its_log(ring: Ring) -> bool:
    await ring.ask(f"$JS.API.STREAM.DELETE.{ring.names.log_stream}")
    return ring.names.log_stream not in await ring.victim_js.stream_names()


async def change_its_log(ring: Ring) -> bool:
    body = {"name": ring.names.log_stream, "subjects": [ring.names.log_subjects], "max_msgs": 1}
    await ring.ask(f"$JS.API.STREAM.UPDATE.{ring.names.log_stream}", body)
    info = await ring.victim_js.stream_info(ring.names.log_stream)
    return info.config.max_msgs == 1


async def take_its_messages(ring: Ring) -> bool:
    await ring.victim_js.append(f"{ring.names.log_root}.in.other._.s", SECRET)
    return bool(await ring.take(ring.evil, ring.names.log_stream, ring.consumer))


async def read_by_a_consumer_of_its_log(ring: Ring) -> bool:
    body = {
        "stream_name": ring.names.log_stream,
        "config": {"durable_name": "spy", "ack_policy": "none"},
    }
    made = await ring.ask(f"$JS.API.CONSUMER.CREATE.{ring.names.log_stream}.spy", body)
    return made is not None


async def delete_its_consumer(ring: Ring) -> bool:
    await ring.ask(f"$JS.API.CONSUMER.DELETE.{ring.names.log_stream}.{ring.consumer}")
    return ring.consumer not in await ring.victim_js.consumer_names(ring.names.log_stream)


async def pause_its_consumer(ring: Ring) -> bool:
    body = {"pause_until": "2199-01-01T00:00:00Z"}
    await ring.ask(f"$JS.API.CONSUMER.PAUSE.{ring.names.log_stream}.{ring.consumer}", body)
    return (await ring.victim_js.consumer_info(ring.names.log_stream, ring.consumer)).paused


async def _settle(ring: Ring, verb: bytes) -> bool:
    """Settle what the victim has in hand, with the very subject it would use."""
    assert ring.delivery is not None
    ring.shout(ring.delivery.reply, verb)
    await ring.settled()
    info = await ring.victim_js.consumer_info(ring.names.log_stream, ring.consumer)
    again = await ring.take(ring.victim, ring.names.log_stream, ring.consumer)
    return info.num_ack_pending == 0 or bool(again)


async def ack_what_it_works_on(ring: Ring) -> bool:
    return await _settle(ring, b"+ACK")


async def end_what_it_works_on(ring: Ring) -> bool:
    return await _settle(ring, b"+TERM")


async def replay_what_it_works_on(ring: Ring) -> bool:
    return await _settle(ring, b"-NAK")


async def list_streams(ring: Ring) -> bool:
    answer = await ring.ask("$JS.API.STREAM.NAMES")
    return any("globex" in name for name in (answer or {}).get("streams") or ())


async def list_trace_ids(ring: Ring) -> bool:
    body = {"subjects_filter": ">"}
    return await ring.ask(f"$JS.API.STREAM.INFO.{ring.names.log_stream}", body) is not None


async def answer_its_request(ring: Ring) -> bool:
    """Reply first, at the very inbox on which the victim waits."""
    inbox = ring.victim.new_inbox()
    heard = await ring.listening(ring.victim, inbox)
    ring.shout(inbox, FORGED, {"Status": "404", "Description": "No Messages"})
    await ring.settled()
    return bool(heard)


async def answer_in_the_place_of_jetstream(ring: Ring) -> bool:
    """A direct get that the attacker answers, with the headers that only the server sets."""
    subject = f"$JS.API.DIRECT.GET.{ring.names.log_stream}"
    forged = {"Nats-Stream": ring.names.log_stream, "Nats-Subject": ring.pending}
    forged |= {"Nats-Sequence": "1", "Nats-Time-Stamp": "2026-01-01T00:00:00Z"}
    answers: list[bytes] = []

    def answer(message: object) -> None:
        ring.shout(getattr(message, "reply", ""), FORGED, forged)

    ring.evil.subscribe(subject, answer)
    await ring.evil.flush()
    for _ in range(20):  # whoever is faster wins
        found = await ring.victim_js.direct_get_last(ring.names.log_stream, ring.pending)
        answers.append(found.data if found else b"")
    return FORGED in answers


async def answer_in_the_place_of_an_agent(ring: Ring) -> bool:
    subject = f"{ring.names.root}.ask.summary"
    ring.evil.subscribe(subject, lambda m: ring.shout(m.reply), queue="q")
    await ring.evil.flush()
    try:
        return (await ring.victim.request(subject, SECRET, timeout=0.5)).data == FORGED
    except NatsError:
        return False


async def call_an_agent_in_its_name(ring: Ring) -> bool:
    subject = f"{ring.names.root}.ask.summary"
    who = ring.victim if ring.site.shared else await ring.site.open("agents", "agents")
    heard = await ring.listening(who, subject)
    ring.shout(subject)
    await ring.settled()
    if who is not ring.victim:
        await who.close()
    return bool(heard)


async def log_in_with_the_own_password(ring: Ring) -> bool:
    try:
        connection = await ring.site.open("globex", password="pacme-secret")
    except NatsError:
        return False
    await connection.close()
    return True


async def ask_the_system_about_it(ring: Ring) -> bool:
    for subject in ("SERVER.PING.CONNZ", "ACCOUNT.T_globex.SUBSZ", "SERVER.PING.JSZ"):
        # Of its own account a user may ask.
        if "globex" in json.dumps(await ring.ask(f"$SYS.REQ.{subject}")):
            return True
    return False


async def use_up_connections(ring: Ring) -> bool:
    """More than the server takes; the victim wants one more."""
    opened = []
    for _ in range(16):
        try:
            opened.append(await ring.site.open("acme"))
        except NatsError:
            break
    try:
        async with asyncio.timeout(4):
            await (await ring.site.open("globex")).close()
    except (NatsError, TimeoutError):
        return True
    finally:
        for connection in opened:
            await connection.close()
    return False


async def use_up_the_disk(ring: Ring) -> bool:
    """Reserve as much as the server lets; the victim then needs a stream."""
    for size in (150, 80, 60, 40, 20, 10, 5, 2, 1):
        for stream in ("PF_acme_X", "PF_acme_CALLS", "PF_acme_REPLIES"):
            body = {"name": stream, "subjects": [f"pf.v1.acme.{stream}"], "num_replicas": 1}
            body |= {"max_bytes": size * 1024 * 1024, "storage": "file"}
            await ring.ask(f"$JS.API.STREAM.CREATE.{stream}", body)
    wanted = StreamConfig(name="PF_globex_X", subjects=["pf.v1.globex.x"], max_bytes=20_000_000)
    try:
        await ring.victim_js.create_stream(wanted)
    except NatsError:
        return True
    return False


DIRECT: tuple[Attack, ...] = (
    read_from_any_replica,
    read_by_subject,
    read_from_the_leader,
    read_the_state_bucket,
    write_the_state_bucket,
    listen_to_its_subjects,
    listen_to_everything,
    listen_to_its_inboxes,
    listen_to_its_acks,
    listen_to_its_advisories,
    submit_in_its_name,
    pre_publish_its_record,
    claim_its_message_id,
    cancel_its_trace_by_broadcast,
    cancel_its_trace_by_marker,
    forge_a_hint,
    forge_a_chunk,
    forge_a_dead_letter,
    delete_a_message,
    purge_its_log,
    delete_its_log,
    change_its_log,
    take_its_messages,
    read_by_a_consumer_of_its_log,
    delete_its_consumer,
    pause_its_consumer,
    ack_what_it_works_on,
    end_what_it_works_on,
    replay_what_it_works_on,
    list_streams,
    list_trace_ids,
    answer_its_request,
    answer_in_the_place_of_jetstream,
    answer_in_the_place_of_an_agent,
    call_an_agent_in_its_name,
    log_in_with_the_own_password,
    ask_the_system_about_it,
    use_up_connections,
    use_up_the_disk,
)
