"""`taxi query`: run SQL and print the result."""

import click

from taxi_assets.cli.activity import activity
from taxi_assets.settings import Settings


@click.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Query Postgres instead of the warehouse.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@click.option("--unsafe", is_flag=True, help="Let DuckDB read and write files outside its folder.")
def query(sql: str, *, postgres: bool, as_csv: bool, as_json: bool, unsafe: bool) -> None:
    """Run a SQL query in the warehouse and print the result.

    The query cannot change anything. It is one SELECT statement, which can read files in the folder of the warehouse.

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

    if any("\udc80" <= letter <= "\udcff" for letter in sql):  # how Python represents bytes that are not UTF-8
        raise click.BadParameter("The query is not valid UTF-8.", param_hint="SQL")
    settings = Settings.load()
    with activity("Running the query"):
        result = open_postgres(settings).query(sql) if postgres else open_warehouse(settings).query(sql, unsafe=unsafe)
    (print_csv if as_csv else print_json if as_json else print_result)(result)
