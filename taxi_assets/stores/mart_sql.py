"""The SQL of the marts: one SELECT statement for each, in DuckDB's dialect, and its translation for BigQuery.

The statements read the trips of one or more months from the table of a color. Their columns, and the types of these,
are those of `tlc.marts`. Percentiles are exact, and their memory does not grow with the trips: the statement counts the
trips of each day and value, and then adds up the counts in the order of the values.

Not here: running the statements, and replacing the months (`duckdb`, `bigquery`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

from taxi_assets.errors import MissingUpstream
from taxi_assets.tlc.marts import CARD, DAILY_TRIPS, MONTHLY_ZONE_REVENUE, NO_METER_DATA, PERCENTILES, RULES, Mart
from taxi_assets.tlc.schema import FILE_MONTH, Kind, Layout
from taxi_assets.tlc.trips import TripMonth, trips_table

COLUMN_TYPES = {
    Kind.integer: "BIGINT",
    Kind.decimal: "DOUBLE",
    Kind.text: "VARCHAR",
    Kind.timestamp: "TIMESTAMP",
    Kind.date: "DATE",
}
"""DuckDB's types of columns."""

_STRAY = "DATE '0001-01-01'"
"""Stands for the day of stray pickups until the last step, because a join does not match missing values."""


def mart_sql(mart: Mart, layout: Layout, months: Sequence[str]) -> str:
    """Return the SELECT statement of a mart for months (`YYYY-MM`) of a color, in DuckDB's dialect."""
    return _STATEMENTS[mart.name](layout, months)


def daily_trips_sql(layout: Layout, months: Sequence[str]) -> str:
    """Return the SELECT statement of `DAILY_TRIPS` for months (`YYYY-MM`) of a color, in DuckDB's dialect.

    A month without any trip in the table has no rows. The rows have no order.
    """
    days = ", ".join(_date(day) for month in months for day in _days(TripMonth(layout.color, month)))
    figures = {name: sql for name, sql in _sums(layout).items() if name in (*_names(DAILY_TRIPS), "paid_trips")}
    columns = {
        **{name: f"COALESCE(figures.{name}, 0)" for name in figures},
        "pickup_date": f"NULLIF(day, {_STRAY})",
        **{f"{prefix}_minutes": f"durations.{prefix} / {_MICROSECONDS}" for prefix, _ in PERCENTILES},
        **{f"{prefix}_miles": f"distances.{prefix}" for prefix, _ in PERCENTILES},
        **({"card_share": "figures.card_trips / NULLIF(figures.paid_trips, 0)"} if layout.payment else {}),
        FILE_MONTH.name: "file_month",
    }
    return f"""
WITH trips AS (
{_trips(layout, months)}
),
figures AS (
  SELECT file_month, day, {_listed(figures)}
  FROM trips GROUP BY file_month, day
),
{_percentiles("durations", "minutes", "microseconds")},
{_percentiles("distances", "miles", "miles")},
each_day AS (
  SELECT file_month, day FROM figures
  UNION DISTINCT
  SELECT loaded.file_month, days.day
  FROM (SELECT DISTINCT file_month FROM figures) AS loaded
  JOIN UNNEST([{days}]) AS days(day) ON date_trunc('month', CAST(days.day AS DATE)) = loaded.file_month
)
{_select(DAILY_TRIPS, columns)}
FROM each_day
LEFT JOIN figures USING (file_month, day)
LEFT JOIN durations USING (file_month, day)
LEFT JOIN distances USING (file_month, day)
""".strip()


def monthly_zone_revenue_sql(layout: Layout, months: Sequence[str]) -> str:
    """Return the SELECT statement of `MONTHLY_ZONE_REVENUE` for months (`YYYY-MM`) of a color, in DuckDB's dialect.

    The rows have no order.
    """
    figures = {
        name: sql
        for name, sql in {**_sums(layout), **_averages(layout)}.items()
        if name in _names(MONTHLY_ZONE_REVENUE)
    }
    columns = {name: name for name in (*figures, "zone_id", FILE_MONTH.name)}
    if "total" in figures:
        columns["other_charges"] = "round(total - fare - tips - tolls, 2)"
    return f"""
WITH trips AS (
{_trips(layout, months)}
),
figures AS (
  SELECT file_month, zone_id, {_listed(figures)}
  FROM trips GROUP BY file_month, zone_id
)
{_select(MONTHLY_ZONE_REVENUE, columns)}
FROM figures
""".strip()


def trip_sums_sql(layout: Layout, month: str) -> str:
    """Return the SELECT statement of the sums of a month's trips, in DuckDB's dialect: one row.

    Its columns are `trips`, and those of `fare`, `tips` and `total` that the color reports. The sums are not rounded.
    """
    sums = [f"sum({name}) AS {name}" for name in ("fare", "tips", "total") if name in _reported(layout)]
    return f"SELECT {', '.join(['count(*) AS trips', *sums])}\nFROM (\n{_trips(layout, [month])}\n) AS trips"


def no_trips(month: TripMonth, mart: Mart) -> MissingUpstream:
    """Return the error for a month that has no trips in the warehouse."""
    return MissingUpstream(
        f"{mart.name} of {month} was not computed: the table {month.table} has no trips of the month.",
        **month.facts,
        asset="warehouse_trips",
    )


def to_bigquery(sql: str) -> str:
    """Translate a statement from DuckDB's dialect to BigQuery's."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read="duckdb")
    # BigQuery's DATE_DIFF is for dates. The times of trips are DATETIME there.
    for node in list(tree.find_all(exp.DateDiff)):
        node.replace(exp.DatetimeDiff(this=node.this, expression=node.expression, unit=node.args["unit"]))
    return tree.sql(dialect="bigquery")


_STATEMENTS = {DAILY_TRIPS.name: daily_trips_sql, MONTHLY_ZONE_REVENUE.name: monthly_zone_revenue_sql}

_MICROSECONDS = "60000000.0"
"""Microseconds of a minute."""

_RULES: Mapping[str, str] = {
    "negative_total": "total < 0",
    "ended_before_start": "microseconds < 0",
    "over_24_hours": f"microseconds > {24 * 3600 * 1_000_000}",
    "zero_miles_with_fare": "miles <= 0 AND fare > 0",
}
"""The condition of each of `RULES`, on the columns of `_trips`."""

_NEEDS: Mapping[str, str] = {"negative_total": "total", "zero_miles_with_fare": "fare"}
"""The column that a rule needs. Colors that do not report it do not have the count."""

_MONEY = ("fare", "tips", "tolls", "total", "driver_pay")


def _reported(layout: Layout) -> dict[str, str]:
    """Return the SQL of each value that trips of a color report, by its name in the marts."""
    names = {name: getattr(layout, name) for name in ("passengers", "miles", *_MONEY, "payment")}
    reported = {name: _quoted(column) for name, column in names.items() if column}
    if layout.charges:
        reported["total"] = " + ".join(f"COALESCE({_quoted(column)}, 0)" for column in layout.charges)
    return reported


def _trips(layout: Layout, months: Sequence[str]) -> str:
    """Return the SELECT statement of the trips of months: their day, zone, duration and values, by common names."""
    pickup, dropoff = _quoted(layout.pickup), _quoted(layout.dropoff)
    day = f"CAST({pickup} AS DATE)"
    reported = _reported(layout)
    values = [f"{reported.get(name, 'CAST(NULL AS DOUBLE)')} AS {name}" for name in ("passengers", "miles", *_MONEY)]
    those = ", ".join(_date(TripMonth(layout.color, month).first_day) for month in months)
    return f"""  SELECT
    file_month,
    CASE WHEN date_trunc('month', {day}) = file_month THEN {day} ELSE {_STRAY} END AS day,
    {_quoted(layout.zones[0])} AS zone_id,
    date_diff('microsecond', {pickup}, {dropoff}) AS microseconds,
    {reported.get("payment", "CAST(NULL AS BIGINT)")} AS payment,
    {", ".join(values)}
  FROM {trips_table(layout.color)}
  WHERE file_month IN ({those})"""


def _sums(layout: Layout) -> dict[str, str]:
    """Return the aggregates that add up to the same figure of the month, by column, without those not reported.

    `paid_trips` counts the trips whose payment type is known.
    """
    reported = _reported(layout)
    sums = {name: f"COALESCE(round(sum({name}), 2), 0)" for name in ("miles", *_MONEY) if name in reported}
    counts = {name: sql for name, sql in _RULES.items() if _NEEDS.get(name, name) in (name, *reported)}
    counts |= {"card_trips": f"payment = {CARD}", "paid_trips": f"payment <> {NO_METER_DATA}"} if layout.payment else {}
    return {
        "trips": "count(*)",
        **({"passengers": "COALESCE(sum(passengers), 0)"} if layout.passengers else {}),
        **sums,
        **{name: f"count(CASE WHEN {condition} THEN 1 END)" for name, condition in counts.items()},
    }


def _averages(layout: Layout) -> dict[str, str]:
    return {
        f"average_{name}": f"round(avg({name}), 2)" for name in ("miles", "fare", "total") if name in _reported(layout)
    }


def _percentiles(table: str, figure: str, value: str) -> str:
    """Return the common table expressions of the percentiles of a value, by month and day, without implausible trips.

    A percentile is the smallest value that is not exceeded by at least that percentage of the trips.
    """
    plausible = " AND ".join(
        f"NOT COALESCE({_RULES[rule.name]}, FALSE)" for rule in RULES if rule.left_out_of == figure
    )
    found = ", ".join(
        f"min(CASE WHEN reached * 100 >= counted * {percentage} THEN value END) AS {prefix}"
        for prefix, percentage in PERCENTILES
    )
    return f"""{table}_counts AS (
  SELECT file_month, day, {value} AS value, count(*) AS counted
  FROM trips WHERE {value} IS NOT NULL AND {plausible}
  GROUP BY file_month, day, {value}
),
{table}_reached AS (
  SELECT file_month, day, value,
    sum(counted) OVER (PARTITION BY file_month, day ORDER BY value NULLS FIRST) AS reached,
    sum(counted) OVER (PARTITION BY file_month, day) AS counted
  FROM {table}_counts
),
{table} AS (
  SELECT file_month, day, {found}
  FROM {table}_reached GROUP BY file_month, day
)"""


def _select(mart: Mart, columns: Mapping[str, str]) -> str:
    """Return the select list of the columns of a mart. A column without an expression is missing in all rows."""
    return "SELECT\n" + ",\n".join(
        f"  CAST({columns.get(column.name, 'NULL')} AS {COLUMN_TYPES[column.kind]}) AS {column.name}"
        for column in mart.columns
    )


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in columns.items())


def _names(mart: Mart) -> tuple[str, ...]:
    return tuple(column.name for column in mart.columns)


def _days(month: TripMonth) -> Iterator[date]:
    return (month.first_day + timedelta(days) for days in range((month.end - month.first_day).days))


def _date(day: date) -> str:
    return f"DATE '{day}'"


def _quoted(name: str) -> str:
    return f'"{name}"'
