"""Work of taxi_assets and of Dagster that is not a command of `taxi`. Each runs in its own process.

Usage: python benchmarks/ours.py NAME, started by `bench.py`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from place import MONTH, Place, main, work

if TYPE_CHECKING:
    import dagster as dg


def clean_csv(place: Place) -> None:
    """taxi_assets: the work of `clean_trips`: `clean_month` and `verify_file` of the CSV."""
    _clean(place.csv, place.out)


def clean_parquet(place: Place) -> None:
    """taxi_assets: the work of `clean_trips`: `clean_month` and `verify_file` of the Parquet file."""
    _clean(place.parquet, place.out)


def _clean(raw: Path, out: Path) -> None:
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401  # imported before the work starts, as DuckDB is in its own benchmark

    from taxi_assets.tlc.clean import CleanLimits, clean_month
    from taxi_assets.tlc.schema import LAYOUTS
    from taxi_assets.tlc.trips import TripMonth
    from taxi_assets.tlc.verify import verify_file

    month = TripMonth("yellow", MONTH)
    with work():
        report = clean_month(month, raw, out / "clean.parquet", out / "rejected.parquet", CleanLimits())
        verify_file(month, out / "clean.parquet", LAYOUTS["yellow"], report.rows)


def empty_runs(place: Place) -> None:
    """Dagster: runs of one job of five empty assets with as many checks as those of taxi_assets, in one process.

    The environment variable EMPTY_RUNS has the number of runs, and EMPTY_CHECKS the number of checks of each asset.
    """
    import dagster as dg

    checks = [int(number) for number in os.environ["EMPTY_CHECKS"].split(",")]
    keys = [str(number) for number in range(int(os.environ["EMPTY_RUNS"]))]
    job = dg.define_asset_job("empty", executor_def=dg.in_process_executor)
    assets = [_empty_asset(number, count, keys) for number, count in enumerate(checks)]
    (place.out / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    resolved = dg.Definitions(assets, jobs=[job]).resolve_job_def("empty")
    with dg.DagsterInstance.from_config(str(place.out)) as instance:
        for key in keys:
            resolved.execute_in_process(instance=instance, partition_key=key)


def _empty_asset(number: int, checks: int, keys: list[str]) -> "dg.AssetsDefinition":
    import dagster as dg

    specs = [dg.AssetCheckSpec(f"check_{check}", asset=f"asset_{number}") for check in range(checks)]

    @dg.asset(
        name=f"asset_{number}",
        deps=[f"asset_{number - 1}"] if number else [],
        check_specs=specs,
        partitions_def=dg.StaticPartitionsDefinition(keys),
    )
    def empty() -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster takes any other for one of many outputs
        results = [dg.AssetCheckResult(check_name=spec.name, passed=True) for spec in specs]
        return dg.MaterializeResult(check_results=results)

    return empty


def open_history(_: Place) -> None:
    """Dagster: open the instance in DAGSTER_HOME and read one run, as any command of Dagster does."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.get_run_records(limit=1)


FUNCTIONS = (clean_csv, clean_parquet, empty_runs, open_history)

if __name__ == "__main__":
    main(FUNCTIONS)
