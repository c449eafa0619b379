"""Real faults of a machine: a full disk, a read-only disk, and a user without permissions."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER_USER = 65534
"""The ID of a user without permissions, on most systems `nobody`."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of this size at `folder`. Skip the test if this user may not mount disks."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Mount a disk again, read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            yield
        finally:
            filler.unlink()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Limit the size in bytes of each file that this process writes, which fails like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def closed(folder: Path, mode: int = 0o555) -> Iterator[None]:
    """Set the mode of a folder. Root, who could ignore it, becomes another user until the end of the block."""
    private = [
        path for path in folder.parents if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001
    ]
    modes = {path: path.stat().st_mode for path in (folder, *private)}
    for path, before in modes.items():
        path.chmod(before | 0o011)
    folder.chmod(mode)
    user = os.geteuid()
    if user == 0:
        os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, before in modes.items():
            path.chmod(before)
