"""Cleaning turns a raw month into clean rows, rejected lines and a report, and loses no row."""

import contextlib
import csv
import gzip
import io
import threading
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import read_metadata, read_schema, read_table

from taxi_assets.errors import (
    BadFile,
    BadHeader,
    BadInput,
    CorruptFile,
    CountMismatch,
    EmptyFile,
    ManyInvalidRows,
    MissingHeader,
    NotACsv,
    NoValidRows,
    SeparatorLine,
    TaxiAssetsError,
    TooManyRejects,
    UnnamedColumn,
    WrongDelimiter,
    WrongEncoding,
    WrongLineEndings,
    WrongMonth,
    WrongPacking,
    WrongTimestamps,
)
from taxi_assets.tlc import clean
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.eras import CSV_ERAS
from taxi_assets.tlc.raw import LONGEST_LINE, read_blocks
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth

NAMES = {color: era.names for color, era in CSV_ERAS.items()}
HEADERS = {color: ",".join(names).encode() for color, names in NAMES.items()}
GOOD = {
    "yellow": b"2,2021-01-05 08:00:00,2021-01-05 08:10:30,1,1.5,1,N,142,43,1,8,3,0.5,2.36,0,0.3,14.16,2.5",
    "green": b"2,2021-01-05 08:00:00,2021-01-05 08:10:30,N,1,43,151,1,1.01,5.5,0.5,0.5,0,0,,0.3,6.8,2,1,0",
    "fhv": b"B00021,2021-01-05 08:00:00,2021-01-05 08:10:30,142,43,,B00022",
}
EMPTY, EMPTY_QUOTED = b"," * 17, b",".join([b'""'] * 18)
"""Rows of yellow with only empty fields."""

DOZEN = [b"%d,%s" % (number, GOOD["yellow"].partition(b",")[2]) for number in range(12)]

Row = dict[str, Any]


class Cleaned:
    """A cleaned month: the report, and the contents of the files."""

    def __init__(
        self, folder: Path, content: bytes, color: str = "yellow", limit: float = 1.0, outside: float = 1.0
    ) -> None:
        self.clean, self.rejected = folder / "clean.parquet", folder / "rejected.parquet"
        suffix = "csv.gz" if content.startswith(b"\x1f\x8b") else "csv"
        raw = folder / f"{color}_tripdata_2021-01.{suffix}"
        raw.write_bytes(content)
        limits = CleanLimits(rejected=limit, outside=outside)
        self.report = clean_month(TripMonth(color, "2021-01"), raw, self.clean, self.rejected, limits)
        assert self.report.raw_rows == _count(gzip.decompress(content) if suffix.endswith("gz") else content) - 1
        assert self.report.raw_rows == self.report.rows + self.report.rejected_rows
        assert len(self.rows) == self.report.rows
        assert Counter(reject["reason"] for reject in self.rejects) == self.report.rejected

    @property
    def rows(self) -> list[Row]:
        """The clean rows."""
        return _read(self.clean)

    @property
    def rejects(self) -> list[Row]:
        """The rejected lines; empty if there is no file."""
        return _read(self.rejected) if self.rejected.exists() else []


def _count(text: bytes) -> int:
    """Count the lines of a text that have a field that is not empty."""
    lines = (line.removesuffix(b"\r").split(b",") for line in text.split(b"\n"))
    return sum(any(field not in (b"", b'""') for field in fields) for fields in lines)


def _read(path: Path) -> list[Row]:
    return list(read_table(path).to_pylist())


def _text(*lines: bytes, color: str = "yellow", end: bytes = b"\r\n") -> bytes:
    """Return a file with the header of the color."""
    return b"".join(line + end for line in (HEADERS[color], *lines))


def _line(color: str = "yellow", **values: str) -> bytes:
    """Return a valid line with some values replaced."""
    fields = dict(zip(NAMES[color], GOOD[color].decode().split(","), strict=True))
    assert values.keys() <= fields.keys()
    return ",".join((fields | values).values()).encode()


def _in_blocks(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """Clean in blocks of a given size."""
    monkeypatch.setattr(clean, "read_blocks", partial(read_blocks, block_bytes=block_bytes))


@pytest.mark.parametrize("color", GOOD)
def test_clean_each_color(tmp_path: Path, color: str) -> None:
    """Clean files have the columns and types of the color, and the month in every row."""
    month = Cleaned(tmp_path, _text(GOOD[color], GOOD[color], color=color), color)
    assert read_schema(month.clean).equals(LAYOUTS[color].arrow_schema())
    assert [row["file_month"] for row in month.rows] == [date(2021, 1, 1)] * 2
    assert [row[LAYOUTS[color].pickup] for row in month.rows] == [datetime.fromisoformat("2021-01-05 08:00:00")] * 2
    assert (month.report.rows, month.report.rejected) == (2, Counter())


@pytest.mark.parametrize(
    "content",
    [
        _text(*DOZEN, end=b"\n"),
        _text(*DOZEN, end=b"\r\n"),
        _text(*DOZEN, end=b"\n").removesuffix(b"\n"),
        _text(*DOZEN, end=b"\r\n").removesuffix(b"\r\n"),
        _text(*DOZEN, end=b"\r\n").removesuffix(b"\n"),
        _text(b"", *DOZEN, end=b"\n"),
        _text(b"", *DOZEN[:5], b"", b"", *DOZEN[5:], b"", end=b"\r\n"),
        _text(EMPTY, *DOZEN[:5], EMPTY, b"", EMPTY, *DOZEN[5:], EMPTY, end=b"\n"),
        _text(EMPTY_QUOTED, *DOZEN[:5], b"", EMPTY_QUOTED, *DOZEN[5:], EMPTY_QUOTED, end=b"\r\n").removesuffix(b"\r\n"),
        EMPTY + b"\n" + EMPTY_QUOTED + b"\r\n\n" + _text(*DOZEN),
        b"\n\r\n\r\n\n" + _text(*DOZEN),
        b"\xef\xbb\xbf" + _text(*DOZEN),
        _text(*DOZEN).lower().replace(b",n,", b",N,"),
        b"".join(b",".join(reversed(line.split(b","))) + b"\n" for line in (HEADERS["yellow"], *DOZEN)),
        _text(*(b'"' + line.replace(b",", b'","') + b'"' for line in DOZEN)),
        gzip.compress(_text(*DOZEN), mtime=0),
    ],
    ids=[
        *("LF", "CRLF", "LF, no end", "CRLF, no end", "CR at the end", "a blank line", "blank lines"),
        *("empty rows", "empty quoted rows", "empty rows first"),
        *("blank lines first", "byte order mark"),
        *("lower case", "reversed", "quoted", "gzip"),
    ],
)
@pytest.mark.parametrize("block_bytes", [60, 1 << 20])
def test_file_format_does_not_change_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, block_bytes: int
) -> None:
    """Line endings, blank lines, a byte order mark, quotes, column order and gzip do not change the rows."""
    _in_blocks(monkeypatch, block_bytes)
    month = Cleaned(tmp_path, content)
    assert [row["VendorID"] for row in month.rows] == list(range(12))
    assert {tuple(row.items())[1:] for row in month.rows} == {
        tuple(row.items())[1:] for row in Cleaned(tmp_path, _text(DOZEN[0])).rows
    }
    assert not month.rejected.exists()


MIXED_LINES = [
    b"",
    *DOZEN[:3],
    _line(passenger_count="1.5"),
    b"",
    b"",
    _line(store_and_fwd_flag='"N'),
    DOZEN[3],
    GOOD["yellow"] + b'"',
    _line(store_and_fwd_flag='a"b'),
    _line(store_and_fwd_flag='a"b'),
    b"<html>",
    _line(tpep_pickup_datetime="2021-02-30 00:00:00"),
    _line(store_and_fwd_flag='"N\0"'),
    _line(store_and_fwd_flag='"N,Y"'),
    _line(store_and_fwd_flag="\rN"),
    GOOD["yellow"].replace(b"N", b"\x81"),
    *DOZEN[4:6],
    b'"',
    b"",
    DOZEN[6],
    GOOD["yellow"] + b",",
    EMPTY,
    _line(tpep_pickup_datetime=""),
    EMPTY_QUOTED,
    GOOD["yellow"].replace(b"N", b"\xe9"),
    b'""',
]
MIXED_REJECTS = [
    (6, "passenger_count is not an integer"),
    (9, "a quote is not closed"),
    (11, "a quote is not closed"),
    (14, "1 fields instead of 18"),
    (15, "tpep_pickup_datetime is not a timestamp"),
    (16, "a NUL byte"),
    (18, "a carriage return inside the line"),
    (19, "store_and_fwd_flag is not valid UTF-8"),
    (22, "a quote is not closed"),
    (25, "19 fields instead of 18"),
    (27, "tpep_pickup_datetime is missing"),
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 60, 333, 1_000, 1 << 20])
def test_block_size_does_not_change_the_rejects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, end: bytes
) -> None:
    """With any block size, each invalid line is rejected with its number, reason and text. All others are rows."""
    _in_blocks(monkeypatch, block_bytes)
    month = Cleaned(tmp_path, _text(*MIXED_LINES, end=end))
    assert month.rejects == [
        {"line": line, "reason": reason, "text": MIXED_LINES[line - 2].decode(errors="backslashreplace")}
        for line, reason in MIXED_REJECTS
    ]
    assert [row["VendorID"] for row in month.rows] == [0, 1, 2, 3, 2, 2, 2, 4, 5, 6, 2]
    assert [row["store_and_fwd_flag"] for row in month.rows] == [*"NNNN", 'a"b', 'a"b', "N,Y", *"NNN\u00e9"]
    assert month.report.recoded_rows == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("blank", [1, 2, 500])
@pytest.mark.parametrize("block_bytes", [1, 60, 333, 1 << 20])
def test_count_blank_lines_before_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, blank: int, end: bytes
) -> None:
    """The first nonblank line is the header. The line numbers of rejects are those that an editor shows."""
    _in_blocks(monkeypatch, block_bytes)
    month = Cleaned(tmp_path, end * blank + _text(*MIXED_LINES, end=end))
    assert [(reject["line"], reject["reason"]) for reject in month.rejects] == [
        (line + blank, reason) for line, reason in MIXED_REJECTS
    ]
    assert month.report.rows == 11


@pytest.mark.parametrize("block_bytes", [333, 1 << 20])
def test_cleaning_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """Cleaning a month again produces identical files, including the rejected lines."""
    _in_blocks(monkeypatch, block_bytes)
    content = gzip.compress(_text(*MIXED_LINES * 5), mtime=0)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        month = Cleaned(tmp_path / name, content)
        files.append((month.clean.read_bytes(), month.rejected.read_bytes()))
    assert files[0] == files[1]


def test_write_each_block_as_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is written before the next one is parsed, so that memory use depends on the block size only."""
    _in_blocks(monkeypatch, 2_000)
    month = Cleaned(tmp_path, _text(*DOZEN * 10))
    metadata = read_metadata(month.clean)
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    blocks = [block.seen.lines for block in read_blocks(tmp_path / "yellow_tripdata_2021-01.csv", 2_000)]
    assert len(rows) == 6
    assert rows == [blocks[0] - 1, *blocks[1:]]


class TestReport:
    """The counts in the report."""

    def test_count_nulls_by_column(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count the missing values of each column over all blocks."""
        _in_blocks(monkeypatch, 200)
        unmetered = _line(VendorID="", passenger_count="", store_and_fwd_flag='""', congestion_surcharge="")
        month = Cleaned(tmp_path, _text(GOOD["yellow"], unmetered, _line(passenger_count=""), unmetered, b"bad"))
        found = {name: month.report.nulls[name] for name in NAMES["yellow"] if month.report.nulls[name]}
        assert found == {"VendorID": 2, "passenger_count": 3, "store_and_fwd_flag": 2, "congestion_surcharge": 2}
        absent = dict.fromkeys(set(LAYOUTS["yellow"].names) - set(NAMES["yellow"]), 4)
        assert dict(month.report.nulls) == dict.fromkeys(NAMES["yellow"], 0) | found | absent

    @pytest.mark.parametrize("color", GOOD)
    @pytest.mark.parametrize(
        ("pickup", "outside"),
        [
            ("2021-01-01 00:00:00", 0),
            ("2021-01-01 00:00:00.000001", 0),
            ("2021-01-31 23:59:59.999999", 0),
            ("2020-12-31 23:59:59.999999", 1),
            ("2021-02-01 00:00:00", 1),
            ("2008-12-31 12:00:00", 1),
            ("2041-08-17 16:24:00", 1),
            ("0001-01-01 00:00:00", 1),
        ],
    )
    def test_count_and_keep_pickups_outside_the_month(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color: str, pickup: str, outside: int
    ) -> None:
        """The month ends with its last microsecond. Pickups outside it are rows, and are counted by their month."""
        _in_blocks(monkeypatch, 1)
        line = _line(color, **{LAYOUTS[color].pickup: pickup})
        month = Cleaned(tmp_path, _text(GOOD[color], line, line, color=color), color)
        assert (month.report.outside_rows, month.report.rows) == (2 * outside, 3)
        assert month.report.outside == Counter({int(pickup[:7].replace("-", "")): 2} if outside else {})
        assert [str(row[LAYOUTS[color].pickup]) for row in month.rows[1:]] == [pickup, pickup]

    def test_count_recoded_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count the rows in Windows-1252 over all blocks, but neither rows in UTF-8 nor rejected lines."""
        _in_blocks(monkeypatch, 200)
        line, name = GOOD["fhv"], b"B00021"
        recoded = [line.replace(name, written) for written in (b"\xe9", b"B\xa0", b"\x93a\x94")]
        others = [line.replace(name, written) for written in ("\u00e9".encode(), b"\x81", b'"\xe9')]
        month = Cleaned(tmp_path, _text(*recoded, line, *others, *recoded, color="fhv"), "fhv")
        assert (month.report.recoded_rows, month.report.rows, month.report.rejected_rows) == (6, 8, 2)
        found = [row["dispatching_base_num"] for row in month.rows]
        assert found == ["\u00c9", "B", "\u201cA\u201d", "B00021", "\u00c9", "\u00c9", "B", "\u201cA\u201d"]
        month.rejected.unlink()
        assert Cleaned(tmp_path, _text(line, color="fhv"), "fhv").report.recoded_rows == 0

    @pytest.mark.parametrize("color", ["yellow", "green"])
    def test_count_and_keep_zero_passengers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color: str) -> None:
        """Count zeros in any spelling, but not missing values. All are rows."""
        _in_blocks(monkeypatch, 250)
        lines = [_line(color, passenger_count=written) for written in ("0", "", "1", "0.0", "10", "", "0")]
        month = Cleaned(tmp_path, _text(*lines, color=color), color)
        assert month.report.zero_passengers == 3
        assert [row["passenger_count"] for row in month.rows] == [0, None, 1, 0, 10, None, 0]

    def test_count_no_zero_passengers_for_fhv(self, tmp_path: Path) -> None:
        """A color that does not report passengers has no rows with zero passengers."""
        assert Cleaned(tmp_path, _text(GOOD["fhv"], color="fhv"), "fhv").report.zero_passengers == 0

    def test_keep_implausible_values(self, tmp_path: Path) -> None:
        """Negative fares and implausible distances are rows."""
        line = _line(fare_amount="-52.3", trip_distance="205654.12", total_amount="-.5")
        month = Cleaned(tmp_path, _text(line), limit=0.0)
        assert month.rows[0]["fare_amount"] == -52.3
        assert month.rows[0]["trip_distance"] == 205654.12

    def test_share_of_rejected_rows(self) -> None:
        """The share is of the raw rows, and 0 without rows."""
        assert CleanReport(raw_rows=8, rejected=Counter({"a": 1, "b": 1})).rejected_share == 0.25
        assert CleanReport().rejected_share == 0.0


class TestLimit:
    """The maximum share of rejected rows."""

    @pytest.mark.parametrize(("bad", "limit"), [(0, 0.0), (1, 0.01), (7, 0.07), (29, 0.29), (57, 0.57), (100, 1.0)])
    def test_accept_rejects_up_to_the_limit(self, tmp_path: Path, bad: int, limit: float) -> None:
        """A month passes if the share of rejected rows equals the limit."""
        content = _text(*[b"bad"] * bad, *[GOOD["yellow"]] * (100 - bad))
        assert Cleaned(tmp_path, content, limit=limit).report.rejected_rows == bad

    @pytest.mark.parametrize(("bad", "limit"), [(1, 0.0), (2, 0.01), (8, 0.07), (30, 0.29), (100, 0.99)])
    @pytest.mark.parametrize("block_bytes", [1_000, 1 << 20])
    def test_fail_above_the_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, limit: float, block_bytes: int
    ) -> None:
        """One more rejected row fails the month, even if it is the last row."""
        _in_blocks(monkeypatch, block_bytes)
        content = _text(*[GOOD["yellow"]] * (100 - bad), *[b"bad"] * bad)
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, content, limit=limit)
        assert error.value.facts == {
            "color": "yellow",
            "month": "2021-01",
            "raw_rows": 100,
            "rejected_rows": bad,
            "rejected_share": bad / 100,
            "reject_limit": limit,
        }

    def test_stop_as_soon_as_the_limit_is_exceeded(self, tmp_path: Path) -> None:
        """Stop within a block, because more rows cannot reduce the number of rejects."""
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, _text(*[_line(fare_amount="x"), *DOZEN[:2]] * 10_000), limit=0.01)
        assert error.value.facts["raw_rows"] == 30_000
        assert 300 < int(error.value.facts["rejected_rows"]) < 1_000

    @pytest.mark.parametrize("block_bytes", [1, 1 << 20])
    def test_error_has_counts_by_reason_and_the_first_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
    ) -> None:
        """The error has the month, the counts, the reasons and the first rejected line."""
        _in_blocks(monkeypatch, block_bytes)
        bad = [_line(fare_amount="x"), b"a,b", b"c,d", b"e,f"]
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, _text(GOOD["yellow"], b"", *bad, GOOD["yellow"]), limit=0.5)
        first, *reasons, sample, line = str(error.value).splitlines()
        assert first.startswith("yellow 2021-01 ")
        assert "4 of 6" in first
        assert "0.5" in first
        assert "67%" in sample
        assert reasons == ["  3 x 2 fields instead of 18", "  1 x fare_amount is not a decimal number"]
        assert line.endswith(f"line 4: fare_amount is not a decimal number: {bad[0].decode()!r}")

    def test_error_is_short(self, tmp_path: Path) -> None:
        """The error shows the start of a long line and the five most common reasons."""
        lines = [b"x" * 100_000, *(b"x" + b"," * commas for commas in range(1, 15))]
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, _text(*lines), limit=0.0)
        assert len(str(error.value)) < 1_000
        assert str(error.value).count(" x ") == 5
        assert "line 2:" in str(error.value).splitlines()[-1]


def _at_times(color: str, *pickups: str) -> list[bytes]:
    """Return rows with these pickup times, or with the first day of these months."""
    times = (pickup if " " in pickup else f"{pickup}-01 00:00:00" for pickup in pickups)
    return [_line(color, **{LAYOUTS[color].pickup: time}) for time in times]


class TestWrongMonth:
    """A file of another month. The month is 2021-01."""

    @pytest.mark.parametrize("color", GOOD)
    @pytest.mark.parametrize("seen", ["2021-02", "2020-12", "2020-01", "2021-12", "2009-01", "0999-01", "9999-12"])
    @pytest.mark.parametrize("block_bytes", [100, 1 << 20])
    def test_refuse_a_file_of_another_month(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color: str, seen: str, block_bytes: int
    ) -> None:
        """The error names the month of the file and the month that it seems to contain."""
        _in_blocks(monkeypatch, block_bytes)
        with pytest.raises(WrongMonth) as error:
            Cleaned(tmp_path, _text(*_at_times(color, *[seen] * 5), color=color), color, outside=0.5)
        assert error.value.facts == {
            "color": color,
            "month": "2021-01",
            "seen": seen,
            "outside_rows": 5,
            "outside_share": 1.0,
            "outside_limit": 0.5,
        }
        for fact in (f"{color} 2021-01", seen, "5 of 5", "0.5"):
            assert fact in str(error.value)
        assert "TAXI_OUTSIDE_MONTH_LIMIT" in error.value.explain()

    @pytest.mark.parametrize(
        ("pickups", "seen"),
        [
            (["2020-03", "2020-04", "2020-04", "2021-01"], "2020-04"),
            (["2020-04", "2020-03", "2021-01", "2020-04", "2020-04", "2020-03"], "2020-04"),
            (["2021-01", "2021-01", "2021-02 ", "2021-02", "2020-01"], "2021-02"),
            (["2020-04-01 00:00:00", "2020-04-30 23:59:59.999999", "2020-05-01 00:00:00", "2021-01"], "2020-04"),
        ],
    )
    @pytest.mark.parametrize("block_bytes", [100, 1 << 20])
    def test_name_the_most_common_other_month(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickups: list[str], seen: str, block_bytes: int
    ) -> None:
        """If the pickups are in several other months, the error names the most common one."""
        _in_blocks(monkeypatch, block_bytes)
        with pytest.raises(WrongMonth) as error:
            Cleaned(tmp_path, _text(*_at_times("yellow", *map(str.strip, pickups))), outside=0.5)
        assert error.value.facts["seen"] == seen
        assert seen in str(error.value)

    @pytest.mark.parametrize(("outside", "limit"), [(0, 0.0), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0)])
    def test_accept_pickups_outside_the_month_up_to_the_limit(self, tmp_path: Path, outside: int, limit: float) -> None:
        """A month passes if the share of pickups outside it equals the limit. They are kept and counted."""
        lines = _at_times("yellow", *["2020-12"] * outside, *["2021-01"] * (10 - outside))
        month = Cleaned(tmp_path, _text(*lines), outside=limit)
        assert (month.report.outside_rows, month.report.rows) == (outside, 10)

    @pytest.mark.parametrize(("outside", "limit"), [(1, 0.0), (2, 0.1), (6, 0.5), (10, 0.9)])
    def test_refuse_pickups_outside_the_month_above_the_limit(self, tmp_path: Path, outside: int, limit: float) -> None:
        """One more pickup outside the month fails it."""
        lines = _at_times("yellow", *["2021-01"] * (10 - outside), *["2020-12"] * outside)
        with pytest.raises(WrongMonth) as error:
            Cleaned(tmp_path, _text(*lines), outside=limit)
        assert (error.value.facts["outside_share"], error.value.facts["outside_limit"]) == (outside / 10, limit)

    def test_the_default_limit_is_half_of_the_rows(self) -> None:
        """By default, at most half of the pickups can be outside the month."""
        assert CleanLimits().outside == 0.5

    def test_the_share_is_of_the_clean_rows(self, tmp_path: Path) -> None:
        """Rejected lines and empty rows have no pickup time, so they do not count."""
        lines = [*_at_times("yellow", "2020-12", "2020-12", "2021-01"), *[b"bad"] * 10, *[EMPTY] * 10]
        with pytest.raises(WrongMonth) as error:
            Cleaned(tmp_path, _text(*lines), outside=0.5)
        assert error.value.facts["outside_share"] == 2 / 3

    def test_a_file_without_rows_is_of_no_other_month(self, tmp_path: Path) -> None:
        """A file without valid rows has no pickups outside the month."""
        for lines in ([], [EMPTY], [b"bad"]):
            assert Cleaned(tmp_path, _text(*lines), outside=0.0).report.outside_rows == 0

    def test_rejects_come_first(self, tmp_path: Path) -> None:
        """A file with too many rejects is refused for them, also if its other rows are of another month."""
        with pytest.raises(TooManyRejects):
            Cleaned(tmp_path, _text(*_at_times("yellow", "2020-12"), b"bad"), limit=0.1, outside=0.5)


class TestEmptyRows:
    """Rows with only empty fields, which spreadsheet programs write, and rows without a pickup time."""

    @pytest.mark.parametrize("color", GOOD)
    @pytest.mark.parametrize(("field", "end"), [(b"", b"\n"), (b"", b"\r\n"), (b'""', b"\n"), (b'""', b"\r\n")])
    @pytest.mark.parametrize("block_bytes", [1, 7, 150, 1 << 20])
    def test_empty_rows_are_like_empty_lines(
        self, tmp_path: Path, color: str, field: bytes, end: bytes, block_bytes: int
    ) -> None:
        """Wherever empty rows are, the rows, rejects and counts are those of the same file with empty lines."""
        empty = b",".join([field] * len(NAMES[color]))
        good, quoted = GOOD[color], b'"' + GOOD[color].replace(b",", b'","') + b'"'
        lines = [empty, good, empty, empty, b"bad", quoted, empty, quoted, empty, good, empty]
        found = []
        for written in (lines, [b"" if line == empty else line for line in lines]):
            with pytest.MonkeyPatch.context() as patch:
                _in_blocks(patch, block_bytes)
                month = Cleaned(tmp_path, _text(*written, color=color, end=end).removesuffix(end), color)
            found.append((month.report.raw_rows, month.rows, month.rejects, month.report.nulls))
        assert found[0] == found[1]
        assert found[0][0] == 5
        assert [reject["line"] for reject in found[0][2]] == [6]

    @pytest.mark.parametrize("color", GOOD)
    def test_a_file_with_only_empty_rows_has_no_rows(self, tmp_path: Path, color: str) -> None:
        """A file with a header and empty rows is cleaned to no rows, and inspection finds none."""
        empty = b"," * (len(NAMES[color]) - 1)
        month = Cleaned(tmp_path, _text(empty, empty, color=color), color, limit=0.0)
        assert (month.report.raw_rows, month.rows, month.rejected.exists()) == (0, [], False)
        with pytest.raises(EmptyFile):
            inspect_raw(TripMonth(color, "2021-01"), tmp_path / f"{color}_tripdata_2021-01.csv", "raw.csv")

    @pytest.mark.parametrize("color", GOOD)
    @pytest.mark.parametrize("written", ["", '""', "NULL", "N/A", "\\N"])
    def test_reject_a_row_without_a_pickup_time(self, tmp_path: Path, color: str, written: str) -> None:
        """A row without a pickup time is a reject that names the column, also if all its other fields are empty."""
        pickup = LAYOUTS[color].pickup
        alone = dict.fromkeys(NAMES[color], "") | {LAYOUTS[color].zones[0]: "1", pickup: written}
        lines = [GOOD[color], _line(color, **{pickup: written}), GOOD[color], ",".join(alone.values()).encode()]
        month = Cleaned(tmp_path, _text(*lines, color=color), color)
        assert [(reject["line"], reject["reason"]) for reject in month.rejects] == [
            (3, f"{pickup} is missing"),
            (5, f"{pickup} is missing"),
        ]
        assert month.report.nulls[pickup] == 0


def _spreadsheet(date: str) -> bytes:
    """Return a green row with these dates."""
    return _line("green", lpep_pickup_datetime=date, lpep_dropoff_datetime=date)


class TestSpreadsheetDates:
    """Files whose dates a spreadsheet program changed."""

    @pytest.mark.parametrize("date", ["4/1/2020 0:12", "01.04.2020 00:12", "12:33.0", "43922.00833"])
    @pytest.mark.parametrize("quote", [b"", b'"'])
    def test_explain_the_expected_form(self, tmp_path: Path, date: str, quote: bytes) -> None:
        """If no row is valid, the error shows the date, the expected form and the cause, not how to raise the limit."""
        line = quote + _spreadsheet(date).replace(b",", quote + b"," + quote) + quote
        with pytest.raises(WrongTimestamps) as error:
            Cleaned(tmp_path, _text(*[line] * 20, color="green"), "green", limit=0.01)
        *_, last = str(error.value).splitlines()
        for expected in (f'"{date}"', '"2020-04-01 00:12:00"', "YYYY-MM-DD HH:MM:SS", "spreadsheet"):
            assert expected in last
        assert "TAXI_REJECT_LIMIT" not in error.value.explain()
        assert error.value.explain().endswith("[wrong-timestamps]")

    @pytest.mark.parametrize("date", ["noon", "2020-04-01T24:00:00Z", "1585699953", "20200401 001233"])
    def test_explain_other_forms(self, tmp_path: Path, date: str) -> None:
        """For any other invalid timestamp, the error shows the expected form and no spreadsheet program."""
        with pytest.raises(WrongTimestamps) as error:
            Cleaned(tmp_path, _text(_spreadsheet(date), color="green"), "green", limit=0.01)
        assert '"2020-04-01 00:12:00"' in str(error.value)
        assert "spreadsheet program, such as Excel" not in str(error.value)

    def test_a_reject_for_another_reason_is_not_explained(self, tmp_path: Path) -> None:
        """The form of timestamps is not shown if they are valid."""
        with pytest.raises(NoValidRows) as error:
            Cleaned(tmp_path, _text(_line("green", VendorID="4/1/2020"), color="green"), "green", limit=0.01)
        assert "2020-04-01" not in str(error.value)

    def test_another_delimiter_of_the_rows_is_explained(self, tmp_path: Path) -> None:
        """If only the header has commas, the error shows the delimiter of the rows."""
        with pytest.raises(NoValidRows) as error:
            Cleaned(tmp_path, _text(*[GOOD["yellow"].replace(b",", b";")] * 9), limit=0.01)
        assert "';'. Expected commas" in str(error.value)

    def test_a_decimal_comma_is_explained(self, tmp_path: Path) -> None:
        """The error of numbers with a decimal comma shows the expected form."""
        with pytest.raises(NoValidRows) as error:
            Cleaned(tmp_path, _text(_line(fare_amount='"10,5"')), limit=0.01)
        assert '"10,5" has a comma' in str(error.value)

    @pytest.mark.parametrize("valid", ["first", "last", "between"])
    def test_some_valid_rows(self, tmp_path: Path, valid: str) -> None:
        """If many rows have dates in another form, a higher limit is no remedy, wherever the valid rows are."""
        bad, good = [_spreadsheet("4/1/2020 0:12")] * 3, [GOOD["green"]] * 2
        lines = {"first": [*good, *bad], "last": [*bad, *good], "between": [*bad, *good, *bad]}[valid]
        with pytest.raises(WrongTimestamps) as error:
            Cleaned(tmp_path, _text(*lines, color="green"), "green", limit=0.01)
        assert '"4/1/2020 0:12"' in str(error.value)
        assert "TAXI_REJECT_LIMIT" not in error.value.explain()

    def test_a_few_dates_in_another_form(self, tmp_path: Path) -> None:
        """If few rows have dates in another form, the error shows the expected form, and how to raise the limit."""
        lines = [*[GOOD["green"]] * 40, _spreadsheet("4/1/2020 0:12")]
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, _text(*lines, color="green"), "green", limit=0.01)
        assert error.type is TooManyRejects
        assert '"4/1/2020 0:12"' in str(error.value)
        assert "TAXI_REJECT_LIMIT" in error.value.explain()


class TestValidRows:
    """Whether a file with too many rejects has valid rows."""

    @pytest.mark.parametrize("line", [b"bad", b"1,2", _line(fare_amount="x"), _line(tpep_pickup_datetime="")])
    @pytest.mark.parametrize("lines", [1, 400, 5_000])
    @pytest.mark.parametrize("block_bytes", [50_000, 1 << 20])
    def test_no_valid_row(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, lines: int, block_bytes: int
    ) -> None:
        """Without a valid row, a higher limit does not help, so the remedy is another one. The facts are the same."""
        _in_blocks(monkeypatch, block_bytes)
        with pytest.raises(NoValidRows) as error:
            Cleaned(tmp_path, _text(*[line] * lines), limit=0.01)
        assert error.value.facts["raw_rows"] == lines
        assert error.value.facts["reject_limit"] == 0.01
        assert error.value.slug == "no-valid-rows"

    @pytest.mark.parametrize("block_bytes", [50_000, 1 << 20])
    @pytest.mark.parametrize(("before", "after"), [(5_000, 0), (5_000, 500), (500, 5_000), (1_000, 1_000)])
    def test_valid_rows_far_behind_the_rejects(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, block_bytes: int
    ) -> None:
        """Cleaning stops at the limit, and finds valid rows that it has not reached yet."""
        _in_blocks(monkeypatch, block_bytes)
        lines = [*[b"bad"] * before, *[GOOD["yellow"]] * 2_000, *[b"bad"] * after]
        with pytest.raises(TooManyRejects) as error:
            Cleaned(tmp_path, _text(*lines), limit=0.01)
        assert error.type is ManyInvalidRows
        assert int(error.value.facts["rejected_rows"]) < before
        assert "TAXI_REJECT_LIMIT" not in error.value.explain()

    @pytest.mark.parametrize("block_bytes", [50_000, 1 << 20])
    @pytest.mark.parametrize(("bad", "kind"), [(110, TooManyRejects), (2_000, ManyInvalidRows)])
    def test_a_higher_limit_is_offered_for_few_rejects(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, kind: type[TooManyRejects], block_bytes: int
    ) -> None:
        """A share of 2 % is few, and 29 % is not, wherever the invalid rows are."""
        _in_blocks(monkeypatch, block_bytes)
        parts = [[b"bad"] * bad, [GOOD["yellow"]] * 5_000]
        for lines in (parts, parts[::-1]):
            with pytest.raises(TooManyRejects) as error:
                Cleaned(tmp_path, _text(*chain(*lines)), limit=0.01)
            assert error.type is kind
            assert ("TAXI_REJECT_LIMIT" in error.value.explain()) == (kind is TooManyRejects)


class TestInvalidFiles:
    """Files that are not a month of trips."""

    @pytest.mark.parametrize(
        ("content", "kind", "facts"),
        [
            (b"", EmptyFile, {}),
            (b"\n\n", EmptyFile, {}),
            (b"\r\n\n" * 99, EmptyFile, {}),
            (b" \n" + _text(GOOD["yellow"]), BadHeader, {"color": "yellow", "seen": ""}),
            (gzip.compress(b"", mtime=0), EmptyFile, {}),
            (gzip.compress(_text(*DOZEN), mtime=0)[:-9], CorruptFile, {}),
            (gzip.compress(_text(*DOZEN), mtime=0) + b"garbage after it", CorruptFile, {}),
            (_text(GOOD["green"], color="green"), BadHeader, {"color": "yellow", "era": "green trips since 2019"}),
            (b"," + HEADERS["yellow"] + b"\n0," + GOOD["yellow"], UnnamedColumn, {"color": "yellow", "column": 1}),
            (HEADERS["yellow"] + b",\n" + GOOD["yellow"] + b",", UnnamedColumn, {"color": "yellow", "column": 19}),
            (EMPTY + b"\n" + EMPTY_QUOTED, EmptyFile, {}),
            (b"<!DOCTYPE html>\n<html>\n", NotACsv, {"format": "an HTML page", "seen": "<!DOCTYPE html>"}),
            (_text(*DOZEN).replace(b"\n", b"\r"), WrongLineEndings, {}),
            (_text(*DOZEN).decode().encode("utf-16"), WrongEncoding, {"encoding": "UTF-16"}),
            (_text(*DOZEN).replace(b",", b";"), WrongDelimiter, {"color": "yellow", "delimiter": "';'"}),
            (b"sep=,\n" + _text(*DOZEN), SeparatorLine, {"color": "yellow", "delimiter": ","}),
            (b"\n".join(DOZEN), MissingHeader, {"color": "yellow", "expected": HEADERS["yellow"].decode()}),
            (b"PK\x03\x04\0\0" * 1_000, WrongPacking, {"format": "a zip file"}),
            (b"x" * (LONGEST_LINE + 1), BadFile, {"longest_line": LONGEST_LINE}),
        ],
    )
    def test_reject_an_invalid_file(
        self, tmp_path: Path, content: bytes, kind: type[TaxiAssetsError], facts: dict[str, str | int]
    ) -> None:
        """Each kind of invalid file has its own error."""
        with pytest.raises(kind) as error:
            Cleaned(tmp_path, content)
        assert error.type is kind
        assert facts.items() <= error.value.facts.items()
        if not issubclass(kind, BadHeader):
            assert "yellow_tripdata_2021-01.csv" in str(error.value)

    @pytest.mark.parametrize("block_bytes", [1_000, 1 << 18, 1 << 23])
    @pytest.mark.parametrize("length", [LONGEST_LINE, 2 * LONGEST_LINE + 5])
    def test_reject_a_long_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, length: int
    ) -> None:
        """A line of 1 MiB or more is an error with any block size."""
        _in_blocks(monkeypatch, block_bytes)
        with pytest.raises(BadFile) as error:
            Cleaned(tmp_path, _text(*DOZEN, b"x" * length, *DOZEN))
        assert error.value.facts["longest_line"] == LONGEST_LINE

    def test_detect_corrupt_gzip_data(self, tmp_path: Path) -> None:
        """A flipped bit anywhere in a gzip file is an error, unless the data is unchanged."""
        text = _text(*DOZEN)
        intact = gzip.compress(text, mtime=0)
        rows = Cleaned(tmp_path, intact).rows
        for offset in range(0, len(intact), 5):
            damaged = intact[:offset] + bytes([intact[offset] ^ 4]) + intact[offset + 1 :]
            try:
                assert Cleaned(tmp_path, damaged, limit=0.0).rows == rows
            except TaxiAssetsError:
                continue
            assert gzip.decompress(damaged) == text

    def test_detect_lost_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A raw row that is neither clean nor rejected fails the month."""
        _in_blocks(monkeypatch, 200)
        monkeypatch.setattr(clean, "read_ahead", lambda blocks: iter(list(blocks)[:-1]))
        with pytest.raises(CountMismatch) as error:
            Cleaned(tmp_path, _text(*DOZEN))
        facts = error.value.facts
        assert (facts["month"], facts["raw_rows"], facts["rejected_rows"]) == ("2021-01", 12, 0)
        assert int(facts["clean_rows"]) < 12

    def test_end_all_threads_after_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A month that fails leaves no thread running."""
        _in_blocks(monkeypatch, 200)
        before = threading.active_count()
        for content in (
            _text(*DOZEN, b"bad", *DOZEN),
            gzip.compress(_text(*DOZEN * 50), mtime=0)[:-20],
            b"no header\n",
        ):
            with pytest.raises(TaxiAssetsError):
                Cleaned(tmp_path, content, limit=0.0)
        assert threading.active_count() == before


def test_clean_a_month_without_rows(tmp_path: Path) -> None:
    """A file with only a header becomes a clean file without rows."""
    for content in (_text(), _text().removesuffix(b"\r\n"), _text(b"", b"")):
        month = Cleaned(tmp_path, content, limit=0.0)
        assert (month.report.raw_rows, month.rows, month.rejected.exists()) == (0, [], False)
        assert not month.report.outside_rows
        assert not month.report.zero_passengers


def test_skip_blocks_without_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks with only blank lines or rejects have no rows. The rows of the other blocks are read."""
    _in_blocks(monkeypatch, 1)
    month = Cleaned(tmp_path, _text(b"bad", b"", *DOZEN, b"", b"bad", b"bad"))
    assert [row["VendorID"] for row in month.rows] == list(range(12))
    assert [reject["line"] for reject in month.rejects] == [2, 17, 18]


def test_the_start_of_a_long_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file that starts with invalid rows only is rejected before its rows are counted, unless all may be."""
    text = _text(*[_line(VendorID="x")] * 10_012)
    with monkeypatch.context() as patch:
        patch.setattr(clean, "count_rows", lambda _: pytest.fail("counted"))
        with pytest.raises(NoValidRows, match=r"of the first 10,012, no row that was tried is valid"):
            Cleaned(tmp_path, text, limit=0.01)
    assert len(Cleaned(tmp_path, _text(*[b"bad"] * 10_000, *DOZEN), limit=1.0).rows) == len(DOZEN)
    with pytest.raises(ManyInvalidRows):
        Cleaned(tmp_path, _text(*[b"bad"] * 5_000, *[GOOD["yellow"]] * 5_000), limit=0.01)


def test_schema_of_the_rejected_file(tmp_path: Path) -> None:
    """Rejected lines have `line`, `reason` and `text`."""
    month = Cleaned(tmp_path, _text(b"bad"))
    assert [(field.name, str(field.type)) for field in read_schema(month.rejected)] == [
        ("line", "int64"),
        ("reason", "string"),
        ("text", "string"),
    ]


def _mirrored(color: str) -> list[Column]:
    """Return the columns of the mirror's CSVs."""
    columns = {column.name: column for column in LAYOUTS[color].columns}
    return [columns[name] for name in NAMES[color]]


def _varied_csv(color: str, rows: int) -> bytes:
    """Return rows in the style of the TLC: `.5`, `1.0`, fractions of seconds, missing values, quotes."""
    out = io.StringIO()
    writer = csv.writer(out)
    columns = _mirrored(color)
    writer.writerow(column.name for column in columns)
    start = datetime.fromisoformat("2020-12-31 22:00:00")
    for number in range(rows):
        values_by_kind = {
            Kind.integer: f"{number % 300}{'.0' * (number % 3 == 0)}",
            Kind.decimal: f"{(number % 999 - 100) / 100:.2f}".replace("0.", "."),
            Kind.text: ["N", "Y", "B1, B2", 'a "base"', "  "][number % 5],
            Kind.timestamp: f"{start + timedelta(seconds=number * 1_500)}{'.000000' * (number % 2)}",
        }
        values = [values_by_kind[column.kind] for column in columns]
        pickup = NAMES[color].index(LAYOUTS[color].pickup)
        writer.writerow("" if (number + at) % 11 == 0 and at != pickup else value for at, value in enumerate(values))
    return out.getvalue().encode()


SQL_TYPES = {Kind.integer: "DOUBLE", Kind.decimal: "DOUBLE", Kind.text: "VARCHAR", Kind.timestamp: "TIMESTAMP"}


@pytest.mark.parametrize("color", GOOD)
def test_agree_with_the_csv_reader_of_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color: str) -> None:
    """Counts, sums, extremes and distinct values of every column are those that DuckDB finds in the raw file."""
    _in_blocks(monkeypatch, 50_000)
    month = Cleaned(tmp_path, gzip.compress(_varied_csv(color, 3_000), mtime=0), color, limit=0.0)
    raw = f"read_csv('{tmp_path / f'{color}_tripdata_2021-01.csv.gz'}', all_varchar = true, header = true)"
    with duckdb.connect() as database:
        for column in _mirrored(color):
            value = f'TRY_CAST("{column.name}" AS {SQL_TYPES[column.kind]})'
            value = f"nullif(upper(trim({value})), '')" if column.is_license else value
            value = (
                f"CASE WHEN trim({value}) <> '' THEN {value} END"
                if column.codes and column.kind is Kind.text
                else value
            )
            facts = [f"count(*), count({value}), min({value}), max({value}), count(DISTINCT {value})"]
            facts += [f"round(sum({value}), 6)"] * (column.kind in (Kind.integer, Kind.decimal))
            facts += [f"sum(epoch_us({value}))"] * (column.kind is Kind.timestamp)
            queries = [f"SELECT {', '.join(facts)} FROM {source}" for source in (raw, f"'{month.clean}'")]
            theirs, ours = (database.execute(sql).fetchall() for sql in queries)
            assert ours == theirs
            assert ours[0][0] == 3_000
            assert 0 < ours[0][1] < 3_000 + (column.name == LAYOUTS[color].pickup)


@pytest.mark.parametrize("color", GOOD)
def test_agree_with_the_csv_reader_of_python(tmp_path: Path, color: str) -> None:
    """All values are those that Python's csv module finds, and the counts match them."""
    content = _varied_csv(color, 500)
    layout = LAYOUTS[color]
    parsers: dict[Kind, Callable[[str], Any]] = {
        Kind.integer: lambda text: int(float(text)),
        Kind.decimal: float,
        Kind.text: str,
        Kind.timestamp: datetime.fromisoformat,
    }
    columns = _mirrored(color)
    theirs: list[Row] = [
        dict.fromkeys(layout.names)
        | {
            column.name: parsers[column.kind](row[column.name]) if row[column.name].strip() else None
            for column in columns
        }
        | {column.name: row[column.name].strip().upper() or None for column in columns if column.is_license}
        | {"file_month": date(2021, 1, 1)}
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]
    month = Cleaned(tmp_path, content, color, limit=0.0)
    assert month.rows == theirs
    assert month.report.nulls == Counter({name: [row[name] for row in theirs].count(None) for name in layout.names})
    pickups = [row[layout.pickup] for row in theirs if row[layout.pickup]]
    assert month.report.outside_rows == sum((pickup.year, pickup.month) != (2021, 1) for pickup in pickups) > 0
    if layout.passengers:
        assert month.report.zero_passengers == sum(row[layout.passengers] == 0 for row in theirs) > 0


FIELDS = st.one_of(
    st.sampled_from(["", '"', '""', '"a', 'a"', '"a,b"', "1", "1.0", "1.5", "nan", "1e400", "x", "\r", "\0", "\ufeff"]),
    st.sampled_from(["", '""', "NULL", "\\N", "\u00e9"]),
    st.sampled_from(
        ["2021-01-31 23:59:59", "2021-02-30 00:00:00", "0000-01-01 00:00:00", "9999-12-31 23:59:59.999999"]
    ),
    st.text(max_size=4),
)
ROWS = st.lists(FIELDS, min_size=6, max_size=8).map(",".join).map(str.encode) | st.just(GOOD["fhv"])
TEXTS = st.one_of(
    st.binary(max_size=200),
    st.text('",\r\n1a\0\ufeff', max_size=60).map(str.encode),
    st.tuples(st.lists(ROWS, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])).map(
        lambda drawn: drawn[1].join(drawn[0])
    ),
)


@pytest.fixture(scope="session")
def any_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples of a property. Each example overwrites its files."""
    return tmp_path_factory.mktemp("any")


@settings(deadline=None, max_examples=50)
@given(text=TEXTS, end=st.sampled_from([b"\n", b"\r\n"]), block_bytes=st.integers(1, 300))
def test_any_line_after_the_header_is_a_row_or_a_reject(
    any_folder: Path, text: bytes, end: bytes, block_bytes: int
) -> None:
    """With any content and block size, the raw rows are the clean and rejected rows together."""
    found = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        for size in (block_bytes, 1 << 20):
            _in_blocks(monkeypatch, size)
            month = Cleaned(any_folder, HEADERS["fhv"] + end + text, "fhv")
            found.append((month.report, month.rows, month.rejects))
            month.rejected.unlink(missing_ok=True)
    assert found[0] == found[1]


STARTS = st.sampled_from(
    [b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"<html>", b"PAR1", b'"', b"\0", b" ", b"x" * 70_000]
)
LONG = st.sampled_from([1 << 16, LONGEST_LINE - 40, LONGEST_LINE]).map(lambda length: b"," + b"x" * length)
FILES = st.one_of(
    st.binary(max_size=100),
    st.tuples(
        STARTS, st.sampled_from([*HEADERS.values(), b"a,b"]), st.sampled_from([b"\n", b"\r\n", b"\r"]), TEXTS
    ).map(b"".join),
    st.tuples(ROWS, LONG, ROWS).map(lambda lines: HEADERS["fhv"] + b"\n" + b"\n".join(lines)),
)


@settings(deadline=None, max_examples=120)
@given(content=FILES, damage=st.sampled_from(["plain", "gzip", "cut", "flipped", "more", "not packed"]), at=st.data())
def test_clean_or_reject_any_file(any_folder: Path, content: bytes, damage: str, at: st.DataObject) -> None:
    """Any file, plain or gzip, damaged or not, is cleaned without losing a row, or is an error."""
    packed = gzip.compress(content, 1, mtime=0)
    offset = at.draw(st.integers(0, len(packed) - 1), label="offset")
    written = {
        "gzip": packed,
        "cut": packed[:offset],
        "flipped": packed[:offset] + bytes([packed[offset] ^ 1 << offset % 8]) + packed[offset + 1 :],
        "more": packed + content[:50],
    }.get(damage, content)
    raw = any_folder / f"fhv_tripdata_2021-01.csv{'' if damage == 'plain' else '.gz'}"
    raw.write_bytes(written)
    clean_file, rejected = any_folder / "clean.parquet", any_folder / "rejected.parquet"
    rejected.unlink(missing_ok=True)
    with contextlib.suppress(BadFile, BadHeader):
        limits = CleanLimits(rejected=1.0, outside=1.0)
        report = clean_month(TripMonth("fhv", "2021-01"), raw, clean_file, rejected, limits)
        assert report.raw_rows == len(_read(clean_file)) + (len(_read(rejected)) if rejected.exists() else 0)
        assert report.raw_rows == _count(written if damage == "plain" else gzip.decompress(written)) - 1


@pytest.mark.parametrize("color", GOOD)
def test_inspection_and_cleaning_reject_the_same_files(tmp_path: Path, color: str) -> None:
    """Inspection rejects what cleaning would reject, and also a file without rows."""
    month, raw = TripMonth(color, "2021-01"), tmp_path / "raw.csv"
    for content in (
        b"",
        b"\n",
        b",,\n",
        b"<html>",
        b"a,b\n1,2\n",
        *(HEADERS[color] + end for end in (b",x\n", b",\n")),
    ):
        raw.write_bytes(content)
        with pytest.raises(BadInput) as inspected:
            inspect_raw(month, raw, "raw.csv")
        with pytest.raises(inspected.type):
            clean_month(month, raw, tmp_path / "clean", tmp_path / "rejected", CleanLimits())
    raw.write_bytes(b"\n\n" + _text(b",,,", color=color))
    with pytest.raises(EmptyFile) as error:
        inspect_raw(month, raw, "raw.csv")
    assert error.value.facts == {**month.facts, "address": "raw.csv"}
    raw.write_bytes(b"\r\n\n" + _text(GOOD[color], b"bad", color=color))
    assert inspect_raw(month, raw, "raw.csv") == 2
