"""A month's files in the home are found, and removed, and no others."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taxi_assets.stores.files import locked
from taxi_assets.stores.home import Home, StagedClean
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("green", "2020-03")
OTHERS = (TripMonth("green", "2020-04"), TripMonth("yellow", "2020-03"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a month's files, and those of others."""
    made = Home(tmp_path, ".csv.gz")
    for month in (MONTH, *OTHERS):
        with made.stage_raw(month) as raw, made.stage_clean(month) as rows, made.stage_rejected(month) as rejected:
            raw.path.write_bytes(b"raw")
            rows.path.write_bytes(b"clean")
            rejected.path.write_bytes(b"rejected")
            made.publish_raw(month, raw)
            made.publish_clean(month, StagedClean(rows, rejected))
    return made


def _names(home: Home) -> set[str]:
    """The files of the home, but for locks."""
    found = (path.relative_to(home.folder).as_posix() for path in home.folder.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".lock")}


def test_remove_raw(home: Home) -> None:
    """A month's raw files go, of whatever suffix, also those that a killed download left; nothing else does."""
    before, folder = _names(home), home.folder / "raw" / "green"
    (folder / "green_tripdata_2020-03.csv").write_bytes(b"plain")
    (folder / ".green_tripdata_2020-03.csv.gz.0000.staged").write_bytes(b"half")
    held = home.held_raw(MONTH)
    assert held == [
        StoredItem(str(folder / "green_tripdata_2020-03.csv"), bytes=5),
        StoredItem(str(folder / "green_tripdata_2020-03.csv.gz"), bytes=3),
    ]
    assert home.remove_raw(MONTH) == held
    assert _names(home) == before - {"raw/green/green_tripdata_2020-03.csv.gz"}


def test_remove_clean(home: Home) -> None:
    """A month's clean file goes with its rejected lines; nothing else does."""
    before = _names(home)
    held = home.held_clean(MONTH)
    assert [holding.bytes for holding in held] == [5, 8]
    assert home.remove_clean(MONTH) == held
    gone = {f"{kind}/green/green_tripdata_2020-03.parquet" for kind in ("clean", "rejected")}
    assert _names(home) == before - gone


def test_remove_nothing(tmp_path: Path) -> None:
    """Where nothing is, nothing is told, and nothing goes."""
    home = Home(tmp_path / "home", ".csv")
    assert (home.held_raw(MONTH), home.held_clean(MONTH)) == ([], [])
    assert not home.folder.exists()
    assert (home.remove_raw(MONTH), home.remove_clean(MONTH)) == ([], [])


def test_remove_waits_for_who_publishes(home: Home) -> None:
    """While another run publishes a clean month, none of the color goes."""
    with ThreadPoolExecutor() as pool:
        with locked(home.folder / "clean" / "green" / ".publish.lock", "a test"):
            removal = pool.submit(home.remove_clean, MONTH)
            time.sleep(0.2)
            assert not removal.done()
            assert len(home.held_clean(MONTH)) == 2
        assert len(removal.result()) == 2
    assert home.held_clean(MONTH) == []
