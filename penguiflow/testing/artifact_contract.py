"""The promises of an artifact store."""

from __future__ import annotations

import hashlib
from typing import Any

from penguiflow.artifacts.models import ArtifactScope
from penguiflow.artifacts.scoped import ScopedArtifacts
from penguiflow.testing.contract import Contract, check, check_equal, fresh

COLLISION = (b"text 44519985", b"text 46698260")
"""Two contents whose SHA-256 starts with the same 12 hex digits, 20e327404bae: one of about fifty
million short texts."""


def content(text: str = "content") -> bytes:
    """Bytes that nobody has stored before."""
    return fresh(text).encode()


class ArtifactStoreContract(Contract):
    """What every `ArtifactStore` promises that keeps what it gets."""

    max_artifact_bytes: int | None = None
    """The largest artifact that the store under test takes, where that is worth a test."""

    async def test_bytes_come_back(self) -> None:
        async with self.open_store() as store:
            for data in (content(), b"", bytes(range(256)) * 100):
                ref = await store.put_bytes(data)
                check_equal(await store.get(ref.id), data, "the same bytes")

    async def test_id_is_the_start_of_the_hash(self) -> None:
        async with self.open_store() as store:
            data = content()
            digits = hashlib.sha256(data).hexdigest()[:12]
            check_equal((await store.put_bytes(data)).id, f"art_{digits}", "without a namespace")
            ref = await store.put_bytes(data, namespace="tool")
            check_equal(ref.id, f"tool_{digits}", "with a namespace")

    async def test_reference_describes_the_artifact(self) -> None:
        async with self.open_store() as store:
            data, scope = content(), ArtifactScope(session_id=fresh("session"))
            ref = await store.put_bytes(
                data,
                mime_type="image/png",
                filename="a.png",
                namespace="tool",
                scope=scope,
                meta={"origin": "test"},
            )
            check_equal((ref.mime_type, ref.filename), ("image/png", "a.png"), "type and name")
            check_equal((ref.namespace, ref.scope), ("tool", scope), "namespace and scope")
            check_equal(ref.size_bytes, len(data), "the size")
            check_equal(ref.sha256, hashlib.sha256(data).hexdigest(), "the whole hash")
            check_equal(ref.source, {"origin": "test"}, "the meta becomes the source")
            check_equal(await store.get_ref(ref.id), ref, "the store says the same later")

    async def test_text_is_stored_as_utf8(self) -> None:
        async with self.open_store() as store:
            text = fresh("käse")
            ref = await store.put_text(text)
            check_equal(ref.mime_type, "text/plain", "the default type")
            check_equal(await store.get(ref.id), text.encode(), "UTF-8")
            ref = await store.put_text(fresh("{}"), mime_type="application/json")
            check_equal(ref.mime_type, "application/json", "the type given")

    async def test_equal_content_gives_the_first_reference(self) -> None:
        async with self.open_store() as store:
            data = content()
            first = await store.put_bytes(data, filename="first")
            second = await store.put_bytes(data, filename="second")
            check_equal(second, first, "equal content in the same scope is stored once")

    async def test_unknown_id_is_not_there(self) -> None:
        async with self.open_store() as store:
            unknown = fresh("art")
            check_equal(await store.get(unknown), None, "no bytes")
            check_equal(await store.get_ref(unknown), None, "no reference")
            check_equal(await store.exists(unknown), False, "it does not exist")
            check_equal(await store.delete(unknown), False, "nothing to delete")

    async def test_deleted_artifact_is_gone(self) -> None:
        async with self.open_store() as store:
            ref = await store.put_bytes(content())
            check_equal(await store.exists(ref.id), True, "it exists")
            check_equal(await store.delete(ref.id), True, "there was something to delete")
            check_equal(await store.exists(ref.id), False, "it does not exist any more")
            check_equal(await store.get(ref.id), None, "no bytes")
            check_equal(await store.get_ref(ref.id), None, "no reference")

    async def test_deleted_artifact_can_be_stored_again(self) -> None:
        async with self.open_store() as store:
            data = content()
            ref = await store.put_bytes(data)
            await store.delete(ref.id)
            again = await store.put_bytes(data)
            check_equal((again.id, await store.get(again.id)), (ref.id, data), "under the same id")

    async def test_list_selects_by_scope(self) -> None:
        async with self.open_store() as store:
            tenant, session = fresh("tenant"), fresh("session")
            one = await store.put_bytes(
                content(), scope=ArtifactScope(tenant_id=tenant, session_id=session, trace_id="t")
            )
            two = await store.put_bytes(content(), scope=ArtifactScope(tenant_id=tenant))
            await store.put_bytes(content(), scope=ArtifactScope(tenant_id=fresh("tenant")))
            found = await store.list(scope=ArtifactScope(tenant_id=tenant))
            check_equal(list(found), [one, two], "None in the scope matches all; oldest first")
            found = await store.list(scope=ArtifactScope(tenant_id=tenant, session_id=session))
            check_equal(list(found), [one], "the session's artifacts")
            found = await store.list(scope=ArtifactScope(tenant_id=tenant, trace_id="other"))
            check_equal(list(found), [], "another trace's artifacts")
            everything = {ref.id for ref in await store.list()}
            check({one.id, two.id} <= everything, "without a scope everything is listed")

    async def test_equal_content_of_two_owners_has_two_references(self) -> None:
        async with self.open_store() as store:
            data, tenant = content(), fresh("tenant")
            scopes = [
                ArtifactScope(tenant_id=tenant, session_id="one"),
                ArtifactScope(tenant_id=tenant, session_id="two"),
                ArtifactScope(tenant_id=fresh("tenant"), session_id="one"),
            ]
            refs = [await store.put_bytes(data, scope=scope) for scope in scopes]
            check_equal([ref.scope for ref in refs], scopes, "each has its own scope")
            for ref, scope in zip(refs, scopes, strict=True):
                view = _view(store, scope)
                check_equal(await view.download(ref.id), data, "each owner sees its own")

    async def test_deleting_one_owners_artifact_leaves_the_others(self) -> None:
        async with self.open_store() as store:
            data = content()
            one, two = [
                await store.put_bytes(data, scope=ArtifactScope(tenant_id=fresh("tenant")))
                for _ in range(2)
            ]
            await store.delete(one.id)
            check_equal(await store.get(two.id), data, "the other owner's is still there")

    async def test_colliding_short_hashes_never_give_foreign_bytes(self) -> None:
        async with self.open_store() as store:
            for namespace in (fresh("one"), fresh("two")):
                refs = [await store.put_bytes(data, namespace=namespace) for data in COLLISION]
                stored = [await store.get(ref.id) for ref in refs]
                check_equal(stored, list(COLLISION), "each id gives its own bytes")
                again = await store.put_bytes(COLLISION[1], namespace=namespace)
                check_equal(again, refs[1], "and stays the same")

    async def test_too_large_artifact_is_refused(self) -> None:
        if self.max_artifact_bytes is None:
            return
        async with self.open_store() as store:
            largest = await store.put_bytes(b"x" * self.max_artifact_bytes)
            check_equal(await store.exists(largest.id), True, "the largest one fits")
            try:
                await store.put_bytes(b"x" * (self.max_artifact_bytes + 1))
            except ValueError:
                return
            check(False, "a larger one is refused with a ValueError")

    async def test_changing_a_reference_changes_nothing_stored(self) -> None:
        async with self.open_store() as store:
            ref = await store.put_bytes(content(), meta={"list": [1]})
            ref.source["list"].append(2)
            kept = await store.get_ref(ref.id)
            check_equal(kept and kept.source, {"list": [1]}, "the store gives copies")


def _view(store: Any, scope: ArtifactScope) -> ScopedArtifacts:
    return ScopedArtifacts(
        store,
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        session_id=scope.session_id,
        trace_id=scope.trace_id,
    )


__all__ = ["COLLISION", "ArtifactStoreContract"]
