"""The five assets of a color that load trips: the compute functions and how they become asset definitions.

A compute function gets the month of its partition, calls `tlc` and `stores` to do the work, and yields a
MaterializeResult with the data version, checks, and metadata. Its docstring starts the description of its asset.

Not here: the work itself (`tlc`, `stores`), publishing (`io_managers`), and the list of assets (`graph`).
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from inspect import getdoc
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import dagster as dg
from pydantic import Field

from taxi_assets.connections import is_bucket
from taxi_assets.defs.checks import NOT_VERIFIED, check_specs, judged, not_verified, reconciled, verified
from taxi_assets.defs.descriptions import describe_asset, file_kind, location, warehouse_kind
from taxi_assets.defs.metadata import column_schema, counts_table, preview, table_metadata, work_metadata
from taxi_assets.defs.newest import report_loaded
from taxi_assets.defs.resources import PostgresResource, RuleDefaults
from taxi_assets.defs.retries import Failure, failure, retry_tags, retry_transient
from taxi_assets.defs.source_trips import loaded_months, observe_fetched, observe_not_published
from taxi_assets.errors import (
    DamagedFile,
    MissingUpstream,
    NotPublished,
    ReplacedByAnotherRun,
    StoreMismatch,
    TaxiAssetsError,
)
from taxi_assets.graph import ASSETS, SOURCE_TRIPS, TripAsset
from taxi_assets.instance._dagster import PRIORITY_TAG, RawMetadataValue
from taxi_assets.instance.downloads import fetch_metadata, reusable_fetch
from taxi_assets.instance.processes import claim_run
from taxi_assets.keys import asset_key
from taxi_assets.partitions import month_of, month_partitions, source_colors
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.lake import Lake, LakeObject, damage_reported
from taxi_assets.stores.memory import translate_memory_errors
from taxi_assets.stores.profile import profile_month
from taxi_assets.stores.source.months import Source
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc import parquet
from taxi_assets.tlc.clean import CleanLimits, clean_month, inspect_raw
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS, compare_with_neighbors, judge, rules_of
from taxi_assets.tlc.rules import (
    MissingPassengers,
    ZeroPassengers,
    count_passengers,
    drop_zero_passengers,
    fill_missing_passengers,
)
from taxi_assets.tlc.schema import LAYOUTS, Layout
from taxi_assets.tlc.trips import TripMonth, months_before, next_month
from taxi_assets.tlc.verify import verify_count, verify_file
from taxi_assets.tlc.versions import CODE_VERSIONS, lake_version, postgres_version, version_of_clean, warehouse_version

if TYPE_CHECKING:
    import pyarrow as pa

Value = TypeVar("Value")

Results: TypeAlias = Iterator[dg.MaterializeResult | dg.AssetCheckResult]
"""What a compute function yields: the MaterializeResult, whose value is published at once, then check results.

The later check results come from querying the store after the load, or from inspecting the published trips.
"""


class RawConfig(dg.Config):
    """Whether this run downloads the month again even if the source has not changed."""

    fresh: bool = Field(default=False, description="Download the month even if the source has not changed")


class CleanConfig(dg.Config):
    """The shares of rows that this run may reject, and that may start outside the month."""

    reject_limit: float | None = Field(
        None, description="The share of rows that may be rejected. Default: TAXI_REJECT_LIMIT"
    )
    outside_month_limit: float | None = Field(
        None, description="The share of trips that may start outside the month. Default: TAXI_OUTSIDE_MONTH_LIMIT"
    )


class LakeConfig(dg.Config):
    """How this run handles a missing `passenger_count`, and an object that another program wrote."""

    missing_passengers: MissingPassengers | None = Field(
        None, description="`zero` or `keep`. Default: TAXI_MISSING_PASSENGERS"
    )
    overwrite: bool = Field(default=False, description="Replace an object that another program wrote")


class PostgresConfig(dg.Config):
    """How this run handles rows with `passenger_count = 0`."""

    zero_passengers: ZeroPassengers | None = Field(None, description="`drop` or `keep`. Default: TAXI_ZERO_PASSENGERS")


def raw_trips(
    context: dg.AssetExecutionContext, config: RawConfig, source: dg.ResourceParam[Source], home: dg.ResourceParam[Home]
) -> Results:
    """One month of trips as a file, byte for byte as the source has it: a CSV or a Parquet file.

    The file is downloaded again only if the source has a new version of it. If the source does not have the month,
    neither this asset nor its downstream assets are materialized.
    """
    started, (month, _) = perf_counter(), _month(context)
    known = None if config.fresh else reusable_fetch(context.instance, month, source.address(month), home)
    try:
        with home.stage_raw(month) as staged:
            fetched = source.fetch(month, staged, known, lambda: loaded_months(context.instance, month.color))
            if fetched.unchanged:
                staged.discard()
            rows = inspect_raw(month, home.find_raw(month) if fetched.unchanged else staged.path, fetched.address)
    except NotPublished as error:
        source.probe(loaded_months(context.instance, month.color))
        observe_not_published(context, month, error)
        return
    observe_fetched(context, month, fetched.fingerprint)
    yield dg.MaterializeResult(
        value=home.find_raw(month) if fetched.unchanged else staged,
        data_version=dg.DataVersion(fetched.sha256),
        metadata={**work_metadata(rows, perf_counter() - started), **fetch_metadata(fetched)},
    )


def clean_trips(
    context: dg.AssetExecutionContext,
    config: CleanConfig,
    raw_trips: Path,
    home: dg.ResourceParam[Home],
    defaults: RuleDefaults,
) -> Results:
    """The rows of the month that parse, with typed columns, as a Parquet file.

    Rejected rows are saved in a separate file next to it, each with the reason for the rejection.

    The columns are the same for all years: those of the TLC's current files, then those that only earlier files have,
    then `file_month`. A column that the file does not have is empty. Times are New York wall-clock times.
    """
    started, (month, layout) = perf_counter(), _month(context)
    limits = CleanLimits(
        _or_default(config.reject_limit, defaults.reject_limit),
        _or_default(config.outside_month_limit, defaults.outside_month_limit),
    )
    with home.stage_clean(month) as clean, home.stage_rejected(month) as rejected:
        report = clean_month(month, raw_trips, clean.path, rejected.path, limits)
        verify_file(month, clean.path, layout, report.rows)
        if report.rejected:
            verify_count(month, "rejected rows", parquet.count_rows(rejected.path), report.rejected_rows)
        else:
            rejected.discard()
    counts = {"raw_rows": report.raw_rows, "rejected_rows": report.rejected_rows}
    yield dg.MaterializeResult(
        value=StagedClean(clean, rejected if report.rejected else None, report.version),
        data_version=dg.DataVersion(report.version),
        check_results=[
            verified(
                clean_rows=report.rows, **counts, rejected_share=report.rejected_share, reject_limit=limits.rejected
            )
        ],
        metadata={
            **work_metadata(report.rows, perf_counter() - started),
            **column_schema(layout.file_columns),
            **counts,
            "rejected_share": report.rejected_share,
            "rejected_by_reason": counts_table("reason", report.rejected),
            "nulls_by_column": counts_table("column", report.nulls),
            "pickups_outside_month": report.outside_rows,
            "rows_decoded_as_windows_1252": report.recoded_rows,
            "missing_passengers": report.nulls[layout.passengers or ""],
            "zero_passengers": report.zero_passengers,
            "bytes_in": raw_trips.stat().st_size,
            "preview": preview(clean.path, layout),
        },
    )
    yield from _judge_trips(home, month, layout)


def lake_trips(
    context: dg.AssetExecutionContext,
    config: LakeConfig,
    clean_trips: Path,
    lake: dg.ResourceParam[Lake],
    defaults: RuleDefaults,
) -> Results:
    """The month as an object in the lake. The warehouse loads it without further transformation.

    A missing `passenger_count` is replaced with 0, unless the rule is `keep`.
    """
    started, (month, layout) = perf_counter(), _month(context)
    rule = _or_default(config.missing_passengers, defaults.missing_passengers)
    if not config.overwrite:
        _require_replaceable(lake, month)
    with damage_reported(month, str(clean_trips), "clean_trips"):
        footer = parquet.read_footer(clean_trips)
        before, _ = count_passengers(clean_trips, layout)
    version = lake_version(version_of_clean(footer), layout, rule)
    with lake.stage(month) as staged:
        if before and rule is not MissingPassengers.keep:
            tables = (fill_missing_passengers(t, layout, rule) for t in _read_clean(month, clean_trips))
            rows = parquet.write_row_groups(staged.path, layout, tables, footer.source, version)
        else:
            with damage_reported(month, str(clean_trips), "clean_trips"):
                rows = parquet.copy_row_groups(clean_trips, staged.path, layout, footer.source, version)
        verify_file(month, staged.path, layout, footer.rows)
        after, _ = count_passengers(staged.path, layout)
        if rule is MissingPassengers.zero:
            verify_count(month, "missing passenger_count in the file that was written", after, 0)
    yield dg.MaterializeResult(
        value=staged,
        data_version=dg.DataVersion(version),
        check_results=[verified(rows=rows, missing_passengers=after, rule=str(rule))],
        metadata={
            **work_metadata(rows, perf_counter() - started),
            **column_schema(layout.file_columns),
            "rule": str(rule),
            "missing_passengers_before": before,
            "missing_passengers_after": after,
        },
    )
    expected = parquet.summarize_parquet(clean_trips, layout)
    if layout.passengers:
        expected = replace(expected, nulls={**expected.nulls, layout.passengers: after})
    yield reconciled(month, "lake_trips", lake.summarize(month), expected)


def warehouse_trips(
    context: dg.AssetExecutionContext, lake_trips: LakeObject, warehouse: dg.ResourceParam[Warehouse]
) -> Results:
    """The month as a partition of the color's warehouse table, loaded from the object in the lake."""
    started, (month, layout) = perf_counter(), _month(context)
    rows = warehouse.replace_month(month, lake_trips, lake_trips.rows)
    _require_unchanged(lake_trips)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(warehouse_version(lake_trips.version)),
        check_results=[verified(rows=rows)],
        metadata={
            **work_metadata(rows, perf_counter() - started),
            **table_metadata(warehouse.table(month), warehouse.total_rows(month)),
            **column_schema(layout.table_columns),
            "lake_object": lake_trips.uri,
        },
    )
    report_loaded(context.instance, month)
    yield reconciled(month, "warehouse_trips", warehouse.summarize(month), lake_trips.summarize())


def postgres_trips(
    context: dg.AssetExecutionContext,
    config: PostgresConfig,
    clean_trips: Path,
    postgres: dg.ResourceParam[PostgresResource],
    defaults: RuleDefaults,
) -> Results:
    """The month as a partition of the color's Postgres table. Column names are in lowercase.

    Rows with `passenger_count = 0` are dropped, unless the rule is `keep`. Rows with a missing `passenger_count` are
    always kept.
    """
    started, (month, layout) = perf_counter(), _month(context)
    rule, store = _or_default(config.zero_passengers, defaults.zero_passengers), postgres.open()
    with damage_reported(month, str(clean_trips), "clean_trips"):
        before, zero = parquet.count_rows(clean_trips), count_passengers(clean_trips, layout)[1]
        columns = parquet.filled_columns(clean_trips, layout)
    expected = before - (zero if rule is ZeroPassengers.drop else 0)
    summarizer = parquet.Summarizer(layout)
    tables = (drop_zero_passengers(t, layout, rule) for t in _read_clean(month, clean_trips))
    rows = store.replace_month(month, summarizer.watch(tables), expected, columns)
    version = postgres_version(version_of_clean(parquet.read_footer(clean_trips)), layout, rule)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        check_results=[verified(rows=rows, rule=str(rule))],
        metadata={
            **work_metadata(rows, perf_counter() - started),
            **table_metadata(store.table(month), store.total_rows(month)),
            **column_schema(layout.table_columns, str.lower),
            "rule": str(rule),
            "rows_before": before,
            "rows_after": rows,
            "zero_passengers": zero,
        },
    )
    yield reconciled(month, "postgres_trips", store.summarize(month), summarizer.summary())


@dataclass(frozen=True)
class _Build:
    """How an asset is built: its compute function, its kind in the UI, and what publishes and loads its value."""

    compute: Callable[..., Results]
    kind: str
    io_manager: str | None = None
    publishes: dg.DagsterType | None = None
    """The type of the value that the I/O manager publishes. In a job, Dagster accepts one type of each name."""

    is_table: bool = False
    """Whether the asset is a table, with `Layout.table_columns`. Otherwise it is a file, with `Layout.file_columns`."""

    convert_name: Callable[[str], str] = str
    """Converts the declared column names to those of the asset: Postgres uses lowercase names."""


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets of trips of every color under these settings."""
    builds = {
        "raw_trips": _Build(
            raw_trips, file_kind(settings), "raw_files", dg.PythonObjectDagsterType((StagedFile, Path))
        ),
        "clean_trips": _Build(clean_trips, "parquet", "clean_files", dg.PythonObjectDagsterType(StagedClean)),
        "lake_trips": _Build(
            lake_trips,
            "gcs" if is_bucket(settings) else "file",
            "lake_objects",
            dg.PythonObjectDagsterType(StagedFile),
        ),
        # The steps fill their tables themselves and yield no value: these I/O managers only load.
        "warehouse_trips": _Build(warehouse_trips, warehouse_kind(settings), "warehouse_tables", is_table=True),
        "postgres_trips": _Build(postgres_trips, "postgres", "postgres_tables", is_table=True, convert_name=str.lower),
    }
    return [
        _build_asset(settings, color, asset, builds[asset.name])
        for color in source_colors(settings)
        for asset in ASSETS
    ]


def _build_asset(settings: Settings, color: str, asset: TripAsset, build: _Build) -> dg.AssetsDefinition:
    partitions, from_source = month_partitions(settings, color), asset.upstream == SOURCE_TRIPS
    upstream, layout = asset_key(color, asset.upstream), LAYOUTS[color]
    columns = layout.table_columns if build.is_table else layout.file_columns
    return dg.asset(
        key=asset_key(color, asset.name),
        deps=[upstream] if from_source else (),
        ins={} if from_source else {asset.upstream: dg.AssetIn(key=upstream)},
        # If the month is not published, `raw_trips` yields no output and the downstream steps are skipped.
        output_required=not from_source,
        partitions_def=partitions,
        check_specs=check_specs(color, asset.name, partitions),
        io_manager_key=build.io_manager,
        dagster_type=build.publishes,
        group_name=color,
        kinds={build.kind},
        tags={"domain": "taxi_trips", "layer": asset.layer},
        owners=settings.owner_names,
        description=describe_asset(settings, color, asset.name, getdoc(build.compute) or ""),
        metadata={
            **location(settings, color, asset.name),
            **({} if from_source else column_schema(columns, build.convert_name)),
        },
        code_version=CODE_VERSIONS[asset.name],
        # The pool limits how many runs of a color run at the same time.
        pool=color,
        # If there is a choice, steps run in the order of ASSETS. Dagster's own order is that of their names, in which
        # the warehouse is last, when the process holds the most memory.
        op_tags={**retry_tags(settings), PRIORITY_TAG: str(-ASSETS.index(asset))},
    )(_as_step(build.compute))


def _as_step(compute: Callable[..., Results]) -> Callable[..., Results]:
    """Wrap a compute function in what every step needs: claiming the run, retries, and error translation.

    A transient error requests a retry of the step. Any other TaxiAssetsError becomes a Failure that is not retried.
    """

    @wraps(compute)
    def step(context: dg.AssetExecutionContext, **given: Any) -> Results:  # noqa: ANN401  # differs by asset
        claim_run(context.instance, context.run)
        try:
            with retry_transient(context.get_step_execution_context()), translate_memory_errors():
                for result in compute(context, **given):
                    yield result
                    if isinstance(result, dg.AssetCheckResult):
                        _require_passed(result)
        except TaxiAssetsError as error:
            if isinstance(error, NOT_VERIFIED):
                yield not_verified(error)
            raise failure(error) from error
        finally:
            parquet.release_memory()

    return step


def _require_passed(result: dg.AssetCheckResult) -> None:
    """Raise Failure with the check's description if a check with severity ERROR did not pass.

    Dagster's own error would only name the check.
    """
    if not result.passed and result.severity is dg.AssetCheckSeverity.ERROR:
        metadata: dict[str, RawMetadataValue] = {"error": StoreMismatch.slug, **result.metadata}
        raise Failure(result.description, metadata=metadata, allow_retries=False)


def _judge_trips(home: Home, month: TripMonth, layout: Layout) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the quality rules on the clean month, and compare its row count with those of the adjacent months."""
    clean = home.find_clean(month)
    profile = profile_month(clean, layout, month)
    for rule in rules_of(layout):
        yield judged(rule.name, judge(rule, profile.findings[rule.name]))
    beside = [TripMonth(month.color, name) for name in (*months_before(month.month, 1), next_month(month.month))]
    rows = {other.month: count for other in beside if (count := home.count_clean(other)) is not None}
    yield judged(ROWS_LIKE_NEIGHBORS.name, compare_with_neighbors(profile.rows, rows))


def _read_clean(month: TripMonth, clean: Path) -> "Iterator[pa.Table]":
    """Yield the row groups of a clean file. Raises DamagedFile."""
    with damage_reported(month, str(clean), "clean_trips"):
        yield from parquet.read_row_groups(clean, LAYOUTS[month.color])


def _require_replaceable(lake: Lake, month: TripMonth) -> None:
    """Raise ForeignObject if another program wrote the object that the month would replace."""
    with suppress(MissingUpstream, DamagedFile):
        lake.find(month)


def _require_unchanged(loaded: LakeObject) -> None:
    """Raise StoreBusy if the lake object was replaced during the load: the table may contain either version."""
    if loaded.reread() != loaded:
        raise ReplacedByAnotherRun(
            f"{loaded.month}: {loaded.uri} was replaced while it was loaded, so the table may contain either version.",
            **loaded.month.facts,
            asset="warehouse_trips",
        )


def _or_default(configured: Value | None, default: Value) -> Value:
    return default if configured is None else configured


def _month(context: dg.AssetExecutionContext) -> tuple[TripMonth, Layout]:
    """Return the month of this run's partition and the column layout of its color."""
    month = month_of(context.asset_key, context.partition_key)
    return month, LAYOUTS[month.color]
