"""A contract that a broken store passes is worth nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.testing import artifact_contract, bus_contract, store_contract
from penguiflow.testing.contract import Contract
from tests.contract.state.broken import (
    Careless,
    CarelessArtifacts,
    CarelessBus,
    DeafBus,
    Forgetful,
    ForgetfulArtifacts,
)

STORE_CONTRACTS = [
    store_contract.StateStoreContract,
    store_contract.EventIdentityContract,
    store_contract.BulkEventsContract,
    store_contract.TenantHistoryContract,
    store_contract.RetentionContract,
    store_contract.PlannerStateContract,
    store_contract.PlannerEventsContract,
    store_contract.MemoryStateContract,
    store_contract.TrajectoriesContract,
    store_contract.ArtifactsContract,
    store_contract.TasksContract,
    store_contract.SteeringContract,
    store_contract.ConversationBindingsContract,
    store_contract.BindingTransferContract,
]

CASES: list[tuple[type[Contract], list[Callable[[], Any]]]] = [
    *((contract, [Careless, Forgetful]) for contract in STORE_CONTRACTS),
    (artifact_contract.ArtifactStoreContract, [CarelessArtifacts, ForgetfulArtifacts]),
    (bus_contract.MessageBusContract, [CarelessBus, DeafBus]),
]

ONLY_MUST_NOT_RAISE = {
    "test_event_without_trace_is_accepted",
    "test_untraced_value_is_accepted",
    "test_binding_can_be_saved_again",
    "test_bulk_of_no_events_is_fine",
}
"""Promises that no answer can break: a store breaks them by raising."""


def promises_of(contract: type[Contract]) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


def applied_to(contract: type[Contract], broken: Callable[[], Any]) -> Any:
    class Applied(contract):  # type: ignore[misc, valid-type]
        max_artifact_bytes = 10

        async def make_store(self) -> Any:
            return broken()

        async def heard(self, bus: Any, trace_id: str) -> Any:
            return [each for each in bus.envelopes if each.trace_id == trace_id]

    return Applied()


async def broken_promises(contract: type[Contract], broken: Callable[[], Any]) -> set[str]:
    found = set()
    for name in promises_of(contract):
        try:
            await getattr(applied_to(contract, broken), name)()
        except AssertionError:
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("contract", "broken"),
    [(contract, broken) for contract, stores in CASES for broken in stores],
)
async def test_broken_store_fails_each_contract(
    contract: type[Contract], broken: Callable[[], Any]
) -> None:
    assert await broken_promises(contract, broken)


@pytest.mark.parametrize(("contract", "stores"), CASES)
async def test_every_promise_is_broken_by_some_store(
    contract: type[Contract], stores: list[Callable[[], Any]]
) -> None:
    found = set[str]()
    for broken in stores:
        found |= await broken_promises(contract, broken)
    assert set(promises_of(contract)) - found <= ONLY_MUST_NOT_RAISE


class Raising:
    envelopes = ()

    async def refuse(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("refused")

    publish = save_event = save_events = save_remote_binding = refuse


@pytest.mark.parametrize("name", sorted(ONLY_MUST_NOT_RAISE))
async def test_store_that_raises_breaks_the_harmless_promises(name: str) -> None:
    (contract,) = [contract for contract, _ in CASES if name in promises_of(contract)]
    with pytest.raises(RuntimeError, match="refused"):
        await getattr(applied_to(contract, Raising), name)()


def test_no_test_hides_another_in_a_class_with_several_contracts() -> None:
    names = Counter(name for contract, _ in CASES for name in promises_of(contract))
    assert [name for name, count in names.items() if count > 1] == []


async def test_class_without_a_store_says_what_is_missing() -> None:
    class TestForgot(store_contract.StateStoreContract):
        pass

    with pytest.raises(NotImplementedError, match="TestForgot must define `async def make_store"):
        await TestForgot().make_store()


async def test_store_is_closed_after_a_failed_test() -> None:
    closed = []

    class Closing(store_contract.StateStoreContract):
        async def make_store(self) -> Forgetful:
            return Forgetful()

        async def close_store(self, store: Any) -> None:
            closed.append(store)

    with pytest.raises(AssertionError):
        await Closing().test_history_gives_back_what_was_saved()
    assert len(closed) == 1


async def test_size_limit_is_only_tested_where_one_is_named() -> None:
    await artifact_contract.ArtifactStoreContract().test_too_large_artifact_is_refused()
