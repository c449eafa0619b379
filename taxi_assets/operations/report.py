"""Gathers what `taxi report` shows of months: their status, checks and sources, and figures of their trips.

The warehouse computes the figures from the tables of trips, so the marts need not be materialized. Not here: the charts
(`charts`) and the page (`cli.report_view`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

from taxi_assets.charts.shapes import Shapes, read_shapes
from taxi_assets.charts.zones import ZoneName, read_names
from taxi_assets.connections import is_bigquery, open_source, open_warehouse
from taxi_assets.defs.mart_charts import find_shapes
from taxi_assets.errors import NothingLoaded, StoreError, ZonesNotLoaded
from taxi_assets.instance.month_records import (
    CheckResult,
    Cleaning,
    Fetch,
    read_checks,
    read_cleanings,
    read_fetches,
)
from taxi_assets.instance.partition_status import MonthStatus
from taxi_assets.settings import Settings
from taxi_assets.stores.mart_sql import daily_trips_sql, monthly_zone_revenue_sql, to_bigquery
from taxi_assets.stores.query_result import QueryResult
from taxi_assets.stores.report_sql import ZONES_SQL, hours_sql
from taxi_assets.tlc.marts import DAILY_TRIPS, MONTHLY_ZONE_REVENUE
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    from taxi_assets.stores.warehouse import Warehouse

_WAREHOUSE = "warehouse_trips"


@dataclass(frozen=True)
class MonthRecord:
    """What the instance knows of a month: its status and rows by asset, its checks, cleaning and fetch.

    `cleaning` and `fetch` are None for a month that was not cleaned or fetched here, such as an adopted one.
    """

    status: MonthStatus
    checks: Sequence[CheckResult]
    cleaning: Cleaning | None
    fetch: Fetch | None

    @property
    def month(self) -> TripMonth:
        """The month."""
        return self.status.month


@dataclass(frozen=True, eq=False)
class ColorFigures:
    """Figures of the loaded months of a color.

    `daily` and `zones` have the columns of `DAILY_TRIPS` and `MONTHLY_ZONE_REVENUE`. `hours` has the columns `weekday`
    (1 is Monday), `hour`, `trips` and `average`, the average number of trips in that hour. Numbers are floats, and
    missing ones are NaN. `sql` has the statement of each of these, by its name.
    """

    color: str
    months: Sequence[str]
    daily: pd.DataFrame
    zones: pd.DataFrame
    hours: pd.DataFrame
    sql: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report shows. `months` are all that were selected, also those that are not in the warehouse.

    `zones` has the name of each zone, and `zones_from` says where they come from. `shapes` is None without shapes.
    """

    created: datetime
    engine: str
    months: Sequence[MonthRecord]
    colors: Sequence[ColorFigures]
    zones: Mapping[int, ZoneName]
    zones_from: str
    shapes: Shapes | None


def gather_report(
    instance: dg.DagsterInstance,
    settings: Settings,
    selected: Sequence[MonthStatus],
    shapes: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Gather the report of the selected months.

    `shapes` is a file with the shapes of the zones; by default, it is the source's, if that has it. `progress` is
    called with what is done next. Raises NothingLoaded if none of the months is in the warehouse, BadShapes
    for a file without shapes of zones, and StoreError.
    """
    outlines = read_shapes(shapes) if shapes else None
    loaded = _loaded_months(selected)
    warehouse = open_warehouse(settings)
    run = _runner(settings, warehouse)
    colors = []
    for color, months in loaded.items():
        progress(f"Computing the figures of {color}")
        figures = _figures(run, color, months)
        if not figures.daily.empty:
            colors.append(figures)
    if not colors:
        raise NothingLoaded(
            "None of these months is loaded in the warehouse, so there is nothing to report.",
            color=selected[0].month.color if selected else "green",
        )
    names, zones_from = _read_zones(run)
    if outlines is None:
        progress("Looking for the shapes of the zones")
        outlines = _find_shapes(settings)
    progress("Reading the history of checks")
    return Report(
        created=datetime.now(UTC),
        engine="BigQuery" if is_bigquery(settings) else "DuckDB",
        months=_records(instance, selected),
        colors=colors,
        zones=names,
        zones_from=zones_from,
        shapes=outlines,
    )


def _loaded_months(selected: Iterable[MonthStatus]) -> dict[str, list[str]]:
    """Return the months of each color that are in the warehouse according to the history, in order."""
    loaded: dict[str, list[str]] = {}
    statuses = sorted(selected, key=lambda status: (COLORS.index(status.month.color), status.month.month))
    for status in statuses:
        if _WAREHOUSE in status.rows:
            loaded.setdefault(status.month.color, []).append(status.month.month)
    return loaded


def _runner(settings: Settings, warehouse: "Warehouse") -> Callable[[str], QueryResult]:
    """Return the function that runs a statement in DuckDB's dialect in the warehouse, whatever its dialect is."""
    if is_bigquery(settings):
        return lambda sql: warehouse.query(to_bigquery(sql))
    return warehouse.query


def _figures(run: Callable[[str], QueryResult], color: str, months: Sequence[str]) -> ColorFigures:
    layout = LAYOUTS[color]
    sql = {
        DAILY_TRIPS.name: daily_trips_sql(layout, months),
        MONTHLY_ZONE_REVENUE.name: monthly_zone_revenue_sql(layout, months),
        "hours": hours_sql(layout, months),
    }
    hours = _frame(run(sql["hours"]), [Column(name, Kind.integer, "") for name in ("weekday", "hour", "trips")])
    days = _weekdays(months)
    return ColorFigures(
        color,
        months,
        daily=_frame(run(sql[DAILY_TRIPS.name]), DAILY_TRIPS.columns),
        zones=_frame(run(sql[MONTHLY_ZONE_REVENUE.name]), MONTHLY_ZONE_REVENUE.columns),
        hours=hours.assign(average=hours["trips"] / hours["weekday"].map(lambda weekday: days[int(weekday)])),
        sql=sql,
    )


def _frame(result: QueryResult, columns: Sequence[Column]) -> pd.DataFrame:
    """Return a result as a data frame with these columns: dates as timestamps, and numbers as floats."""
    frame = pd.DataFrame([list(row) for row in result.rows], columns=list(result.columns), dtype=object)
    return pd.DataFrame(
        {
            column.name: pd.to_datetime(frame[column.name])
            if column.kind is Kind.date
            else frame[column.name].astype(float)
            for column in columns
        }
    )


def _weekdays(months: Iterable[str]) -> Counter[int]:
    """Count how often each day of the week (1 is Monday) occurs in these months."""
    counts: Counter[int] = Counter()
    for month in months:
        start, end = TripMonth("green", month).first_day, TripMonth("green", month).end
        counts.update(date.isoweekday(start + timedelta(days)) for days in range((end - start).days))
    return counts


def _read_zones(run: Callable[[str], QueryResult]) -> tuple[dict[int, ZoneName], str]:
    """Return the names of the zones, from the warehouse or else from the built-in copy, and where they come from."""
    try:
        rows = run(ZONES_SQL).rows
    except ZonesNotLoaded:
        return read_names(), "the copy of the TLC's lookup table that this program contains"
    names = {int(zone): ZoneName(borough, name) for zone, borough, name in rows}
    return names, "the table taxi_zones of the warehouse"


def _find_shapes(settings: Settings) -> Shapes | None:
    """Return the shapes of the zones, or None if the source does not have them or does not respond."""
    try:
        return find_shapes(open_source(settings), settings.home)
    except StoreError:
        return None


def _records(instance: dg.DagsterInstance, selected: Sequence[MonthStatus]) -> list[MonthRecord]:
    months = [status.month for status in selected]
    colors = {month.color for month in months}
    checks = read_checks(instance, months)
    cleanings = {month: found for color in colors for month, found in read_cleanings(instance, color).items()}
    fetches = {month: found for color in colors for month, found in read_fetches(instance, color).items()}
    return [
        MonthRecord(status, checks[status.month], cleanings.get(status.month), fetches.get(status.month))
        for status in sorted(selected, key=lambda status: (COLORS.index(status.month.color), status.month.month))
    ]
