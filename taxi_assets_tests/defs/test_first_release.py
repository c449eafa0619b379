"""An installation whose files and tables are of the first release: runs use them and add later columns."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.instance.partition_status import PartitionStatus
from taxi_assets.operations.progress import Progress
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests import first_release
from taxi_assets_tests.defs.store_installation import ROWS, StoreInstallation, figures

MARCH, APRIL = TripMonth("yellow", "2021-03"), TripMonth("yellow", "2021-04")
FIRST_COLUMNS = list(first_release.COLUMNS["yellow"])
COLUMNS = [column.name for column in LAYOUTS["yellow"].table_columns]
CLEAN, LAKE = (
    Path("clean/yellow/yellow_tripdata_2021-03.parquet"),
    Path("lake/data/yellow/yellow_tripdata_2021-03.parquet"),
)


@pytest.fixture
def installation(home: Path, postgres_url: str) -> Iterator[StoreInstallation]:
    """An installation that has loaded MARCH. Its files and tables are as the first release creates them."""
    with closing(StoreInstallation()) as created:
        created.publish(MARCH)
        created.load(MARCH)
        for path in (home / CLEAN, home / LAKE):
            _rewrite(path, FIRST_COLUMNS)
        (home / "warehouse.duckdb").unlink()
        first_release.load_into_duckdb(home / "warehouse.duckdb", MARCH, home / LAKE)
        rows = [dict(zip(FIRST_COLUMNS, row, strict=True)) for row in _rows(created.postgres)]
        with closing(psycopg2.connect(postgres_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE yellow_taxi_trips")
        first_release.load_into_postgres(
            postgres_url, MARCH, pa.Table.from_pylist(rows, first_release.schema("yellow"))
        )
        yield created


def _rewrite(path: Path, columns: list[str]) -> None:
    """Write a file again with some of its columns, and the metadata in its footer."""
    table = pq.read_table(path)
    pq.write_table(table.select(columns).replace_schema_metadata(table.schema.metadata), path)


def _rows(store: Any) -> list[tuple[object, ...]]:
    """Return the values of MARCH in a store, without later columns."""
    result = store.query(f"SELECT {', '.join(FIRST_COLUMNS)} FROM yellow_taxi_trips WHERE file_month = '2021-03-01'")
    return sorted(result.rows, key=repr)


def _columns(store: Any) -> list[str]:
    return list(store.query("SELECT * FROM yellow_taxi_trips LIMIT 1").columns)


def test_load_another_month(installation: StoreInstallation) -> None:
    """A load of another month adds the later columns to both tables. The existing month stays loaded, with its rows."""
    stores = (installation.warehouse, installation.postgres)
    before = [_rows(store) for store in stores]
    assert [_columns(store) for store in stores] == [FIRST_COLUMNS, [name.lower() for name in FIRST_COLUMNS]]
    installation.publish(APRIL)
    installation.load(APRIL)
    assert [_columns(store) for store in stores] == [COLUMNS, [name.lower() for name in COLUMNS]]
    assert [_rows(store) for store in stores] == before
    assert len(before[0]) == ROWS
    assert installation.warehouse.total_rows(APRIL) == 2 * ROWS
    for month in (MARCH, APRIL):
        history = installation.history(month)
        assert history
        assert history.status is PartitionStatus.loaded


@pytest.mark.parametrize("assets", [("lake_trips", "warehouse_trips", "postgres_trips"), ("warehouse_trips",)])
def test_run_with_existing_files(assets: tuple[str, ...], installation: StoreInstallation) -> None:
    """A run can use files of the first release. All checks pass, and neither rows nor versions change."""
    stores = (installation.warehouse, installation.postgres)
    before = [_rows(store) for store in stores], [installation.version(asset, MARCH) for asset in assets]
    end = installation.run(MARCH, *assets)[-1]
    assert end.what is Progress.done, end.error
    checks = installation.checks(end.run_id)
    assert {asset for asset, _ in checks} == {*assets}
    assert all(check.passed for check in checks.values())
    assert before == ([_rows(store) for store in stores], [installation.version(asset, MARCH) for asset in assets])
    assert _columns(installation.warehouse) == COLUMNS


@pytest.mark.parametrize(
    ("asset", "path", "upstream"),
    [
        ("lake_trips", CLEAN, "clean_trips"),
        ("postgres_trips", CLEAN, "clean_trips"),
        ("warehouse_trips", LAKE, "lake_trips"),
    ],
)
def test_run_with_a_file_without_a_column(
    asset: str, path: Path, upstream: str, installation: StoreInstallation
) -> None:
    """A file without a column of the first release is damaged, and no store changes."""
    stores = (installation.warehouse, installation.postgres)
    before = [_rows(store) for store in stores]
    _rewrite(installation.home / path, [name for name in FIRST_COLUMNS if name != "fare_amount"])
    end = installation.run(MARCH, asset)[-1]
    facts = figures(installation.failures(end.run_id)[asset].metadata)
    expected = {"error": "damaged-file", **MARCH.facts, "uri": str(installation.home / path), "asset": upstream}
    assert facts == expected
    assert "fare_amount" in end.error
    assert [_rows(store) for store in stores] == before
