"""Histories of runs, generated without loading any trips."""

import re
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
            with closing(_Database(url, self._months[0])) as database:
                for number, month in enumerate(loads, start=1):
                    at = newest - timedelta(minutes=10 * (len(loads) - number))
                    database.copy(number, month, at)
                runs = max(runs, database.finish())
        return runs

    def size_bytes(self) -> int:
        """Return the size of the history: of the files that were copied, or of the database."""
        if self._urls[0].startswith("sqlite"):
            return sum(Path(url.removeprefix("sqlite:///")).stat().st_size for url in self._urls)
        engine = sa.create_engine(self._urls[0])
        with engine.connect() as connection:
            size = connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
        engine.dispose()
        return int(size)

    def run_bytes(self) -> int:
        """Return the size of the file of a single run in SQLite, which was not copied; 0 in PostgreSQL."""
        files = list((self.home / "dagster/history/runs").glob("*-*.db"))
        return sum(path.stat().st_size for path in files) // len(files) if files else 0


_FILES = ("runs.db", "runs/index.db")
"""The SQLite files with the runs, and with the events of assets."""

_TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions")
"""The tables to copy."""

_EVENT_IDS = ("event_id", "evaluation_event_storage_id", "materialization_event_storage_id")
"""Columns with the ID of an event."""

_TIMES = ("create_timestamp", "update_timestamp", "evaluation_event_timestamp", "event_timestamp", "timestamp")
_SECONDS = ("start_time", "end_time")

_EVENT_POINTER = re.compile(r'("dagster/input_event_pointer/[^"]*": "|"storage_id": )(\d+)')
"""An ID of an event in the JSON of another event: that of an upstream asset, or of a checked materialization."""


class _Database:
    """One database of a history. It copies the rows that it has when it is opened: those of one month."""

    def __init__(self, url: str, month: str) -> None:
        self._engine = sa.create_engine(url)
        self._connection = self._engine.connect()
        self._month = month
        found = sa.MetaData()
        found.reflect(self._connection)
        self._rows: dict[sa.Table, list[dict[str, Any]]] = {
            found.tables[name]: [dict(row) for row in self._connection.execute(found.tables[name].select()).mappings()]
            for name in _TABLES
            if name in found.tables
        }
        self._last = {table.name: max(row["id"] for row in rows) for table, rows in self._rows.items()}

    def scalar(self, sql: str) -> Any:
        """Return the only value of a query."""
        return self._connection.execute(sa.text(sql)).scalar()

    def copy(self, number: int, month: str, at: datetime) -> None:
        """Copy the rows as those of another month and time, with run IDs that start with a number."""
        for table, rows in self._rows.items():
            copies = [self._copied(row, number * self._last[table.name], number, month, at) for row in rows]
            self._connection.execute(table.insert(), copies)

    def _copied(self, row: Mapping[str, Any], shift: int, number: int, month: str, at: datetime) -> dict[str, Any]:
        events = number * self._last.get("event_logs", 0)
        run_id = row.get("run_id") or ""
        copy = dict(row)
        for name, value in row.items():
            if name == "id":
                copy[name] = value + shift
            elif name in _EVENT_IDS and value is not None:
                copy[name] = value + events
            elif name in _TIMES and value is not None:
                copy[name] = at
            elif name in _SECONDS and value is not None:
                copy[name] = at.replace(tzinfo=UTC).timestamp()
            elif isinstance(value, str):
                text = value.replace(run_id, f"{number:08x}{run_id[8:]}") if run_id else value
                text = _EVENT_POINTER.sub(lambda found: f"{found[1]}{int(found[2]) + events}", text)
                copy[name] = text.replace(self._month, month)
        return copy

    def finish(self) -> int:
        """Commit, let new IDs follow those of the copies, and return the number of runs, if this database has them."""
        if self._engine.dialect.name == "postgresql":
            for name in self._last:
                self.scalar(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))")
            self._connection.execute(sa.text("ANALYZE"))  # as the server itself does after a while
        self._connection.commit()
        return int(self.scalar("SELECT count(*) FROM runs")) if "runs" in self._last else 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._engine.dispose()
