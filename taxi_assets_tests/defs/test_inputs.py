"""Tests of what an asset of the user's own, or a notebook, gets for months of trips."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from taxi_assets.errors import MissingUpstream, NoPartitionKey, TaxiAssetsError, UnknownColumn, UnsupportedInput
from taxi_assets.partitions import TIMEZONE
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.store_installation import ROWS, StoreInstallation

MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")
PICKUP = LAYOUTS["green"].pickup
FILES, TABLES = ("clean_trips", "lake_trips"), ("warehouse_trips", "postgres_trips")


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, empty_history: Path, postgres_server: str
) -> Iterator[StoreInstallation]:
    """An installation with two months of green in every store."""
    folder = tmp_path_factory.mktemp("inputs")
    shutil.copytree(empty_history, folder / "home" / "dagster")
    (folder / "source").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_HOME", str(folder / "home"))
        patch.setenv("TAXI_SOURCE_URL", str(folder / "source"))
        patch.setenv("TAXI_FIRST_MONTH", "2020-01")
        patch.setenv("TAXI_LAST_MONTH", "2020-12")
        patch.setenv("TAXI_POSTGRES_URL", postgres_server)
        with closing(StoreInstallation()) as created:
            for month in (APRIL, MARCH):
                created.publish(month, seed=int(month.month[-1]))
            created.load(APRIL, MARCH)
            yield created


def _published(installation: StoreInstallation, month: TripMonth = MARCH) -> pd.DataFrame:
    """Return what pandas reads from the CSV at the source, with lowercase names."""
    path = installation.source / month.color / f"{month.stem}.csv.gz"
    frame = pd.read_csv(path, parse_dates=[LAYOUTS[month.color].pickup], low_memory=False)
    return frame.rename(columns=str.lower)


def _load(
    installation: StoreInstallation,
    asset: str,
    wanted: Any = pd.DataFrame,
    keys: tuple[str, str] = ("2020-03", "2020-03"),
    **metadata: Any,
) -> Any:
    """Load an asset as a notebook does, outside of a run."""
    with installation.definitions.get_asset_value_loader(installation.instance) as loader:
        return loader.load_asset_value(
            ["green", asset],
            python_type=wanted,
            partition_key_range=dg.PartitionKeyRange(*keys),
            input_definition_metadata=metadata,
        )


@pytest.mark.parametrize("asset", [*FILES, *TABLES])
def test_a_month_is_a_data_frame(asset: str, installation: StoreInstallation) -> None:
    """The data frame has the values of the CSV that the month comes from, changed only by the rules of the asset.

    Integers with missing values stay integers, and times have no time zone.
    """
    expected = _published(installation)
    if asset == "postgres_trips":
        expected = expected[expected["passenger_count"] != 0]
    frame = installation.definitions.load_asset_value(
        ["green", asset], partition_key="2020-03", python_type=pd.DataFrame, instance=installation.instance
    )
    assert isinstance(frame, pd.DataFrame)
    layout = LAYOUTS["green"]
    columns = layout.file_columns if asset in FILES else layout.table_columns
    assert list(frame) == [c.name.lower() if asset == "postgres_trips" else c.name for c in columns]
    frame = frame.rename(columns=str.lower)
    assert {frame[name].dtype.name for name in ("vendorid", "payment_type", "passenger_count")} == {"Int64"}
    assert frame[PICKUP].dtype == "datetime64[us]"
    assert set(frame["file_month"]) == {pd.Timestamp("2020-03-01")}
    missing = expected["passenger_count"].isna().sum()
    assert missing > 0
    assert frame["passenger_count"].isna().sum() == (missing if asset in ("clean_trips", "postgres_trips") else 0)
    for name in ("trip_distance", "total_amount", "passenger_count", "pulocationid", "payment_type"):
        assert frame[name].sum() == pytest.approx(expected[name].sum())
    assert sorted(frame[PICKUP]) == sorted(expected[PICKUP])
    assert (
        frame["store_and_fwd_flag"].value_counts().to_dict() == expected["store_and_fwd_flag"].value_counts().to_dict()
    )


@pytest.mark.parametrize("asset", [*FILES, *TABLES])
def test_selected_columns_of_several_months(asset: str, installation: StoreInstallation) -> None:
    """A table and a stream have only the columns of the metadata, in its order, and the months one after the other."""
    columns = ["total_amount", "file_month"]
    table = _load(installation, asset, pa.Table, ("2020-03", "2020-04"), columns=columns)
    stream = _load(installation, asset, pa.RecordBatchReader, ("2020-03", "2020-04"), columns=columns)
    assert table.schema.names == stream.schema.names == columns
    months = table.column("file_month").to_pylist()
    assert (months == sorted(months), set(months)) == (True, {MARCH.first_day, APRIL.first_day})
    by_row = [(name, "ascending") for name in columns]
    assert stream.read_all().sort_by(by_row).equals(table.sort_by(by_row))


def test_paths(installation: StoreInstallation) -> None:
    """A file is available as a path, and several months as a dictionary of paths by partition key."""
    home = installation.home
    assert _load(installation, "raw_trips", Path) == home / "raw/green/green_tripdata_2020-03.csv.gz"
    for asset, folder in (("clean_trips", home / "clean"), ("lake_trips", home / "lake/data")):
        paths = {month.month: folder / "green" / f"{month.stem}.parquet" for month in (MARCH, APRIL)}
        assert _load(installation, asset, Path) == paths["2020-03"]
        assert _load(installation, asset, dict[str, Path], ("2020-03", "2020-04")) == paths
    frames = _load(installation, "lake_trips", dict[str, pd.DataFrame], ("2020-03", "2020-04"), columns=["file_month"])
    assert {key: len(frame) for key, frame in frames.items()} == {"2020-03": ROWS, "2020-04": ROWS}


BAD_INPUTS: list[tuple[str, Any, dict[str, Any], type[TaxiAssetsError], str]] = [
    ("raw_trips", pd.DataFrame, {}, UnsupportedInput, "green/clean_trips"),
    ("clean_trips", str, {}, UnsupportedInput, "pandas.DataFrame"),
    ("clean_trips", Path, {"last": "2020-04"}, UnsupportedInput, "dict[str, Path]"),
    ("clean_trips", Path, {"columns": ["extra"]}, UnsupportedInput, "pandas.DataFrame"),
    ("warehouse_trips", Path, {}, UnsupportedInput, "pyarrow.Table"),
    ("lake_trips", pa.Table, {"columns": ["Fare_amount"]}, UnknownColumn, '"fare_amount"'),
    ("postgres_trips", pa.Table, {"columns": ["VendorID"]}, UnknownColumn, '"vendorid"'),
    ("lake_trips", pa.Table, {"columns": "extra"}, UnknownColumn, "list"),
    *((asset, pa.Table, {"last": "2020-05"}, MissingUpstream, "2020-05") for asset in (*FILES, *TABLES)),
]


def test_what_cannot_be_loaded(installation: StoreInstallation) -> None:
    """The error names what to request instead, or the month that is not loaded."""
    for asset, wanted, options, error, hint in BAD_INPUTS:
        columns = {"columns": options["columns"]} if "columns" in options else {}
        with pytest.raises(error) as raised:
            _load(installation, asset, wanted, ("2020-03", options.get("last", "2020-03")), **columns)
        assert hint in str(raised.value)
    with pytest.raises(NoPartitionKey):
        installation.definitions.load_asset_value(["green", "clean_trips"], python_type=pd.DataFrame)


def test_assets_downstream(installation: StoreInstallation) -> None:
    """In runs, an asset of a month, of a year and of all months get their months. Missing months are an error.

    They are skipped, with one warning, if the input allows it. An error of the input has its slug.
    """
    seen: dict[str, Any] = {}
    lake, partial = ["green", "lake_trips"], {"columns": ["file_month"], "allow_missing_partitions": True}
    years = dg.TimeWindowPartitionsDefinition(start="2020", fmt="%Y", cron_schedule="0 0 1 1 *", timezone=TIMEZONE)

    @dg.asset(
        partitions_def=installation.definitions.resolve_assets_def(lake).partitions_def,
        ins={"clean": dg.AssetIn(["green", "clean_trips"]), "lake": dg.AssetIn(lake, metadata={"columns": ["extra"]})},
    )
    def monthly(clean: Path, lake: pd.DataFrame) -> None:
        seen["monthly"] = clean.name, lake.shape

    @dg.asset(partitions_def=years, ins={"trips": dg.AssetIn(lake, metadata=partial)})
    def yearly(trips: pa.Table) -> None:
        seen["yearly"] = trips.num_rows

    @dg.asset(ins={"paths": dg.AssetIn(lake, metadata={"allow_missing_partitions": True})})
    def total(paths: dict[str, Path]) -> None:
        seen["total"] = sorted(paths)

    @dg.asset(partitions_def=years, ins={"trips": dg.AssetIn(lake, metadata={"columns": ["file_month"]})})
    def strict(trips: pa.Table) -> None:
        seen["strict"] = trips

    own = dg.Definitions(assets=[monthly, yearly, total, strict])
    job = dg.Definitions.merge(installation.definitions, own).resolve_implicit_global_asset_job_def()
    for name, key in {"monthly": "2020-04", "yearly": "2020", "total": None, "strict": "2020"}.items():
        done = job.get_subset(asset_selection={dg.AssetKey(name)}).execute_in_process(
            instance=installation.instance, partition_key=key, raise_on_error=False
        )
        assert done.success == (name != "strict")
        logs = [entry.user_message for entry in installation.instance.all_logs(done.run_id)]
        assert sum("not loaded" in log for log in logs) == (name in ("yearly", "total"))
    assert seen == {
        "monthly": ("green_tripdata_2020-04.parquet", (ROWS, 1)),
        "yearly": 2 * ROWS,
        "total": ["2020-03", "2020-04"],
    }
    [failure] = installation.failures(done.run_id).values()
    assert failure.metadata["error"].value == MissingUpstream.slug
