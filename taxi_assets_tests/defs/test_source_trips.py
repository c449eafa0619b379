"""Tests of `source_trips`: an observation of the source makes months stale that were published again."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from taxi_assets.instance.partition_status import PartitionStatus
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import ObservingInstallation
from taxi_assets_tests.web_server import Reply, WebServer

MARCH, OLD = TripMonth("green", "2021-03"), TripMonth("yellow", "2019-05")


@pytest.fixture
def installation(web_source: WebServer) -> Iterator[ObservingInstallation]:
    """Create an installation with an old month loaded."""
    with closing(ObservingInstallation(web_source)) as created:
        created.publish(OLD, ETag='"v1"')
        created.load(OLD)
        created.web.seen.clear()
        yield created


def test_a_month_published_again_is_stale_until_it_is_loaded(installation: ObservingInstallation) -> None:
    """An observation makes `raw_trips` stale, in the UI and in `taxi status`, until the month is loaded."""
    assert installation.observe("yellow")[OLD.month] == '"v1"'
    assert (installation.status(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])
    installation.publish(OLD, ETag='"v2"')
    assert installation.observe("yellow")[OLD.month] == '"v2"'
    assert (installation.status(OLD), installation.stale(OLD)) == (PartitionStatus.stale, ["raw_trips"])
    installation.load(OLD)
    assert (installation.status(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])


def test_a_run_observes_the_fetched_version(installation: ObservingInstallation) -> None:
    """A month that was published again and loaded since is not stale, also after the next observation."""
    installation.observe("yellow")
    installation.publish(OLD, ETag='"v2"')
    installation.load(OLD)
    assert (installation.status(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])
    installation.observe("yellow")
    assert (installation.status(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])


@pytest.mark.parametrize(("color", "requests"), [("yellow", 1 + 6), ("green", 6 + 3), ("fhv", 6 + 3)])
def test_only_loaded_and_recent_months_are_observed(
    color: str, requests: int, installation: ObservingInstallation
) -> None:
    """An observation of a color requests its loaded months and the last six.

    If none of them is published, it also requests the first partitions until the server has one.
    """
    installation.observe(color)
    assert len(installation.web.seen) == requests


def test_a_loaded_month_before_the_first_partition_is_not_observed(
    installation: ObservingInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loaded month that TAXI_FIRST_MONTH now excludes cannot be loaded again, so it is not requested."""
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2019-06")
    with closing(ObservingInstallation(installation.web)) as later:
        later.observe("yellow")
    # The loaded month is requested only because no other month is published.
    assert len(installation.web.seen) == 6 + 1


def test_observe_one_partition(installation: ObservingInstallation) -> None:
    """An observation of one partition requests only that month. A month that is not published has no version."""
    installation.publish(MARCH, ETag='"v7"')
    assert installation.observe("green", "2021-03") == {"2021-03": '"v7"'}
    assert len(installation.web.seen) == 1
    installation.web.replies["/green/green_tripdata_2021-04.csv.gz"] = [Reply(b"<!DOCTYPE html>")]
    assert "2021-04" not in installation.observe("green", "2021-04")
    assert "2021-05" not in installation.observe("green", "2021-05")
    assert installation.observe("yellow", OLD.month) == {OLD.month: '"v1"'}
