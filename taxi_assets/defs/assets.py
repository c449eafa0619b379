"""The five stations. Each is a few lines: which month, one call, one result with counts, checks and metadata.

Not here: the work itself (`tlc`, `stores`), and publishing (`io_managers`).
"""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG
from pydantic import Field

from taxi_assets.defs.checks import check_specs, checked, equal
from taxi_assets.defs.fetches import fetch_metadata, last_fetched
from taxi_assets.defs.instance import claim_run
from taxi_assets.defs.io_managers import CleanFiles, LakeObjects, RawFiles
from taxi_assets.defs.metadata import column_schema, counts_table, pace, preview, row_count
from taxi_assets.defs.partitions import partition_key, trip_month, trip_partitions
from taxi_assets.defs.resources import PostgresResource, RuleDefaults, SourceResource, WarehouseResource
from taxi_assets.defs.retries import retry_tags, tried_again
from taxi_assets.defs.source_trips import SOURCE_TRIPS, observe_fetched
from taxi_assets.errors import StoreBusy
from taxi_assets.settings import Settings
from taxi_assets.stores.home import StagedClean
from taxi_assets.stores.lake import LakeObject
from taxi_assets.systems import is_bigquery, is_bucket
from taxi_assets.tlc import parquet
from taxi_assets.tlc.clean import clean_month, inspect_raw
from taxi_assets.tlc.rules import (
    MissingPassengers,
    ZeroPassengers,
    count_passengers,
    drop_zero_passengers,
    fill_missing_passengers,
)
from taxi_assets.tlc.schema import LAYOUTS, Layout
from taxi_assets.tlc.trips import TripMonth

Value = TypeVar("Value")


class RawConfig(dg.Config):
    """Whether this run trusts what it has."""

    fresh: bool = Field(default=False, description="Fetch the month though the source still has the same version")


class CleanConfig(dg.Config):
    """How strict the cleaning of this run is."""

    reject_limit: float | None = Field(
        None, description="The share of rows that may be rejected; else TAXI_REJECT_LIMIT"
    )


class LakeConfig(dg.Config):
    """What this run does with a missing passenger_count."""

    missing_passengers: MissingPassengers | None = Field(None, description="zero or keep; else TAXI_MISSING_PASSENGERS")


class PostgresConfig(dg.Config):
    """What this run does with rows of 0 passengers."""

    zero_passengers: ZeroPassengers | None = Field(None, description="drop or keep; else TAXI_ZERO_PASSENGERS")


def raw_trips(
    context: dg.AssetExecutionContext,
    config: RawConfig,
    source: SourceResource,
    raw_files: dg.ResourceParam[RawFiles],
) -> dg.MaterializeResult:
    """A month of trips as the TLC published it: a CSV, byte for byte.

    One file a color and month, about two months after the month. It is not fetched again while the source has the same
    version of it. Source: New York City Taxi and Limousine Commission, trip record data, public.
    """
    started, (month, _) = perf_counter(), _month(context)
    home, opened = raw_files.home(), source.open()
    known = None if config.fresh else last_fetched(context.instance, month, opened.address(month), home)
    with home.stage_raw(month) as staged:
        fetched = opened.fetch(month, staged, known)
        if fetched.unchanged:
            staged.discard()
        rows = inspect_raw(month, home.find_raw(month) if fetched.unchanged else staged.path, fetched.address)
    observe_fetched(context, month, fetched.fingerprint)
    return dg.MaterializeResult(
        value=home.find_raw(month) if fetched.unchanged else staged,
        data_version=dg.DataVersion(fetched.sha256),
        metadata={**row_count(rows), **pace(rows, perf_counter() - started), **fetch_metadata(fetched)},
    )


def clean_trips(
    context: dg.AssetExecutionContext,
    config: CleanConfig,
    raw_trips: Path,
    clean_files: dg.ResourceParam[CleanFiles],
    defaults: RuleDefaults,
) -> dg.MaterializeResult:
    """The rows of the month that parse, typed, as Parquet; the lines that do not are kept beside, each with its reason.

    Columns are the TLC's, in its order and one spelling, then `file_month`. Times are New York wall-clock times.
    """
    started, (month, layout) = perf_counter(), _month(context)
    home, limit = clean_files.home(), _or_default(config.reject_limit, defaults.reject_limit)
    with home.stage_clean(month) as clean, home.stage_rejected(month) as rejected:
        report = clean_month(month, raw_trips, clean.path, rejected.path, limit)
        rejected_rows = parquet.count_rows(rejected.path) if report.rejected else 0
        if not report.rejected:
            rejected.discard()
    rows = parquet.count_rows(clean.path)
    return dg.MaterializeResult(
        value=StagedClean(clean, rejected if report.rejected else None),
        check_results=[
            equal("rows_add_up", rows + rejected_rows, report.raw_rows),
            _schema_check(clean.path, layout),
            checked(
                "rejected_share",
                passed=report.rejected_share <= limit,
                share=report.rejected_share,
                limit=limit,
            ),
            checked("pickups_in_month", passed=not report.stray, outside=report.stray, rows=rows),
        ],
        metadata={
            **row_count(rows),
            **pace(rows, perf_counter() - started),
            **column_schema(layout),
            "raw_rows": report.raw_rows,
            "rejected_rows": rejected_rows,
            "rejected_by_reason": counts_table("reason", report.rejected),
            "nulls_by_column": counts_table("column", report.nulls),
            "pickups_outside_month": report.stray,
            "missing_passengers": report.nulls[layout.passengers or ""],
            "zero_passengers": report.zero_passengers,
            "bytes_in": raw_trips.stat().st_size,
            "bytes": clean.path.stat().st_size,
            "preview": preview(clean.path, layout),
        },
    )


def lake_trips(
    context: dg.AssetExecutionContext,
    config: LakeConfig,
    clean_trips: Path,
    lake: dg.ResourceParam[LakeObjects],
    defaults: RuleDefaults,
) -> dg.MaterializeResult:
    """The month as an object of the lake, ready for a plain load into the warehouse.

    A missing passenger_count becomes 0, unless the rule is `keep`.
    """
    started, (month, layout) = perf_counter(), _month(context)
    rule = _or_default(config.missing_passengers, defaults.missing_passengers)
    with lake.lake().stage(month) as staged:
        tables = (fill_missing_passengers(t, layout, rule) for t in parquet.read_row_groups(clean_trips))
        rows = parquet.write_row_groups(staged.path, layout, tables, parquet.read_source(clean_trips))
    before, after = count_passengers(clean_trips, layout)[0], count_passengers(staged.path, layout)[0]
    return dg.MaterializeResult(
        value=staged,
        check_results=[
            equal("rows_as_clean", rows, parquet.count_rows(clean_trips)),
            _schema_check(staged.path, layout),
            checked(
                "no_missing_passengers",
                passed=after == 0 or rule is MissingPassengers.keep,
                missing=after,
                rule=str(rule),
            ),
        ],
        metadata={
            **row_count(rows),
            **pace(rows, perf_counter() - started),
            **column_schema(layout),
            "rule": str(rule),
            "missing_passengers_before": before,
            "missing_passengers_after": after,
        },
    )


def warehouse_trips(
    context: dg.AssetExecutionContext,
    lake_trips: LakeObject,
    lake: dg.ResourceParam[LakeObjects],
    warehouse: WarehouseResource,
) -> dg.MaterializeResult:
    """The month as a partition of its color's table in the warehouse, loaded from the lake's object."""
    started, (month, layout) = perf_counter(), _month(context)
    opened = warehouse.open()
    rows = opened.replace_month(month, lake_trips, lake_trips.rows)
    _require_unchanged(lake_trips, lake.lake().find(month))
    return dg.MaterializeResult(
        check_results=[equal("rows_as_lake", rows, lake_trips.rows)],
        metadata={
            **row_count(rows),
            **pace(rows, perf_counter() - started),
            **column_schema(layout),
            "dagster/table_name": opened.table(month),
            "lake_object": lake_trips.uri,
        },
    )


def postgres_trips(
    context: dg.AssetExecutionContext,
    config: PostgresConfig,
    clean_trips: Path,
    postgres: PostgresResource,
    defaults: RuleDefaults,
) -> dg.MaterializeResult:
    """The month as a partition of its color's table in Postgres, column names in lower case.

    Rows that report 0 passengers are dropped, unless the rule is `keep`; rows that report none stay.
    """
    started, (month, layout) = perf_counter(), _month(context)
    rule = _or_default(config.zero_passengers, defaults.zero_passengers)
    before, zero = parquet.count_rows(clean_trips), count_passengers(clean_trips, layout)[1]
    expected = before - (zero if rule is ZeroPassengers.drop else 0)
    tables = (drop_zero_passengers(t, layout, rule) for t in parquet.read_row_groups(clean_trips))
    rows = postgres.open().replace_month(month, tables, expected)
    return dg.MaterializeResult(
        check_results=[equal("rows_as_clean", rows, expected)],
        metadata={
            **row_count(rows),
            **pace(rows, perf_counter() - started),
            **column_schema(layout, str.lower),
            "dagster/table_name": f"public.{month.table}",
            "rule": str(rule),
            "rows_before": before,
            "rows_after": rows,
            "zero_passengers": zero,
        },
    )


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The five assets under these settings."""
    partitions = trip_partitions(settings.first_month)

    def station(
        compute: Callable[..., Any],
        kind: str,
        io_manager_key: str | None = None,
        deps: Sequence[str] = (),
    ) -> dg.AssetsDefinition:
        return dg.asset(
            partitions_def=partitions,
            deps=deps,
            kinds={kind},
            io_manager_key=io_manager_key,
            dagster_type=dg.Any if io_manager_key else None,
            check_specs=check_specs(compute.__name__),
            group_name="trips",
            code_version="1",
            op_tags=retry_tags(settings),
        )(_as_station(compute))

    return [
        station(raw_trips, "csv", "raw_files", deps=[SOURCE_TRIPS]),
        station(clean_trips, "parquet", "clean_files"),
        station(lake_trips, "gcs" if is_bucket(settings) else "file", "lake"),
        station(warehouse_trips, "bigquery" if is_bigquery(settings) else "duckdb"),
        station(postgres_trips, "postgres"),
    ]


def _as_station(compute: Callable[..., Any]) -> Callable[..., Any]:
    """What every station does besides its work."""

    @wraps(compute)
    def station(context: dg.AssetExecutionContext, **given: object) -> object:
        claim_run(context.instance, context.run)
        with tried_again(context.get_step_execution_context()):
            return compute(context, **given)

    return station


def _require_unchanged(loaded: LakeObject, now: LakeObject) -> None:
    """Raise StoreBusy where the object that was to be loaded is another one by now, which may be what was loaded."""
    if now != loaded:
        raise StoreBusy(
            f"{loaded.month}: {loaded.uri} was replaced while it was loaded, so that the table may hold either. "
            "Run warehouse_trips again, when nobody puts the month any more"
        )


def _or_default(said: Value | None, default: Value) -> Value:
    return default if said is None else said


def _month(context: dg.AssetExecutionContext) -> tuple[TripMonth, Layout]:
    """The month of this run's partition, and the columns of its color."""
    month = trip_month(context.partition_key, context.assets_def.partitions_def)
    if PARTITION_NAME_TAG not in context.run.tags:
        context.log.warning(
            "%s is loaded, but Dagster will not remember it: the run's tags name its dimensions only. "
            'Start it with the tag {"%s": "%s"}',
            month,
            PARTITION_NAME_TAG,
            partition_key(month),
        )
    return month, LAYOUTS[month.color]


def _schema_check(path: Path, layout: Layout) -> dg.AssetCheckResult:
    seen = parquet.read_schema(path)
    return checked(
        "schema_as_declared", passed=seen.equals(layout.arrow_schema()), seen=dg.MetadataValue.text(str(seen))
    )
