"""Atomic file writes, lock files, and `file://` URLs.

A file is written under a temporary name in its target folder, then renamed. Until then, the writer holds a lock on the
staged file, which the kernel releases when the process dies. A staged file without a lock is therefore abandoned, and
the next writer of the same target deletes it. Concurrent writers of the same target do not interfere: each has its own
staged file, and the last rename wins.
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from taxi_assets.errors import SettingsError, StoreBusy
from taxi_assets.stores.os_errors import nearest, translate_os_error, translate_os_errors


def local_path(url: str) -> Path | None:
    """Return the path for `url`, a plain path or `file:///...`, or None if it has another scheme.

    Raises SettingsError if a `file://` URL has no absolute path: its first part would be read as a host name.
    """
    if "://" not in url:
        return Path(url)
    path = url.removeprefix("file://")
    if path == url:
        return None
    if not path.startswith("/"):
        raise SettingsError(f"{url} names no absolute path: write file:///folder/..., with three slashes")
    return Path(unquote(path))


def probe_folder(folder: Path) -> None:
    """Check that `folder`, or its nearest existing parent, is writable, with a temporary file that is then deleted.

    Raises StoreError if it is not.
    """
    there = nearest(folder)
    try:
        # An unnamed file leaves nothing behind, even if this process is killed.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        told = translate_os_error(OSError(error.errno, error.strerror), there)
        if told is None:
            raise
        raise told from error


_PROBE_BYTES = 1 << 16


class StagedFile:
    """A file that is written under a temporary name and then moved to its target, `place`.

    Write to `path`, which exists and is empty, then call `publish()` or `discard()`. An exception inside the `with`
    statement discards the file; OS errors such as a full disk become StoreErrors. Tools that replace the file at `path`
    instead of writing to it lose the lock.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        with translate_os_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            _clear_litter(place)
            self.path, self._lock = _stage(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        self.discard()
        if isinstance(error, OSError) and (told := translate_os_error(error, self.place)):
            raise told from error

    def sync(self) -> None:
        """Flush the file to disk. Raises StoreError for OS errors: a full disk may be reported only here."""
        with translate_os_errors(self.place):
            os.fsync(self._lock)

    def publish(self) -> Path:
        """Flush the file to disk, move it to its target atomically, and return the target's path."""
        self.sync()
        with translate_os_errors(self.place):
            self.path.replace(self.place)
        self._release()
        return self.place

    def discard(self) -> None:
        """Delete the staged file without publishing it. Safe to call more than once."""
        with translate_os_errors(self.place):
            self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _stage(place: Path) -> tuple[Path, int]:
    """Create a staged file next to `place`. Returns its path and the file descriptor that holds its lock."""
    while True:
        # The suffix keeps staged files out of listings such as *.parquet.
        path = place.with_name(f".{place.name}.{secrets.token_hex(4)}.staged")
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        # Another writer deleted it as abandoned before it was locked.
        os.close(lock)


def remove_file(place: Path) -> int | None:
    """Delete a file and its abandoned staged files. Returns its size in bytes, or None if it did not exist."""
    with translate_os_errors(place):
        _clear_litter(place)
        try:
            size = place.stat().st_size
            place.unlink()
        except FileNotFoundError:
            return None
    return size


def _clear_litter(place: Path) -> None:
    """Delete the staged files that dead writers of `place` left next to it."""
    for staged in place.parent.glob(f".{place.name}.*.staged"):
        # Another writer may have published or deleted it since it was listed.
        with suppress(FileNotFoundError), staged.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            staged.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, waiting_for: str, timeout_s: float = 600) -> Iterator[None]:
    """Hold the lock file `path`, which excludes other threads of this process and other processes on this machine.

    Waits at most `timeout_s` seconds, then raises StoreBusy with `waiting_for` in its message.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=timeout_s, thread_local=False)
    try:
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except filelock.Timeout as error:
        raise StoreBusy(
            f"waited {timeout_s:g} s for {waiting_for}, which another process holds (lock file {path}). "
            "Let that one finish, or stop it, then run this again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def hold_for_life(path: Path, note: str) -> str | None:
    """Lock the file `path` until this process ends, and write `note` to it.

    Returns None if the lock was acquired, or the other process's note if it already holds the lock. The lock survives
    an `exec` of another program; child processes do not inherit it.
    """
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return path.read_text()
        os.truncate(lock, 0)
        os.write(lock, note.encode())
        os.set_inheritable(lock, True)  # noqa: FBT003  # positional only
    return None
