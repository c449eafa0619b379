"""Recognize CSVs with another delimiter or without a header, by their first line.

Not here: the names of the columns (`schema`, `eras`), and other formats and encodings (`formats`).
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from taxi_assets.tlc.eras import normalize

DELIMITERS = (";", "\t", "|")
"""The delimiters that are used instead of commas."""

_SEPARATOR_LINE = re.compile(r'"?sep=([^"])?"?,*', re.IGNORECASE)

_NUMBER = re.compile(r"-?\d*([.,]\d+)?")

_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?")

_FEWEST_FIELDS = 3


def find_separator_line(line: str) -> str:
    """Return the delimiter in a line such as `sep=;`, which tells Excel the delimiter; empty for any other line."""
    found = _SEPARATOR_LINE.fullmatch(line.strip(" \r\n"))
    return (found[1] or ",") if found else ""


def find_delimiter(line: str, known: AbstractSet[str]) -> str:
    """Return the delimiter of a header if most of its fields are then known names in lowercase; otherwise ""."""
    for delimiter in DELIMITERS:
        names = normalize(line.split(delimiter))
        if len(names) >= _FEWEST_FIELDS and 2 * sum(name in known for name in names) >= len(names):
            return delimiter
    return ""


def find_delimiter_of_data(line: str) -> str:
    """Return the delimiter of a line that has values instead of names, such as dates and numbers; otherwise ""."""
    for delimiter in (",", *DELIMITERS):
        fields = normalize(line.split(delimiter))
        if len(fields) >= _FEWEST_FIELDS and _are_values(fields):
            return delimiter
    return ""


def _are_values(fields: Sequence[str]) -> bool:
    if any(map(_DATE.fullmatch, fields)):
        return True
    return any(fields) and all(map(_NUMBER.fullmatch, fields))
