"""Atomic file writes, `file://` URLs, and lock files."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taxi_assets.errors import InvalidFileUrl, StoreBusy
from taxi_assets.stores.files.locks import hold_for_life, locked
from taxi_assets.stores.files.staging import StagedFile, local_path, remove_file

STAGE = """
import sys
from pathlib import Path
from taxi_assets.stores.files.staging import StagedFile
staged = StagedFile(Path(sys.argv[1]))
staged.path.write_bytes(b"from another process")
print(staged.path, flush=True)
sys.stdin.read()
staged.publish()
"""

LOCK = """
import sys
from pathlib import Path
from taxi_assets.stores.files.locks import locked
with locked(Path(sys.argv[1]), "the test"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _process(script: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process that runs until its input ends. Yields the process and the first line of its output."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_publish(tmp_path: Path) -> None:
    """A file appears under its name when it is published, and no other file stays."""
    path = tmp_path / "new folder" / "month.csv.gz"
    with StagedFile(path) as staged:
        staged.path.write_bytes(b"whole")
        assert not path.exists()
        assert staged.publish() == path
    assert path.read_bytes() == b"whole"
    assert _names(path.parent) == ["month.csv.gz"]


def test_publish_after_with_statement(tmp_path: Path) -> None:
    """A staged file can be published after its `with` statement."""
    with StagedFile(tmp_path / "month") as staged:
        staged.path.write_bytes(b"whole")
    assert staged.publish().read_bytes() == b"whole"


def test_error_discards(tmp_path: Path) -> None:
    """An error while writing keeps the old file and deletes the staged one."""
    path = tmp_path / "month"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with StagedFile(path) as staged:
            staged.path.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["month"]


def test_discard_twice(tmp_path: Path) -> None:
    """Discarding a file twice is not an error."""
    staged = StagedFile(tmp_path / "month")
    staged.discard()
    staged.discard()
    assert _names(tmp_path) == []


def test_two_writers(tmp_path: Path) -> None:
    """If two writers publish the same file, it has the content of the last one."""
    path = tmp_path / "month"
    first, second = StagedFile(path), StagedFile(path)
    first.path.write_bytes(b"the first, which is longer")
    second.path.write_bytes(b"second")
    first.publish()
    assert path.read_bytes() == b"the first, which is longer"
    second.publish()
    assert path.read_bytes() == b"second"
    assert _names(tmp_path) == ["month"]


def test_delete_abandoned_staged_file(tmp_path: Path) -> None:
    """The staged file of a killed writer is deleted by the next writer of the same file."""
    path = tmp_path / "month"
    with _process(STAGE, path) as (process, staged_path):
        process.kill()
        process.wait()
    assert Path(staged_path).exists()
    assert not path.exists()
    StagedFile(path).discard()
    assert _names(tmp_path) == []


def test_keep_staged_file_of_running_process(tmp_path: Path) -> None:
    """The staged file of a running writer is not deleted, and neither are staged files of other targets."""
    path = tmp_path / "month"
    (tmp_path / ".other.00000000.staged").touch()
    with _process(STAGE, path) as (process, staged_path):
        StagedFile(path).discard()
        assert Path(staged_path).exists()
        process.communicate()
    assert path.read_bytes() == b"from another process"
    assert _names(tmp_path) == [".other.00000000.staged", "month"]


def test_staged_file_deleted_before_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A staged file that another writer deletes before it is locked is created again."""
    path = tmp_path / "month"
    real_flock = fcntl.flock

    def delete_first(lock: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real_flock)
        remove_file(path)
        assert _names(tmp_path) == []
        real_flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    staged = StagedFile(path)
    staged.path.write_bytes(b"whole")
    StagedFile(path).discard()
    assert staged.publish().read_bytes() == b"whole"


def test_lock_excludes_threads(tmp_path: Path) -> None:
    """Only one thread at a time has the lock."""
    inside: list[int] = []
    counts: list[int] = []

    def work(number: int) -> None:
        with locked(tmp_path / "lock", "the test"):
            inside.append(number)
            time.sleep(0.01)
            counts.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1, 1, 1, 1]


def test_lock_excludes_processes(tmp_path: Path) -> None:
    """A lock of another process is not acquired; after the time limit the error has what was waited for."""
    lock = tmp_path / "folder" / "lock"
    with _process(LOCK, lock) as (process, output):
        assert output == "locked"
        started = time.monotonic()
        with pytest.raises(StoreBusy) as caught, locked(lock, "the test", 0.2):
            pytest.fail("the lock was acquired twice")
        assert caught.value.facts == {"path": str(lock)}
        assert all(fact in str(caught.value) for fact in ("0.2 s", "the test", str(lock)))
        assert 0.2 <= time.monotonic() - started < 2
        process.communicate()
        with locked(lock, "the test", 0.2):
            pass


def test_lock_of_killed_process_is_released(tmp_path: Path) -> None:
    """The lock of a killed process can be acquired."""
    with _process(LOCK, tmp_path / "lock") as (process, _):
        process.kill()
        process.wait()
    with locked(tmp_path / "lock", "the test", 0.2):
        pass


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/a b#c%20", Path("/data/a b#c%20")),
        ("data", Path("data")),
        ("file:///data/a%20b", Path("/data/a b")),
        ("gs://bucket/data", None),
        ("https://host/data", None),
    ],
)
def test_local_path(url: str, path: Path | None) -> None:
    """A plain path is returned unchanged, a `file://` URL is decoded, and other schemes have no path."""
    assert local_path(url) == path


def test_local_path_with_host() -> None:
    """A `file://` URL with two slashes is rejected, because its first part would be a host."""
    with pytest.raises(InvalidFileUrl) as caught:
        local_path("file://data/source")
    assert caught.value.facts == {"seen": "file://data/source"}


HOLDER = """
import os, sys
from pathlib import Path
from taxi_assets.stores.files.locks import hold_for_life
assert hold_for_life(Path(sys.argv[1]), "the first") is None
later = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
os.execv(sys.executable, [sys.executable, "-c", later])
"""


def test_lock_for_life_of_process(tmp_path: Path) -> None:
    """The lock survives an `exec` of another program. When the process is killed, its child does not keep the lock."""
    lock = tmp_path / "folder" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            assert hold_for_life(lock, "the second") == "the first"
            process.kill()
            process.wait()
            assert hold_for_life(lock, "the second") is None
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)
    assert lock.read_text() == "the second"
