"""Lines of a raw CSV become typed rows, or rejects that say why not.

A block of lines that parses as a whole is taken as a whole. One that does not is parsed a few lines at a time: the line
that a fault points at is parsed alone, and goes if it is no row; then the others are tried again. One parser decides
what a row is, however bad the lines around it are.
Not here: opinions about values that do parse, and counting them (see `clean`).
"""

import codecs
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from taxi_assets.tlc.raw import is_blank, measure
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
        self._names = layout.map_header(names)
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

    def parse(self, text: bytes, first_line: int) -> "Iterator[tuple[pa.Table, list[Reject]]]":
        """The rows among whole lines, and the lines that are no rows, both in order. Blank lines are neither.

        They come in pieces, so that one can stop where rejects are too many; lines that are all rows are one piece.
        `first_line` is the number of the text's first line in its file.
        """
        read = self._read(text)
        if not isinstance(read, _Fault):
            yield read, []
            return
        lines = _lines(text, first_line)
        while few := list(islice(lines, _FEW)):
            rejects: list[Reject] = []
            rows = self._sift(few, rejects)
            yield rows, sorted(rejects, key=lambda reject: reject.line)

    def _sift(self, lines: "list[_Line]", rejects: list[Reject]) -> "pa.Table":
        """The rows among a few lines; the others go to `rejects`."""
        import pyarrow as pa

        lines = list(lines)
        while isinstance(read := self._read(text := b"\n".join(line.text for line in lines)), _Fault):
            # Without a quote, a line is the same among others as alone.
            suspect = self._read(lines[read.at].text) if b'"' in text else read
            if isinstance(suspect, _Fault):
                rejects.append(lines.pop(read.at).reject(suspect.reason))
            else:
                # It was another line: an open quote misleads. Among fewer lines it does less, and alone not at all.
                middle = len(lines) // 2
                return pa.concat_tables(self._sift(half, rejects) for half in (lines[:middle], lines[middle:]))
        return read

    def _read(self, text: bytes) -> "pa.Table | _Fault":
        """All lines as one table, or the first thing found that makes at least one of them no row."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        seen = measure(text)
        if not seen.records:
            return self._empty
        if wrong := _wrong_bytes(text, seen.lone_returns):
            return wrong
        quoted = b'"' in text
        if quoted:
            # A line left open swallows the one after it, without an error: the last gets a line to swallow as well.
            text = text.removesuffix(b"\n") + b"\n" + b"," * (len(self._names) - 1)
        try:
            read = arrow_csv.read_csv(
                pa.BufferReader(text), read_options=self._read_options, convert_options=self._convert_options
            )
        except pa.ArrowInvalid as error:
            return self._fault(str(error), text)
        if read.num_rows != seen.records + quoted:
            return _open_quote(text)
        return self._typed(read.slice(0, seen.records))

    def _typed(self, read: "pa.Table") -> "pa.Table | _Fault":
        """The columns in the layout's order and its types, or the first value that does not fit its type."""
        import pyarrow as pa
        from pyarrow import compute

        columns = []
        for column in self._layout.columns:
            values = read.column(column.name)
            if fits := _FITS.get(column.kind):
                unfit = compute.index(fits(values), value=False).as_py()
                if unfit >= 0:
                    return _Fault(_no(column.kind, column.name), unfit)
            columns.append(values.cast(pa.int64()) if column.kind is Kind.integer else values)
        return pa.table(columns, names=list(self._layout.names))

    def _fault(self, arrow_error: str, text: bytes) -> "_Fault":
        if text.count(b'"') % 2:
            return _open_quote(text)
        row = re.search(r"Row #(\d+)", arrow_error)
        at = int(row[1]) - 1 if row else 0
        if value := re.search(r"In CSV column #(\d+)", arrow_error):
            name = self._names[int(value[1])]
            if "UTF8" in arrow_error:
                return _Fault(f"{name} is not valid UTF-8", at)
            return _Fault(_no(next(column.kind for column in self._layout.columns if column.name == name), name), at)
        if fields := re.search(r"Expected (\d+) columns, got (\d+)", arrow_error):
            return _Fault(f"{fields[2]} fields instead of {fields[1]}", at)
        return _Fault("the line does not parse", at)


_FEW = 400
"""Lines that are parsed together where some are no rows: each of these costs one more parse of the others."""


class _Line(NamedTuple):
    """A line that is not blank, without its line feed."""

    number: int
    text: bytes

    def reject(self, reason: str) -> Reject:
        return Reject(self.number, reason, self.text.removesuffix(b"\r").decode("utf-8", errors="backslashreplace"))


class _Fault(NamedTuple):
    """Why a text is no table, and which of its records it points at, from 0: a guess, for quotes may mislead."""

    reason: str
    at: int


def _lines(text: bytes, first_line: int) -> Iterator[_Line]:
    for number, line in enumerate(BytesIO(text), first_line):
        if not is_blank(line):
            yield _Line(number, line.removesuffix(b"\n"))


def _first(text: bytes, reason: str, is_wrong: "Callable[[bytes], bool]") -> _Fault:
    return _Fault(reason, next((at for at, line in enumerate(BytesIO(text)) if is_wrong(line)), 0))


def _open_quote(text: bytes) -> _Fault:
    return _first(text, "a quote is not closed", lambda line: line.count(b'"') % 2 == 1)


def _wrong_bytes(text: bytes, lone_returns: int) -> _Fault | None:
    """What makes a text unfit that the parser would let pass."""
    if b"\0" in text:
        return _first(text, "a NUL byte", lambda line: b"\0" in line)
    # One byte is found, or not, far sooner than three.
    if codecs.BOM_UTF8[:1] in text and codecs.BOM_UTF8 in text:
        return _first(text, "a byte order mark inside the file", lambda line: codecs.BOM_UTF8 in line)
    if lone_returns:
        return _first(
            text,
            "a carriage return inside the line",
            lambda line: b"\r" in line.removesuffix(b"\n").removesuffix(b"\r"),
        )
    return None


def _no(kind: Kind, column: str) -> str:
    return f"{column} is no {kind}"


def _is_exact_integer(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    from pyarrow import compute

    small = compute.less(compute.abs(values), float(EXACT_INTEGERS))
    return compute.and_(small, compute.equal(values, compute.floor(values)))


def _is_finite(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    from pyarrow import compute

    return compute.is_finite(values)


def _is_in_calendar(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa
    from pyarrow import compute

    return compute.greater_equal(values, pa.scalar(_YEAR_ONE, values.type))


_FITS: dict[Kind, "Callable[[pa.ChunkedArray], pa.ChunkedArray]"] = {
    Kind.integer: _is_exact_integer,
    Kind.decimal: _is_finite,
    Kind.timestamp: _is_in_calendar,
}
"""Which of a column's values its type can hold."""
