"""Dagster's UI and `taxi status` agree about what is stale."""

from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import TRIP_ASSETS, asset_key, job_name, step_key
from taxi_assets.news import PartitionStatus, Progress
from taxi_assets.tlc import versions
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import ObservingInstallation
from taxi_assets_tests.web_server import WebServer

MONTH, OTHER = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")


class Judged(ObservingInstallation):
    """An installation that compares what the UI and `taxi status` show of a month."""

    def __init__(self, web: WebServer, patch: pytest.MonkeyPatch) -> None:
        super().__init__(web)
        self._patch = patch
        self._published = 0

    def publish_again(self) -> None:
        """Publish another version of the month at the source."""
        self._published += 1
        self.publish(MONTH, self._published, ETag=f'"v{self._published}"')

    def raise_code_version(self, name: str) -> None:
        """Raise the code version of an asset, as a new release does."""
        changed = MappingProxyType({**versions.CODE_VERSIONS, name: f"{versions.CODE_VERSIONS[name]}+"})
        for module in ("tlc.versions", "defs.assets", "instance.partition_status"):
            self._patch.setattr(f"taxi_assets.{module}.CODE_VERSIONS", changed)
        self.definitions = build_definitions(self.settings)

    def run_with(self, **config: dict[str, Any]) -> None:
        """Run assets of the month with config, as the UI's launchpad does."""
        selection = {asset_key(MONTH.color, name) for name in config}
        job = self.definitions.resolve_job_def(job_name(MONTH.color))
        ops = {step_key(MONTH.color, name): {"config": given} for name, given in config.items() if given}
        done = job.get_subset(asset_selection=selection).execute_in_process(
            partition_key=MONTH.month, instance=self.instance, run_config={"ops": ops}
        )
        assert done.success

    def judge(self) -> list[str]:
        """The assets of the month that are stale in the UI, once `taxi status` agrees."""
        stale = self.stale(MONTH)
        assert self.standing(MONTH) is (PartitionStatus.stale if stale else PartitionStatus.loaded), stale
        return stale


@pytest.fixture
def installation(web_source: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judged]:
    """An installation with the month loaded, and another one beside it."""
    with closing(Judged(web_source, monkeypatch)) as made:
        made.publish_again()
        made.publish(OTHER, ETag='"v1"')
        made.load(MONTH, OTHER)
        yield made


def test_a_loaded_month_is_fresh(installation: Judged) -> None:
    """Nothing is stale after a load, nor after the source was observed, nor after another load."""
    assert installation.judge() == []
    installation.observe("green")
    assert installation.judge() == []
    installation.load(MONTH)
    assert installation.judge() == []


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_a_rerun_of_the_same_input_and_rule_makes_nothing_stale(name: str, installation: Judged) -> None:
    """What is run again and gives the same has the same version: what was made from it is fresh."""
    told = installation.run(MONTH, name, fresh=name == "raw_trips")
    assert told[-1].what is Progress.done
    assert installation.judge() == []


def test_a_lake_of_another_rule_makes_the_warehouse_stale(installation: Judged) -> None:
    """The rule is part of the version: the warehouse has the rows of the old one until it is loaded again."""
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.judge() == ["warehouse_trips"]
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.judge() == ["warehouse_trips"]
    installation.run(MONTH, "warehouse_trips")
    assert installation.judge() == []
    installation.run(MONTH, "lake_trips")
    assert installation.judge() == ["warehouse_trips"]


def test_a_rule_that_is_taken_back_leaves_nothing_stale(installation: Judged) -> None:
    """The warehouse is fresh again once the lake has what the warehouse was loaded from."""
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.judge() == ["warehouse_trips"]
    installation.run(MONTH, "lake_trips")
    assert installation.judge() == []


def test_postgres_of_another_rule_makes_nothing_stale(installation: Judged) -> None:
    """Nothing is made from Postgres."""
    installation.run_with(postgres_trips={"zero_passengers": "keep"})
    assert installation.judge() == []


def test_a_month_that_was_published_again_is_stale_until_all_of_it_is_loaded(installation: Judged) -> None:
    """Each step that is run makes what follows it stale, until the last one has run."""
    installation.publish_again()
    assert installation.judge() == [], "nobody has looked yet"
    installation.observe("green")
    assert installation.judge() == ["raw_trips"]
    for name, stale in (
        ("raw_trips", ["clean_trips"]),
        ("clean_trips", ["lake_trips", "postgres_trips"]),
        ("postgres_trips", ["lake_trips"]),
        ("lake_trips", ["warehouse_trips"]),
        ("warehouse_trips", []),
    ):
        installation.run(MONTH, name)
        assert installation.judge() == stale


def test_the_same_bytes_under_another_version_make_only_raw_stale(installation: Judged) -> None:
    """A source that was touched, and whose file is the same, needs no more than a look."""
    installation.publish(MONTH, 1, ETag='"touched"')
    installation.observe("green")
    assert installation.judge() == ["raw_trips"]
    installation.run(MONTH, "raw_trips")
    assert installation.judge() == []


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_code_of_another_version_makes_its_asset_stale(name: str, installation: Judged) -> None:
    """A month that other code made is stale at that asset; what is made from it follows once that has run."""
    installation.raise_code_version(name)
    assert installation.judge() == [name]
    installation.run(MONTH, name)
    following = {"raw_trips": [], "clean_trips": ["lake_trips", "postgres_trips"], "lake_trips": ["warehouse_trips"]}
    assert installation.judge() == following.get(name, [])
    installation.load(MONTH)
    assert installation.judge() == []


def test_other_months_stay_fresh(installation: Judged) -> None:
    """A stale month does not make other months of its color stale."""
    installation.publish_again()
    installation.observe("green")
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.judge() == ["raw_trips", "warehouse_trips"]
    assert (installation.stale(OTHER), installation.standing(OTHER)) == ([], PartitionStatus.loaded)


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_what_somebody_reports_by_hand_is_judged_alike(name: str, installation: Judged) -> None:
    """A materialization that the UI reports has no version: what was made of the one before is stale."""
    installation.instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key("green", name), partition=MONTH.month)
    )
    following = {
        "raw_trips": ["clean_trips"],
        "clean_trips": ["lake_trips", "postgres_trips"],
        "lake_trips": ["warehouse_trips"],
    }
    assert installation.judge() == following.get(name, [])
    installation.load(MONTH)
    assert installation.judge() == []


def _observe(installation: Judged, _: Random) -> None:
    installation.observe("green")


def _run_one(installation: Judged, random: Random) -> None:
    installation.run(MONTH, random.choice(TRIP_ASSETS))


def _run_from(installation: Judged, random: Random) -> None:
    installation.run(MONTH, *TRIP_ASSETS[random.randrange(len(TRIP_ASSETS)) :])


def _rule_of_lake(installation: Judged, random: Random) -> None:
    installation.run_with(lake_trips={"missing_passengers": random.choice(["zero", "keep"])})


def _rule_of_postgres(installation: Judged, random: Random) -> None:
    installation.run_with(postgres_trips={"zero_passengers": random.choice(["drop", "keep"])})


def _publish(installation: Judged, _: Random) -> None:
    installation.publish_again()


def _code(installation: Judged, random: Random) -> None:
    installation.raise_code_version(random.choice(TRIP_ASSETS))


def _report(installation: Judged, random: Random) -> None:
    reported = dg.AssetMaterialization(asset_key("green", random.choice(TRIP_ASSETS)), partition=MONTH.month)
    installation.instance.report_runless_asset_event(reported)


ACTIONS: tuple[Callable[[Judged, Random], None], ...] = (
    *(_observe, _run_one, _run_one, _run_one, _run_from, _rule_of_lake, _rule_of_lake, _rule_of_postgres),
    *(_publish, _publish, _code, _report),
)
"""What people, schedules and releases do. Some are listed twice, so that they are drawn more often."""


@pytest.mark.parametrize("seed", range(3))
def test_status_and_ui_agree_whatever_happens(seed: int, installation: Judged) -> None:
    """Both agree after any sequence of runs, rules, publications, releases and reports by hand."""
    random = Random(seed)  # noqa: S311  # the same for the same seed
    done: list[str] = []
    seen: set[bool] = set()
    for _ in range(14):
        action = random.choice(ACTIONS)
        done.append(action.__name__)
        action(installation, random)
        stale = installation.stale(MONTH)
        assert installation.standing(MONTH) is (PartitionStatus.stale if stale else PartitionStatus.loaded), (
            done,
            stale,
        )
        seen.add(bool(stale))
    installation.load(MONTH)
    assert installation.judge() == []
    assert seen == {True, False}
