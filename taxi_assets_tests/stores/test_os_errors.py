"""What the machine refuses ends in an error of this project, which says what to do, and half a file stays nowhere."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock  # before a test gives up its right to read it
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.errors import StoreError
from taxi_assets.stores.files import StagedFile, locked, probe_folder
from taxi_assets.stores.home import Home, StagedClean
from taxi_assets.stores.lake import FolderLake
from taxi_assets.stores.os_errors import translate_os_error, translate_os_errors
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
    """A disk of two megabytes."""
    with small_disk(tmp_path / "disk", 2) as folder:
        yield folder


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [_write_bytes, _write_parquet], ids=["bytes", "parquet"])
def test_full_disk(write: Callable[[Path], None], disk: Path) -> None:
    """Where the disk gets full, the old file stays, the new one is gone, and the error names the file and the room."""
    place = disk / "month"
    place.write_bytes(b"old")
    with pytest.raises(StoreError, match=rf"no room for {place}: .*; [12]\.\d MB are free .* Make room"):
        _stage_and_write(place, write)
    assert place.read_bytes() == b"old"
    assert _names(disk) == ["month"]


@pytest.mark.parametrize("write", [_write_bytes, _write_parquet], ids=["bytes", "parquet"])
def test_limited_size(write: Callable[[Path], None], tmp_path: Path) -> None:
    """A limit on the size of files ends as a full disk does."""
    place = tmp_path / "month"
    with files_no_larger_than(1 << 16), pytest.raises(StoreError, match=f"no room for {place}: .*[Ff]ile too large"):
        _stage_and_write(place, write)
    assert _names(tmp_path) == []


def _stage_and_write(place: Path, write: Callable[[Path], None]) -> None:
    with StagedFile(place) as staged:
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
def test_folder_of_another_user(use: Callable[[Path], None], tmp_path: Path) -> None:
    """Where this user may not write, the error says so, which folder it is, and whose."""
    folder = tmp_path / "home"
    folder.mkdir()
    said = rf"Permission denied; {folder} is a folder \(dr-xr-xr-x\) of user \w+\. Run this as the owner of {folder}"
    with closed(folder), pytest.raises(StoreError, match=said):
        use(folder)


@USES
def test_file_in_the_place_of_a_folder(use: Callable[[Path], None], tmp_path: Path) -> None:
    """Where a file is in the way of a folder, the error names it."""
    (tmp_path / "home").write_text("a note")
    with pytest.raises(StoreError, match=rf"{tmp_path}/home is a file .* Move {tmp_path}/home away"):
        use(tmp_path / "home")
    assert (tmp_path / "home").read_text() == "a note"


@USES
def test_read_only_disk(use: Callable[[Path], None], disk: Path) -> None:
    """Where the disk is read-only, the error says so."""
    with read_only(disk), pytest.raises(StoreError, match=f"Read-only file system; {disk} .* Mount it for writing"):
        use(disk)


def test_full_disk_is_probed(disk: Path) -> None:
    """A probe writes: a disk that is full is found out, and has as many files as before."""
    probe_folder(disk)
    with full(disk), pytest.raises(StoreError, match="no room"):
        probe_folder(disk)
    assert _names(disk) == []


def test_what_is_no_refusal_stays(tmp_path: Path) -> None:
    """An error that tells of no refusal keeps its class: it may be a bug."""
    assert translate_os_error(FileNotFoundError(errno.ENOENT, "No such file"), tmp_path) is None
    assert translate_os_error(TimeoutError("slow"), tmp_path) is None
    with pytest.raises(ConnectionResetError), translate_os_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_another_file_is_named(tmp_path: Path) -> None:
    """Where it is not the staged file that is refused, but one that is read meanwhile, that one is named."""
    other = tmp_path / "raw" / "month.csv"
    told = translate_os_error(
        PermissionError(errno.EACCES, "Permission denied", str(other)), tmp_path / "clean" / "month"
    )
    assert str(told).startswith(f"{other} cannot be used")


def test_home_probe(tmp_path: Path) -> None:
    """A home that can be written to says how much room it has; nothing is made, not even its folders."""
    assert "GB are free" in Home(tmp_path / "home", ".csv").probe() or "MB are free" in Home(tmp_path, ".csv").probe()
    assert _names(tmp_path) == []


@pytest.mark.parametrize("asset", ["raw", "clean", "rejected"])
def test_home_probe_finds_a_closed_folder(asset: str, tmp_path: Path) -> None:
    """One folder of a color that this user may not write to, of a run as root perhaps, is found."""
    folder = tmp_path / asset / "green"
    folder.mkdir(parents=True)
    _open_to_all(tmp_path)
    with closed(folder), pytest.raises(StoreError, match=f"{folder} is a folder"):
        Home(tmp_path, ".csv").probe()


def test_lake_probe(tmp_path: Path) -> None:
    """A lake tells its objects, and is left as it was; one folder of a color that is closed is found."""
    lake = FolderLake(tmp_path / "lake")
    assert "objects: 0" in lake.probe()
    assert _names(tmp_path) == []
    place = lake.folder / NAME
    place.parent.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), place)
    assert "objects: 1" in lake.probe()
    assert _names(place.parent) == [place.name]
    _open_to_all(tmp_path)
    with closed(place.parent), pytest.raises(StoreError, match=f"{place.parent} is a folder"):
        lake.probe()


def test_rows_that_do_not_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is found to be full only at the end leaves the old rows and the old rejected lines."""
    home = Home(tmp_path, ".csv")
    for text in ("old", "new"):
        staged = StagedClean(home.stage_clean(MONTH), home.stage_rejected(MONTH))
        for file in (staged.rows, staged.rejected):
            assert file
            file.path.write_text(text)
        if text == "old":
            home.publish_clean(MONTH, staged)
    rows = staged.rows._lock

    def fail_for_rows(file: int) -> None:
        if file == rows:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail_for_rows)
    with pytest.raises(StoreError, match=r"no room for .*clean/fhv/fhv_tripdata_2019-02\.parquet"):
        home.publish_clean(MONTH, staged)
    assert [path.read_text() for path in tmp_path.rglob("fhv_*.parquet")] == ["old", "old"]


def test_month_in_a_closed_folder(tmp_path: Path) -> None:
    """A month that this user may not look for is no missing month."""
    folder = tmp_path / "home"
    home, lake = Home(folder, ".csv"), FolderLake(folder)
    for path in (folder / "raw/fhv", folder / "clean/fhv", folder / "data/fhv"):
        path.mkdir(parents=True)
    uses: list[Callable[[TripMonth], object]] = [home.find_raw, home.find_clean, lake.find]
    with closed(folder, mode=0):
        for use in uses:
            with pytest.raises(StoreError, match="Permission denied"):
                use(MONTH)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*/")):
        path.chmod(0o777)
