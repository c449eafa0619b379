"""Summaries of months, computed from Parquet files, and the differences between two of them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.tlc.parquet import Summarizer, read_row_groups, summarize_parquet, write_row_groups
from taxi_assets.tlc.schema import LAYOUTS, Layout
from taxi_assets.tlc.summary import MonthSummary, figures, from_values, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.tlc.sampled import write_clean

GREEN = LAYOUTS["green"]
NOON = datetime.fromisoformat("2020-03-07T12:00:00.000001")
SUMMARY = MonthSummary(7, 12.5, NOON, NOON + timedelta(days=3), dict.fromkeys(GREEN.names, 2))


def _write_groups(path: Path, color: str, groups: int, rows: int, rejects: Path) -> MonthSummary:
    """Write a clean sample month in several row groups. Return the summary of its raw file."""
    whole = path.with_suffix(".whole")
    expected = write_clean(TripMonth(color, "2020-03"), groups * rows, whole, rejects)
    table = pq.read_table(whole)
    write_row_groups(path, LAYOUTS[color], [table.slice(start, rows) for start in range(0, groups * rows, rows)])
    return expected


def _summarize(tables: Iterable[pa.Table], layout: Layout) -> MonthSummary:
    summarizer = Summarizer(layout)
    assert sum(table.num_rows for table in summarizer.watch(tables)) == summarizer.summary().rows
    return summarizer.summary()


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("groups", [1, 5])
def test_agree_with_the_raw_file(groups: int, color: str, tmp_path: Path) -> None:
    """The figures of a clean file are those of its CSV, for any number of row groups."""
    expected = _write_groups(tmp_path / "month.parquet", color, groups, 700, tmp_path)
    summary = summarize_parquet(tmp_path / "month.parquet", LAYOUTS[color])
    assert summary.total_amount == pytest.approx(expected.total_amount, abs=1e-6)
    assert replace(summary, total_amount=None) == replace(expected, total_amount=None)
    tables = read_row_groups(tmp_path / "month.parquet", LAYOUTS[color])
    assert _summarize(tables, LAYOUTS[color]).differences(expected) == {}


@pytest.mark.parametrize("color", COLORS)
def test_summarize_a_file_without_statistics(color: str, tmp_path: Path) -> None:
    """A file without statistics has the same figures, read from its columns."""
    expected = _write_groups(tmp_path / "month.parquet", color, 2, 700, tmp_path)
    bare = tmp_path / "bare.parquet"
    pq.write_table(pq.read_table(tmp_path / "month.parquet"), bare, write_statistics=False, row_group_size=300)
    assert pq.read_metadata(bare).row_group(0).column(1).statistics is None
    assert summarize_parquet(bare, LAYOUTS[color]).differences(expected) == {}


def test_read_only_the_footer_and_one_column(tmp_path: Path) -> None:
    """Most of the bytes of an open file are not read."""

    class CountingFile(FileIO):
        """A file that counts the bytes that are read."""

        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.count += len(content)
            return content

    path = tmp_path / "month.parquet"
    expected = _write_groups(path, "yellow", 4, 25_000, tmp_path)
    with CountingFile(path) as file:
        assert summarize_parquet(file, LAYOUTS["yellow"]).differences(expected) == {}
        assert not file.closed
        assert 0 < file.count < path.stat().st_size / 4


@pytest.mark.parametrize("statistics", [True, False])
def test_summarize_missing_values(statistics: bool, tmp_path: Path) -> None:  # noqa: FBT001  # a parameter
    """A row group with only missing values has no pickup times."""
    fields = GREEN.arrow_schema()
    nulls = pa.table([pa.nulls(3, field.type) for field in fields], schema=fields)
    pq.write_table(nulls, tmp_path / "nulls", write_statistics=statistics)
    expected = MonthSummary(3, 0.0, None, None, dict.fromkeys(GREEN.names, 3))
    assert summarize_parquet(tmp_path / "nulls", GREEN) == expected
    at = fields.get_field_index(GREEN.pickup)
    one = nulls.set_column(at, fields.field(at), [pa.array([None, NOON, None], fields.field(at).type)])
    pq.write_table(pa.concat_tables([nulls, one]), tmp_path / "one", row_group_size=3, write_statistics=statistics)
    summary = summarize_parquet(tmp_path / "one", GREEN)
    assert (summary.rows, summary.first_pickup, summary.last_pickup) == (6, NOON, NOON)
    assert summary.nulls == {name: 5 if name == GREEN.pickup else 6 for name in GREEN.names}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("statistics", [True, False])
def test_summarize_a_file_of_an_earlier_release(color: str, statistics: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """All values of columns that the file does not have yet are missing."""
    expected = _write_groups(tmp_path / "month.parquet", color, 2, 700, tmp_path)
    layout, table = LAYOUTS[color], pq.read_table(tmp_path / "month.parquet")
    first = table.select([column.name for column in layout.table_columns if not column.is_later])
    pq.write_table(first, tmp_path / "old.parquet", write_statistics=statistics, row_group_size=700)
    summary = summarize_parquet(tmp_path / "old.parquet", layout)
    assert summary.differences(expected) == {}
    assert [name for name, count in summary.nulls.items() if count == 1_400 and layout.is_optional(name)] == [
        column.name for column in layout.columns if column.is_later
    ]


@pytest.mark.parametrize("color", COLORS)
def test_summarize_a_month_without_rows(color: str, tmp_path: Path) -> None:
    """A month without rows has the same summary as a month that was never loaded."""
    layout = LAYOUTS[color]
    for tables in ([], [layout.arrow_schema().empty_table()]):
        write_row_groups(tmp_path / "none", layout, tables)
        assert summarize_parquet(tmp_path / "none", layout) == no_rows(layout)
        assert _summarize(tables, layout) == no_rows(layout)


def test_reject_a_file_of_another_color(tmp_path: Path) -> None:
    """The error names the missing columns."""
    write_row_groups(tmp_path / "month", LAYOUTS["fhv"], [])
    with pytest.raises(pa.ArrowInvalid) as error:
        summarize_parquet(tmp_path / "month", GREEN)
    assert all(name in str(error.value) for name in GREEN.names if not GREEN.is_optional(name))


@pytest.mark.parametrize("color", COLORS)
def test_values_match_the_declared_figures(color: str) -> None:
    """A summary has a value for each declared figure, in order, and can be created from them."""
    layout = LAYOUTS[color]
    summary = no_rows(layout)
    assert list(summary.values()) == [figure.name for figure in figures(layout)]
    assert from_values(layout, summary.values()) == summary
    assert ("total_amount" in summary.values()) == (color in ("yellow", "green"))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"rows": 8}, {"rows": (7, 8)}),
        ({"total_amount": 12.52}, {"total_amount": (12.5, 12.52)}),
        ({"total_amount": None}, {"total_amount": (12.5, None)}),
        ({"total_amount": float("nan")}, {"total_amount": (12.5, pytest.approx(float("nan"), nan_ok=True))}),
        ({"first_pickup": None}, {"first_pickup": (NOON, None)}),
        (
            {"last_pickup": NOON + timedelta(microseconds=1)},
            {"last_pickup": (NOON + timedelta(days=3), NOON + timedelta(microseconds=1))},
        ),
        ({"nulls": {**SUMMARY.nulls, "extra": 0}}, {"nulls.extra": (2, 0)}),
        (
            {"rows": 0, "nulls": {**SUMMARY.nulls, "new": 1}},
            {"rows": (7, 0), "nulls.new": (None, 1)},
        ),
    ],
)
def test_differences(change: dict[str, Any], difference: dict[str, Any]) -> None:
    """Return the figures that differ, each with both values, and no others."""
    assert SUMMARY.differences(SUMMARY) == {}
    assert SUMMARY.differences(replace(SUMMARY, **change)) == difference


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1 + 0.2, 0.3, True),
        (100.0, 100.009, True),
        (100.0, 100.011, False),
        (-100.0, -100.011, False),
        (0.0, -0.0, True),
        (3e10, 3e10 + 29, True),
        (3e10, 3e10 + 31, False),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), True),
        (float("inf"), 1e308, False),
    ],
)
def test_compare_totals_with_a_tolerance(one: float, other: float, equal: bool) -> None:  # noqa: FBT001  # as above
    """Totals are equal within one cent, or within a billionth for large totals."""
    pair = replace(SUMMARY, total_amount=one), replace(SUMMARY, total_amount=other)
    assert (pair[0].differences(pair[1]) == {}) is equal
    assert (pair[1].differences(pair[0]) == {}) is equal
