"""The summary of `taxi materialize` shows each cause of failures once, and fits a narrow terminal."""

import pytest
from rich.cells import cell_len

from taxi_assets.cli.board import Board
from taxi_assets.cli.tables import print_summary
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.cli.conftest import Terminal

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
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("yellow 2020-03..2020-05 failed at lake_trips:")
    assert lines[at + 1] == f"  {LONG.strip()}"
    assert lines[at + 2].startswith("5 months: 2 done, 3 failed, in ")
    assert lines[-1] == f"  {again}"
    assert "Stack Trace" not in "".join(lines)
    print_summary(_board(done=2, failed=0), [again])
    assert again not in capsys.readouterr().out


def test_months_that_are_not_published_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Months that are not published are one line after the errors, and not in the table."""
    board = _board(done=2, failed=1)
    for month in MONTHS[4:7]:
        board.lines.update(Board([month], ASSETS).lines)
        board.update(ProgressEvent(month, Progress.not_published, "raw_trips", seconds=0.5))
    print_summary(board, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("6 months: 2 done, 3 not published, 1 failed, in ")
    assert [line for line in lines if "not published" in line][:-1] == ["not published: yellow 2020-05..2020-07"]
    assert lines.index("yellow 2020-03 failed at lake_trips:") < len(lines) - 2


def test_a_summary_of_months_that_are_not_published_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """If no month is published, the summary is the line of these months and their number."""
    board = Board(MONTHS[:1], ASSETS)
    board.update(ProgressEvent(MONTHS[0], Progress.not_published, "raw_trips"))
    print_summary(board, [])
    first, last = capsys.readouterr().out.splitlines()
    assert first == "not published: yellow 2020-01"
    assert last.startswith("1 month: 1 not published")


def test_tracebacks_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """With `traces`, each cause has a whole traceback."""
    print_summary(_board(done=0, failed=2), ["taxi materialize ..."], traces=True)
    assert capsys.readouterr().out.count("Stack Trace:\n  File") == 1


def test_many_causes_do_not_fill_screens(capsys: pytest.CaptureFixture[str]) -> None:
    """Of 12 causes, the first 10 are shown, followed by the number of the other months."""
    board = Board(MONTHS, ASSETS)
    for number, month in enumerate(MONTHS):
        board.update(ProgressEvent(month, Progress.failed, "lake_trips", error=f"cause {chr(97 + number)}"))
    print_summary(board, ["taxi materialize ..."])
    printed = capsys.readouterr().out
    assert printed.count("failed at lake_trips") == 10
    assert "and 2 more failed. To see all errors: taxi status --verbose" in printed


def test_many_months_are_added_up_by_color(capsys: pytest.CaptureFixture[str]) -> None:
    """More than 24 months are a column for each color, with the number of loaded months and their rows."""
    months = [TripMonth(color, f"2020-{number:02d}") for color in COLORS for number in range(1, 13)]
    board = Board(months, ASSETS)
    for month in months[:20]:
        for asset in ASSETS[:-1]:
            board.update(ProgressEvent(month, Progress.asset_done, asset, rows=1_000_000))
        board.update(ProgressEvent(month, Progress.done, seconds=12.5))
    print_summary(board, [])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == [*COLORS]
    assert lines[2:] == [
        ["months", "done", "12", "of", "12", "8", "of", "12", *["0", "of", "12"] * (len(COLORS) - 2)],
        *([asset.removesuffix("_trips"), "12,000,000", "8,000,000"] for asset in ASSETS[:-1]),
        ["postgres"],
        ["seconds", "150.0", "100.0"],
        lines[-1],
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("rows", [7, 14_863_778, 1_000_000_000])
def test_a_summary_fits_the_terminal(width: int, rows: int, terminal: Terminal) -> None:
    """Each month is one line with the rows of as many assets as fit, and of the first asset at least."""
    board = _board(done=2, failed=1)
    for month in MONTHS[:2]:
        for asset in ASSETS:
            board.update(ProgressEvent(month, Progress.asset_done, asset, rows=rows))
        board.update(ProgressEvent(month, Progress.done, seconds=1234.5))
    screen = terminal(width, 24)
    print_summary(board, ["taxi materialize ..."])
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= width
    shown = [line.split() for line in lines if line.startswith("yellow 2020-0") and "done" in line]
    assert [line[:3] for line in shown] == [["yellow", "2020-01", "done"], ["yellow", "2020-02", "done"]]
    assert all(set(line[3:-1]) == {f"{rows:,}"} for line in shown)
    assert (len(shown[0]) == 9) == (width >= 100 or (rows == 7 and width >= 80))


def test_a_summary_fits_eighty_columns(terminal: Terminal) -> None:
    """Millions of rows in five assets are one line for each month. Long errors are wrapped and indented."""
    screen = terminal(80, 24)
    print_summary(_board(done=2, failed=1), ["taxi materialize ..."])
    lines = screen.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert sum(line.count("1,369,765") == 5 and line.startswith("yellow 2020-0") for line in lines) == 2
    at = lines.index("yellow 2020-03 failed at lake_trips:")
    assert all(line.startswith("  ") for line in lines[at + 1 : at + 4])
    assert "".join(lines[at + 1 : at + 4]).split() == LONG.split()
