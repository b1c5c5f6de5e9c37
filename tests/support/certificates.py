"""A certificate for this machine, and the authority that made it."""

from __future__ import annotations

from pathlib import Path

import trustme


def make_certificate(folder: Path, *, certificate: str = "cert.pem", key: str = "key.pem") -> Path:
    """Write a certificate for localhost and its key; gives the file of the authority."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    (folder / certificate).write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(folder / key))
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return trusted
