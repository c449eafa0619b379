"""The Parquet file of a month: types, row groups, footer, and what can be read from it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow.parquet import ParquetFile

from taxi_assets.tlc.parquet import (
    Footer,
    copy_row_groups,
    count_rows,
    filled_columns,
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
    """Return rows with different values and a null in every seventh row."""
    values: dict[Kind, Callable[[int], object]] = {
        Kind.integer: lambda number: number,
        Kind.decimal: lambda number: number / 8,
        Kind.text: lambda number: f"text {number % 5}",
        Kind.timestamp: lambda number: datetime.fromisoformat("2021-01-01").replace(microsecond=number),
        Kind.date: lambda _: date(2021, 1, 1),
    }
    numbers = range(start, start + rows)
    columns = {
        column.name: [None if number % 7 == 0 else values[column.kind](number) for number in numbers]
        for column in layout.file_columns
    }
    return pa.table(columns, layout.arrow_schema())


TABLES = [_table(0, 100), _table(100, 1), _table(101, 50)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with three row groups."""
    path = tmp_path / "month.parquet"
    write_row_groups(path, GREEN, TABLES)
    return path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_write_the_declared_types(tmp_path: Path, layout: Layout) -> None:
    """The types are those that BigQuery loads as INT64, FLOAT64, STRING, DATETIME and DATE."""
    for tables in ([], [_table(0, 10, layout)]):
        path = tmp_path / f"{len(tables)}.parquet"
        write_row_groups(path, layout, tables)
        assert read_schema(path).equals(layout.arrow_schema())
        with ParquetFile(path) as file:
            logical = {column.name: str(column.logical_type) for column in file.schema}
            physical = {column.name: column.physical_type for column in file.schema}
        assert logical["file_month"] == "Date"
        assert "isAdjustedToUTC=false, timeUnit=microseconds" in logical[layout.pickup]
        assert [physical[column.name] for column in layout.file_columns] == [
            {
                Kind.integer: "INT64",
                Kind.decimal: "DOUBLE",
                Kind.text: "BYTE_ARRAY",
                Kind.timestamp: "INT64",
                Kind.date: "INT32",
            }[column.kind]
            for column in layout.file_columns
        ]


def test_read_the_written_rows(path: Path) -> None:
    """Return every value and every null, in order."""
    assert pa.concat_tables(read_row_groups(path, GREEN)).to_pylist() == pa.concat_tables(TABLES).to_pylist()


def test_write_each_table_as_a_row_group(path: Path) -> None:
    """Row groups are the tables, so that they can be read one at a time."""
    assert [group.num_rows for group in read_row_groups(path, GREEN)] == [100, 1, 50]


def test_write_a_large_table_as_one_row_group(tmp_path: Path) -> None:
    """Parquet's default row group size does not split a table."""
    rows = (1 << 20) + 7
    layout = LAYOUTS["fhv"]
    columns = [pa.nulls(rows, field.type) for field in layout.arrow_schema()]
    assert write_row_groups(tmp_path / "large", layout, [pa.table(columns, schema=layout.arrow_schema())]) == rows
    assert [group.num_rows for group in read_row_groups(tmp_path / "large", layout)] == [rows]


def test_compress_with_zstd_and_write_statistics(path: Path) -> None:
    """Every column chunk is compressed with zstd and has its null count, minimum and maximum."""
    with ParquetFile(path) as file:
        metadata = file.metadata
    for group in range(metadata.num_row_groups):
        for number, column in enumerate(GREEN.file_columns):
            chunk = metadata.row_group(group).column(number)
            written = TABLES[group].column(column.name)
            values = [value for value in written.to_pylist() if value is not None]
            assert chunk.path_in_schema == column.name
            assert chunk.compression == "ZSTD"
            assert chunk.statistics.null_count == written.null_count
            assert (chunk.statistics.min, chunk.statistics.max) == (min(values), max(values))


def test_return_the_row_count_of_the_footer(tmp_path: Path) -> None:
    """The count is that of the footer. Without tables or with empty tables, the file has no rows."""
    assert write_row_groups(tmp_path / "some", GREEN, iter(TABLES)) == count_rows(tmp_path / "some") == 151
    assert write_row_groups(tmp_path / "none", GREEN, []) == count_rows(tmp_path / "none") == 0
    empty = GREEN.arrow_schema().empty_table()
    assert write_row_groups(tmp_path / "empty", GREEN, [empty, _table(0, 3), empty]) == 3
    assert sum(group.num_rows for group in read_row_groups(tmp_path / "empty", GREEN)) == 3


def test_store_the_source(tmp_path: Path) -> None:
    """The footer stores the SHA-256 of the raw file, if it is given."""
    write_row_groups(tmp_path / "with source", GREEN, TABLES, "c0ffee")
    write_row_groups(tmp_path / "without source", GREEN, TABLES)
    assert (read_source(tmp_path / "with source"), read_source(tmp_path / "without source")) == ("c0ffee", "")


def test_store_the_version(tmp_path: Path) -> None:
    """The footer stores the version next to the source. Without one, it is empty."""
    write_row_groups(tmp_path / "both", GREEN, TABLES, "c0ffee", "v-7")
    write_row_groups(tmp_path / "source", GREEN, TABLES, "c0ffee")
    assert (read_footer(tmp_path / "both").version, read_source(tmp_path / "both")) == ("v-7", "c0ffee")
    assert (read_footer(tmp_path / "source").version, read_source(tmp_path / "source")) == ("", "c0ffee")


def test_read_the_footer_of_an_open_file(tmp_path: Path) -> None:
    """An open file can be read like a path. A file of another program has no source and no version."""
    columns = (*GREEN.names, "file_month")
    write_row_groups(tmp_path / "ours", GREEN, TABLES, "c0ffee", "v-7")
    pa.parquet.write_table(TABLES[0], tmp_path / "other")
    for name, footer in (("ours", Footer(151, "c0ffee", "v-7", columns)), ("other", Footer(100, "", "", columns))):
        with (tmp_path / name).open("rb") as file:
            assert read_footer(file) == read_footer(tmp_path / name) == footer


def test_writing_is_deterministic(tmp_path: Path) -> None:
    """The same tables produce the same bytes."""
    for name in ("one", "two"):
        write_row_groups(tmp_path / name, GREEN, TABLES)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_raise_an_error_of_the_table_producer(tmp_path: Path) -> None:
    """An exception from the tables is raised unchanged."""

    def produce() -> Iterator[pa.Table]:
        yield TABLES[0]
        raise LookupError("no more tables")

    with pytest.raises(LookupError, match="no more tables"):
        write_row_groups(tmp_path / "month", GREEN, produce())


def test_reject_a_table_with_other_columns(tmp_path: Path) -> None:
    """A table of another color is an error."""
    with pytest.raises(ValueError, match="schema does not match"):
        write_row_groups(tmp_path / "month", GREEN, [_table(0, 3, LAYOUTS["yellow"])])


def _first_release(table: pa.Table, layout: Layout = GREEN) -> pa.Table:
    """Return the columns that files of the first release have, in their order."""
    return table.select([column.name for column in layout.table_columns if not column.is_later])


@pytest.mark.parametrize("later", [0, 1, 5])
def test_read_a_file_of_an_earlier_release(tmp_path: Path, later: int) -> None:
    """Columns that a file does not have yet are missing. The order and the types are those of new files."""
    old = _first_release(TABLES[0])
    names = [column.name for column in GREEN.columns if column.is_later][:later]
    for name in names:
        old = old.append_column(name, TABLES[0].column(name))
    pa.parquet.write_table(old, tmp_path / "old")
    [read] = read_row_groups(tmp_path / "old", GREEN)
    assert read.schema == GREEN.arrow_schema()
    assert read.to_pylist() == [
        {name: value if name in old.column_names else None for name, value in row.items()}
        for row in TABLES[0].to_pylist()
    ]


@pytest.mark.parametrize("missing", [GREEN.pickup, "congestion_surcharge"])
def test_reject_a_file_without_a_column_of_the_first_release(tmp_path: Path, missing: str) -> None:
    """Only later columns may be missing."""
    pa.parquet.write_table(TABLES[0].drop_columns([missing]), tmp_path / "other")
    with pytest.raises(pa.ArrowInvalid, match=missing):
        list(read_row_groups(tmp_path / "other", GREEN))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_copy_with_another_footer(tmp_path: Path, layout: Layout) -> None:
    """A copy has the same rows, row groups and statistics, also as DuckDB reads it, with its own source and version."""
    tables = [_table(start, rows, layout) for start, rows in ((0, 100), (100, 1), (101, 50))]
    for number, count in enumerate((3, 1, 0)):
        old, new = tmp_path / f"old{number}", tmp_path / f"new{number}"
        write_row_groups(old, layout, tables[:count], "source", "old")
        new.write_bytes(b"rest of an earlier attempt" * 10_000)
        assert copy_row_groups(old, new, layout, "source", "new") == sum(table.num_rows for table in tables[:count])
        assert read_footer(new) == replace(read_footer(old), version="new")
        with ParquetFile(old) as before, ParquetFile(new) as after:
            assert after.read().equals(before.read())
            groups = range(before.num_row_groups)
            assert [after.metadata.row_group(n) for n in groups] == [before.metadata.row_group(n) for n in groups]
        assert duckdb.read_parquet(str(new)).fetchall() == duckdb.read_parquet(str(old)).fetchall()


def test_copy_a_file_of_an_earlier_release(tmp_path: Path) -> None:
    """A copy has all columns, also if the file has fewer."""
    pa.parquet.write_table(_first_release(TABLES[0]), tmp_path / "old")
    assert copy_row_groups(tmp_path / "old", tmp_path / "new", GREEN, "source", "version") == 100
    assert read_schema(tmp_path / "new").equals(GREEN.arrow_schema())


def test_do_not_copy_a_damaged_file(path: Path, tmp_path: Path) -> None:
    """A file with a damaged page is an error."""
    content = bytearray(path.read_bytes())
    content[500:900] = bytes(400)
    path.write_bytes(content)
    with pytest.raises((pa.ArrowInvalid, OSError)):
        copy_row_groups(path, tmp_path / "new", GREEN, "source", "version")


def _without_values(table: pa.Table, *names: str) -> pa.Table:
    """Return a table with no values in some columns."""
    for name in names:
        at, type_ = table.column_names.index(name), table.schema.field(name).type
        table = table.set_column(at, name, pa.nulls(table.num_rows, type_))
    return table


def test_columns_with_values(tmp_path: Path) -> None:
    """A column has values if it has one in any row group, or if the file does not say how many are missing."""
    tables = [_without_values(TABLES[0], "fare_amount", "extra"), _without_values(TABLES[1], "tip_amount", "extra")]
    write_row_groups(tmp_path / "some", GREEN, tables)
    assert filled_columns(tmp_path / "some", GREEN) == [name for name in GREEN.arrow_schema().names if name != "extra"]
    pa.parquet.write_table(tables[0], tmp_path / "unknown", write_statistics=False)
    assert filled_columns(tmp_path / "unknown", GREEN) == GREEN.arrow_schema().names


@pytest.mark.parametrize(("rows", "seen"), [(1, 1), (10, 10), (100, 100), (120, 120), (1_000, 151)])
def test_preview_the_first_rows(path: Path, rows: int, seen: int) -> None:
    """The preview has the first rows, from several row groups if necessary."""
    preview = read_preview(path, rows)
    assert isinstance(preview, pa.Table)
    assert preview.to_pylist() == pa.concat_tables(TABLES).to_pylist()[:seen]


def test_preview_a_month_without_rows(tmp_path: Path) -> None:
    """The preview of a month without rows has its columns."""
    write_row_groups(tmp_path / "none", GREEN, [])
    assert read_preview(tmp_path / "none", 5).equals(GREEN.arrow_schema().empty_table())


def test_close_the_file_after_reading(path: Path) -> None:
    """Readers leave no open file, even if they are closed early."""
    groups = read_row_groups(path, GREEN)
    assert next(groups).num_rows == 100
    groups.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    read_preview(path, 1)
    count_rows(path)
    opened = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert path.resolve() not in opened
