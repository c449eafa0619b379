"""Tests that every lake passes, in a folder or in a bucket."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from taxi_assets.errors import DamagedFile, ForeignObject, MissingUpstream
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import Lake, LakeObject
from taxi_assets.tlc.parquet import read_row_groups, write_row_groups
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets.tlc.zones import built_in_zones
from taxi_assets_tests import first_release
from taxi_assets_tests.months import write_month
from taxi_assets_tests.tlc.sampled import write_clean

if TYPE_CHECKING:
    from google.cloud.storage import Blob

MONTH = TripMonth("green", "2020-03")
NEXT = TripMonth("green", "2020-04")
SOURCE = "5ha"
"""The SHA-256 of the raw file in the footer of an object of this project."""


@pytest.fixture(params=["folder", "gcs"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake. A bucket does not exist yet."""
    if request.param == "folder":
        return FolderLake(tmp_path / "lake")
    bucket: Lake = request.getfixturevalue("gcs_lake")
    return bucket


def test_zones(lake: Lake) -> None:
    """The taxi zones are a Parquet file of the lake, which is replaced as a whole. A bucket is created for it."""
    lake.put_zones(built_in_zones())
    uri = lake.put_zones(built_in_zones().slice(1))
    assert uri.endswith("/data/zones/taxi_zone_lookup.parquet")
    content = Path(uri).read_bytes() if isinstance(lake, FolderLake) else _blob(uri).download_as_bytes()
    assert pq.read_table(BytesIO(content)) == built_in_zones().slice(1)


def _staged(lake: Lake, rows: int, mark: int = 0, month: TripMonth = MONTH) -> StagedFile:
    staged = lake.stage(month)
    write_month(staged.path, month, rows, mark, SOURCE)
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
    write_row_groups(
        staged.path, LAYOUTS[MONTH.color], read_row_groups(tmp_path / "month", LAYOUTS[MONTH.color]), SOURCE, version
    )
    assert lake.put(MONTH, staged).version == version
    assert lake.find(MONTH).version == version


@pytest.mark.parametrize("color", COLORS)
def test_summary(color: str, lake: Lake, tmp_path: Path) -> None:
    """The summary of an object is that of the raw file it was created from. Its columns can be read one by one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    month = TripMonth(color, "2020-03")
    staged = lake.stage(month)
    expected = write_clean(month, 3_000, staged.path, tmp_path)
    columns = ["file_month", LAYOUTS[color].pickup]
    rows = pq.read_table(staged.path, columns=columns).replace_schema_metadata()
    put = lake.put(month, staged)
    assert lake.summarize(month).differences(expected) == {}
    assert put.summarize().differences(expected) == {}
    assert lake.find(month).summarize().differences(expected) == {}
    assert pa.concat_tables(lake.read(month, columns)).equals(rows)


@pytest.mark.parametrize("color", first_release.COLUMNS)
def test_object_of_the_first_release(color: str, lake: Lake) -> None:
    """An object of the first release has its columns. All values of later columns are missing in its summary."""
    month, layout = TripMonth(color, "2020-03"), LAYOUTS[color]
    staged = lake.stage(month)
    table = first_release.write_month(staged.path, month, 9)
    put = lake.put(month, staged)
    assert put.columns == lake.find(month).columns == tuple(first_release.COLUMNS[color])
    summary = put.summarize()
    nulls = {name: table[name].null_count if name in table.column_names else 9 for name in layout.names}
    assert (summary.rows, summary.nulls) == (9, nulls)
    assert summary.first_pickup == min(table[layout.pickup].drop_null().to_pylist())
    later = [name for name in layout.names if name not in table.column_names]
    [read] = lake.read(month, [*later, "file_month"])
    assert read.column_names == [*later, "file_month"]
    assert [read[name].null_count for name in read.column_names] == [*(9 for _ in later), 0]


def test_object_without_a_column(lake: Lake) -> None:
    """An object without a column of the first release is an error when it is summarized."""
    import pyarrow.parquet as pq

    staged = lake.stage(MONTH)
    first_release.write_month(staged.path, MONTH, 9)
    pq.write_table(pq.read_table(staged.path).drop_columns(["fare_amount"]), staged.path)
    put = lake.put(MONTH, staged)
    with pytest.raises(DamagedFile, match="fare_amount") as error:
        put.summarize()
    assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}


def test_put_in_chunks(lake: Lake) -> None:
    """Upload an object that is larger than a chunk."""
    fares = [number * 0.7310585 % 1 for number in range(100_000)]
    staged = lake.stage(MONTH)
    write_month(staged.path, MONTH, len(fares), source=SOURCE, fare_amount=fares)
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
    for call in (lake.find, lake.summarize, lambda month: list(lake.read(month, ["file_month"]))):
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


def _parquet(**columns: list[object]) -> bytes:
    """Return a Parquet file with these columns, which another program wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


FOREIGN = {
    "text": b"to do: load March",
    "CSV": b"VendorID,lpep_pickup_datetime\n2,2020-03-01 00:00:00\n",
    "gzip": b"\x1f\x8b\x08\0" + bytes(100),
    "Parquet with an encrypted footer": b"PARE" + bytes(100) + b"PARE",
    "another table": _parquet(x=[1, 2, 3]),
    "an empty table": _parquet(),
    "the columns of the TLC": _parquet(VendorID=[1], lpep_pickup_datetime=[None]),
}
"""Objects that another program wrote."""


@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_foreign_object(content: bytes, lake: Lake) -> None:
    """An object that another program wrote is an error with its URI and the command that replaces it.

    It stays, is listed and removed as any other object, and can be replaced.
    """
    put = _put(lake, rows=3)
    _replace(lake, put, content)
    for _ in range(2):
        with pytest.raises(ForeignObject) as error:
            lake.find(MONTH)
        assert error.value.facts == {**MONTH.facts, "uri": put.uri}
        assert "--color green --months 2020-03 --overwrite" in error.value.explain()
        assert "[foreign-object]" in error.value.explain()
    with pytest.raises(ForeignObject):
        put.reread()
    assert lake.stored_items(MONTH) == [StoredItem(put.uri, bytes=len(content))]
    assert _put(lake, rows=4).rows == 4
    _replace(lake, put, content)
    assert lake.remove(MONTH) == [StoredItem(put.uri, bytes=len(content))]
    assert lake.stored_items(MONTH) == []


def test_object_without_the_metadata_of_a_lake(lake: Lake) -> None:
    """An object of this project that another program copied is found: its footer identifies it."""
    put = _put(lake, rows=3)
    _put(lake, rows=5, month=NEXT)
    _replace(lake, put, _content(lake, put))
    assert lake.find(MONTH).rows == 3
    assert _put(lake, rows=3).rows == 3


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 12, 1000, -1, -8, -100])
def test_truncated(length: int, lake: Lake) -> None:
    """The error for an object that is cut off has the month, the URI, the asset and the command that fixes it."""
    put = _put(lake, rows=3)
    _replace(lake, put, _content(lake, put)[:length])
    for call in (lake.find, lake.summarize):
        with pytest.raises(DamagedFile) as error:
            call(MONTH)
        assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}
        assert put.uri in error.value.explain()
        assert "--color green --months 2020-03 --select lake_trips+" in error.value.explain()
    _put(lake, rows=3)
    assert lake.find(MONTH).rows == 3


def test_damaged(lake: Lake) -> None:
    """The error for an object that is not Parquet has the month, the URI and the asset. The next put fixes it."""
    put = _put(lake, rows=3)
    _replace(lake, put, b"PAR1 but no Parquet")
    for call in (lake.find, lake.summarize):
        with pytest.raises(DamagedFile) as error:
            call(MONTH)
        assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}
    _put(lake, rows=3)
    assert lake.find(MONTH).rows == 3


def test_damaged_column(lake: Lake, tmp_path: Path) -> None:
    """Damaged rows behind an intact footer are an error when the object is summarized or read."""
    staged = lake.stage(MONTH)
    write_clean(MONTH, 3_000, staged.path, tmp_path)
    content = staged.path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    put = lake.put(MONTH, staged)
    _replace(lake, put, content[:4] + bytes(len(content) - footer - 4) + content[-footer:])
    assert lake.find(MONTH).rows == 3_000
    for call in (lake.summarize, lambda month: list(lake.read(month, ["fare_amount"]))):
        with pytest.raises(DamagedFile) as error:
            call(MONTH)
        assert error.value.facts == {**MONTH.facts, "uri": put.uri, "asset": "lake_trips"}


def _replace(lake: Lake, put: LakeObject, content: bytes) -> None:
    """Replace the content of an object, as another program would: without the metadata of this project."""
    if isinstance(lake, FolderLake):
        Path(put.uri).write_bytes(content)
    else:
        _blob(put.uri).upload_from_string(content)


def _content(lake: Lake, put: LakeObject) -> bytes:
    return Path(put.uri).read_bytes() if isinstance(lake, FolderLake) else _blob(put.uri).download_as_bytes()


def _blob(uri: str) -> "Blob":
    """Return the object in Cloud Storage, without its metadata."""
    from google.cloud.storage import Blob

    from taxi_assets.stores.google.account import GoogleAccount

    return Blob.from_uri(uri, client=GoogleAccount().storage_client())


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
    _replace(lake, _put(lake, rows=3), b"PAR1 but no Parquet")
    assert len(lake.remove(MONTH)) == 1
    assert lake.stored_items(MONTH) == []
