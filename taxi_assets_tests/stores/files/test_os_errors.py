"""OS errors on files: their translation, and that a failed write leaves no partial file."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from pwd import getpwuid

import filelock  # before a test drops the permission to read it
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.errors import (
    DiskError,
    DiskFull,
    NoPermission,
    PathTooLong,
    ReadOnlyDisk,
    WrongFileType,
)
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.files.os_errors import translate_os_error, translate_os_errors
from taxi_assets.stores.files.staging import StagedFile, probe_folder
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.machine import closed, files_no_larger_than, full, read_only, small_disk

MONTH = TripMonth("fhv", "2019-02")
NAME = "data/fhv/fhv_tripdata_2019-02.parquet"

assert filelock


def _write_bytes(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(32):
            file.write(b"x" * (1 << 17))


def _write_parquet(path: Path) -> None:
    table = pa.table({"x": pa.array(range(1 << 19))})
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        writer.write_table(table, row_group_size=1 << 16)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of two megabytes."""
    with small_disk(tmp_path / "disk", 2) as folder:
        yield folder


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [_write_bytes, _write_parquet], ids=["bytes", "parquet"])
def test_full_disk(write: Callable[[Path], None], disk: Path) -> None:
    """On a full disk the old file stays, the new one is deleted, and the error has the file and the free space."""
    path = disk / "month"
    path.write_bytes(b"old")
    with pytest.raises(DiskFull) as caught:
        _stage_and_write(path, write)
    assert caught.value.facts["path"] == str(path)
    assert re.search(r"\b[12]\.\d MB\b", str(caught.value))
    assert path.read_bytes() == b"old"
    assert _names(disk) == ["month"]


@pytest.mark.parametrize("write", [_write_bytes, _write_parquet], ids=["bytes", "parquet"])
def test_file_size_limit(write: Callable[[Path], None], tmp_path: Path) -> None:
    """A limit on the size of files is reported like a full disk."""
    path = tmp_path / "month"
    with files_no_larger_than(1 << 16), pytest.raises(DiskFull) as caught:
        _stage_and_write(path, write)
    assert caught.value.facts["path"] == str(path)
    assert _names(tmp_path) == []


def _stage_and_write(path: Path, write: Callable[[Path], None]) -> None:
    with StagedFile(path) as staged:
        write(staged.path)
        staged.publish()


def _stage(folder: Path) -> None:
    StagedFile(folder / "new" / "month").discard()


def _lock(folder: Path) -> None:
    with locked(folder / "new" / ".lock", "the test"):
        pass


def _probe(folder: Path) -> None:
    probe_folder(folder / "new" / "folder")


USES = pytest.mark.parametrize("use", [_stage, _lock, _probe])


@USES
def test_folder_without_permission(use: Callable[[Path], None], tmp_path: Path) -> None:
    """The error for a folder that this user may not write to has the folder and its mode."""
    folder = tmp_path / "home"
    folder.mkdir()
    with closed(folder), pytest.raises(NoPermission) as caught:
        use(folder)
    assert caught.value.facts["path"] == str(folder)
    assert "dr-xr-xr-x" in str(caught.value)


@USES
def test_file_instead_of_folder(use: Callable[[Path], None], tmp_path: Path) -> None:
    """The error for a file where a folder is expected has the file, which does not change."""
    note = tmp_path / "home"
    note.write_text("a note")
    with pytest.raises(WrongFileType) as caught:
        use(note)
    assert caught.value.facts["path"] == str(note)
    assert note.read_text() == "a note"


@USES
def test_read_only_disk(use: Callable[[Path], None], disk: Path) -> None:
    """The error for a read-only disk has its path."""
    with read_only(disk), pytest.raises(ReadOnlyDisk) as caught:
        use(disk)
    assert caught.value.facts["path"] == str(disk)


def test_path_too_long(tmp_path: Path) -> None:
    """The error for a path that is too long has the nearest existing folder."""
    with pytest.raises(PathTooLong) as caught:
        StagedFile(tmp_path / ("x" * 300) / "month")
    assert caught.value.facts["path"] == str(tmp_path)


def test_probe_finds_full_disk(disk: Path) -> None:
    """A probe writes data, so it finds a full disk, and it leaves no file."""
    probe_folder(disk)
    with full(disk), pytest.raises(DiskFull):
        probe_folder(disk)
    assert _names(disk) == []


def test_other_errors_are_not_translated(tmp_path: Path) -> None:
    """Other OS errors keep their class, because they may be bugs."""
    assert translate_os_error(FileNotFoundError(errno.ENOENT, "No such file"), tmp_path) is None
    assert translate_os_error(TimeoutError("slow"), tmp_path) is None
    with pytest.raises(ConnectionResetError), translate_os_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_disk_error(tmp_path: Path) -> None:
    """An input/output error has the path and the user."""
    error = translate_os_error(OSError(errno.EIO, "Input/output error"), tmp_path)
    assert isinstance(error, DiskError)
    assert error.facts == {"path": str(tmp_path), "user": getpwuid(os.geteuid()).pw_name}


def test_error_on_another_file(tmp_path: Path) -> None:
    """If the error is about another file than the staged one, such as the input, the message has that file."""
    other = tmp_path / "raw" / "month.csv"
    error = translate_os_error(
        PermissionError(errno.EACCES, "Permission denied", str(other)), tmp_path / "clean" / "month"
    )
    assert isinstance(error, NoPermission)
    assert str(other) in str(error)


def test_home_probe(tmp_path: Path) -> None:
    """The probe of a data folder returns the free space and creates nothing."""
    assert re.search(r"\d [GM]B\b", Home(tmp_path / "home", ".csv").probe())
    assert _names(tmp_path) == []


@pytest.mark.parametrize("asset", ["raw", "clean", "rejected"])
def test_home_probe_checks_each_folder(asset: str, tmp_path: Path) -> None:
    """The probe fails if this user may not write to one folder of a color, for example after a run as root."""
    folder = tmp_path / asset / "green"
    folder.mkdir(parents=True)
    _open_to_all(tmp_path)
    with closed(folder), pytest.raises(NoPermission) as caught:
        Home(tmp_path, ".csv").probe()
    assert caught.value.facts["path"] == str(folder)


def test_lake_probe(tmp_path: Path) -> None:
    """The probe of a lake counts its objects, creates nothing, and checks the folder of each color."""
    lake = FolderLake(tmp_path / "lake")
    assert "objects: 0" in lake.probe()
    assert _names(tmp_path) == []
    path = lake.folder / NAME
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), path)
    assert "objects: 1" in lake.probe()
    assert _names(path.parent) == [path.name]
    _open_to_all(tmp_path)
    with closed(path.parent), pytest.raises(NoPermission) as caught:
        lake.probe()
    assert caught.value.facts["path"] == str(path.parent)


def test_failed_sync_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a full disk is only reported when the rows are flushed, the old rows and rejected lines stay."""
    home = Home(tmp_path, ".csv")
    for text in ("old", "new"):
        staged = StagedClean(home.stage_clean(MONTH), home.stage_rejected(MONTH), text)
        for file in (staged.rows, staged.rejected):
            assert file
            file.path.write_text(text)
        if text == "old":
            home.publish_clean(MONTH, staged)
    rows = staged.rows.path.stat()

    def fail_for_rows(file: int) -> None:
        if os.path.samestat(os.fstat(file), rows):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail_for_rows)
    with pytest.raises(DiskFull) as caught:
        home.publish_clean(MONTH, staged)
    assert caught.value.facts["path"] == str(tmp_path / "clean/fhv/fhv_tripdata_2019-02.parquet")
    assert [path.read_text() for path in tmp_path.rglob("fhv_*.parquet")] == ["old", "old"]


def test_find_month_without_permission(tmp_path: Path) -> None:
    """A month in a folder that this user may not read is not reported as missing."""
    folder = tmp_path / "home"
    home, lake = Home(folder, ".csv"), FolderLake(folder)
    for path in (folder / "raw/fhv", folder / "clean/fhv", folder / "data/fhv"):
        path.mkdir(parents=True)
    finders: list[Callable[[TripMonth], object]] = [home.find_raw, home.find_clean, lake.find]
    with closed(folder, mode=0):
        for find in finders:
            with pytest.raises(NoPermission):
                find(MONTH)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*/")):
        path.chmod(0o777)
