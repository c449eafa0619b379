"""Atomic file writes and `file://` URLs.

A file is written under a temporary name in its target folder, then renamed. Until then, the writer holds a lock on the
staged file, which the kernel releases when the process dies. A staged file without a lock is therefore abandoned, and
the next writer of the same target deletes it. Concurrent writers of the same target do not interfere: each has its own
staged file, and the last rename wins.
"""

import errno
import fcntl
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from taxi_assets.errors import InvalidFileUrl
from taxi_assets.stores.files.os_errors import is_writable, nearest_existing, translate_os_error, translate_os_errors


def local_path(url: str) -> Path | None:
    """Return the path for `url`, a plain path or `file:///...`, or None if it has another scheme.

    Raises InvalidFileUrl if a `file://` URL has no absolute path: its first part would be read as a host name.
    """
    if "://" not in url:
        return Path(url)
    path = url.removeprefix("file://")
    if path == url:
        return None
    if not path.startswith("/"):
        raise InvalidFileUrl(f'The path in the URL "{url}" is not absolute. Expected a slash after file://.', seen=url)
    return Path(unquote(path))


def probe_folder(folder: Path) -> None:
    """Check that `folder`, or its nearest existing parent, is writable, with a temporary file that is then deleted.

    Raises StoreError if it is not.
    """
    existing = nearest_existing(folder)
    try:
        # An unnamed file leaves nothing behind, even if this process is killed.
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        translated = translate_os_error(OSError(error.errno, error.strerror), existing)
        if translated is None:
            raise
        raise translated from error


_PROBE_BYTES = 1 << 16


def require_writable(path: Path) -> None:
    """Check that this user may write to an existing file. Does not open it, because that could release its locks.

    Raises StoreError.
    """
    if not is_writable(path):
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        with translate_os_errors(path):
            raise OSError(code, os.strerror(code), str(path))


class StagedFile:
    """A file that is written under a temporary name and then moved to the path `target`.

    Write to `path`, which exists and is empty, then call `publish()` or `discard()`. An exception inside the `with`
    statement discards the file; OS errors such as a full disk become StoreErrors. Tools that replace the file at `path`
    instead of writing to it lose the lock.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        with translate_os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _delete_abandoned(target)
            self.path, self._lock = _stage(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        self.discard()
        if isinstance(error, OSError) and (translated := translate_os_error(error, self.target)):
            raise translated from error

    def sync(self) -> None:
        """Flush the file to disk. Raises StoreError for OS errors: a full disk may be reported only here."""
        with translate_os_errors(self.target):
            os.fsync(self._lock)

    def publish(self, target: Path | None = None) -> Path:
        """Flush the file to disk, move it to its target atomically, and return the target's path.

        `target` replaces the target, if its name is known only now. It must be in the same folder. The directory entry
        is flushed as well, so that a published file is still there after a power failure.
        """
        target = target or self.target
        self.sync()
        with translate_os_errors(target):
            self.path.replace(target)
            _sync_folder(target.parent)
        self._release()
        return target

    def discard(self) -> None:
        """Delete the staged file without publishing it. Safe to call more than once."""
        with translate_os_errors(self.target):
            self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stage(target: Path) -> tuple[Path, int]:
    """Create a staged file next to `target`. Returns its path and the file descriptor that holds its lock."""
    while True:
        # The suffix keeps staged files out of listings such as *.parquet.
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.staged")
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        # Another writer deleted it as abandoned before it was locked.
        os.close(lock)


def remove_file(path: Path) -> int | None:
    """Delete a file and its abandoned staged files. Returns its size in bytes, or None if it did not exist."""
    with translate_os_errors(path):
        _delete_abandoned(path)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return None
    return size


def _delete_abandoned(target: Path) -> None:
    """Delete the staged files that terminated writers of `target` left next to it."""
    for staged in target.parent.glob(f".{target.name}.*.staged"):
        # Another writer may have published or deleted it since it was listed.
        with suppress(FileNotFoundError), staged.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            staged.unlink(missing_ok=True)
