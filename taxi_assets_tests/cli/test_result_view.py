"""Query results as tables that fit a terminal, as records, as plain tables in a pipe, as CSV, and as JSON."""

import csv
import datetime as dt
import io
import json
from decimal import Decimal

import pytest
from rich.cells import cell_len

from taxi_assets.cli.result_view import print_csv, print_json, print_result
from taxi_assets.stores.query_result import QueryResult
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets_tests.cli.conftest import Terminal

WIDTHS = [60, 80, 100, 140]

COLUMNS = [column.name for column in LAYOUTS["green"].table_columns]


def _show(terminal: Terminal, result: QueryResult, width: int = 80, height: int = 24, **options: bool) -> list[str]:
    """Print a result on a terminal, and return the lines without spaces at their ends. No line may be too long."""
    screen = terminal(width, height)
    print_result(result, 0.0213, **options)
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= width
    return lines


def _trips(rows: int) -> QueryResult:
    """Rows with the columns of the table of green trips."""
    return QueryResult(COLUMNS, [tuple(range(row, row + len(COLUMNS))) for row in range(rows)])


def test_values_on_a_terminal(terminal: Terminal) -> None:
    """Numbers are aligned at their decimal points, with thousands separators. Nulls differ from empty strings."""
    rows = [
        (
            dt.date(2020, 3, 1),
            223_406,
            16.7129,
            Decimal("1234567.50"),
            None,
            True,
            dt.datetime.fromisoformat("2020-03-01 00:10"),
        ),
        (dt.date(2020, 4, 1), 612, 1234.5, None, "", False, None),
    ]
    lines = _show(terminal, QueryResult(["day", "trips", "miles", "dollars", "flag", "big", "first"], rows), width=100)
    assert lines == [
        "day            trips        miles        dollars   flag   big     first",
        lines[1],
        "2020-03-01   223,406      16.7129   1,234,567.50   NULL   true    2020-03-01 00:10:00",
        "2020-04-01       612   1,234.5              NULL          false   NULL",
        "2 rows in 0.02 s",
    ]
    assert set(lines[1]) == {"\u2500"}


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("trips", [1234, 5], ["1,234", "5"]),
        ("trips", [-1234567], ["-1,234,567"]),
        ("trips", [2020, 57_360], ["2,020", "57,360"]),
        ("y", [2019, 2020, None], ["2019", "2020", "NULL"]),
        ("extract", [Decimal(2020)], ["2020"]),
        ("f0_", [202003, 202112], ["202003", "202112"]),
        ("trips", [202003, 202113], ["202,003", "202,113"]),
        ("VendorID", [123456], ["123456"]),
        ("base_id", [123456], ["123456"]),
        ("id", [123456], ["123456"]),
        ("paid", [123456], ["123,456"]),
        ("x", [float("nan"), float("inf"), 1e300], ["nan", "inf", "1e+300"]),
        ("dollars", [0.1 + 0.2, 43_984.639999998486], ["0.3", "43,984.64"]),
        ("miles", [1.1921507150715052, -0.5], ["1.192150715", "-0.5"]),
        ("dollars", [123_456_789_012.345], ["123,456,789,012.35"]),
        ("x", [0.0, 1.23456789012345e-07], ["0.0", "1.23456789012345e-07"]),
        ("x", [Decimal("1.1921507150715052")], ["1.1921507150715052"]),
        ("x", [True], ["true"]),
        ("x", [Decimal("NaN")], ["NaN"]),
    ],
)
def test_numbers_on_a_terminal(name: str, values: list[object], shown: list[str], terminal: Terminal) -> None:
    """Numbers have thousands separators, except IDs and what can only be years, or years and months."""
    lines = _show(terminal, QueryResult([name], [(value,) for value in values]))
    assert [line.strip() for line in lines[2:-1]] == shown


@pytest.mark.parametrize("width", WIDTHS)
def test_columns_that_do_not_fit_are_left_out(width: int, terminal: Terminal) -> None:
    """The first columns are shown, each row on one line. The last line says how many, and how to see all of them."""
    result = _trips(30)
    lines = _show(terminal, result, width)
    *names, more = lines[0].split()
    assert names == COLUMNS[: len(names)]
    assert more == "\u2026"
    assert [line.split() for line in lines[2:32]] == [
        [*map(str, range(row, row + len(names))), "\u2026"] for row in range(30)
    ]
    assert lines[32] == "30 rows in 0.02 s"
    said = " ".join(lines[33:])
    assert said.startswith(f"{len(names)} of {len(COLUMNS)} columns fit.")
    assert "--vertical" in said
    assert "--csv" in said


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_are_shown_vertically(rows: int, width: int, terminal: Terminal) -> None:
    """If all values of a wide result fit on the screen on lines of their own, they are shown like this."""
    result = _trips(rows)
    lines = _show(terminal, result, width, height=60)
    assert len(lines) == rows * (len(COLUMNS) + 1) + 1
    assert lines[0].startswith("row 1 ")
    shown = [line.split() for line in lines[1 : len(COLUMNS) + 1]]
    assert shown == [[name, str(at)] for at, name in enumerate(COLUMNS)]
    assert lines[-1] == f"{rows} row{'s' * (rows > 1)} in 0.02 s"


def test_a_single_row_is_never_cut(terminal: Terminal) -> None:
    """A wide row is shown vertically even on a small screen, and a long value takes several lines."""
    lines = _show(terminal, QueryResult(["short", "long"], [(1, "word " * 100)]), width=40, height=3)
    assert lines[1] == "short   1"
    assert " ".join(lines[2:-1]).split() == ["long", *["word"] * 100]
    assert all(line.startswith(" " * 8) for line in lines[3:-1])


def test_vertical(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    """With `vertical`, each value has a line, on a terminal and in a pipe."""
    result = QueryResult(["a", "longer"], [(1, None), (2, "x")])
    print_result(result, vertical=True)
    assert [line.split() for line in capsys.readouterr().out.splitlines() if not line.startswith("row ")] == [
        ["a", "1"],
        ["longer", "NULL"],
        ["a", "2"],
        ["longer", "x"],
    ]
    lines = _show(terminal, result, vertical=True)
    assert [line for line in lines if not line.startswith("row ")] == [
        "a        1",
        "longer   NULL",
        "a        2",
        "longer   x",
        "2 rows in 0.02 s",
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("text", ["x" * 500, "\u8a08\u7a0b\u8eca" * 100, "a\tb " * 100])
def test_long_texts_are_cut(text: str, width: int, terminal: Terminal) -> None:
    """A long text of one of many rows is cut, so that the row is one line, and the numbers beside it stay whole."""
    lines = _show(terminal, QueryResult(["n", "text", "m"], [(1_234_567, text, row) for row in range(40)]), width)
    rows = lines[2:42]
    assert all(line.startswith("1,234,567   ") and line.endswith(f" {at}") for at, line in enumerate(rows))
    assert all("\u2026" in line for line in rows)
    assert lines[42] == "40 rows in 0.02 s"
    assert " ".join(lines[43:]) == "Long values are cut. To see all of them: --vertical or --csv."


@pytest.mark.parametrize("width", WIDTHS)
def test_wide_characters_are_aligned(width: int, terminal: Terminal) -> None:
    """The next column starts at the same place after characters that take two places."""
    lines = _show(terminal, QueryResult(["name", "n"], [("\u8a08\u7a0b\u8eca", "|"), ("taxi", "|")]), width)
    assert {cell_len(line.partition("|")[0]) for line in lines[2:4]} == {9}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("vertical", [False, True])
def test_markup_on_a_terminal(width: int, vertical: bool, terminal: Terminal) -> None:  # noqa: FBT001
    """Square brackets in values and column names are text, not styles."""
    printed = "\n".join(
        _show(terminal, QueryResult(["[bold]x[/]"], [("[red]stop",), ("[/]",)]), width, vertical=vertical)
    )
    for text in ("[bold]x[/]", "[red]stop", "[/]"):
        assert text in printed


def test_several_lines_in_a_value(terminal: Terminal) -> None:
    """A value with several lines, such as a query plan, keeps them."""
    lines = _show(terminal, QueryResult(["key", "plan"], [("p", "SCAN\n  rows"), ("q", "x")]))
    assert lines[2:5] == ["p     SCAN", "        rows", "q     x"]


def test_rows_beyond_the_limit(terminal: Terminal) -> None:
    """If the query had a limit, the last line has the number of all rows, and how to get them."""
    lines = _show(terminal, QueryResult(["x"], [("a",), ("b",)], total=1_369_765))
    assert lines[-1] == "The first 2 of 1,369,765 rows in 0.02 s. For all: --csv, --json, --parquet."


def test_no_rows(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows, the column names are shown, and on a terminal the number of rows."""
    print_result(QueryResult(["x", "y"], []))
    assert capsys.readouterr().out.splitlines()[0].split() == ["x", "y"]
    lines = _show(terminal, QueryResult(["x", "y"], []))
    assert lines[0].split() == ["x", "y"]
    assert lines[-1] == "0 rows in 0.02 s"
    assert _show(terminal, _trips(0))[-1].startswith("0 rows in 0.02 s") is False


@pytest.mark.parametrize("vertical", [False, True])
def test_no_columns(vertical: bool, terminal: Terminal) -> None:  # noqa: FBT001
    """A result without columns is only the number of rows."""
    assert _show(terminal, QueryResult([], []), vertical=vertical) == ["0 rows in 0.02 s"]


def test_colors_on_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal with colors, nulls are dim, unlike the text NULL."""
    screen = terminal(80, 24)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_result(QueryResult(["x"], [(None,), ("NULL",)]))
    lines = screen.getvalue().splitlines()
    assert ["\x1b[2m" in line for line in lines if "NULL" in line] == [True, False]


def test_a_pipe_has_the_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe, each row is a line however long, without separators and without a last line."""
    print_result(QueryResult(["n", "text", "none"], [(1_234_567, "x" * 500, None)]), 1.0)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:] == [f"1234567   {'x' * 500}"]


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
    print_csv([result])
    printed = capsys.readouterr().out
    assert value in printed
    assert list(csv.reader(io.StringIO(printed, newline=""))) == [["a", value], [value, "last"], ["1", ""]]
    print_json([result])
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert [letter for letter in printed if letter != "\n" and not letter.isprintable()] == []
    assert list(map(json.loads, printed.splitlines())) == [{"a": value, value: "last"}, {"a": 1, value: None}]


@pytest.mark.parametrize(
    "value", ["", "plain", "a,b", 'say "hi"', "two\nlines", "tab\there", " spaces ", "\u00fc\u20ac\U0001f695"]
)
def test_values_in_csv(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the values that the query returned from the CSV. Its lines end with a line feed."""
    print_csv([QueryResult(["a", "b"], [(value, 1)])])
    printed = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(printed, newline=""))) == [["a", "b"], [value, "1"]]
    assert "\r" not in printed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (0.5, Decimal("0.5")),
        (None, None),
        (True, True),
        ("\u00fc", "\u00fc"),
        (dt.date(2020, 3, 1), "2020-03-01"),
        (dt.datetime.fromisoformat("2020-03-01T12:30"), "2020-03-01T12:30:00"),
        (dt.datetime(2020, 3, 1, tzinfo=dt.UTC), "2020-03-01T00:00:00+00:00"),
        (Decimal("12345678901234567890.50"), Decimal("12345678901234567890.50")),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("NaN"), "NaN"),
        (b"\x00hi", "\\x006869"),
        (memoryview(b"\xff"), "\\xff"),
        ([1, {"x": Decimal("1.0")}], [1, {"x": Decimal("1.0")}]),
    ],
)
def test_values_in_json(value: object, expected: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Values keep their JSON type. Those without one become strings, so that every JSON parser accepts the output."""
    print_json([QueryResult(["a"], []), QueryResult(["a"], [(value,)])])

    def reject(constant: str) -> None:
        raise AssertionError(constant)

    printed = capsys.readouterr().out
    assert printed.endswith("\n")
    assert json.loads(printed, parse_constant=reject, parse_float=Decimal) == {"a": expected}


def test_markup_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in values and column names are text, not styles."""
    print_result(QueryResult(["[bold]x[/]"], [("[red]stop[/red]",), ("[/]",)]))
    printed = capsys.readouterr().out
    for text in ("[bold]x[/]", "[red]stop[/red]", "[/]"):
        assert text in printed
