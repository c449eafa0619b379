"""With a bucket and a dataset in the settings, the same assets are given Google's clients, and no secret is shown."""

import base64
import json
from pathlib import Path

import dagster as dg
import pytest
from dagster_gcp import BigQueryResource, GCSResource

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.google_cloud import BigQueryTables, BucketObjects
from taxi_assets.errors import SettingsError
from taxi_assets.graph import asset_key
from taxi_assets.settings import Settings
from taxi_assets.stores.bigquery import BigQueryWarehouse
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.tlc.trips import COLORS

KEY = base64.b64encode(json.dumps({"type": "service_account", "private_key": "s3cret"}).encode()).decode()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name a bucket, a dataset and a key."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_LAKE_URL", "gs://trips/nyc")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "bigquery://nyc-trips/taxi")
    monkeypatch.setenv("TAXI_GCP_CREDENTIALS", KEY)
    monkeypatch.setenv("TAXI_UPLOAD_CHUNK_MB", "2")
    monkeypatch.setenv("TAXI_BIGQUERY_LOCATION", "EU")
    return Settings.load()


def test_assets_say_what_they_are(settings: Settings) -> None:
    """In the UI the lake is of kind gcs and the warehouse of kind bigquery; the other assets are what they were."""
    graph = build_definitions(settings).resolve_asset_graph()
    kinds = {key: graph.get(key).kinds for key in graph.materializable_asset_keys}
    of_each_color = {
        "raw_trips": {"csv"},
        "clean_trips": {"parquet"},
        "lake_trips": {"gcs"},
        "warehouse_trips": {"bigquery"},
        "postgres_trips": {"postgres"},
    }
    assert kinds == {asset_key(color, name): kind for color in COLORS for name, kind in of_each_color.items()}


def _resources(settings: Settings) -> tuple[BucketObjects, BigQueryTables]:
    """The lake and the warehouse that the assets are given."""
    resources = build_definitions(settings).resources
    assert resources
    lake, warehouse = resources["lake"], resources["warehouse"]
    assert isinstance(lake, BucketObjects)
    assert isinstance(warehouse, BigQueryTables)
    return lake, warehouse


def test_dagsters_own_resources_give_the_clients(settings: Settings) -> None:
    """Bucket and dataset are reached by dagster-gcp's resources, with the settings for slow lines and places."""
    lake, warehouse = _resources(settings)
    assert isinstance(lake.gcs, GCSResource)
    assert isinstance(warehouse.bigquery, BigQueryResource)
    opened, asked = lake.lake(), warehouse.open()
    assert isinstance(opened, GCSLake)
    assert isinstance(asked, BigQueryWarehouse)
    assert (opened.url, opened.location, opened.chunk_mb) == ("gs://trips/nyc", "EU", 2)
    assert (asked.url, asked.location) == ("bigquery://nyc-trips/taxi", "EU")


def test_the_key_is_a_variables_name(settings: Settings) -> None:
    """What the UI shows of the resources, and what runs store, has the variable's name and not the key."""
    lake, warehouse = _resources(settings)
    assert isinstance(lake.gcs.key, dg.EnvVar)
    assert isinstance(warehouse.bigquery.gcp_credentials, dg.EnvVar)
    for shown in (repr(lake), repr(warehouse), repr(settings), str(settings)):
        assert KEY not in shown
        assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("lake", "warehouse"),
    [("gs://trips", ""), ("", "bigquery://nyc-trips/taxi"), ("gs://trips", "duckdb:////x.duckdb")],
)
def test_a_lake_that_the_warehouse_cannot_load_from(
    lake: str, warehouse: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery loads from buckets, DuckDB from folders; what does not go together is said before anything runs."""
    assert settings
    monkeypatch.setenv("TAXI_LAKE_URL", lake)
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", warehouse)
    with pytest.raises(SettingsError, match="BigQuery loads from gs://bucket, DuckDB from a folder"):
        build_definitions(Settings.load())
