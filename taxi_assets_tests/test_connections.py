"""Each URL in the settings opens the store that it selects, with its other settings."""

import sys
from pathlib import Path

import pytest

from taxi_assets.connections import google_account, open_channels, open_lake, open_warehouse
from taxi_assets.errors import MissingExtra, MixedClouds, NoNotificationUrls, SettingsError
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.google.bigquery import BigQueryWarehouse
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets_tests.program import run_here


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TAXI_HOME. No other setting is set."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    return tmp_path


def _use_google(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_LAKE_URL", "gs://trips/nyc")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "bigquery://nyc-trips/taxi")


def test_defaults(home: Path) -> None:
    """Without settings, the lake is a folder and the warehouse a DuckDB file, both in TAXI_HOME."""
    lake, warehouse = open_lake(Settings.load()), open_warehouse(Settings.load())
    assert isinstance(lake, FolderLake)
    assert lake.folder == home / "lake"
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.path == home / "warehouse.duckdb"


def test_google_cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket and a dataset get their location, the settings for uploads, and the project of the warehouse."""
    _use_google(monkeypatch)
    monkeypatch.setenv("TAXI_BIGQUERY_LOCATION", "EU")
    monkeypatch.setenv("TAXI_UPLOAD_CHUNK_MB", "2")
    monkeypatch.setenv("TAXI_UPLOAD_TIMEOUT_S", "60")
    settings = Settings.load()
    lake, warehouse = open_lake(settings), open_warehouse(settings)
    assert isinstance(lake, GCSLake)
    assert (lake.url, lake.location, lake.chunk_mb, lake.timeout_s) == ("gs://trips/nyc", "EU", 2, 60)
    assert lake.staging_folder == home / "upload"
    assert isinstance(warehouse, BigQueryWarehouse)
    assert (warehouse.url, warehouse.location) == ("bigquery://nyc-trips/taxi", "EU")
    assert google_account(settings).project == "nyc-trips"


@pytest.mark.parametrize(
    ("name", "value", "slug"),
    [
        ("TAXI_LAKE_URL", "gs://", "invalid-lake-url"),
        ("TAXI_LAKE_URL", "s3://bucket", "invalid-lake-url"),
        ("TAXI_WAREHOUSE_URL", "mysql://me:s3cret@host", "invalid-warehouse-url"),
        ("TAXI_UPLOAD_CHUNK_MB", "0", "invalid-setting"),
        ("TAXI_UPLOAD_TIMEOUT_S", "0", "invalid-setting"),
    ],
)
@pytest.mark.usefixtures("home")
def test_invalid_settings(name: str, value: str, slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that selects no store is an error with the name of the setting, without the password in the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        _open_all()
    assert caught.value.slug == slug
    assert name in caught.value.explain()
    assert "s3cret" not in caught.value.explain()


@pytest.mark.usefixtures("home")
def test_an_invalid_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BigQuery URL without a dataset is an error."""
    _use_google(monkeypatch)
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "bigquery://project")
    with pytest.raises(SettingsError) as caught:
        _open_all()
    assert caught.value.slug == "invalid-warehouse-url"


@pytest.mark.parametrize("name", ["TAXI_LAKE_URL", "TAXI_WAREHOUSE_URL"])
@pytest.mark.usefixtures("home")
def test_lake_and_warehouse_must_match(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket with DuckDB is an error, and so is BigQuery with a folder."""
    _use_google(monkeypatch)
    monkeypatch.setenv(name, "")
    with pytest.raises(MixedClouds):
        _open_all()


@pytest.mark.parametrize("package", ["google.cloud.storage", "google.cloud.bigquery", "dagster_gcp"])
@pytest.mark.usefixtures("home")
def test_google_packages_are_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a package for Google Cloud is not installed, the error names it and the extra to install."""
    _use_google(monkeypatch)
    monkeypatch.setitem(sys.modules, package, None)
    settings = Settings.load()
    for open_store in (open_lake, open_warehouse):
        with pytest.raises(MissingExtra) as caught:
            open_store(settings)
        assert package in str(caught.value)
        assert caught.value.facts == {"extra": "gcp"}
        assert "pip install 'taxi-assets[gcp]'" in caught.value.explain()


@pytest.mark.usefixtures("home")
def test_google_packages_are_not_needed_without_google(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a DuckDB file do not need the packages for Google Cloud."""
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    _open_all()


@pytest.mark.usefixtures("home")
def test_apprise_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If Apprise is not installed, the error names the extra to install, and a command exits with 2."""
    monkeypatch.setenv("TAXI_ALERT_URLS", "json://127.0.0.1/x")
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingExtra) as caught:
        open_channels(Settings.load())
    assert caught.value.facts == {"extra": "alerts"}
    assert run_here(monkeypatch, "dev") == 2
    message = capsys.readouterr().err
    assert "pip install 'taxi-assets[alerts]'" in message
    assert "[missing-package]" in message


@pytest.mark.usefixtures("home")
def test_channels_need_a_setting() -> None:
    """Without TAXI_ALERT_URLS, there are no channels to open."""
    with pytest.raises(NoNotificationUrls):
        open_channels(Settings.load())


def _open_all() -> None:
    settings = Settings.load()
    open_lake(settings)
    open_warehouse(settings)
