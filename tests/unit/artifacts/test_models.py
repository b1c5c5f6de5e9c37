from __future__ import annotations

import pytest
from pydantic import ValidationError

from penguiflow import artifacts
from penguiflow.artifacts import (
    ArtifactRef,
    ArtifactRetentionConfig,
    ArtifactScope,
    ArtifactStore,
    InMemoryArtifactStore,
    NoOpArtifactStore,
    discover_artifact_store,
    sanitize_artifact_namespace,
)
from penguiflow.state import PlaygroundArtifactStore


def test_scope_is_open_by_default() -> None:
    assert ArtifactScope().model_dump() == {
        "tenant_id": None,
        "user_id": None,
        "session_id": None,
        "trace_id": None,
    }


def test_reference_needs_only_an_id() -> None:
    assert ArtifactRef(id="art_1").model_dump() == {
        "id": "art_1",
        "mime_type": None,
        "size_bytes": None,
        "filename": None,
        "sha256": None,
        "scope": None,
        "namespace": None,
        "source": {},
    }


def test_retention_has_the_documented_defaults() -> None:
    mib = 1024 * 1024
    assert ArtifactRetentionConfig().model_dump() == {
        "ttl_seconds": 3600,
        "max_artifact_bytes": 50 * mib,
        "max_session_bytes": 500 * mib,
        "max_trace_bytes": 100 * mib,
        "max_artifacts_per_trace": 100,
        "max_artifacts_per_session": 1000,
        "cleanup_strategy": "lru",
    }


def test_unknown_cleanup_strategy_is_refused() -> None:
    with pytest.raises(ValidationError):
        ArtifactRetentionConfig(cleanup_strategy="random")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "store", [InMemoryArtifactStore(), NoOpArtifactStore(), PlaygroundArtifactStore()]
)
def test_store_is_an_artifact_store(store: object) -> None:
    assert isinstance(store, ArtifactStore)


def test_store_can_be_subclassed_without_calling_super() -> None:
    class Store(ArtifactStore):
        def __init__(self) -> None:
            self.number = 3

    assert Store().number == 3


class Owner:
    def __init__(self, store: object) -> None:
        self.artifact_store = store


class StoreWithAnother(InMemoryArtifactStore):
    artifact_store: object = None


def test_store_of_an_object_is_discovered() -> None:
    store = InMemoryArtifactStore()
    assert discover_artifact_store(Owner(store)) is store


def test_object_that_is_a_store_is_discovered() -> None:
    store = InMemoryArtifactStore()
    assert discover_artifact_store(store) is store


def test_store_of_a_store_goes_first() -> None:
    store, inner = StoreWithAnother(), InMemoryArtifactStore()
    assert discover_artifact_store(store) is store
    store.artifact_store = inner
    assert discover_artifact_store(store) is inner


@pytest.mark.parametrize("obj", [None, object(), Owner(None), Owner("no store")])
def test_object_without_a_store_has_none(obj: object) -> None:
    assert discover_artifact_store(obj) is None


@pytest.mark.parametrize(
    ("namespace", "clean"),
    [
        ("tool-1_a", "tool-1_a"),
        ("my tool!!v2", "my_tool_v2"),
        ("  käse ", "k_se"),
        ("../../etc", "etc"),
        ("_a_", "a"),
        ("...", None),
        ("", None),
        (None, None),
    ],
)
def test_namespace_is_sanitised(namespace: str | None, clean: str | None) -> None:
    assert sanitize_artifact_namespace(namespace) == clean


def test_documented_names_are_exported() -> None:
    assert {"ScopedArtifacts", "sanitize_artifact_namespace"} <= set(artifacts.__all__)
