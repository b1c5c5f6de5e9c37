"""What is shown of an address holds no secret."""

import pytest

from penguiflow_nats.commands.shared import without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("nats://me:secret@host:4222", "nats://host:4222"),
        ("tls://token@host", "tls://host"),
        ("nats://host:4222", "nats://host:4222"),
        ("me:se@cret@host", "host"),
    ],
)
def test_credentials_are_not_shown(address: str, shown: str) -> None:
    assert without_credentials(address) == shown
