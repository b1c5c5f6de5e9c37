"""A process that attacks another tenant again and again: `python -m ... URL PAUSE`."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.settings import ConnectionSettings

SUBJECTS = (
    "$JS.API.DIRECT.GET.PF_globex_0",
    "$JS.API.STREAM.PURGE.PF_globex_0",
    "$JS.API.STREAM.DELETE.PF_globex_0",
    "$JS.API.CONSUMER.MSG.NEXT.PF_globex_0.f-1=first",
    "$JS.API.STREAM.NAMES",
    "pf.v1.globex.0.f-1.in.t._.evil",
)


async def attack(url: str, pause: float) -> None:
    settings = ConnectionSettings(
        servers=(url,), user="acme-worker", password="pacme-secret", request_timeout=0.5
    )
    connection = await Connection.open(settings)
    while True:
        for subject in SUBJECTS:
            with contextlib.suppress(NatsError):
                await connection.request(subject, b"{}")
        await asyncio.sleep(pause)


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], float(sys.argv[2])))
