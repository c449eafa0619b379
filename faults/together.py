"""Together: several processes load one month, or different months of one table, while readers read each store."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forks import Child
from installation import (
    COLOR,
    INVALID_EVERY,
    MONTH,
    NEW,
    OLD,
    Installation,
    cursor_of,
    write_both_versions,
    write_versions,
)
from outcomes import Outcome

from taxi_assets.tlc.trips import TripMonth

_MONTH_ROWS = 2000
_LONGEST_S = 180.0

Sums = dict[str, tuple[int, int]]
"""By month, the number of rows and the sum of all fares in cents."""


class Together:
    """An installation whose month is loaded by several processes at once."""

    has_disks = False

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        installation.ask("versions", write_both_versions, installation)
        self._months = [TripMonth(COLOR, f"2020-{number:02}") for number in range(1, 13)]
        rows = dict.fromkeys(self._months, (_MONTH_ROWS, OLD))
        installation.ask("months", write_versions, installation, rows)

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        return f"together: {value} processes"

    def trial(self, value: str) -> Outcome:
        """Let this many processes load one month, then as many months of one table."""
        processes, started, reads = int(value), time.monotonic(), Counter[str]()
        broken = [
            *(f"one month: {what}" for what in self._one_month(processes, reads)),
            *(f"different months: {what}" for what in self._different_months(processes, reads)),
        ]
        counts = {"loads": processes * 3, "reads": reads.total()}
        return Outcome(self.kind(value), "one month, then several", tuple(broken), counts, time.monotonic() - started)

    def _one_month(self, processes: int, reads: Counter[str]) -> list[str]:
        """Replace a month by its other version, and back. Readers must see one of the two."""
        there, whole = self._installation, {store: list[Sums]() for store in READERS}
        there.empty()
        for version in (NEW, OLD):
            there.publish(version)
            if there.materialize().process.exitcode:
                return ["the first load failed"]
            for store, reader in READERS.items():
                whole[store].append(there.ask(f"read-{store}", _read_once, reader))
        broken = []
        for version in (NEW, OLD):
            there.publish(version)
            failed, seen = self._run([[MONTH]] * processes)
            for store, sums in seen.items():
                reads[store] += len(sums)
                broken += [f"a reader of {store} saw {each}" for each in sums if each not in whole[store]]
            broken += failed
        return broken + self._last_load(whole)

    def _last_load(self, whole: dict[str, list[Sums]]) -> list[str]:
        """Load the month once more, alone. Every store must then have this version."""
        there = self._installation
        there.publish(NEW)
        child = there.materialize()
        if child.process.exitcode:
            return [f"the last load failed: {child.output[-500:]}"]
        last = {store: there.ask(f"read-{store}", _read_once, reader) for store, reader in READERS.items()}
        return [f"{store} has {sums} after the last load" for store, sums in last.items() if sums != whole[store][0]]

    def _different_months(self, processes: int, reads: Counter[str]) -> list[str]:
        """Load as many months into tables that do not exist yet. Readers must see none or all rows of a month."""
        there, months = self._installation, self._months[:processes]
        there.empty()
        for month in months:
            there.publish(OLD, month)
        broken, seen = self._run([[month] for month in months])
        valid = _MONTH_ROWS - _MONTH_ROWS // INVALID_EVERY
        for store in ("warehouse", "postgres"):
            reads[store] += len(seen[store])
            last: Sums = there.ask(f"read-{store}", _read_once, READERS[store])
            if last.keys() != {month.month for month in months}:
                broken.append(f"{store} has {sorted(last)} at the end")
            elif store == "warehouse" and {rows for rows, _ in last.values()} != {valid}:
                broken.append(f"{store} has {last} at the end. Expected {valid} rows of each month")
            for sums in seen[store]:
                broken += [f"a reader of {store} saw {m}: {s}" for m, s in sums.items() if s != last.get(m)]
        return broken

    def _run(self, loads: Sequence[Sequence[TripMonth]]) -> tuple[list[str], dict[str, list[Sums]]]:
        """Start a process for each list of months, and a reader of each store, and wait for the processes.

        Return what went wrong, and what the readers saw.
        """
        there = self._installation
        stop = there.folder / "stop"
        stop.unlink(missing_ok=True)
        readers = {store: there.start(f"reader-{store}", _read, reader, stop) for store, reader in READERS.items()}
        writers = [there.start(f"writer-{at}", _load, months) for at, months in enumerate(loads)]
        deadline = time.monotonic() + _LONGEST_S
        for writer in writers:
            writer.process.join(max(0, deadline - time.monotonic()))
        broken = [what for writer in writers if (what := _failure(writer))]
        stop.touch()
        return broken, {store: reader.result() for store, reader in readers.items()}


def _failure(writer: Child) -> str:
    """Return how a process failed; "" if it did not. One that has not ended is killed."""
    if writer.process.is_alive():
        writer.kill()
        return f"{writer.log.stem} waited for {_LONGEST_S:.0f} s"
    return "\n".join(writer.result())


def _load(months: Sequence[TripMonth]) -> list[str]:
    """Load months one after another and return the errors. Call it in a child."""
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.progress import Progress, ProgressEvent
    from taxi_assets.operations.runs import RunSpec, run_month
    from taxi_assets.settings import Settings

    settings, events = Settings.load(), list[ProgressEvent]()
    with open_instance(settings.home) as instance:
        for month in months:
            run_month(build_definitions(settings), instance, month, RunSpec(), events.append)
    return [f"{event.asset}: {event.error}" for event in events if event.what is Progress.failed]


def _read(reader: Callable[[], Sums], stop: Path) -> list[Sums]:
    """Read a store until the file `stop` exists, and return what was seen each time. Call it in a child."""
    seen = []
    while not stop.exists():
        seen.append(reader())
    return seen


def _read_once(reader: Callable[[], Sums]) -> Sums:
    return reader()


def _read_file(*folders: str) -> Callable[[], Sums]:
    """Return a reader of the Parquet file of the month. One that does not exist has no rows."""

    def read() -> Sums:
        import pyarrow.parquet as pq

        path = Path(os.environ["TAXI_HOME"], *folders, COLOR, f"{MONTH.stem}.parquet")
        if not path.exists():
            return {}
        with path.open("rb") as file:  # opened once: by its path, a reader could open two versions
            table = pq.read_table(file, columns=["file_month", "total_amount"])
        cents = sum(round(amount * 100) for amount in table.column("total_amount").to_pylist() if amount is not None)
        [month] = table.column("file_month").unique().to_pylist()
        return _sums([(month, table.num_rows, cents)])

    return read


def _read_warehouse() -> Sums:
    from taxi_assets.connections import open_warehouse
    from taxi_assets.errors import NothingLoaded
    from taxi_assets.settings import Settings

    try:
        return _sums(open_warehouse(Settings.load()).query(_SQL.format(table=MONTH.table)).rows)
    except NothingLoaded:
        return {}


def _read_postgres() -> Sums:
    from psycopg2.errors import UndefinedTable

    try:
        with cursor_of(os.environ["TAXI_POSTGRES_URL"]) as cursor:
            cursor.execute(_SQL.format(table=MONTH.table))
            return _sums(cursor.fetchall())
    except UndefinedTable:
        return {}


_SQL = "SELECT file_month, count(*), CAST(sum(round(total_amount * 100)) AS bigint) FROM {table} GROUP BY file_month"


def _sums(rows: Sequence[Sequence[Any]]) -> Sums:
    return {f"{month:%Y-%m}": (count, cents) for month, count, cents in rows}


READERS: dict[str, Callable[[], Sums]] = {
    "clean": _read_file("clean"),
    "lake": _read_file("lake", "data"),
    "warehouse": _read_warehouse,
    "postgres": _read_postgres,
}
"""What reads each store. Readers of the warehouse use the program, whose lock a load holds."""
