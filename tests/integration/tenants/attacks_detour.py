"""Attacks that name only what is the attacker's own, and let the server do the rest.

The server does not check its own publishes against anybody's permissions: replies, republished
messages, and deliveries go wherever a request or a configuration says.
"""

from __future__ import annotations

import json
from typing import Any

from tests.integration.tenants.attacks_direct import Attack
from tests.integration.tenants.ring import FORGED, SECRET, TRACE, Ring

POSING = {"Nats-Msg-Id": "forged", "tenant": "globex", "Status": "503"}


async def _stored(ring: Ring) -> str:
    """Something of the attacker's own, which the server will hand out on request."""
    subject = f"{ring.own.log_root}.in.{TRACE}._.own"
    await ring.evil_js.append(subject, FORGED, POSING)
    return subject


async def _arrived(ring: Ring, subject: str) -> bool:
    """Whether the victim's log took it. What a consumer delivers keeps its subject there, so it
    is another tenant's subject in the victim's log."""

    async def there() -> bool:
        return await ring.has(subject) or await ring.count() > 1

    return await ring.happens(there)


async def reply_of_a_direct_get(ring: Ring) -> bool:
    """The victim's log stores the attacker's bytes and headers as a record of its own."""
    body = json.dumps({"last_by_subj": await _stored(ring)}).encode()
    ring.shout(f"$JS.API.DIRECT.GET.{ring.own.log_stream}", body, reply=ring.record)
    return await _arrived(ring, ring.record)


async def reply_of_a_leader_get(ring: Ring) -> bool:
    body = json.dumps({"last_by_subj": await _stored(ring)}).encode()
    ring.shout(f"$JS.API.STREAM.MSG.GET.{ring.own.log_stream}", body, reply=ring.record)
    return await _arrived(ring, ring.record)


async def reply_of_the_api(ring: Ring) -> bool:
    ring.shout(f"$JS.API.STREAM.INFO.{ring.own.log_stream}", b"", reply=ring.record)
    return await _arrived(ring, ring.record)


async def receipt_of_a_publish(ring: Ring) -> bool:
    ring.shout(f"{ring.own.log_root}.in.{TRACE}._.r", FORGED, reply=ring.record)
    return await _arrived(ring, ring.record)


async def _consumer(ring: Ring, **config: Any) -> Any:
    body = {
        "stream_name": ring.own.log_stream,
        "config": {"durable_name": "c", "ack_policy": "none", **config},
    }
    return await ring.ask(f"$JS.API.CONSUMER.CREATE.{ring.own.log_stream}.c", body)


async def reply_of_a_pull(ring: Ring) -> bool:
    await _stored(ring)
    await _consumer(ring)
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{ring.own.log_stream}.c"
    ring.shout(subject, b'{"batch":1}', reply=ring.record)
    return await _arrived(ring, ring.record)


async def status_into_its_inbox(ring: Ring) -> bool:
    """The status of a pull without messages, from the server itself: it ends the victim's pull."""
    inbox = ring.victim.new_inbox()
    heard = await ring.listening(ring.victim, inbox)
    await _consumer(ring, filter_subject=f"{ring.own.log_root}.nothing")
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{ring.own.log_stream}.c"
    ring.shout(subject, b'{"batch":1,"no_wait":true}', reply=inbox)
    return await ring.hears(heard)


async def no_responders_into_its_inbox(ring: Ring) -> bool:
    inbox = ring.victim.new_inbox()
    heard = await ring.listening(ring.victim, inbox)
    ring.shout(f"{ring.own.root}.ask.nobody", b"", reply=inbox)
    return await ring.hears(heard)


async def consumer_that_delivers_to_it(ring: Ring) -> bool:
    await _consumer(ring, deliver_subject=ring.record)
    await _stored(ring)
    return await _arrived(ring, ring.record)


async def consumer_that_delivers_to_its_clients(ring: Ring) -> bool:
    subject = ring.names.topic(f"hint.client.{TRACE}")
    heard = await ring.listening(ring.victim, subject)
    await _consumer(ring, deliver_subject=subject)
    await _stored(ring)
    return await ring.hears(heard)


async def _stream(ring: Ring, **config: Any) -> Any:
    body = {"name": "PF_acme_X", "storage": "file", "num_replicas": 1, "max_bytes": 1_000_000}
    return await ring.ask("$JS.API.STREAM.CREATE.PF_acme_X", {**body, **config})


async def stream_that_republishes_to_it(ring: Ring) -> bool:
    repeat = {"src": "pf.v1.acme.x", "dest": ring.record}
    await _stream(ring, subjects=["pf.v1.acme.x"], republish=repeat)
    ring.shout("pf.v1.acme.x")
    return await _arrived(ring, ring.record)


async def _holds_its_secret(ring: Ring) -> bool:
    async def held() -> bool:
        return await ring.ask("$JS.API.DIRECT.GET.PF_acme_X", {"seq": 1}) == {"direct": SECRET}

    return await ring.happens(held)


async def stream_that_mirrors_it(ring: Ring) -> bool:
    await _stream(ring, mirror={"name": ring.names.log_stream}, allow_direct=True)
    return await _holds_its_secret(ring)


async def stream_that_sources_it(ring: Ring) -> bool:
    await _stream(ring, sources=[{"name": ring.names.log_stream}], allow_direct=True)
    return await _holds_its_secret(ring)


async def stream_that_takes_its_subjects(ring: Ring) -> bool:
    """The victim's broadcasts are stored, for the attacker to read."""
    await _stream(ring, subjects=["pf.v1.globex.ctl.>"], allow_direct=True)
    ring.victim.publish(ring.names.topic("hint.c.t"), SECRET)
    return await _holds_its_secret(ring)


async def stream_that_answers_its_requests(ring: Ring) -> bool:
    """The victim asks an agent, and gets the receipt of the attacker's stream for an answer."""
    subject = f"{ring.names.root}.ask.summary"
    await _stream(ring, subjects=[subject])
    heard = await ring.listening(ring.victim, inbox := ring.victim.new_inbox())
    ring.victim.publish(subject, SECRET, reply=inbox)
    await ring.settled()
    return any(b"PF_acme_X" in message.data for message in heard)


DETOUR: tuple[Attack, ...] = (
    reply_of_a_direct_get,
    reply_of_a_leader_get,
    reply_of_the_api,
    receipt_of_a_publish,
    reply_of_a_pull,
    status_into_its_inbox,
    no_responders_into_its_inbox,
    consumer_that_delivers_to_it,
    consumer_that_delivers_to_its_clients,
    stream_that_republishes_to_it,
    stream_that_mirrors_it,
    stream_that_sources_it,
    stream_that_takes_its_subjects,
    stream_that_answers_its_requests,
)
