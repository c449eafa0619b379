"""Tests that Dagster's UI and `taxi status` show the same months as stale."""

from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance.partition_status import PartitionStatus
from taxi_assets.keys import asset_key, step_key
from taxi_assets.operations.progress import Progress
from taxi_assets.tlc import versions
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import ObservingInstallation
from taxi_assets_tests.web_server import WebServer

MONTH, OTHER = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")


class ComparedInstallation(ObservingInstallation):
    """An installation that compares the status of a month in the UI and in `taxi status`."""

    def __init__(self, web: WebServer, patch: pytest.MonkeyPatch) -> None:
        super().__init__(web)
        self._patch = patch
        self._published = 0

    def publish_again(self) -> None:
        """Publish a new version of the month at the source."""
        self._published += 1
        self.publish(MONTH, self._published, ETag=f'"v{self._published}"')

    def change_code_version(self, name: str) -> None:
        """Change the code version of an asset, as a new release does."""
        changed = MappingProxyType({**versions.CODE_VERSIONS, name: f"{versions.CODE_VERSIONS[name]}+"})
        for module in ("tlc.versions", "defs.assets", "instance.partition_status"):
            self._patch.setattr(f"taxi_assets.{module}.CODE_VERSIONS", changed)
        self.definitions = build_definitions(self.settings)

    def run_with(self, **config: dict[str, Any]) -> None:
        """Run assets of the month with config, as the UI's launchpad does."""
        selection = {asset_key(MONTH.color, name) for name in config}
        job = self.definitions.resolve_job_def(job_name(MONTH.color))
        ops = {step_key(MONTH.color, name): {"config": values} for name, values in config.items() if values}
        done = job.get_subset(asset_selection=selection).execute_in_process(
            partition_key=MONTH.month, instance=self.instance, run_config={"ops": ops}
        )
        assert done.success

    def compare(self) -> list[str]:
        """Return the assets that the UI shows as stale. Raises AssertionError if `taxi status` differs."""
        stale = self.stale(MONTH)
        assert self.status(MONTH) is (PartitionStatus.stale if stale else PartitionStatus.loaded), stale
        return stale


@pytest.fixture
def installation(web_source: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComparedInstallation]:
    """Create an installation with two months loaded."""
    with closing(ComparedInstallation(web_source, monkeypatch)) as created:
        created.publish_again()
        created.publish(OTHER, ETag='"v1"')
        created.load(MONTH, OTHER)
        yield created


def test_a_loaded_month_is_not_stale(installation: ComparedInstallation) -> None:
    """No asset is stale after a load, an observation of the source, or another load."""
    assert installation.compare() == []
    installation.observe("green")
    assert installation.compare() == []
    installation.load(MONTH)
    assert installation.compare() == []


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_a_rerun_with_the_same_input_makes_nothing_stale(name: str, installation: ComparedInstallation) -> None:
    """A rerun with the same input and rule has the same data version, so downstream assets are not stale."""
    assert installation.run(MONTH, name, fresh=name == "raw_trips")[-1].what is Progress.done
    assert installation.compare() == []


def test_another_lake_rule_makes_the_warehouse_stale(installation: ComparedInstallation) -> None:
    """The rule is part of the data version, so the warehouse is stale until it is loaded again."""
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.compare() == ["warehouse_trips"]
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.compare() == ["warehouse_trips"]
    installation.run(MONTH, "warehouse_trips")
    assert installation.compare() == []
    installation.run(MONTH, "lake_trips")
    assert installation.compare() == ["warehouse_trips"]


def test_a_reverted_rule_leaves_nothing_stale(installation: ComparedInstallation) -> None:
    """The warehouse is not stale if the lake has the version again that the warehouse was loaded from."""
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.compare() == ["warehouse_trips"]
    installation.run(MONTH, "lake_trips")
    assert installation.compare() == []


def test_another_postgres_rule_makes_nothing_stale(installation: ComparedInstallation) -> None:
    """Postgres has no downstream assets."""
    installation.run_with(postgres_trips={"zero_passengers": "keep"})
    assert installation.compare() == []


def test_a_month_published_again_is_stale_until_all_assets_are_loaded(installation: ComparedInstallation) -> None:
    """Each asset that is materialized makes its downstream assets stale, until all of them are materialized."""
    installation.publish_again()
    assert installation.compare() == [], "the source was not observed since"
    installation.observe("green")
    assert installation.compare() == ["raw_trips"]
    for name, stale in (
        ("raw_trips", ["clean_trips"]),
        ("clean_trips", ["lake_trips", "postgres_trips"]),
        ("postgres_trips", ["lake_trips"]),
        ("lake_trips", ["warehouse_trips"]),
        ("warehouse_trips", []),
    ):
        installation.run(MONTH, name)
        assert installation.compare() == stale


def test_the_same_file_with_another_version_makes_only_raw_stale(installation: ComparedInstallation) -> None:
    """If the ETag of an identical file changes, only `raw_trips` is stale, until it runs."""
    installation.publish(MONTH, 1, ETag='"touched"')
    installation.observe("green")
    assert installation.compare() == ["raw_trips"]
    installation.run(MONTH, "raw_trips")
    assert installation.compare() == []


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_another_code_version_makes_its_asset_stale(name: str, installation: ComparedInstallation) -> None:
    """A changed code version makes its asset stale. After it runs, its downstream assets are stale."""
    installation.change_code_version(name)
    assert installation.compare() == [name]
    installation.run(MONTH, name)
    following = {"raw_trips": [], "clean_trips": ["lake_trips", "postgres_trips"], "lake_trips": ["warehouse_trips"]}
    assert installation.compare() == following.get(name, [])
    installation.load(MONTH)
    assert installation.compare() == []


def test_other_months_are_not_stale(installation: ComparedInstallation) -> None:
    """A stale month does not make other months of its color stale."""
    installation.publish_again()
    installation.observe("green")
    installation.run_with(lake_trips={"missing_passengers": "keep"})
    assert installation.compare() == ["raw_trips", "warehouse_trips"]
    assert (installation.stale(OTHER), installation.status(OTHER)) == ([], PartitionStatus.loaded)


@pytest.mark.parametrize("name", TRIP_ASSETS)
def test_a_reported_materialization_makes_downstream_assets_stale(
    name: str, installation: ComparedInstallation
) -> None:
    """A materialization reported in the UI has no version, so downstream assets of the previous one are stale."""
    installation.instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key("green", name), partition=MONTH.month)
    )
    following = {
        "raw_trips": ["clean_trips"],
        "clean_trips": ["lake_trips", "postgres_trips"],
        "lake_trips": ["warehouse_trips"],
    }
    assert installation.compare() == following.get(name, [])
    installation.load(MONTH)
    assert installation.compare() == []


def _observe(installation: ComparedInstallation, _: Random) -> None:
    installation.observe("green")


def _run_one(installation: ComparedInstallation, random: Random) -> None:
    installation.run(MONTH, random.choice(TRIP_ASSETS))


def _run_downstream(installation: ComparedInstallation, random: Random) -> None:
    installation.run(MONTH, *TRIP_ASSETS[random.randrange(len(TRIP_ASSETS)) :])


def _run_lake_with_rule(installation: ComparedInstallation, random: Random) -> None:
    installation.run_with(lake_trips={"missing_passengers": random.choice(["zero", "keep"])})


def _run_postgres_with_rule(installation: ComparedInstallation, random: Random) -> None:
    installation.run_with(postgres_trips={"zero_passengers": random.choice(["drop", "keep"])})


def _publish(installation: ComparedInstallation, _: Random) -> None:
    installation.publish_again()


def _change_code(installation: ComparedInstallation, random: Random) -> None:
    installation.change_code_version(random.choice(TRIP_ASSETS))


def _report(installation: ComparedInstallation, random: Random) -> None:
    reported = dg.AssetMaterialization(asset_key("green", random.choice(TRIP_ASSETS)), partition=MONTH.month)
    installation.instance.report_runless_asset_event(reported)


ACTIONS: tuple[Callable[[ComparedInstallation, Random], None], ...] = (
    *(
        _observe,
        _run_one,
        _run_one,
        _run_one,
        _run_downstream,
        _run_lake_with_rule,
        _run_lake_with_rule,
        _run_postgres_with_rule,
    ),
    *(_publish, _publish, _change_code, _report),
)
"""Actions of users, schedules and releases. Some are listed several times, so that they are chosen more often."""


@pytest.mark.parametrize("seed", range(2))
def test_status_and_ui_agree_after_random_actions(seed: int, installation: ComparedInstallation) -> None:
    """The UI and `taxi status` agree after each action of a random sequence."""
    random = Random(seed)  # noqa: S311  # repeatable, and not used for security
    done: list[str] = []
    seen: set[bool] = set()
    for _ in range(14):
        action = random.choice(ACTIONS)
        done.append(action.__name__)
        action(installation, random)
        stale = installation.stale(MONTH)
        assert installation.status(MONTH) is (PartitionStatus.stale if stale else PartitionStatus.loaded), (
            done,
            stale,
        )
        seen.add(bool(stale))
    installation.load(MONTH)
    assert installation.compare() == []
    assert seen == {True, False}
