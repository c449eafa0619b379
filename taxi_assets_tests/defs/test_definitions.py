"""The definitions: each color's assets, job, schedule and checks, and nothing done at import."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import NEWEST_MONTH_LOADED, VERIFIED, descriptions
from taxi_assets.errors import BadSelection
from taxi_assets.graph import JOBS, SOURCE_TRIPS, TRIP_ASSETS, asset_key, colors_of, job_name
from taxi_assets.operations.runs import select_assets
from taxi_assets.settings import Settings
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS

KINDS = {
    "source_trips": "csv",
    "raw_trips": "csv",
    "clean_trips": "parquet",
    "lake_trips": "file",
    "warehouse_trips": "duckdb",
    "postgres_trips": "postgres",
}
"""The kind of each asset on one machine."""

LAYERS = {
    "source_trips": "source",
    "raw_trips": "raw",
    "clean_trips": "clean",
    "lake_trips": "lake",
    "warehouse_trips": "warehouse",
    "postgres_trips": "warehouse",
}
"""The layer that each asset's tag names."""


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    """The definitions of a home that does not exist yet."""
    return build_definitions(Settings(home=tmp_path / "home"))


@pytest.fixture
def graph(definitions: dg.Definitions) -> AssetGraph:
    """Its assets."""
    return definitions.resolve_asset_graph()


def test_every_color_has_its_own_assets(graph: AssetGraph) -> None:
    """A color has five assets that are materialized, and its source, which is only observed."""
    assert graph.materializable_asset_keys == {asset_key(color, name) for color in COLORS for name in TRIP_ASSETS}
    assert graph.observable_asset_keys == {asset_key(color, SOURCE_TRIPS) for color in COLORS}


@pytest.mark.parametrize("color", COLORS)
def test_a_job_loads_exactly_the_five_assets_of_its_color(color: str, definitions: dg.Definitions) -> None:
    """`load_green` loads a month of green into every asset, and nothing else."""
    job = definitions.resolve_job_def(job_name(color))
    assert job.asset_layer.executable_asset_keys == {asset_key(color, name) for name in TRIP_ASSETS}
    assert colors_of(job.asset_layer.executable_asset_keys) == {color}


@pytest.mark.parametrize("color", COLORS)
def test_a_job_evaluates_all_checks_of_a_month(color: str, definitions: dg.Definitions) -> None:
    """A run evaluates each check of its color that is about one month; the one about the color is for the schedule."""
    evaluated = definitions.resolve_job_def(job_name(color)).asset_layer.asset_graph.asset_check_keys
    checks = {
        dg.AssetCheckKey(asset_key(color, name), check) for name in TRIP_ASSETS for check in descriptions(color, name)
    }
    assert {key for key in evaluated if key.asset_key.path[0] == color} == checks


@pytest.mark.parametrize(("job", "color"), JOBS.items())
def test_a_run_of_any_job_is_tagged(job: str, color: str, definitions: dg.Definitions) -> None:
    """Whoever starts a partition's run in Dagster, its tags have its color, and that it was started there."""
    resolved = definitions.resolve_job_def(job)
    tags = {**resolved.run_tags, **resolved.get_tags_for_partition_key("2021-01", selected_asset_keys=None)}
    assert {name: value for name, value in tags.items() if name.startswith("taxi/")} == {
        "taxi/color": color,
        "taxi/asked_by": "dagster",
    }
    assert tags["dagster/partition"] == "2021-01"


def test_tags_of_a_color_are_those_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAXI_RUN_TAGS gives the runs of one color their tags: text as it is, and anything else as JSON."""
    tags = '{"green": {"team": "north", "dagster-k8s/config": {"container_config": {}}}}'
    monkeypatch.setenv("TAXI_RUN_TAGS", tags)
    definitions = build_definitions(Settings(home=tmp_path))
    green, yellow = (definitions.resolve_job_def(job_name(color)).run_tags for color in ("green", "yellow"))
    assert green["team"] == "north"
    assert green["dagster-k8s/config"] == '{"container_config": {}}'
    assert "team" not in yellow


def test_a_selection_of_assets_is_limited_as_a_job_is(graph: AssetGraph) -> None:
    """Every asset of a color is in the pool of that color, by which the queue counts runs of any kind."""
    pools = {key: graph.get(key).pools for key in graph.materializable_asset_keys}
    assert pools == {asset_key(color, name): {color} for color in COLORS for name in TRIP_ASSETS}


@pytest.mark.parametrize("color", COLORS)
def test_assets_follow_each_other_as_designed(color: str, graph: AssetGraph) -> None:
    """The source leads to raw, raw to clean, clean to lake and Postgres, lake to the warehouse; colors never meet."""
    parents = {
        key.path[1]: {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if key.path[0] == color
    }
    assert parents == {
        "source_trips": set(),
        "raw_trips": {f"{color}/source_trips"},
        "clean_trips": {f"{color}/raw_trips"},
        "lake_trips": {f"{color}/clean_trips"},
        "warehouse_trips": {f"{color}/lake_trips"},
        "postgres_trips": {f"{color}/clean_trips"},
    }


@pytest.mark.parametrize("color", COLORS)
def test_every_asset_is_described(color: str, graph: AssetGraph) -> None:
    """Each asset has a description, the group of its color, the kind of its system, tags and an owner."""
    for name, kind in KINDS.items():
        asset = graph.get(asset_key(color, name))
        assert asset.description
        assert asset.group_name == color
        assert asset.kinds == {kind}
        assert asset.tags.items() >= {"domain": "taxi_trips", "layer": LAYERS[name]}.items()
    owners = {owner for name in TRIP_ASSETS for owner in graph.get(asset_key(color, name)).owners}
    assert owners == {"team:data-engineering"}


def test_owners_are_a_setting(tmp_path: Path) -> None:
    """TAXI_OWNERS names people and teams, separated by commas."""
    definitions = build_definitions(Settings(home=tmp_path, owners="team:taxis, ada@example.org"))
    assert definitions.resolve_asset_graph().get(asset_key("fhv", "lake_trips")).owners == [
        "team:taxis",
        "ada@example.org",
    ]


def test_kinds_are_those_of_the_systems_in_use(tmp_path: Path) -> None:
    """With a bucket for a lake and BigQuery for a warehouse, the assets have those kinds."""
    settings = Settings(home=tmp_path, lake_url="gs://trips", warehouse_url="bigquery://project/dataset")
    graph = build_definitions(settings).resolve_asset_graph()
    assert graph.get(asset_key("green", "lake_trips")).kinds == {"gcs"}
    assert graph.get(asset_key("green", "warehouse_trips")).kinds == {"bigquery"}


@pytest.mark.parametrize("color", COLORS)
def test_columns_are_known_before_anything_is_loaded(color: str, graph: AssetGraph) -> None:
    """The definition of each asset of a color has that color's columns; in Postgres they are in lower case."""
    columns = [column.name for column in LAYOUTS[color].table_columns]
    for name in TRIP_ASSETS[1:]:
        schema = graph.get(asset_key(color, name)).metadata["dagster/column_schema"]
        spelled = [column.lower() for column in columns] if name == "postgres_trips" else columns
        assert [column.name for column in schema.columns] == spelled
        assert all(column.description for column in schema.columns)


@pytest.mark.parametrize("color", COLORS)
def test_every_check_has_one_status_a_month(color: str, graph: AssetGraph) -> None:
    """The checks that are described are those that are defined, each with the partitions of its asset."""
    ours = [key for key in graph.asset_check_keys if key.asset_key.path[0] == color]
    about_the_color = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
    described = {(name, check): text for name in TRIP_ASSETS for check, text in descriptions(color, name).items()}
    of_months = {(key.asset_key.path[1], key.name): graph.get(key) for key in ours if key != about_the_color}
    assert {names: check.description for names, check in of_months.items()} == described
    for (name, _), check in of_months.items():
        assert check.partitions_def == graph.get(asset_key(color, name)).partitions_def
    assert graph.get(about_the_color).partitions_def is None


def test_only_what_may_not_go_on_blocks(graph: AssetGraph) -> None:
    """A month that a store does not have as it was given stops what is downstream; a rule about trips only warns."""
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == {VERIFIED, "matches_clean", "matches_lake"}


def test_checks_are_those_that_the_color_can_have() -> None:
    """A color without money has no rule about it; every color has reconciliation and quality."""
    assert "negative_money" in descriptions("green", "clean_trips")
    assert "negative_money" not in descriptions("fhv", "clean_trips")
    assert "total_amount" in descriptions("green", "lake_trips")["matches_clean"]
    assert "total_amount" not in descriptions("fhv", "lake_trips")["matches_clean"]
    for color in COLORS:
        assert set(descriptions(color, "clean_trips")) >= {
            VERIFIED,
            "zones_known",
            "duplicates",
            ROWS_LIKE_NEIGHBORS.name,
        }
        assert list(descriptions(color, "lake_trips")) == [VERIFIED, "matches_clean"]
        assert list(descriptions(color, "warehouse_trips")) == [VERIFIED, "matches_lake"]
        assert list(descriptions(color, "postgres_trips")) == [VERIFIED, "matches_clean"]


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
    for job in JOBS:
        snapshot = str(built.resolve_job_def(job).get_job_snapshot())
        assert "hunter2" not in snapshot
        assert "TAXI_POSTGRES_URL" in snapshot


@pytest.mark.parametrize(
    ("selection", "assets"),
    [
        ("", TRIP_ASSETS),
        ("raw_trips", ("raw_trips",)),
        ("lake", ("lake_trips",)),
        ("warehouse_trips,lake_trips", ("lake_trips", "warehouse_trips")),
        ("warehouse, lake_trips", ("lake_trips", "warehouse_trips")),
        ("lake_trips+", ("lake_trips", "warehouse_trips")),
        ("clean_trips+", ("clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")),
        ("+lake_trips, postgres_trips", ("raw_trips", "clean_trips", "lake_trips", "postgres_trips")),
        ("+warehouse", ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips")),
        ("*", TRIP_ASSETS),
        ('+key:"green/postgres_trips"', ("raw_trips", "clean_trips", "postgres_trips")),
        ('key:"*/raw_trips"', ("raw_trips",)),
        ("kind:duckdb", ("warehouse_trips",)),
        ("tag:layer=warehouse", ("warehouse_trips", "postgres_trips")),
    ],
)
def test_a_selection_names_assets_in_their_order(
    definitions: dg.Definitions, selection: str, assets: tuple[str, ...]
) -> None:
    """Names with a + and Dagster's own asset selections work, whatever order they name assets in."""
    assert select_assets(definitions, selection) == assets


@pytest.mark.parametrize("selection", ["nothing_trips", "source_trips", "raw_trips,,", "((", "tag:none"])
def test_a_selection_of_nothing_is_refused(definitions: dg.Definitions, selection: str) -> None:
    """Words that name no asset to load are an error, not an empty run."""
    with pytest.raises(BadSelection, match="selection"):
        select_assets(definitions, selection)
