"""A file appears whole or not at all, leaves no litter, and one writer at a time holds a lock."""

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

from taxi_assets.errors import SettingsError, StoreBusy
from taxi_assets.stores import files
from taxi_assets.stores.files import StagedFile, local_path, locked

STAGE = """
import sys
from pathlib import Path
from taxi_assets.stores.files import StagedFile
staged = StagedFile(Path(sys.argv[1]))
staged.path.write_bytes(b"from another process")
print(staged.path, flush=True)
sys.stdin.read()
staged.publish()
"""

LOCK = """
import sys
from pathlib import Path
from taxi_assets.stores.files import locked
with locked(Path(sys.argv[1]), "the test"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _process(script: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process, which runs until its input ends, and the line that it said first."""
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


def test_appears_on_publish(tmp_path: Path) -> None:
    """A file is not in its place until it is published; then nothing else is beside it."""
    place = tmp_path / "new folder" / "month.csv.gz"
    with StagedFile(place) as staged:
        staged.path.write_bytes(b"whole")
        assert not place.exists()
        assert staged.publish() == place
    assert place.read_bytes() == b"whole"
    assert _names(place.parent) == ["month.csv.gz"]


def test_outlives_its_with_statement(tmp_path: Path) -> None:
    """What was staged may be published after its `with` statement, by someone else."""
    with StagedFile(tmp_path / "month") as staged:
        staged.path.write_bytes(b"whole")
    assert staged.publish().read_bytes() == b"whole"


def test_error_discards(tmp_path: Path) -> None:
    """An error while writing leaves the old file and no litter."""
    place = tmp_path / "month"
    place.write_bytes(b"old")

    def fail_half_way() -> None:
        with StagedFile(place) as staged:
            staged.path.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert place.read_bytes() == b"old"
    assert _names(tmp_path) == ["month"]


def test_discard_twice(tmp_path: Path) -> None:
    """Discarding again does nothing."""
    staged = StagedFile(tmp_path / "month")
    staged.discard()
    staged.discard()
    assert _names(tmp_path) == []


def test_two_writers_leave_one_whole_file(tmp_path: Path) -> None:
    """Of two writers of one place the last to publish wins; the file is one writer's, never mixed."""
    place = tmp_path / "month"
    first, second = StagedFile(place), StagedFile(place)
    first.path.write_bytes(b"the first, which is longer")
    second.path.write_bytes(b"second")
    first.publish()
    assert place.read_bytes() == b"the first, which is longer"
    second.publish()
    assert place.read_bytes() == b"second"
    assert _names(tmp_path) == ["month"]


def test_litter_of_a_killed_process_is_cleared(tmp_path: Path) -> None:
    """What a killed writer left is gone once the next one starts, and is never taken for the file."""
    place = tmp_path / "month"
    with _process(STAGE, place) as (process, staged_path):
        process.kill()
        process.wait()
    assert Path(staged_path).exists()
    assert not place.exists()
    StagedFile(place).discard()
    assert _names(tmp_path) == []


def test_staged_file_of_a_live_process_stays(tmp_path: Path) -> None:
    """A writer leaves another's staged file alone, however long that takes; other places' litter too."""
    place = tmp_path / "month"
    (tmp_path / ".other.00000000.staged").touch()
    with _process(STAGE, place) as (process, staged_path):
        StagedFile(place).discard()
        assert Path(staged_path).exists()
        process.communicate()
    assert place.read_bytes() == b"from another process"
    assert _names(tmp_path) == [".other.00000000.staged", "month"]


def test_cleared_before_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A staged file that another writer clears in the moment before it is locked is staged again."""
    place = tmp_path / "month"
    real_flock = fcntl.flock

    def clear_first(lock: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real_flock)
        files._clear_litter(place)
        assert _names(tmp_path) == []
        real_flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", clear_first)
    staged = StagedFile(place)
    staged.path.write_bytes(b"whole")
    StagedFile(place).discard()
    assert staged.publish().read_bytes() == b"whole"


def test_lock_excludes_threads(tmp_path: Path) -> None:
    """Of many threads one at a time is inside."""
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with locked(tmp_path / "lock", "the test"):
            inside.append(number)
            time.sleep(0.01)
            most.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_lock_excludes_processes(tmp_path: Path) -> None:
    """What another process holds is not had until it lets go; the wait is bounded, and says for what it was."""
    lock = tmp_path / "folder" / "lock"
    with _process(LOCK, lock) as (process, said):
        assert said == "locked"
        started = time.monotonic()
        with pytest.raises(StoreBusy, match=r"waited 0\.2 s for the test.*folder/lock"), locked(lock, "the test", 0.2):
            pytest.fail("two are inside")
        assert 0.2 <= time.monotonic() - started < 2
        process.communicate()
        with locked(lock, "the test", 0.2):
            pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """A killed process holds no lock."""
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
    """A plain path is taken as it stands, a `file://` URL is decoded, and other schemes are no paths."""
    assert local_path(url) == path


def test_local_path_refuses_a_host() -> None:
    """A `file://` URL with two slashes too few is refused, not taken for another folder."""
    with pytest.raises(SettingsError, match="file:///"):
        local_path("file://data/source")


HOLDER = """
import os, sys
from pathlib import Path
from taxi_assets.stores.files import hold_for_life
assert hold_for_life(Path(sys.argv[1]), "the first") is None
later = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
os.execv(sys.executable, [sys.executable, "-c", later])
"""


def test_a_lock_for_life_outlives_the_program_and_not_the_process(tmp_path: Path) -> None:
    """A process that becomes another program still holds its lock; when it is killed, what it started does not."""
    lock = tmp_path / "folder" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        started = int(process.stdout.readline())
        try:
            assert files.hold_for_life(lock, "the second") == "the first"
            process.kill()
            process.wait()
            assert files.hold_for_life(lock, "the second") is None
        finally:
            process.kill()
            os.kill(started, signal.SIGKILL)
    assert lock.read_text() == "the second"
