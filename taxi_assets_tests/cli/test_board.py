"""The board follows the progress events of months, and shows the most important months if there is little room."""

import io
import re

import pytest

from taxi_assets.cli import board as board_module
from taxi_assets.cli.board import Board, State, watch
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

ASSETS = ("raw_trips", "clean_trips")
MONTHS = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 13)]


def _events(month: TripMonth) -> list[ProgressEvent]:
    """The events of a month whose two assets are materialized."""
    return [
        ProgressEvent(month, Progress.started, run_id="run"),
        ProgressEvent(month, Progress.asset_started, "raw_trips"),
        ProgressEvent(month, Progress.asset_done, "raw_trips", rows=7_000),
        ProgressEvent(month, Progress.asset_started, "clean_trips"),
        ProgressEvent(month, Progress.asset_done, "clean_trips", rows=6_990),
        ProgressEvent(month, Progress.done, "clean_trips", seconds=1.5),
    ]


def test_a_month_changes_from_queued_to_done() -> None:
    """A line has the state, rows and seconds of its month's events. Other lines do not change."""
    board = Board(MONTHS[:2], ASSETS)
    states = [board.update(event).state for event in _events(MONTHS[0])]
    assert states == [State.running] * 5 + [State.done]
    line = board.lines[MONTHS[0]]
    assert (line.rows, line.seconds, line.run_id) == ({"raw_trips": 7_000, "clean_trips": 6_990}, 1.5, "run")
    assert board.lines[MONTHS[1]].state is State.queued
    assert not board.failed


def test_a_detail_ends_with_its_step() -> None:
    """The progress of a step is not shown for the next step."""
    board = Board(MONTHS[:1], ASSETS)
    first, *rest = _events(MONTHS[0])
    board.update(first)
    progress = ProgressEvent(MONTHS[0], Progress.progress, "raw_trips", detail="34 of 90 MB")
    assert board.update(progress).detail == "34 of 90 MB"
    assert board.update(rest[0]).detail == ""


def test_stopping_fails_running_months() -> None:
    """When the command is stopped, a running month counts as failed, and a queued month stays queued."""
    board = Board(MONTHS[:2], ASSETS)
    board.update(_events(MONTHS[0])[0])
    board.stop()
    assert [line.state for line in board.lines.values()] == [State.failed, State.queued]
    assert "stopped" in board.failed[0].error


def test_a_pipe_shows_a_line_for_each_finished_month(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no bars: each month is a numbered line with its rows and seconds, or its failure."""
    board = Board(MONTHS[:2], ASSETS)
    with watch(board) as watcher:
        for event in _events(MONTHS[0]):
            watcher.update(event)
        watcher.update(ProgressEvent(MONTHS[1], Progress.started))
        watcher.update(ProgressEvent(MONTHS[1], Progress.progress, "raw_trips", detail="34 of 90 MB"))
        watcher.update(ProgressEvent(MONTHS[1], Progress.asset_started, "raw_trips"))
        watcher.update(ProgressEvent(MONTHS[1], Progress.failed, "raw_trips", seconds=0.25, error="gone"))
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] green 2020-01 done 7,000 rows 1.5 s",
        "[2/2] green 2020-02 failed at raw_trips 0.2 s",
    ]


def test_a_month_that_is_not_published_has_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A month that is not published has a state of its own, and counts neither as loaded nor as failed."""
    board = Board(MONTHS[:2], ASSETS)
    with watch(board) as watcher:
        for event in _events(MONTHS[0]):
            watcher.update(event)
        watcher.update(ProgressEvent(MONTHS[1], Progress.started))
        watcher.update(ProgressEvent(MONTHS[1], Progress.asset_started, "raw_trips"))
        watcher.update(ProgressEvent(MONTHS[1], Progress.not_published, seconds=0.25))
    assert capsys.readouterr().out.splitlines()[1:] == ["[2/2] green 2020-02 not published 0.2 s"]
    assert board.lines[MONTHS[1]].state is State.not_published
    assert (board.failed, board.loaded) == ([], [board.lines[MONTHS[0]]])
    board.stop()
    assert not board.failed


def test_a_pipe_shows_progress_of_a_long_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry is shown immediately. Progress is shown only if there was no line for half a minute."""
    clock = 0.0
    monkeypatch.setattr(board_module, "monotonic", lambda: clock)
    board = Board(MONTHS[:1], ASSETS)
    failed, scheduled = "attempt 2 of 5 in 2 s", "retry 1 of 2 in 9 s: gone"
    with watch(board) as watcher:
        watcher.update(ProgressEvent(MONTHS[0], Progress.started))
        watcher.update(ProgressEvent(MONTHS[0], Progress.attempt_failed, "raw_trips", detail=failed))
        watcher.update(ProgressEvent(MONTHS[0], Progress.retry_scheduled, "raw_trips", detail=scheduled))
        for clock in (5.0, 10.0, 31.0, 36.0):  # the lambda above reads it
            watcher.update(ProgressEvent(MONTHS[0], Progress.progress, "raw_trips", detail=f"{clock:.0f} of 90 MB"))
    assert capsys.readouterr().out.splitlines() == [
        f"green 2020-01 raw_trips {failed}",
        f"green 2020-01 raw_trips {scheduled}",
        "green 2020-01 raw_trips 31 of 90 MB",
    ]


class _Terminal(io.StringIO):
    """A terminal that keeps its output."""

    def isatty(self) -> bool:
        return True


def test_a_small_terminal_shows_the_most_important_months(monkeypatch: pytest.MonkeyPatch) -> None:
    """If twelve months do not fit, the running and the failed one are shown, with the number of hidden months."""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    board = Board(MONTHS, ASSETS)
    with watch(board) as watcher:
        for month in MONTHS[:3]:
            for event in _events(month):
                watcher.update(event)
        watcher.update(ProgressEvent(MONTHS[3], Progress.not_published))
        watcher.update(ProgressEvent(MONTHS[10], Progress.started))
        watcher.update(ProgressEvent(MONTHS[10], Progress.failed, "raw_trips", error="gone"))
        watcher.update(ProgressEvent(MONTHS[11], Progress.started))
        watcher.update(ProgressEvent(MONTHS[11], Progress.asset_started, "clean_trips"))
        watcher.update(ProgressEvent(MONTHS[11], Progress.progress, "clean_trips", detail="34 of 90 MB"))
    drawn = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue()).rpartition("month")[2]
    assert "clean_trips 34 of 90 MB" in drawn
    assert "failed at raw_trips" in drawn
    assert "green 2020-01" not in drawn
    assert "green 2020-04" not in drawn
    shown = 12 - board_module.CHROME_LINES
    assert f"6 queued, 1 running, 3 done, 1 not published, 1 failed ({12 - shown} not shown)" in drawn
