"""The definitions: five stations, their job and their checks, and nothing done at import."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import CHECKS
from taxi_assets.defs.jobs import JOBS, LOAD_TRIPS, STATIONS
from taxi_assets.defs.runs import select_stations
from taxi_assets.defs.source_trips import SOURCE_TRIPS
from taxi_assets.errors import BadSelection
from taxi_assets.settings import Settings


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    """The definitions of a home that does not exist yet."""
    return build_definitions(Settings(home=tmp_path / "home"))


def test_the_job_loads_exactly_the_five_stations(definitions: dg.Definitions) -> None:
    """`load_trips` takes a month through every station, and nothing else is made; the source is only observed."""
    graph = definitions.resolve_asset_graph()
    job = definitions.resolve_job_def(LOAD_TRIPS)
    stations = {dg.AssetKey(station) for station in STATIONS}
    assert graph.materializable_asset_keys == stations
    assert graph.observable_asset_keys == {dg.AssetKey(SOURCE_TRIPS)}
    assert job.asset_layer.executable_asset_keys == stations


@pytest.mark.parametrize(
    ("job", "last"),
    [("load_lake", "lake_trips"), ("load_warehouse", "warehouse_trips"), ("load_postgres", "postgres_trips")],
)
def test_a_job_of_one_store_has_what_that_needs(job: str, last: str, definitions: dg.Definitions) -> None:
    """The other jobs end at their store, and begin at the source."""
    wanted = set(select_stations(definitions, f"*{last}"))
    keys = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in keys} == wanted


def test_a_run_of_any_job_is_tagged(definitions: dg.Definitions) -> None:
    """Whoever starts a partition's run in Dagster, its tags have color, month and that it was started there."""
    for job in JOBS:
        resolved = definitions.resolve_job_def(job)
        tags = {**resolved.run_tags, **resolved.get_tags_for_partition_key("green|2021-01", selected_asset_keys=None)}
        ours = {name: value for name, value in tags.items() if name.startswith("taxi/")}
        assert ours == {"taxi/color": "green", "taxi/month": "2021-01", "taxi/asked_by": "dagster"}


def test_stations_follow_each_other_as_designed(definitions: dg.Definitions) -> None:
    """The source leads to raw, raw to clean, clean to lake and Postgres, lake to the warehouse."""
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string(): {p.to_user_string() for p in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "source_trips": set(),
        "raw_trips": {"source_trips"},
        "clean_trips": {"raw_trips"},
        "lake_trips": {"clean_trips"},
        "warehouse_trips": {"lake_trips"},
        "postgres_trips": {"clean_trips"},
    }


def test_every_station_has_its_checks(definitions: dg.Definitions) -> None:
    """The checks that are described are those that are defined."""
    keys = definitions.resolve_asset_graph().asset_check_keys
    assert {(key.asset_key.to_user_string(), key.name) for key in keys} == {
        (asset, name) for asset, checks in CHECKS.items() for name in checks
    }


def test_every_asset_says_what_it_is(definitions: dg.Definitions) -> None:
    """Each asset has a description, and the kind of the system that it is in."""
    graph = definitions.resolve_asset_graph()
    kinds = {key.to_user_string(): set(graph.get(key).kinds) for key in graph.materializable_asset_keys}
    assert kinds == {
        "raw_trips": {"csv"},
        "clean_trips": {"parquet"},
        "lake_trips": {"file"},
        "warehouse_trips": {"duckdb"},
        "postgres_trips": {"postgres"},
    }
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())


def test_building_makes_nothing(tmp_path: Path) -> None:
    """Definitions that are only looked at leave no folder and start no server."""
    build_definitions(Settings(home=tmp_path / "home")).resolve_asset_graph()
    assert not (tmp_path / "home").exists()


def test_importing_reads_no_environment_and_no_heavy_library() -> None:
    """The definitions' module can be imported under wrong settings, and imports no database's or cloud's client."""
    heavy = ("apprise", "dagster_gcp", "duckdb", "google.cloud", "pandas", "psycopg2", "pyarrow")
    code = f"import sys, taxi_assets.definitions; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "TAXI_REJECT_LIMIT": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_password_is_in_the_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The UI can show of the Postgres URL only the variable that holds it."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://me:hunter2@localhost/db")
    built = build_definitions(Settings(home=tmp_path))
    snapshot = str(built.resolve_job_def(LOAD_TRIPS).get_job_snapshot())
    assert "hunter2" not in snapshot
    assert "TAXI_POSTGRES_URL" in snapshot


@pytest.mark.parametrize(
    ("selection", "stations"),
    [
        ("", STATIONS),
        ("raw_trips", ("raw_trips",)),
        ("warehouse_trips,lake_trips", ("lake_trips", "warehouse_trips")),
        ("lake_trips+", ("lake_trips", "warehouse_trips")),
        ("clean_trips+", ("clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")),
        ("+lake_trips, postgres_trips", ("raw_trips", "clean_trips", "lake_trips", "postgres_trips")),
        ("*", STATIONS),
        ("*postgres_trips", ("raw_trips", "clean_trips", "postgres_trips")),
    ],
)
def test_a_selection_names_stations_in_their_order(
    definitions: dg.Definitions, selection: str, stations: tuple[str, ...]
) -> None:
    """Names with a + and Dagster's own asset selections work, whatever order they name stations in."""
    assert select_stations(definitions, selection) == stations


@pytest.mark.parametrize("selection", ["nothing_trips", "raw_trips,,", "((", "tag:none"])
def test_a_selection_of_nothing_is_refused(definitions: dg.Definitions, selection: str) -> None:
    """Words that name no station are an error, not an empty run."""
    with pytest.raises(BadSelection, match="selection"):
        select_stations(definitions, selection)
