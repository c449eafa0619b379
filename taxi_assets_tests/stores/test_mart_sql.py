"""The SQL of the marts computes the same figures as pandas."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from taxi_assets.stores.mart_sql import mart_sql
from taxi_assets.tlc.marts import DAILY_TRIPS, MONTHLY_ZONE_REVENUE, Mart
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests import mart_figures
from taxi_assets_tests.tlc.sampled import write_clean

MONTHS = ("2020-02", "2020-03")


def _rows(database: duckdb.DuckDBPyConnection, mart: Mart, color: str) -> list[mart_figures.Row]:
    key = mart.columns[0].name
    found = database.sql(f"FROM ({mart_sql(mart, LAYOUTS[color], MONTHS)}) ORDER BY file_month, {key} NULLS FIRST")
    assert tuple(found.columns) == tuple(column.name for column in mart.columns)
    rows: list[mart_figures.Row] = found.to_arrow_table().to_pylist()
    return rows


@pytest.mark.parametrize("color", COLORS)
def test_figures(color: str, tmp_path: Path) -> None:
    """The figures of two months are those of pandas: on days with and without trips, of strays and without a zone."""
    database, frames = duckdb.connect(), {}
    for month in MONTHS:
        path = tmp_path / f"{month}.parquet"
        write_clean(TripMonth(color, month), 3_000, path, tmp_path)
        # Implausible values that samples do not have, and a day without trips.
        frame = pd.read_parquet(path)
        pickup = frame[LAYOUTS[color].pickup]
        frame = frame[pickup.dt.day != 17].copy()
        frame.loc[frame.index[:40], LAYOUTS[color].dropoff] = pickup - pd.Timedelta(seconds=1)
        frame.loc[frame.index[40:90], LAYOUTS[color].dropoff] = pickup + pd.Timedelta(hours=24, microseconds=1)
        frame.loc[frame.index[90:95], LAYOUTS[color].pickup] = pd.NaT
        frame.loc[frame.index[95:99], LAYOUTS[color].zones[0]] = None
        if LAYOUTS[color].miles:
            frame.loc[frame.index[99:150], LAYOUTS[color].miles] = 0
        frames[month] = frame
    database.register("months", pd.concat(frames.values()))
    database.execute(f"CREATE TABLE {color}_taxi_trips AS FROM months")
    for mart, of_pandas in (
        (DAILY_TRIPS, mart_figures.daily_trips),
        (MONTHLY_ZONE_REVENUE, mart_figures.monthly_zone_revenue),
    ):
        expected = [row for month, frame in frames.items() for row in of_pandas(frame, color, month)]
        assert mart_figures.differences(_rows(database, mart, color), expected) == []
