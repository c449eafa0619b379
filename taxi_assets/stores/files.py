"""How files appear here: whole, under their name, or not at all; how writers wait for each other; what a `file://` is.

A file is written beside its place under a staged name, then renamed. Its writer holds a lock on the staged file until
then, which the kernel drops when the process dies: what is staged and not locked is litter, and the next writer of that
place clears it. Two writers of one place never meet: each has a staged file of its own, and the last rename wins.
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
from taxi_assets.stores.refusals import nearest, refusal, refusals_told


def local_path(url: str) -> Path | None:
    """The path that `url`, a plain path or `file:///...`, names; None where it has another scheme.

    Raises SettingsError for a `file://` that names no absolute path: its first part would pass for a host.
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
    """Write a file in `folder`, or, where that is not there yet, where it will be made; nothing stays.

    Raises StoreError where that is refused.
    """
    there = nearest(folder)
    try:
        # It has no name, so that nothing stays where this process is killed either.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        told = refusal(OSError(error.errno, error.strerror), there)
        if told is None:
            raise
        raise told from error


_PROBE_BYTES = 1 << 16


class StagedFile:
    """A file on its way to its place.

    Open `path`, which is there and empty, and write; then `publish()` it, or `discard()` it. An error inside its `with`
    statement discards it, and becomes a StoreError where the system refused the file. A tool that puts a file of its
    own in the place of `path` loses the lock.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        with refusals_told(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            _clear_litter(place)
            self.path, self._lock = _stage(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        self.discard()
        if isinstance(error, OSError) and (told := refusal(error, self.place)):
            raise told from error

    def sync(self) -> None:
        """Wait until the bytes are on the disk, which may turn out to be full only then."""
        with refusals_told(self.place):
            os.fsync(self._lock)

    def publish(self) -> Path:
        """Let the file appear in its place, in one step and after its bytes are on the disk; the place is returned."""
        self.sync()
        with refusals_told(self.place):
            self.path.replace(self.place)
        self._release()
        return self.place

    def discard(self) -> None:
        """Remove the file; nothing appears. Twice is once."""
        with refusals_told(self.place):
            self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _stage(place: Path) -> tuple[Path, int]:
    """A new file beside `place`, and its open lock."""
    while True:
        # It ends as no month does, so that whoever lists *.parquet does not see it.
        path = place.with_name(f".{place.name}.{secrets.token_hex(4)}.staged")
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        # Before it was locked, another writer took it for litter.
        os.close(lock)


def remove_file(place: Path) -> int | None:
    """Remove a file, and what dead writers left beside it; its bytes, None where it was not there."""
    with refusals_told(place):
        _clear_litter(place)
        try:
            size = place.stat().st_size
            place.unlink()
        except FileNotFoundError:
            return None
    return size


def _clear_litter(place: Path) -> None:
    """Remove what dead writers of `place` left beside it."""
    for staged in place.parent.glob(f".{place.name}.*.staged"):
        # Another writer may publish or clear it between the listing and here.
        with suppress(FileNotFoundError), staged.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            staged.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, waiting_for: str, timeout_s: float = 600) -> Iterator[None]:
    """Be alone, within this process and among all processes of this machine, while holding the lock file `path`.

    Waits at most `timeout_s` seconds, then raises StoreBusy, which names `waiting_for`.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=timeout_s, thread_local=False)
    try:
        with refusals_told(path):
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
    """Hold the lock file `path` until this process ends, also where it becomes another program, with a note in it.

    Where another process holds it, its note is returned, and None where nobody did. What this one starts does not hold
    it.
    """
    with refusals_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return path.read_text()
        os.truncate(lock, 0)
        os.write(lock, note.encode())
        os.set_inheritable(lock, True)  # noqa: FBT003  # it has no name
    return None
