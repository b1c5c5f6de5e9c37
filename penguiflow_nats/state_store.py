"""The state store on JetStream: one bucket per tenant, every capability, for any runtime.

What is where: `state_keys`. How events are kept: `state_events`, read: `state_reading`, removed:
`state_sweep`. Planners, memory, trajectories: `state_planner`; sessions: `state_tasks`; remote
bindings: `state_bindings`; artifacts: `artifact_store`.
"""

from __future__ import annotations

from typing import Self

from penguiflow.artifacts.models import ArtifactRetentionConfig
from penguiflow.state.protocols import StateStore, SupportsArtifacts
from penguiflow_nats.artifact_store import NatsArtifactStore
from penguiflow_nats.claims import INLINE_BYTES
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.runtime import Server
from penguiflow_nats.state_bindings import StateBindings
from penguiflow_nats.state_events import StateEvents
from penguiflow_nats.state_planner import StatePlanner
from penguiflow_nats.state_reading import StateReading
from penguiflow_nats.state_room import TERMINAL_KINDS, StateRoom
from penguiflow_nats.state_settings import Mode, StateRetention
from penguiflow_nats.state_sweep import StateSweep
from penguiflow_nats.state_tasks import StateTasks


class NatsStateStore(
    StateEvents,
    StateReading,
    StateBindings,
    StatePlanner,
    StateTasks,
    StateSweep,
    StateStore,
    SupportsArtifacts,
):
    """The state of one tenant, or of all who share the bucket "default".

    A store with a tenant takes only what names this tenant or none. A store without one keeps
    tenants apart by key; isolation against a hostile tenant needs an account for each.

    Trouble: in the mode "durable" a write that cannot be confirmed is repeated for `patience`
    seconds, during which its caller waits, and then raises. It is never dropped: not when the
    server is away, nor when the bucket is full. In the mode "mirror" an event that cannot be
    confirmed in a second is logged, counted in `lost` and given up; all else raises as before.
    """

    def __init__(
        self,
        server: Server = "nats://127.0.0.1:4222",
        *,
        tenant: str | None = None,
        limits: BucketLimits | None = None,
        retention: StateRetention | None = None,
        artifact_retention: ArtifactRetentionConfig | None = None,
        mode: Mode = "durable",
        patience: float | None = None,
        inline_bytes: int = INLINE_BYTES,
        terminal_kinds: frozenset[str] = TERMINAL_KINDS,
    ) -> None:
        """Prepare; it connects with the first call, or with `open`.

        Args:
            server: Where the server is, or a connection that stays the caller's.
            tenant: Whose state; None for the bucket that tenants share.
            limits: How much the buckets hold and how safely, if they have to be made.
            retention: How long state is kept.
            artifact_retention: How long and how many artifacts are kept.
            mode: What happens when an event cannot be confirmed.
            patience: Seconds for which a call is repeated while the server is away or the bucket
                is full; by default 60, or 1 in the mode "mirror".
            inline_bytes: Largest value inside a message; larger ones go to an object bucket.
            terminal_kinds: Kinds of events after which a trace is over.
        """
        super().__init__(
            StateRoom(
                server,
                tenant=tenant,
                limits=limits,
                retention=retention,
                mode=mode,
                patience=patience,
                inline_bytes=inline_bytes,
                terminal_kinds=terminal_kinds,
            )
        )
        self._artifacts = NatsArtifactStore(self._room, artifact_retention)

    @property
    def tenant(self) -> str | None:
        """Whose state this is."""
        return self._room.tenant

    @property
    def lost(self) -> int:
        """Events and planner events given up in the mode "mirror"."""
        return self._room.lost

    @property
    def artifact_store(self) -> NatsArtifactStore:
        """The artifacts of the same tenant."""
        return self._artifacts

    async def open(self) -> Self:
        """Connect and make the buckets now.

        Raises:
            StreamDrift: A bucket exists with settings under which the promises do not hold.
            NatsError: The server cannot be reached, or refuses.
        """
        await self._room.open()
        return self

    async def close(self) -> None:
        """Close the connection, unless the caller owns it."""
        await self._room.close()

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.close()


__all__ = ["NatsStateStore"]
