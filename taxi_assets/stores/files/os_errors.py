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

from taxi_assets.errors import (
    DiskError,
    DiskFull,
    NoPermission,
    PathTooLong,
    ReadOnlyDisk,
    StoreError,
    WrongFileType,
)

_KINDS: dict[int, type[StoreError]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EFBIG: DiskFull,
    errno.EACCES: NoPermission,
    errno.EPERM: NoPermission,
    errno.EROFS: ReadOnlyDisk,
    errno.ENOTDIR: WrongFileType,
    errno.EEXIST: WrongFileType,
    errno.EISDIR: WrongFileType,
    errno.ENAMETOOLONG: PathTooLong,
    errno.EIO: DiskError,
}


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Translate OS errors on the file or folder `path` to StoreErrors."""
    try:
        yield
    except OSError as error:
        translated = translate_os_error(error, path)
        if translated is None:
            raise
        raise translated from error


def translate_os_error(error: OSError, path: Path) -> StoreError | None:
    """Return the StoreError for an OS error on `path`, or on the file in the error.

    The fact `path` is the nearest file or folder that exists; for a full disk it is the argument. Returns None for OS
    errors that are not translated.
    """
    kind = _KINDS.get(error.errno) if error.errno else None
    if kind is None:
        return None
    name = error.filename
    failed = Path(os.fsdecode(name)) if isinstance(name, (str, bytes, os.PathLike)) else path
    if failed.parent == path.parent:  # the random name of a staged file means nothing to users
        failed = path
    existing, user, reason = nearest_existing(failed), _user(os.geteuid()), error.strerror or error
    if kind is DiskFull:
        space = describe_free_space(existing)
        return DiskFull(f'"{path}" cannot be written: {reason}. The disk has {space}.', path=str(path), user=user)
    return kind(f'User "{user}" cannot use "{failed}": {reason}. {_describe(existing)}.', path=str(existing), user=user)


def is_writable(path: Path) -> bool:
    """Return whether this user may write to an existing file or folder."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def free_bytes(folder: Path) -> int:
    """Return the free disk space for this user in `folder` or its nearest existing parent, in bytes."""
    return shutil.disk_usage(nearest_existing(folder)).free


def describe_free_space(folder: Path) -> str:
    """Return the free disk space in `folder` as text, in GB or MB."""
    free = free_bytes(folder)
    return f"{free / 1e9:,.1f} GB free" if free >= _GIGABYTE else f"{free / 1e6:,.1f} MB free"


_GIGABYTE = 10**9


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists and is visible to this user."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _describe(path: Path) -> str:
    """Describe a path: its type, permissions and owner."""
    status = path.lstat()
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"
    return f'"{path}" is a {kind} ({stat.filemode(status.st_mode)}) of user "{_user(status.st_uid)}"'


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
