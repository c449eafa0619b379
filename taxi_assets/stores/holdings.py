"""What a store holds of a month: what a wipe lists before it asks, and tells when it is gone.

Not here: how a store looks, and removes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxi_assets.tlc.trips import TripMonth

STORES = ("raw", "clean", "lake", "warehouse", "postgres")
"""Where a month is kept, by the words that people use, in the order that it gets there."""


@dataclass(frozen=True)
class Holding:
    """A file, an object or a table's partition: its place, and its size in bytes or in rows, whichever is known."""

    place: str
    bytes: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Holder:
    """A store, as a wipe sees it: what it holds of a month, and how that goes.

    `remove` gives what went: less than `held` told where someone else was faster. Both raise StoreError.
    """

    held: Callable[[TripMonth], Sequence[Holding]]
    remove: Callable[[TripMonth], Sequence[Holding]]


def hold_files(*places: Path) -> list[Holding]:
    """Those of the files that are there."""
    return [Holding(str(place), bytes=place.stat().st_size) for place in places if place.is_file()]


def hold_rows(place: str, rows: int) -> list[Holding]:
    """The rows of a table's partition, if there are any."""
    return [Holding(place, rows=rows)] if rows else []
