"""Read raw files, the CSVs as published by the TLC (plain or gzip), as records.

A record is a nonblank line; the first one is the header. TLC values contain no line breaks, so every line is a record
of its own, even after an unclosed quote. Not here: what the values mean (`clean`).
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from taxi_assets.errors import BadFile, CorruptFile, EmptyFile, NotACsv

BLOCK_BYTES = 8 << 20
"""Bytes to read, parse and write at a time, about 85,000 yellow rows. Limits memory; each block is a row group."""

LONGEST_LINE = 1 << 20
"""Maximum bytes of a line. TLC lines have fewer than 300, so a file with a line this long is not a CSV."""

READ_BYTES = 1 << 20
"""Bytes to read at a time when rows are only counted."""

_GZIP = b"\x1f\x8b"

_FORMATS = {
    "<!doctype html": "an HTML page",
    "<html": "an HTML page",
    "<?xml": "an XML document",
    "<": "HTML or XML",
    "{": "JSON",
    "[": "JSON",
    "par1": "a Parquet file",
    "pk\x03\x04": "a zip file",
    _GZIP.decode(errors="backslashreplace"): "a gzip file",
    "version https://git-lfs": "a Git LFS pointer to the file",
}
"""Formats that arrive instead of a CSV, by their first characters in lowercase. The first match wins."""

_SHOWN = 64
"""Bytes at the start of a file to inspect and to show in messages."""

_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"


def is_blank(line: bytes) -> bool:
    """Whether a line, with or without its line ending, is empty. A blank line is not a record."""
    return line in (b"", b"\n", b"\r\n", b"\r")


class Measure(NamedTuple):
    """Measurements of a text of whole lines, taken before parsing."""

    records: int
    """Number of nonblank lines."""

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
    return Measure(
        records=int(lengths.size - np.count_nonzero(blank)),
        longest=int(lengths.max(initial=0)),
        lone_returns=int(np.count_nonzero(framed == _CARRIAGE_RETURN) - np.count_nonzero(after_return)),
    )


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
            require_csv_start(compressed.read(_SHOWN), ".csv.gz", name)
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
        seen = _first_line(BytesIO(start))
        raise NotACsv(f"The file {name} is not a gzip file. It starts with {seen!r}.", address=name, seen=seen)


def _reject_other_formats(file: BinaryIO, name: str) -> None:
    """Raise NotACsv for a format that servers send instead of a CSV, such as a web page or JSON."""
    seen = _first_line(file)
    for start, kind in _FORMATS.items():
        if seen.lower().startswith(start):
            raise NotACsv(
                f"The file {name} is {kind}, not a CSV. It starts with {seen!r}.", address=name, seen=seen, format=kind
            )


def _first_line(file: BinaryIO) -> str:
    """Return the first characters of a file for messages, and rewind the file."""
    start = file.read(_SHOWN)
    file.seek(0)
    return start.removeprefix(BOM_UTF8).lstrip().partition(b"\n")[0].rstrip().decode(errors="backslashreplace")
