"""The ratios that taxi_assets should not exceed. All figures of a ratio are from the same run on the same machine."""

from collections.abc import Mapping
from dataclasses import dataclass

Sum = Mapping[str, float]
"""Figures, each with its factor: `contender:figure`, or `contender@size:figure` if the size is not the month.

`seconds` is the time of the whole process, `work` that without start-up, `per_month` the seconds divided by the number
of months, `peak_mb` the memory of the process tree. The name of an asset is the time of its step.
"""

_ONE: Sum = {}


@dataclass(frozen=True, eq=False)
class Target:
    """A numerator and a denominator, and the maximum of their ratio. Without a denominator, it is that of the sum.

    `floor` is the same numerator for the least that could do the work, which `least` describes.
    """

    what: str
    numerator: Sum
    denominator: Sum
    limit: float
    least: str = ""
    floor: Sum | None = None


TARGETS = (
    Target(
        "`clean_trips`' work, from CSV.gz ÷ DuckDB's bare COPY",
        {"clean_csv:work": 1},
        {"duckdb_csv:work": 1},
        0.7,
    ),
    Target(
        "`clean_trips`' work, from Parquet ÷ DuckDB's bare COPY",
        {"clean_parquet:work": 1},
        {"duckdb_parquet:work": 1},
        1.2,
    ),
    Target("peak memory of the process tree, large month, MB", {"materialize@large:peak_mb": 1}, _ONE, 400),
    Target(
        "peak memory, large month ÷ month",
        {"materialize@large:peak_mb": 1},
        {"materialize:peak_mb": 1},
        1.05,
    ),
    Target(
        "`postgres_trips`' work ÷ psql's `\\copy` of the same rows",
        {"materialize:postgres_trips": 1},
        {"psql_copy:seconds": 1},
        0.6,
        "psql sends the same rows in PostgreSQL's binary format, and checks nothing",
        {"psql_copy_binary:seconds": 1},
    ),
    Target(
        "`lake_trips` + `warehouse_trips` ÷ `clean_trips`",
        {"materialize:lake_trips": 1, "materialize:warehouse_trips": 1},
        {"materialize:clean_trips": 1},
        0.6,
        "DuckDB inserts the same rows from Parquet into a new table, and nothing writes or checks the lake",
        {"duckdb_insert:work": 1},
    ),
    Target(
        "all five steps, whole process ÷ pandas' CSV to Parquet",
        {"materialize:seconds": 1},
        {"pandas_csv:seconds": 1},
        0.45,
    ),
    Target(
        "all five steps, whole process ÷ the course's two scripts",
        {"materialize:seconds": 1},
        {"pandas_csv:seconds": 1, "pandas_to_sql:seconds": 1},
        0.04,
    ),
    Target(
        "a further small month in `taxi materialize` ÷ a further run of five empty assets",
        {"months_all:seconds": 1, "months_half:seconds": -1},
        {"empty_all:seconds": 1, "empty_half:seconds": -1},
        1.3,
    ),
    Target(
        "importing `taxi_assets.definitions` ÷ `import dagster`",
        {"import_definitions:seconds": 1},
        {"import_dagster:seconds": 1},
        1.15,
    ),
    Target(
        "`taxi status` with 300 months ÷ `import dagster`",
        {"taxi_status:seconds": 1},
        {"import_dagster:seconds": 1},
        1.5,
        "plain Dagster opens the same history and reads one run",
        {"open_history:seconds": 1},
    ),
    Target("`taxi --help` ÷ `import dagster`", {"taxi_help:seconds": 1}, {"import_dagster:seconds": 1}, 0.25),
    Target(
        "small months with `--workers 2` ÷ the same as `dagster job execute` processes",
        {"months_two_workers:seconds": 1},
        {"job_execute:seconds": 1},
        0.15,
        "two processes share as many runs of empty assets",
        {"empty_all:seconds": 0.5},
    ),
    Target(
        "a daemon's backfill: seconds a month more than `taxi materialize --workers 2`",
        {"backfill:per_month": 1, "months_two_workers:per_month": -1},
        _ONE,
        3,
    ),
)
