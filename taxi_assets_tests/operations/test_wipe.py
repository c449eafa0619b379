"""A wipe deletes months from stores, and `taxi status` no longer shows them as loaded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.graph import STORES, TRIP_ASSETS, job_name
from taxi_assets.instance.partition_status import PartitionStatus, read_history
from taxi_assets.operations.wipe import StoredMonth, Wiper
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish

MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")
FHV = TripMonth("fhv", "2020-03")
ROWS = 50


@pytest.fixture
def installation(home: Path) -> Iterator[Installation]:
    """An installation with nothing loaded, whose source has three months."""
    for month in (MARCH, APRIL, FHV):
        publish(home.parent / "source", month, ROWS)
    with closing(Installation()) as opened:
        yield opened


@pytest.fixture
def wiper(installation: Installation) -> Wiper:
    """A wiper of the installation."""
    return Wiper(installation.settings, installation.instance)


def _loaded(installation: Installation) -> dict[TripMonth, list[str]]:
    """The materialized assets of each month in the history."""
    histories = read_history(installation.instance, installation.settings)
    return {history.month: list(history.rows) for history in histories}


def _stores(stored: list[StoredMonth]) -> set[tuple[TripMonth, str]]:
    """The months and stores with items."""
    return {(entry.month, entry.store) for entry in stored if entry.items}


def test_wipe_a_month_from_all_stores(installation: Installation, wiper: Wiper) -> None:
    """Every store lists and deletes the month. Other months stay, and the month can be loaded again."""
    installation.load(MARCH, APRIL)
    stored = list(wiper.find([MARCH], STORES))
    assert _stores(stored) == {(MARCH, store) for store in STORES}
    assert [(entry.store, entry.items) for entry in wiper.remove(stored)] == [
        (entry.store, entry.items) for entry in stored
    ]
    assert _stores(list(wiper.find([MARCH, APRIL], STORES))) == {(APRIL, store) for store in STORES}
    assert _loaded(installation) == {APRIL: list(TRIP_ASSETS)}
    installation.load(MARCH)
    assert _loaded(installation) == {MARCH: list(TRIP_ASSETS), APRIL: list(TRIP_ASSETS)}
    assert _stores(list(wiper.find([MARCH], STORES))) == {(MARCH, store) for store in STORES}


def test_wipe_a_month_from_some_stores(installation: Installation, wiper: Wiper) -> None:
    """Other stores keep the month, whose status is then partial."""
    installation.load(MARCH)
    list(wiper.remove(list(wiper.find([MARCH], ["raw", "warehouse"]))))
    (history,) = read_history(installation.instance, installation.settings)
    assert history.status is PartitionStatus.partial
    assert list(history.rows) == ["clean_trips", "lake_trips", "postgres_trips"]
    assert _stores(list(wiper.find([MARCH], STORES))) == {(MARCH, store) for store in ("clean", "lake", "postgres")}


def test_other_stores_continue_after_a_failure(installation: Installation, wiper: Wiper) -> None:
    """A warehouse that cannot be read is reported once for each color, and its months stay loaded in the history."""
    installation.load(MARCH, APRIL, FHV)
    database = installation.settings.home / "warehouse.duckdb"
    whole = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    stored = list(wiper.find([MARCH, APRIL, FHV], STORES))
    assert [(entry.month, entry.store) for entry in stored if entry.error] == [
        (MARCH, "warehouse"),
        (FHV, "warehouse"),
    ]
    assert all(entry.error.endswith("[damaged-warehouse]") for entry in stored if entry.error)
    assert not any(entry.error for entry in wiper.remove(stored))
    assert _loaded(installation) == {month: ["warehouse_trips"] for month in (MARCH, APRIL, FHV)}
    database.write_bytes(whole)
    list(wiper.remove(list(wiper.find([MARCH, APRIL, FHV], STORES))))
    assert _loaded(installation) == {}


def test_a_failed_deletion_is_reported(installation: Installation, wiper: Wiper) -> None:
    """An item that is found but not deleted has an error, and stays loaded in the history."""
    installation.load(MARCH)
    stored = list(wiper.find([MARCH], STORES))
    (installation.settings.home / "warehouse.duckdb").write_bytes(b"no database" * 1000)
    assert [entry.store for entry in wiper.remove(stored) if entry.error] == ["warehouse"]
    assert _loaded(installation) == {MARCH: ["warehouse_trips"]}


def test_the_next_wipe_completes_an_interrupted_one(installation: Installation, wiper: Wiper) -> None:
    """If an item was deleted but not reported, the next wipe reports it as wiped."""
    installation.load(MARCH)
    stored = list(wiper.find([MARCH], ["lake"]))
    Path(stored[0].items[0].place).unlink()
    assert "lake_trips" in _loaded(installation)[MARCH]
    assert list(wiper.remove(list(wiper.find([MARCH], ["lake"])))) == []
    assert "lake_trips" not in _loaded(installation)[MARCH]


def test_running_months_are_listed(installation: Installation, wiper: Wiper) -> None:
    """A month with an active run, which may store it again, is listed, and stays in the history after the wipe."""
    installation.load(MARCH, APRIL)
    job, tags = installation.definitions.resolve_job_def(job_name("green")), {"dagster/partition": "2020-03"}
    installation.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert wiper.in_progress([MARCH, APRIL]) == [MARCH]
    list(wiper.remove(list(wiper.find([MARCH], STORES))))
    assert _loaded(installation) == {MARCH: [], APRIL: list(TRIP_ASSETS)}


def test_a_wipe_does_not_create_a_server(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an embedded Postgres server, a wipe finds nothing in Postgres and does not create a server."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "")
    wiper = Wiper(Settings.load(), installation.instance)
    stored = list(wiper.find([MARCH], STORES))
    assert [(entry.store, entry.items, entry.error) for entry in stored] == [(store, [], "") for store in STORES]
    assert {path.name for path in installation.settings.home.iterdir()} == {"dagster"}
