"""A month's Parquet file: its types, its row groups, and what is read of it."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.parquet import ParquetFile

from taxi_assets.tlc.parquet import (
    Footer,
    count_rows,
    read_footer,
    read_preview,
    read_row_groups,
    read_schema,
    read_source,
    write_row_groups,
)
from taxi_assets.tlc.schema import LAYOUTS, Kind, Layout

GREEN = LAYOUTS["green"]


def _table(start: int, rows: int, layout: Layout = GREEN) -> pa.Table:
    """Rows whose values differ, a null in every seventh."""
    made: dict[Kind, Callable[[int], object]] = {
        Kind.integer: lambda number: number,
        Kind.decimal: lambda number: number / 8,
        Kind.text: lambda number: f"text {number % 5}",
        Kind.timestamp: lambda number: datetime.fromisoformat("2021-01-01").replace(microsecond=number),
        Kind.date: lambda _: date(2021, 1, 1),
    }
    numbers = range(start, start + rows)
    columns = {
        column.name: [None if number % 7 == 0 else made[column.kind](number) for number in numbers]
        for column in layout.table_columns
    }
    return pa.table(columns, layout.arrow_schema())


TABLES = [_table(0, 100), _table(100, 1), _table(101, 50)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A written file of three row groups."""
    path = tmp_path / "month.parquet"
    write_row_groups(path, GREEN, TABLES)
    return path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_file_has_the_types_of_the_contract(tmp_path: Path, layout: Layout) -> None:
    """Types are those that BigQuery loads as INT64, FLOAT64, STRING, DATETIME and DATE, with or without rows."""
    for tables in ([], [_table(0, 10, layout)]):
        path = tmp_path / f"{len(tables)}.parquet"
        write_row_groups(path, layout, tables)
        assert read_schema(path).equals(layout.arrow_schema())
        with ParquetFile(path) as file:
            logical = {column.name: str(column.logical_type) for column in file.schema}
            physical = {column.name: column.physical_type for column in file.schema}
        assert logical["file_month"] == "Date"
        assert "isAdjustedToUTC=false, timeUnit=microseconds" in logical[layout.pickup]
        assert [physical[column.name] for column in layout.table_columns] == [
            {
                Kind.integer: "INT64",
                Kind.decimal: "DOUBLE",
                Kind.text: "BYTE_ARRAY",
                Kind.timestamp: "INT64",
                Kind.date: "INT32",
            }[column.kind]
            for column in layout.table_columns
        ]


def test_what_is_written_is_what_is_read(path: Path) -> None:
    """Every value and every null comes back, in order."""
    assert pa.concat_tables(read_row_groups(path)).to_pylist() == pa.concat_tables(TABLES).to_pylist()


def test_each_table_is_a_row_group(path: Path) -> None:
    """Row groups are the tables, so that what reads them streams."""
    assert [group.num_rows for group in read_row_groups(path)] == [100, 1, 50]


def test_large_table_is_one_row_group(tmp_path: Path) -> None:
    """Parquet's own limit on row groups does not split a table."""
    rows = (1 << 20) + 7
    layout = LAYOUTS["fhv"]
    columns = [pa.nulls(rows, field.type) for field in layout.arrow_schema()]
    assert write_row_groups(tmp_path / "large", layout, [pa.table(columns, schema=layout.arrow_schema())]) == rows
    assert [group.num_rows for group in read_row_groups(tmp_path / "large")] == [rows]


def test_columns_are_zstd_with_statistics(path: Path) -> None:
    """Each column is compressed with zstd, and its row groups say their nulls, lowest and highest values."""
    with ParquetFile(path) as file:
        metadata = file.metadata
    for group in range(metadata.num_row_groups):
        for number, column in enumerate(GREEN.table_columns):
            chunk = metadata.row_group(group).column(number)
            written = TABLES[group].column(column.name)
            values = [value for value in written.to_pylist() if value is not None]
            assert chunk.path_in_schema == column.name
            assert chunk.compression == "ZSTD"
            assert chunk.statistics.null_count == written.null_count
            assert (chunk.statistics.min, chunk.statistics.max) == (min(values), max(values))


def test_rows_are_counted_from_the_file(tmp_path: Path) -> None:
    """The number given back is that of the footer; no table and empty tables make a file of no rows."""
    assert write_row_groups(tmp_path / "some", GREEN, iter(TABLES)) == count_rows(tmp_path / "some") == 151
    assert write_row_groups(tmp_path / "none", GREEN, []) == count_rows(tmp_path / "none") == 0
    empty = GREEN.arrow_schema().empty_table()
    assert write_row_groups(tmp_path / "empty", GREEN, [empty, _table(0, 3), empty]) == 3
    assert sum(group.num_rows for group in read_row_groups(tmp_path / "empty")) == 3


def test_the_source_is_told(tmp_path: Path) -> None:
    """A file tells the checksum of what its rows came from, if it was told."""
    write_row_groups(tmp_path / "told", GREEN, TABLES, "c0ffee")
    write_row_groups(tmp_path / "untold", GREEN, TABLES)
    assert (read_source(tmp_path / "told"), read_source(tmp_path / "untold")) == ("c0ffee", "")


def test_the_version_is_stored(tmp_path: Path) -> None:
    """The footer keeps the version beside the source; a file that was written without one has an empty version."""
    write_row_groups(tmp_path / "both", GREEN, TABLES, "c0ffee", "v-7")
    write_row_groups(tmp_path / "source", GREEN, TABLES, "c0ffee")
    assert (read_footer(tmp_path / "both").version, read_source(tmp_path / "both")) == ("v-7", "c0ffee")
    assert (read_footer(tmp_path / "source").version, read_source(tmp_path / "source")) == ("", "c0ffee")


def test_footer_of_an_opened_file(tmp_path: Path) -> None:
    """An opened file is read as its path is; a file that other programs wrote states neither source nor version."""
    write_row_groups(tmp_path / "ours", GREEN, TABLES, "c0ffee", "v-7")
    pa.parquet.write_table(TABLES[0], tmp_path / "other")
    for name, footer in (("ours", Footer(151, "c0ffee", "v-7")), ("other", Footer(100, "", ""))):
        with (tmp_path / name).open("rb") as file:
            assert read_footer(file) == read_footer(tmp_path / name) == footer


def test_same_tables_are_the_same_bytes(tmp_path: Path) -> None:
    """A file that is written again is the same file."""
    for name in ("one", "two"):
        write_row_groups(tmp_path / name, GREEN, TABLES)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_error_of_the_tables_maker_is_raised(tmp_path: Path) -> None:
    """What goes wrong in the making of a table is told as it is, not as an error of Parquet."""

    def make() -> Iterator[pa.Table]:
        yield TABLES[0]
        raise LookupError("the maker's")

    with pytest.raises(LookupError, match="the maker's"):
        write_row_groups(tmp_path / "month", GREEN, make())


def test_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    """A table of another color is no row group of this file."""
    with pytest.raises(ValueError, match="schema does not match"):
        write_row_groups(tmp_path / "month", GREEN, [_table(0, 3, LAYOUTS["yellow"])])


@pytest.mark.parametrize(("rows", "seen"), [(1, 1), (10, 10), (100, 100), (120, 120), (1_000, 151)])
def test_preview_is_the_first_rows(path: Path, rows: int, seen: int) -> None:
    """A preview is a table of the first rows, from several row groups where the first is short."""
    preview = read_preview(path, rows)
    assert isinstance(preview, pa.Table)
    assert preview.to_pylist() == pa.concat_tables(TABLES).to_pylist()[:seen]


def test_preview_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    """A month without rows has a preview with its columns."""
    write_row_groups(tmp_path / "none", GREEN, [])
    assert read_preview(tmp_path / "none", 5).equals(GREEN.arrow_schema().empty_table())


def test_readers_let_go_of_the_file(path: Path) -> None:
    """A reader that is given up halfway holds no file open."""
    groups = read_row_groups(path)
    assert next(groups).num_rows == 100
    groups.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    read_preview(path, 1)
    count_rows(path)
    opened = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert path.resolve() not in opened
