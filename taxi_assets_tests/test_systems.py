"""Each address in the settings is opened as the system that it means, with what that needs besides."""

from pathlib import Path

import pytest

from taxi_assets.errors import SettingsError
from taxi_assets.settings import Settings
from taxi_assets.stores.bigquery import BigQueryWarehouse
from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.stores.lake import FolderLake
from taxi_assets.systems import google_account, open_lake, open_warehouse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and nothing else that is set."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    return tmp_path


def test_nothing_set_is_a_folder_and_a_file(home: Path) -> None:
    """Without settings the lake is a folder and the warehouse a DuckDB file, both in the home."""
    lake, warehouse = open_lake(Settings.load()), open_warehouse(Settings.load())
    assert isinstance(lake, FolderLake)
    assert lake.folder == home / "lake"
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.path == home / "warehouse.duckdb"


def test_google_cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket and a dataset get their place, what slow lines need, and the project that pays."""
    monkeypatch.setenv("TAXI_LAKE_URL", "gs://trips/nyc")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "bigquery://nyc-trips/taxi")
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
    ("name", "value", "said"),
    [
        ("TAXI_LAKE_URL", "gs://", "names no bucket"),
        ("TAXI_LAKE_URL", "s3://bucket", "a lake cannot be at s3://"),
        ("TAXI_WAREHOUSE_URL", "bigquery://project", "names no dataset"),
        ("TAXI_WAREHOUSE_URL", "mysql://me:s3cret@host", "a warehouse cannot be at mysql://"),
        ("TAXI_UPLOAD_CHUNK_MB", "0", "TAXI_UPLOAD_CHUNK_MB"),
        ("TAXI_UPLOAD_TIMEOUT_S", "0", "TAXI_UPLOAD_TIMEOUT_S"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_used(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that means no system is refused by its name, without what may be secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        _open_all()
    assert "s3cret" not in str(caught.value)


def _open_all() -> None:
    settings = Settings.load()
    open_lake(settings)
    open_warehouse(settings)
