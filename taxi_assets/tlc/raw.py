"""Read raw files, the CSVs as published by the TLC (plain or gzip), as records.

A record is a nonblank line; the first one is the header. A line with only empty fields is blank. TLC values contain no
line breaks, so every line is a record of its own, even after an unclosed quote. Not here: what the values mean
(`clean`).
"""

import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias, cast

from taxi_assets.errors import BadFile, CorruptFile, EmptyFile, NotACsv

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indexes: TypeAlias = npt.NDArray[np.intp]

BLOCK_BYTES = 8 << 20
"""Bytes to read, parse and write at a time, about 85,000 yellow rows. Limits memory; each block is a row group."""

LONGEST_LINE = 1 << 20
"""Maximum bytes of a line. TLC lines have fewer than 300, so a file with a line this long is not a CSV."""

READ_BYTES = 1 << 20
"""Bytes to read at a time when rows are only counted."""

_GZIP = b"\x1f\x8b"

_TEXT_FORMATS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b"<": "HTML or XML",
    b"{": "JSON",
    b"[": "JSON",
    b"version https://git-lfs": "a Git LFS pointer to the file",
}
"""Text formats that arrive instead of a CSV, by their first characters in lowercase. The first match wins."""

_BINARY_FORMATS = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip file",
    _GZIP: "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"7z\xbc\xaf": "a 7z archive",
}
"""Binary formats that arrive instead of a CSV, by their first bytes."""

_TAR, _TAR_AT = b"ustar", 257
"""What identifies a tar archive, and its offset in bytes."""

_START_BYTES = _TAR_AT + len(_TAR)
"""Bytes at the start of a file to inspect."""

_SHOWN = 64
"""Bytes at the start of a file to show in messages."""

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


def measure(text: bytes) -> Measure:
    """Measure a text by its line endings. The last line may have no line ending."""
    import numpy as np

    # Add the line feed of the last line if it is missing, and one before the first line.
    framed = np.frombuffer(b"\n" + text + (b"" if text.endswith(b"\n") else b"\n"), dtype=np.uint8)
    feeds = np.flatnonzero(framed == _LINE_FEED)
    lengths = np.diff(feeds)
    after_return = framed[feeds[1:] - 1] == _CARRIAGE_RETURN
    blank = (lengths == 1) | ((lengths == 2) & after_return)  # noqa: PLR2004  # LF or CRLF
    empty_rows = _count_empty_rows(framed, feeds[:-1] + 1, feeds[1:])
    return Measure(
        records=int(lengths.size - np.count_nonzero(blank)) - empty_rows,
        empty_rows=empty_rows,
        longest=int(lengths.max(initial=0)),
        lone_returns=int(np.count_nonzero(framed == _CARRIAGE_RETURN) - np.count_nonzero(after_return)),
    )


def _count_empty_rows(text: "npt.NDArray[np.uint8]", starts: "Indexes", ends: "Indexes") -> int:
    """Count the lines that have fields, all of them empty. `starts` and `ends` are those of the lines in the text."""
    # The first two bytes rule out nearly all lines of trips, so only a few are examined one by one.
    first = text[starts]
    separated = (first == _COMMA) | (first == _QUOTE)
    starts, ends = starts[separated], ends[separated]
    second = text[starts + 1]
    empty = (second == _COMMA) | (second == _QUOTE) | (second == _LINE_FEED) | (second == _CARRIAGE_RETURN)
    lines = zip(starts[empty], ends[empty], strict=True)
    return sum(is_blank(text[start:end].tobytes()) for start, end in lines)


def count_rows(path: Path, name: str = "", read_bytes: int = READ_BYTES) -> int:
    """Count the rows of a raw file: its records without the header.

    It reads the whole file independently of the cleaning, so that the two counts can be compared. `name` is the path or
    address of the file in messages; by default, its file name. Raises BadFile for a file that is truncated, corrupt or
    empty, and for a line that is too long.
    """
    name = name or path.name
    records = 0
    with _open(path, name) as file:
        while text := file.read(read_bytes):
            seen = measure(text + file.readline(LONGEST_LINE))
            if seen.longest >= LONGEST_LINE:
                raise _too_long(name)
            records += seen.records
    if not records:
        raise EmptyFile(f"The file {name} is empty. Expected a header and rows.", address=name)
    return records - 1


def fingerprint(path: Path) -> str:
    """The SHA-256 (hexadecimal) of a raw file as published, before decompression."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the decompressed text of a raw file in blocks of whole lines. Only the last may have no line ending.

    Raises BadFile for a file that is truncated or corrupt, and for a line that is too long.
    """
    rest = b""
    with _open(path, path.name) as file:
        while text := file.read(block_bytes):
            end = text.rfind(b"\n") + 1
            if end:
                yield rest + text[:end]
                rest = text[end:]
            else:
                rest += text
            if len(rest) >= LONGEST_LINE:
                raise _too_long(path.name)
    if rest:
        yield rest


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
            _reject_other_formats(file, name)
            yield cast("BinaryIO", file)
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        with path.open("rb") as compressed:
            require_csv_start(compressed.read(_START_BYTES), ".csv.gz", name)
        if isinstance(error, EOFError):
            raise CorruptFile(f"The file {name} is truncated: its gzip data has no end.", address=name) from error
        raise CorruptFile(f"The file {name} is not a valid gzip file: {error}.", address=name) from error


def require_csv_start(start: bytes, suffix: str, name: str) -> None:
    """Raise NotACsv if the first bytes of a file do not match its suffix.

    `name` is the path or address of the file in messages.
    """
    if ".gz" not in suffix:
        _reject_other_formats(BytesIO(start), name)
    elif not _GZIP.startswith(start[: len(_GZIP)]):
        _reject_other_formats(BytesIO(start), name)
        # A comma in prose, such as that of an error page, is followed by a space.
        is_csv = "," in (seen := _printable_line(start)) and ", " not in seen
        raise _not_a_csv(name, "is a CSV that is not compressed" if is_csv else "is not a gzip file", start)


def _reject_other_formats(file: BinaryIO, name: str) -> None:
    """Raise NotACsv for a format that arrives instead of a CSV, such as a web page or JSON. Rewind the file."""
    start = file.read(_START_BYTES)
    file.seek(0)
    if kind := _recognize(start):
        raise _not_a_csv(name, f"contains {kind}, not a CSV", start, format=kind)


def _recognize(start: bytes) -> str:
    """Return the format of a file that starts with these bytes; empty for CSVs and unknown formats."""
    if start[_TAR_AT:].startswith(_TAR):
        return "a tar archive"
    line = _first_line(start).lower()
    found = [kind for prefix, kind in _BINARY_FORMATS.items() if start.startswith(prefix)]
    found += [kind for prefix, kind in _TEXT_FORMATS.items() if line.startswith(prefix)]
    return found[0] if found else ""


def _not_a_csv(name: str, problem: str, start: bytes, **facts: str) -> NotACsv:
    """Return an error that shows the start of the file if it is printable text."""
    seen = _printable_line(start)
    shown = f" It starts with {seen!r}." if seen else ""
    return NotACsv(f"The file {name} {problem}.{shown}", address=name, **facts, **({"seen": seen} if seen else {}))


def _first_line(start: bytes) -> bytes:
    return start[:_SHOWN].removeprefix(BOM_UTF8).lstrip().partition(b"\n")[0].rstrip()


def _printable_line(start: bytes) -> str:
    """Return the start of the first line as text; empty if it is not printable."""
    try:
        # The last character may be incomplete.
        line = getincrementaldecoder("utf-8")().decode(_first_line(start))
    except UnicodeDecodeError:
        return ""
    return line if line.replace("\t", " ").isprintable() else ""
