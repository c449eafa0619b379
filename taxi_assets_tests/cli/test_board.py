"""The board follows what it is told, and shows the months that matter where not all have room."""

import io
import re

import pytest

from taxi_assets.cli import board as board_module
from taxi_assets.cli.board import Board, State, watch
from taxi_assets.news import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

ASSETS = ("raw_trips", "clean_trips")
MONTHS = [TripMonth("green", f"2020-{number:02d}") for number in range(1, 13)]


def _passes(month: TripMonth) -> list[ProgressEvent]:
    """What is told of a month that passes both assets."""
    return [
        ProgressEvent(month, Progress.started, run_id="run"),
        ProgressEvent(month, Progress.asset_started, "raw_trips"),
        ProgressEvent(month, Progress.asset_done, "raw_trips", rows=7_000),
        ProgressEvent(month, Progress.asset_started, "clean_trips"),
        ProgressEvent(month, Progress.asset_done, "clean_trips", rows=6_990),
        ProgressEvent(month, Progress.done, "clean_trips", seconds=1.5),
    ]


def test_a_month_goes_from_waiting_to_done() -> None:
    """A line has the state, rows and seconds of the last that was told of its month, and others stay as they were."""
    board = Board(MONTHS[:2], ASSETS)
    states = [board.hear(news).state for news in _passes(MONTHS[0])]
    assert states == [State.running] * 5 + [State.done]
    line = board.lines[MONTHS[0]]
    assert (line.rows, line.seconds, line.run_id) == ({"raw_trips": 7_000, "clean_trips": 6_990}, 1.5, "run")
    assert board.lines[MONTHS[1]].state is State.waiting
    assert not board.failed


def test_how_far_an_asset_is_ends_with_it() -> None:
    """The detail of an asset under way is gone when the next one starts."""
    board = Board(MONTHS[:1], ASSETS)
    started, raw, *rest = _passes(MONTHS[0])
    board.hear(started)
    board.hear(raw)
    assert (
        board.hear(ProgressEvent(MONTHS[0], Progress.progress, "raw_trips", detail="34 of 90 MB")).detail
        == "34 of 90 MB"
    )
    assert board.hear(rest[0]).detail == ""


def test_stopping_fails_what_is_under_way() -> None:
    """A month that was under way when work stopped counts as failed; one that had not started still waits."""
    board = Board(MONTHS[:2], ASSETS)
    board.hear(_passes(MONTHS[0])[0])
    board.stop()
    assert [line.state for line in board.lines.values()] == [State.failed, State.waiting]
    assert board.failed[0].error == "it was stopped"


def test_a_pipe_gets_a_line_for_each_month_that_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no bars: a numbered line a month, with rows and seconds, or where it failed."""
    board = Board(MONTHS[:2], ASSETS)
    with watch(board) as watcher:
        for news in _passes(MONTHS[0]):
            watcher.hear(news)
        watcher.hear(ProgressEvent(MONTHS[1], Progress.started))
        watcher.hear(ProgressEvent(MONTHS[1], Progress.progress, "raw_trips", detail="34 of 90 MB"))
        watcher.hear(ProgressEvent(MONTHS[1], Progress.asset_started, "raw_trips"))
        watcher.hear(ProgressEvent(MONTHS[1], Progress.failed, "raw_trips", seconds=0.25, error="gone"))
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] green 2020-01 done 7,000 rows 1.5 s",
        "[2/2] green 2020-02 failed at raw_trips 0.2 s",
    ]


def test_a_month_that_is_not_published_has_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A month that turns out not to be published ends in a state of its own, and is neither loaded nor failed."""
    board = Board(MONTHS[:2], ASSETS)
    with watch(board) as watcher:
        for news in _passes(MONTHS[0]):
            watcher.hear(news)
        watcher.hear(ProgressEvent(MONTHS[1], Progress.started))
        watcher.hear(ProgressEvent(MONTHS[1], Progress.asset_started, "raw_trips"))
        watcher.hear(ProgressEvent(MONTHS[1], Progress.not_published, seconds=0.25))
    assert capsys.readouterr().out.splitlines()[1:] == ["[2/2] green 2020-02 not published 0.2 s"]
    assert board.lines[MONTHS[1]].state is State.not_published
    assert (board.failed, board.loaded) == ([], [board.lines[MONTHS[0]]])
    board.stop()
    assert not board.failed


def test_a_pipe_hears_of_what_takes_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A setback is told at once; how far a month is only after it said nothing for a while."""
    clock = 0.0
    monkeypatch.setattr(board_module, "monotonic", lambda: clock)
    board = Board(MONTHS[:1], ASSETS)
    with watch(board) as watcher:
        watcher.hear(ProgressEvent(MONTHS[0], Progress.started))
        watcher.hear(ProgressEvent(MONTHS[0], Progress.setback, "raw_trips", detail="try 2 of 5 in 2 s"))
        watcher.hear(
            ProgressEvent(MONTHS[0], Progress.pause, "raw_trips", detail="will be tried again in 9 s (1 of 2): gone")
        )
        for clock in (5.0, 10.0, 31.0, 36.0):  # read by the lambda above
            watcher.hear(ProgressEvent(MONTHS[0], Progress.progress, "raw_trips", detail=f"{clock:.0f} of 90 MB"))
    assert capsys.readouterr().out.splitlines() == [
        "green 2020-01 raw_trips try 2 of 5 in 2 s",
        "green 2020-01 raw_trips will be tried again in 9 s (1 of 2): gone",
        "green 2020-01 raw_trips 31 of 90 MB",
    ]


class _Terminal(io.StringIO):
    """A terminal that keeps what is drawn."""

    def isatty(self) -> bool:
        return True


def test_a_small_terminal_shows_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where twelve months do not fit, the running and the failed one are shown, and how many are not."""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    board = Board(MONTHS, ASSETS)
    with watch(board) as watcher:
        for month in MONTHS[:3]:
            for news in _passes(month):
                watcher.hear(news)
        watcher.hear(ProgressEvent(MONTHS[3], Progress.not_published))
        watcher.hear(ProgressEvent(MONTHS[10], Progress.started))
        watcher.hear(ProgressEvent(MONTHS[10], Progress.failed, "raw_trips", error="gone"))
        watcher.hear(ProgressEvent(MONTHS[11], Progress.started))
        watcher.hear(ProgressEvent(MONTHS[11], Progress.asset_started, "clean_trips"))
        watcher.hear(ProgressEvent(MONTHS[11], Progress.progress, "clean_trips", detail="34 of 90 MB"))
    drawn = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue()).rpartition("month")[2]
    assert "clean_trips 34 of 90 MB" in drawn
    assert "failed at raw_trips" in drawn
    assert "green 2020-01" not in drawn
    assert "green 2020-04" not in drawn
    shown = 12 - board_module.CHROME_LINES
    assert f"6 waiting, 1 running, 3 done, 1 not published, 1 failed ({12 - shown} not shown)" in drawn
