"""From an entry of the log to the input of a node. Pure."""

from __future__ import annotations

import msgspec

from penguiflow.durable import weight
from penguiflow.durable.envelope import EGRESS, Envelope, Output
from penguiflow.durable.log import Kind, Stored
from penguiflow.durable.topology import output_id


class Input(msgspec.Struct, frozen=True):
    """One value for one node, and who it is."""

    output: Output
    input_id: str
    share: str


def input_for(stored: Stored, envelope: Envelope, target: str) -> Input | None:
    """What an entry holds for a node (or `EGRESS`); None when it is not meant for it."""
    if envelope.expanded or not envelope.outputs:
        return None
    output = envelope.outputs[0]
    if target not in output.targets:
        return None
    kind = stored.key.kind
    if kind is Kind.RECORD:
        input_id = output_id(stored.key.trace, envelope.node, stored.key.input, 0)
    elif kind is Kind.TIMER:
        return None
    else:
        input_id = stored.key.input
    share = envelope.weight if len(output.targets) == 1 else share_of(envelope, output)
    return Input(output, input_id, share)


def share_of(envelope: Envelope, output: Output) -> str:
    """What part of the submission each target of the output carries."""
    count = len(output.targets)
    return envelope.weight if count == 1 else weight.split(envelope.weight, count)


_CARRY_NOTHING = (Kind.INGRESS, Kind.TIMER, Kind.NOTE)


def returned(stored: Stored, envelope: Envelope) -> str | None:
    """The part of its submission that ends with this entry; None when all of it goes on."""
    if envelope.expanded or stored.key.kind in _CARRY_NOTHING:
        return None
    if not envelope.outputs:
        return envelope.weight
    output = envelope.outputs[0]
    return share_of(envelope, output) if EGRESS in output.targets else None
