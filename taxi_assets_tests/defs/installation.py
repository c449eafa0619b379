"""Installations for tests: a TAXI_HOME with its definitions and its Dagster instance, used in this process.

The settings come from the environment, which the fixtures of `conftest.py` set.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import PartitionStatus, observed_versions, read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.plan import Plan, Which, plan_backfill
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.settings import Settings
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.dagster_internals import (
    AssetGraphView,
    CachingStaleStatusResolver,
    StaleStatus,
    TemporalContext,
)
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer


class Installation:
    """A TAXI_HOME, its definitions, and its Dagster instance."""

    def __init__(self) -> None:
        self.settings = Settings.load()
        self.definitions = build_definitions(self.settings)
        self.instance = open_instance(self.settings.home)

    def close(self) -> None:
        """Close the instance."""
        self.instance.dispose()

    def run(self, month: TripMonth, *assets: str, fresh: bool = False) -> list[ProgressEvent]:
        """Materialize assets of a month, all of them by default. Return the progress events."""
        events: list[ProgressEvent] = []
        run_month(self.definitions, self.instance, month, RunSpec(assets or TRIP_ASSETS, fresh), events.append)
        return events

    def load(self, *months: TripMonth) -> None:
        """Load months into all assets. Raises AssertionError if one fails."""
        for month in months:
            end = self.run(month)[-1]
            assert end.what is Progress.done, end.error

    def metadata(self, asset: str, month: TripMonth) -> dict[str, Any]:
        """Return the metadata values of a month's newest materialization."""
        wanted = dg.AssetRecordsFilter(asset_key(month.color, asset), asset_partitions=[month.month])
        record = self.instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization
        return {name: entry.value for name, entry in record.asset_materialization.metadata.items()}

    def shown_errors(self, run_id: str) -> list[str]:
        """Return what the UI shows first of each failed step of a run, before the metadata and the traceback."""
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        failures = [entry.dagster_event.step_failure_data for entry in entries if entry.dagster_event]
        return [failure.error.message.rstrip() for failure in failures if failure.error]


OLD = TripMonth("fhv", "2019-01")
"""The only month of a new source. A source without any month is an error."""


class FolderInstallation(Installation):
    """An installation whose source is a folder, which has only the month `OLD` at first."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Path(self.settings.source_url)
        self.source.mkdir()
        publish(self.source, OLD, 1)

    def publish(self, *months: TripMonth) -> None:
        """Publish sample months at the source."""
        for month in months:
            publish(self.source, month, 10)

    def publish_page(self, month: TripMonth) -> None:
        """Publish a web page instead of a month."""
        publish(self.source, month, 10).write_text("<html>no trips here</html>")

    def plan(self, months: Sequence[TripMonth], which: Which = Which.all, assets: Sequence[str] = TRIP_ASSETS) -> Plan:
        """Return the plan of a backfill of these months."""
        return plan_backfill(self.settings, self.instance, months, assets, which)


class WebInstallation(Installation):
    """An installation whose source is a web server, which has only the month `OLD` at first."""

    def __init__(self, web: WebServer) -> None:
        super().__init__()
        self.web = web
        self.publish(OLD)

    def publish(self, month: TripMonth, seed: int = 1, **headers: str) -> Reply:
        """Publish a sample month on the server and return the reply. The size differs by seed."""
        path = self.settings.home / "sample.csv.gz"
        write_sample(month, 50 + seed, path, seed)
        reply = Reply(path.read_bytes(), headers=headers)
        self.web.replies[web_path(month)] = [reply]
        return reply


class ObservingInstallation(WebInstallation):
    """An installation that observes its source, a web server."""

    def observe(self, color: str, partition: str | None = None) -> dict[str, str]:
        """Observe the source of a color, as the UI does. Return the observed versions by partition."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection={asset_key(color, SOURCE_TRIPS)})
        assert subset.execute_in_process(instance=self.instance, partition_key=partition).success
        return observed_versions(self.instance, color)

    def status(self, month: TripMonth) -> PartitionStatus:
        """Return the status of a month in `taxi status`."""
        histories = read_history(self.instance, self.settings)
        return next(history.status for history in histories if history.month == month)

    def stale(self, month: TripMonth) -> list[str]:
        """Return the assets of a month that Dagster's UI shows as stale."""
        graph = self.definitions.resolve_asset_graph()
        now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
        view = AssetGraphView(temporal_context=now, instance=self.instance, asset_graph=graph)
        status = CachingStaleStatusResolver(self.instance, graph, view).get_status
        stale = StaleStatus.STALE
        return [name for name in TRIP_ASSETS if status(asset_key(month.color, name), month.month) is stale]


def web_path(month: TripMonth) -> str:
    """Return the path of a month on the web server."""
    return f"/{month.color}/{month.stem}.csv.gz"
