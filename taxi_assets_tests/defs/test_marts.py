"""Tests of the marts as assets: when they are computed, their versions, checks and metadata, and the jobs."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.mart_jobs import outdated_marts
from taxi_assets.defs.marts import check_mart
from taxi_assets.graph import LOAD_MARTS, MART_ASSETS
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import Progress
from taxi_assets.operations.runs import run_job
from taxi_assets.tlc.marts import MONTHLY_ZONE_REVENUE
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.dagster_internals import (
    AssetGraphView,
    CachingStaleStatusResolver,
    StaleStatus,
    TemporalContext,
)
from taxi_assets_tests.defs.store_installation import StoreInstallation, figures

GREEN, FHV = TripMonth("green", "2020-03"), TripMonth("fhv", "2020-02")


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """An installation with nothing loaded."""
    assert home.exists()
    with closing(StoreInstallation()) as created:
        yield created


def _stale(installation: StoreInstallation, month: TripMonth) -> list[str]:
    """Return the marts of a month that Dagster's UI shows as stale."""
    graph = installation.definitions.resolve_asset_graph()
    now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
    view = AssetGraphView(temporal_context=now, instance=installation.instance, asset_graph=graph)
    status = CachingStaleStatusResolver(installation.instance, graph, view).get_status
    return [name for name in MART_ASSETS if status(asset_key(month.color, name), month.month) is StaleStatus.STALE]


def _requested(
    installation: StoreInstallation, last: dg.EvaluateAutomationConditionsResult | None
) -> tuple[dict[str, set[str]], dg.EvaluateAutomationConditionsResult]:
    """Evaluate the automation conditions. Return the requested partitions by asset, and the result."""
    keys = [asset_key(color, name) for color in ("yellow", "green", "fhv", "fhvhv") for name in MART_ASSETS]
    result = dg.evaluate_automation_conditions(
        defs=installation.definitions,
        instance=installation.instance,
        asset_selection=dg.AssetSelection.assets(*keys),
        cursor=last.cursor if last else None,
    )
    found = {key.to_user_string(): {name for name in result.get_requested_partitions(key) if name} for key in keys}
    return {key: partitions for key, partitions in found.items() if partitions}, result


def test_marts_follow_the_trips(installation: StoreInstallation) -> None:
    """A load of a month requests its marts once. The UI shows them as stale until they are computed again."""
    for month in (GREEN, FHV):
        installation.publish(month)
    installation.load(FHV)
    requested, state = _requested(installation, None)
    assert requested == {}
    installation.load(GREEN)
    requested, state = _requested(installation, state)
    assert requested == {f"green/{name}": {"2020-03"} for name in MART_ASSETS}
    assert installation.run(GREEN, *MART_ASSETS)[-1].what is Progress.done
    requested, state = _requested(installation, state)
    assert requested == {}
    assert _stale(installation, GREEN) == []
    shown = installation.metadata("daily_trips", GREEN)
    assert (shown["trips"], shown["dagster/table_name"].split(".")[-1]) == (2_000, "green_daily_trips")
    assert installation.metadata("monthly_zone_revenue", GREEN)["total"] == pytest.approx(shown["total"])
    status = installation.history(GREEN)
    assert status
    assert (status.status, len(status.rows)) == ("loaded", 5)

    version = installation.version("daily_trips", GREEN)
    installation.publish(GREEN, seed=1)
    installation.load(GREEN)
    assert _stale(installation, GREEN) == list(MART_ASSETS)
    # The job computes these, and those of the month that was loaded before the sensor was on.
    assert run_job(installation.definitions, installation.instance, LOAD_MARTS) == ""
    assert list(outdated_marts(installation.instance, installation.settings)) == []
    assert [_stale(installation, month) for month in (GREEN, FHV)] == [[], []]
    assert _requested(installation, state)[0] == {}
    assert installation.version("daily_trips", GREEN) != version
    assert installation.metadata("daily_trips", FHV)["trips"] == 2_000
    for name, check in (("daily_trips", "sums_match_trips"), ("monthly_zone_revenue", "zones_are_known")):
        assert installation.check(name, check, GREEN).passed


def test_checks(installation: StoreInstallation) -> None:
    """The checks fail for a mart with other sums than the trips, and for an unknown zone."""
    installation.publish(GREEN)
    installation.load(GREEN)
    rows, sums = (
        installation.warehouse.replace_mart(MONTHLY_ZONE_REVENUE, GREEN),
        installation.warehouse.sum_trips(GREEN),
    )
    assert set(sums) == {"trips", "fare", "tips", "total"}
    assert [check.passed for check in check_mart(MONTHLY_ZONE_REVENUE, rows, sums)] == [True, True]
    for name, difference in (("trips", 1), ("total", 0.02 * rows.num_rows)):
        wrong, _ = check_mart(MONTHLY_ZONE_REVENUE, rows, {**sums, name: sums[name] + difference})
        assert (wrong.passed, list(figures(wrong.metadata))) == (False, [name])
    place = rows.schema.get_field_index("zone_id")
    shifted = rows.set_column(place, "zone_id", [[zone and zone + 100 for zone in rows["zone_id"].to_pylist()]])
    _, unknown = check_mart(MONTHLY_ZONE_REVENUE, shifted, sums)
    assert (unknown.passed, unknown.severity) == (False, dg.AssetCheckSeverity.WARN)
