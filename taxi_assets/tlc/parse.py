"""Parse the lines of a raw CSV into typed rows, or into rejects with a reason.

A block of lines is parsed in one call if all its lines are valid. Otherwise it is parsed a few lines at a time: the
line that an error points at is parsed alone and rejected if it fails again, then the remaining lines are parsed again.
The same parser decides about every line, so invalid lines never affect their neighbors.
Not here: counting and checking the parsed values (`clean`).
"""

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from taxi_assets.tlc.raw import Measure, is_blank, measure
from taxi_assets.tlc.rejects import Reject
from taxi_assets.tlc.schema import VENDOR_NAME, Kind, Layout
from taxi_assets.tlc.values import NULL_VALUES, absent, are_exact, convert, wrong_kind

if TYPE_CHECKING:
    import pyarrow as pa

RETRY_LINES = 400
"""Lines to parse together in a block with invalid lines. Each invalid line costs one more parse of the others."""


class LineParser:
    """Parses the lines under one header into tables with `Layout.columns`. Columns that the file lacks are missing.

    Raises BadHeader if the header is not that of an era of the color. `retry_lines` is the number of lines to parse
    together after a block with invalid lines.
    """

    def __init__(self, layout: Layout, header: bytes, retry_lines: int = RETRY_LINES) -> None:
        import pyarrow as pa

        self._layout = layout
        self._retry_lines = retry_lines
        names = header.decode("utf-8-sig", errors="replace").split(",")
        self._file = layout.match_header(names)
        self._padding: int | None = None
        self._has_decimals = False
        self.recoded_rows = 0
        """The number of valid rows so far with text in Windows-1252, which is decoded as such."""

        schema = layout.arrow_schema().remove(len(layout.columns))
        self._empty = pa.table([pa.nulls(0, field.type) for field in schema], schema)

    def _set_padding(self, padding: int) -> None:
        """Set the number of fields after those of the header, which are known from the first line, and empty."""
        from pyarrow import csv as arrow_csv

        self._padding = padding
        self._names = [name or f"ignored {at}" for at, name in enumerate(self._file.names)]
        self._names += [f"padding {number}" for number in range(padding)]
        # With threads, the error that is reported for a line with several is random, and a thread that still holds the
        # text at interpreter exit aborts the process (seen in 3 of 14 processes).
        self._read_options = arrow_csv.ReadOptions(column_names=self._names, use_threads=False)
        self._set_types()

    def _set_types(self) -> None:
        from pyarrow import csv as arrow_csv

        self._convert_options = arrow_csv.ConvertOptions(
            column_types=self._csv_types(), null_values=list(NULL_VALUES), strings_can_be_null=True
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical column names, in the order of the file."""
        return tuple(self._names)

    def _csv_types(self) -> "dict[str, pa.DataType]":
        """Return the types to read columns in: text that has codes as text, and integers as `_has_decimals` says."""
        import pyarrow as pa

        types = {name: pa.string() for name in self._names}
        schema = self._layout.arrow_schema()
        for column in self._layout.columns:
            if column.name in types and column.name not in self._file.era.codes:
                is_decimal = column.kind is Kind.integer and self._has_decimals
                types[column.name] = pa.float64() if is_decimal else schema.field(column.name).type
        return types

    def parse(
        self, text: bytes, first_line: int, seen: Measure | None = None
    ) -> "Iterator[tuple[pa.Table, list[Reject]]]":
        """Yield pairs of the valid rows and the rejects of `text`, both in order. Blank lines are skipped.

        `text` consists of whole lines, `first_line` is the number of its first line in the file, and `seen` are its
        measurements, if they are known. If all lines are valid, there is one pair; otherwise there are several, so that
        the caller can stop after too many rejects.
        """
        seen = seen or measure(text)
        if self._padding is None and seen.records:
            self._set_padding(self._find_padding(text))
        if seen.empty_rows:
            read = self._read(b"".join(line for line in BytesIO(text) if not is_blank(line)))
        else:
            read = self._read(text, seen)
        if not isinstance(read, _Fault):
            yield read, []
            return
        lines = _lines(text, first_line)
        while few := list(islice(lines, self._retry_lines)):
            rejects: list[Reject] = []
            rows = self._sift(few, rejects)
            yield rows, sorted(rejects, key=lambda reject: reject.line)

    def _find_padding(self, text: bytes) -> int:
        """Return the number of fields after those of the header in the first line, if the era allows for them."""
        first = next(line for line in BytesIO(text) if not is_blank(line))
        extra = first.count(b",") + 1 - len(self._file.names)
        return extra if 0 < extra <= self._file.era.padding else 0

    def _sift(self, lines: "list[_Line]", rejects: list[Reject]) -> "pa.Table":
        """Return the valid rows among a few lines, and append the other lines to `rejects`."""
        import pyarrow as pa

        lines = list(lines)
        while isinstance(read := self._read(text := b"\n".join(line.text for line in lines)), _Fault):
            # Without quotes, a line parses the same alone as in a block.
            suspect = self._read(lines[read.at].text) if b'"' in text else read
            if isinstance(suspect, _Fault):
                rejects.append(lines.pop(read.at).reject(suspect.reason))
            else:
                # Another line is at fault: an unclosed quote shifts the reported position. Split the lines until the
                # position is reliable, which it is for a single line.
                middle = len(lines) // 2
                return pa.concat_tables(self._sift(half, rejects) for half in (lines[:middle], lines[middle:]))
        self.recoded_rows += sum(line.text != line.raw for line in lines)
        return read

    def _read(self, text: bytes, seen: Measure | None = None) -> "pa.Table | _Fault":
        """Return all lines as one table, or the first fault found that makes a line invalid.

        No line may have only empty fields.
        """
        import pyarrow as pa

        seen = seen or measure(text)
        if not seen.records:
            return self._empty
        if fault := _invalid_bytes(text, seen.lone_returns):
            return fault
        quoted = b'"' in text
        if quoted:
            # An unclosed quote silently consumes the next line. Append a line so that the last line can do so too.
            text = text.removesuffix(b"\n") + b"\n" + b"," * (len(self._names) - 1)
        try:
            read = self._read_csv(text)
        except pa.ArrowInvalid as error:
            return self._fault(str(error), text)
        if read.num_rows != seen.records + quoted:
            return _open_quote(text)
        return self._typed(read.slice(0, seen.records))

    def _read_csv(self, text: bytes) -> "pa.Table":
        """Read a text with the types of `_csv_types`. Raises pyarrow.ArrowInvalid.

        Integers are read as such, which is faster than as decimal numbers, until a text has one that is written in
        another way, such as `1.0`, or is too large to be one. This and all later texts are read with decimal numbers.
        """
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        def read() -> pa.Table:
            return arrow_csv.read_csv(
                pa.BufferReader(text), read_options=self._read_options, convert_options=self._convert_options
            )

        if not self._has_decimals:
            # pyarrow reads hexadecimal integers.
            with suppress(pa.ArrowInvalid):
                if not (b"x" in text or b"X" in text) and are_exact(table := read()):
                    return table
            self._has_decimals = True
            self._set_types()
        return read()

    def _typed(self, read: "pa.Table") -> "pa.Table | _Fault":
        """Return the columns in the layout's order and types, or a fault for the first value that does not fit."""
        import pyarrow as pa
        from pyarrow import compute

        columns = []
        for column, type_ in zip(self._layout.columns, self._empty.schema.types, strict=True):
            if column.name not in self._file.names:
                columns.append(absent(column, type_, self._file.era.vendors, read, VENDOR_NAME))
                continue
            values, unfit = convert(read.column(column.name), column, self._file.era.codes.get(column.name))
            if unfit is not None:
                return _Fault(wrong_kind(column), compute.index(unfit, value=True).as_py())
            if column.name == self._layout.pickup and values.null_count:
                return _Fault(f"{column.name} is missing", compute.index(values.is_null(), value=True).as_py())
            columns.append(values)
        for name in self._names[len(self._file.names) :]:
            padding = read.column(name)
            if padding.null_count < len(padding):
                at = compute.index(padding.is_valid(), value=True).as_py()
                return _Fault("a field after those of the header is not empty", at)
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
            column = next(column for column in self._layout.columns if column.name == name)
            return _Fault(wrong_kind(column), at)
        if fields := re.search(r"Expected (\d+) columns, got (\d+)", arrow_error):
            return _Fault(f"{fields[2]} fields instead of {fields[1]}", at)
        return _Fault("the line does not parse", at)


class _Line(NamedTuple):
    """A nonblank line without its line feed: as in the file, and as UTF-8 to be parsed."""

    number: int
    raw: bytes
    text: bytes

    def reject(self, reason: str) -> Reject:
        return Reject(self.number, reason, self.raw.removesuffix(b"\r").decode("utf-8", errors="backslashreplace"))


class _Fault(NamedTuple):
    """Why a text does not parse, and the index of the record at fault, from 0. Quotes can make the index wrong."""

    reason: str
    at: int


def _lines(text: bytes, first_line: int) -> Iterator[_Line]:
    for number, line in enumerate(BytesIO(text), first_line):
        if not is_blank(line):
            raw = line.removesuffix(b"\n")
            yield _Line(number, raw, raw if _is_utf8(raw) else b",".join(map(_recode, raw.split(b","))))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _recode(field: bytes) -> bytes:
    """Return a field in Windows-1252 as UTF-8. A field in UTF-8, or in neither encoding, stays as it is."""
    if not _is_utf8(field) and codecs.BOM_UTF8 not in field:
        with suppress(UnicodeDecodeError):
            return field.decode("cp1252").encode()
    return field


def _first(text: bytes, reason: str, is_invalid: "Callable[[bytes], bool]") -> _Fault:
    return _Fault(reason, next((at for at, line in enumerate(BytesIO(text)) if is_invalid(line)), 0))


def _open_quote(text: bytes) -> _Fault:
    return _first(text, "a quote is not closed", lambda line: line.count(b'"') % 2 == 1)


def _invalid_bytes(text: bytes, lone_returns: int) -> _Fault | None:
    """Find invalid bytes that the CSV parser would accept."""
    if b"\0" in text:
        return _first(text, "a NUL byte", lambda line: b"\0" in line)
    # Searching for one byte is much faster than searching for three.
    if codecs.BOM_UTF8[:1] in text and codecs.BOM_UTF8 in text:
        return _first(text, "a byte order mark inside the file", lambda line: codecs.BOM_UTF8 in line)
    if lone_returns:
        return _first(
            text,
            "a carriage return inside the line",
            lambda line: b"\r" in line.removesuffix(b"\n").removesuffix(b"\r"),
        )
    return None
