"""Histories of runs, generated without loading any trips."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from taxi_assets.instance.opening import dagster_home


def report_months(home: Path, number: int) -> None:
    """Report that all assets were materialized for a number of months of three colors, with the usual metadata."""
    import dagster as dg

    from taxi_assets.defs.metadata import column_schema
    from taxi_assets.graph import TRIP_ASSETS
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.keys import asset_key
    from taxi_assets.tlc.schema import LAYOUTS
    from taxi_assets.tlc.trips import parse_months

    colors = ("yellow", "green", "fhv")
    with open_instance(home) as instance:
        for month in parse_months("2013-01..2040-12")[: number // len(colors)]:
            for color in colors:
                metadata = {"dagster/partition_row_count": 500, **column_schema(LAYOUTS[color].table_columns)}
                for name in TRIP_ASSETS:
                    key = asset_key(color, name)
                    event = dg.AssetMaterialization(key, metadata=metadata, partition=month)
                    instance.report_runless_asset_event(event)


class LongHistory:
    """A TAXI_HOME with a history of runs of `months` in all colors, each of them loaded several times.

    One real run of each color is executed; the others are copies of it with other months, run IDs and times. The files
    of single runs, which only the page of a run reads, are not copied. `postgres` is the URL of the database that
    stores the history; if it is empty, it is stored in SQLite.
    """

    def __init__(self, home: Path, postgres: str, months: Sequence[str]) -> None:
        self.home = home
        self._months = months
        folder = home / "dagster"
        self._urls = [postgres] if postgres else [f"sqlite:///{folder}/history/{name}" for name in _FILES]
        if postgres:
            folder.mkdir(parents=True)
            config = dagster_home(home) / "dagster.yaml"
            # Without its first line, a comment, taxi does not replace the file.
            content = yaml.safe_load(config.read_text())
            config.write_text(yaml.safe_dump({**content, "storage": {"postgres": {"postgres_url": postgres}}}))

    def copy_runs(self, copies: int) -> int:
        """Copy the runs of the first month until each month has been loaded `copies` times. Return the number of runs.

        The runs of a month are ten minutes before those of the next.
        """
        loads = [month for _ in range(copies) for month in self._months][1:]
        newest = datetime.now(UTC).replace(tzinfo=None)
        runs = 0
        for url in self._urls:
            with closing(_Database(url)) as database:
                for number, month in enumerate(loads, start=1):
                    at = newest - timedelta(minutes=10 * (len(loads) - number))
                    database.copy(number, self._months[0], month, at)
                runs = max(runs, database.finish())
        return runs

    def size_bytes(self) -> int:
        """Return the size of the history: of the files that were copied, or of the database."""
        if self._urls[0].startswith("sqlite"):
            return sum(Path(url.removeprefix("sqlite:///")).stat().st_size for url in self._urls)
        with closing(_Database(self._urls[0])) as database:
            return int(database.scalar("SELECT pg_database_size(current_database())"))

    def run_bytes(self) -> int:
        """Return the size of the file of a single run in SQLite, which was not copied; 0 in PostgreSQL."""
        files = list((self.home / "dagster/history/runs").glob("*-*.db"))
        return sum(path.stat().st_size for path in files) // len(files) if files else 0


_FILES = ("runs.db", "runs/index.db")
"""The SQLite files with the runs, and with the events of assets."""

_TABLES: Mapping[str, Sequence[str]] = {
    "runs": ("run_id", "run_body", "partition"),
    "run_tags": ("run_id", "value"),
    "event_logs": ("run_id", "event", "partition"),
    "asset_event_tags": ("value",),
    "asset_check_executions": ("run_id", "partition", "evaluation_event"),
}
"""The tables to copy, and their columns that contain run IDs and months."""

_EVENT_IDS = ("event_id", "evaluation_event_storage_id", "materialization_event_storage_id")
"""Columns with the ID of an event."""

_TIMES = ("create_timestamp", "update_timestamp", "evaluation_event_timestamp", "event_timestamp", "timestamp")
_SECONDS = ("start_time", "end_time")


class _Database:
    """One database of a history, with the rows that are copied: those that it has when it is opened."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        self._connection = self._engine.connect()
        tables = sa.inspect(self._connection)
        self._columns = {
            name: [column["name"] for column in tables.get_columns(name)] for name in _TABLES if tables.has_table(name)
        }
        self._last = {name: int(self.scalar(f"SELECT max(id) FROM {name}") or 0) for name in self._columns}

    def scalar(self, sql: str) -> Any:
        """Return the only value of a query."""
        return self._connection.execute(sa.text(sql)).scalar()

    def copy(self, number: int, first: str, month: str, at: datetime) -> None:
        """Copy the rows of the month `first` as those of another month, with run IDs that start with a number."""
        run_id = f"'{number:08x}' || substr(run_id, 9)"
        events = number * self._last.get("event_logs", 0)
        for table, columns in self._columns.items():
            values = []
            for column in columns:
                if column == "id":
                    values.append(f"id + {number * self._last[table]}")
                elif column in _EVENT_IDS:
                    values.append(f"{column} + {events}")
                elif column == "run_id":
                    values.append(run_id)
                elif column in _TABLES[table]:
                    renamed = f"replace({column}, run_id, {run_id})" if "run_id" in columns else column
                    values.append(f"replace({renamed}, '{first}', '{month}')")
                elif column in _TIMES:
                    values.append(f"'{at}'")
                elif column in _SECONDS:
                    values.append(str(at.replace(tzinfo=UTC).timestamp()))
                else:
                    values.append(column)
            selected = f"SELECT {', '.join(values)} FROM {table} WHERE id <= {self._last[table]}"
            self._connection.execute(
                sa.text(f"INSERT INTO {table} ({', '.join(columns)}) {selected}".replace(":", "\\:"))
            )

    def finish(self) -> int:
        """Commit, let new IDs follow those of the copies, and return the number of runs, if this database has them."""
        if self._engine.dialect.name == "postgresql":
            for table in self._columns:
                self.scalar(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        self._connection.commit()
        if self._engine.dialect.name == "postgresql":
            self._connection.execute(sa.text("ANALYZE"))
            self._connection.commit()
        return int(self.scalar("SELECT count(*) FROM runs")) if "runs" in self._columns else 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._engine.dispose()
