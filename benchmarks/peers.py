"""What users would run instead of taxi_assets, and limits that nothing can beat. Each runs in its own process.

Usage: python benchmarks/peers.py NAME, started by `bench.py`.
"""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from place import Place, main, work

if TYPE_CHECKING:
    import pyarrow as pa

_TIMES = ("tpep_pickup_datetime", "tpep_dropoff_datetime")
_CHUNK_ROWS = 100_000


def pandas_csv(place: Place) -> None:
    """The course's script with pandas: `read_csv`, two `to_datetime`, `to_parquet(compression="gzip")`."""
    import pandas as pd

    with work():
        frame = pd.read_csv(place.csv, low_memory=False)
        for name in _TIMES:
            frame[name] = pd.to_datetime(frame[name])
        frame.to_parquet(place.out / "month.parquet", compression="gzip")


def pandas_to_sql(place: Place) -> None:
    """The course's script with pandas: `read_csv` in chunks of 100,000 rows, two `to_datetime`, `to_sql`."""
    import pandas as pd
    import sqlalchemy as sa

    with work():
        engine = sa.create_engine(place.postgres)
        for chunk in pd.read_csv(place.csv, iterator=True, chunksize=_CHUNK_ROWS, low_memory=False):
            for name in _TIMES:
                chunk[name] = pd.to_datetime(chunk[name])
            chunk.to_sql("peer_trips", engine, if_exists="append", index=False)


def duckdb_csv(place: Place) -> None:
    """DuckDB: `COPY (SELECT * FROM read_csv(...)) TO ... (FORMAT parquet)`, all settings at their defaults."""
    import duckdb

    with duckdb.connect() as database, work():
        database.execute(
            f"COPY (SELECT * FROM read_csv('{place.csv}')) TO '{place.out}/month.parquet' (FORMAT parquet)"
        )


def duckdb_parquet(place: Place) -> None:
    """DuckDB: `COPY (SELECT * FROM read_parquet(...)) TO ... (FORMAT parquet)`, all settings at their defaults."""
    import duckdb

    with duckdb.connect() as database, work():
        database.execute(
            f"COPY (SELECT * FROM read_parquet('{place.parquet}')) TO '{place.out}/month.parquet' (FORMAT parquet)"
        )


def duckdb_table(place: Place) -> None:
    """DuckDB: `CREATE TABLE ... AS SELECT * FROM read_csv(...)` in a new database file."""
    import duckdb

    with duckdb.connect(place.out / "month.duckdb") as database, work():
        database.execute(f"CREATE TABLE trips AS SELECT * FROM read_csv('{place.csv}')")


def duckdb_insert(place: Place) -> None:
    """DuckDB: `CREATE TABLE ... AS SELECT * FROM read_parquet(...)` of the clean rows in a new database file."""
    import duckdb

    with duckdb.connect(place.out / "month.duckdb") as database, work():
        database.execute(f"CREATE TABLE trips AS SELECT * FROM read_parquet('{place.clean}')")


def pyarrow_csv(place: Place) -> None:
    """pyarrow: each batch of `csv.open_csv` to a `ParquetWriter`."""
    from pyarrow import csv
    from pyarrow.parquet import ParquetWriter

    with work(), csv.open_csv(place.csv) as reader, ParquetWriter(place.out / "month.parquet", reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def polars_csv(place: Place) -> None:
    """polars: `scan_csv(try_parse_dates=True)` and `sink_parquet`."""
    import polars as pl

    with work():
        # The last rows of a month have no meter data, so all other columns have values in the first rows.
        pl.scan_csv(place.csv, try_parse_dates=True, infer_schema_length=10_000).sink_parquet(
            place.out / "month.parquet"
        )


def polars_parquet(place: Place) -> None:
    """polars: `scan_parquet` and `sink_parquet`."""
    import polars as pl

    with work():
        pl.scan_parquet(place.parquet).sink_parquet(place.out / "month.parquet")


def adbc_postgres(place: Place) -> None:
    """ADBC: `adbc_ingest` of the clean rows, read from Parquet batch by batch."""
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi
    from pyarrow.parquet import ParquetFile

    with work(), ParquetFile(place.clean) as file, dbapi.connect(place.postgres) as connection:
        reader = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
        with connection.cursor() as cursor:
            cursor.adbc_ingest("peer_trips", reader, mode="create")
        connection.commit()


def dlt_postgres(place: Place) -> None:
    """dlt: the clean rows as Arrow batches into PostgreSQL, with `loader_file_format="csv"`, so with COPY."""
    _prepare_dlt(place)
    import dlt
    import sqlalchemy as sa
    from pyarrow.parquet import ParquetFile

    def batches() -> "Iterator[pa.RecordBatch]":
        with ParquetFile(place.clean) as file:
            yield from file.iter_batches(_CHUNK_ROWS)

    # dlt requires a host and a password; the parameter of a URL for a socket takes precedence over the host.
    url = sa.make_url(place.postgres)
    url = url.set(host=url.host or "localhost", password=url.password or "unused")
    with work():
        pipeline = dlt.pipeline(
            "bench",
            str(place.out / "dlt"),
            destination=dlt.destinations.postgres(url.render_as_string(hide_password=False)),
            dataset_name="peer_dlt",
        )
        pipeline.run(batches(), table_name="trips", write_disposition="replace", loader_file_format="csv")


def dlt_duckdb(place: Place) -> None:
    """dlt: the CSV as Arrow batches of `csv.open_csv` into DuckDB, with `loader_file_format="parquet"`."""
    _prepare_dlt(place)
    import dlt
    from pyarrow import csv

    with work():
        pipeline = dlt.pipeline(
            "bench",
            str(place.out / "dlt"),
            destination=dlt.destinations.duckdb(str(place.out / "month.duckdb")),
            dataset_name="peer_dlt",
        )
        pipeline.run(
            csv.open_csv(place.csv), table_name="trips", write_disposition="replace", loader_file_format="parquet"
        )


def _prepare_dlt(place: Place) -> None:
    """Turn off dlt's telemetry, which is a request to a server, and keep its files in the work folder."""
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(place.out))


def isal_gunzip(place: Place) -> None:
    """isal, which taxi_assets uses: decompress the CSV and discard it."""
    from isal import igzip

    with work(), igzip.open(place.csv) as file:  # type: ignore[no-untyped-call]
        while file.read(1 << 20):
            pass


def copy_bytes(place: Place) -> None:
    """Read and write the bytes of the compressed CSV."""
    with work():
        shutil.copyfile(place.csv, place.out / "copy")


FUNCTIONS = (
    pandas_csv,
    pandas_to_sql,
    duckdb_csv,
    duckdb_parquet,
    duckdb_table,
    duckdb_insert,
    pyarrow_csv,
    polars_csv,
    polars_parquet,
    adbc_postgres,
    dlt_postgres,
    dlt_duckdb,
    isal_gunzip,
    copy_bytes,
)

if __name__ == "__main__":
    main(FUNCTIONS)
