"""What is told of months: between those who run and remember them, and those who show them.

Not here: Dagster, and how anything looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from taxi_assets.tlc.trips import TripMonth


class News(StrEnum):
    """What can be told of a month."""

    started = "started"
    station_started = "station_started"
    station_done = "station_done"
    done = "done"
    failed = "failed"


@dataclass(frozen=True)
class RunNews:
    """Something that happened to a month: at which station, how many rows it has there, or what went wrong."""

    month: TripMonth
    what: News
    station: str = ""
    rows: int | None = None
    seconds: float = 0.0
    error: str = ""
    run_id: str = ""


class Standing(StrEnum):
    """How a month stands, judged by its newest run and by the stations it ever passed."""

    waiting = "waiting"
    running = "running"
    failed = "failed"
    loaded = "loaded"
    stale = "stale"
    partly = "partly"


@dataclass(frozen=True)
class MonthHistory:
    """How a month stands, and its rows at each station it passed, in their order."""

    month: TripMonth
    standing: Standing
    rows: Mapping[str, int]
