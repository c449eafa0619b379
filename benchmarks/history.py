"""Compare the time of `read_history` with many runs in the history, with its time with one run for each partition.

`taxi status` and each tick of a schedule read the history. Usage: python benchmarks/history.py [RUNS]
"""

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import dagster as dg

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import read_history
from taxi_assets.keys import asset_key
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

MONTHS = [TripMonth(color, month) for color in COLORS for month in parse_months("2013-01..2021-04")]
REPETITIONS = 9


def create_runs(settings: Settings) -> None:
    """Record a successful run of every month, with its events."""
    definitions = build_definitions(settings)
    with open_instance(settings.home) as instance:
        for month in MONTHS:
            job = definitions.resolve_job_def(job_name(month.color))
            tags = dict(job.get_tags_for_partition_key(month.month, None))
            instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
            for name in TRIP_ASSETS:
                key, rows = asset_key(month.color, name), {"dagster/partition_row_count": 500}
                event = dg.AssetMaterialization(key, metadata=rows, partition=month.month)
                instance.report_runless_asset_event(event)


def copy_runs(home: Path, copies: int) -> None:
    """Copy every run and its events several times, with other run IDs."""
    _copy(home / "dagster/history/runs.db", "runs", copies, "run_id", "run_body")
    _copy(home / "dagster/history/runs.db", "run_tags", copies, "run_id")
    _copy(home / "dagster/history/runs/index.db", "event_logs", copies, "run_id", "event")


def _copy(path: Path, table: str, copies: int, *texts: str) -> None:
    """Copy the rows of a table, with another start of the run IDs in these columns."""
    with closing(sqlite3.connect(path)) as database, database:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
        last = database.execute(f"SELECT max(id) FROM {table}").fetchone()[0]
        for number in range(copies):
            changed = [
                f"replace({column}, run_id, '{number:08x}' || substr(run_id, 9))" if column in texts else column
                for column in columns
            ]
            copied = f"SELECT {', '.join(changed)} FROM {table} WHERE id <= {last}"
            database.execute(f"INSERT INTO {table} ({', '.join(columns)}) {copied}")


def median_seconds(settings: Settings) -> float:
    """Return the median time of `read_history`, in seconds."""
    durations = []
    with open_instance(settings.home) as instance:
        read_history(instance, settings)
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            read_history(instance, settings)
            durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def main() -> None:
    """Print both times and their ratio."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(TAXI_HOME=folder, TAXI_SOURCE_URL=folder, TAXI_FIRST_MONTH="2013-01")
        settings = Settings.load()
        create_runs(settings)
        few = median_seconds(settings)
        copy_runs(settings.home, wanted // len(MONTHS) - 1)
        many = median_seconds(settings)
    print(f"read_history: {few:.3f} s with {len(MONTHS)} runs, {many:.3f} s with {wanted} runs, ratio {many / few:.2f}")


if __name__ == "__main__":
    main()
