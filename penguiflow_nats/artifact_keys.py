"""The keys and ids of artifacts in a tenant's state bucket. Pure.

ai.<artifact>                                       which content an id was given to
ao.<tenant>.<user>.<session>.<trace>.<artifact>     whose it is
au.<artifact>                                       when it was used last, for "lru"
ar.<artifact>                                       the artifact: reference and object
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

from penguiflow.artifacts.models import ArtifactScope
from penguiflow.artifacts.shelf import Owner
from penguiflow.durable.tokens import derive, token
from penguiflow_nats.state_keys import ANY, part, part_or_any


def candidates(namespace: str | None, owner: Owner, sha256: str) -> Iterator[str]:
    """The ids that a content may get: the start of its hash, then, should that be somebody else's,
    others that follow from content and owner."""
    prefix = namespace or "art"
    yield f"{prefix}_{sha256[:12]}"
    for attempt in count(1):
        salted = f"{sha256}|{owner!r}|{attempt}"
        yield f"{prefix}_{hashlib.sha256(salted.encode()).hexdigest()[:12]}"


def identity(namespace: str | None, owner: Owner, sha256: str) -> str:
    """What an id stands for, for ever: one content of one owner in one namespace."""
    return derive("artifact", *(repr(each) for each in (namespace, *owner)), sha256)


def issued(artifact_id: str) -> str:
    """Which content an id was given to."""
    return f"ai.{token(artifact_id)}"


def artifact(artifact_id: str) -> str:
    """An artifact."""
    return f"ar.{token(artifact_id)}"


def used(artifact_id: str) -> str:
    """When an artifact was used last."""
    return f"au.{token(artifact_id)}"


def owned(scope: ArtifactScope | None, artifact_id: str) -> str:
    """Whose an artifact is."""
    return f"ao.{_of(scope)}.{token(artifact_id)}"


def _of(scope: ArtifactScope | None) -> str:
    has = scope or ArtifactScope()
    names = (has.tenant_id, has.user_id, has.session_id, has.trace_id)
    return ".".join(part(name) for name in names)


def within(scope: ArtifactScope | None) -> str:
    """A filter for the artifacts of a scope; None matches all."""
    wanted = scope or ArtifactScope()
    names = (wanted.tenant_id, wanted.user_id, wanted.session_id, wanted.trace_id)
    return ".".join(["ao", *(part_or_any(name) for name in names), ANY])


def of_session(scope: ArtifactScope | None) -> str:
    """A filter for the artifacts that share the limits of a session."""
    return f"ao.{_of(scope).rpartition('.')[0]}.*.*"


def of_trace(scope: ArtifactScope | None) -> str:
    """A filter for the artifacts that share the limits of a trace."""
    return f"ao.{_of(scope)}.*"
