"""A month's object in a folder appears whole, in its place, or not at all."""

from pathlib import Path

import pytest

from taxi_assets.errors import MissingUpstream, SettingsError, StoreError
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.lake import FolderLake, LakeObject, open_folder
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("fhv", "2019-02")
NAME = "data/fhv/fhv_tripdata_2019-02.parquet"


def _staged(lake: FolderLake, rows: int) -> StagedFile:
    """A staged Parquet file of so many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    staged = lake.stage(MONTH)
    pq.write_table(pa.table({"SR_Flag": list(range(rows))}), staged.path)
    return staged


def test_put_and_find(tmp_path: Path) -> None:
    """What was staged and put is the month's object, under the course's name."""
    lake = FolderLake(tmp_path)
    put = lake.put(MONTH, _staged(lake, rows=4))
    assert put == LakeObject(MONTH, str(tmp_path / NAME), (tmp_path / NAME).stat().st_size, 4)
    assert lake.find(MONTH) == put
    assert [path.name for path in (tmp_path / "data/fhv").iterdir()] == ["fhv_tripdata_2019-02.parquet"]


def test_put_replaces(tmp_path: Path) -> None:
    """A second object takes the first one's place; until it is put, the first is found."""
    lake = FolderLake(tmp_path)
    lake.put(MONTH, _staged(lake, rows=3))
    newer = _staged(lake, rows=5)
    assert lake.find(MONTH).rows == 3
    lake.put(MONTH, newer)
    assert lake.find(MONTH).rows == 5


def test_missing(tmp_path: Path) -> None:
    """A month without an object is told, with its place and the asset that makes it."""
    with pytest.raises(MissingUpstream, match=f"fhv 2019-02: expected {tmp_path / NAME}.*lake_trips"):
        FolderLake(tmp_path).find(MONTH)


def test_damaged(tmp_path: Path) -> None:
    """An object that is no Parquet file is the store's error, which names it."""
    place = tmp_path / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PAR1 but no Parquet")
    with pytest.raises(StoreError, match=r"fhv_tripdata_2019-02\.parquet is no Parquet file"):
        FolderLake(tmp_path).find(MONTH)


def test_months_stay_apart(tmp_path: Path) -> None:
    """One month's object is no other month's."""
    lake = FolderLake(tmp_path)
    lake.put(MONTH, _staged(lake, rows=1))
    with pytest.raises(MissingUpstream):
        lake.find(TripMonth("fhv", "2019-03"))


def test_open_folder(tmp_path: Path) -> None:
    """A plain path and a `file://` URL are the same folder."""
    for url in (str(tmp_path / "a lake"), (tmp_path / "a lake").as_uri()):
        lake = open_folder(url)
        assert isinstance(lake, FolderLake)
        assert lake.folder == tmp_path / "a lake"


@pytest.mark.parametrize(
    ("url", "said"), [("gs://bucket", "gs://"), ("s3://bucket", "s3://"), ("file://lake", "file:///")]
)
def test_refused_url(url: str, said: str) -> None:
    """What cannot be a lake here is refused, with the reason."""
    with pytest.raises(SettingsError, match=said):
        open_folder(url)
