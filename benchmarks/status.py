"""Compare the time of `taxi status`, with a history of 300 partitions, with the time of `import dagster`.

Both are measured as whole processes. Usage: python benchmarks/status.py [RUNS_OF_EACH_PARTITION]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from taxi_assets.defs.metadata import column_schema
from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.instance.opening import open_instance
from taxi_assets.keys import asset_key
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

MONTHS = [TripMonth(color, month) for color in COLORS for month in parse_months("2013-01..2021-04")]
REPETITIONS = 7


def create_history(home: Path, runs: int) -> None:
    """Report `runs` materializations of every month in all assets, with as much metadata as real ones have."""
    with open_instance(home) as instance:
        for month in MONTHS * runs:
            metadata = {"dagster/partition_row_count": 500, **column_schema(LAYOUTS[month.color].table_columns)}
            for name in TRIP_ASSETS:
                key = asset_key(month.color, name)
                event = dg.AssetMaterialization(key, metadata=metadata, partition=month.month)
                instance.report_runless_asset_event(event)


def median_seconds(*words: str, home: Path) -> float:
    """Run a command several times and return the median of its wall times, in seconds."""
    durations = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TAXI_HOME": str(home)})
        durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def main() -> None:
    """Print both times and their ratio."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        create_history(home, runs)
        status = median_seconds(sys.executable, "-m", "taxi_assets.cli.main", "status", home=home)
        imported = median_seconds(sys.executable, "-c", "import dagster", home=home)
    print(f"taxi status: {status:.2f} s with {len(MONTHS)} partitions, runs of each: {runs}")
    print(f"import dagster: {imported:.2f} s, ratio {status / imported:.2f}")


if __name__ == "__main__":
    main()
