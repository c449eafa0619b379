"""A wipe leaves nothing of a month where it was asked to, and no asset that the history calls loaded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import PartitionStatus, StoredMonth
from taxi_assets.operations.wipe import Wiper
from taxi_assets.settings import Settings
from taxi_assets.stores.inventory import STORES
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish

MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")
FHV = TripMonth("fhv", "2020-03")
ROWS = 50


@pytest.fixture
def installation(home: Path) -> Iterator[Installation]:
    """An installation with nothing loaded, and a source with three months."""
    for month in (MARCH, APRIL, FHV):
        publish(home.parent / "source", month, ROWS)
    with closing(Installation()) as made:
        yield made


@pytest.fixture
def wiper(installation: Installation) -> Wiper:
    """A wiper of the home."""
    return Wiper(installation.settings, installation.instance)


def _passed(installation: Installation) -> dict[TripMonth, list[str]]:
    """The assets that the history says each month passed."""
    histories = read_history(installation.instance, installation.settings)
    return {history.month: list(history.rows) for history in histories}


def _stores(lots: list[StoredMonth]) -> set[tuple[TripMonth, str]]:
    """Where something is, or was."""
    return {(lot.month, lot.store) for lot in lots if lot.held}


def test_a_month_goes_everywhere(installation: Installation, wiper: Wiper) -> None:
    """All of a month is told, goes, and is no history any more; others stay; it can be loaded again."""
    installation.load(MARCH, APRIL)
    lots = list(wiper.look([MARCH], STORES))
    assert _stores(lots) == {(MARCH, store) for store in STORES}
    assert [(lot.store, lot.held) for lot in wiper.remove(lots)] == [(lot.store, lot.held) for lot in lots]
    assert _stores(list(wiper.look([MARCH, APRIL], STORES))) == {(APRIL, store) for store in STORES}
    assert _passed(installation) == {APRIL: list(TRIP_ASSETS)}
    installation.load(MARCH)
    assert _passed(installation) == {MARCH: list(TRIP_ASSETS), APRIL: list(TRIP_ASSETS)}
    assert _stores(list(wiper.look([MARCH], STORES))) == {(MARCH, store) for store in STORES}


def test_a_month_goes_from_some_stores(installation: Installation, wiper: Wiper) -> None:
    """Stores that were not named keep the month, which is partly there then."""
    installation.load(MARCH)
    list(wiper.remove(list(wiper.look([MARCH], ["raw", "warehouse"]))))
    (history,) = read_history(installation.instance, installation.settings)
    assert history.standing is PartitionStatus.partly
    assert list(history.rows) == ["clean_trips", "lake_trips", "postgres_trips"]
    assert _stores(list(wiper.look([MARCH], STORES))) == {(MARCH, store) for store in ("clean", "lake", "postgres")}


def test_a_store_that_fails_hides_no_other(installation: Installation, wiper: Wiper) -> None:
    """A warehouse that cannot be read is told once a color; the others are done, and the month stays loaded there."""
    installation.load(MARCH, APRIL, FHV)
    database = installation.settings.home / "warehouse.duckdb"
    whole = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    lots = list(wiper.look([MARCH, APRIL, FHV], STORES))
    assert [(lot.month, lot.store) for lot in lots if lot.error] == [(MARCH, "warehouse"), (FHV, "warehouse")]
    assert all("cannot be opened" in lot.error for lot in lots if lot.error)
    assert not any(lot.error for lot in wiper.remove(lots))
    assert _passed(installation) == {month: ["warehouse_trips"] for month in (MARCH, APRIL, FHV)}
    database.write_bytes(whole)
    list(wiper.remove(list(wiper.look([MARCH, APRIL, FHV], STORES))))
    assert _passed(installation) == {}


def test_a_store_that_fails_to_remove_is_told(installation: Installation, wiper: Wiper) -> None:
    """What could be seen, and not removed, is told, and stays loaded in the history."""
    installation.load(MARCH)
    lots = list(wiper.look([MARCH], STORES))
    (installation.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert [lot.store for lot in wiper.remove(lots) if lot.error] == ["warehouse"]
    assert _passed(installation) == {MARCH: ["warehouse_trips"]}


def test_a_wipe_that_was_stopped_is_put_right_by_the_next(installation: Installation, wiper: Wiper) -> None:
    """What is gone from a store, and not from the history, is gone from there too after the next wipe."""
    installation.load(MARCH)
    lots = list(wiper.look([MARCH], ["lake"]))
    Path(lots[0].held[0].place).unlink()
    assert "lake_trips" in _passed(installation)[MARCH]
    assert list(wiper.remove(list(wiper.look([MARCH], ["lake"])))) == []
    assert "lake_trips" not in _passed(installation)[MARCH]


def test_months_under_way_are_known(installation: Installation, wiper: Wiper) -> None:
    """A month whose run is not over is told, since that may store it again, and stays known after the wipe."""
    installation.load(MARCH, APRIL)
    job, tags = dg.GraphDefinition(job_name("green")).to_job(), {"dagster/partition": "2020-03"}
    installation.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert wiper.under_way([MARCH, APRIL]) == [MARCH]
    list(wiper.remove(list(wiper.look([MARCH], STORES))))
    assert _passed(installation) == {MARCH: [], APRIL: list(TRIP_ASSETS)}


def test_no_server_is_made_to_find_nothing(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that never had a Postgres server does not get one from a wipe."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    wiper = Wiper(Settings.load(), installation.instance)
    lots = list(wiper.look([MARCH], STORES))
    assert [(lot.store, lot.held, lot.error) for lot in lots] == [(store, [], "") for store in STORES]
    assert {path.name for path in installation.settings.home.iterdir()} == {"dagster"}
