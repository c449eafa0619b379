"""Lock files: one writer at a time, for the duration of a block or of a process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_assets.errors import StoreBusy
from taxi_assets.stores.files.os_errors import translate_os_errors


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
            f"Waited {timeout_s:g} s for {waiting_for}. Another process holds the lock file {path}.",
            path=str(path),
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
