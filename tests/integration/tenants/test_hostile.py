"""A tenant with its own legal credentials attacks another one.

With an account each, nothing succeeds. In one account, with permissions as narrow as a worker's
job allows, what succeeds is what `docs/isolation.md` lists; and the doctor says so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penguiflow_nats.doctor import Case, diagnose, look
from tests.integration.tenants.attacks_detour import DETOUR
from tests.integration.tenants.attacks_direct import DIRECT, Attack
from tests.integration.tenants.ring import Ring
from tests.integration.tenants.site import site

ATTACKS = (*DIRECT, *DETOUR)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "isolation.md"


def listed() -> set[str]:
    """The attacks that succeed in one account, as the page lists them."""
    return set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))


@asynccontextmanager
async def ring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, shared: bool
) -> AsyncIterator[Ring]:
    async with (
        site(monkeypatch, str(tmp_path), shared=shared) as opened,
        await opened.open("acme") as evil,
        await opened.open("globex") as victim,
    ):
        made = Ring(opened, evil, victim)
        await made.prepare()
        yield made


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_with_an_account_each_it_fails(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with ring(monkeypatch, tmp_path, shared=False) as made:
        assert await attack(made) is False


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_in_one_account_it_does_what_the_page_says(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with ring(monkeypatch, tmp_path, shared=True) as made:
        assert await attack(made) is (attack.__name__ in listed())


@pytest.mark.parametrize("shared", [False, True])
async def test_the_doctor_tells_the_two_apart(
    shared: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with ring(monkeypatch, tmp_path, shared=shared) as made:
        user = await made.site.open("globex")
        if shared:  # its workers may not list streams; whoever runs the server looks
            await user.close()
            user = await made.site.open("operator")
        facts = await look(user, Case(tenant="globex"), interval=0.0)
        await user.close()
    found = {each.id for each in diagnose(facts, Case(tenant="globex"))}
    assert ("not-isolated" in found) is shared


def test_the_suite_has_enough_attacks_and_the_page_lists_none_that_is_not_one() -> None:
    names = [attack.__name__ for attack in ATTACKS]
    assert len(set(names)) == len(names) >= 25
    assert listed() <= set(names)
    page = PAGE.read_text()
    assert f"runs {len(ATTACKS)} attacks" in page
    assert f"| an account each, as generated | {len(ATTACKS)} | 0 |" in page
    assert f"| {len(ATTACKS)} | {len(listed())} |" in page
