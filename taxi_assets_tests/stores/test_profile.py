"""The counts for the quality rules of a clean month, compared with counts of the raw file by pandas."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from taxi_assets.errors import DamagedFile, MissingUpstream, TaxiAssetsError
from taxi_assets.stores.profile import profile_month
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month
from taxi_assets.tlc.quality import QualityFinding, compare_with_neighbors, judge, rules_of
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.months import folder_of

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 3_000
MONTH = "2021-01"
GREEN = TripMonth("green", MONTH)
START, END = datetime(2021, 1, 1), datetime(2021, 2, 1)  # noqa: DTZ001  # local time in New York, without a time zone
EVERY_COLOR = pytest.mark.parametrize("color", COLORS)


def _clean(month: TripMonth, raw: Path, clean: Path) -> CleanReport:
    return clean_month(month, raw, clean, clean.with_suffix(".rejected"), CleanLimits(rejected=0.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample month of each color: a raw file `{color}.csv.gz`, a clean file `{color}.parquet`."""
    folder = tmp_path_factory.mktemp("months")
    for color in COLORS:
        month = TripMonth(color, MONTH)
        write_sample(month, ROWS, folder / f"{color}.csv.gz")
        _clean(month, folder / f"{color}.csv.gz", folder / f"{color}.parquet")
    return folder


def _table(folder: Path, color: str) -> "pa.Table":
    import pyarrow.parquet as pq

    return pq.read_table(folder / f"{color}.parquet")


def _with(table: "pa.Table", name: str, values: list[Any]) -> "pa.Table":
    """Return the table with the first values of a column replaced."""
    import pyarrow as pa

    old = table.column(name).to_pylist()
    column = pa.array([*values, *old[len(values) :]], table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


def _write(table: "pa.Table", folder: Path) -> Path:
    import pyarrow.parquet as pq

    path = folder / "clean.parquet"
    pq.write_table(table, path)
    return path


def _offending(clean: Path, month: TripMonth) -> dict[str, int]:
    findings = profile_month(clean, LAYOUTS[month.color], month).findings
    return {name: finding.offending for name, finding in findings.items()}


def _failed(clean: Path, month: TripMonth) -> set[str]:
    """Return the names of the rules that the month does not pass."""
    layout = LAYOUTS[month.color]
    findings = profile_month(clean, layout, month).findings
    return {rule.name for rule in rules_of(layout) if not judge(rule, findings[rule.name]).passed}


CODES = {
    "vendorid": [1, 2, 6, 7],
    "ratecodeid": [1, 2, 3, 4, 5, 6, 99],
    "payment_type": range(7),
    "trip_type": [1, 2],
}
TEXT_CODES = {
    **dict.fromkeys(("store_and_fwd_flag", "shared_request_flag", "shared_match_flag", "access_a_ride_flag"), "YN"),
    **dict.fromkeys(("wav_request_flag", "wav_match_flag"), "YN"),
    "hvfhs_license_num": ["HV0002", "HV0003", "HV0004", "HV0005"],
}
"""The codes of the TLC's data dictionaries."""


def _count_by_pandas(raw: Path, month: TripMonth) -> dict[str, int]:
    """Count the rows of a raw file that break each rule, without this project's schema and SQL."""
    rows = pd.read_csv(raw, dtype=str, keep_default_na=False)
    rows.columns = rows.columns.str.lower()
    pickup, dropoff = (
        pd.to_datetime(rows[next(name for name in map(str, rows) if name.endswith(end))], format="ISO8601")
        for end in ("pickup_datetime", "dropoff_datetime")
    )

    def other_than(name: str, allowed: Iterable[int]) -> "pd.Series[bool]":
        numbers = pd.to_numeric(rows[name], errors="coerce")
        return numbers.notna() & ~numbers.isin(list(allowed))

    counts = {
        "zones_known": other_than("pulocationid", range(1, 266)) | other_than("dolocationid", range(1, 266)),
        "dropoff_not_before_pickup": dropoff < pickup,
        "pickups_in_month": pickup.dt.strftime("%Y-%m") != month.month,
        "duplicates": rows.duplicated(),
    }
    if month.color != "fhv":
        undefined = pd.Series(data=False, index=rows.index)
        for name, codes in CODES.items():
            if name in rows:
                undefined |= other_than(name, codes)
        for name, texts in TEXT_CODES.items():
            if name in rows:
                undefined |= ~rows[name].str.strip().isin(["", *texts])
        counts["codes_in_dictionary"] = undefined
    if "total_amount" in rows:
        counts["negative_money"] = pd.to_numeric(rows["total_amount"]) < 0
    return {name: int(offending.sum()) for name, offending in counts.items()}


@EVERY_COLOR
def test_counts_are_those_of_pandas(folder: Path, color: str) -> None:
    """Each rule of the color finds the rows that pandas finds in the raw file; a sample month passes all rules."""
    month = TripMonth(color, MONTH)
    clean = folder / f"{color}.parquet"
    found = profile_month(clean, LAYOUTS[color], month)
    assert found.rows == ROWS
    assert list(found.findings) == [rule.name for rule in rules_of(LAYOUTS[color])]
    assert all(finding.rows == ROWS for finding in found.findings.values())
    assert _offending(clean, month) == _count_by_pandas(folder / f"{color}.csv.gz", month)
    assert _failed(clean, month) == set()


def _unknown_zone(table: "pa.Table", color: str, rows: int) -> "pa.Table":
    return _with(table, LAYOUTS[color].zones[1], [999] * rows)


def _undefined_code(table: "pa.Table", color: str, rows: int) -> "pa.Table":
    column = LAYOUTS[color].coded[-1]
    return _with(table, column.name, ["X" if column.kind is Kind.text else 9] * rows)


def _early_dropoff(table: "pa.Table", color: str, rows: int) -> "pa.Table":
    return _with(table, LAYOUTS[color].dropoff, [datetime(2001, 1, 1)] * rows)  # noqa: DTZ001


def _negative_total(table: "pa.Table", _: str, rows: int) -> "pa.Table":
    return _with(table, "total_amount", [-0.01] * rows)


def _stray(table: "pa.Table", color: str, rows: int) -> "pa.Table":
    strays = _with(table, LAYOUTS[color].pickup, [END] * rows)
    return _with(strays, LAYOUTS[color].dropoff, [END] * rows)


def _repeated(table: "pa.Table", _: str, rows: int) -> "pa.Table":
    import pyarrow as pa

    return pa.concat_tables([table, table.slice(0, rows)])


BREAK: dict[str, Callable[["pa.Table", str, int], "pa.Table"]] = {
    "zones_known": _unknown_zone,
    "codes_in_dictionary": _undefined_code,
    "dropoff_not_before_pickup": _early_dropoff,
    "negative_money": _negative_total,
    "pickups_in_month": _stray,
    "duplicates": _repeated,
}


@pytest.mark.parametrize(
    ("color", "rule"), [(color, rule.name) for color in COLORS for rule in rules_of(LAYOUTS[color])]
)
def test_month_fails_the_rule_that_it_breaks(folder: Path, tmp_path: Path, color: str, rule: str) -> None:
    """A month where a tenth of the rows break a rule fails that rule and no other."""
    month = TripMonth(color, MONTH)
    broken = _write(BREAK[rule](_table(folder, color), color, ROWS // 10), tmp_path)
    assert _failed(broken, month) == {rule}
    before = _offending(folder / f"{color}.parquet", month)[rule]
    assert ROWS // 10 <= _offending(broken, month)[rule] <= ROWS // 10 + before


@EVERY_COLOR
def test_missing_values_break_no_rule(folder: Path, tmp_path: Path, color: str) -> None:
    """A row that lacks a zone, a code, a time or a total is not counted by the rules about them."""
    layout = LAYOUTS[color]
    table = _table(folder, color)
    for name in {name for rule in rules_of(layout) if rule.name != "duplicates" for name in rule.columns(layout)}:
        table = _with(table, name, [None] * ROWS)
    offending = _offending(_write(table, tmp_path), TripMonth(color, MONTH))
    offending.pop("duplicates")
    assert set(offending.values()) == {0}


def test_row_that_breaks_a_rule_twice_counts_once(folder: Path, tmp_path: Path) -> None:
    """A row with two unknown zones, or two undefined codes, is one row."""
    table = _table(folder, "green")
    for name, value in {"PULocationID": 0, "DOLocationID": 266, "trip_type": 3, "store_and_fwd_flag": "y"}.items():
        table = _with(table, name, [value])
    offending = _offending(_write(table, tmp_path), GREEN)
    assert (offending["zones_known"], offending["codes_in_dictionary"]) == (1, 1)


@pytest.mark.parametrize(("zone", "unknown"), [(-1, 1), (0, 1), (1, 0), (264, 0), (265, 0), (266, 1)])
@pytest.mark.parametrize("end", [0, 1], ids=["pickup", "dropoff"])
def test_zones_are_known_from_1_to_265(folder: Path, tmp_path: Path, zone: int, unknown: int, end: int) -> None:
    """Pickup and dropoff zones are known if they are in the lookup table."""
    clean = _write(_with(_table(folder, "green"), LAYOUTS["green"].zones[end], [zone]), tmp_path)
    assert _offending(clean, GREEN)["zones_known"] == unknown


@pytest.mark.parametrize("column", LAYOUTS["green"].coded, ids=lambda column: column.name)
def test_every_defined_code_is_accepted(folder: Path, tmp_path: Path, column: Column) -> None:
    """A month with every defined code has no undefined ones."""
    clean = _write(_with(_table(folder, "green"), column.name, list(column.codes)), tmp_path)
    assert _offending(clean, GREEN)["codes_in_dictionary"] == 0


def test_undefined_codes_are_named_by_column(folder: Path, tmp_path: Path) -> None:
    """The finding gives the undefined values of each column, most frequent first, and the rows that have them."""
    table = _with(_table(folder, "green"), "VendorID", [5, 4, 4])
    table = _with(table, "store_and_fwd_flag", ["?"])
    finding = profile_month(_write(table, tmp_path), LAYOUTS["green"], GREEN).findings["codes_in_dictionary"]
    assert finding.offending == 3
    assert finding.details == {"VendorID": "4, 5 (3 rows)", "store_and_fwd_flag": "? (1 row)"}


def test_many_undefined_codes_are_named_in_part(folder: Path, tmp_path: Path) -> None:
    """A finding shows at most five undefined values of a column."""
    table = _with(_table(folder, "green"), "VendorID", list(range(1_000, 1_000 + ROWS)))
    finding = profile_month(_write(table, tmp_path), LAYOUTS["green"], GREEN).findings["codes_in_dictionary"]
    named = str(finding.details["VendorID"])
    assert finding.offending == ROWS
    assert named.endswith(f" ({ROWS} rows)")
    assert named.count(",") == 4


def test_free_trip_is_not_negative(folder: Path, tmp_path: Path) -> None:
    """A total of 0 passes the rule, and a total below 0 breaks it."""
    table = _with(_table(folder, "green"), "total_amount", [0.0, -0.0, -0.01, *[5.0] * (ROWS - 3)])
    assert _offending(_write(table, tmp_path), GREEN)["negative_money"] == 1


def test_dropoff_at_the_pickup_time_is_not_early(folder: Path, tmp_path: Path) -> None:
    """Real months have trips without a duration. Only a dropoff before the pickup breaks the rule."""
    table = _with(_table(folder, "green"), LAYOUTS["green"].pickup, [START, START])
    table = _with(table, LAYOUTS["green"].dropoff, [START, START - timedelta(microseconds=1)])
    assert _offending(_write(table, tmp_path), GREEN)["dropoff_not_before_pickup"] == 1


def test_month_starts_and_ends_at_midnight(folder: Path, tmp_path: Path) -> None:
    """Midnight belongs to the new day. The finding has the earliest and the latest pickup."""
    before = START - timedelta(microseconds=1)
    last = END - timedelta(microseconds=1)
    pickups = [before, START, last, END, *[START + timedelta(hours=1)] * (ROWS - 4)]
    table = _with(_table(folder, "green"), LAYOUTS["green"].pickup, pickups)
    finding = profile_month(_write(table, tmp_path), LAYOUTS["green"], GREEN).findings["pickups_in_month"]
    assert finding.offending == 2
    assert finding.details == {
        "earliest_pickup": "2020-12-31 23:59:59.999999",
        "latest_pickup": "2021-02-01 00:00:00",
    }


@EVERY_COLOR
def test_rows_that_differ_in_one_column_are_not_duplicates(folder: Path, tmp_path: Path, color: str) -> None:
    """Two rows are duplicates only if all columns are equal, including missing values."""
    import pyarrow as pa

    first = _table(folder, color).slice(0, 1)
    others = {"integer": 1_234, "decimal": 1_234.5, "text": "other", "timestamp": START + timedelta(days=9)}
    changed = [_with(first, column.name, [others[column.kind]]) for column in LAYOUTS[color].columns]
    assert _offending(_write(pa.concat_tables([first, *changed]), tmp_path), TripMonth(color, MONTH))["duplicates"] == 0
    twice = pa.concat_tables([first, *changed, *changed])
    assert _offending(_write(twice, tmp_path), TripMonth(color, MONTH))["duplicates"] == len(changed)


def test_duplicates_in_a_sample_of_a_large_month(folder: Path, tmp_path: Path) -> None:
    """A large month is sampled 1 in k rows, and a sample has all copies of a row: half of a doubled month repeats."""

    def duplicates(clean: Path) -> QualityFinding:
        return profile_month(clean, LAYOUTS["green"], GREEN, max_hashed_rows=ROWS // 2 - 1).findings["duplicates"]

    table = _table(folder, "green")
    single = duplicates(_write(table, tmp_path))
    finding = duplicates(_write(_repeated(table, "green", ROWS), tmp_path))
    assert single.details == {"sample": "1 in 3 rows"}
    assert single.rows == pytest.approx(ROWS / 3, rel=0.2)
    assert single.offending == 0
    assert finding.details == {"sample": "1 in 5 rows"}
    assert finding.rows == pytest.approx(ROWS * 2 / 5, rel=0.2)
    assert finding.share == 0.5


def test_month_without_rows_passes_every_rule(folder: Path, tmp_path: Path) -> None:
    """An empty file has no offending rows and no earliest pickup."""
    found = profile_month(_write(_table(folder, "green").slice(0, 0), tmp_path), LAYOUTS["green"], GREEN)
    assert found.rows == 0
    assert {(finding.rows, finding.offending) for finding in found.findings.values()} == {(0, 0)}
    assert all(not finding.details for finding in found.findings.values())


@pytest.mark.parametrize("damage", ["missing", "truncated", "not Parquet", "zeros inside", "another color"])
def test_unusable_file(folder: Path, tmp_path: Path, damage: str) -> None:
    """The error for a file that is not a clean month has the month, its path, and the asset that creates the file."""
    path = tmp_path / "clean.parquet"
    content = (folder / "green.parquet").read_bytes()
    contents = {
        "truncated": content[: len(content) // 2],
        "not Parquet": b"VendorID,lpep_pickup_datetime\n",
        "zeros inside": content[:4] + bytes(len(content) // 2) + content[len(content) // 2 + 4 :],
        "another color": (folder / "fhv.parquet").read_bytes(),
    }
    if damage in contents:
        path.write_bytes(contents[damage])
    kind: type[TaxiAssetsError] = MissingUpstream if damage == "missing" else DamagedFile
    with pytest.raises(kind) as error:
        profile_month(path, LAYOUTS["green"], GREEN)
    assert error.value.facts == {**GREEN.facts, "path": str(path), "asset": "clean_trips"}
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.real_trips
def test_real_months_pass_every_rule(tmp_path: Path) -> None:
    """The counts of each real month are those of pandas, its stray pickups those of the cleaning, and it passes."""
    raws = sorted(folder_of("REAL_TRIPS", "real months").glob("*/*_tripdata_*.csv.gz"))
    assert raws
    for raw in raws:
        color, _, month_of_file = raw.name.removesuffix(".csv.gz").split("_")
        month = TripMonth(color, month_of_file)
        clean = tmp_path / f"{month.stem}.parquet"
        report = _clean(month, raw, clean)
        offending = _offending(clean, month)
        assert offending == _count_by_pandas(raw, month), month
        assert offending["pickups_in_month"] == report.outside_rows, month
        assert _failed(clean, month) == set(), month


@pytest.mark.real_trips
def test_only_green_2020_04_differs_from_its_neighbors(tmp_path: Path) -> None:
    """Only 2020-04, with 84% fewer trips because of the pandemic, has less than half the rows of the month before."""
    green = folder_of("REAL_TRIPS", "real months") / "green"
    rows = {"2020-02": 398_632}  # in the TLC's Parquet file
    for number in range(3, 8):
        month = TripMonth("green", f"2020-{number:02}")
        clean = tmp_path / f"{month.stem}.parquet"
        _clean(month, green / f"{month.stem}.csv.gz", clean)
        rows[month.month] = profile_month(clean, LAYOUTS["green"], month).rows
    months = sorted(rows)
    failed = [
        month
        for before, month, after in zip(months, months[1:], [*months[2:], ""], strict=False)
        if not compare_with_neighbors(rows[month], {m: rows[m] for m in (before, after) if m}).passed
    ]
    assert failed == ["2020-04"]
