"""What the source has published is observed: a month that was published again is stale, until it is loaded."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.temporal_context import TemporalContext

from taxi_assets.defs.history import read_history
from taxi_assets.defs.partitions import partition_key, trip_partitions
from taxi_assets.defs.source_trips import SOURCE_TRIPS, observed_versions
from taxi_assets.news import Standing
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import WebInstallation
from taxi_assets_tests.web_server import Reply, WebServer

MARCH, OLD = TripMonth("green", "2021-03"), TripMonth("yellow", "2019-05")


class Observing(WebInstallation):
    """An installation that looks at what its source has."""

    def observe(self, partition: str | None = None) -> dict[str, str]:
        """Observe the source, as the UI does; the versions that are known then."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection={dg.AssetKey(SOURCE_TRIPS)})
        assert subset.execute_in_process(instance=self.instance, partition_key=partition).success
        return observed_versions(self.instance)

    def standing(self, month: TripMonth) -> Standing:
        """How `taxi status` says that a month stands."""
        histories = read_history(self.instance, trip_partitions(self.settings.first_month))
        return next(history.standing for history in histories if history.month == month)

    def is_raw_stale(self, month: TripMonth) -> bool:
        """Whether Dagster's UI shows a month's raw file as stale."""
        graph = self.definitions.resolve_asset_graph()
        now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
        view = AssetGraphView(temporal_context=now, instance=self.instance, asset_graph=graph)
        resolver = CachingStaleStatusResolver(self.instance, graph, view)
        return resolver.get_status(dg.AssetKey("raw_trips"), partition_key(month)) is StaleStatus.STALE


@pytest.fixture
def installation(web_source: WebServer) -> Iterator[Observing]:
    """An installation with an old month loaded."""
    with closing(Observing(web_source)) as made:
        made.publish(OLD, ETag='"v1"')
        made.load(OLD)
        made.web.seen.clear()
        yield made


def test_what_was_published_again_is_stale_until_it_is_loaded(installation: Observing) -> None:
    """The observation makes the raw month stale, in the UI and in `taxi status`; a run of the month ends that."""
    key = str(partition_key(OLD))
    assert installation.observe()[key] == '"v1"'
    assert (installation.standing(OLD), installation.is_raw_stale(OLD)) == (Standing.loaded, False)
    installation.publish(OLD, ETag='"v2"')
    assert installation.observe()[key] == '"v2"'
    assert (installation.standing(OLD), installation.is_raw_stale(OLD)) == (Standing.stale, True)
    installation.load(OLD)
    assert (installation.standing(OLD), installation.is_raw_stale(OLD)) == (Standing.loaded, False)


def test_a_run_observes_what_it_fetches(installation: Observing) -> None:
    """A month that was published again and loaded before anybody looked is not stale when somebody does."""
    installation.observe()
    installation.publish(OLD, ETag='"v2"')
    installation.load(OLD)
    assert (installation.standing(OLD), installation.is_raw_stale(OLD)) == (Standing.loaded, False)
    installation.observe()
    assert (installation.standing(OLD), installation.is_raw_stale(OLD)) == (Standing.loaded, False)


def test_only_loaded_and_recent_months_are_asked_for(installation: Observing) -> None:
    """Observing asks for the old month that is loaded, and the last six of each color, and for no others."""
    installation.observe()
    assert len(installation.web.seen) == 1 + 3 * 6


def test_one_month_can_be_observed_alone(installation: Observing) -> None:
    """With a partition, that month alone is asked for; one that is not published, or no month, has no version."""
    installation.publish(MARCH, ETag='"v7"')
    assert installation.observe("green|2021-03")["green|2021-03"] == '"v7"'
    assert len(installation.web.seen) == 1
    installation.web.replies["/green/green_tripdata_2021-04.csv.gz"] = [Reply(b"<!DOCTYPE html>")]
    assert "green|2021-04" not in installation.observe("green|2021-04")
    assert "green|2021-05" not in installation.observe("green|2021-05")
