"""The summary of a `taxi materialize` is short, fits a narrow screen and ends with what to do."""

import io

import pytest

from taxi_assets.cli.board import Board
from taxi_assets.cli.tables import print_summary
from taxi_assets.news import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

ASSETS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
MONTHS = [TripMonth("yellow", f"2020-{number:02d}") for number in range(1, 13)]
LONG = "what was seen, what was expected and what to do " * 4


def _board(done: int, failed: int) -> Board:
    """A board whose first months are done, and the next failed."""
    board = Board(MONTHS[: done + failed], ASSETS)
    for month in MONTHS[:done]:
        for asset in ASSETS:
            board.hear(ProgressEvent(month, Progress.asset_done, asset, rows=1_369_765))
        board.hear(ProgressEvent(month, Progress.done, seconds=12.34))
    for month in MONTHS[done : done + failed]:
        board.hear(ProgressEvent(month, Progress.failed, "lake_trips", error=LONG, trace="Stack Trace:\n  File"))
    return board


def test_a_summary_ends_with_what_to_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    """After the table come the reasons, the count, and the commands that run again what failed."""
    again = "taxi materialize --color yellow --months 2020-03..2020-05 --select lake_trips+"
    print_summary(_board(done=2, failed=3), [again])
    said = capsys.readouterr().out
    assert said.count(f"  {LONG.strip()}\n") == 3
    assert "5 months: 2 done, 3 failed, in " in said
    assert said.splitlines()[-2:] == ["Run again what failed:", f"  {again}"]
    assert "Stack Trace" not in said
    print_summary(_board(done=2, failed=0), [again])
    assert "again" not in capsys.readouterr().out


def test_a_month_that_is_not_published_is_not_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A month that turned out not to be published is counted as that, without a reason or a command."""
    board = _board(done=2, failed=0)
    board.lines.update(Board(MONTHS[2:3], ASSETS).lines)
    board.hear(ProgressEvent(MONTHS[2], Progress.not_published, "raw_trips", seconds=0.5))
    print_summary(board, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("3 months: 2 done, 1 not published, in ")
    assert [line.split() for line in lines if "2020-03" in line] == [["yellow", "2020-03", "not", "published", "0.5"]]


def test_a_stack_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """With traces, each failure has its whole stack."""
    print_summary(_board(done=0, failed=2), ["taxi materialize ..."], traces=True)
    assert capsys.readouterr().out.count("Stack Trace:\n  File") == 2


def test_a_fault_of_all_months_does_not_fill_screens(capsys: pytest.CaptureFixture[str]) -> None:
    """Of many failures the first are told in full, and how many are not."""
    print_summary(_board(done=0, failed=12), ["taxi materialize ..."])
    said = capsys.readouterr().out
    assert said.count("failed at lake_trips") == 10
    assert "and 2 more failed" in said


class _Terminal(io.StringIO):
    """A terminal that keeps what is drawn."""

    def isatty(self) -> bool:
        return True


def test_eighty_columns_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of rows at five assets stay on one line each, and long reasons are wrapped under their month."""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    for name, value in {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    print_summary(_board(done=2, failed=1), ["taxi materialize ..."])
    lines = terminal.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert sum(line.count("1,369,765") == 5 and line.startswith("yellow 2020-0") for line in lines) == 2
    at = lines.index("yellow 2020-03 failed at lake_trips:")
    assert all(line.startswith("  ") for line in lines[at + 1 : at + 4])
    assert "".join(lines[at + 1 : at + 4]).split() == LONG.split()
