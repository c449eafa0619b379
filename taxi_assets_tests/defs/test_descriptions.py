"""Tests of the descriptions of the assets: they state the source and the license, and their examples work."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.keys import asset_key
from taxi_assets.settings import Settings
from taxi_assets.stores.source.known import MIRROR_URL
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import FolderInstallation
from taxi_assets_tests.program import run_here

ASSETS = (SOURCE_TRIPS, *TRIP_ASSETS)
MONTHS = [TripMonth(color, "2020-04") for color in COLORS]
CONSOLE = "https://console.cloud.google.com"


@pytest.fixture
def installation(home: Path) -> Iterator[FolderInstallation]:
    """An installation with a month of each color."""
    with closing(FolderInstallation()) as created:
        assert created.settings.home == home
        created.publish(*MONTHS)
        created.load(*MONTHS)
        yield created


def _describe(settings: Settings, color: str, asset: str) -> str:
    """Return the description of an asset."""
    description = build_definitions(settings).resolve_asset_graph().get(asset_key(color, asset)).description
    assert description
    return description


def _example(settings: Settings, color: str, asset: str) -> tuple[str, str]:
    """Return the language and the text of the example in the description of an asset."""
    [(language, example)] = re.findall(
        r"^```(\w+)\n(.*?)\n```$", _describe(settings, color, asset), re.MULTILINE | re.DOTALL
    )
    return language, example


@pytest.mark.parametrize("asset", ASSETS)
@pytest.mark.parametrize("color", COLORS)
def test_every_asset_is_described(color: str, asset: str, tmp_path: Path) -> None:
    """Each description has the location, an example, and the source with its cadence and license, with links."""
    description = _describe(Settings(home=tmp_path, source_url="tlc"), color, asset)
    headings = re.findall(r"^\*\*(.+):\*\*", description, re.MULTILINE)
    assert headings == ["Location", "Try it", "Source", "Cadence", "License"]
    dictionary = "hvfhs" if color == "fhvhv" else color
    assert f"data_dictionary_trip_records_{dictionary}.pdf)" in description
    assert "(https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page)" in description
    assert not description.startswith("**")


@pytest.mark.parametrize("month", MONTHS, ids=str)
def test_examples_work(
    month: TripMonth,
    installation: FolderInstallation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each example is a `taxi query` that shows rows of the asset."""
    for asset in TRIP_ASSETS:
        language, example = _example(installation.settings, month.color, asset)
        assert language == "sh"
        [(options, sql)] = re.findall(r'^taxi query (--postgres )?"([^"]*)"$', example)
        assert run_here(monkeypatch, "query", "--csv", *options.split(), sql) == 0, capsys.readouterr().err
        _, *rows = capsys.readouterr().out.splitlines()
        assert rows
        if asset != "raw_trips":
            assert [row.split(",")[0] for row in rows] == ["2020-04-01"]


def test_examples_for_a_warehouse_in_another_folder(
    installation: FolderInstallation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi query` reads files only in the folder of the warehouse, so the examples for other files are in Python."""
    settings = installation.settings.model_copy(update={"warehouse_url": f"duckdb:///{tmp_path}/other/trips.duckdb"})
    for asset in ("raw_trips", "clean_trips", "lake_trips"):
        language, example = _example(settings, "green", asset)
        assert language == "python"
        exec(example, {})  # noqa: S102
        assert "2020-04" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asset", "link"),
    [
        ("lake_trips", f"{CONSOLE}/storage/browser/trips/new/data/fhv"),
        ("warehouse_trips", f"{CONSOLE}/bigquery?project=project&ws=!1m5!1m4!4m3!1sproject!2sdataset!3sfhv_taxi_trips"),
    ],
)
def test_links_to_google_cloud(asset: str, link: str, tmp_path: Path) -> None:
    """An object in a bucket and a table in BigQuery are linked, in the text and in the metadata."""
    settings = Settings(home=tmp_path, lake_url="gs://trips/new", warehouse_url="bigquery://project/dataset")
    assert f"]({link})" in _describe(settings, "fhv", asset)
    metadata = build_definitions(settings).resolve_asset_graph().get(asset_key("fhv", asset)).metadata
    assert metadata["location"].value == link


def test_the_source_is_linked(tmp_path: Path) -> None:
    """A file of the first month is linked. Only the description of the mirror says which month is its last."""
    mirror, other = (
        _describe(Settings(home=tmp_path, source_url=url, first_month="2020-02"), "green", SOURCE_TRIPS)
        for url in (MIRROR_URL, "https://example.org/trips")
    )
    assert f"({MIRROR_URL}/green/green_tripdata_2020-02.csv.gz)" in mirror
    assert "(https://example.org/trips/green/green_tripdata_2020-02.csv.gz)" in other
    assert "2021-07" in mirror
    assert "2021-07" not in other
    assert "`load_green`" in other


def test_the_files_of_the_tlc_are_linked(tmp_path: Path) -> None:
    """With the source `tlc`, the first file of the color is linked, and the cadence says where the months start."""
    description = _describe(Settings(home=tmp_path, source_url="tlc"), "fhvhv", SOURCE_TRIPS)
    assert "/trip-data/fhvhv_tripdata_2019-02.parquet)" in description
    assert "Parquet files, which start with 2019-02. The schedule `load_fhvhv` loads new months" in description


def test_the_example_for_raw_parquet_files_works(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the source has Parquet files, the example for `raw_trips` reads the Parquet files there."""
    settings = Settings(home=home, source_url=f"{tmp_path}/{{color}}_{{month}}.parquet")
    raw = home / "raw" / "fhvhv" / "fhvhv_tripdata_2025-01.parquet"
    raw.parent.mkdir(parents=True)
    write_sample(TripMonth("fhvhv", "2025-01"), 3, raw)
    _, example = _example(settings, "fhvhv", "raw_trips")
    [sql] = re.findall(r'^taxi query "([^"]*)"$', example)
    assert "read_csv" not in sql
    duckdb.connect(home / "warehouse.duckdb").close()
    assert run_here(monkeypatch, "query", "--csv", sql) == 0, capsys.readouterr().err
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("hvfhs_license_num,")
    assert len(rows) == 3


def test_the_url_of_postgres_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The description names the setting, because its value may contain a password."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://me:hunter2@localhost/db")
    description = _describe(Settings(home=tmp_path), "yellow", "postgres_trips")
    assert "`TAXI_POSTGRES_URL`" in description
    assert "hunter2" not in description
