"""Progress events: what the code that runs months reports to the code that displays it.

Not here: how progress is displayed (`cli.board`).
"""

from dataclasses import dataclass
from enum import StrEnum

from taxi_assets.tlc.trips import TripMonth


class Progress(StrEnum):
    """Kinds of progress events of a month."""

    started = "started"
    asset_started = "asset_started"
    progress = "progress"
    attempt_failed = "attempt_failed"
    retry_scheduled = "retry_scheduled"
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
