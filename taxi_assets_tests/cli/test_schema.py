"""`taxi schema` shows what the databases contain, and their comments have its texts."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from taxi_assets.stores.duckdb import DuckDBWarehouse
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.tlc.marts import MARTS
from taxi_assets.tlc.parquet import read_row_groups
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets.tlc.zones import built_in_zones
from taxi_assets_tests.months import write_month
from taxi_assets_tests.program import run_here

Described = dict[str, tuple[str, list[tuple[str, str, str]]]]
"""The comment of each table, and the name, type and comment of its columns."""

MONTHS = [TripMonth(color, "2020-02") for color in COLORS]


def _load(warehouse: DuckDBWarehouse, postgres: PostgresStore, folder: Path) -> None:
    """Load a month of each color with its marts, and the zones."""
    lake = FolderLake(folder)
    for month in MONTHS:
        staged = lake.stage(month)
        write_month(staged.path, month, 2, source="5ha")
        postgres.replace_month(month, read_row_groups(staged.path, LAYOUTS[month.color]), 2)
        warehouse.replace_month(month, lake.put(month, staged), 2)
        for mart in MARTS:
            warehouse.replace_mart(mart, month)
    warehouse.replace_zones(built_in_zones())
    postgres.replace_zones(built_in_zones())


def _in_duckdb(path: Path) -> Described:
    with duckdb.connect(path, read_only=True) as database:
        tables = database.execute("SELECT table_name, comment FROM duckdb_tables()").fetchall()
        columns = database.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY table_name, column_index"
        ).fetchall()
    return {table: (comment, [row[1:] for row in columns if row[0] == table]) for table, comment in tables}


def _in_postgres(url: str) -> Described:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, obj_description(pg_class.oid), attname, format_type(atttypid, atttypmod), "
            "col_description(attrelid, attnum) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
            "WHERE relkind IN ('p', 'r') AND NOT relispartition AND relnamespace = 'public'::regnamespace "
            "AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum"
        )
        described: Described = {}
        for table, comment, *column in cursor.fetchall():
            described.setdefault(table, (comment, []))[1].append(tuple(column))
    return described


def _as_declared(tables: list[dict[str, Any]], store: str, name: str) -> Described:
    return {
        table["name"]: (
            table["meaning"],
            [(column[name], column["types"][store], column["meaning"]) for column in table["columns"]],
        )
        for table in tables
    }


@pytest.mark.usefixtures("command_home")
def test_every_column_of_every_table(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has every table and column with its type. Comments have its texts, also if a load finds other ones."""
    assert run_here(monkeypatch, "schema", "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    warehouse, postgres = DuckDBWarehouse(tmp_path / "warehouse.duckdb"), PostgresStore(postgres_url)
    _load(warehouse, postgres, tmp_path / "lake")
    in_postgres = [table for table in tables if table["name"].endswith("_taxi_trips") or table["name"] == "taxi_zones"]
    for attempt in range(2):
        assert _in_duckdb(warehouse.path) == _as_declared(tables, "duckdb", "name")
        assert _in_postgres(postgres_url) == _as_declared(in_postgres, "postgres", "postgres_name")
        if attempt == 0:
            other = [
                f"COMMENT ON {place} IS {text}"
                for table in ("yellow_taxi_trips", "fhv_daily_trips", "taxi_zones")
                for place, text in ((f"TABLE {table}", "'old'"), (f"COLUMN {table}.{_some_column(table)}", "NULL"))
            ]
            with duckdb.connect(warehouse.path) as database:
                database.execute("; ".join(other))
            with closing(psycopg2.connect(postgres_url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("; ".join(other[:2] + other[-2:]))
            _load(warehouse, postgres, tmp_path / "lake")


def _some_column(table: str) -> str:
    return "Zone" if table == "taxi_zones" else "file_month"


@pytest.mark.usefixtures("command_home")
def test_tables_of_a_color(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json, there is a row for each column: type, unit, first and last month of the files, and meaning."""
    assert run_here(monkeypatch, "schema", "--color", "yellow") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line and line[0].startswith("yellow_")] == [
        ["yellow_taxi_trips"],
        ["yellow_daily_trips"],
        ["yellow_monthly_zone_revenue"],
    ]
    rows = {line[0]: line[1:] for line in reversed(lines) if line}
    assert rows["pickup_longitude"][:5] == ["DOUBLE", "degrees", "2009-01", "to", "2016-06"]
    assert rows["cbd_congestion_fee"][:6] == ["DOUBLE", "US", "dollars", "2025-01", "to", "now"]
