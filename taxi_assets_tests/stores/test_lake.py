"""The lake in a folder: file names, atomic replacement, and errors."""

from pathlib import Path

import pytest

from taxi_assets.errors import DamagedFile, InvalidFileUrl, InvalidLakeUrl, MissingUpstream, SettingsError
from taxi_assets.stores.files.folder_lake import FolderLake, open_folder
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("fhv", "2019-02")
NAME = "data/fhv/fhv_tripdata_2019-02.parquet"


def _staged(lake: FolderLake, rows: int) -> StagedFile:
    """Stage a Parquet file with this number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    staged = lake.stage(MONTH)
    table = pa.table({"SR_Flag": list(range(rows))})
    pq.write_table(table.replace_schema_metadata({"taxi_assets.source_sha256": "5ha"}), staged.path)
    return staged


def test_put_and_find(tmp_path: Path) -> None:
    """A published file has the same name as in the course, and nothing else is left in its folder."""
    lake = FolderLake(tmp_path)
    put = lake.put(MONTH, _staged(lake, rows=4))
    assert put == LakeObject(MONTH, str(tmp_path / NAME), (tmp_path / NAME).stat().st_size, 4, lake=lake)
    assert lake.find(MONTH) == put
    assert [path.name for path in (tmp_path / "data/fhv").iterdir()] == ["fhv_tripdata_2019-02.parquet"]


def test_put_replaces(tmp_path: Path) -> None:
    """A second file replaces the first one only when it is published."""
    lake = FolderLake(tmp_path)
    lake.put(MONTH, _staged(lake, rows=3))
    newer = _staged(lake, rows=5)
    assert lake.find(MONTH).rows == 3
    lake.put(MONTH, newer)
    assert lake.find(MONTH).rows == 5


def test_missing(tmp_path: Path) -> None:
    """The error for a month without a file has the month, the expected path, and the asset that creates the file."""
    with pytest.raises(MissingUpstream) as error:
        FolderLake(tmp_path).find(MONTH)
    assert error.value.facts == {**MONTH.facts, "uri": str(tmp_path / NAME), "asset": "lake_trips"}


def test_damaged(tmp_path: Path) -> None:
    """The error for a file that is not Parquet has the month, its path, and the asset that creates the file again."""
    place = tmp_path / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PAR1 but no Parquet")
    with pytest.raises(DamagedFile) as error:
        FolderLake(tmp_path).find(MONTH)
    assert error.value.facts == {**MONTH.facts, "uri": str(place), "asset": "lake_trips"}


def test_months_have_separate_files(tmp_path: Path) -> None:
    """A file of one month is not found for another month."""
    lake = FolderLake(tmp_path)
    lake.put(MONTH, _staged(lake, rows=1))
    with pytest.raises(MissingUpstream):
        lake.find(TripMonth("fhv", "2019-03"))


def test_open_folder(tmp_path: Path) -> None:
    """Open a folder by its path or its `file://` URL."""
    for url in (str(tmp_path / "a lake"), (tmp_path / "a lake").as_uri()):
        lake = open_folder(url)
        assert isinstance(lake, FolderLake)
        assert lake.folder == tmp_path / "a lake"


@pytest.mark.parametrize(
    ("url", "kind", "seen"),
    [
        ("gs://bucket", InvalidLakeUrl, "gs://"),
        ("s3://bucket", InvalidLakeUrl, "s3://"),
        ("file://lake", InvalidFileUrl, "file://lake"),
    ],
)
def test_invalid_url(url: str, kind: type[SettingsError], seen: str) -> None:
    """A URL of another kind, or a `file://` URL without an absolute path, is an error that contains it."""
    with pytest.raises(kind) as error:
        open_folder(url)
    assert f'"{seen}"' in str(error.value)
