"""The data folder: finding, listing and deleting the files of a month."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taxi_assets.errors import MissingUpstream
from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("green", "2020-03")
OTHERS = (TripMonth("green", "2020-04"), TripMonth("yellow", "2020-03"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Create a data folder with the files of three months."""
    home = Home(tmp_path, ".csv.gz")
    for month in (MONTH, *OTHERS):
        with home.stage_raw(month) as raw, home.stage_clean(month) as rows, home.stage_rejected(month) as rejected:
            raw.path.write_bytes(b"raw")
            rows.path.write_bytes(b"clean")
            rejected.path.write_bytes(b"rejected")
            home.publish_raw(month, raw)
            home.publish_clean(month, StagedClean(rows, rejected, "v1"))
    return home


def _names(home: Home) -> set[str]:
    """Return the files of the data folder except lock files."""
    found = (path.relative_to(home.folder).as_posix() for path in home.folder.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".lock")}


def test_remove_raw(home: Home) -> None:
    """The raw files of a month with any suffix and abandoned staged files are deleted, and no other files."""
    before, folder = _names(home), home.folder / "raw" / "green"
    (folder / "green_tripdata_2020-03.csv").write_bytes(b"plain")
    (folder / ".green_tripdata_2020-03.csv.gz.0000.staged").write_bytes(b"half")
    items = home.raw_items(MONTH)
    assert items == [
        StoredItem(str(folder / "green_tripdata_2020-03.csv"), bytes=5),
        StoredItem(str(folder / "green_tripdata_2020-03.csv.gz"), bytes=3),
    ]
    assert home.remove_raw(MONTH) == items
    assert _names(home) == before - {"raw/green/green_tripdata_2020-03.csv.gz"}


def test_remove_clean(home: Home) -> None:
    """The clean file of a month and its rejected lines are deleted, and no other files."""
    before = _names(home)
    items = home.clean_items(MONTH)
    assert [item.bytes for item in items] == [5, 8]
    assert home.remove_clean(MONTH) == items
    deleted = {"clean/green/green_tripdata_2020-03.parquet", "rejected/green/green_tripdata_2020-03.v1.parquet"}
    assert _names(home) == before - deleted


def test_remove_missing_month(tmp_path: Path) -> None:
    """For a month without files, nothing is listed, deleted or created."""
    home = Home(tmp_path / "home", ".csv")
    assert (home.raw_items(MONTH), home.clean_items(MONTH)) == ([], [])
    assert not home.folder.exists()
    assert (home.remove_raw(MONTH), home.remove_clean(MONTH)) == ([], [])


def test_remove_waits_for_publication(home: Home) -> None:
    """A clean month is not deleted while another run publishes a clean month of the same color."""
    with ThreadPoolExecutor() as pool:
        with locked(home.folder / "clean" / "green" / ".publish.lock", "a test"):
            removal = pool.submit(home.remove_clean, MONTH)
            time.sleep(0.2)
            assert not removal.done()
            assert len(home.clean_items(MONTH)) == 2
        assert len(removal.result()) == 2
    assert home.clean_items(MONTH) == []


@pytest.mark.parametrize(
    ("asset", "name"),
    [
        ("raw_trips", "raw/green/green_tripdata_2020-05.csv.gz"),
        ("clean_trips", "clean/green/green_tripdata_2020-05.parquet"),
    ],
)
def test_missing_upstream(asset: str, name: str, home: Home) -> None:
    """The error for a missing file has the month, the path, and the asset that creates the file."""
    find = {"raw_trips": home.find_raw, "clean_trips": home.find_clean}[asset]
    with pytest.raises(MissingUpstream) as caught:
        find(TripMonth("green", "2020-05"))
    path = str(home.folder / name)
    assert caught.value.facts == {"color": "green", "month": "2020-05", "asset": asset, "path": path}
    assert path in str(caught.value)
