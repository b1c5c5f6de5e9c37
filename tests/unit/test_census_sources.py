"""Which files the census counts, and what its nodes pass on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "examples" / "stdlib_census"))

import census_nodes
from census_direct import direct_census
from census_models import Package, SourceFile
from census_sources import (
    ROOT_VARIABLE,
    TOP_LEVEL,
    census_root,
    discover_packages,
    read_source,
    split_package,
)
from census_summary import report_on

from penguiflow.types import Headers, Message

TREE = {
    "os.py": "def getcwd(): pass\n",
    "abc.py": "x = 1\n",
    "email/__init__.py": "",
    "email/parser.py": "def parse(a):\n    return a or None\n",
    "email/architecture.rst": "not Python",
    "email/mime/text.py": "print 'old'\n",
    "data/only.txt": "no source here",
    "config-3.11-linux/setup.py": "# nothing\n",
    "site-packages/pip/main.py": "x = 1\n",
    "dist-packages/apt.py": "x = 1\n",
    "email/__pycache__/parser.py": "x = 1\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


class Outgoing:
    """A context that keeps what a node emits."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def emit(self, msg: Any) -> None:
        self.messages.append(msg)


def test_packages_are_directories_with_source_in_a_fixed_order(tree: Path) -> None:
    found = {package.name: package.files for package in discover_packages(tree)}
    assert found == {
        TOP_LEVEL: ("abc.py", "os.py"),
        "config-3.11-linux": ("config-3.11-linux/setup.py",),
        "email": ("email/__init__.py", "email/parser.py"),
        "email.mime": ("email/mime/text.py",),
    }
    assert list(found) == [TOP_LEVEL, "config-3.11-linux", "email", "email.mime"]


def test_a_limit_takes_the_first_packages(tree: Path) -> None:
    assert discover_packages(tree, limit=2) == discover_packages(tree)[:2]
    assert discover_packages(tree, limit=99) == discover_packages(tree)


def test_a_dangling_link_is_no_file(tree: Path) -> None:
    (tree / "sitecustomize.py").symlink_to(tree / "nowhere.py")
    (tree / "folder.py").mkdir()
    assert discover_packages(tree, limit=1)[0].files == ("abc.py", "os.py")


def test_every_file_knows_how_many_its_package_has() -> None:
    package = Package(name="email", files=("email/a.py", "email/b.py"))
    assert split_package(package) == [
        SourceFile(package="email", path="email/a.py", files_in_package=2),
        SourceFile(package="email", path="email/b.py", files_in_package=2),
    ]


def test_a_missing_file_is_a_failure_not_a_result(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source(tree, SourceFile(package="x", path="x/gone.py", files_in_package=1))


def test_the_root_is_the_standard_library_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    assert (census_root() / "asyncio" / "__init__.py").is_file()
    monkeypatch.setenv(ROOT_VARIABLE, "elsewhere")
    assert census_root() == Path("elsewhere")


def test_the_standard_library_has_the_packages_everybody_knows() -> None:
    packages = {package.name: package for package in discover_packages(census_root())}
    assert {TOP_LEVEL, "asyncio", "email.mime", "json"} <= set(packages)
    assert "json/decoder.py" in packages["json"].files
    assert not any("site-packages" in name for name in packages)


async def test_the_nodes_give_what_the_direct_census_gives(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tree))
    packages = discover_packages(tree)
    reports = []
    for package in packages:
        message = Message(payload=package.model_dump(mode="json"), headers=Headers(tenant="t"))
        files, nothing = Outgoing(), Outgoing()
        await census_nodes.split(message, files)
        parsed = [await census_nodes.parse(file, nothing) for file in files.messages]
        joined = message.model_copy(update={"payload": [p.payload for p in reversed(parsed)]})
        metrics = (await census_nodes.package(joined, nothing)).payload
        answer = message.model_copy(update={"payload": report_on(metrics).model_dump(mode="json")})
        result = await census_nodes.report(answer, nothing)
        assert (result.trace_id, result.headers) == (message.trace_id, message.headers)
        assert nothing.messages == []
        reports.append(result.payload)
    assert reports == direct_census(tree, packages)


def test_the_direct_census_counts_bad_files_and_goes_on(tree: Path) -> None:
    reports = direct_census(tree, discover_packages(tree))
    assert [report.metrics.package for report in reports][-1] == "email.mime"
    assert [len(report.metrics.errors) for report in reports] == [0, 0, 0, 1]
