"""Read raw files, the CSVs as published by the TLC (plain or gzip), as records.

A record is a nonblank line; the first one is the header. A line with only empty fields is blank. TLC values contain no
line breaks, so every line is a record of its own, even after an unclosed quote. Not here: what the values mean
(`clean`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias, cast

from taxi_assets.errors import BadFile, CorruptFile, EmptyFile
from taxi_assets.tlc.formats import START_BYTES, require_csv_start, require_csv_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indexes: TypeAlias = npt.NDArray[np.intp]

BLOCK_BYTES = 4 << 20
"""Bytes to read, parse and write at a time, about 43,000 yellow rows. Limits memory; each block is a row group."""

LONGEST_LINE = 1 << 20
"""Maximum bytes of a line. TLC lines have fewer than 300, so a file with a line this long is not a CSV."""

READ_BYTES = 1 << 20
"""Bytes to read at a time when rows are only counted."""

_LINE_FEED, _CARRIAGE_RETURN, _COMMA, _QUOTE = b'\n\r,"'

_BLANK = re.compile(rb'(?:"")?(?:,(?:"")?)*\r?\n?')


def is_blank(line: bytes) -> bool:
    """Whether a line, with or without its line ending, is empty or has only empty fields, such as `,,,` or `"",""`.

    A blank line is not a record.
    """
    return _BLANK.fullmatch(line) is not None


class Measure(NamedTuple):
    """Measurements of a text of whole lines, taken before parsing."""

    records: int
    """Number of nonblank lines."""

    empty_rows: int
    """Number of blank lines that have fields, all of them empty."""

    longest: int
    """Bytes of the longest line, including its line feed."""

    lone_returns: int
    """Number of carriage returns that are not part of a line ending."""

    lines: int
    """Number of lines, also blank ones."""


def measure(text: bytes) -> Measure:
    """Measure a text by its line endings. The last line may have no line ending."""
    import numpy as np

    values = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(values == _LINE_FEED)
    if text and not text.endswith(b"\n"):
        ends = np.append(ends, values.size)
    starts = np.concatenate((ends[:0], [0], ends[:-1] + 1))[: ends.size]
    lengths = ends - starts
    blank, lone_returns = lengths == 0, 0
    # Most files have no carriage returns, and searching for one is much faster than comparing all bytes.
    if b"\r" in text:
        after_return = (lengths > 0) & (values[ends - 1] == _CARRIAGE_RETURN)
        blank |= (lengths == 1) & after_return
        lone_returns = int(np.count_nonzero(values == _CARRIAGE_RETURN) - np.count_nonzero(after_return))
    empty_rows = _count_empty_rows(values, starts, ends)
    return Measure(
        records=int(lengths.size - np.count_nonzero(blank)) - empty_rows,
        empty_rows=empty_rows,
        longest=int(lengths.max(initial=0)) + 1,
        lone_returns=lone_returns,
        lines=int(ends.size),
    )


def _count_empty_rows(text: "npt.NDArray[np.uint8]", starts: "Indexes", ends: "Indexes") -> int:
    """Count the lines that have fields, all of them empty. `starts` and `ends` are those of the lines in the text."""
    # The first two bytes rule out nearly all lines of trips, so only a few are examined one by one.
    first = text[starts]
    separated = (first == _COMMA) | (first == _QUOTE)
    starts, ends = starts[separated], ends[separated]
    second = text[(starts + 1).clip(max=text.size - 1)]
    empty = (second == _COMMA) | (second == _QUOTE) | (second == _LINE_FEED) | (second == _CARRIAGE_RETURN)
    lines = zip(starts[empty], ends[empty], strict=True)
    return sum(is_blank(text[start:end].tobytes()) for start, end in lines)


def count_rows(path: Path, name: str = "", read_bytes: int = READ_BYTES) -> int:
    """Count the rows of a raw file: its records without the header.

    `name` is the path or address of the file in messages; by default, its file name. Raises the same errors as
    `read_blocks`, and EmptyFile.
    """
    name = name or path.name
    records = sum(block.seen.records for block in read_blocks(path, read_bytes, name))
    if not records:
        raise EmptyFile(f"The file {name} is empty. Expected a header and rows.", address=name)
    return records - 1


def fingerprint(path: Path) -> str:
    """The SHA-256 (hexadecimal) of a raw file as published, before decompression."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


class Block(NamedTuple):
    """Whole lines of a raw file, and their measurements, which tell how many rows parsing must find."""

    text: bytes
    seen: Measure


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES, name: str = "") -> Iterator[Block]:
    """Yield the decompressed text of a raw file in blocks. Only the last may have no line ending.

    `name` is the path or address of the file in messages; by default, its file name. Raises BadFile for a file that is
    truncated or corrupt, and for a line that is too long.
    """
    name = name or path.name
    with _open(path, name) as file:
        while text := file.read(block_bytes):
            if not text.endswith(b"\n"):
                text += file.readline(LONGEST_LINE)
            seen = measure(text)
            if seen.longest >= LONGEST_LINE:
                raise _too_long(name)
            yield Block(text, seen)


def _too_long(name: str) -> BadFile:
    return BadFile(
        f"The file {name} has a line of {LONGEST_LINE:,} bytes or more. Expected a CSV with shorter lines.",
        address=name,
        longest_line=LONGEST_LINE,
    )


@contextmanager
def _open(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a raw file for reading decompressed bytes. Raises BadFile for invalid gzip data and other formats."""
    from isal import igzip, isal_zlib

    try:
        with igzip.open(path, "rb") if ".gz" in path.suffixes else path.open("rb") as file:  # type: ignore[no-untyped-call]
            start = file.read(START_BYTES)
            file.seek(0)
            if ".gz" in path.suffixes:
                require_csv_text(start, name, packed=True, unpacked=True)
            else:
                require_csv_start(start, ".csv", name)
            yield cast("BinaryIO", file)
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        with path.open("rb") as compressed:
            require_csv_start(compressed.read(START_BYTES), ".csv.gz", name)
        if isinstance(error, EOFError):
            raise CorruptFile(f"The file {name} is truncated: its gzip data has no end.", address=name) from error
        raise CorruptFile(f"The file {name} is not a valid gzip file: {error}.", address=name) from error
