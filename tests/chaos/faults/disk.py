"""A disk that gets full: a small file system where one can be mounted, else the server's own limit.

Mounting takes root. Elsewhere (also in most containers of continuous integration) the same case
runs with the server's `max_file_store`, at which it refuses writes as on a full disk, with an error
of its own; nothing is skipped.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """Where a server keeps its files; `config` configures JetStream whole.

    Attributes:
        path: The folder.
        config: What the server has to be told.
        is_real: Whether it is a file system of its own.
    """

    def __init__(self, path: Path, megabytes: int, *, mount: bool) -> None:
        self.path = path
        path.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        self.is_real = mount and os.geteuid() == 0 and _run("mount", *options)
        # On a real file system JetStream is told of more than there is.
        limit = "8GB" if self.is_real else f"{megabytes}MB"
        self.config = f'jetstream {{ store_dir: "{path}", max_file_store: {limit} }}'

    def grow(self, *, megabytes: int) -> None:
        """Make room."""
        if self.is_real:
            assert _run("mount", "-o", f"remount,size={megabytes}m", str(self.path))

    def close(self) -> None:
        """Take it away."""
        if self.is_real:
            _run("umount", "-l", str(self.path))


def _run(*command: str) -> bool:
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def small_disk(folder: Path, *, megabytes: int, mount: bool = True) -> Iterator[Disk]:
    """A disk of this size, taken away in the end; mounted if it can be."""
    disk = Disk(folder / "disk", megabytes, mount=mount)
    try:
        yield disk
    finally:
        disk.close()
