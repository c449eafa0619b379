"""Raw files: the TLC's CSV as published, plain or gzip, read as records.

A record is a line that is not blank; the first is the header. TLC values hold no line breaks, so one unbalanced quote
can never swallow the lines after it. Not here: what the values mean (see `clean`).
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from taxi_assets.errors import BadFile

BLOCK_BYTES = 8 << 20
"""Text that is read, parsed and written at once: about 85,000 yellow rows. It bounds memory, and is one row group."""

LONGEST_LINE = 1 << 20
"""Bytes. The TLC's lines have less than 300; one that is as long as this is no CSV."""

_READ_BYTES = 1 << 20

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
"""What comes in place of a CSV, by how it starts, in lower case; the first that fits is meant."""

_SHOWN = 64
"""Bytes of a file's start that are looked at, and shown."""

_LOOK = "Look at its address, what is there and who may fetch it; then fetch it again"

_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"


def is_blank(line: bytes) -> bool:
    """Whether a line, with its end or without, holds nothing: it is no record then."""
    return line in (b"", b"\n", b"\r\n", b"\r")


class Measure(NamedTuple):
    """What can be told of a text of whole lines before it is parsed."""

    records: int
    """Lines that are not blank."""

    longest: int
    """Bytes of the longest line, its line feed included."""

    lone_returns: int
    """Carriage returns that are not part of a line end."""


def measure(text: bytes) -> Measure:
    """Look at the line ends of a text; its last line may lack one."""
    import numpy as np

    # As if the last line had its end, and the first one came after another.
    framed = np.frombuffer(b"\n" + text + (b"" if text.endswith(b"\n") else b"\n"), dtype=np.uint8)
    feeds = np.flatnonzero(framed == _LINE_FEED)
    lengths = np.diff(feeds)
    after_return = framed[feeds[1:] - 1] == _CARRIAGE_RETURN
    blank = (lengths == 1) | ((lengths == 2) & after_return)  # noqa: PLR2004  # a line feed; and what comes before it
    return Measure(
        records=int(lengths.size - np.count_nonzero(blank)),
        longest=int(lengths.max(initial=0)),
        lone_returns=int(np.count_nonzero(framed == _CARRIAGE_RETURN) - np.count_nonzero(after_return)),
    )


def count_rows(path: Path, called: str = "") -> int:
    """The number of rows of a raw file: its records but for the header.

    It reads the file to its end on its own, apart from the cleaning, so that each can be held against the other.
    Messages call the file `called`, or else by its name. Raises BadFile for a file that is cut short, corrupt or empty,
    and for a line that is too long to be one.
    """
    called = called or path.name
    records = 0
    with _open(path, called) as file:
        while text := file.read(_READ_BYTES):
            seen = measure(text + file.readline(LONGEST_LINE))
            if seen.longest >= LONGEST_LINE:
                raise _too_long(called)
            records += seen.records
    if not records:
        raise BadFile(f"{called} is empty: expected a header and rows. Fetch it again, or look at it in the source")
    return records - 1


def fingerprint(path: Path) -> str:
    """The SHA-256, hexadecimal, of a raw file as it was published."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The decompressed text of a raw file in blocks of whole lines, in order; only the last may lack its line end.

    Raises BadFile for a file that is cut short or corrupt, and for a line that would not end.
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


def _too_long(called: str) -> BadFile:
    return BadFile(
        f"{called} has a line of {LONGEST_LINE:,} bytes or more: expected a CSV with short lines. "
        "Look at it in the source"
    )


@contextmanager
def _open(path: Path, called: str) -> Iterator[BinaryIO]:
    """The decompressed bytes; what is wrong with the compression, and what starts as no CSV does, becomes BadFile."""
    from isal import igzip, isal_zlib

    try:
        with igzip.open(path, "rb") if ".gz" in path.suffixes else path.open("rb") as file:  # type: ignore[no-untyped-call]
            _refuse_other_formats(file, called)
            yield cast("BinaryIO", file)
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        with path.open("rb") as sent:
            require_csv_start(sent.read(_SHOWN), ".csv.gz", called)
        if isinstance(error, EOFError):
            raise BadFile(f"{called} is cut short: its gzip stream has no end. Fetch it again") from error
        raise BadFile(f"{called} is no sound gzip file: {error}. Fetch it again, or look at its address") from error


def require_csv_start(start: bytes, suffix: str, called: str) -> None:
    """Raise BadFile where the first bytes of a file, called so, are not those of what its suffix says."""
    if ".gz" not in suffix:
        _refuse_other_formats(BytesIO(start), called)
    elif not _GZIP.startswith(start[: len(_GZIP)]):
        _refuse_other_formats(BytesIO(start), called)
        raise BadFile(f"{called} is no gzip file: it starts with {_first_line(BytesIO(start))!r}. {_LOOK}")


def _refuse_other_formats(file: BinaryIO, called: str) -> None:
    """Raise BadFile where a file is a page, an answer or a format that servers send in place of a CSV."""
    seen = _first_line(file)
    for mark, what in _FORMATS.items():
        if seen.lower().startswith(mark):
            raise BadFile(f"{called} is {what}, no CSV: it starts with {seen!r}. {_LOOK}")


def _first_line(file: BinaryIO) -> str:
    """The first letters of a file, as they are shown in messages; the file is where it was."""
    start = file.read(_SHOWN)
    file.seek(0)
    return start.removeprefix(BOM_UTF8).lstrip().partition(b"\n")[0].rstrip().decode(errors="backslashreplace")
