"""Recognize files that are not Parquet, or not CSVs in UTF-8, plain or compressed with gzip once, by their first bytes.

Not here: the header and the dialect of a CSV (`dialects`), and gzip data that is damaged (`raw`).
"""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE, getincrementaldecoder
from pathlib import PurePosixPath
from shlex import quote

from taxi_assets.errors import (
    CompressedTwice,
    NotACsv,
    NotParquet,
    ParquetSource,
    SpreadsheetFile,
    WrongEncoding,
    WrongLineEndings,
    WrongPacking,
    WrongSuffix,
)

START_BYTES = 1024
"""Bytes at the start of a file to inspect. With fewer, fewer formats are recognized."""

_GZIP = b"\x1f\x8b"

PARQUET = b"PAR1"
"""The first bytes of a Parquet file."""

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

_SPREADSHEETS = {
    rb"PK\x03\x04.{26}(\[Content_Types\]\.xml|xl/|docProps/|_rels/)": "an Excel workbook",
    rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis": "an OpenDocument spreadsheet",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook",
}
"""Files of spreadsheet programs, by a pattern at their start. A new workbook is a zip file."""

_PACKINGS = {
    rb".{257}ustar": ("a tar archive", "tar -xO"),
    rb"PK\x03\x04": ("a zip file", "funzip"),
    rb"BZh": ("a bzip2 file", "bzip2 -d"),
    rb"\xfd7zXZ": ("an xz file", "xz -d"),
    rb"\x28\xb5\x2f\xfd": ("a zstd file", "zstd -d"),
    rb"\x04\x22\x4d\x18": ("an lz4 file", "lz4 -d"),
    rb"7z\xbc\xaf": ("a 7z archive", ""),
}
"""Archives and compressed files, by a pattern at their start, each with a command that extracts its input."""

_BOMS = {
    # The byte order mark of UTF-32 starts with that of UTF-16.
    BOM_UTF32_LE: ("UTF-32", "utf-32-le"),
    BOM_UTF32_BE: ("UTF-32", "utf-32-be"),
    BOM_UTF16_LE: ("UTF-16", "utf-16-le"),
    BOM_UTF16_BE: ("UTF-16", "utf-16-be"),
}
"""Byte order marks, each with the encoding and Python's name of its variant."""

_SHOWN = 64
"""Bytes at the start of a file to show in messages."""


def require_csv_start(start: bytes, suffix: str, name: str) -> None:
    """Raise BadFile if the first bytes of a file, as stored, do not match its suffix.

    `name` is the path or address of the file in messages. The start of gzip data matches `.csv.gz`.
    """
    if ".gz" not in suffix:
        if start.startswith(_GZIP):
            problem = f'is compressed with gzip. Expected a plain CSV, because its name ends in "{suffix}"'
            raise WrongSuffix(
                f"The file {name} {problem}.",
                address=name,
                format="a gzip file",
                suffix=".csv.gz",
                command=f"gunzip < {_file(name)} > fixed.csv",
            )
        require_csv_text(start, name)
    elif not _GZIP.startswith(start[: len(_GZIP)]):
        require_csv_text(start, name, packed=True)
        seen = _printable_line(start)
        # A comma in prose, such as that of an error page, is followed by a space.
        if "," in seen and ", " not in seen:
            problem = "is a CSV that is not compressed"
            raise WrongSuffix(
                f'The file {name} {problem}. Expected gzip data, because its name ends in ".gz".{_starts_with(seen)}',
                address=name,
                suffix=".csv",
                seen=seen,
                command=f"gzip < {_file(name)} > fixed.csv.gz",
            )
        raise NotACsv(f"The file {name} is not a gzip file.{_starts_with(seen)}", address=name, **_seen(seen))


def require_start(start: bytes, suffix: str, name: str) -> None:
    """Raise BadFile if the first bytes of a file, as stored, do not match its suffix: that of a CSV or of Parquet."""
    if suffix == ".parquet":
        require_parquet_start(start, name)
    else:
        require_csv_start(start, suffix, name)


def require_parquet_start(start: bytes, name: str) -> None:
    """Raise NotParquet if the first bytes of a file are not those of a Parquet file."""
    if start.startswith(PARQUET):
        return
    kind, seen = _recognize(start), _printable_line(start)
    problem = f"contains {kind}, not Parquet" if kind else "is not a Parquet file"
    facts = {"format": kind, **_seen(seen)} if kind else _seen(seen)
    raise NotParquet(f"The file {name} {problem}.{_starts_with(seen)}", address=name, **facts)


def _recognize(start: bytes) -> str:
    """Return the format, such as `an HTML page`, of a file that starts with these bytes; empty if it is not known."""
    patterns = {**_SPREADSHEETS, **{pattern: kind for pattern, (kind, _) in _PACKINGS.items()}}
    line = _first_line(start).lower()
    found = ["a gzip file"] if start.startswith(_GZIP) else []
    found += [kind for pattern, kind in patterns.items() if re.match(pattern, start, re.DOTALL)]
    found += [kind for prefix, kind in _TEXT_FORMATS.items() if line.startswith(prefix)]
    return found[0] if found else ""


def require_csv_text(start: bytes, name: str, *, packed: bool = False, unpacked: bool = False) -> None:
    """Raise BadFile if the first bytes of a text are those of another format or encoding.

    `name` is the path or address of the file in messages. `packed` is true if the file should be compressed, and
    `unpacked` is true if these bytes were decompressed.
    """
    before, after = ("gunzip" if unpacked else ""), ("gzip" if packed else "")
    _reject_binary_formats(start, name, before, after)
    _reject_encodings(start, name, before, after)
    line = _first_line(start)
    if kind := next((kind for prefix, kind in _TEXT_FORMATS.items() if line.lower().startswith(prefix)), ""):
        seen = _printable_line(start)
        raise NotACsv(
            f"The file {name} contains {kind}, not a CSV.{_starts_with(seen)}", address=name, format=kind, **_seen(seen)
        )
    if _is_binary(line):
        raise NotACsv(f"The file {name} contains binary data, not a CSV.", address=name)
    if b"\r" in start.strip(b"\r") and b"\n" not in start:
        raise WrongLineEndings(
            f"The lines of the file {name} end in a carriage return. Expected a line feed at the end of each line.",
            address=name,
            command=_command(name, before, r"tr '\r' '\n'", after),
        )


def _reject_binary_formats(start: bytes, name: str, before: str, after: str) -> None:
    message = "The file {} contains {}, not a CSV."
    if before and start.startswith(_GZIP):
        raise CompressedTwice(
            f"The file {name} is compressed with gzip twice. Expected a CSV that is compressed once.",
            address=name,
            format="a gzip file",
            command=f"gunzip < {_file(name)} > fixed.csv.gz",
        )
    if start.startswith(PARQUET):
        raise ParquetSource(
            message.format(name, "a Parquet file"), address=name, format="a Parquet file", file=PurePosixPath(name).name
        )
    for pattern, kind in _SPREADSHEETS.items():
        if re.match(pattern, start, re.DOTALL):
            raise SpreadsheetFile(message.format(name, kind), address=name, format=kind)
    for pattern, (kind, tool) in _PACKINGS.items():
        if re.match(pattern, start, re.DOTALL):
            command = _command(name, before, tool, after) if tool else f"7z x {_file(name)}"
            raise WrongPacking(message.format(name, kind), address=name, format=kind, command=command)


def _reject_encodings(start: bytes, name: str, before: str, after: str) -> None:
    if not (recognized := _recognize_encoding(start)):
        return
    encoding, codec = recognized
    seen = _printable_line(start, codec)
    raise WrongEncoding(
        f"The file {name} is a text in {encoding}. Expected UTF-8.{_starts_with(seen)}",
        **{"address": name, "encoding": encoding, **_seen(seen)},
        command=_command(name, before, f"iconv -f {encoding} -t UTF-8", after),
    )


def _recognize_encoding(start: bytes) -> tuple[str, str] | None:
    """Return the name of a text's encoding and Python's name of it, if it is UTF-16 or UTF-32; otherwise None."""
    if found := next((names for bom, names in _BOMS.items() if start.startswith(bom)), None):
        return found
    # Without a byte order mark, every other byte of English text is 0.
    even, odd = start[:_SHOWN:2], start[1:_SHOWN:2]
    if len(odd) > 1 and all(even) and even.isascii() and not any(odd):
        return "UTF-16LE", "utf-16-le"
    if len(odd) > 1 and all(odd) and odd.isascii() and not any(even):
        return "UTF-16BE", "utf-16-be"
    return None


def _is_binary(line: bytes) -> bool:
    """Whether the start of a line, unless it is short, has bytes that a header in any encoding does not have."""
    if len(line) < _SHOWN // 2:
        return False
    try:
        getincrementaldecoder("utf-8")().decode(line)
    except UnicodeDecodeError:
        not_ascii = sum(byte >= 128 for byte in line)  # noqa: PLR2004
        return b"\0" in line or 4 * not_ascii > len(line)
    return b"\0" in line


def _command(name: str, before: str, tool: str, after: str) -> str:
    """Return a shell command that applies a tool to the text of a file and writes a file that can be read."""
    first, *rest = filter(None, (before, tool, after))
    return f"{' | '.join([f'{first} < {_file(name)}', *rest])} > fixed.csv{'.gz' if after else ''}"


def _file(name: str) -> str:
    """Return the file name of a path or address, quoted for a shell."""
    return quote(PurePosixPath(name).name)


def _starts_with(seen: str) -> str:
    return f" It starts with {seen!r}." if seen else ""


def _seen(seen: str) -> dict[str, str]:
    return {"seen": seen} if seen else {}


def _first_line(start: bytes) -> bytes:
    return start[:_SHOWN].removeprefix(BOM_UTF8).lstrip().partition(b"\n")[0].rstrip()


def _printable_line(start: bytes, codec: str = "utf-8") -> str:
    """Return the start of the first line as text; empty if it is not printable."""
    try:
        # The last character may be incomplete.
        text = getincrementaldecoder(codec)().decode(_first_line(start) if codec == "utf-8" else start[: 2 * _SHOWN])
    except UnicodeDecodeError:
        return ""
    line = text.removeprefix("\ufeff").lstrip().partition("\n")[0].rstrip()[:_SHOWN]
    return line if line.replace("\t", " ").isprintable() else ""
