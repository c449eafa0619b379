"""`taxi query`: run SQL and print the result, or write it to a file."""

import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import load_settings
from taxi_assets.errors import OutputStalled

if TYPE_CHECKING:
    from taxi_assets.stores.postgres.store import PostgresStore
    from taxi_assets.stores.warehouse import Warehouse

Batch = TypeVar("Batch")

STALL_S = 300.0
"""Maximum time to wait for the program that reads the output to take a batch of rows, in seconds."""


@click.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Query Postgres instead of the warehouse.")
@click.option("--vertical", is_flag=True, help="Print each value on a line of its own.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each row.")
@click.option(
    "--parquet",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result to a Parquet file, and replace it if it exists.",
)
@click.option("--unsafe", is_flag=True, help="Let DuckDB read and write files outside its folder.")
def query(  # noqa: PLR0913  # one for each option
    sql: str, *, postgres: bool, vertical: bool, as_csv: bool, as_json: bool, parquet: Path | None, unsafe: bool
) -> None:
    """Run a SQL query in the warehouse and print the result.

    The query cannot change anything. It is one SELECT statement, which can read files in the folder of the warehouse.

    The tables of trips are yellow_taxi_trips, green_taxi_trips, fhv_taxi_trips and fhvhv_taxi_trips. The warehouse also
    has the views trips, daily_trips and monthly_zone_revenue, and the table taxi_zones. The column file_month is the
    first day of the month that a row belongs to.

    On a terminal, the result fits the width: columns that do not fit are left out, or a few rows are shown vertically.
    At most 1,000 rows are shown, and floating-point numbers have at most ten digits. In a pipe, and with --csv or
    --json, all rows, columns and digits are printed.

    With --csv, --json and --parquet, rows are read and written in batches, so that any number of them needs little
    memory. No month can be loaded into the DuckDB warehouse until all rows are written.

    \b
    Examples:
      taxi query "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 1"
      taxi query --postgres "SELECT avg(total_amount) FROM yellow_taxi_trips"
      taxi query --vertical "SELECT * FROM green_taxi_trips LIMIT 3"
      taxi query --csv "SELECT * FROM fhv_taxi_trips LIMIT 100" > some.csv
      taxi query --parquet march.parquet "FROM green_taxi_trips WHERE file_month = '2021-03-01'"

    Exit codes: 0 success, 1 the query failed or its output stalled, 2 invalid arguments or settings.
    """
    from taxi_assets.cli.result_view import ROWS_ON_A_TERMINAL, print_csv, print_json, print_result
    from taxi_assets.connections import open_postgres, open_warehouse

    if any("\udc80" <= letter <= "\udcff" for letter in sql):  # how Python represents bytes that are not UTF-8
        raise click.BadParameter("The query is not valid UTF-8.", param_hint="SQL")
    if parquet and (as_csv or as_json or vertical):
        raise click.UsageError("--parquet cannot be combined with --csv, --json or --vertical.")
    settings = load_settings()
    with activity("Running the query"):
        store = open_postgres(settings) if postgres else open_warehouse(settings)
    options = {} if postgres else {"unsafe": unsafe}
    if parquet:
        _write_parquet(store, sql, parquet, options)
    elif as_csv or as_json:
        with closing(store.stream(sql, **options)) as batches, _stall_alarm():
            (print_csv if as_csv else print_json)(_timed(_started(batches)))
    else:
        limit = ROWS_ON_A_TERMINAL if sys.stdout.isatty() else None
        with activity("Running the query"):
            began = monotonic()
            result = store.query(sql, limit=limit, **options)
            seconds = monotonic() - began
        print_result(result, seconds, vertical=vertical)


def _write_parquet(store: "PostgresStore | Warehouse", sql: str, target: Path, options: dict[str, bool]) -> None:
    """Write the result of a query to a file, and print its name, rows and size."""
    from taxi_assets.stores.files.query_file import write_query_file

    with activity("Running the query") as say, closing(store.stream_arrow(sql, **options)) as batches:
        rows = write_query_file(target, batches, lambda rows: say(f"Writing {target}: {rows:,} rows"))
    click.echo(f"{target}: {rows:,} {'row' if rows == 1 else 'rows'}, {target.stat().st_size / 1e6:,.1f} MB")


def _started(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Show that the query is running until its first batch, and return all batches."""
    with activity("Running the query"):
        first = next(batches)
    return chain([first], batches)


def _timed(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Yield batches. The alarm rings if a batch is not processed within `STALL_S` seconds."""
    for batch in batches:
        signal.setitimer(signal.ITIMER_REAL, STALL_S)
        yield batch
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _stall_alarm() -> Iterator[None]:
    """Raise OutputStalled when the alarm rings: a pager that nobody closes must not block loads forever."""

    def stop(*_: object) -> NoReturn:
        raise OutputStalled(
            f"The program that reads the output of the query has not read anything for {STALL_S:g} s. The output ends "
            "here, so that months can be loaded again.",
            seconds=STALL_S,
        )

    previous = signal.signal(signal.SIGALRM, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
