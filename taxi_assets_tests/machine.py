"""Faults of a machine, for real: a disk without room, a disk that is read-only, a user without rights."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of this size at `folder`; skips the test where this user may mount none."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root on a machine of its own may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nobody write to a disk."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """A disk on which no byte is free."""
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            yield
        finally:
            filling.unlink()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A limit on the size, in bytes, of each file of this process: what a disk without room is to any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def closed(folder: Path, mode: int = 0o555) -> Iterator[None]:
    """A folder of this mode, which this process must heed: as root it becomes another user meanwhile."""
    shut = [path for path in folder.parents if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in (folder, *shut)}
    for path, was in modes.items():
        path.chmod(was | 0o011)
    folder.chmod(mode)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, was in modes.items():
            path.chmod(was)
