"""Stores that are wrong on purpose, each in a way that is easily made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from penguiflow.artifacts import ArtifactRef
from penguiflow.bus import BusEnvelope
from penguiflow.state.models import HeldBinding


class Careless:
    """Appends everything to one list: no ids, no keys, no copies, no order, no fence."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    async def save_event(self, event: Any) -> None:
        self.kept.append(event)

    save_remote_binding = save_memory = save_task = save_update = save_steering = save_event

    async def save_events(self, events: Any) -> None:
        self.kept.extend(reversed(events))

    async def load_history(self, trace_id: str) -> list[Any]:
        return self.kept

    async def load_tenant_history(self, trace_id: str, *, tenant: str) -> list[Any]:
        return self.kept

    async def delete_trace(self, trace_id: str, *, tenant: str | None = None) -> bool:
        self.kept.clear()
        return True

    async def expire_traces(self, *, older_than: Any) -> int:
        self.kept.clear()
        return 0

    async def save_planner_state(self, token: str, payload: Any) -> None:
        self.kept.append(payload)

    async def load_planner_state(self, token: str) -> Any:
        return self.kept[-1] if self.kept else {}

    async def save_memory_state(self, key: str, state: Any) -> None:
        self.kept.insert(0, state)

    async def load_memory_state(self, key: str) -> Any:
        return self.kept[-1] if self.kept else {}

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        self.kept.insert(0, event)

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        return self.kept

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        self.kept.append((trace_id, trajectory))

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any:
        return self.kept[0][1]

    async def list_traces(self, session_id: str, limit: int = 50) -> list[Any]:
        return [trace_id for trace_id, _ in self.kept]

    async def list_tasks(self, session_id: str) -> list[Any]:
        return self.kept

    async def list_updates(self, session_id: str, **selection: Any) -> list[Any]:
        return self.kept

    list_steering = list_updates

    async def find_binding(self, **wanted: Any) -> Any:
        return self.kept[0] if self.kept else None

    async def list_bindings(self, *, router_session_id: str) -> list[Any]:
        return self.kept

    async def mark_binding_terminal(self, **key: Any) -> bool:
        return True

    async def find_bindings(self, **wanted: Any) -> list[HeldBinding]:
        now = datetime.now(UTC).replace(tzinfo=None)
        return [HeldBinding(each, 1, "somebody", now) for each in self.kept]

    async def take_over_binding(self, binding: Any, *, owner: str, **fence: Any) -> HeldBinding:
        return HeldBinding(binding, 1, owner, datetime.now(UTC))

    async def delete_binding(self, binding: Any, **fence: Any) -> bool:
        return True

    @property
    def artifact_store(self) -> Any:
        return None


class Forgetful:
    """Accepts everything and has nothing."""

    async def nothing(self, *args: Any, **kwargs: Any) -> None:
        return None

    async def no_items(self, *args: Any, **kwargs: Any) -> list[Any]:
        return []

    async def no(self, *args: Any, **kwargs: Any) -> bool:
        return False

    save_event = save_events = save_remote_binding = save_planner_state = nothing
    save_planner_event = save_memory_state = save_trajectory = nothing
    save_task = save_update = save_steering = mark_binding_terminal = nothing
    load_planner_state = load_memory_state = get_trajectory = find_binding = nothing
    take_over_binding = expire_traces = nothing
    load_history = load_tenant_history = list_planner_events = list_traces = no_items
    list_tasks = list_updates = list_steering = list_bindings = find_bindings = no_items
    delete_trace = delete_binding = no
    artifact_store = None


class CarelessArtifacts:
    """Keeps the last thing it got under every id, with the details of the first."""

    def __init__(self) -> None:
        self.data = b"something"
        self.refs: list[ArtifactRef] = []

    async def put_bytes(self, data: bytes, *, mime_type: str = "x", **details: Any) -> ArtifactRef:
        self.data = data[:1000]
        self.refs.append(ArtifactRef(id="art_0", filename=details.get("filename")))
        if meta := details.get("meta"):
            self.refs[0].source = meta
        return self.refs[-1] if len(self.refs) < 3 else self.refs[0]

    async def put_text(self, text: str, **details: Any) -> ArtifactRef:
        return await self.put_bytes(text.encode("latin-1"), **details)

    async def get(self, artifact_id: str) -> bytes:
        return self.data

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        ref = self.refs[0] if self.refs else None
        return ref and ArtifactRef.model_construct(**dict(ref))

    async def delete(self, artifact_id: str) -> bool:
        self.data = b"deleted"
        return True

    async def exists(self, artifact_id: str) -> bool:
        return True

    async def list(self, *, scope: Any = None) -> Any:
        return self.refs


class ForgetfulArtifacts(CarelessArtifacts):
    """Gives references to nothing, and refuses nothing."""

    async def get(self, artifact_id: str) -> Any:
        return None

    async def get_ref(self, artifact_id: str) -> Any:
        return None

    async def exists(self, artifact_id: str) -> bool:
        return False

    async def list(self, *, scope: Any = None) -> Any:
        return []


class CarelessBus:
    """Collapses what looks equal, shows the newest first, and writes on what passes by."""

    def __init__(self) -> None:
        self.envelopes: list[BusEnvelope] = []

    async def publish(self, envelope: BusEnvelope) -> bool:
        if envelope not in self.envelopes:
            self.envelopes.insert(0, envelope)
        envelope.meta = {"seen": True}
        return True


class DeafBus:
    """Hears nothing."""

    envelopes: tuple[BusEnvelope, ...] = ()

    async def publish(self, envelope: BusEnvelope) -> None:
        return None
