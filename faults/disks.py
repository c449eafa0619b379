"""Disks: file systems in memory that can be full or read-only. They need a user who may mount, such as root."""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108  # a new folder in it is private to this user

_ROOMY = "4g"
"""The size of a disk that is not full. Only what is used takes memory."""


def memory_folder() -> Path | None:
    """Return the folder of a file system in memory, where trials do not wait for the disk; None if there is none."""
    return _MEMORY if _MEMORY.is_dir() else None


def mount(folder: Path) -> bool:
    """Mount an empty disk at a new folder. Returns False, with the folder, if this user may not mount."""
    folder.mkdir(parents=True)
    return _succeeds("mount", "-t", "tmpfs", "-o", f"size={_ROOMY},mode=755", "tmpfs", str(folder))


@cache
def may_mount() -> bool:
    """Whether this user may mount disks."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        try:
            return mount(disk)
        finally:
            unmount_below(disk)


def fill(disk: Path) -> None:
    """Take all free space from a disk."""
    while True:
        usage = os.statvfs(disk)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        # Fails if another process has written since.
        if _succeeds("mount", "-o", f"remount,size={used}", str(disk)):
            return


def empty(disk: Path) -> None:
    """Give a full disk its space back."""
    _must("mount", "-o", f"remount,size={_ROOMY}", str(disk))


def forbid_writing(folder: Path) -> None:
    """Make a folder read-only for files that are opened from now on, as `umount` of `folder` ends it."""
    # A disk with files that are open for writing cannot be mounted again as read-only, but a new mount of it can.
    _must("mount", "--bind", str(folder), str(folder))
    _must("mount", "-o", "remount,bind,ro", str(folder))


def unmount(folder: Path) -> None:
    """End the last mount at a folder, also if files in it are open."""
    _must("umount", "--lazy", str(folder))


def unmount_below(folder: Path) -> None:
    """End all mounts at a folder and below it, if there are any."""
    mounted = Path("/proc/self/mounts")
    if not mounted.exists():
        return
    places = [Path(line.split()[1]) for line in mounted.read_text().splitlines()]
    for place in reversed(places):
        if place.is_relative_to(folder):
            unmount(place)


def _must(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # the arguments are folders of this program


def _succeeds(*command: str) -> bool:
    try:
        _must(*command)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return True
