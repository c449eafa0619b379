"""Data classes shared by the code that runs months and checks systems and the code that displays the results.

Not here: Dagster, and how results are displayed (`cli`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from taxi_assets.stores.inventory import StoredItem
from taxi_assets.tlc.trips import TripMonth


class Progress(StrEnum):
    """Kinds of progress events of a month."""

    started = "started"
    asset_started = "asset_started"
    progress = "progress"
    setback = "setback"
    pause = "pause"
    asset_done = "asset_done"
    done = "done"
    not_published = "not_published"
    failed = "failed"


ENDS = frozenset({Progress.done, Progress.not_published, Progress.failed})
"""The final events of a month."""


@dataclass(frozen=True)
class ProgressEvent:
    """A progress event of a month: the step, its row count, or an error.

    `detail` describes the progress of the current step or its next retry; `trace` is the full traceback of an error.
    """

    month: TripMonth
    what: Progress
    asset: str = ""
    rows: int | None = None
    seconds: float = 0.0
    error: str = ""
    run_id: str = ""
    detail: str = ""
    trace: str = ""


class PartitionStatus(StrEnum):
    """The status of a month, derived from its latest run and the assets that were ever materialized."""

    waiting = "waiting"
    running = "running"
    failed = "failed"
    loaded = "loaded"
    stale = "stale"
    partly = "partly"


UNDER_WAY = frozenset({PartitionStatus.running, PartitionStatus.waiting})
"""Statuses of months that have a queued or active run."""


@dataclass(frozen=True)
class MonthStatus:
    """The status of a month and the row count of each materialized asset, in pipeline order.

    For a failed month, `run_id` is its run, and `failed_at` and `error` are the failed step and the reason; both are
    empty if the run did not record them. `is_partition` is false for a month that TAXI_FIRST_MONTH now excludes: it
    cannot be run again.
    """

    month: TripMonth
    standing: PartitionStatus
    rows: Mapping[str, int]
    run_id: str = ""
    failed_at: str = ""
    error: str = ""
    is_partition: bool = True


@dataclass(frozen=True)
class Plan:
    """The months to load and the months to skip.

    `wanted` maps each month, in load order, to its size at the source in bytes, or None if the size is not known.
    `left_out` maps each skipped month to the reason.
    """

    wanted: dict[TripMonth, int | None] = field(default_factory=dict)
    left_out: dict[TripMonth, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredMonth:
    """The items of a month in one store, either found or just deleted, or the error of the lookup or deletion."""

    month: TripMonth
    store: str
    held: Sequence[StoredItem] = ()
    error: str = ""


class Verdict(StrEnum):
    """The result of a system check: ready, ready with a warning, or in need of a fix before a run."""

    ok = "ok"
    warn = "warn"
    mend = "mend"


@dataclass(frozen=True)
class Finding:
    """What a system check found and, if something is wrong, how to fix it."""

    system: str
    verdict: Verdict
    seen: str
    remedy: str = ""
