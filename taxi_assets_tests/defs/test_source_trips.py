"""What the source has published is observed: a month that was published again is stale, until it is loaded."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from taxi_assets.news import PartitionStatus
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import ObservingInstallation
from taxi_assets_tests.web_server import Reply, WebServer

MARCH, OLD = TripMonth("green", "2021-03"), TripMonth("yellow", "2019-05")


@pytest.fixture
def installation(web_source: WebServer) -> Iterator[ObservingInstallation]:
    """An installation with an old month loaded."""
    with closing(ObservingInstallation(web_source)) as made:
        made.publish(OLD, ETag='"v1"')
        made.load(OLD)
        made.web.seen.clear()
        yield made


def test_what_was_published_again_is_stale_until_it_is_loaded(installation: ObservingInstallation) -> None:
    """The observation makes the raw month stale, in the UI and in `taxi status`; a run of the month ends that."""
    assert installation.observe("yellow")[OLD.month] == '"v1"'
    assert (installation.standing(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])
    installation.publish(OLD, ETag='"v2"')
    assert installation.observe("yellow")[OLD.month] == '"v2"'
    assert (installation.standing(OLD), installation.stale(OLD)) == (PartitionStatus.stale, ["raw_trips"])
    installation.load(OLD)
    assert (installation.standing(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])


def test_a_run_observes_what_it_fetches(installation: ObservingInstallation) -> None:
    """A month that was published again and loaded before anybody looked is not stale when somebody does."""
    installation.observe("yellow")
    installation.publish(OLD, ETag='"v2"')
    installation.load(OLD)
    assert (installation.standing(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])
    installation.observe("yellow")
    assert (installation.standing(OLD), installation.stale(OLD)) == (PartitionStatus.loaded, [])


@pytest.mark.parametrize(("color", "asked"), [("yellow", 1 + 6), ("green", 6), ("fhv", 6)])
def test_only_loaded_and_recent_months_are_asked_for(
    color: str, asked: int, installation: ObservingInstallation
) -> None:
    """Observing a color asks for its old month that is loaded and its last six, and for no others."""
    installation.observe(color)
    assert len(installation.web.seen) == asked


def test_a_loaded_month_that_is_no_partition_any_more_is_not_asked_for(
    installation: ObservingInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month that TAXI_FIRST_MONTH leaves out since it was loaded cannot be loaded again: nobody asks for it."""
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2019-06")
    with closing(ObservingInstallation(installation.web)) as later:
        later.observe("yellow")
    assert len(installation.web.seen) == 6


def test_one_month_can_be_observed_alone(installation: ObservingInstallation) -> None:
    """With a partition, that month alone is asked for; one that is not published, or no month, has no version."""
    installation.publish(MARCH, ETag='"v7"')
    assert installation.observe("green", "2021-03") == {"2021-03": '"v7"'}
    assert len(installation.web.seen) == 1
    installation.web.replies["/green/green_tripdata_2021-04.csv.gz"] = [Reply(b"<!DOCTYPE html>")]
    assert "2021-04" not in installation.observe("green", "2021-04")
    assert "2021-05" not in installation.observe("green", "2021-05")
    assert installation.observe("yellow", OLD.month) == {OLD.month: '"v1"'}
