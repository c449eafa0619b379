"""The installation that the environment names, in this process: for tests of what runs leave behind."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.temporal_context import TemporalContext

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, asset_key
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import observed_versions, read_history
from taxi_assets.news import PartitionStatus, Plan, Progress, ProgressEvent
from taxi_assets.operations.plan import Which, plan_backfill
from taxi_assets.operations.runs import Order, run_month
from taxi_assets.settings import Settings
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer


class Installation:
    """A home, its definitions and its instance."""

    def __init__(self) -> None:
        self.settings = Settings.load()
        self.definitions = build_definitions(self.settings)
        self.instance = open_instance(self.settings.home)

    def close(self) -> None:
        """Let go of the instance."""
        self.instance.dispose()

    def run(self, month: TripMonth, *assets: str, fresh: bool = False) -> list[ProgressEvent]:
        """Materialize assets of a month, all of them if none is named; what was told of it."""
        told: list[ProgressEvent] = []
        run_month(self.definitions, self.instance, month, Order(assets or TRIP_ASSETS, fresh), told.append)
        return told

    def load(self, *months: TripMonth) -> None:
        """Load months in all assets."""
        for month in months:
            told = self.run(month)
            assert told[-1].what is Progress.done, told[-1].error

    def metadata(self, asset: str, month: TripMonth) -> dict[str, Any]:
        """The values that the newest materialization of a month tells."""
        wanted = dg.AssetRecordsFilter(asset_key(month.color, asset), asset_partitions=[month.month])
        record = self.instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization
        return {name: entry.value for name, entry in record.asset_materialization.metadata.items()}


class FolderInstallation(Installation):
    """One whose source is an empty folder."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Path(self.settings.source_url)
        self.source.mkdir()

    def publish(self, *months: TripMonth) -> None:
        """Let the source have months."""
        for month in months:
            publish(self.source, month, 10)

    def publish_page(self, month: TripMonth) -> None:
        """Let the source have a web page in a month's place."""
        publish(self.source, month, 10).write_text("<html>no trips here</html>")

    def plan(self, months: Sequence[TripMonth], which: Which = Which.all, assets: Sequence[str] = TRIP_ASSETS) -> Plan:
        """What a backfill of these months would load, and what it would leave out."""
        return plan_backfill(self.settings, self.instance, months, assets, which)


class WebInstallation(Installation):
    """One whose source is a web server of the tests."""

    def __init__(self, web: WebServer) -> None:
        super().__init__()
        self.web = web

    def publish(self, month: TripMonth, seed: int = 1, **headers: str) -> Reply:
        """Let the server have a month, of another size for another seed; what it answers."""
        place = self.settings.home / "made-up"
        write_sample(month, 50 + seed, place, seed)
        reply = Reply(place.read_bytes(), headers=headers)
        self.web.replies[web_path(month)] = [reply]
        return reply


class ObservingInstallation(WebInstallation):
    """One that looks at what its source has."""

    def observe(self, color: str, partition: str | None = None) -> dict[str, str]:
        """Observe the source of a color, as the UI does; the versions that are known then."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection={asset_key(color, SOURCE_TRIPS)})
        assert subset.execute_in_process(instance=self.instance, partition_key=partition).success
        return observed_versions(self.instance, color)

    def standing(self, month: TripMonth) -> PartitionStatus:
        """How `taxi status` says that a month stands."""
        histories = read_history(self.instance, self.settings)
        return next(history.standing for history in histories if history.month == month)

    def stale(self, month: TripMonth) -> list[str]:
        """The assets of a month that Dagster's UI shows as stale."""
        graph = self.definitions.resolve_asset_graph()
        now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
        view = AssetGraphView(temporal_context=now, instance=self.instance, asset_graph=graph)
        status = CachingStaleStatusResolver(self.instance, graph, view).get_status
        stale = StaleStatus.STALE
        return [name for name in TRIP_ASSETS if status(asset_key(month.color, name), month.month) is stale]


def web_path(month: TripMonth) -> str:
    """Where a web server has a month."""
    return f"/{month.color}/{month.stem}.csv.gz"
