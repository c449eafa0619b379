"""The marts of each color as assets: daily figures, and figures of each pickup zone, by month.

They are computed from the month's rows in the warehouse, by the warehouse itself. A sensor requests a run when a month
of `warehouse_trips` is updated. Not here: their columns and rules (`tlc.marts`), and their SQL (`stores.mart_sql`).
"""

from collections.abc import Iterator, Mapping
from math import isclose
from time import perf_counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from taxi_assets.defs.descriptions import describe_mart, mart_location, warehouse_kind
from taxi_assets.defs.mart_charts import chart_metadata
from taxi_assets.defs.metadata import column_schema, work_metadata
from taxi_assets.defs.retries import retry_tags, translate_errors
from taxi_assets.graph import MART_UPSTREAM
from taxi_assets.instance._dagster import DATA_VERSION_TAG, RawMetadataValue, disable_dagster_warnings
from taxi_assets.instance.processes import claim_run
from taxi_assets.keys import asset_key
from taxi_assets.partitions import month_of, month_partitions, source_colors
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.marts import DAILY_TRIPS, MARTS, MONTHLY_ZONE_REVENUE, RULES, Mart
from taxi_assets.tlc.schema import ZONES
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.versions import mart_version

if TYPE_CHECKING:
    import pyarrow as pa

SUMS_MATCH_TRIPS, ZONES_ARE_KNOWN = "sums_match_trips", "zones_are_known"

_CHECKS: Mapping[str, str] = {
    SUMS_MATCH_TRIPS: "The number of trips, and the sums of fare, tips and total, are those of the month's rows in the "
    "table of trips. Each row of the mart is rounded to cents, so the sums may differ by half a cent for each row.",
    ZONES_ARE_KNOWN: "Every zone ID is one of the TLC's, from 1 to 265, or missing.",
}

_CENT, _RELATIVE = 0.01, 1e-9
"""Tolerances of a sum: of the rounding of a row, and of adding up millions of doubles in another order."""


def build_marts(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the marts of every color of the source."""
    return [_build(settings, mart, color) for color in source_colors(settings) for mart in MARTS]


def build_mart_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that computes the marts of months that were loaded."""
    on = settings.schedules == "on"
    return dg.AutomationConditionSensorDefinition(
        "marts",
        target=dg.AssetSelection.assets(
            *(asset_key(color, mart.name) for color in source_colors(settings) for mart in MARTS)
        ),
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Computes daily_trips and monthly_zone_revenue of each month whose warehouse_trips is updated. By "
        f"default, the sensor is {settings.schedules} (TAXI_SCHEDULES). The switch in the UI takes precedence over "
        "this setting.",
    )


def when_trips_are_updated() -> dg.AutomationCondition[Any]:
    """Return the condition of a mart: its month of `warehouse_trips` was updated, and no run computes it already.

    The first evaluation requests nothing, so that turning the sensor on does not compute all months.
    """
    updated = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return (
        updated
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("its month of warehouse_trips was updated")


def mart_checks(mart: Mart) -> dict[str, str]:
    """Return the description of each check of a mart, by check name."""
    return {name: text for name, text in _CHECKS.items() if name == SUMS_MATCH_TRIPS or mart is MONTHLY_ZONE_REVENUE}


def compute_mart(
    instance: dg.DagsterInstance, warehouse: Warehouse, home: Home, mart: Mart, month: TripMonth
) -> "dg.MaterializeResult[None]":
    """Compute a mart for a month, and return its data version, checks and metadata. Raises StoreError."""
    started = perf_counter()
    version = mart_version(version_of_trips(instance, month), mart)
    rows = warehouse.replace_mart(mart, month)
    return dg.MaterializeResult(
        asset_key=asset_key(month.color, mart.name),
        data_version=dg.DataVersion(version),
        check_results=list(check_mart(mart, rows, warehouse.sum_trips(month))),
        metadata={
            **work_metadata(rows.num_rows, perf_counter() - started),
            "dagster/table_name": warehouse.mart_table(mart, month.color),
            **mart_metadata(mart, rows),
            **chart_metadata(mart, month, rows, home.folder),
        },
    )


def mart_metadata(mart: Mart, rows: "pa.Table") -> dict[str, RawMetadataValue]:
    """Return the figures of a month for the UI, which plots numbers over the partitions. `rows` are those of the mart.

    They are the sums of `trips`, of `total`, and, for `daily_trips`, of the counts of the rules, if the color reports
    them.
    """
    import pyarrow.compute as pc

    summed = ["trips", "total", *([rule.name for rule in RULES] if mart is DAILY_TRIPS else [])]
    sums = {name: pc.sum(rows[name]).as_py() for name in summed}
    found: dict[str, RawMetadataValue] = {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in sums.items()
        if value is not None
    }
    if mart is DAILY_TRIPS:
        strays = rows.filter(pc.is_null(rows["pickup_date"]))
        found["stray_pickups"] = pc.sum(strays["trips"]).as_py() or 0
    else:
        found["zones"] = rows.num_rows - rows["zone_id"].null_count
    return found


def check_mart(mart: Mart, rows: "pa.Table", of_trips: Mapping[str, float]) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the checks of a mart. `of_trips` are the sums of the trips that it was computed from."""
    import pyarrow.compute as pc

    sums = {name: pc.sum(rows[name]).as_py() or 0 for name in of_trips}
    tolerance = _CENT * max(rows.num_rows, 1)
    wrong = {
        name: f"{sums[name]:,} in the mart, expected {value:,}"
        for name, value in of_trips.items()
        if not isclose(sums[name], value, rel_tol=_RELATIVE, abs_tol=0 if name == "trips" else tolerance)
    }
    figures = {name: round(value, 2) for name, value in sums.items()}
    yield dg.AssetCheckResult(check_name=SUMS_MATCH_TRIPS, passed=not wrong, metadata=wrong or figures)
    if mart is MONTHLY_ZONE_REVENUE:
        zones = {zone for zone in rows["zone_id"].to_pylist() if zone is not None}
        unknown = sorted(zones - set(ZONES))
        yield dg.AssetCheckResult(
            check_name=ZONES_ARE_KNOWN,
            passed=not unknown,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"zones": len(zones), "unknown": ", ".join(map(str, unknown)) or "none"},
        )


def version_of_trips(instance: dg.DagsterInstance, month: TripMonth) -> str:
    """Return the data version of the month's rows in the warehouse; empty if Dagster did not record one."""
    found = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key(month.color, MART_UPSTREAM),
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        [DATA_VERSION_TAG],
        asset_partitions=[month.month],
    )
    return found.get(month.month, {}).get(DATA_VERSION_TAG, "")


def _build(settings: Settings, mart: Mart, color: str) -> dg.AssetsDefinition:
    key, partitions = asset_key(color, mart.name), month_partitions(settings, color)

    def compute(
        context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse], home: dg.ResourceParam[Home]
    ) -> dg.MaterializeResult:
        month = month_of(context.asset_key, context.partition_key)
        claim_run(context.instance, context.run)
        with translate_errors(context.get_step_execution_context()):
            return compute_mart(context.instance, warehouse, home, mart, month)

    # Partitioned checks are a preview feature of Dagster. The Dagster version is pinned, so hide the warning.
    with disable_dagster_warnings():
        checks = [
            dg.AssetCheckSpec(name, asset=key, description=text, partitions_def=partitions)
            for name, text in mart_checks(mart).items()
        ]
    return dg.asset(
        key=key,
        deps=[asset_key(color, MART_UPSTREAM)],
        partitions_def=partitions,
        check_specs=checks,
        group_name=color,
        kinds={warehouse_kind(settings)},
        tags={"domain": "taxi_trips", "layer": "mart"},
        owners=settings.owner_names,
        description=describe_mart(settings, mart, color),
        metadata={**mart_location(settings, mart, color), **column_schema(mart.columns)},
        code_version=mart.code_version,
        automation_condition=when_trips_are_updated(),
        pool=color,
        op_tags=retry_tags(settings),
    )(compute)
