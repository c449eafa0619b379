"""`taxi query`: run SQL and print the result."""

import sys
from functools import partial
from time import monotonic

import click

from taxi_assets.cli.activity import activity
from taxi_assets.settings import Settings


@click.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Query Postgres instead of the warehouse.")
@click.option("--vertical", is_flag=True, help="Print each value on a line of its own.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@click.option("--unsafe", is_flag=True, help="Let DuckDB read and write files outside its folder.")
def query(  # noqa: PLR0913  # one for each option
    sql: str, *, postgres: bool, vertical: bool, as_csv: bool, as_json: bool, unsafe: bool
) -> None:
    """Run a SQL query in the warehouse and print the result.

    The query cannot change anything. It is one SELECT statement, which can read files in the folder of the warehouse.

    The tables are yellow_taxi_trips, green_taxi_trips, fhv_taxi_trips and fhvhv_taxi_trips. In each, file_month is the
    first day of the month that a row belongs to.

    On a terminal, the result fits the width: columns that do not fit are left out, or a few rows are shown vertically.
    At most 1,000 rows are shown, and floating-point numbers have at most ten digits. In a pipe, and with --csv or
    --json, all rows, columns and digits are printed.

    \b
    Examples:
      taxi query "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 1"
      taxi query --postgres "SELECT avg(total_amount) FROM yellow_taxi_trips"
      taxi query --vertical "SELECT * FROM green_taxi_trips LIMIT 3"
      taxi query --csv "SELECT * FROM fhv_taxi_trips LIMIT 100" > some.csv

    Exit codes: 0 success, 1 the SQL is invalid, or nothing is loaded yet.
    """
    from taxi_assets.cli.result_view import ROWS_ON_A_TERMINAL, print_csv, print_json, print_result
    from taxi_assets.connections import open_postgres, open_warehouse

    if any("\udc80" <= letter <= "\udcff" for letter in sql):  # how Python represents bytes that are not UTF-8
        raise click.BadParameter("The query is not valid UTF-8.", param_hint="SQL")
    settings = Settings.load()
    limit = ROWS_ON_A_TERMINAL if sys.stdout.isatty() and not (as_csv or as_json) else None
    with activity("Running the query"):
        run = open_postgres(settings).query if postgres else partial(open_warehouse(settings).query, unsafe=unsafe)
        began = monotonic()
        result = run(sql, limit=limit)
        seconds = monotonic() - began
    if as_csv:
        print_csv(result)
    elif as_json:
        print_json(result)
    else:
        print_result(result, seconds, vertical=vertical)
