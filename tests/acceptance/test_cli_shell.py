"""The shell around the commands: what it finds, what it says, and how it ends."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from penguiflow.cli import commands as found
from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.cli.main import main
from penguiflow.cli.options import count, names, option, patience, seconds
from tests.acceptance.cli_process import SHELL, run

PLUGIN = """
class Command:
    name = "wave"
    help = "wave at somebody"

    def configure(self, parser):
        parser.add_argument("whom")

    def run(self, args):
        print(f"waving at {args.whom}")
        return 7


command = Command()
"""


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An environment with an installed package that brings a command, and one that is broken."""
    site = tmp_path / "site"
    info = site / "waver-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "waver.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[penguiflow.commands]\nwave = waver:command\nbroken = waver_that_is_not:command\n"
    )
    root = Path(__file__).resolve().parents[2]
    return {"PYTHONPATH": f"{root}:{site}"}


def test_a_command_of_an_installed_package_is_found_and_its_status_is_the_programs(
    plugins: dict[str, str], tmp_path: Path
) -> None:
    done = run("wave", "you", cwd=tmp_path, shell=SHELL, env=plugins)
    assert (done.returncode, done.stdout, done.stderr) == (7, "waving at you\n", "")


def test_the_overview_lists_commands_and_one_that_cannot_be_loaded_does_not_spoil_it(
    plugins: dict[str, str], tmp_path: Path
) -> None:
    done = run("--help", cwd=tmp_path, shell=SHELL, env=plugins)
    assert done.returncode == 0
    assert "wave" in done.stdout
    assert "wave at somebody" in done.stdout
    assert "waver_that_is_not" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_command_that_cannot_be_loaded_says_what_is_missing(
    plugins: dict[str, str], tmp_path: Path
) -> None:
    done = run("broken", cwd=tmp_path, shell=SHELL, env=plugins)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the command 'broken' cannot be loaded: ")
    assert done.stderr.count("\n") == 1


class Probe:
    """A command made for one test."""

    name = "probe"
    help = "probe"

    def __init__(self, outcome: object = 0) -> None:
        self.outcome = outcome
        self.seen: Namespace | None = None

    def configure(self, parser: ArgumentParser) -> None:
        option(parser, "--lease", env="PROBE_LEASE", type=seconds, default=15.0, help="a lease")
        option(parser, "--nodes", env="PROBE_NODES", type=names, help="100% of the nodes")
        option(parser, "--wait", env="PROBE_WAIT", type=patience, default=0.0, help="a wait")
        option(parser, "--many", env="PROBE_MANY", type=count, default=3, help="how many")

    def run(self, args: Namespace) -> int:
        self.seen = args
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert isinstance(self.outcome, int)
        return self.outcome


def ask(probe: Probe, *arguments: str) -> int:
    return main(["probe", *arguments], commands=found.of(probe))


def test_an_option_comes_from_the_command_line_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe()
    monkeypatch.setenv("PROBE_LEASE", "4")
    monkeypatch.setenv("PROBE_NODES", "a, b")
    assert ask(probe, "--lease", "2.5", "--wait", "0") == 0
    assert probe.seen == Namespace(lease=2.5, nodes=("a", "b"), wait=0.0, many=3)
    assert ask(probe) == 0
    assert probe.seen is not None
    assert probe.seen.lease == 4.0
    assert type(probe.seen.nodes[0]) is str


def test_help_names_the_variable_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(Probe(), "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "[env PROBE_LEASE, default 15.0]" in shown
    assert "100% of the nodes [env PROBE_NODES]" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lease", "soon"), "'soon': must be a number of seconds"),
        (("--lease", "0"), "'0': must be more than 0"),
        (("--lease", "nan"), "'nan': must be more than 0"),
        (("--lease", "inf"), "'inf': must be more than 0"),
        (("--wait", "-1"), "'-1': must not be negative"),
        (("--many", "0"), "'0': must be a whole number of at least 1"),
        (("--nodes", ","), "',': must be at least one name"),
        (("--leas", "1"), "unrecognized arguments: --leas 1"),
    ],
)
def test_bad_usage_is_one_line_with_a_hint_and_status_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(Probe(), *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert err.endswith("; hint: see `penguiflow probe --help`\n")
    assert err.count("\n") == 1


def test_a_bad_value_of_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROBE_LEASE", "-1")
    assert ask(Probe()) == 2
    assert "'-1' (from PROBE_LEASE): must be more than 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CommandError("it is\nbroken", hint="mend it"), 1, "error: it is broken; hint: mend it"),
        (UsageError("not so"), 2, "error: not so"),
        (ValueError("oh"), 1, "error: ValueError: oh"),
        (CommandError("bell \x07 and \x1b[31mred"), 1, "error: bell � and �[31mred"),
    ],
)
def test_a_failure_is_one_line_without_a_traceback(
    error: Exception, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(Probe(error)) == status
    assert capsys.readouterr().err == line + "\n"


def test_an_interrupted_command_ends_with_status_130() -> None:
    assert ask(Probe(KeyboardInterrupt())) == 130


def test_an_unknown_command_and_none_at_all_are_usage_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prob"], commands=found.of(Probe())) == 2
    assert "there is no command 'prob'; there is: probe" in capsys.readouterr().err
    assert main([], commands=found.of(Probe())) == 2
    assert "usage: penguiflow COMMAND" in capsys.readouterr().err


def test_without_any_command_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker"], commands={}) == 2
    assert "penguiflow[nats]" in capsys.readouterr().err
