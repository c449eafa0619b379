"""The summary of `taxi materialize`: it is short, fits a narrow terminal, and ends with the commands to run."""

import io

import pytest

from taxi_assets.cli.board import Board
from taxi_assets.cli.tables import print_summary
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

ASSETS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
MONTHS = [TripMonth("yellow", f"2020-{number:02d}") for number in range(1, 13)]
LONG = "what happened, what was expected and what to do " * 4


def _board(done: int, failed: int) -> Board:
    """A board whose first months are done, and the next failed."""
    board = Board(MONTHS[: done + failed], ASSETS)
    for month in MONTHS[:done]:
        for asset in ASSETS:
            board.update(ProgressEvent(month, Progress.asset_done, asset, rows=1_369_765))
        board.update(ProgressEvent(month, Progress.done, seconds=12.34))
    for month in MONTHS[done : done + failed]:
        board.update(ProgressEvent(month, Progress.failed, "lake_trips", error=LONG, trace="Stack Trace:\n  File"))
    return board


def test_a_summary_ends_with_the_commands_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the table are the errors, the number of months, and the commands that load the failed months again."""
    again = "taxi materialize --color yellow --months 2020-03..2020-05 --select lake_trips+"
    print_summary(_board(done=2, failed=3), [again])
    printed = capsys.readouterr().out
    assert printed.count(f"  {LONG.strip()}\n") == 3
    assert "5 months: 2 done, 3 failed, in " in printed
    assert printed.splitlines()[-1] == f"  {again}"
    assert "Stack Trace" not in printed
    print_summary(_board(done=2, failed=0), [again])
    assert again not in capsys.readouterr().out


def test_a_month_that_is_not_published_has_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A month that is not published is counted as such, without an error or a command."""
    board = _board(done=2, failed=0)
    board.lines.update(Board(MONTHS[2:3], ASSETS).lines)
    board.update(ProgressEvent(MONTHS[2], Progress.not_published, "raw_trips", seconds=0.5))
    print_summary(board, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("3 months: 2 done, 1 not published, in ")
    assert [line.split() for line in lines if "2020-03" in line] == [["yellow", "2020-03", "not", "published", "0.5"]]


def test_tracebacks_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """With `traces`, each failure has its whole traceback."""
    print_summary(_board(done=0, failed=2), ["taxi materialize ..."], traces=True)
    assert capsys.readouterr().out.count("Stack Trace:\n  File") == 2


def test_an_error_of_all_months_does_not_fill_screens(capsys: pytest.CaptureFixture[str]) -> None:
    """Of 12 failures, the first 10 are shown, followed by the number of the others."""
    print_summary(_board(done=0, failed=12), ["taxi materialize ..."])
    printed = capsys.readouterr().out
    assert printed.count("failed at lake_trips") == 10
    assert "and 2 more failed" in printed


class _Terminal(io.StringIO):
    """A terminal that keeps its output."""

    def isatty(self) -> bool:
        return True


def test_a_summary_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of rows in five assets are one line for each month. Long errors are wrapped and indented."""
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
