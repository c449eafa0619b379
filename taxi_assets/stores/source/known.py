"""What is known of the sources: the names and URLs of the public ones, and the months that each can have.

Not here: whether a month is published (`months`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MIRROR_URL = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download"
TLC_URL = "https://d37ci6vzurychx.cloudfront.net/trip-data/{color}_tripdata_{month}.parquet"


@dataclass(frozen=True)
class KnownSource:
    """The first month of each color that a source has, and its last month, all `YYYY-MM`.

    `last` is None for a source that still gets new months.
    """

    firsts: Mapping[str, str]
    last: str | None = None


NAMES: Mapping[str, str] = MappingProxyType({"mirror": MIRROR_URL, "tlc": TLC_URL})
"""The URLs of the public sources, by their names."""

_PUBLISHED = KnownSource(
    MappingProxyType({"yellow": "2009-01", "green": "2013-08", "fhv": "2015-01", "fhvhv": "2019-02"})
)
"""The months that the TLC has published. The source of another URL can have any of them."""

_MIRROR_FIRST = "2019-01"

_MIRROR = KnownSource(MappingProxyType(dict.fromkeys(("yellow", "green", "fhv"), _MIRROR_FIRST)), "2021-07")


def know(url: str) -> KnownSource:
    """Return what is known of the source with this URL."""
    return _MIRROR if url == MIRROR_URL else _PUBLISHED


def likely_months(source: KnownSource, color: str) -> tuple[str, ...]:
    """Return months of a color, of which a source probably has one: its first, and that of a copy of the mirror."""
    first = source.firsts[color]
    return tuple(dict.fromkeys((first, max(first, _MIRROR_FIRST))))


def misc_address(folder: str, name: str) -> str:
    """Return the path or URL of a file that does not belong to a month, such as the lookup table of the taxi zones.

    `folder` is the part of the path that all months share. The file is in its folder `misc`, as at the mirror; or next
    to the folder if it is named `trip-data`, as at the TLC.
    """
    parent, _, last = folder.rstrip("/").rpartition("/")
    return f"{parent if last == _TLC_FOLDER else folder.rstrip('/')}/misc/{name}"


_TLC_FOLDER = "trip-data"
