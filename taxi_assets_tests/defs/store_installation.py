"""An installation whose source is a folder, with what its runs reported and what its stores hold."""

from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.plan.objects import StepFailureData

from taxi_assets.graph import asset_key, job_name, step_key
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import MonthStatus
from taxi_assets.systems import open_lake, open_postgres, open_warehouse
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish

ROWS = 2_000


class StoreInstallation(Installation):
    """An installation, its source and its stores."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.settings.home
        self.source = Path(self.settings.source_url)
        self.lake = open_lake(self.settings)
        self.warehouse = open_warehouse(self.settings)
        self.postgres = open_postgres(self.settings)

    def publish(self, month: TripMonth, rows: int = ROWS, seed: int = 0) -> Path:
        """Publish a month at the source; returns its file."""
        return publish(self.source, month, rows, seed)

    def configured(self, month: TripMonth, **config: dict[str, Any]) -> str:
        """Run a month with config by asset, as the UI's launchpad does; returns the run's id."""
        job = self.definitions.resolve_job_def(job_name(month.color))
        done = job.execute_in_process(
            partition_key=month.month,
            instance=self.instance,
            run_config={"ops": {step_key(month.color, name): {"config": given} for name, given in config.items()}},
        )
        assert done.success
        return str(done.run_id)

    def history(self, month: TripMonth) -> MonthStatus | None:
        """What `taxi status` lists of a month; None if it does not list it."""
        known = {history.month: history for history in read_history(self.instance, self.settings)}
        return known.get(month)

    def materializations(self, asset: str, month: TripMonth) -> list[dg.AssetMaterialization]:
        """All materializations of a month of an asset, newest first."""
        wanted = dg.AssetRecordsFilter(asset_key(month.color, asset), asset_partitions=[month.month])
        records = self.instance.fetch_materializations(wanted, limit=100).records
        return [record.asset_materialization for record in records if record.asset_materialization]

    def version(self, asset: str, month: TripMonth) -> str:
        """The data version of the newest materialization of a month."""
        return (self.materializations(asset, month)[0].tags or {})["dagster/data_version"]

    def checks(self, run_id: str) -> dict[tuple[str, str], AssetCheckEvaluation]:
        """The checks that a run evaluated, by asset and name."""
        records = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = (entry.dagster_event.asset_check_evaluation_data for entry in records if entry.dagster_event)
        return {(check.asset_key.path[1], check.check_name): check for check in found}

    def check(self, asset: str, name: str, month: TripMonth) -> AssetCheckEvaluation | None:
        """The newest evaluation of a check for a month, as the UI shows it."""
        key = dg.AssetCheckKey(asset_key(month.color, asset), name)
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_execution_history(
            key, 1, partition_filter=PartitionKeyFilter(key=month.month)
        )
        return records[0].evaluation if records else None

    def failures(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The metadata of each failed step of a run, by asset."""
        records = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        found = {}
        for entry in records:
            assert entry.dagster_event
            data = entry.dagster_event.step_failure_data
            assert isinstance(data, StepFailureData)
            told = data.user_failure_data.metadata if data.user_failure_data else {}
            found[str(entry.dagster_event.step_key).partition("__")[2]] = figures(told)
        return found

    def litter(self) -> list[Path]:
        """Staged files that no run has published or removed."""
        return list(self.home.rglob("*.staged"))


def figures(metadata: Any) -> dict[str, Any]:
    """Metadata as plain values."""
    return {name: entry.value for name, entry in metadata.items()}
