"""`taxi status` with 300 partitions of history, as a whole process, held against `import dagster`.

python benchmarks/status.py [RUNS_OF_EACH_PARTITION]
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
from taxi_assets.graph import TRIP_ASSETS, asset_key
from taxi_assets.instance.opening import open_instance
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

MONTHS = [TripMonth(color, month) for color in COLORS for month in parse_months("2013-01..2021-04")]
TIMES = 7


def remember(home: Path, runs: int) -> None:
    """Let every month be materialized `runs` times in all assets, with as much metadata as real ones have."""
    with open_instance(home) as instance:
        for month in MONTHS * runs:
            told = {"dagster/partition_row_count": 500, **column_schema(LAYOUTS[month.color])}
            for name in TRIP_ASSETS:
                made = dg.AssetMaterialization(asset_key(month.color, name), metadata=told, partition=month.month)
                instance.report_runless_asset_event(made)


def seconds(*words: str, home: Path) -> float:
    """The wall time of a process, its median of several."""
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TAXI_HOME": str(home)})
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    """Print both times and their ratio."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        remember(home, runs)
        status = seconds(sys.executable, "-m", "taxi_assets.cli.main", "status", home=home)
        bare = seconds(sys.executable, "-c", "import dagster", home=home)
    print(f"{len(MONTHS)} partitions, {runs} runs of each: taxi status {status:.2f} s")
    print(f"import dagster {bare:.2f} s, ratio {status / bare:.2f}")


if __name__ == "__main__":
    main()
