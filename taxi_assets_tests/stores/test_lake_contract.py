"""Tests that every lake passes, in a folder or in a bucket."""

from pathlib import Path

import pytest

from taxi_assets.errors import DamagedFile, MissingUpstream
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import Lake, LakeObject
from taxi_assets.tlc.parquet import read_row_groups, write_row_groups
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.months import write_month
from taxi_assets_tests.tlc.sampled import write_clean

MONTH = TripMonth("green", "2020-03")
NEXT = TripMonth("green", "2020-04")


@pytest.fixture(params=["folder", "gcs"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake. A bucket does not exist yet."""
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
    """A published object has its rows, size and name from the course, and the staged file is gone."""
    staged = _staged(lake, 7)
    size = staged.path.stat().st_size
    put = lake.put(MONTH, staged)
    assert put == lake.find(MONTH)
    assert (put.month, put.rows, put.bytes) == (MONTH, 7, size)
    assert put.uri.endswith("/data/green/green_tripdata_2020-03.parquet")
    assert not staged.path.exists()


@pytest.mark.parametrize("version", ["", "v-7"])
def test_version(version: str, lake: Lake, tmp_path: Path) -> None:
    """The version of an object is the one in its file's footer, or empty."""
    write_month(tmp_path / "month", MONTH, 3)
    staged = lake.stage(MONTH)
    write_row_groups(staged.path, LAYOUTS[MONTH.color], read_row_groups(tmp_path / "month"), version=version)
    assert lake.put(MONTH, staged).version == version
    assert lake.find(MONTH).version == version


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, lake: Lake, tmp_path: Path) -> None:
    """The summary of an object is that of the raw file it was created from."""
    month = TripMonth(color, "2020-03")
    staged = lake.stage(month)
    expected = write_clean(month, 3_000, staged.path, tmp_path)
    put = lake.put(month, staged)
    assert lake.summarize(month).differences(expected) == {}
    assert put.summarize().differences(expected) == {}
    assert lake.find(month).summarize().differences(expected) == {}


def test_put_in_chunks(lake: Lake) -> None:
    """Upload an object that is larger than a chunk."""
    fares = [number * 0.7310585 % 1 for number in range(100_000)]
    staged = lake.stage(MONTH)
    write_month(staged.path, MONTH, len(fares), fare_amount=fares)
    assert staged.path.stat().st_size > 600_000
    assert lake.put(MONTH, staged).rows == 100_000
    assert lake.find(MONTH).rows == 100_000


def test_put_replaces(lake: Lake) -> None:
    """A second object replaces the first one only when it is published."""
    _put(lake, rows=3)
    newer = _staged(lake, rows=5)
    assert lake.find(MONTH).rows == 3
    lake.put(MONTH, newer)
    assert lake.find(MONTH).rows == 5


def test_reread(lake: Lake) -> None:
    """A reread object is equal to the first one until the object is replaced."""
    put = _put(lake, rows=3)
    found = lake.find(MONTH)
    assert put.reread() == found.reread() == put
    replaced = _put(lake, rows=5)
    assert put.reread() == found.reread() == replaced != put


def test_put_the_same_content_again(lake: Lake) -> None:
    """Publishing the same content again results in an equal object."""
    assert _put(lake, rows=3) == _put(lake, rows=3)


def test_months_have_separate_objects(lake: Lake) -> None:
    """Each month has its own object."""
    _put(lake, rows=3)
    _put(lake, rows=4, month=NEXT)
    assert [lake.find(month).rows for month in (MONTH, NEXT)] == [3, 4]


def test_discarded(lake: Lake) -> None:
    """A discarded file does not change the existing object."""
    _put(lake, rows=3)
    staged = _staged(lake, rows=4)
    staged.discard()
    assert lake.find(MONTH).rows == 3


def test_missing(lake: Lake) -> None:
    """The error for a month without an object has the month, the URI and the asset, even if the lake does not exist."""
    with pytest.raises(MissingUpstream) as error:
        lake.find(MONTH)
    uri = _put(lake, rows=3, month=NEXT).uri.replace(NEXT.month, MONTH.month)
    facts = {**MONTH.facts, "uri": uri, "asset": "lake_trips"}
    assert error.value.facts == facts
    for call in (lake.find, lake.summarize):
        with pytest.raises(MissingUpstream) as error:
            call(MONTH)
        assert error.value.facts == facts


def test_removed_after_it_was_found(lake: Lake) -> None:
    """An object that was removed can be neither reread nor summarized."""
    put = _put(lake, rows=3)
    lake.remove(MONTH)
    for call in (put.reread, put.summarize):
        with pytest.raises(MissingUpstream):
            call()


def test_damaged(lake: Lake) -> None:
    """The error for an object that is not Parquet has the month, the URI and the asset. The next put fixes it."""
    put = _put(lake, rows=3)
    _damage(lake, put)
    for call in (lake.find, lake.summarize):
        with pytest.raises(DamagedFile) as error:
            call(MONTH)
        assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}
    _put(lake, rows=3)
    assert lake.find(MONTH).rows == 3


def test_damaged_column(lake: Lake, tmp_path: Path) -> None:
    """Damaged rows behind an intact footer are an error when the object is summarized."""
    staged = lake.stage(MONTH)
    write_clean(MONTH, 3_000, staged.path, tmp_path)
    content = staged.path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    put = lake.put(MONTH, staged)
    _damage(lake, put, content[:4] + bytes(len(content) - footer - 4) + content[-footer:])
    assert lake.find(MONTH).rows == 3_000
    with pytest.raises(DamagedFile) as error:
        lake.summarize(MONTH)
    assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}


def _damage(lake: Lake, put: LakeObject, content: bytes = b"PAR1 but no Parquet") -> None:
    """Replace the content of an object, by default with bytes that are not a Parquet file."""
    if isinstance(lake, FolderLake):
        Path(put.uri).write_bytes(content)
        return
    from google.cloud.storage import Blob

    from taxi_assets.stores.google.account import GoogleAccount

    Blob.from_uri(put.uri, client=GoogleAccount().storage_client()).upload_from_string(content)


def test_probe(lake: Lake) -> None:
    """A probe returns the location of the lake, and does not change the lake."""
    before = lake.probe()
    put = _put(lake, rows=3)
    after = lake.probe()
    assert put.uri.partition("/data/")[0] in after
    assert after != before
    assert lake.find(MONTH) == put


def test_remove(lake: Lake) -> None:
    """Remove a month's object and return it with its size. Other months stay, and the month can be published again."""
    put = _put(lake, rows=3)
    _put(lake, rows=4, month=NEXT)
    items = lake.stored_items(MONTH)
    assert items == [StoredItem(put.uri, bytes=put.bytes)]
    assert lake.remove(MONTH) == items
    with pytest.raises(MissingUpstream):
        lake.find(MONTH)
    assert lake.find(NEXT).rows == 4
    assert _put(lake, rows=5).rows == 5


def test_remove_nothing(lake: Lake) -> None:
    """Removing an object that does not exist, or from a lake that does not exist, returns nothing."""
    assert (lake.stored_items(MONTH), lake.remove(MONTH)) == ([], [])
    _put(lake, rows=3)
    lake.remove(MONTH)
    assert (lake.stored_items(MONTH), lake.remove(MONTH)) == ([], [])


def test_remove_a_damaged_object(lake: Lake) -> None:
    """An object that is not a Parquet file can be removed."""
    _damage(lake, _put(lake, rows=3))
    assert len(lake.remove(MONTH)) == 1
    assert lake.stored_items(MONTH) == []
