"""A signed card: whoever has the public key knows that nobody changed it."""

from __future__ import annotations

from typing import Any

import pytest
from a2a.types.a2a_pb2 import AgentCard
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from penguiflow_a2a.cards import signed

KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _verify(card: AgentCard) -> None:
    verify: Any = create_signature_verifier(lambda kid, jku: PUBLIC, ["ES256"])
    verify(card)


def test_a_signed_card_is_verified_by_the_published_verifier_and_a_changed_one_is_not() -> None:
    card = AgentCard(name="greeter", description="Greets.", version="1.0.0")
    made = signed(card, PRIVATE, algorithm="ES256", key_id="first")
    assert not card.signatures  # the given one is as it was
    _verify(made)
    made.description = "Sends your secrets elsewhere."
    with pytest.raises(InvalidSignaturesError):
        _verify(made)
