"""The progress display of months that a command loads: one line for each month and its state.

Not here: the summary at the end (`tables`), and the grid of a backfill (`backfill_view`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

from taxi_assets.operations.progress import ENDS, Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text


class State(StrEnum):
    """The state of a month on the board."""

    queued = "queued"
    running = "running"
    done = "done"
    not_published = "not published"
    failed = "failed"


@dataclass
class Line:
    """One month on the board. `rows` maps each materialized asset to its row count; `seconds` is set at the end.

    `detail` describes the progress of the current step; `trace` is the full traceback of an error.
    """

    month: TripMonth
    state: State = State.queued
    asset: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0
    error: str = ""
    run_id: str = ""
    detail: str = ""
    trace: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the month started or, after it has finished, its duration in seconds."""
        return monotonic() - self.started if self.state is State.running else self.seconds


_END_STATES = {Progress.done: State.done, Progress.not_published: State.not_published, Progress.failed: State.failed}


class Board:
    """The months of one command and their progress."""

    def __init__(self, months: Sequence[TripMonth], assets: Sequence[str]) -> None:
        self.assets = tuple(assets)
        self.lines = {month: Line(month) for month in months}
        self._began = monotonic()

    def update(self, event: ProgressEvent) -> Line:
        """Apply a progress event and return the line of its month."""
        line = self.lines[event.month]
        line.run_id = event.run_id or line.run_id
        line.asset = event.asset or line.asset
        line.detail = event.detail
        match event.what:
            case Progress.started:
                line.state, line.started = State.running, monotonic()
            case Progress.asset_done:
                line.rows[event.asset] = event.rows or 0
            case Progress.done | Progress.not_published | Progress.failed:
                line.seconds = event.seconds or line.elapsed
                line.state = _END_STATES[event.what]
                line.error, line.trace = event.error, event.trace
        return line

    def stop(self) -> None:
        """Mark all running months as failed because the command was stopped."""
        for line in self.lines.values():
            if line.state is State.running:
                line.seconds, line.state, line.error = line.elapsed, State.failed, "The command was stopped."

    @property
    def failed(self) -> list[Line]:
        """The months that failed."""
        return [line for line in self.lines.values() if line.state is State.failed]

    @property
    def unfinished(self) -> list[Line]:
        """The months that are neither loaded nor known to be unpublished."""
        return [line for line in self.lines.values() if line.state not in (State.done, State.not_published)]

    @property
    def loaded(self) -> list[Line]:
        """The months that were loaded."""
        return [line for line in self.lines.values() if line.state is State.done]

    @property
    def elapsed(self) -> float:
        """Seconds since the command started."""
        return monotonic() - self._began

    def tally(self) -> dict[str, int]:
        """The number of months in each state."""
        return {state: sum(line.state is state for line in self.lines.values()) for state in State}


class Watcher(Protocol):
    """Updates the board with progress events and displays it."""

    def update(self, event: ProgressEvent) -> None:
        """Apply a progress event to the board and display it."""


Drawing = Callable[[Board, "Console"], "RenderableType"]


@contextmanager
def watch(board: Board, draw: Drawing | None = None) -> Iterator[Watcher]:
    """Display a board: live on a terminal; otherwise, one line for each month that finishes.

    `draw` renders the board on a terminal. The default is a table with a progress bar for each month.
    """
    if sys.stdout.isatty():
        with _Live(board, draw or _draw_bars) as live:
            yield live
    else:
        yield _Lines(board)


class _Lines:
    """Prints a plain line for each month that finishes, and progress lines for a month that takes long."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._ended = 0
        self._printed_at: dict[TripMonth, float] = {}

    def update(self, event: ProgressEvent) -> None:
        line = self._board.update(event)
        self._printed_at.setdefault(event.month, monotonic())
        if event.what in (Progress.attempt_failed, Progress.retry_scheduled) or (
            event.what is Progress.progress and self._is_overdue(event.month)
        ):
            self._printed_at[event.month] = monotonic()
            print(f"{line.month} {line.asset} {line.detail}", flush=True)
        elif event.what in ENDS:
            self._ended += 1
            place = f"[{self._ended}/{len(self._board.lines)}]"
            words = (place, line.month, line.state, _result(line), f"{line.seconds:.1f} s")
            print(*filter(None, words), flush=True)

    def _is_overdue(self, month: TripMonth) -> bool:
        return monotonic() - self._printed_at[month] >= _PROGRESS_S


def _result(line: Line) -> str:
    """The step at which a month failed, or its row count."""
    if line.state is State.failed and line.asset:
        return f"at {line.asset}"
    rows = line.rows.get("raw_trips", max(line.rows.values(), default=0))
    return "" if line.state is State.not_published else f"{rows:,} rows"


_PROGRESS_S = 30.0
"""Minimum seconds between progress lines of a month when the output is not a terminal."""


class _Live:
    """Redraws the board on a terminal several times per second."""

    def __init__(self, board: Board, draw: Drawing) -> None:
        from rich.console import Console
        from rich.live import Live

        self._board = board
        console = Console()
        self._live = Live(
            console=console, get_renderable=lambda: draw(board, console), refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, event: ProgressEvent) -> None:
        self._board.update(event)


def _draw_bars(board: Board, console: "Console") -> "RenderableType":
    """A table with a progress bar for each month, with as many months as fit on the screen."""
    from rich.console import Group

    shown, hidden = select_rows([[line] for line in board.lines.values()], console.height - CHROME_LINES)
    table = _table(console.width)
    for [line] in shown:
        table.add_row(*_cells(line, board.assets))
    return Group(table, draw_tally(board, hidden))


CHROME_LINES = 4
"""Terminal lines for the table header and the tally, plus one spare line."""

STYLES = {
    State.queued: "dim",
    State.running: "bold",
    State.done: "green",
    State.not_published: "dim",
    State.failed: "red",
}

_BAR_WIDTH = 10

_ASSET_WIDTH = len("failed at warehouse_trips")
"""Minimum width of the column, so that the other columns do not move."""

_OTHERS_WIDTH = len("yellow 2021-01  ") + _BAR_WIDTH + len("    10,000,000  1000.0  ")


def select_rows(rows: Sequence[Sequence[Line]], room: int) -> tuple[list[Sequence[Line]], int]:
    """Select the rows to show in `room` lines, in their original order, and count the months in the hidden rows."""
    order = {State.running: 0, State.failed: 1, State.queued: 2, State.done: 3, State.not_published: 3}
    ranked = sorted(rows, key=lambda row: min(order[line.state] for line in row))[: max(room, 1)]
    shown = [row for row in rows if row in ranked]
    return shown, sum(map(len, rows)) - sum(map(len, shown))


def _table(width: int) -> "Table":
    """Create an empty table that fits a terminal of `width` characters. Only the step column is truncated."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("month", no_wrap=True)
    table.add_column("")
    room = max(_ASSET_WIDTH, width - _OTHERS_WIDTH)
    table.add_column("asset", min_width=_ASSET_WIDTH, max_width=room, no_wrap=True, overflow="ellipsis")
    for heading in ("rows", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(line: Line, assets: Sequence[str]) -> "tuple[RenderableType, ...]":
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    style = STYLES[line.state]
    bar = ProgressBar(total=len(assets), completed=len(line.rows), width=_BAR_WIDTH)
    rows = f"{max(line.rows.values()):,}" if line.rows else ""
    seconds = f"{line.elapsed:.1f}" if line.started else ""
    return Text(str(line.month), style), bar, Text(_status_text(line), style), rows, seconds


def _status_text(line: Line) -> str:
    """The current step of a month with its progress, or its state."""
    match line.state:
        case State.running if line.asset:
            return f"{line.asset} {line.detail}".rstrip()
        case State.failed if line.asset:
            return f"failed at {line.asset}"
        case _:
            return line.state


def draw_tally(board: Board, hidden: int) -> "Text":
    """A line with the number of months in each state, and the number of hidden months."""
    from rich.text import Text

    counts = ", ".join(f"{count} {state}" for state, count in board.tally().items() if count)
    return Text(f" {counts}" + (f" ({hidden} not shown)" if hidden else ""))
