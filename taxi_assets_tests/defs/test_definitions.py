"""Tests of the definitions: the assets, jobs, checks and resources of each color, and what an import does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.checks import descriptions
from taxi_assets.defs.marts import mart_checks
from taxi_assets.errors import BadSelection
from taxi_assets.graph import (
    JOBS,
    LOAD_MARTS,
    LOAD_ZONES,
    MART_ASSETS,
    NEWEST_MONTH_LOADED,
    SOURCE_TRIPS,
    TRIP_ASSETS,
    VERIFIED,
    job_name,
    mart_job_name,
)
from taxi_assets.keys import asset_key, colors_of
from taxi_assets.operations.runs import select_assets
from taxi_assets.settings import Settings
from taxi_assets.tlc.marts import MARTS
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS
from taxi_assets_tests.defs.dagster_internals import AssetGraph

KINDS = {
    "source_trips": "csv",
    "raw_trips": "csv",
    "clean_trips": "parquet",
    "lake_trips": "file",
    "warehouse_trips": "duckdb",
    "postgres_trips": "postgres",
    "daily_trips": "duckdb",
    "monthly_zone_revenue": "duckdb",
}
"""The kind of each asset with default settings."""

LAYERS = {
    "source_trips": "source",
    "raw_trips": "raw",
    "clean_trips": "clean",
    "lake_trips": "lake",
    "warehouse_trips": "warehouse",
    "postgres_trips": "warehouse",
    "daily_trips": "mart",
    "monthly_zone_revenue": "mart",
}
"""The value of the tag `layer` of each asset."""


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    """Build the definitions of a TAXI_HOME that does not exist yet, for a source that can have all colors."""
    return build_definitions(Settings(home=tmp_path / "home", source_url="https://trips.example.org"))


@pytest.fixture
def graph(definitions: dg.Definitions) -> AssetGraph:
    """Resolve their asset graph."""
    return definitions.resolve_asset_graph()


def test_every_color_has_its_own_assets(graph: AssetGraph) -> None:
    """Each color has five assets of trips, two marts, and a source asset that is only observed. All share the zones."""
    of_colors = {asset_key(color, name) for color in COLORS for name in (*TRIP_ASSETS, *MART_ASSETS)}
    assert graph.materializable_asset_keys == {*of_colors, dg.AssetKey(["taxi_zones"])}
    assert graph.observable_asset_keys == {asset_key(color, SOURCE_TRIPS) for color in COLORS}


def test_a_color_that_the_source_does_not_have_is_not_defined(tmp_path: Path) -> None:
    """The mirror has no fhvhv, so there are no assets, checks, jobs and schedules of it."""
    definitions = build_definitions(Settings(home=tmp_path, source_url="mirror"))
    colors = set(COLORS) - {"fhvhv"}
    graph = definitions.resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {*colors, "taxi_zones"}
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} == colors
    jobs = {job_name(color) for color in colors}
    marts = {mart_job_name(color) for color in colors}
    assert {job.name for job in definitions.jobs or []} == {*jobs, *marts, LOAD_MARTS, LOAD_ZONES}
    assert {schedule.job_name for schedule in definitions.schedules or []} == jobs  # type: ignore[union-attr]


@pytest.mark.parametrize("color", COLORS)
def test_a_job_loads_exactly_the_five_assets_of_its_color(color: str, definitions: dg.Definitions) -> None:
    """A job such as `load_green` selects the five assets of its color and no others."""
    job = definitions.resolve_job_def(job_name(color))
    assert job.asset_layer.executable_asset_keys == {asset_key(color, name) for name in TRIP_ASSETS}
    assert colors_of(job.asset_layer.executable_asset_keys) == {color}


def test_one_run_can_cover_several_colors(definitions: dg.Definitions) -> None:
    """Dagster's implicit job, which the UI uses for a selection, contains the assets of all colors."""
    job = definitions.resolve_implicit_global_asset_job_def()
    assert colors_of(job.asset_layer.executable_asset_keys) == set(COLORS)


@pytest.mark.parametrize("color", COLORS)
def test_a_job_evaluates_all_checks_of_a_month(color: str, definitions: dg.Definitions) -> None:
    """A job selects every partitioned check of its color. The schedule evaluates the only other check."""
    evaluated = definitions.resolve_job_def(job_name(color)).asset_layer.asset_graph.asset_check_keys
    checks = {
        dg.AssetCheckKey(asset_key(color, name), check) for name in TRIP_ASSETS for check in descriptions(color, name)
    }
    assert {key for key in evaluated if key.asset_key.path[0] == color} == checks


@pytest.mark.parametrize(("job", "color"), JOBS.items())
def test_runs_of_a_job_are_tagged(job: str, color: str, definitions: dg.Definitions) -> None:
    """The tags of a run contain its color, its partition, and that Dagster requested it."""
    resolved = definitions.resolve_job_def(job)
    tags = {**resolved.run_tags, **resolved.get_tags_for_partition_key("2021-01", selected_asset_keys=None)}
    assert {name: value for name, value in tags.items() if name.startswith("taxi/")} == {
        "taxi/color": color,
        "taxi/asked_by": "dagster",
    }
    assert tags["dagster/partition"] == "2021-01"


def test_run_tags_are_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAXI_RUN_TAGS adds tags to the runs of a color. Values other than text are written as JSON."""
    tags = '{"green": {"team": "north", "dagster-k8s/config": {"container_config": {}}}}'
    monkeypatch.setenv("TAXI_RUN_TAGS", tags)
    definitions = build_definitions(Settings(home=tmp_path))
    green, yellow = (definitions.resolve_job_def(job_name(color)).run_tags for color in ("green", "yellow"))
    assert green["team"] == "north"
    assert green["dagster-k8s/config"] == '{"container_config": {}}'
    assert "team" not in yellow


def test_every_asset_is_in_the_pool_of_its_color(graph: AssetGraph) -> None:
    """Each asset is in the pool of its color, so the limit of the pool applies to any selection of assets."""
    pools = {key: graph.get(key).pools for key in graph.materializable_asset_keys}
    of_colors = {asset_key(color, name): {color} for color in COLORS for name in (*TRIP_ASSETS, *MART_ASSETS)}
    assert pools == {**of_colors, dg.AssetKey(["taxi_zones"]): set()}


@pytest.mark.parametrize("color", COLORS)
def test_dependencies_of_the_assets(color: str, graph: AssetGraph) -> None:
    """Each asset depends on one asset, or on the source, of the same color."""
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
        "daily_trips": {f"{color}/warehouse_trips"},
        "monthly_zone_revenue": {f"{color}/warehouse_trips"},
    }


@pytest.mark.parametrize("color", COLORS)
def test_every_asset_is_described(color: str, graph: AssetGraph) -> None:
    """Each asset has a description, the group of its color, the kind of its store, tags, and an owner."""
    for name, kind in KINDS.items():
        asset = graph.get(asset_key(color, name))
        assert asset.description
        assert asset.group_name == color
        assert asset.kinds == {kind}
        assert asset.tags.items() >= {"domain": "taxi_trips", "layer": LAYERS[name]}.items()
    owners = {owner for name in (*TRIP_ASSETS, *MART_ASSETS) for owner in graph.get(asset_key(color, name)).owners}
    assert owners == {"team:data-engineering"}


def test_owners_are_a_setting(tmp_path: Path) -> None:
    """TAXI_OWNERS is a list of people and teams, separated by commas."""
    definitions = build_definitions(Settings(home=tmp_path, owners="team:taxis, ada@example.org"))
    assert definitions.resolve_asset_graph().get(asset_key("fhv", "lake_trips")).owners == [
        "team:taxis",
        "ada@example.org",
    ]


def test_kinds_depend_on_the_configured_stores(tmp_path: Path) -> None:
    """If the lake is a bucket and the warehouse is BigQuery, the kinds of the assets are `gcs` and `bigquery`."""
    settings = Settings(home=tmp_path, lake_url="gs://trips", warehouse_url="bigquery://project/dataset")
    graph = build_definitions(settings).resolve_asset_graph()
    assert graph.get(asset_key("green", "lake_trips")).kinds == {"gcs"}
    assert graph.get(asset_key("green", "warehouse_trips")).kinds == {"bigquery"}


@pytest.mark.parametrize(("source", "kind"), [("mirror", "csv"), ("tlc", "parquet")])
def test_kinds_depend_on_the_files_of_the_source(source: str, kind: str, tmp_path: Path) -> None:
    """The source and the raw files are CSVs or Parquet files."""
    graph = build_definitions(Settings(home=tmp_path, source_url=source)).resolve_asset_graph()
    assert {(*graph.get(asset_key("green", name)).kinds,) for name in (SOURCE_TRIPS, "raw_trips")} == {(kind,)}


@pytest.mark.parametrize("color", COLORS)
def test_definitions_contain_the_columns(color: str, graph: AssetGraph) -> None:
    """Each asset definition contains the columns of its file or table with descriptions, in lowercase for Postgres."""
    files, tables = (
        [c.name for c in columns] for columns in (LAYOUTS[color].file_columns, LAYOUTS[color].table_columns)
    )
    lowercase = [name.lower() for name in tables]
    marts = ([column.name for column in mart.columns] for mart in MARTS)
    described = zip((*TRIP_ASSETS[1:], *MART_ASSETS), (files, files, tables, lowercase, *marts), strict=True)
    for name, names in described:
        schema = graph.get(asset_key(color, name)).metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == names
        assert all(column.description for column in schema.columns)


@pytest.mark.parametrize("color", COLORS)
def test_checks_are_partitioned(color: str, graph: AssetGraph) -> None:
    """Each described check is defined with the partitions of its asset. Only `newest_month_loaded` has none."""
    ours = [key for key in graph.asset_check_keys if key.asset_key.path[0] == color]
    about_the_color = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
    described = {(name, check): text for name in TRIP_ASSETS for check, text in descriptions(color, name).items()}
    described |= {(mart.name, check): text for mart in MARTS for check, text in mart_checks(mart).items()}
    of_months = {(key.asset_key.path[1], key.name): graph.get(key) for key in ours if key != about_the_color}
    assert {names: check.description for names, check in of_months.items()} == described
    for (name, _), check in of_months.items():
        assert check.partitions_def == graph.get(asset_key(color, name)).partitions_def
    assert graph.get(about_the_color).partitions_def is None


def test_blocking_checks(graph: AssetGraph) -> None:
    """The checks of what was verified and stored block downstream assets. Quality rules do not."""
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == {VERIFIED, "matches_clean", "matches_lake"}


def test_checks_depend_on_the_color() -> None:
    """A color without amounts has no checks of amounts. Every color has verification and quality checks."""
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


def test_building_definitions_has_no_side_effects(tmp_path: Path) -> None:
    """Building the definitions does not create TAXI_HOME and does not start a server."""
    build_definitions(Settings(home=tmp_path / "home")).resolve_asset_graph()
    assert not (tmp_path / "home").exists()


def test_importing_definitions_is_lazy() -> None:
    """An import of the definitions does not read the settings and does not import client libraries."""
    heavy = ("apprise", "dagster_gcp", "duckdb", "google.cloud", "pandas", "psycopg2", "pyarrow")
    code = f"import sys, taxi_assets.definitions; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "TAXI_REJECT_LIMIT": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GOOGLE = {"lake_url": "gs://trips", "warehouse_url": "bigquery://project/dataset"}


@pytest.mark.parametrize("urls", [{}, GOOGLE], ids=["local", "Google Cloud"])
def test_resources_accept_no_run_config(urls: dict[str, str], tmp_path: Path) -> None:
    """Run config cannot redirect a resource to another place. Only the default rules accept config."""
    definitions = build_definitions(Settings(home=tmp_path, **urls))  # type: ignore[arg-type]
    job = definitions.resolve_job_def("load_green")
    rules = {
        "reject_limit": 0.5,
        "outside_month_limit": 0.9,
        "missing_passengers": "keep",
        "zero_passengers": "keep",
    }
    accepted = []
    for name in definitions.resources or {}:
        for value in ("/elsewhere", *({"config": config} for config in ({"url": "x"}, {"folder": "/x"}, rules))):
            try:
                dg.validate_run_config(job, {"resources": {name: value}})
            except dg.DagsterInvalidConfigError:
                continue
            accepted.append((name, value))
    assert accepted == [("defaults", {"config": rules})]


def test_no_password_is_in_the_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job snapshots, which the UI displays, contain the name of the Postgres setting and not its value."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://me:hunter2@localhost/db")
    built = build_definitions(Settings(home=tmp_path, source_url="tlc"))
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
def test_select_assets(definitions: dg.Definitions, selection: str, assets: tuple[str, ...]) -> None:
    """Names with + and Dagster's asset selections are accepted. The result is in pipeline order."""
    assert select_assets(definitions, selection) == assets


@pytest.mark.parametrize("selection", ["nothing_trips", "source_trips", "raw_trips,,", "((", "tag:none"])
def test_invalid_selections(definitions: dg.Definitions, selection: str) -> None:
    """A selection that is invalid or matches no asset raises BadSelection with the selection."""
    with pytest.raises(BadSelection, match=re.escape(f'"{selection}"')):
        select_assets(definitions, selection)
