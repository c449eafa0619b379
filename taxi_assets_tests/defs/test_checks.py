"""Tests of the asset checks: `verified` before a month is published, then those of the store and of the trips."""

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import StoreMismatch
from taxi_assets.graph import TRIP_ASSETS, VERIFIED
from taxi_assets.instance.partition_status import PartitionStatus
from taxi_assets.operations.progress import Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.postgres.store import PostgresStore
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
    """Create an installation with nothing loaded."""
    with closing(StoreInstallation()) as created:
        assert created.home == home
        yield created


def _write_fewer(path: Path, layout: Layout, tables: Iterator[pa.Table], source: str = "", version: str = "") -> int:
    """Write the tables without their last rows."""
    return WRITE(path, layout, (table.slice(0, table.num_rows - 1) for table in tables), source, version)


def _write_fewer_and_count_all(
    path: Path, layout: Layout, tables: Iterator[pa.Table], source: str = "", version: str = ""
) -> int:
    """Write the tables without their last rows. Return the row count of the complete tables."""
    kept = list(tables)
    WRITE(path, layout, (table.slice(0, table.num_rows - 1) for table in kept), source, version)
    return sum(table.num_rows for table in kept)


def _write_text(path: Path, _: Layout, tables: Iterator[pa.Table], *__: str) -> int:
    """Write the column `trip_distance` as text."""
    whole = pa.concat_tables(tables)
    number = whole.column_names.index("trip_distance")
    whole = whole.set_column(number, "trip_distance", whole.column("trip_distance").cast(pa.string()))
    pq.write_table(whole, path)
    return int(whole.num_rows)


WRITE = parquet.write_row_groups


def _lose_rejects(*arguments: Any) -> Any:
    """Clean the month, then remove a rejected line from its file."""
    report, rejected = clean_month(*arguments), arguments[3]
    pq.write_table(pq.read_table(rejected).slice(1), rejected)
    return report


def _load_other_object(change: Callable[[pa.Table], pa.Table]) -> Any:
    """Return a `replace_month` of DuckDB that loads a changed copy of the object."""

    def replace_month(warehouse: DuckDBWarehouse, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        copy = warehouse.path.with_name("copy.parquet")
        pq.write_table(change(pq.read_table(lake_object.uri)), copy)
        return LOAD_DUCKDB(warehouse, month, replace(lake_object, uri=str(copy)), rows)

    return replace_month


LOAD_DUCKDB = DuckDBWarehouse.replace_month


def _load_other_tables(change: Callable[[pa.Table], pa.Table]) -> Any:
    """Return a `replace_month` of Postgres that loads changed tables."""

    def replace_month(store: PostgresStore, month: TripMonth, tables: Iterator[pa.Table], *rest: Any) -> int:
        return LOAD_POSTGRES(store, month, map(change, tables), *rest)

    return replace_month


LOAD_POSTGRES = PostgresStore.replace_month


def _without_first(table: pa.Table) -> pa.Table:
    return table.slice(1)


def _duplicate(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


BREAKS: dict[str, tuple[str, str, object, dict[str, Any]]] = {
    "the clean file lost rows": (
        "clean_trips",
        "taxi_assets.tlc.clean.write_row_groups",
        _write_fewer,
        {"raw_rows": NEW_ROWS, "clean_rows": NEW_ROWS - 3, "rejected_rows": 2},
    ),
    "the clean file lost rows and counted all": (
        "clean_trips",
        "taxi_assets.tlc.clean.write_row_groups",
        _write_fewer_and_count_all,
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
    "the lake file has missing passengers": (
        "lake_trips",
        "taxi_assets.defs.assets.fill_missing_passengers",
        lambda table, *_: table,
        {"expected": 0},
    ),
    "the warehouse lost rows": (
        "warehouse_trips",
        "taxi_assets.stores.duckdb.DuckDBWarehouse.replace_month",
        _load_other_object(_without_first),
        {"seen": NEW_ROWS - 3, "expected": NEW_ROWS - 2},
    ),
    "the warehouse duplicated rows": (
        "warehouse_trips",
        "taxi_assets.stores.duckdb.DuckDBWarehouse.replace_month",
        _load_other_object(_duplicate),
        {"seen": 2 * (NEW_ROWS - 2), "expected": NEW_ROWS - 2},
    ),
    "Postgres lost rows": (
        "postgres_trips",
        "taxi_assets.stores.postgres.store.PostgresStore.replace_month",
        _load_other_tables(_without_first),
        {},
    ),
    "Postgres duplicated rows": (
        "postgres_trips",
        "taxi_assets.stores.postgres.store.PostgresStore.replace_month",
        _load_other_tables(_duplicate),
        {},
    ),
}
"""Defects: the asset, the function that is replaced, its replacement, and the figures that the failed check shows."""


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_writer_publishes_nothing(
    case: str, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The previous month stays published. The failure and the failed check `verified` contain the observed figures."""
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
        end = installation.run(MARCH, asset)[-1]

    assert (end.what, end.asset) == (Progress.failed, asset)
    assert _published(installation, MARCH, asset) == before
    assert len(installation.materializations(asset, MARCH)) == 1
    assert installation.staged_files() == []
    verified = installation.check(asset, VERIFIED, MARCH)
    assert not verified.passed
    assert verified.severity is dg.AssetCheckSeverity.ERROR
    assert verified.description == end.error
    seen = figures(verified.metadata)
    for name, value in expected.items():
        assert value in seen[name] if isinstance(value, str) else seen[name] == value
    assert ("raw_rows" in seen) or seen["seen"] != seen["expected"]
    failure = installation.failures(end.run_id)[asset]
    assert figures(failure.metadata) == {"error": _slug(end.error), **seen}
    assert installation.check(asset, VERIFIED, APRIL).passed
    history = installation.history(MARCH)
    assert history
    assert (history.status, history.failed_at) == (PartitionStatus.failed, asset)

    assert installation.run(MARCH, asset)[-1].what is Progress.done
    assert _published(installation, MARCH, asset) != before
    assert installation.check(asset, VERIFIED, MARCH).passed


def _slug(error: str) -> str:
    """Return the slug at the end of an error."""
    return error.rpartition("[")[2].removesuffix("]")


def _published(installation: StoreInstallation, month: TripMonth, asset: str) -> object:
    """Return the published content of a month in an asset."""
    if asset == "clean_trips":
        rejects = sorted((installation.home / f"rejected/{month.color}").glob(f"{month.stem}.*parquet"))
        clean = installation.home / f"clean/{month.color}/{month.stem}.parquet"
        return clean.read_bytes(), [(path.name, path.read_bytes()) for path in rejects]
    if asset == "lake_trips":
        return (installation.home / "lake" / month.object_name).read_bytes()
    return _summary(installation, month, asset)


def _summary(installation: StoreInstallation, month: TripMonth, asset: str) -> MonthSummary:
    """Return the summary of a month in a store."""
    if asset == "lake_trips":
        return installation.lake.summarize(month)
    store = installation.warehouse if asset == "warehouse_trips" else installation.postgres
    return store.summarize(month)


def _reject_lines(path: Path, lines: int) -> None:
    """Make the last lines of a raw file invalid."""
    rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([*rows[:-lines], *[b"not,a,trip\r\n"] * lines])))


def test_too_many_rejects_fail_verified(installation: StoreInstallation) -> None:
    """If too many rows are rejected, `verified` fails with the row counts, the share, and the limit."""
    _reject_lines(installation.publish(MARCH, 100), 3)
    run_id = installation.run(MARCH)[-1].run_id
    verified = installation.check("clean_trips", VERIFIED, MARCH)
    assert not verified.passed
    seen = figures(verified.metadata)
    assert (seen["raw_rows"], seen["reject_limit"]) == (100, 0.01)
    assert seen["rejected_share"] == seen["rejected_rows"] / 100 > 0.01
    [(asset, failure)] = installation.failures(run_id).items()
    assert (asset, figures(failure.metadata)) == ("clean_trips", {"error": "too-many-rejects", **seen})
    assert installation.materializations("clean_trips", MARCH) == []


def test_other_failures_evaluate_no_check(installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a store is not available, the run fails and no check of the month is evaluated."""
    installation.publish(MARCH, 100)
    installation.run(MARCH, "raw_trips", "clean_trips")
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://taxi@127.0.0.1:9/none")
    installation.definitions = build_definitions(Settings.load())
    end = installation.run(MARCH, "postgres_trips")[-1]
    assert end.what is Progress.failed
    assert installation.checks(end.run_id) == {}


@pytest.mark.parametrize(
    ("asset", "check", "store"),
    [
        ("lake_trips", "matches_clean", FolderLake),
        ("warehouse_trips", "matches_lake", DuckDBWarehouse),
        ("postgres_trips", "matches_clean", PostgresStore),
    ],
)
def test_store_checks_show_the_compared_figures(
    asset: str, check: str, store: type, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store check that passes shows all figures. One that fails shows both values of each figure that differs."""
    installation.publish(MARCH, 200)
    installation.load(MARCH)
    passed = installation.check(asset, check, MARCH)
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
    end = installation.run(MARCH, asset)[-1]
    failed = installation.check(asset, check, MARCH)
    assert not failed.passed
    assert failed.partition == MARCH.month
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert set(failed.metadata) == {"total_amount", "last_pickup", "nulls.trip_type"}
    assert (end.what, end.asset) == (Progress.failed, asset)
    totals = f"{round(total + 10, 2)} in the store, expected {total}"
    for fact in (str(MARCH), f"total_amount: {totals}", check, f"[{StoreMismatch.slug}]"):
        assert fact in end.error
    failure = installation.failures(end.run_id)[asset]
    assert figures(failure.metadata) == {"error": StoreMismatch.slug, **figures(failed.metadata)}
    assert installation.shown_errors(end.run_id) == [f"Failure: {failed.description}"]
    assert failed.metadata["total_amount"].value == totals
    assert str(summary.last_pickup) in str(failed.metadata["last_pickup"].value)
    assert f"{summary.nulls['trip_type'] + 3} in the store, expected {summary.nulls['trip_type']}" == str(
        failed.metadata["nulls.trip_type"].value
    )


def _change_store(installation: StoreInstallation, store: str, sql: str) -> None:
    """Run SQL on a month in a store, as another program could."""
    if store == "warehouse_trips":
        with duckdb.connect(installation.home / "warehouse.duckdb") as database:
            database.execute(sql)
    elif store == "postgres_trips":
        import sqlalchemy as sa

        with installation.postgres.engine().begin() as connection:
            connection.execute(sa.text(sql))
    else:
        path = installation.home / "lake" / MARCH.object_name
        metadata = pq.read_schema(path).metadata
        with duckdb.connect() as database:
            database.execute(f"CREATE TABLE {MARCH.table} AS FROM read_parquet('{path}')")
            database.execute(sql)
            database.execute(f"COPY {MARCH.table} TO '{path}' (FORMAT parquet)")
        pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)


CHANGES = {
    "a row was deleted": (
        "DELETE FROM {table} WHERE lpep_pickup_datetime = (SELECT max(lpep_pickup_datetime) FROM {table})",
        "rows",
    ),
    "an amount was changed": ("UPDATE {table} SET total_amount = total_amount + 1", "total_amount"),
    "a time was changed": (
        "UPDATE {table} SET lpep_pickup_datetime = '2000-02-01' WHERE lpep_pickup_datetime < '2021-03-10'",
        "first_pickup",
    ),
    "values were deleted": ("UPDATE {table} SET trip_distance = NULL", "nulls.trip_distance"),
}
"""Changes by another program between the load and the check, and the figure that differs then."""


@pytest.mark.parametrize("asset", ["lake_trips", "warehouse_trips", "postgres_trips"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_store_by_another_program_fails_the_month(
    change: str, asset: str, installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check queries the store after the load. If the data differs from what was loaded, the month fails."""
    sql, figure = CHANGES[change]
    installation.publish(MARCH, 200)
    installation.run(MARCH, *TRIP_ASSETS[:3])
    check = "matches_lake" if asset == "warehouse_trips" else "matches_clean"
    store = {"lake_trips": FolderLake, "warehouse_trips": DuckDBWarehouse, "postgres_trips": PostgresStore}[asset]
    original: Callable[[Any, TripMonth], MonthSummary] = store.summarize  # type: ignore[attr-defined]
    changed: list[str] = []

    def summarize(self: Any, month: TripMonth) -> MonthSummary:
        if not changed:
            changed.append(sql)
            _change_store(installation, asset, sql.format(table=MARCH.table))
        return original(self, month)

    with monkeypatch.context() as patch:
        patch.setattr(store, "summarize", summarize)
        end = installation.run(MARCH, asset)[-1]
    assert changed
    assert (end.what, end.asset) == (Progress.failed, asset)
    assert figure in end.error
    evaluated = installation.checks(end.run_id)
    assert evaluated[asset, VERIFIED].passed
    assert not evaluated[asset, check].passed
    assert figure in evaluated[asset, check].metadata
    assert installation.checks(installation.run(MARCH, asset)[-1].run_id)[asset, check].passed


def test_a_failed_store_check_skips_downstream_assets(
    installation: StoreInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the lake does not match the clean file, the warehouse is not loaded from it. Postgres is loaded."""
    installation.publish(MARCH, 200)
    installation.load(MARCH)
    installation.publish(MARCH, 300)
    summarize = FolderLake.summarize

    def summarize_fewer(self: FolderLake, month: TripMonth) -> MonthSummary:
        seen = summarize(self, month)
        return MonthSummary(seen.rows - 1, seen.total_amount, seen.first_pickup, seen.last_pickup, seen.nulls)

    monkeypatch.setattr(FolderLake, "summarize", summarize_fewer)
    end = installation.run(MARCH)[-1]
    assert (end.what, end.asset) == (Progress.failed, "lake_trips")
    assert "rows: 299 in the store, expected 300" in end.error
    assert installation.warehouse.count(MARCH) == 200
    assert installation.postgres.count(MARCH) > 200
    assert len(installation.materializations("warehouse_trips", MARCH)) == 1


def _edit(path: Path, **columns: Callable[[int, str], str]) -> None:
    """Change values of a raw file. Each function receives the row number and the value of its column."""
    with gzip.open(path, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    for name, change in columns.items():
        at = header.index(name)
        for number, row in enumerate(rows):
            row[at] = change(number, row[at])
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _in_first(share: float, value: str, rows: int = 1_000) -> Callable[[int, str], str]:
    """Return a function that replaces the value in the first rows, a share of all rows."""
    return lambda number, original: value if number < share * rows else original


QUALITY: dict[str, tuple[dict[str, Callable[[int, str], str]], dict[str, Any]]] = {
    "zones_known": ({"PULocationID": _in_first(0.1, "300")}, {"offending": 100, "limit": 0.001}),
    "codes_in_dictionary": ({"payment_type": _in_first(0.2, "9")}, {"offending": 200, "payment_type": "9 (200 rows)"}),
    "dropoff_not_before_pickup": (
        {"lpep_dropoff_datetime": _in_first(0.1, "2020-12-31 00:00:00")},
        {"offending": 100, "share": 0.1},
    ),
    "negative_money": ({"total_amount": lambda *_: "-5.3"}, {"offending": 1_000, "limit": 0.05}),
    "pickups_in_month": (
        {"lpep_pickup_datetime": _in_first(0.1, "2009-01-01 00:00:00")},
        {"offending": 100, "earliest_pickup": "2009-01-01 00:00:00"},
    ),
}
"""Changes of a raw file that break a quality rule, and the figures that its check shows."""


@pytest.mark.parametrize("rule", QUALITY)
def test_a_broken_quality_rule_warns(rule: str, installation: StoreInstallation) -> None:
    """A quality rule only warns: the month is loaded. The checks of other months do not change."""
    changes, expected = QUALITY[rule]
    installation.publish(APRIL, 1_000)
    _edit(installation.publish(MARCH, 1_000), **changes)
    installation.load(APRIL, MARCH)
    check = installation.check("clean_trips", rule, MARCH)
    assert (check.passed, check.severity, check.partition) == (False, dg.AssetCheckSeverity.WARN, MARCH.month)
    shown = figures(check.metadata)
    assert shown.items() >= {"rows": 1_000, **expected}.items()
    assert shown["share"] > shown["limit"]
    assert installation.warehouse.count(MARCH) == 1_000
    assert installation.check("clean_trips", rule, APRIL).passed


def test_duplicates_warn(installation: StoreInstallation) -> None:
    """A month in which every row is duplicated is loaded with all its rows. The check warns."""
    path = installation.publish(MARCH, 500)
    header, *rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([header, *rows, *rows])))
    installation.load(MARCH)
    check = installation.check("clean_trips", "duplicates", MARCH)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["offending"].value == 500
    assert installation.warehouse.count(MARCH) == 1_000


def test_a_row_count_unlike_adjacent_months_warns(installation: StoreInstallation) -> None:
    """The row count is compared with those of the adjacent clean months of the color, if there are any."""
    february = TripMonth("green", "2021-02")
    for month, rows in ((february, 100), (MARCH, 500), (APRIL, 600)):
        installation.publish(month, rows)
    installation.publish(TripMonth("yellow", "2021-02"), 5_000)
    installation.run(TripMonth("yellow", "2021-02"), "raw_trips", "clean_trips")
    seen = []
    for month in (APRIL, MARCH, february, MARCH):
        installation.run(month, "raw_trips", "clean_trips")
        check = installation.check("clean_trips", "rows_like_neighbors", month)
        assert check.severity is dg.AssetCheckSeverity.WARN
        shown = figures(check.metadata)
        seen.append((month.month, check.passed, shown["rows"], shown.get("compared_with")))
    assert seen == [
        ("2021-04", True, 600, None),
        ("2021-03", True, 500, "2021-04"),
        ("2021-02", False, 100, "2021-03"),
        ("2021-03", False, 500, "2021-02"),
    ]


def test_a_damaged_adjacent_month_is_not_compared(installation: StoreInstallation) -> None:
    """A damaged file of an adjacent month does not affect the month."""
    installation.publish(MARCH, 100)
    damaged = installation.home / "clean/green/green_tripdata_2021-02.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a Parquet file")
    installation.load(MARCH)
    check = installation.check("clean_trips", "rows_like_neighbors", MARCH)
    assert check.passed
    assert "compared_with" not in check.metadata
