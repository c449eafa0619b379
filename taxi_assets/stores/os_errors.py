"""Translation of OS errors on files to StoreErrors: full disk, missing permission, not a folder.

Not here: other OS errors. They are not translated, because they may be bugs.
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
def translate_os_errors(place: Path) -> Iterator[None]:
    """Translate OS errors on the file or folder `place` to StoreErrors that say what to do."""
    try:
        yield
    except OSError as error:
        told = translate_os_error(error, place)
        if told is None:
            raise
        raise told from error


def translate_os_error(error: OSError, place: Path) -> StoreError | None:
    """Return the StoreError for an OS error on `place`, or on the file that the error names.

    Returns None for OS errors that are not translated.
    """
    named = error.filename
    refused = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else place
    if refused.parent == place.parent:  # the random name of a staged file means nothing to users
        refused = place
    there = nearest(refused)
    said = f"{refused} cannot be used by user {_user(os.geteuid())}: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        return StoreError(
            f"there is no room for {place}: {error.strerror or error}; {describe_free_space(there)} now. It was left "
            "as it was. Make room there, or use another folder, then run this again"
        )
    if error.errno in _REMEDIES:
        return StoreError(f"{said}; {_described(there)}. {_REMEDIES[error.errno].format(there=there)}")
    return None


def free_bytes(folder: Path) -> int:
    """Return the free disk space for this user in `folder` or its nearest existing parent, in bytes."""
    return shutil.disk_usage(nearest(folder)).free


def describe_free_space(folder: Path) -> str:
    """Return the free disk space in `folder` as text, in GB or MB."""
    free = free_bytes(folder)
    return f"{free / 1e9:,.1f} GB are free there" if free >= _GIGABYTE else f"{free / 1e6:,.1f} MB are free there"


_GIGABYTE = 10**9


def nearest(path: Path) -> Path:
    """Return the path, or its nearest parent that exists and is visible to this user."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _described(path: Path) -> str:
    """Describe a path: its type, permissions and owner."""
    seen = path.lstat()
    kind = "folder" if stat.S_ISDIR(seen.st_mode) else "link" if stat.S_ISLNK(seen.st_mode) else "file"
    return f"{path} is a {kind} ({stat.filemode(seen.st_mode)}) of user {_user(seen.st_uid)}"


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
