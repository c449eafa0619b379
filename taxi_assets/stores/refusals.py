"""What is said where the system refuses a file: no room, no right, no folder.

Not here: other errors of the system, which are left as they are, since they may be bugs.
"""

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taxi_assets.errors import StoreError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_RIGHTS = "Run this as the owner of {there}, or let this user write there, or use another folder"
_KIND = "Move {there} away, or use another folder"
_REMEDIES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "Mount it for writing, or use another folder",
    errno.ENOTDIR: _KIND,
    errno.EEXIST: _KIND,
    errno.EISDIR: _KIND,
    errno.ENAMETOOLONG: "Use a folder with a shorter path",
    errno.EIO: "The disk may be failing: look at the system's log, or use another folder",
}


@contextmanager
def refusals_told(place: Path) -> Iterator[None]:
    """Raise StoreError, with what to do, where the system refuses what is done at `place`."""
    try:
        yield
    except OSError as error:
        told = refusal(error, place)
        if told is None:
            raise
        raise told from error


def refusal(error: OSError, place: Path) -> StoreError | None:
    """What is to be said where the system refuses `place`, or what the error names; None where it is no refusal."""
    named = error.filename
    refused = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else place
    if refused.parent == place.parent:  # staged files have names that nobody knows
        refused = place
    there = nearest(refused)
    said = f"{refused} cannot be used by user {_user(os.geteuid())}: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        return StoreError(
            f"there is no room for {place}: {error.strerror or error}; {said_room(there)} now. It was left as it was. "
            "Make room there, or use another folder, then run this again"
        )
    if error.errno in _REMEDIES:
        return StoreError(f"{said}; {_described(there)}. {_REMEDIES[error.errno].format(there=there)}")
    return None


def free_bytes(folder: Path) -> int:
    """The bytes that this user may still write in `folder`, or where it will be."""
    return shutil.disk_usage(nearest(folder)).free


def said_room(folder: Path) -> str:
    """The room that is left in `folder`, for people."""
    free = free_bytes(folder)
    return f"{free / 1e9:,.1f} GB are free there" if free >= _GIGABYTE else f"{free / 1e6:,.1f} MB are free there"


_GIGABYTE = 10**9


def nearest(path: Path) -> Path:
    """The path, or the nearest above it that is there and can be seen."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _described(path: Path) -> str:
    """What a path is, its rights and its owner."""
    seen = path.lstat()
    kind = "folder" if stat.S_ISDIR(seen.st_mode) else "link" if stat.S_ISLNK(seen.st_mode) else "file"
    return f"{path} is a {kind} ({stat.filemode(seen.st_mode)}) of user {_user(seen.st_uid)}"


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
