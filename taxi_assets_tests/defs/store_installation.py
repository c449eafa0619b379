"""An installation whose source is a folder, with access to its stores and to the events of its runs."""

from pathlib import Path
from typing import Any

import dagster as dg

from taxi_assets.connections import open_lake, open_postgres, open_warehouse
from taxi_assets.graph import job_name
from taxi_assets.instance.partition_status import MonthStatus, read_history
from taxi_assets.keys import asset_key, step_key
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.dagster_internals import AssetCheckEvaluation, PartitionKeyFilter, StepFailureData
from taxi_assets_tests.defs.installation import OLD, Installation
from taxi_assets_tests.months import publish

ROWS = 2_000


class StoreInstallation(Installation):
    """An installation with its source, its lake, its warehouse, and its Postgres store.

    A source in a folder has only the month `OLD` at first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.home = self.settings.home
        self.source = Path(self.settings.source_url)
        if not self.settings.source_url.startswith("http"):
            publish(self.source, OLD, 1)
        self.lake = open_lake(self.settings)
        self.warehouse = open_warehouse(self.settings)
        self.postgres = open_postgres(self.settings)

    def publish(self, month: TripMonth, rows: int = ROWS, seed: int = 0) -> Path:
        """Publish a sample month at the source. Return the path of its file."""
        return publish(self.source, month, rows, seed)

    def run_with_config(self, month: TripMonth, **config: dict[str, Any]) -> str:
        """Run a month with config by asset, as the UI's launchpad does. Return the run ID."""
        job = self.definitions.resolve_job_def(job_name(month.color))
        done = job.execute_in_process(
            partition_key=month.month,
            instance=self.instance,
            run_config={"ops": {step_key(month.color, name): {"config": values} for name, values in config.items()}},
        )
        assert done.success
        return str(done.run_id)

    def history(self, month: TripMonth) -> MonthStatus | None:
        """Return a month's entry in `taxi status`, or None if it is not listed."""
        known = {history.month: history for history in read_history(self.instance, self.settings)}
        return known.get(month)

    def materializations(self, asset: str, month: TripMonth) -> list[dg.AssetMaterialization]:
        """Return all materializations of a month in an asset, newest first."""
        wanted = dg.AssetRecordsFilter(asset_key(month.color, asset), asset_partitions=[month.month])
        records = self.instance.fetch_materializations(wanted, limit=100).records
        return [record.asset_materialization for record in records if record.asset_materialization]

    def version(self, asset: str, month: TripMonth) -> str:
        """Return the data version of a month's newest materialization."""
        return (self.materializations(asset, month)[0].tags or {})["dagster/data_version"]

    def checks(self, run_id: str) -> dict[tuple[str, str], AssetCheckEvaluation]:
        """Return the check evaluations of a run, by asset and check name."""
        records = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = (entry.dagster_event.asset_check_evaluation_data for entry in records if entry.dagster_event)
        return {(check.asset_key.path[1], check.check_name): check for check in found}

    def check(self, asset: str, name: str, month: TripMonth) -> AssetCheckEvaluation:
        """Return the newest evaluation of a check for a month, which the UI shows."""
        key = dg.AssetCheckKey(asset_key(month.color, asset), name)
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_execution_history(
            key, 1, partition_filter=PartitionKeyFilter(key=month.month)
        )
        evaluation = records[0].evaluation
        assert evaluation
        return evaluation

    def failures(self, run_id: str) -> dict[str, dg.Failure]:
        """Return the description and the metadata of each failed step of a run, by asset."""
        records = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        found = {}
        for entry in records:
            assert entry.dagster_event
            data = entry.dagster_event.step_failure_data
            assert isinstance(data, StepFailureData)
            failure = data.user_failure_data
            found[str(entry.dagster_event.step_key).partition("__")[2]] = dg.Failure(
                failure.description if failure else None, failure.metadata if failure else {}
            )
        return found

    def staged_files(self) -> list[Path]:
        """Return the staged files that no run has published or removed."""
        return list(self.home.rglob("*.staged"))


def figures(metadata: Any) -> dict[str, Any]:
    """Return metadata as plain values."""
    return {name: entry.value for name, entry in metadata.items()}
