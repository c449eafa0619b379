"""What is told of months and of systems: between those who run, remember and try them, and those who show them.

Not here: Dagster, and how anything looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from taxi_assets.stores.holdings import Holding
from taxi_assets.tlc.trips import TripMonth


class News(StrEnum):
    """What can be told of a month."""

    started = "started"
    station_started = "station_started"
    progress = "progress"
    setback = "setback"
    pause = "pause"
    station_done = "station_done"
    done = "done"
    not_published = "not_published"
    failed = "failed"


ENDS = frozenset({News.done, News.not_published, News.failed})
"""The news after which nothing more happens to a month."""


@dataclass(frozen=True)
class RunNews:
    """Something that happened to a month: at which station, how many rows it has there, or what went wrong.

    `detail` says how far the station under way is, or when it is tried again, in words; `trace` is the whole stack of
    what went wrong.
    """

    month: TripMonth
    what: News
    station: str = ""
    rows: int | None = None
    seconds: float = 0.0
    error: str = ""
    run_id: str = ""
    detail: str = ""
    trace: str = ""


class Standing(StrEnum):
    """How a month stands, judged by its newest run and by the stations it ever passed."""

    waiting = "waiting"
    running = "running"
    failed = "failed"
    loaded = "loaded"
    stale = "stale"
    partly = "partly"


UNDER_WAY = frozenset({Standing.running, Standing.waiting})
"""How a month stands that a run puts somewhere sooner or later."""


@dataclass(frozen=True)
class MonthHistory:
    """How a month stands, and its rows at each station it passed, in their order.

    Of one that failed also its run, the station it failed at, and why; both empty where the run did not tell.
    `is_partition` is false for a month that TAXI_FIRST_MONTH left out since: it cannot be run again.
    """

    month: TripMonth
    standing: Standing
    rows: Mapping[str, int]
    run_id: str = ""
    failed_at: str = ""
    error: str = ""
    is_partition: bool = True


@dataclass(frozen=True)
class Plan:
    """The months to load, in order, each with its bytes at the source, None where that is not known.

    And the months that are left out, each with why.
    """

    wanted: dict[TripMonth, int | None] = field(default_factory=dict)
    left_out: dict[TripMonth, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lot:
    """What a store holds of a month, or held until it was removed; or why the store could not tell, or remove it."""

    month: TripMonth
    store: str
    held: Sequence[Holding] = ()
    error: str = ""


class Verdict(StrEnum):
    """Whether a system is fit for a run: it is, it may not be for long, or something has to be mended first."""

    ok = "ok"
    warn = "warn"
    mend = "mend"


@dataclass(frozen=True)
class Finding:
    """What was seen of a system, and, where that is not as it should be, what to do."""

    system: str
    verdict: Verdict
    seen: str
    remedy: str = ""
