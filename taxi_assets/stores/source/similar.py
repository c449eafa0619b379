"""Find files in a source folder that seem to be months under other names, and the template that reads them.

The search is bounded, so that it is fast in a folder with many files and on a network drive.
Not here: the files that have the expected names (`months`).
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

from taxi_assets.errors import InvalidSourceUrl
from taxi_assets.stores.source.known import NAMES
from taxi_assets.stores.source.template import LAYOUT, PLACEHOLDERS, SUFFIXES, Template, has_placeholder
from taxi_assets.tlc.trips import COLORS, TripMonth

LEVELS, ENTRIES, SECONDS = 4, 10_000, 3.0
"""Where a search ends: levels of folders below the source folder, files and folders seen, and time in seconds."""

OTHER_SUFFIXES = (
    *(".csv.zip", ".csv.bz2", ".csv.xz", ".csv.zst", ".csv.7z", ".tar.gz", ".tgz", ".tar", ".zip"),
    *(".7z", ".gz", ".bz2", ".xz", ".zst", ".xlsx", ".xls", ".ods", ".txt", ".tsv", ".json"),
)
"""Suffixes of files that may contain a month, but that are not read."""

_COLOR = re.compile(rf"(?<![a-z])({'|'.join(COLORS)})(?![a-z])", re.IGNORECASE)

_YEAR, _NUMBER, _DIGIT = r"(?P<year>(?:19|20)\d\d)", r"(?P<number>0[1-9]|1[0-2])", r"(?P<number>[1-9])"
_START, _END = r"(?<!\d)(?<!\d[-_.])", r"(?![-_.]?\d)"
_FORMS = (
    (re.compile(f"{_START}{_YEAR}-{_NUMBER}{_END}"), "{month}"),
    (re.compile(f"{_START}{_YEAR}(?P<between>[-_. ]?){_NUMBER}{_END}"), "{year}BETWEEN{month:02}"),
    (re.compile(f"{_START}{_NUMBER}(?P<between>[-_. ]?){_YEAR}{_END}"), "{month:02}BETWEEN{year}"),
    (re.compile(f"{_START}{_YEAR}(?P<between>[-_. ]){_DIGIT}{_END}"), "{year}BETWEEN{month:d}"),
    # In separate places, such as folders.
    (re.compile(rf"(?<!\d){_YEAR}(?!\d)(?P<between>.*[/A-Za-z](?:.*\D)?){_NUMBER}{_END}"), "{year}BETWEEN{month:02}"),
    (re.compile(rf"(?<!\d){_YEAR}(?!\d)(?P<between>.*[/A-Za-z](?:.*\D)?){_DIGIT}{_END}"), "{year}BETWEEN{month:d}"),
)
"""How the names of files and folders contain a month, and the placeholders for it. The first match wins.

A date with a day is not a month.
"""


@dataclass(frozen=True)
class SimilarFile:
    """A file that seems to be a month, and the template or folder that reads it; empty if its format is not read."""

    path: Path
    template: str

    def __str__(self) -> str:
        unreadable = "" if self.template else f" Only {' and '.join(SUFFIXES)} files can be read."
        return f'A similar file exists: "{self.path}".{unreadable}'


def find_similar(folder: Path) -> dict[TripMonth, SimilarFile]:
    """Return the files in a folder that seem to be months, one for each month. Files that can be read win."""
    found: dict[TripMonth, SimilarFile] = {}
    for path in _walk(folder):
        if recognized := recognize(folder, path):
            month, similar = recognized
            if month not in found or (similar.template and not found[month].template):
                found[month] = similar
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below, level by level, until a limit is reached."""
    folders, entries, end = [folder], 0, monotonic() + SECONDS
    for _ in range(LEVELS + 1):
        below: list[Path] = []
        for each in folders:
            if entries >= ENTRIES or monotonic() > end:
                return
            names = _list(each, ENTRIES - entries)
            entries += len(names)
            for name, is_folder in sorted(names):
                if is_folder:
                    below.append(each / name)
                else:
                    yield each / name
        folders = below


def list_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, at most ENTRIES of them."""
    return [name for name, is_folder in _list(folder, ENTRIES) if is_folder]


def _list(folder: Path, limit: int) -> list[tuple[str, bool]]:
    """Return the names in a folder, and whether each is a folder. A folder that cannot be read has none."""
    with suppress(OSError), os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir()) for entry in islice(entries, limit) if not entry.name.startswith(".")]
    return []


def recognize(folder: Path, path: Path) -> tuple[TripMonth, SimilarFile] | None:
    """Return the month that a file in a folder, or below it, seems to be, or None."""
    name = path.name.lower()
    if not name.endswith((*SUFFIXES, *OTHER_SUFFIXES)):
        return None
    # The source folder can itself be that of a color or year.
    of_month = _COLOR.fullmatch(folder.name) or re.fullmatch(_YEAR, folder.name)
    base = folder.parent if of_month else folder
    generalized = _generalize(str(path.relative_to(base)))
    if not generalized:
        return None
    month, relative = generalized
    template = f"{base}/{relative}".replace("//", "/", 1)
    if not name.endswith(SUFFIXES):
        return month, SimilarFile(path, "")
    with suppress(InvalidSourceUrl):
        if not has_placeholder(str(base)) and Template(template).fill(month) == str(path):
            return month, SimilarFile(path, str(base) if relative == LAYOUT else template)
    return None


def source_of(address: str, month: TripMonth) -> str:
    """Return the source that has a month's file at this path or URL.

    It is the name of a public source, such as `tlc`, or the folder, base URL or template that leads to the address; or
    the address itself if it does not contain the color and the month.
    """
    for name, url in NAMES.items():
        if Template(url if has_placeholder(url) else f"{url}/{LAYOUT}").fill(month) == address:
            return name
    base = address.removesuffix(f"/{Template(LAYOUT).fill(month)}")
    if base != address:
        return base or "/"
    generalized = _generalize(address)
    return generalized[1] if generalized and generalized[0] == month else address


def _generalize(relative: str) -> tuple[TripMonth, str] | None:
    """Return the month of a relative path and the path with placeholders; None if it does not have a single month."""
    colors = {found.lower() for found in _COLOR.findall(relative)}
    found = next(((match, text) for form, text in _FORMS if (match := form.search(relative))), None)
    if len(colors) != 1 or not found:
        return None
    match, text = found
    month = TripMonth(colors.pop(), f"{match['year']}-{match['number']:0>2}")
    # Placeholders of a month contain no color, and those of a color no digits, so the order does not matter.
    between = match.groupdict().get("between") or ""
    relative = relative.replace(match[0], text.replace("BETWEEN", between))
    relative = _COLOR.sub(lambda color: _placeholder(color[0], month, _COLOR_NAMES), relative)
    relative = "/".join(_placeholder(part, month, _MONTH_NAMES) for part in relative.split("/"))
    # A year that is left is part of a date with a day, or of a range.
    return None if re.search(_YEAR, relative) else (month, relative)


_COLOR_NAMES, _MONTH_NAMES = ("{color}", "{Color}", "{COLOR}"), ("{year}", "{month:02}", "{month:d}")


def _placeholder(text: str, month: TripMonth, names: tuple[str, ...]) -> str:
    """Return the placeholder among `names` that stands for this text, or the text itself if there is none."""
    return next((name for name in names if PLACEHOLDERS[name](month) == text), text)
