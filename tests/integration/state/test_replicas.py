"""Stores on three replicas: a reader sees what was confirmed, and a lost leader loses nothing."""

from __future__ import annotations

import asyncio
import os

from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.server_cluster import ServerCluster
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_store import NatsStateStore
from tests.integration.state.events import event, events, trace


async def test_every_replica_gives_what_was_confirmed_and_a_lost_leader_loses_nothing() -> None:
    limits = BucketLimits(replicas=3)
    trace_id, other = trace(), trace()
    async with ServerCluster() as cluster:
        settings = [ConnectionSettings(servers=(url,)) for url in cluster.urls]
        stores = [NatsStateStore(each, limits=limits) for each in settings]
        for store in stores:
            await store.open()
        for number in range(30):
            await stores[0].save_event(event(other, number))
            for reader in stores:
                assert len(await reader.load_history(other)) == number + 1
        await stores[0].save_events(events(trace_id, 1_500))
        for reader in stores:
            assert len(await reader.load_history(trace_id)) == 1_500
        data = os.urandom(400_000)
        ref = await stores[0].artifact_store.put_bytes(data)
        for reader in stores:
            assert await reader.artifact_store.get(ref.id) == data
        leader = await cluster.stream_leader(stores[0]._room.kv.stream)
        assert leader is not None
        saving = asyncio.create_task(stores[leader - 1].save_events(events(trace_id, 1_000, 1_500)))
        await cluster.kill(leader)
        await saving
        history = await stores[leader - 2].load_history(trace_id)
        assert sorted(each.payload["number"] for each in history) == list(range(2_500))
        await asyncio.gather(*(store.close() for store in stores))
