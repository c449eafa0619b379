"""Inventory of the stored items of a month: what a wipe lists for confirmation, and reports after deletion.

Not here: how each store finds and deletes its items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxi_assets.tlc.trips import TripMonth


@dataclass(frozen=True)
class StoredItem:
    """A file, an object or a table partition: its location, and its size in bytes or its row count."""

    place: str
    bytes: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Inventory:
    """The operations of a store that a wipe needs.

    `items` returns the stored items of a month. `remove` deletes them and returns what it deleted, which can be less
    than `items` returned if another process deleted some of them first. Both raise StoreError.
    """

    items: Callable[[TripMonth], Sequence[StoredItem]]
    remove: Callable[[TripMonth], Sequence[StoredItem]]


def file_items(*places: Path) -> list[StoredItem]:
    """Return the existing files among `places` as stored items."""
    return [StoredItem(str(place), bytes=place.stat().st_size) for place in places if place.is_file()]


def row_items(place: str, rows: int) -> list[StoredItem]:
    """Return a table partition as a stored item, or an empty list if it has no rows."""
    return [StoredItem(place, rows=rows)] if rows else []
