"""Checks have one status a month: verified before publishing, reconciled with the store after it, and quality."""

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import VERIFIED
from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.news import PartitionStatus, Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.lake import FolderLake
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.tlc import parquet
from taxi_assets.tlc.clean import clean_month
from taxi_assets.tlc.schema import Layout
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.store_installation import StoreInstallation, figures

MARCH, APRIL = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")

OLD_ROWS, NEW_ROWS = 300, 200


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """An installation with nothing loaded."""
    with closing(StoreInstallation()) as made:
        assert made.home == home
        yield made


def _write_fewer(path: Path, layout: Layout, tables: Iterator[pa.Table], source: str = "", version: str = "") -> int:
    """Lose the last row of each table."""
    return WRITE(path, layout, (table.slice(0, table.num_rows - 1) for table in tables), source, version)


def _write_fewer_and_lie(
    path: Path, layout: Layout, tables: Iterator[pa.Table], source: str = "", version: str = ""
) -> int:
    """Lose rows, and report those that came."""
    kept = list(tables)
    WRITE(path, layout, (table.slice(0, table.num_rows - 1) for table in kept), source, version)
    return sum(table.num_rows for table in kept)


def _write_text(path: Path, _: Layout, tables: Iterator[pa.Table], *__: str) -> int:
    """Write a column of numbers as text."""
    whole = pa.concat_tables(tables)
    number = whole.column_names.index("trip_distance")
    whole = whole.set_column(number, "trip_distance", whole.column("trip_distance").cast(pa.string()))
    pq.write_table(whole, path)
    return int(whole.num_rows)


WRITE = parquet.write_row_groups


def _lose_rejects(*given: Any) -> Any:
    """Clean the month, then lose a rejected line."""
    report, rejected = clean_month(*given), given[3]
    pq.write_table(pq.read_table(rejected).slice(1), rejected)
    return report


def _insert_fewer(database: Any, month: TripMonth, lake_object: Any) -> None:
    """Load all rows of the object but one."""
    database.execute(f"INSERT INTO {month.table} SELECT * FROM read_parquet(?) OFFSET 1", [lake_object.uri])


def _fewer(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    return (table.slice(1) for table in tables)


def _replace_with_fewer(store: PostgresStore, month: TripMonth, tables: Iterator[pa.Table], rows: int) -> int:
    """Send all rows but one."""
    return REPLACE(store, month, _fewer(tables), rows)


REPLACE = PostgresStore.replace_month


BREAKS: dict[str, tuple[str, str, object, dict[str, Any]]] = {
    "the clean file lost rows": (
        "clean_trips",
        "taxi_assets.tlc.clean.write_row_groups",
        _write_fewer,
        {"raw_rows": NEW_ROWS, "clean_rows": NEW_ROWS - 3, "rejected_rows": 2},
    ),
    "the clean file lost rows unnoticed": (
        "clean_trips",
        "taxi_assets.tlc.clean.write_row_groups",
        _write_fewer_and_lie,
        {"seen": NEW_ROWS - 3, "expected": NEW_ROWS - 2},
    ),
    "the clean file has another schema": (
        "clean_trips",
        "taxi_assets.tlc.clean.write_row_groups",
        _write_text,
        {"seen": "trip_distance: string", "expected": "trip_distance: double"},
    ),
    "rejected lines were lost": (
        "clean_trips",
        "taxi_assets.defs.assets.clean_month",
        _lose_rejects,
        {"seen": 1, "expected": 2},
    ),
    "the lake file lost rows": (
        "lake_trips",
        "taxi_assets.tlc.parquet.write_row_groups",
        _write_fewer,
        {"seen": NEW_ROWS - 3, "expected": NEW_ROWS - 2},
    ),
    "the lake file has another schema": (
        "lake_trips",
        "taxi_assets.tlc.parquet.write_row_groups",
        _write_text,
        {"seen": "trip_distance: string", "expected": "trip_distance: double"},
    ),
    "the lake file misses passengers": (
        "lake_trips",
        "taxi_assets.defs.assets.fill_missing_passengers",
        lambda table, *_: table,
        {"expected": 0},
    ),
    "the warehouse lost rows": (
        "warehouse_trips",
        "taxi_assets.stores.duckdb._insert",
        _insert_fewer,
        {"seen": NEW_ROWS - 3, "expected": NEW_ROWS - 2},
    ),
    "the warehouse counts other rows": (
        "warehouse_trips",
        "taxi_assets.stores.duckdb._count",
        lambda *_: NEW_ROWS + 7,
        {"seen": NEW_ROWS + 7, "expected": NEW_ROWS - 2},
    ),
    "Postgres lost rows": (
        "postgres_trips",
        "taxi_assets.stores.postgres.PostgresStore.replace_month",
        _replace_with_fewer,
        {},
    ),
    "Postgres counts other rows": (
        "postgres_trips",
        "taxi_assets.stores.postgres._count",
        lambda *_: NEW_ROWS + 7,
        {"seen": NEW_ROWS + 7},
    ),
}
"""What breaks a writer: the asset, the function that is replaced, what replaces it, and the figures it must show."""


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_writer_publishes_nothing(
    case: str, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old month stays, and the failure and the month's failed `verified` have the figures that were seen."""
    asset, function, broken, expected = BREAKS[case]
    upstream = TRIP_ASSETS[: TRIP_ASSETS.index(asset if asset != "postgres_trips" else "lake_trips")]
    for month in (MARCH, APRIL):
        installation.publish(month, OLD_ROWS)
        assert installation.run(month, *upstream, asset)[-1].what is Progress.done
    before = _published(installation, MARCH, asset)
    _reject_lines(installation.publish(MARCH, NEW_ROWS, seed=1), 2)
    monkeypatch.setenv("TAXI_REJECT_LIMIT", "0.5")
    installation.definitions = build_definitions(Settings.load())
    assert installation.run(MARCH, *upstream)[-1].what is Progress.done

    with monkeypatch.context() as patch:
        patch.setattr(function, broken)
        told = installation.run(MARCH, asset)

    assert (told[-1].what, told[-1].asset) == (Progress.failed, asset)
    assert _published(installation, MARCH, asset) == before
    assert len(installation.materializations(asset, MARCH)) == 1
    assert installation.litter() == []
    verified = installation.check(asset, VERIFIED, MARCH)
    assert verified
    assert not verified.passed
    assert verified.severity is dg.AssetCheckSeverity.ERROR
    assert str(verified.description) == told[-1].error
    seen = figures(verified.metadata)
    for name, value in expected.items():
        assert value in seen[name] if isinstance(value, str) else seen[name] == value
    assert ("raw_rows" in seen) or seen["seen"] != seen["expected"]
    assert installation.failures(told[-1].run_id) == {asset: seen}
    of_april = installation.check(asset, VERIFIED, APRIL)
    assert of_april
    assert of_april.passed
    history = installation.history(MARCH)
    assert history
    assert (history.standing, history.failed_at) == (PartitionStatus.failed, asset)

    assert installation.run(MARCH, asset)[-1].what is Progress.done
    assert _published(installation, MARCH, asset) != before
    verified = installation.check(asset, VERIFIED, MARCH)
    assert verified
    assert verified.passed


def _published(installation: StoreInstallation, month: TripMonth, asset: str) -> object:
    """What readers find of a month in an asset."""
    if asset == "clean_trips":
        rejected = installation.home / f"rejected/{month.color}/{month.stem}.parquet"
        clean = installation.home / f"clean/{month.color}/{month.stem}.parquet"
        return clean.read_bytes(), rejected.read_bytes() if rejected.exists() else b""
    if asset == "lake_trips":
        return (installation.home / "lake" / month.object_name).read_bytes()
    return _summary(installation, month, asset)


def _summary(installation: StoreInstallation, month: TripMonth, asset: str) -> MonthSummary:
    """The summary of a month in a store."""
    if asset == "lake_trips":
        return installation.lake.summarize(month)
    store = installation.warehouse if asset == "warehouse_trips" else installation.postgres
    return store.summarize(month)


def _reject_lines(place: Path, lines: int) -> None:
    """Break the last lines of a raw file."""
    rows = gzip.decompress(place.read_bytes()).splitlines(keepends=True)
    place.write_bytes(gzip.compress(b"".join([*rows[:-lines], *[b"not,a,trip\r\n"] * lines])))


def test_too_many_rejects_show_how_many(installation: StoreInstallation) -> None:
    """A month with too many rejected rows fails `verified` with the rows, the share and the limit."""
    _reject_lines(installation.publish(MARCH, 100), 10)
    told = installation.run(MARCH)
    verified = installation.check("clean_trips", VERIFIED, MARCH)
    assert verified
    assert not verified.passed
    seen = figures(verified.metadata)
    assert (seen["raw_rows"], seen["reject_limit"]) == (100, 0.01)
    assert seen["rejected_share"] == seen["rejected_rows"] / 100 > 0.01
    assert installation.failures(told[-1].run_id) == {"clean_trips": seen}
    assert installation.materializations("clean_trips", MARCH) == []


def test_a_failure_of_another_kind_evaluates_nothing(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer fails the run, and evaluates no check of the month."""
    installation.publish(MARCH, 100)
    installation.run(MARCH, "raw_trips", "clean_trips")
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://taxi@127.0.0.1:9/none")
    told = installation.run(MARCH, "postgres_trips")
    assert told[-1].what is Progress.failed
    assert installation.checks(told[-1].run_id) == {}


@pytest.mark.parametrize(
    ("asset", "check", "store"),
    [
        ("lake_trips", "matches_clean", FolderLake),
        ("warehouse_trips", "matches_lake", DuckDBWarehouse),
        ("postgres_trips", "matches_clean", PostgresStore),
    ],
)
def test_reconciliation_shows_what_it_compared(
    asset: str, check: str, store: type, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that has what it was given passes with its figures; each that differs is shown with both values."""
    installation.publish(MARCH, 200)
    installation.load(MARCH)
    passed = installation.check(asset, check, MARCH)
    assert passed
    assert passed.passed
    summary = _summary(installation, MARCH, asset)
    shown = figures(passed.metadata)
    total = round(summary.total_amount or 0, 2)
    assert shown == {
        **{name: value if isinstance(value, int) else str(value) for name, value in summary.values().items()},
        "total_amount": total,
    }
    assert shown["rows"] == summary.rows
    summarize = store.summarize  # type: ignore[attr-defined]

    def summarize_other(self: Any, month: TripMonth) -> MonthSummary:
        seen: MonthSummary = summarize(self, month)
        nulls = {**seen.nulls, "trip_type": seen.nulls["trip_type"] + 3}
        return MonthSummary(seen.rows, (seen.total_amount or 0) + 10, seen.first_pickup, None, nulls)

    monkeypatch.setattr(store, "summarize", summarize_other)
    told = installation.run(MARCH, asset)
    failed = installation.check(asset, check, MARCH)
    assert failed
    assert not failed.passed
    assert failed.partition == MARCH.month
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert set(failed.metadata) == {"total_amount", "last_pickup", "nulls.trip_type"}
    assert (told[-1].what, told[-1].asset) == (Progress.failed, asset)
    totals = f"{round(total + 10, 2)} in the store, expected {total}"
    for fact in (str(MARCH), f"total_amount: {totals}", check):
        assert fact in told[-1].error
    assert installation.failures(told[-1].run_id) == {asset: figures(failed.metadata)}
    assert failed.metadata["total_amount"].value == totals
    assert str(summary.last_pickup) in str(failed.metadata["last_pickup"].value)
    assert f"{summary.nulls['trip_type'] + 3} in the store, expected {summary.nulls['trip_type']}" == str(
        failed.metadata["nulls.trip_type"].value
    )


def _behind(installation: StoreInstallation, store: str, sql: str) -> None:
    """Change a store behind the run's back."""
    if store == "warehouse_trips":
        with duckdb.connect(installation.home / "warehouse.duckdb") as database:
            database.execute(sql)
    elif store == "postgres_trips":
        import sqlalchemy as sa

        with installation.postgres.engine().begin() as connection:
            connection.execute(sa.text(sql))
    else:
        place = installation.home / "lake" / MARCH.object_name
        with duckdb.connect() as database:
            database.execute(f"CREATE TABLE {MARCH.table} AS FROM read_parquet('{place}')")
            database.execute(sql)
            database.execute(f"COPY {MARCH.table} TO '{place}' (FORMAT parquet)")


CHANGES = {
    "a row is gone": (
        "DELETE FROM {table} WHERE lpep_pickup_datetime = (SELECT max(lpep_pickup_datetime) FROM {table})",
        "rows",
    ),
    "a fare is another": ("UPDATE {table} SET total_amount = total_amount + 1", "total_amount"),
    "a time is another": (
        "UPDATE {table} SET lpep_pickup_datetime = '2000-02-01' WHERE lpep_pickup_datetime < '2021-03-10'",
        "first_pickup",
    ),
    "a value is missing": ("UPDATE {table} SET trip_distance = NULL", "nulls.trip_distance"),
}
"""What may happen to a store behind a run's back, and the figure that shows it."""


@pytest.mark.parametrize("asset", ["lake_trips", "warehouse_trips", "postgres_trips"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_store_that_was_changed_behind_the_runs_back_fails(
    change: str, asset: str, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconciliation asks the store itself, after the load: what it was given and does not have fails the month."""
    sql, figure = CHANGES[change]
    installation.publish(MARCH, 200)
    installation.run(MARCH, *TRIP_ASSETS[:3])
    check = "matches_lake" if asset == "warehouse_trips" else "matches_clean"
    store = {"lake_trips": FolderLake, "warehouse_trips": DuckDBWarehouse, "postgres_trips": PostgresStore}[asset]
    ask: Callable[[Any, TripMonth], MonthSummary] = store.summarize  # type: ignore[attr-defined]
    changed: list[str] = []

    def summarize(self: Any, month: TripMonth) -> MonthSummary:
        if not changed:
            changed.append(sql)
            _behind(installation, asset, sql.format(table=MARCH.table))
        return ask(self, month)

    with monkeypatch.context() as patch:
        patch.setattr(store, "summarize", summarize)
        told = installation.run(MARCH, asset)
    assert changed
    assert (told[-1].what, told[-1].asset) == (Progress.failed, asset)
    assert figure in told[-1].error
    evaluated = installation.checks(told[-1].run_id)
    assert evaluated[asset, VERIFIED].passed
    assert not evaluated[asset, check].passed
    assert figure in evaluated[asset, check].metadata
    again = installation.run(MARCH, asset)
    assert installation.checks(again[-1].run_id)[asset, check].passed


def test_a_store_that_does_not_match_stops_what_is_made_from_it(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the lake does not have the clean rows, the warehouse is not loaded from it, and Postgres is loaded."""
    installation.publish(MARCH, 200)
    installation.load(MARCH)
    installation.publish(MARCH, 300)
    summarize = FolderLake.summarize

    def summarize_fewer(self: FolderLake, month: TripMonth) -> MonthSummary:
        seen = summarize(self, month)
        return MonthSummary(seen.rows - 1, seen.total_amount, seen.first_pickup, seen.last_pickup, seen.nulls)

    monkeypatch.setattr(FolderLake, "summarize", summarize_fewer)
    told = installation.run(MARCH)
    assert told[-1].what is Progress.failed
    assert (told[-1].asset, "rows: 299 in the store, expected 300" in told[-1].error) == ("lake_trips", True)
    assert installation.warehouse.count(MARCH) == 200
    assert installation.postgres.count(MARCH) > 200
    assert len(installation.materializations("warehouse_trips", MARCH)) == 1


def _edit(place: Path, **columns: Callable[[int, str], str]) -> None:
    """Change values of a raw file: each function gets the number of the row and the value."""
    with gzip.open(place, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    for name, change in columns.items():
        at = header.index(name)
        for number, row in enumerate(rows):
            row[at] = change(number, row[at])
    with gzip.open(place, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _of_first(share: float, value: str, rows: int = 1_000) -> Callable[[int, str], str]:
    """Give the first rows another value, a share of all."""
    return lambda number, kept: value if number < share * rows else kept


QUALITY: dict[str, tuple[dict[str, Callable[[int, str], str]], dict[str, Any]]] = {
    "zones_known": ({"PULocationID": _of_first(0.1, "300")}, {"offending": 100, "limit": 0.001}),
    "codes_in_dictionary": ({"payment_type": _of_first(0.2, "9")}, {"offending": 200, "payment_type": "9 (200 rows)"}),
    "dropoff_not_before_pickup": (
        {"lpep_dropoff_datetime": _of_first(0.1, "2020-12-31 00:00:00")},
        {"offending": 100, "share": 0.1},
    ),
    "negative_money": ({"total_amount": lambda *_: "-5.3"}, {"offending": 1_000, "limit": 0.05}),
    "pickups_in_month": (
        {"lpep_pickup_datetime": _of_first(0.1, "2009-01-01 00:00:00")},
        {"offending": 100, "earliest_pickup": "2009-01-01 00:00:00"},
    ),
}
"""What makes a month break a rule, and the figures that its check shows."""


@pytest.mark.parametrize("rule", QUALITY)
def test_a_month_that_breaks_a_rule_warns(rule: str, installation: StoreInstallation) -> None:
    """A rule about trips only warns, for its month: the month is loaded, and other months keep their status."""
    changes, expected = QUALITY[rule]
    installation.publish(APRIL, 1_000)
    _edit(installation.publish(MARCH, 1_000), **changes)
    installation.load(APRIL, MARCH)
    check = installation.check("clean_trips", rule, MARCH)
    assert check
    assert (check.passed, check.severity, check.partition) == (False, dg.AssetCheckSeverity.WARN, MARCH.month)
    shown = figures(check.metadata)
    assert shown.items() >= {"rows": 1_000, **expected}.items()
    assert shown["share"] > shown["limit"]
    assert installation.warehouse.count(MARCH) == 1_000
    other = installation.check("clean_trips", rule, APRIL)
    assert other
    assert other.passed


def test_duplicates_warn(installation: StoreInstallation) -> None:
    """A month that has every row twice is loaded as it is, and warns."""
    place = installation.publish(MARCH, 500)
    header, *rows = gzip.decompress(place.read_bytes()).splitlines(keepends=True)
    place.write_bytes(gzip.compress(b"".join([header, *rows, *rows])))
    installation.load(MARCH)
    check = installation.check("clean_trips", "duplicates", MARCH)
    assert check
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["offending"].value == 500
    assert installation.warehouse.count(MARCH) == 1_000


def test_a_month_unlike_its_neighbors_warns(installation: StoreInstallation) -> None:
    """Rows are compared with the month before, as far as it is cleaned here; without neighbors nothing is known."""
    february = TripMonth("green", "2021-02")
    for month, rows in ((february, 100), (MARCH, 500), (APRIL, 600)):
        installation.publish(month, rows)
    installation.publish(TripMonth("yellow", "2021-02"), 5_000)
    installation.run(TripMonth("yellow", "2021-02"), "raw_trips", "clean_trips")
    seen = []
    for month in (APRIL, MARCH, february, MARCH):
        installation.run(month, "raw_trips", "clean_trips")
        check = installation.check("clean_trips", "rows_like_neighbors", month)
        assert check
        assert check.severity is dg.AssetCheckSeverity.WARN
        told = figures(check.metadata)
        seen.append((month.month, check.passed, told["rows"], told.get("compared_with")))
    assert seen == [
        ("2021-04", True, 600, None),
        ("2021-03", True, 500, "2021-04"),
        ("2021-02", False, 100, "2021-03"),
        ("2021-03", False, 500, "2021-02"),
    ]


def test_a_neighbor_that_cannot_be_read_is_not_compared_with(installation: StoreInstallation) -> None:
    """A damaged file of another month does not fail this one."""
    installation.publish(MARCH, 100)
    damaged = installation.home / "clean/green/green_tripdata_2021-02.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a Parquet file")
    told = installation.run(MARCH)
    assert told[-1].what is Progress.done, told[-1].error
    check = installation.check("clean_trips", "rows_like_neighbors", MARCH)
    assert check
    assert check.passed
    assert "compared_with" not in check.metadata
