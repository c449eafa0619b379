"""Long use: one worker process loads many months, then all of them again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import median
from typing import Any

from installation import OLD, Installation, cursor_of, write_versions
from outcomes import Outcome

from taxi_assets.tlc.trips import TripMonth, next_month

_ROWS = 100
_FIRSTS = {"yellow": "2009-01", "green": "2014-01", "fhv": "2015-01"}
_LAST = "2026-08"
_OK = "200 "
_LONGEST_S = 7200.0

_MAY_GROW_MB = 8.0
_MAY_GROW = 1.05
"""How much more memory a process may use at the end than in the second quarter: caches fill, and memory fragments."""


@dataclass(frozen=True)
class Sample:
    """What the worker uses after a month: memory, open files, threads, and sessions of Postgres."""

    memory_mb: float
    files: int
    threads: int
    sessions: int


@dataclass
class Use:
    """What was seen: a sample after each month, the row counts and downloads after each pass, and errors.

    Arrow starts the threads of its pools when it first needs them, so `pooled_threads` may be running at the end only.
    """

    pooled_threads: int = 0
    samples: list[Sample] = field(default_factory=list)
    counts: list[dict[str, dict[str, int]]] = field(default_factory=list)
    downloads: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class LongUse:
    """An installation that loads many small months."""

    has_disks = False

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        return f"long use: {value} months"

    def trial(self, value: str) -> Outcome:
        """Load this many months twice."""
        number, there, started = int(value), self._installation, time.monotonic()
        there.empty()
        months = _months()[:number]
        there.ask("months", write_versions, there, dict.fromkeys(months, (_ROWS, OLD)))
        for month in months:
            there.publish(OLD, month)
        use: Use = there.start("long-use", _use, there, months).result(_LONGEST_S)
        quarter = max(1, len(use.samples) // 4)
        early, late = use.samples[quarter : 2 * quarter], use.samples[-quarter:]
        figures = {
            "months": number,
            "MB early": round(median(sample.memory_mb for sample in early or late)),
            "MB late": round(median(sample.memory_mb for sample in late)),
        }
        broken = (*use.errors, *_disagreements(use, months), *_growth(early, late, 1 + use.pooled_threads))
        return Outcome(self.kind(value), "twice", broken, figures, time.monotonic() - started)


def _months() -> list[TripMonth]:
    """Return all months of the colors, with the colors in turn."""
    found = []
    for color, first in _FIRSTS.items():
        months = [first]
        while months[-1] < _LAST:
            months.append(next_month(months[-1]))
        found.append([TripMonth(color, month) for month in months])
    return [month for turn in zip_longest(*found) for month in turn if month]


def _disagreements(use: Use, months: Sequence[TripMonth]) -> list[str]:
    """Return the row counts that are wrong, and the downloads that were not needed."""
    if len(use.counts) != 2:  # noqa: PLR2004  # passes
        return ["the worker did not load all months twice"]
    first, second = use.counts
    broken = [f"{store}: the counts of the passes differ" for store in first if first[store] != second[store]]
    for store in ("clean", "lake", "warehouse"):
        wrong = [month for month in map(str, months) if first[store].get(month) != _ROWS]
        broken += [f"{store} has other than {_ROWS} rows of {', '.join(wrong)}"] if wrong else []
    if use.downloads[0] != len(months):
        broken.append(f"the first pass downloaded {use.downloads[0]} files of {len(months)}")
    if use.downloads[1] != use.downloads[0]:
        broken.append(f"the second pass downloaded {use.downloads[1] - use.downloads[0]} files again")
    return broken


def _growth(early: Sequence[Sample], late: Sequence[Sample], threads: int) -> list[str]:
    """Return what the worker uses more of at the end than in the second quarter. It may have this many threads."""
    if not early:
        return []
    broken = []
    before, after = (median(sample.memory_mb for sample in samples) for samples in (early, late))
    if after > before * _MAY_GROW + _MAY_GROW_MB:
        broken.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    for name, most in (("files", 0), ("threads", threads), ("sessions", 0)):
        before, after = (median(getattr(sample, name) for sample in samples) for samples in (early, late))
        if after > max(before, most):
            broken.append(f"{name} grew from {before:g} to {after:g}")
    return broken


def _use(there: Installation, months: list[TripMonth]) -> Use:
    """Load the months twice in one worker process. Call it in a child."""
    import pyarrow as pa

    from taxi_assets.operations.progress import ENDS, Progress
    from taxi_assets.operations.runs import RunSpec
    from taxi_assets.operations.workers import started_months
    from taxi_assets.settings import Settings

    use = Use(pa.cpu_count() + pa.io_thread_count())
    with started_months(Settings.load(), [*months, *months], RunSpec(), 1) as events:
        for event in events:
            if event.what not in ENDS:
                continue
            if event.what is not Progress.done:
                use.errors.append(f"{event.month} {event.what} at {event.asset}: {event.error}")
            use.samples.append(_sample(there.postgres))
            # The worker gets its next month only after this.
            if len(use.samples) % len(months) == 0:
                use.counts.append(there.ask("counts", _count, there, months))
                use.downloads.append(there.requests.read_text().count(_OK + "/"))
    return use


def _sample(postgres: str) -> Sample:
    import psutil

    [worker] = psutil.Process().children()
    with cursor_of(postgres) as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        sessions = int(cursor.fetchone()[0])
    # Memory that the worker shares with its parent counts from the start: it becomes its own page by page.
    return Sample(worker.memory_info().rss / 1e6, worker.num_fds(), worker.num_threads(), sessions)


def _count(there: Installation, months: Sequence[TripMonth]) -> dict[str, dict[str, int]]:
    """Return the rows of each month in each store. Call it in a child."""
    from pyarrow.parquet import read_metadata

    counts: dict[str, dict[str, int]] = {"clean": {}, "lake": {}, "warehouse": {}, "postgres": {}}
    for month in months:
        clean = there.home / "clean" / month.color / f"{month.stem}.parquet"
        counts["clean"][str(month)] = read_metadata(clean).num_rows
        counts["lake"][str(month)] = read_metadata(there.home / "lake" / month.object_name).num_rows
    for table, color in {month.table: month.color for month in months}.items():
        sql = f"SELECT file_month, count(*) FROM {table} GROUP BY file_month"
        for store, query in (("warehouse", _query_warehouse), ("postgres", _query_postgres)):
            counts[store].update({str(TripMonth(color, f"{m:%Y-%m}")): rows for m, rows in query(there, sql)})
    return counts


def _query_warehouse(there: Installation, sql: str) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect(there.home / "warehouse.duckdb", read_only=True) as database:
        return database.execute(sql).fetchall()


def _query_postgres(there: Installation, sql: str) -> list[tuple[Any, ...]]:
    with cursor_of(there.postgres) as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
