"""The SQL of the figures that only the report has, in DuckDB's dialect. `mart_sql.to_bigquery` translates it.

Not here: the SQL of the marts, which the report runs too (`mart_sql`).
"""

from collections.abc import Sequence

from taxi_assets.tlc.schema import Layout
from taxi_assets.tlc.trips import TripMonth, trips_table

ZONES_SQL = 'SELECT "LocationID", "Borough", "Zone" FROM taxi_zones'


def hours_sql(layout: Layout, months: Sequence[str]) -> str:
    """Return the SELECT statement that counts the trips of each hour of the week in months (`YYYY-MM`) of a color.

    Its columns are `weekday` (1 is Monday), `hour` and `trips`. Stray pickups are left out.
    """
    pickup, files = f'"{layout.pickup}"', [TripMonth(layout.color, month) for month in months]
    return f"""
SELECT isodow({pickup}) AS weekday, hour({pickup}) AS hour, count(*) AS trips
FROM {trips_table(layout.color)}
WHERE file_month IN ({", ".join(f"DATE '{file.first_day}'" for file in files)})
  AND date_trunc('month', CAST({pickup} AS DATE)) = file_month
GROUP BY 1, 2
""".strip()
