"""Raw Parquet files: values that do not fit their column are rejected, and files that are not of a month are errors."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxi_assets.errors import (
    BadColumnType,
    BadFile,
    BadHeader,
    BadInput,
    CorruptFile,
    CountMismatch,
    EmptyFile,
    ManyInvalidRows,
    NotParquet,
    NoValidRows,
    TaxiAssetsError,
    TooManyRejects,
    UnnamedColumn,
    WrongMonth,
)
from taxi_assets.tlc import published
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.tlc.era_files import PARQUETS, write_parquet

MONTH = TripMonth("yellow", "2025-01")
MONTH_2010 = TripMonth("yellow", "2010-05")
FHVHV = TripMonth("fhvhv", "2023-02")
PICKUP, DROPOFF = "tpep_pickup_datetime", "tpep_dropoff_datetime"
NOON = datetime.fromisoformat("2025-01-05 12:00:00")
US, NS = pa.timestamp("us"), pa.timestamp("ns")
ERAS = {era.trip_month: era for era in PARQUETS}

Row = dict[str, Any]


def _table(folder: Path, month: TripMonth = MONTH, rows: int = 3, **columns: pa.Array) -> pa.Table:
    """Return valid rows of a month in its types, with some columns replaced."""
    write_parquet(ERAS[month], folder / "valid.parquet")
    table = pq.read_table(folder / "valid.parquet").slice(0, rows)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    return table


class Cleaned:
    """A cleaned month: the report, and the contents of the files."""

    def __init__(
        self, folder: Path, table: pa.Table, month: TripMonth = MONTH, limit: float = 1.0, **options: Any
    ) -> None:
        self.clean, self.rejected = folder / "clean.parquet", folder / "rejected.parquet"
        self.rejected.unlink(missing_ok=True)
        raw = folder / f"{month.stem}.parquet"
        pq.write_table(table, raw, **options)
        self.report = _clean(month, raw, CleanLimits(rejected=limit, outside=1.0))
        assert self.report.raw_rows == table.num_rows == self.report.rows + self.report.rejected_rows
        assert pq.read_schema(self.clean).equals(LAYOUTS[month.color].arrow_schema())

    @property
    def rows(self) -> list[Row]:
        """The clean rows."""
        return list(pq.read_table(self.clean).to_pylist())

    @property
    def rejects(self) -> list[Row]:
        """The rejected rows, or an empty list if the file does not exist."""
        return list(pq.read_table(self.rejected).to_pylist()) if self.rejected.exists() else []


def _clean(month: TripMonth, raw: Path, limits: CleanLimits) -> CleanReport:
    return clean_month(month, raw, raw.with_name("clean.parquet"), raw.with_name("rejected.parquet"), limits)


class TestValues:
    """How values of each type are converted, and which of them are rejected."""

    @pytest.mark.parametrize(
        ("name", "values", "found"),
        [
            ("passenger_count", pa.array([1.0, 1.5, 2.0]), [1, "not an integer", 2]),
            ("passenger_count", pa.array([1.0, float(2**53 + 1), -float(2**53)]), [1, *["not an integer"] * 2]),
            ("passenger_count", pa.array([float(2**53 - 1), float("inf"), 0.0]), [2**53 - 1, "not an integer", 0]),
            ("passenger_count", pa.array([2**53 + 1, -(2**63), None]), [2**53 + 1, -(2**63), None]),
            ("passenger_count", pa.array([7, 2**63, None], pa.uint64()), [7, "not an integer", None]),
            ("passenger_count", pa.array([7, 0, None], pa.uint8()), [7, 0, None]),
            ("passenger_count", pa.array([1.5, 2.0, None], pa.float32()), ["not an integer", 2, None]),
            ("passenger_count", pa.array([Decimal("1.50"), Decimal("2.00"), None]), ["not an integer", 2, None]),
            ("passenger_count", pa.array([1.0, float("nan"), None]), [1, None, None]),
            ("passenger_count", pa.array(["two", "2.0", " 3 "]), ["not an integer", 2, 3]),
            ("passenger_count", pa.array(["1e400", "0x10", "1,0"]), ["not an integer"] * 3),
            ("passenger_count", pa.array(["9007199254740993", "N/A", ""]), ["not an integer", None, None]),
            ("passenger_count", pa.array(["1", "x", "1"]).dictionary_encode(), [1, "not an integer", 1]),
            ("passenger_count", pa.nulls(3), [None] * 3),
            ("fare_amount", pa.array([float("inf"), float("nan"), -52.3]), ["not a decimal number", None, -52.3]),
            ("fare_amount", pa.array(["$5", ".58", "1e3"]), ["not a decimal number", 0.58, 1000.0]),
            ("fare_amount", pa.array([5, -2, None], pa.int32()), [5.0, -2.0, None]),
            ("fare_amount", pa.array([Decimal("-52.30"), None, Decimal("0.10")]), [-52.3, None, 0.1]),
            ("store_and_fwd_flag", pa.array(["Y", " ", ""]), ["Y", None, None]),
            ("store_and_fwd_flag", pa.array([1.0, None, float("nan")]), ["1", None, None]),
            ("store_and_fwd_flag", pa.array(["Y", None, "x"], pa.large_string()), ["Y", None, "x"]),
            ("store_and_fwd_flag", pa.array(["Y", None, "N"]).dictionary_encode(), ["Y", None, "N"]),
        ],
    )
    def test_values_that_fit_and_values_that_do_not(
        self, tmp_path: Path, name: str, values: pa.Array, found: list[Any]
    ) -> None:
        """A value that the column cannot represent exactly rejects its row, with the column and what was expected."""
        table = _table(tmp_path, **{name: values})
        month = Cleaned(tmp_path, table)
        reasons = {number: reason for number, reason in enumerate(found, 1) if str(reason).startswith("not ")}
        assert [row[name] for row in month.rows] == [v for n, v in enumerate(found, 1) if n not in reasons]
        assert [(reject["line"], reject["reason"]) for reject in month.rejects] == [
            (number, f"{name} is {reason}") for number, reason in reasons.items()
        ]
        assert month.report.rejected == Counter(f"{name} is {reason}" for reason in reasons.values())
        for reject in month.rejects:
            text = json.loads(reject["text"], parse_constant=pytest.fail)
            assert list(text) == table.column_names
            [raw] = values.slice(reject["line"] - 1, 1).to_pylist()
            assert text[name] == raw if isinstance(raw, int | str) else str(text[name]) == str(raw)

    @pytest.mark.parametrize("name", [name for name in LAYOUTS["fhvhv"].names if name.endswith("_flag")])
    @pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
    def test_blank_flags_are_missing(self, tmp_path: Path, name: str, type_: pa.DataType) -> None:
        """Some companies report a space instead of N or of no value, so it is a missing value."""
        flags = pa.array(["Y", "N", " ", "", None], pa.string()).cast(type_)
        month = Cleaned(tmp_path, _table(tmp_path, FHVHV, 5, **{name: flags}), FHVHV, limit=0.0)
        assert [row[name] for row in month.rows] == ["Y", "N", None, None, None]
        assert month.report.nulls[name] == 3

    @pytest.mark.parametrize("name", ["hvfhs_license_num", "dispatching_base_num", "originating_base_num"])
    def test_license_numbers_are_trimmed_and_in_uppercase(self, tmp_path: Path, name: str) -> None:
        """License numbers that differ only in spaces and letter case are the same. Blank ones are missing."""
        written = pa.array(["HV0003", "hv0003", " HV0005  ", "", None])
        month = Cleaned(tmp_path, _table(tmp_path, FHVHV, 5, **{name: written}), FHVHV, limit=0.0)
        assert [row[name] for row in month.rows] == ["HV0003", "HV0003", "HV0005", None, None]

    @pytest.mark.parametrize("name", [PICKUP, DROPOFF])
    @pytest.mark.parametrize(
        ("values", "found"),
        [
            (pa.array([0, 1_000, 1_001, -1], NS), ["1970-01-01 00:00:00", "1970-01-01 00:00:00.000001", "", ""]),
            (pa.array([253402300799999999, 253402300800000000], US), ["9999-12-31 23:59:59.999999", ""]),
            (pa.array([-62135596800000000, -62135596800000001], US), ["0001-01-01 00:00:00", ""]),
            (pa.array([2**63 - 1, -(2**63)], US), ["", ""]),
            (pa.array([0, 253402300800000], pa.timestamp("ms")), ["1970-01-01 00:00:00", ""]),
            (pa.array([0, 2**62], pa.timestamp("ms")), ["1970-01-01 00:00:00", ""]),
            (pa.array(["2025-01-05 12:00:00", "noon"]), ["2025-01-05 12:00:00", ""]),
            (pa.array(["2025-02-30 12:00:00", "2025-01-05 12:00:00.5"]), ["", "2025-01-05 12:00:00.500000"]),
            (pa.array(["2025-01-05", "4/1/2025 0:12"]), ["2025-01-05 00:00:00", ""]),
            (pa.array(["0000-12-31 23:59:59", "9999-12-31 23:59:59"]), ["", "9999-12-31 23:59:59"]),
            (pa.array(["10000-01-01 00:00:00", "3019-01-01 00:00:00"]), ["", "3019-01-01 00:00:00"]),
            (pa.array(["2025-01-05 12:00:00Z", "2025-01-05 24:00:00", "2025-01-05 23:59:60"]), ["", "", ""]),
            (pa.array(["2025-01-05 12:00:00.1234567", "2025-1-5 12:00:00", " 2025-01-05 12:00:00"]), ["", "", ""]),
            (
                pa.array([*["2025-01-05 12:00:00"] * 50, "x", None], pa.large_string()).slice(49),
                ["2025-01-05 12:00:00", ""],
            ),
        ],
    )
    def test_timestamps(self, tmp_path: Path, name: str, values: pa.Array, found: list[str]) -> None:
        """Timestamps from year 1 to 9999 with whole microseconds fit, also as text; all others reject their row."""
        values = values.slice(0, len(found))
        month = Cleaned(tmp_path, _table(tmp_path, rows=len(found), **{name: values}))
        assert [str(row[name]) for row in month.rows] == [time for time in found if time]
        assert [(reject["line"], reject["reason"]) for reject in month.rejects] == [
            (number, f"{name} is not a timestamp") for number, time in enumerate(found, 1) if not time
        ]
        written = values.cast(pa.string()).to_pylist()
        assert [json.loads(reject["text"])[name] for reject in month.rejects] == [
            written[reject["line"] - 1] for reject in month.rejects
        ]

    def test_timestamps_of_old_programs(self, tmp_path: Path) -> None:
        """Timestamps in the old INT96 format have all years, which nanoseconds do not have."""
        far = datetime.fromisoformat("3019-02-03 17:30:00")
        table = _table(tmp_path, **{DROPOFF: pa.array([far, NOON, None], US)})
        month = Cleaned(tmp_path, table, use_deprecated_int96_timestamps=True)
        assert [row[DROPOFF] for row in month.rows] == [far, NOON, None]

    def test_reject_a_missing_pickup_time(self, tmp_path: Path) -> None:
        """A row without a pickup time is rejected, also beside one whose pickup time does not fit."""
        for values, reasons in (
            (pa.array([NOON, None, NOON], US), {2: "missing"}),
            (pa.array([2**63 - 1, None, 0], US), {1: "not a timestamp", 2: "missing"}),
            (pa.array(["noon", "", "2025-01-05 12:00:00"]), {1: "not a timestamp", 2: "missing"}),
            (pa.nulls(3), dict.fromkeys((1, 2, 3), "missing")),
        ):
            month = Cleaned(tmp_path, _table(tmp_path, **{PICKUP: values}))
            assert {reject["line"]: reject["reason"] for reject in month.rejects} == {
                number: f"{PICKUP} is {reason}" for number, reason in reasons.items()
            }
            assert month.report.rows == 3 - len(reasons)
            assert month.report.nulls[PICKUP] == 0

    def test_the_first_reason_counts(self, tmp_path: Path) -> None:
        """A row with several values that do not fit is rejected once, for the first column."""
        table = _table(
            tmp_path,
            VendorID=pa.array([1.5, 1, 1]),
            fare_amount=pa.array(["x", "y", "1"]),
            extra=pa.array([1.0, float("inf"), 3.0]),
        )
        month = Cleaned(tmp_path, table)
        assert [(reject["line"], reject["reason"]) for reject in month.rejects] == [
            (1, "VendorID is not an integer"),
            (2, "fare_amount is not a decimal number"),
        ]

    @pytest.mark.parametrize("batch_rows", [1, 4, 10, 1 << 17])
    @pytest.mark.parametrize("group_rows", [3, 1_000])
    def test_rejects_among_many_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int, group_rows: int
    ) -> None:
        """Rows keep their order, and rejects have the number of their row in the file, with any batch size."""
        monkeypatch.setattr(published, "BATCH_ROWS", batch_rows)
        bad = {0, 3, 4, 25, 49}
        counts = pa.array([0.5 if number in bad else float(number) for number in range(50)])
        month = Cleaned(tmp_path, _table(tmp_path, rows=50, passenger_count=counts), row_group_size=group_rows)
        assert [row["passenger_count"] for row in month.rows] == sorted(set(range(50)) - bad)
        assert [reject["line"] for reject in month.rejects] == [number + 1 for number in sorted(bad)]

    @pytest.mark.parametrize(
        ("written", "code"),
        [
            *dict.fromkeys(("Credit", "CREDIT", "Cre", "CRE", "CRD", "crd ", "1", "1.0"), 1).items(),
            *dict.fromkeys(("CASH", "Cash", "Cas", "CAS", "CSH", " csh", "2"), 2).items(),
            *dict.fromkeys(("No Charge", "No", "NO ", "NOC", "3"), 3).items(),
            *dict.fromkeys(("Dispute", "Dis", "DIS", "4"), 4).items(),
            *dict.fromkeys(("Unknown", "UNK", "5"), 5).items(),
            *dict.fromkeys(("", "N/A", None), None).items(),
            *dict.fromkeys(("Barter", "cash!", "C", "1.5"), "rejected").items(),
        ],
    )
    def test_payment_types_until_2014(self, tmp_path: Path, written: str | None, code: int | str | None) -> None:
        """Text has the code of its meaning in any letter case. Numbers stay, and unknown text is rejected."""
        table = _table(tmp_path, MONTH_2010, 1, payment_type=pa.array([written], pa.string()))
        month = Cleaned(tmp_path, table, MONTH_2010)
        if code == "rejected":
            assert [reject["reason"] for reject in month.rejects] == ["payment_type is not an integer"]
            assert json.loads(month.rejects[0]["text"])["payment_type"] == written
        else:
            assert [row["payment_type"] for row in month.rows] == [code]

    @pytest.mark.parametrize(
        ("written", "vendor"),
        [("CMT", 1), ("cmt", 1), ("VTS", 2), ("VTS ", 2), ("DDS", None), ("other", None), ("", None), (None, None)],
    )
    def test_vendors_until_2014(self, tmp_path: Path, written: str | None, vendor: int | None) -> None:
        """A vendor has its code, and its name as it is. A vendor without a code has only its name."""
        table = _table(tmp_path, MONTH_2010, 1, vendor_id=pa.array([written], pa.string()))
        [row] = Cleaned(tmp_path, table, MONTH_2010, limit=0.0).rows
        assert (row["VendorID"], row["vendor_name"]) == (vendor, written or None)

    @pytest.mark.parametrize(
        "values",
        [pa.array([0.0, 1.0, None, float("nan")]), pa.array([0, 1, None, None]), pa.array(["0", "1", " ", "N/A"])],
    )
    def test_store_and_forward_flags_until_2014(self, tmp_path: Path, values: pa.Array) -> None:
        """The numbers 0 and 1 are N and Y."""
        month = Cleaned(tmp_path, _table(tmp_path, MONTH_2010, 4, store_and_fwd_flag=values), MONTH_2010, limit=0.0)
        assert [row["store_and_fwd_flag"] for row in month.rows] == ["N", "Y", None, None]

    def test_text_is_a_code_only_until_2014(self, tmp_path: Path) -> None:
        """In later files, payment types are numbers, so text is rejected."""
        month = Cleaned(tmp_path, _table(tmp_path, payment_type=pa.array(["CASH", "2", None])))
        assert [row["payment_type"] for row in month.rows] == [2, None]
        assert [reject["line"] for reject in month.rejects] == [1]


class TestColumns:
    """Which columns a file may have."""

    def test_match_columns_by_name(self, tmp_path: Path) -> None:
        """Columns may have any order and letter case, and the index of a data frame is ignored."""
        table = _table(tmp_path, rows=20)
        plain = Cleaned(tmp_path, table).rows
        other = table.select(table.column_names[::-1]).append_column("__index_level_0__", pa.array([["x"]] * 20))
        respelled = other.rename_columns(
            [name.upper() if "_level_" not in name else name for name in other.column_names]
        )
        assert Cleaned(tmp_path, respelled).rows == plain

    @pytest.mark.parametrize(
        ("change", "kind", "facts"),
        [
            (
                lambda table: table.rename_columns(["vendor", *table.column_names[1:]]),
                BadHeader,
                {"missing": "VendorID", "unknown": "vendor"},
            ),
            (
                lambda table: table.append_column("weather", pa.nulls(table.num_rows)),
                BadHeader,
                {"unknown": "weather"},
            ),
            (
                lambda table: table.append_column("VENDORID", table.column("VendorID")),
                BadHeader,
                {"duplicated": "VendorID"},
            ),
            (lambda table: table.drop_columns(["trip_distance"]), BadHeader, {"missing": "trip_distance"}),
            (lambda table: table.append_column("", table.column("VendorID")), UnnamedColumn, {"column": 21}),
            (lambda table: table.select([]), BadHeader, {}),
        ],
        ids=["renamed", "unknown", "duplicated", "missing", "unnamed", "no columns"],
    )
    def test_reject_other_columns(
        self, tmp_path: Path, change: Callable[[pa.Table], pa.Table], kind: type[BadInput], facts: dict[str, Any]
    ) -> None:
        """The error names the columns that differ."""
        error = _require_error(tmp_path, change(_table(tmp_path)), kind)
        found = {name: value for name, value in error.facts.items() if name in {"missing", "unknown", "duplicated"}}
        assert facts.items() <= error.facts.items()
        assert found.keys() <= facts.keys() or not facts
        assert all(str(value) in str(error) for value in found.values())

    def test_reject_another_color(self, tmp_path: Path) -> None:
        """The error names the color and the period of the columns."""
        for month in (TripMonth("green", "2025-01"), TripMonth("fhv", "2024-01")):
            error = _require_error(tmp_path, _table(tmp_path, month), BadHeader)
            assert str(error.facts["era"]).startswith(f"{month.color} trips")

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("passenger_count", pa.array([True, False, None])),
            ("passenger_count", pa.array([NOON] * 3, US)),
            ("passenger_count", pa.array([[1], [2], None])),
            ("fare_amount", pa.array([True, False, None])),
            ("store_and_fwd_flag", pa.array([True, False, None])),
            ("store_and_fwd_flag", pa.array([b"Y", b"N", None])),
            ("store_and_fwd_flag", pa.array([NOON] * 3, US)),
            (PICKUP, pa.array([NOON] * 3, pa.timestamp("us", "UTC"))),
            (PICKUP, pa.array([NOON] * 3, pa.timestamp("us", "America/New_York"))),
            (PICKUP, pa.array([1, 2, 3])),
            (PICKUP, pa.array([NOON.date()] * 3)),
            (DROPOFF, pa.array([{"time": NOON}] * 3)),
        ],
    )
    def test_reject_another_type(self, tmp_path: Path, name: str, values: pa.Array) -> None:
        """The error names the column, its type and the expected kind of values."""
        error = _require_error(tmp_path, _table(tmp_path, **{name: values}), BadColumnType)
        seen = pq.read_schema(tmp_path / f"{MONTH.stem}.parquet").field(name).type
        assert (error.facts["column"], error.facts["seen"]) == (name, str(seen))
        assert f'"{name}"' in str(error)
        assert str(seen) in str(error)
        assert error.explain().endswith("[bad-column-type]")

    def test_do_not_read_ignored_columns(self, tmp_path: Path) -> None:
        """The index of a data frame may have any type."""
        table = _table(tmp_path).append_column("__index_level_3__", pa.array([True, None, False]))
        assert Cleaned(tmp_path, table, limit=0.0).report.rows == 3


def _require_error(folder: Path, content: pa.Table | bytes, kind: type[BadInput]) -> BadInput:
    """Require the same error from inspection and cleaning, and that nothing is written. Return it."""
    raw = folder / f"{MONTH.stem}.parquet"
    if isinstance(content, bytes):
        raw.write_bytes(content)
    else:
        pq.write_table(content, raw)
    with pytest.raises(kind) as inspected:
        inspect_raw(MONTH, raw, raw.name)
    with pytest.raises(kind) as cleaned:
        _clean(MONTH, raw, CleanLimits())
    assert inspected.type is cleaned.type is kind
    assert str(inspected.value) == str(cleaned.value)
    assert not {path.name for path in folder.iterdir()} & {"clean.parquet", "rejected.parquet"}
    return inspected.value


def _bytes(table: pa.Table, **options: Any) -> bytes:
    """Return a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def _data_of(content: bytes, group: int, name: str) -> range:
    """Return where the data of a column is in a file. It starts with the header of its first page."""
    metadata = pq.read_metadata(pa.BufferReader(content))
    chunk = metadata.row_group(group).column(metadata.schema.names.index(name))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return range(start, start + chunk.total_compressed_size)


class TestInvalidFiles:
    """Files that are damaged, or not Parquet."""

    @pytest.mark.parametrize(
        ("content", "format_", "seen"),
        [
            (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page", "<!DOCTYPE html>"),
            (b'{"error": "not found"}', "JSON", '{"error": "not found"}'),
            (b"<?xml version='1.0'?><Error/>", "an XML document", "<?xml version='1.0'?><Error/>"),
            (b"PK\x03\x04" + bytes(99), "a zip file", ""),
            (b"\x1f\x8b\x08" + bytes(99), "a gzip file", ""),
            (b"VendorID,tpep_pickup_datetime\r\n1,2025-01-01 00:00:00\r\n", "", "VendorID,tpep_pickup_datetime"),
            (b"", "", ""),
            (b"PAR", "", "PAR"),
            (bytes(range(200)), "", ""),
        ],
        ids=["HTML", "JSON", "XML", "zip", "gzip", "CSV", "empty", "short", "binary"],
    )
    def test_reject_another_format(self, tmp_path: Path, content: bytes, format_: str, seen: str) -> None:
        """The error says what the file contains instead of Parquet, and shows the start of text."""
        error = _require_error(tmp_path, content, NotParquet)
        assert error.facts == {
            name: fact
            for name, fact in (("address", f"{MONTH.stem}.parquet"), ("format", format_), ("seen", seen))
            if fact
        }
        assert (f"contains {format_}, not Parquet" if format_ else "is not a Parquet file") in str(error)
        assert ("starts with" in str(error)) == bool(seen)
        assert all(str(fact) in str(error) for fact in error.facts.values())
        assert error.explain().endswith("[not-parquet]")

    @pytest.mark.parametrize("kept", [4, 12, 0.1, 0.5, 0.9, -1])
    def test_reject_a_truncated_file(self, tmp_path: Path, kept: float) -> None:
        """A file that is cut short has no footer."""
        content = _bytes(_table(tmp_path, rows=50))
        error = _require_error(
            tmp_path, content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)], CorruptFile
        )
        assert f"{MONTH.stem}.parquet is truncated or damaged" in str(error)
        assert error.explain().endswith("[corrupt-file]")

    @pytest.mark.parametrize("compression", ["snappy", "gzip", "zstd", "none"])
    def test_inspection_finds_a_damaged_row_group(self, tmp_path: Path, compression: str) -> None:
        """Inspection reads every row group, so it finds damage that the footer does not show, in any column."""
        intact = _bytes(_table(tmp_path, rows=50), row_group_size=10, compression=compression)
        raw = tmp_path / f"{MONTH.stem}.parquet"
        for group, name in ((0, "VendorID"), (2, "fare_amount"), (4, "cbd_congestion_fee")):
            at = _data_of(intact, group, name)
            raw.write_bytes(intact[: at.start] + b"\xff" * len(at) + intact[at.stop :])
            assert pq.read_metadata(raw).num_rows == 50
            for action in (lambda: inspect_raw(MONTH, raw, "the address"), lambda: _clean(MONTH, raw, CleanLimits())):
                with pytest.raises(CorruptFile, match="truncated or damaged"):
                    action()
        with pytest.raises(CorruptFile) as error:
            inspect_raw(MONTH, raw, "the address")
        assert error.value.facts["address"] == "the address"
        raw.write_bytes(intact)
        assert inspect_raw(MONTH, raw, "the address") == 50

    def test_inspection_verifies_checksums(self, tmp_path: Path) -> None:
        """In a file with checksums, inspection finds a single wrong bit of a value."""
        intact = _bytes(_table(tmp_path, rows=50), compression="none", use_dictionary=False, write_page_checksum=True)
        last = _data_of(intact, 0, "fare_amount").stop - 1
        raw = tmp_path / f"{MONTH.stem}.parquet"
        raw.write_bytes(intact[:last] + bytes([intact[last] ^ 1]) + intact[last + 1 :])
        with pytest.raises(CorruptFile, match="CRC"):
            inspect_raw(MONTH, raw, raw.name)

    def test_reject_text_that_is_not_utf_8(self, tmp_path: Path) -> None:
        """Parquet text is UTF-8, so other bytes are damage, which most programs could not read in the clean file."""
        table = _table(tmp_path, store_and_fwd_flag=pa.array(["é", "Y", "N"]))
        raw = tmp_path / f"{MONTH.stem}.parquet"
        raw.write_bytes(_bytes(table, compression="none", use_dictionary=False).replace("é".encode(), b"\xff\xfe"))
        with pytest.raises(CorruptFile, match="UTF8"):
            inspect_raw(MONTH, raw, raw.name)
        with pytest.raises(CorruptFile, match="UTF8"):
            _clean(MONTH, raw, CleanLimits())

    def test_reject_names_that_are_not_utf_8(self, tmp_path: Path) -> None:
        """A damaged column name in the footer is damage, too."""
        content = _bytes(_table(tmp_path), store_schema=False)
        error = _require_error(tmp_path, content.replace(b"VendorID", b"Vendor\xff\xfe"), CorruptFile)
        assert error.facts["address"] == f"{MONTH.stem}.parquet"

    def test_the_footer_has_another_row_count(self, tmp_path: Path) -> None:
        """A footer whose row count is not that of the rows is damage, and cleaning does not lose rows either."""
        content = bytearray(_bytes(_table(tmp_path, rows=7)))
        # The field of the row count, with 7 as 14, is the one before the list of row groups.
        at = content.rindex(b"\x16\x0e\x19\x1c")
        content[at + 1] = 2 * 8
        raw = tmp_path / f"{MONTH.stem}.parquet"
        raw.write_bytes(content)
        assert pq.read_metadata(raw).num_rows == 8
        with pytest.raises(CorruptFile, match="its footer says 8 rows, but it has 7"):
            inspect_raw(MONTH, raw, raw.name)
        with pytest.raises(CountMismatch) as error:
            _clean(MONTH, raw, CleanLimits())
        assert (error.value.facts["raw_rows"], error.value.facts["clean_rows"]) == (8, 7)

    @pytest.mark.parametrize("groups", [0, 1])
    def test_reject_a_file_without_rows(self, tmp_path: Path, groups: int) -> None:
        """Inspection rejects a file with 0 rows. Cleaning has nothing to reject in it."""
        raw, empty = tmp_path / f"{MONTH.stem}.parquet", _table(tmp_path, rows=0)
        with pq.ParquetWriter(raw, empty.schema) as writer:
            for _ in range(groups):
                writer.write_table(empty)
        with pytest.raises(EmptyFile) as error:
            inspect_raw(MONTH, raw, raw.name)
        assert error.value.facts == {**MONTH.facts, "address": raw.name}
        assert _clean(MONTH, raw, CleanLimits()).rows == 0

    def test_reject_a_file_of_another_month(self, tmp_path: Path) -> None:
        """A month whose pickups are in another month is an error, as for a CSV."""
        raw = tmp_path / f"{MONTH.stem}.parquet"
        pq.write_table(_table(tmp_path, **{PICKUP: pa.array([NOON.replace(month=3)] * 3, US)}), raw)
        with pytest.raises(WrongMonth) as error:
            _clean(MONTH, raw, CleanLimits())
        assert error.value.facts["seen"] == "2025-03"


class TestLimit:
    """The maximum share of rejected rows."""

    @pytest.mark.parametrize(("valid", "kind"), [(0, NoValidRows), (1, ManyInvalidRows), (40, ManyInvalidRows)])
    def test_too_many_rejects(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valid: int, kind: type[TooManyRejects]
    ) -> None:
        """The error has the counts, and says whether any row is valid, also if valid rows come last."""
        monkeypatch.setattr(published, "BATCH_ROWS", 10)
        counts = pa.array([0.5] * (60 - valid) + [1.0] * valid)
        with pytest.raises(kind) as error:
            Cleaned(tmp_path, _table(tmp_path, rows=60, passenger_count=counts), limit=0.1)
        assert error.type is kind
        assert (error.value.facts["raw_rows"], error.value.facts["rejected_rows"]) == (60, 10)
        assert "10 x passenger_count is not an integer" in str(error.value)

    def test_accept_rejects_up_to_the_limit(self, tmp_path: Path) -> None:
        """A month passes if the share of rejected rows equals the limit."""
        table = _table(tmp_path, rows=50, passenger_count=pa.array([0.5] * 5 + [1.0] * 45))
        assert Cleaned(tmp_path, table, limit=0.1).report.rejected_rows == 5


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of fhv trips, to be damaged."""
    path = tmp_path_factory.mktemp("damaged") / "fhv_tripdata_2019-02.parquet"
    write_parquet(ERAS[TripMonth("fhv", "2019-02")], path)
    return path


def test_memory_does_not_grow_with_the_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row groups of a long file are read in parts, because pyarrow keeps buffers of all that it reads together."""
    monkeypatch.setattr(published, "PART_ROWS", 50_000)
    monkeypatch.setattr(published, "BATCH_ROWS", 5_000)
    values = [number * 7_919_777_777 % 2**40 for number in range(1_000_000)]  # that hardly compress
    long = _table(tmp_path).take(pa.array([0] * len(values)))
    name = LAYOUTS[MONTH.color].pickup
    long = long.set_column(long.column_names.index(name), name, [pa.array(values, pa.int64()).cast(US)])
    raw = tmp_path / "raw.parquet"
    pq.write_table(long, raw, row_group_size=20_000)
    del long
    before, rows, used = pa.total_allocated_bytes(), 0, 0
    for table, _ in published.PublishedFile(LAYOUTS[MONTH.color], raw).batches():
        rows += table.num_rows
        used = max(used, pa.total_allocated_bytes() - before)
    assert rows == len(values)
    assert used < raw.stat().st_size / 2


@settings(deadline=None, max_examples=150)
@given(damage=st.sampled_from(["flipped", "cut", "zeros", "swapped"]), at=st.floats(0, 1), bit=st.integers(0, 7))
def test_clean_or_reject_any_damaged_file(small_file: Path, damage: str, at: float, bit: int) -> None:
    """A damaged file is cleaned without losing a row, or is an error of this project. Inspection rejects no less."""
    intact = small_file.read_bytes()
    offset = min(int(at * len(intact)), len(intact) - 1)
    before, byte, after = intact[:offset], intact[offset], intact[offset + 1 :]
    raw = small_file.with_name("damaged.parquet")
    raw.write_bytes(
        {
            "flipped": before + bytes([byte ^ 1 << bit]) + after,
            "cut": before,
            "zeros": before + bytes(20) + after[19:],
            "swapped": after + before,
        }[damage]
    )
    month, accepted = TripMonth("fhv", "2019-02"), True
    try:
        inspect_raw(month, raw, raw.name)
    except (BadFile, BadHeader):
        accepted = False
    try:
        report = _clean(month, raw, CleanLimits(rejected=1.0, outside=1.0))
    except TaxiAssetsError:
        assert not accepted
    else:
        assert report.raw_rows == report.rows + report.rejected_rows
