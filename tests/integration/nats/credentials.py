"""Users of a server in operator mode: credentials that expire."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key pair of one kind."""

    def __init__(self, prefix: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), prefix)
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self.pair.public_key.decode()


def signed(issuer: Key, subject: str, name: str, nats: dict[str, Any], expires: int = 0) -> str:
    """A JWT as a NATS server reads it."""
    claims: dict[str, Any] = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "name": name,
        "sub": subject,
        "nats": {"version": 2, **nats},
    }
    if expires:
        claims["exp"] = expires
    claims["jti"] = hashlib.sha256(json.dumps(claims).encode()).hexdigest()
    header = _b64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    body = f"{header}.{_b64(json.dumps(claims).encode())}"
    return f"{body}.{_b64(issuer.pair.sign(body.encode()))}"


class Authority:
    """An operator with one account."""

    def __init__(self) -> None:
        self._operator = Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = Key(nkeys.PREFIX_BYTE_ACCOUNT)

    def config(self) -> str:
        """Of a server that trusts the operator."""
        limits = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1}
        limits |= {"payload": -1, "wildcards": True}
        account = signed(
            self._operator,
            self._account.public,
            "A",
            {"type": "account", "limits": limits},
        )
        operator = signed(self._operator, self._operator.public, "O", {"type": "operator"})
        return (
            f"operator: {operator}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self._account.public}: {account} }}\n"
        )

    def write(self, file: Path, *, expires: float) -> None:
        """Credentials of a user, valid until then."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        nats = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        token = signed(self._account, user.public, "U", nats, int(expires))
        parts = {"NATS USER JWT": token, "USER NKEY SEED": user.seed.decode()}
        file.write_text(
            "\n".join(
                f"-----BEGIN {name}-----\n{text}\n------END {name}------\n"
                for name, text in parts.items()
            )
        )
