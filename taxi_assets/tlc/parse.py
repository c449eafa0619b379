"""Lines of a raw CSV become typed rows, or rejects that say why not.

A block of lines that parses as a whole is taken as a whole. One that does not is halved, and its halves again, until
the lines that are wrong stand alone: one parser decides what a row is, however bad the lines around it are.
Not here: opinions about values that do parse, and counting them (see `clean`).
"""

import codecs
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from taxi_assets.tlc.raw import measure
from taxi_assets.tlc.rejects import Reject
from taxi_assets.tlc.schema import Kind, Layout

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_INTEGERS = 2**53
"""Integers are read as decimals first, for the TLC also writes them `1.0`; below this size that alters none."""

_YEAR_ONE = -62_135_596_800_000_000
"""Microseconds of 0001-01-01 since 1970, the first day that Python's and BigQuery's calendars know."""


class LineParser:
    """Parses the lines under one header into tables of `Layout.table_columns` without `file_month`.

    Raises BadHeader where the header is not that of the layout.
    """

    def __init__(self, layout: Layout, header: bytes) -> None:
        from pyarrow import csv as arrow_csv

        self._layout = layout
        names = header.decode("utf-8-sig", errors="replace").split(",")
        self._names = layout.map_header([name.strip().strip('"') for name in names])
        # With threads, which of a line's faults is told is chance; and one that still holds the text when the
        # interpreter ends aborts it (seen in 3 of 14 processes).
        self._read_options = arrow_csv.ReadOptions(column_names=self._names, use_threads=False)
        self._convert_options = arrow_csv.ConvertOptions(
            column_types=self._csv_types(), null_values=[""], strings_can_be_null=True
        )
        self._empty = layout.arrow_schema().remove(len(layout.columns)).empty_table()

    def _csv_types(self) -> "dict[str, pa.DataType]":
        import pyarrow as pa

        schema = self._layout.arrow_schema()
        return {
            column.name: pa.float64() if column.kind is Kind.integer else schema.field(column.name).type
            for column in self._layout.columns
        }

    def parse(self, text: bytes, first_line: int) -> "tuple[pa.Table, list[Reject]]":
        """The rows among whole lines, in order, and the lines that are no rows. Blank lines are neither.

        `first_line` is the number of the text's first line in its file.
        """
        import pyarrow as pa

        read = self._read(text)
        if not isinstance(read, str):
            return read, []
        rejects: list[Reject] = []
        tables = [self._empty, *self._halve(_records(text, first_line), rejects)]
        return pa.concat_tables(tables).combine_chunks(), rejects

    def _halve(self, lines: Sequence[tuple[int, bytes]], rejects: list[Reject]) -> "Iterator[pa.Table]":
        read = self._read(b"\n".join(line for _, line in lines)) if lines else self._empty
        if not isinstance(read, str):
            yield read
        elif len(lines) == 1:
            [(number, line)] = lines
            rejects.append(Reject(number, read, line.removesuffix(b"\r").decode("utf-8", errors="backslashreplace")))
        else:
            middle = len(lines) // 2
            yield from self._halve(lines[:middle], rejects)
            yield from self._halve(lines[middle:], rejects)

    def _read(self, text: bytes) -> "pa.Table | str":
        """All lines as one table, or the reason why at least one of them is no row."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        if wrong := _wrong_bytes(text):
            return wrong
        seen = measure(text)
        if seen.lone_returns:
            return "a carriage return inside the line"
        quoted = b'"' in text
        if quoted:
            # A line left open swallows the one after it, without an error: the last gets a line to swallow as well.
            text = text.removesuffix(b"\n") + b"\n" + b"," * (len(self._names) - 1)
        try:
            read = arrow_csv.read_csv(
                pa.BufferReader(text), read_options=self._read_options, convert_options=self._convert_options
            )
        except pa.ArrowInvalid as error:
            return self._reason(str(error), text)
        if read.num_rows != seen.records + quoted:
            return _OPEN_QUOTE
        return self._typed(read.slice(0, seen.records))

    def _typed(self, read: "pa.Table") -> "pa.Table | str":
        """The columns in the layout's order and its types, or the reason why a value does not fit its type."""
        import pyarrow as pa

        columns = []
        for column in self._layout.columns:
            values = read.column(column.name)
            if not _CAN_HOLD[column.kind](values):
                return _no(column.kind, column.name)
            try:
                columns.append(values.cast(pa.int64()) if column.kind is Kind.integer else values)
            except pa.ArrowInvalid:
                return _no(column.kind, column.name)
        return pa.table(columns, names=list(self._layout.names))

    def _reason(self, arrow_error: str, text: bytes) -> str:
        if text.count(b'"') % 2:
            return _OPEN_QUOTE
        if value := re.search(r"In CSV column #(\d+)", arrow_error):
            name = self._names[int(value[1])]
            if "UTF8" in arrow_error:
                return f"{name} is not valid UTF-8"
            return _no(next(column.kind for column in self._layout.columns if column.name == name), name)
        if fields := re.search(r"Expected (\d+) columns, got (\d+)", arrow_error):
            return f"{fields[2]} fields instead of {fields[1]}"
        return "the line does not parse"


_OPEN_QUOTE = "a quote is not closed"


def _records(text: bytes, first_line: int) -> list[tuple[int, bytes]]:
    """The lines of a text that are not blank, each with its number."""
    lines = text.removesuffix(b"\n").split(b"\n")
    return [(number, line) for number, line in enumerate(lines, first_line) if line not in (b"", b"\r")]


def _wrong_bytes(text: bytes) -> str:
    """What makes a text unfit that the parser would let pass."""
    if b"\0" in text:
        return "a NUL byte"
    # One byte is found, or not, far sooner than three.
    if codecs.BOM_UTF8[:1] in text and codecs.BOM_UTF8 in text:
        return "a byte order mark inside the file"
    return ""


def _no(kind: Kind, column: str) -> str:
    return f"{column} is no {kind}"


def _is_exact(values: "pa.ChunkedArray") -> bool:
    from pyarrow import compute

    bounds = compute.min_max(values).as_py()
    return bounds["min"] is None or (bounds["min"] > -EXACT_INTEGERS and bounds["max"] < EXACT_INTEGERS)


def _is_finite(values: "pa.ChunkedArray") -> bool:
    from pyarrow import compute

    # A sum that overflows although every value is finite only halves the block: alone, each value passes.
    total = compute.sum(values).as_py()
    return total is None or math.isfinite(total)


def _is_in_calendar(values: "pa.ChunkedArray") -> bool:
    from pyarrow import compute

    earliest = compute.min(values).value
    return earliest is None or int(earliest) >= _YEAR_ONE


def _always(_: "pa.ChunkedArray") -> bool:
    return True


_CAN_HOLD: dict[Kind, "Callable[[pa.ChunkedArray], bool]"] = {
    Kind.integer: _is_exact,
    Kind.decimal: _is_finite,
    Kind.timestamp: _is_in_calendar,
    Kind.text: _always,
}
