"""The sample months of a benchmark, and the PostgreSQL server that all contenders load."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from place import MONTH, Place

if TYPE_CHECKING:
    import pyarrow as pa

BIN = Path(sys.executable).parent
"""The folder of this environment's programs."""

SMALL_ROWS = 1000
"""The rows of each small month."""

_GROUP_ROWS = 1_048_576
"""The rows of a row group, as in the TLC's files."""

Show = Callable[[str], None]
"""Shows a line of progress."""


def prepare(work: Path, rows: int, postgres: str, show: Show) -> Place:
    """Return the files of a month with this many rows. Generates those that do not exist yet in `work`."""
    folder = work / "samples" / str(rows)
    place = Place(
        rows=rows,
        source=folder,
        clean=folder / "clean.parquet",
        text=folder / "clean.csv",
        months=work / "samples" / "months",
        out=work / "out",
        home=work / "home",
        postgres=postgres,
    )
    if not place.text.exists():
        show(f"Generating {rows:,} rows as CSV.gz and Parquet")
        folder.mkdir(parents=True, exist_ok=True)
        _sample(folder, MONTH, rows)
        _write_parquet(place)
        _write_clean(place)
    return place


def prepare_months(work: Path, months: str, show: Show) -> None:
    """Generate small months, with `SMALL_ROWS` rows each, unless they exist."""
    folder = work / "samples" / "months"
    first, _, last = months.partition("..")
    if not all((folder / "yellow" / f"yellow_tripdata_{month}.csv.gz").exists() for month in (first, last)):
        show(f"Generating the small months {months}, {SMALL_ROWS:,} rows each")
        _sample(folder, months, SMALL_ROWS)


def _sample(folder: Path, months: str, rows: int, *options: str) -> None:
    words = [
        str(BIN / "taxi"),
        "sample",
        str(folder),
        "--color",
        "yellow",
        "--months",
        months,
        "--rows",
        str(rows),
        *options,
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _write_parquet(place: Place) -> None:
    """Write the rows of the CSV as the TLC does: its columns and types, in large row groups."""
    import pyarrow as pa
    from pyarrow import csv
    from pyarrow.parquet import ParquetWriter, read_schema

    layout = place.source / "layout"
    _sample(layout, MONTH, 1, "--format", "parquet")
    schema = read_schema(layout / "yellow" / place.parquet.name)
    shutil.rmtree(layout)
    types = {field.name: field.type for field in schema}
    options = csv.ConvertOptions(column_types=types, include_columns=schema.names, include_missing_columns=True)
    with csv.open_csv(place.csv, convert_options=options) as reader, ParquetWriter(place.parquet, schema) as writer:
        for batches in _grouped(reader):
            writer.write_table(pa.Table.from_batches(batches), row_group_size=_GROUP_ROWS)


def _grouped(batches: "Iterable[pa.RecordBatch]") -> "Iterator[list[pa.RecordBatch]]":
    """Collect batches until they have the rows of a row group."""
    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        if rows >= _GROUP_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _write_clean(place: Place) -> None:
    """Write the rows that `postgres_trips` loads from the month, as Parquet and as text."""
    import duckdb

    from taxi_assets.tlc.clean import CleanLimits, clean_month
    from taxi_assets.tlc.trips import TripMonth

    cleaned, rejected = place.source / "cleaned.parquet", place.source / "rejected.parquet"
    clean_month(TripMonth("yellow", MONTH), place.csv, cleaned, rejected, CleanLimits())
    with duckdb.connect() as database:
        rows = f"SELECT * FROM '{cleaned}' WHERE passenger_count IS DISTINCT FROM 0"
        database.execute(f"COPY ({rows}) TO '{place.clean}' (FORMAT parquet)")
        database.execute(f"COPY (SELECT * FROM '{place.clean}') TO '{place.text}.new' (FORMAT csv, HEADER false)")
    Path(f"{place.text}.new").rename(place.text)
    cleaned.unlink()
    rejected.unlink(missing_ok=True)


@contextmanager
def postgres_server(work: Path) -> Iterator[str]:
    """Start an embedded PostgreSQL server for the duration of the context, unless TAXI_POSTGRES_URL names another."""
    from taxi_assets.stores.postgres.embedded import EmbeddedPostgres

    if url := os.environ.get("TAXI_POSTGRES_URL"):
        yield url
        return
    server = EmbeddedPostgres(work / "postgres")
    url = server.ensure_running()
    try:
        yield url
    finally:
        server.stop()
        shutil.rmtree(work / "postgres")


def empty_postgres(url: str) -> None:
    """Delete what contenders loaded: the table of yellow trips, and everything that the peers created."""
    import sqlalchemy as sa

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("SET client_min_messages = warning"))
        for table in ("yellow_taxi_trips", "peer_trips"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS public.{table} CASCADE"))
        connection.execute(sa.text("DROP SCHEMA IF EXISTS peer_dlt CASCADE"))
        connection.execute(sa.text("DROP SCHEMA IF EXISTS peer_dlt_staging CASCADE"))
    engine.dispose()
    _checkpoint(url)


def _checkpoint(url: str) -> None:
    """Write the server's changed pages to disk, so that no contender pays for those of another, if that is allowed."""
    import sqlalchemy as sa

    engine = sa.create_engine(sa.make_url(url).set(username="postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("CHECKPOINT"))
    except sa.exc.DBAPIError:
        pass  # a server of the user's, without a role of this name that may do so
    finally:
        engine.dispose()


def create_table_sql() -> str:
    """Return the statement that creates a table for `Place.text`, with the types of `postgres_trips`."""
    from taxi_assets.stores.postgres.store import TYPES
    from taxi_assets.tlc.schema import LAYOUTS

    columns = ", ".join(f'"{column.name}" {TYPES[column.kind]}' for column in LAYOUTS["yellow"].file_columns)
    return f"CREATE TABLE public.peer_trips ({columns})"
