"""`taxi query`: run SQL and print the result."""

import click

from taxi_assets.settings import Settings


@click.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Query Postgres instead of the warehouse.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def query(sql: str, *, postgres: bool, as_csv: bool, as_json: bool) -> None:
    """Run a SQL query in the warehouse and print the result.

    The tables are yellow_taxi_trips, green_taxi_trips and fhv_taxi_trips. In each, file_month is the first day of the
    month that a row belongs to.

    \b
    Examples:
      taxi query "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 1"
      taxi query --postgres "SELECT avg(total_amount) FROM yellow_taxi_trips"
      taxi query --csv "SELECT * FROM fhv_taxi_trips LIMIT 100" > some.csv

    Exit codes: 0 success, 1 the SQL is invalid, or nothing is loaded yet.
    """
    from taxi_assets.cli.tables import print_csv, print_json, print_result
    from taxi_assets.connections import open_postgres, open_warehouse

    settings = Settings.load()
    store = open_postgres(settings) if postgres else open_warehouse(settings)
    result = store.query(sql)
    (print_csv if as_csv else print_json if as_json else print_result)(result)
