"""Templates of a source: paths and URLs of files, with placeholders for the color and the month.

Not here: which files exist (`months`), and files with other names (`similar`).
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from glob import escape
from types import MappingProxyType

from taxi_assets.errors import InvalidSourceUrl, UnknownMonth
from taxi_assets.tlc.trips import TripMonth

LAYOUT = "{color}/{color}_tripdata_{month}.csv.gz"
SUFFIXES = (".csv.gz", ".csv", ".parquet")

PLACEHOLDERS: Mapping[str, Callable[[TripMonth], str]] = MappingProxyType(
    {
        "{color}": lambda month: month.color,
        "{Color}": lambda month: month.color.capitalize(),
        "{COLOR}": lambda month: month.color.upper(),
        "{month}": lambda month: month.month,
        "{year}": lambda month: month.month[:4],
        "{month:02}": lambda month: month.month[5:],
        "{month:02d}": lambda month: month.month[5:],
        "{month:d}": lambda month: month.month[5:].lstrip("0"),
    }
)
"""The text of each placeholder for a month: `{month}` is `2020-04`, `{month:02}` is `04`, and `{month:d}` is `4`."""

_COLORS = ("{color}", "{Color}", "{COLOR}")
_NUMBERS = ("{month:02}", "{month:02d}", "{month:d}")

KNOWN = "{color}, {month} (such as 2020-04), {year}, {month:02} (04), {month:d} (4), {Color} and {COLOR}"
"""The placeholders, for messages."""

_EXPECTED = (
    f"Expected a folder or a file://, http:// or https:// URL that contains {LAYOUT}, or a template with {{color}} and "
    f"{{month}} that ends in {' or '.join(SUFFIXES)}."
)

_PLACEHOLDER = re.compile(r"\{[^{}/]*\}")

_WILDCARDS: Mapping[str, str] = MappingProxyType(
    {"{month}": "????-??", "{year}": "????", "{month:02}": "??", "{month:02d}": "??", "{month:d}": "*"}
)
"""What the placeholders of a month match in a glob pattern."""

_VALUES: Mapping[str, str] = MappingProxyType(
    {
        "{month}": r"(\d{4}-\d\d)",
        "{year}": r"(\d{4})",
        "{month:02}": r"(\d\d)",
        "{month:02d}": r"(\d\d)",
        "{month:d}": r"(\d\d?)",
    }
)
"""The same as regular expressions."""


class Template:
    """A path or URL with placeholders. Raises InvalidSourceUrl if it does not lead to one file for each month."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = set(_PLACEHOLDER.findall(text))
        _require_known(found)
        if not found.intersection(_COLORS):
            raise _incomplete(found, "{color}")
        if "{month}" not in found and not ("{year}" in found and found.intersection(_NUMBERS)):
            raise _incomplete(found, "{month}, or {year} and {month:02}")
        if not text.lower().endswith(SUFFIXES):
            name = text.rstrip("/").rpartition("/")[2]
            raise InvalidSourceUrl(f'The URL of the source ends in "{name}". {_EXPECTED}', seen=name)

    @property
    def suffix(self) -> str:
        """The suffix of the files, which says their format: `.csv.gz`, `.csv` or `.parquet`."""
        return next(suffix for suffix in SUFFIXES if self.text.lower().endswith(suffix))

    @property
    def folder(self) -> str:
        """The part of the path that is the same for all months, without the final slash."""
        return _PLACEHOLDER.split(self.text)[0].rpartition("/")[0] or "/"

    def fill(self, month: TripMonth) -> str:
        """Return the path or URL of a month's file."""
        return _PLACEHOLDER.sub(lambda found: PLACEHOLDERS[found[0]](month), self.text)

    def glob(self, month: TripMonth) -> str:
        """Return a pattern that matches the files of all months of a color, and perhaps others."""
        wildcards = {name: _WILDCARDS.get(name) or fill(month) for name, fill in PLACEHOLDERS.items()}
        return _PLACEHOLDER.sub(lambda found: wildcards[found[0]], escape(self.text))

    def read(self, path: str, color: str) -> TripMonth | None:
        """Return the month of a color whose file has this path, or None if there is none."""
        names: list[str] = []

        def value(found: re.Match[str]) -> str:
            # Letters and digits were not escaped, and the braces were.
            name = found[0].replace("\\", "")
            if name in _VALUES:
                names.append(name)
            return _VALUES.get(name, r".+")

        pattern = re.sub(r"\\\{[^{}/]*\\\}", value, re.escape(self.text))
        found = re.fullmatch(pattern, path)
        if not found:
            return None
        values = dict(zip(names, found.groups(), strict=True))
        number = next((values[name] for name in _NUMBERS if name in values), "")
        with suppress(UnknownMonth):
            month = TripMonth(color, values.get("{month}") or f"{values['{year}']}-{number:0>2}")
            return month if self.fill(month) == path else None
        return None


def has_placeholder(url: str) -> bool:
    """Whether a URL has a placeholder, known or unknown, and is therefore a template."""
    return _PLACEHOLDER.search(url) is not None


def _require_known(found: set[str]) -> None:
    for name in sorted(found.difference(PLACEHOLDERS)):
        nearest = get_close_matches(name.lower(), ("{color}", "{month}", "{year}"), n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise InvalidSourceUrl(
            f'The URL of the source contains the unknown placeholder "{name}".{hint} Expected: {KNOWN}.', seen=name
        )


def _incomplete(found: set[str], missing: str) -> InvalidSourceUrl:
    seen = ", ".join(sorted(found))
    return InvalidSourceUrl(f"The URL of the source contains {seen}, but not {missing}. {_EXPECTED}", seen=seen)
