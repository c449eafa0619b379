"""Lock files: one writer at a time, for the duration of a block or of a process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from taxi_assets.errors import StoreBusy
from taxi_assets.stores.files.os_errors import is_writable, nearest_existing, translate_os_errors


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
        raise _busy(path, waiting_for, timeout_s) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_for_reading(path: Path, waiting_for: str, timeout_s: float = 600) -> Iterator[None]:
    """Do what `locked` does, also if this user may not write the lock file.

    Such users share the lock with each other. If they could not create it either, nothing is locked.
    """
    if is_writable(nearest_existing(path)):
        with locked(path, waiting_for, timeout_s):
            yield
        return
    if not path.exists():
        yield
        return
    with translate_os_errors(path):
        lock = path.open("rb")
    with lock:
        if not _try_lock(lock.fileno(), fcntl.LOCK_SH, timeout_s):
            raise _busy(path, waiting_for, timeout_s)
        yield


def _try_lock(lock: int, kind: int, timeout_s: float) -> bool:
    """Lock a file descriptor, shared (LOCK_SH) or alone (LOCK_EX). Returns False after `timeout_s` seconds."""
    ends_at = monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= ends_at:
                return False
            sleep(_POLL_S)
        else:
            return True


_POLL_S = 0.05


def _busy(path: Path, waiting_for: str, timeout_s: float) -> StoreBusy:
    return StoreBusy(
        f"Waited {timeout_s:g} s for {waiting_for}. Another process holds the lock file {path}.", path=str(path)
    )


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


def share_for_life(path: Path) -> None:
    """Hold a shared lock of the file `path` until this process ends. Other processes can hold it at the same time."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(path, os.O_CREAT | os.O_RDWR, 0o644), fcntl.LOCK_SH)


def wait_for_sharers(path: Path, timeout_s: float) -> bool:
    """Wait until no process shares the lock of the file `path`. Returns False after `timeout_s` seconds."""
    with translate_os_errors(path):
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            return _try_lock(lock, fcntl.LOCK_EX, timeout_s)
        finally:
            os.close(lock)
