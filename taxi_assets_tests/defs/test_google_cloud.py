"""Tests of the definitions with the lake and the warehouse in Google Cloud."""

import base64
import json
from pathlib import Path

import dagster as dg
import pytest
from dagster_gcp import BigQueryResource, GCSResource
from google.cloud import bigquery, storage

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.google_cloud import google_clients
from taxi_assets.errors import MixedClouds
from taxi_assets.graph import JOBS
from taxi_assets.instance._dagster import disable_dagster_warnings
from taxi_assets.keys import asset_key
from taxi_assets.settings import Settings
from taxi_assets.stores.google.bigquery import BigQueryWarehouse
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets.tlc.trips import COLORS
from taxi_assets_tests.defs.dagster_internals import RepositorySnap

KEY = base64.b64encode(json.dumps({"type": "service_account", "private_key": "s3cret"}).encode()).decode()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings with a bucket, a dataset, and a service account key."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_SOURCE_URL", "https://trips.example.org")
    monkeypatch.setenv("TAXI_LAKE_URL", "gs://trips/nyc")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "bigquery://nyc-trips/taxi")
    monkeypatch.setenv("TAXI_GCP_CREDENTIALS", KEY)
    monkeypatch.setenv("TAXI_UPLOAD_CHUNK_MB", "2")
    monkeypatch.setenv("TAXI_BIGQUERY_LOCATION", "EU")
    return Settings.load()


def test_kinds_of_the_assets(settings: Settings) -> None:
    """The lake has the kind `gcs` and the warehouse the kind `bigquery`. The other kinds do not change."""
    graph = build_definitions(settings).resolve_asset_graph()
    kinds = {key: graph.get(key).kinds for key in graph.materializable_asset_keys}
    of_each_color = {
        "raw_trips": {"csv"},
        "clean_trips": {"parquet"},
        "lake_trips": {"gcs"},
        "warehouse_trips": {"bigquery"},
        "postgres_trips": {"postgres"},
        "daily_trips": {"bigquery"},
        "monthly_zone_revenue": {"bigquery"},
    }
    assert kinds.pop(dg.AssetKey(["taxi_zones"])) == {"gcs", "bigquery", "postgres"}
    assert kinds == {asset_key(color, name): kind for color in COLORS for name, kind in of_each_color.items()}


def test_stores_use_the_settings(settings: Settings) -> None:
    """The lake is a bucket and the warehouse a dataset, with the location and the chunk size of the settings."""
    lake, warehouse = _stores(settings)
    assert (lake.url, lake.location, lake.chunk_mb) == ("gs://trips/nyc", "EU", 2)
    assert (warehouse.url, warehouse.location) == ("bigquery://nyc-trips/taxi", "EU")


def _stores(settings: Settings) -> tuple[GCSLake, BigQueryWarehouse]:
    """Return the lake and the warehouse of the definitions."""
    defined = build_definitions(settings).resources or {}
    with dg.build_resources({name: defined[name] for name in ("lake", "warehouse")}) as resources:
        lake, warehouse = resources.lake, resources.warehouse
    assert isinstance(lake, GCSLake)
    assert isinstance(warehouse, BigQueryWarehouse)
    return lake, warehouse


def test_clients_are_resources_of_dagster_gcp(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any asset can use the resources `gcs` and `bigquery`. Their clients have the account of the lake's client."""
    # With the address of an emulator, Google's clients need no valid key.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    lake, warehouse = _stores(settings)
    buckets, datasets = [lake.client_factory()], [warehouse.client_factory()]

    @dg.asset(name="lists")
    def other_asset(gcs: GCSResource, bigquery: BigQueryResource) -> None:
        buckets.append(gcs.get_client())
        with bigquery.get_client() as client:
            datasets.append(client)

    defined = build_definitions(settings).resources or {}
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(
            [other_asset], resources={name: defined[name] for name in ("gcs", "bigquery")}, instance=instance
        ).success
    assert [type(client) for client in buckets] == [storage.Client] * 2
    assert [type(client) for client in datasets] == [bigquery.Client] * 2
    assert {client.project for client in (*buckets, *datasets)} == {"nyc-trips"}
    assert {client.location for client in datasets} == {"EU"}


@pytest.mark.parametrize(("lake", "warehouse"), [("gs://trips", "bigquery://nyc-trips/taxi"), ("", "")])
def test_only_configured_services_are_resources(
    lake: str, warehouse: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Google Cloud in the settings, there are no resources for it."""
    assert settings
    monkeypatch.setenv("TAXI_LAKE_URL", lake)
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", warehouse)
    names = set(build_definitions(Settings.load()).resources or {})
    assert names & {"gcs", "bigquery"} == ({"gcs", "bigquery"} if lake else set())


def test_the_key_is_not_displayed(settings: Settings) -> None:
    """The key is neither in the snapshots that the UI displays nor in the text of settings and resources."""
    definitions = build_definitions(settings)
    with disable_dagster_warnings():
        displayed = [
            *(repr(definitions.resolve_job_def(job).get_job_snapshot()) for job in JOBS),
            repr(RepositorySnap.from_def(definitions.get_repository_def())),
            *map(repr, _stores(settings)),
            *map(repr, google_clients(settings).values()),
            repr(settings),
            str(settings),
        ]
    for text in displayed:
        assert KEY not in text
        assert "s3cret" not in text


@pytest.mark.parametrize(
    ("lake", "warehouse"),
    [("gs://trips", ""), ("", "bigquery://nyc-trips/taxi"), ("gs://trips", "duckdb:////x.duckdb")],
)
def test_lake_and_warehouse_of_different_kinds(
    lake: str, warehouse: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket with DuckDB or a folder with BigQuery is an error when the definitions are built."""
    assert settings
    monkeypatch.setenv("TAXI_LAKE_URL", lake)
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", warehouse)
    with pytest.raises(MixedClouds) as caught:
        build_definitions(Settings.load())
    for fact in (lake, warehouse, "[lake-and-warehouse-differ]"):
        assert fact in caught.value.explain()
