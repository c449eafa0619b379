"""Query results as tables, CSV and JSON, and the summary of `taxi materialize`, which fits a narrow terminal."""

import csv
import datetime as dt
import io
import json
from decimal import Decimal

import pytest

from taxi_assets.cli.board import Board
from taxi_assets.cli.tables import print_csv, print_json, print_result, print_summary
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.stores.query_result import QueryResult
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


CONTROL = {
    "color": "\x1b[31mred\x1b[0m",
    "title of the window": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://example.org\x1b\\\\text\x1b]8;;\x1b\\\\",
    "cursor": "\x1b[2J\x1b[H",
    "C1": "\x9b31mred",
    "backspaces": "safe\b\b\b\bevil",
    "carriage return": "safe\revil",
    "null": "a\0b",
    "delete": "a\x7fb",
    "right to left": "a\u202egpj.exe",
}
"""Values that would change what a terminal shows."""


@pytest.mark.parametrize("value", CONTROL.values(), ids=list(CONTROL))
def test_control_characters_in_a_table(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table shows values and column names without control characters. The other characters stay."""
    print_result(QueryResult([value, "next"], [(value, 1), ([value], {"x": value})]))
    printed = capsys.readouterr().out
    assert [letter for letter in printed if letter != "\n" and not letter.isprintable()] == []
    readable = "".join(letter if letter.isprintable() else "\0" for letter in value).split("\0")
    assert [text for text in readable if text not in printed] == []


@pytest.mark.parametrize("value", CONTROL.values(), ids=list(CONTROL))
def test_control_characters_in_csv_and_json(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV contains the characters of the values as they are, and JSON their escapes: programs read the same values."""
    result = QueryResult(["a", value], [(value, "last"), (1, None)])
    print_csv(result)
    printed = capsys.readouterr().out
    assert value in printed
    assert list(csv.reader(io.StringIO(printed, newline=""))) == [["a", value], [value, "last"], ["1", ""]]
    print_json(result)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert [letter for letter in printed if letter != "\n" and not letter.isprintable()] == []
    assert json.loads(printed) == [{"a": value, value: "last"}, {"a": 1, value: None}]


@pytest.mark.parametrize(
    "value", ["", "plain", "a,b", 'say "hi"', "two\nlines", "tab\there", " spaces ", "\u00fc\u20ac\U0001f695"]
)
def test_values_in_csv(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the values that the query returned from the CSV. Its lines end with a line feed."""
    print_csv(QueryResult(["a", "b"], [(value, 1)]))
    printed = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(printed, newline=""))) == [["a", "b"], [value, "1"]]
    assert "\r" not in printed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (0.5, 0.5),
        (None, None),
        (True, True),
        ("\u00fc", "\u00fc"),
        (dt.date(2020, 3, 1), "2020-03-01"),
        (Decimal("1.50"), "1.50"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ([1, None], [1, None]),
    ],
)
def test_values_in_json(value: object, expected: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Values keep their JSON type. Those without one become strings, so that every JSON parser accepts the output."""
    print_json(QueryResult(["a"], [(value,)]))

    def reject(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(capsys.readouterr().out, parse_constant=reject) == [{"a": expected}]


def test_markup_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in values and column names are text, not styles."""
    print_result(QueryResult(["[bold]x[/]"], [("[red]stop[/red]",), ("[/]",)]))
    printed = capsys.readouterr().out
    for text in ("[bold]x[/]", "[red]stop[/red]", "[/]"):
        assert text in printed
