"""`taxi query`: SQL, and its answer."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import click

from taxi_assets.settings import Settings


@click.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Ask Postgres, not the warehouse.")
@click.option("--csv", "as_csv", is_flag=True, help="For machines: CSV.")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON list of objects.")
def query(sql: str, *, postgres: bool, as_csv: bool, as_json: bool) -> None:
    """Ask the warehouse in SQL, and print the answer.

    The tables are yellow_taxi_trips, green_taxi_trips and fhv_taxi_trips; file_month is the first day of a row's month.

    \b
    Examples:
      taxi query "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 1"
      taxi query --postgres "SELECT avg(total_amount) FROM yellow_taxi_trips"
      taxi query --csv "SELECT * FROM fhv_taxi_trips LIMIT 100" > some.csv

    Exit status: 1 where the SQL is wrong or nothing is loaded yet.
    """
    from taxi_assets.console.tables import print_answer, print_csv, print_json
    from taxi_assets.systems import open_postgres, open_warehouse

    settings = Settings.load()
    store = open_postgres(settings) if postgres else open_warehouse(settings)
    answer = store.query(sql)
    (print_csv if as_csv else print_json if as_json else print_answer)(answer)
