"""What every lake does, whether a folder or a bucket."""

from pathlib import Path

import pytest

from taxi_assets.errors import MissingUpstream, StoreError
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import FolderLake, Lake, LakeObject
from taxi_assets.tlc.parquet import read_row_groups, write_row_groups
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.months import write_month
from taxi_assets_tests.tlc.sampled import write_clean

MONTH = TripMonth("green", "2020-03")
NEXT = TripMonth("green", "2020-04")


@pytest.fixture(params=["folder", "gcs"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake without an object; a bucket is not even there yet."""
    if request.param == "folder":
        return FolderLake(tmp_path / "lake")
    bucket: Lake = request.getfixturevalue("gcs_lake")
    return bucket


def _staged(lake: Lake, rows: int, mark: int = 0, month: TripMonth = MONTH) -> StagedFile:
    staged = lake.stage(month)
    write_month(staged.path, month, rows, mark)
    return staged


def _put(lake: Lake, rows: int, mark: int = 0, month: TripMonth = MONTH) -> LakeObject:
    return lake.put(month, _staged(lake, rows, mark, month))


def test_put_and_find(lake: Lake) -> None:
    """What is put is found again, with its rows and bytes, under the course's name; nothing staged is left."""
    staged = _staged(lake, 7)
    size = staged.path.stat().st_size
    put = lake.put(MONTH, staged)
    assert put == lake.find(MONTH)
    assert (put.month, put.rows, put.bytes) == (MONTH, 7, size)
    assert put.uri.endswith("/data/green/green_tripdata_2020-03.parquet")
    assert not staged.path.exists()


@pytest.mark.parametrize("version", ["", "v-7"])
def test_version(version: str, lake: Lake, tmp_path: Path) -> None:
    """An object that is put and found has the version in its file's footer, empty where there is none."""
    write_month(tmp_path / "month", MONTH, 3)
    staged = lake.stage(MONTH)
    write_row_groups(staged.path, LAYOUTS[MONTH.color], read_row_groups(tmp_path / "month"), version=version)
    assert lake.put(MONTH, staged).version == version
    assert lake.find(MONTH).version == version


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, lake: Lake, tmp_path: Path) -> None:
    """The figures of a month's object are those of the raw file it came from."""
    month = TripMonth(color, "2020-03")
    staged = lake.stage(month)
    expected = write_clean(month, 3_000, staged.path, tmp_path)
    lake.put(month, staged)
    assert lake.summarize(month).differences(expected) == {}


def test_put_in_chunks(lake: Lake) -> None:
    """An object that is larger than what is sent at once arrives whole."""
    fares = [number * 0.7310585 % 1 for number in range(100_000)]
    staged = lake.stage(MONTH)
    write_month(staged.path, MONTH, len(fares), fare_amount=fares)
    assert staged.path.stat().st_size > 600_000
    assert lake.put(MONTH, staged).rows == 100_000
    assert lake.find(MONTH).rows == 100_000


def test_put_replaces(lake: Lake) -> None:
    """A second object takes the first one's place; until it is put, the first is found."""
    _put(lake, rows=3)
    newer = _staged(lake, rows=5)
    assert lake.find(MONTH).rows == 3
    lake.put(MONTH, newer)
    assert lake.find(MONTH).rows == 5


def test_put_the_same_again(lake: Lake) -> None:
    """The same bytes again are the same object."""
    assert _put(lake, rows=3) == _put(lake, rows=3)


def test_months_stay_apart(lake: Lake) -> None:
    """One month's object is no other month's."""
    _put(lake, rows=3)
    _put(lake, rows=4, month=NEXT)
    assert [lake.find(month).rows for month in (MONTH, NEXT)] == [3, 4]


def test_discarded(lake: Lake) -> None:
    """What was staged and not put is not found, and leaves the object that was there."""
    _put(lake, rows=3)
    staged = _staged(lake, rows=4)
    staged.discard()
    assert lake.find(MONTH).rows == 3


def test_missing(lake: Lake) -> None:
    """A month without an object, also where the lake itself is missing, is told, with the asset that makes it."""
    with pytest.raises(MissingUpstream, match=r"no object of green 2020-03: expected .*2020-03\.parquet.*lake_trips"):
        lake.find(MONTH)
    _put(lake, rows=3, month=NEXT)
    for look in (lake.find, lake.summarize):
        with pytest.raises(MissingUpstream, match=r"no object of green 2020-03.*--select \+lake_trips"):
            look(MONTH)


def test_damaged(lake: Lake) -> None:
    """An object that is no Parquet file is the store's error, which names it; the next put mends it."""
    put = _put(lake, rows=3)
    _damage(lake, put)
    with pytest.raises(StoreError, match=r"green_tripdata_2020-03\.parquet is no Parquet file.*lake_trips"):
        lake.find(MONTH)
    with pytest.raises(StoreError, match=r"is no Parquet file.*lake_trips"):
        lake.summarize(MONTH)
    _put(lake, rows=3)
    assert lake.find(MONTH).rows == 3


def test_damaged_column(lake: Lake, tmp_path: Path) -> None:
    """An object whose footer is whole and whose rows are not is the store's error once it is summarized."""
    staged = lake.stage(MONTH)
    write_clean(MONTH, 3_000, staged.path, tmp_path)
    content = staged.path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    put = lake.put(MONTH, staged)
    _damage(lake, put, content[:4] + bytes(len(content) - footer - 4) + content[-footer:])
    assert lake.find(MONTH).rows == 3_000
    with pytest.raises(StoreError, match=r"green_tripdata_2020-03\.parquet .*damaged.*lake_trips"):
        lake.summarize(MONTH)


def _damage(lake: Lake, put: LakeObject, content: bytes = b"PAR1 but no Parquet") -> None:
    """Let an object have other bytes, which are no Parquet file if they are not given."""
    if isinstance(lake, FolderLake):
        Path(put.uri).write_bytes(content)
        return
    from google.cloud.storage import Blob

    from taxi_assets.stores.google_cloud import GoogleAccount

    Blob.from_uri(put.uri, client=GoogleAccount().storage_client()).upload_from_string(content)


def test_probe(lake: Lake) -> None:
    """A probe tells that the lake can be written to, and leaves it as it was."""
    before = lake.probe()
    put = _put(lake, rows=3)
    assert "can be written to" in lake.probe()
    assert ("can be written to" in before) or ("not there yet" in before)
    assert lake.find(MONTH) == put


def test_remove(lake: Lake) -> None:
    """A month's object is told with its bytes, and goes; another month's stays, and the month can be put again."""
    put = _put(lake, rows=3)
    _put(lake, rows=4, month=NEXT)
    held = lake.held(MONTH)
    assert held == [StoredItem(put.uri, bytes=put.bytes)]
    assert lake.remove(MONTH) == held
    with pytest.raises(MissingUpstream):
        lake.find(MONTH)
    assert lake.find(NEXT).rows == 4
    assert _put(lake, rows=5).rows == 5


def test_remove_nothing(lake: Lake) -> None:
    """Where there is no object, or no lake, nothing is told and nothing goes; so it is the second time."""
    assert (lake.held(MONTH), lake.remove(MONTH)) == ([], [])
    _put(lake, rows=3)
    lake.remove(MONTH)
    assert (lake.held(MONTH), lake.remove(MONTH)) == ([], [])


def test_remove_what_is_damaged(lake: Lake) -> None:
    """An object that is no Parquet file goes too."""
    _damage(lake, _put(lake, rows=3))
    assert len(lake.remove(MONTH)) == 1
    assert lake.held(MONTH) == []
