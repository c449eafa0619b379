"""The display of a query result: a table or records on a terminal, a plain table in a pipe, CSV, or JSON."""

import csv
import datetime as dt
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from taxi_assets.cli.tables import open_console, plain_table
from taxi_assets.errors import printable
from taxi_assets.stores.files.query_file import require_unique
from taxi_assets.stores.query_result import QueryResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

ROWS_ON_A_TERMINAL = 1_000
"""Maximum number of rows to show on a terminal, because a month has millions."""


def print_result(result: QueryResult, seconds: float = 0.0, *, vertical: bool = False) -> None:
    """Print a query result.

    On a terminal, it is a table that fits its width, or with `vertical` a line for each value, and then a line with the
    number of rows and `seconds`, the duration of the query. A result that is wider than the terminal is shown
    vertically if all of it fits on the screen. Otherwise, long values are cut, and the last columns are left out, as
    the line below the table says. In a pipe, there is a line for each row, with the values as they are and nulls empty.
    """
    console = open_console()
    if not sys.stdout.isatty() and not vertical:
        _print_plain(console, result)
        return
    columns = [_column(name, [row[number] for row in result.rows]) for number, name in enumerate(result.columns)]
    widths = _fit(columns, console.width)
    is_whole = widths == [column.width for column in columns]
    if vertical or (not is_whole and _fits_vertically(result, console.height)):
        _print_records(console, columns, len(result.rows))
        widths = [column.width for column in columns]
    elif columns:
        _print_table(console, columns, widths)
    if sys.stdout.isatty():
        for line in _footer(result, columns, widths, seconds):
            console.print(line, style="dim", markup=False)


def _print_plain(console: "Console", result: QueryResult) -> None:
    from rich.text import Text

    table = plain_table()
    for number, name in enumerate(result.columns):
        numeric = all(isinstance(row[number], (int, float)) or row[number] is None for row in result.rows)
        table.add_column(Text(printable(name)), justify="right" if numeric else "left", overflow="fold")
    for row in result.rows:
        # Wrap values in Text, because rich interprets plain strings as markup.
        table.add_row(*(Text("" if value is None else printable(_text(value))) for value in row))
    console.print(table)


@dataclass(frozen=True)
class _Column:
    """A column of a result as text. `width` is that of its longest line, in characters of a terminal."""

    name: str
    cells: "Sequence[Text]"
    is_number: bool
    width: int


def _column(name: str, values: Sequence[object]) -> _Column:
    from rich.cells import cell_len
    from rich.text import Text

    known = [value for value in values if value is not None]
    is_number = bool(known) and all(_is_number(value) for value in known)
    texts = iter(_format_numbers(name, known) if is_number else map(_format, known))
    cells = [Text("NULL", "dim") if value is None else Text(next(texts)) for value in values]
    shown = " ".join(printable(name).split())
    lines = (line for text in (shown, *(cell.plain for cell in cells)) for line in text.splitlines())
    return _Column(shown, cells, is_number, max(map(cell_len, lines), default=0))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _format(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else _text(value)
    return printable(text).expandtabs().rstrip("\n")


def _format_numbers(name: str, values: Sequence[Any]) -> Iterator[str]:
    """Format numbers with their decimal points below each other, and with thousands separators unless they are codes.

    Codes are IDs by the name of their column, and numbers that can all be years (2020) or months (202003).
    Floating-point numbers are rounded, because sums and averages of them have many digits that mean nothing.
    """
    is_code = bool(_ID.search(name)) or all(map(_is_year, values)) or all(map(_is_year_and_month, values))
    texts = [f"{value}" if is_code else f"{_rounded(value):,}" for value in values]
    fractions = [len(text) - text.find(".") if "." in text else 0 for text in texts]
    longest = max(fractions)
    return (text + " " * (longest - fraction) for text, fraction in zip(texts, fractions, strict=True))


def _rounded(value: Any) -> Any:  # noqa: ANN401  # any type of number
    """Round a floating-point number to ten digits, or to two decimals if it is large. Small ones keep all digits."""
    if not isinstance(value, float) or not math.isfinite(value) or abs(value) < _SMALL:
        return value
    return round(value, max(_DIGITS - len(str(int(abs(value)))), 2))


_DIGITS = 10

_SMALL = 1e-4

_ID = re.compile(r"(?:^|_|\W)id$|I[dD]$")

_YEARS = range(1900, 2101)


def _is_year(value: Any) -> bool:  # noqa: ANN401  # any type of number
    return value in _YEARS


def _is_year_and_month(value: Any) -> bool:  # noqa: ANN401  # any type of number
    return math.isfinite(value) and value // 100 in _YEARS and value % 100 in range(1, 13)


_GAP = 3
"""Characters between two columns."""

_LEAST_WIDTH = 30
"""Width to which a long text is cut before columns are left out."""


def _fit(columns: Sequence[_Column], width: int) -> list[int]:
    """Return the widths of the columns that fit a terminal of `width` characters: all of them, or the first ones."""
    for count in range(len(columns), 1, -1):
        room = width if count == len(columns) else width - len(_MORE) - _GAP
        widths = _shrink(columns[:count], room - _GAP * (count - 1))
        if widths:
            return widths
    return [min(column.width, width - (len(_MORE) + _GAP) * (len(columns) > 1)) for column in columns[:1]]


def _shrink(columns: Sequence[_Column], room: int) -> list[int]:
    """Cut the longest texts until the columns take at most `room` characters. Returns an empty list if they cannot."""
    widths = [column.width for column in columns]
    cuttable = [number for number, column in enumerate(columns) if not column.is_number]
    while (over := sum(widths) - room) > 0:
        longest = max(cuttable, key=lambda number: widths[number], default=-1)
        if longest < 0 or widths[longest] <= _LEAST_WIDTH:
            return []
        next_longest = max((widths[number] for number in cuttable if widths[number] < widths[longest]), default=0)
        widths[longest] = max(widths[longest] - over, next_longest, _LEAST_WIDTH)
    return widths


def _fits_vertically(result: QueryResult, height: int) -> bool:
    """Return whether all rows fit on a screen with a line for each value. A single row is always shown like this."""
    return len(result.rows) == 1 or 0 < len(result.rows) * (len(result.columns) + 1) < height - 1


_MORE = "…"
"""Stands for the columns that do not fit."""


def _print_table(console: "Console", columns: Sequence[_Column], widths: Sequence[int]) -> None:
    from rich.text import Text

    table = plain_table()
    for column, width in zip(columns, widths, strict=False):
        heading = Text(column.name, justify="right" if column.is_number else "left")
        table.add_column(heading, width=width, no_wrap=True, overflow="ellipsis")
    shown = [_aligned(column) for column in columns[: len(widths)]]
    if len(widths) < len(columns):
        table.add_column(_MORE, style="dim")
        shown.append([Text(_MORE)] * len(columns[0].cells))
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    console.print(table)


def _aligned(column: _Column) -> "Sequence[Text]":
    """Return the cells of a column, those of numbers aligned right.

    rich would strip the spaces after a number, which align its decimal point.
    """
    if not column.is_number:
        return column.cells
    cells = [cell.copy() for cell in column.cells]
    for cell in cells:
        cell.pad_left(column.width - cell.cell_len)
    return cells


def _print_records(console: "Console", columns: Sequence[_Column], count: int) -> None:
    """Print each row as a heading and a line for each value."""
    from rich.cells import cell_len
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    names = min(max((cell_len(column.name) for column in columns), default=0), _widest(console) // 2)
    for row in range(count):
        console.print(Rule(f"row {row + 1:,}", align="left", style="dim"), width=min(_widest(console), _RULE_WIDTH))
        record = Table.grid(padding=(0, _GAP, 0, 0))
        record.add_column(width=names, no_wrap=True, overflow="ellipsis")
        record.add_column(overflow="fold")
        for column in columns:
            value = column.cells[row].copy()
            value.rstrip()
            record.add_row(Text(column.name, "bold"), value)
        console.print(record)


_RULE_WIDTH = 40

_PIPE_WIDTH = 1_000


def _widest(console: "Console") -> int:
    return min(console.width, _PIPE_WIDTH)


def _footer(result: QueryResult, columns: Sequence[_Column], widths: Sequence[int], seconds: float) -> Iterator[str]:
    """The number of rows and the duration, and what is not shown."""
    count = f"{result.row_count:,} {'row' if result.row_count == 1 else 'rows'} in {seconds:.2f} s"
    if len(result.rows) < result.row_count:
        yield f"The first {len(result.rows):,} of {count}. For all: --csv, --json, --parquet."
    else:
        yield count
    if len(widths) < len(columns):
        yield f"{len(widths)} of {len(columns)} columns fit. To see all: --vertical, --csv, or select fewer columns."
    elif any(width < column.width for column, width in zip(columns, widths, strict=True)):
        yield "Long values are cut. To see all of them: --vertical or --csv."


def print_csv(batches: Iterable[QueryResult]) -> None:
    """Print batches of a query result as CSV with a header, with all characters of the values. Bytes are hexadecimal.

    There is at least one batch, which has the columns.
    """
    writer = csv.writer(_Lines(), lineterminator="\r\n")
    for number, batch in enumerate(batches):
        if number == 0:
            writer.writerow(batch.columns)
        writer.writerows([_text(value) if isinstance(value, _BYTES) else value for value in row] for row in batch.rows)


class _Lines:
    """Standard output for a CSV writer, which quotes a carriage return in a value only if its lines end with one."""

    def write(self, line: str) -> None:
        sys.stdout.write(line.removesuffix("\r\n") + "\n")


def print_json(batches: Iterable[QueryResult]) -> None:
    """Print batches of a query result as JSON, with a line for each row. Raises BadQuery for repeated column names.

    Decimals are numbers with all their digits. Values without a JSON type become strings: times as in ISO 8601, bytes
    as in PostgreSQL, and numbers that are not finite as NaN, Infinity and -Infinity.
    """
    for number, batch in enumerate(batches):
        if number == 0:
            require_unique(batch.columns)
            keys = [f"{json.dumps(name)}: " for name in batch.columns]
        sys.stdout.writelines(
            f"{{{', '.join([key + _to_json(value) for key, value in zip(keys, row, strict=True)])}}}\n"
            for row in batch.rows
        )


def _to_json(value: Any) -> str:  # noqa: ANN401  # any type of value
    # By type, because a result can have many millions of values.
    return _JSON.get(type(value), _other_to_json)(value)


def _number_to_json(value: float | Decimal) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)


def _other_to_json(value: object) -> str:
    match value:
        case dict():
            return f"{{{', '.join(f'{json.dumps(str(key))}: {_to_json(one)}' for key, one in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_to_json, value))}]"
        case dt.date() | dt.time():  # also dt.datetime, which is a date
            return f'"{value.isoformat()}"'
    return json.dumps(_text(value))


_JSON: Mapping[type, Callable[[Any], str]] = {
    **dict.fromkeys((str, bool, type(None)), json.dumps),
    int: repr,
    **dict.fromkeys((float, Decimal), _number_to_json),
}

_BYTES = (bytes, bytearray, memoryview)


def _text(value: object) -> str:
    """Return a value as text. Bytes are hexadecimal, as in PostgreSQL."""
    return f"\\x{bytes(value).hex()}" if isinstance(value, _BYTES) else str(value)
