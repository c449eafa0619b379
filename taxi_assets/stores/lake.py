"""The data lake: one Parquet object per month, which a warehouse loads.

Here: the interface of a lake, and the errors that all lakes raise.
Not here: the lakes themselves (`files.folder_lake`, `google.gcs`), and how the rows of an object are produced.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from taxi_assets.errors import DamagedFile, ForeignObject, MissingUpstream
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.tlc.formats import PARQUET
from taxi_assets.tlc.parquet import Footer
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class LakeObject:
    """A month's Parquet file in a lake.

    `uri` is a location that a warehouse can open: a path for a folder, a `gs://` URI for a bucket. `bytes` is the size.
    `rows` is the row count in the file's footer. `generation` is the object's generation number in the bucket, or None
    in a folder. `version` is the data version in the file's footer, or empty if there is none. `columns` are its column
    names, and `lake` is the lake that contains the object; neither counts when two objects are compared.
    """

    month: TripMonth
    uri: str
    bytes: int
    rows: int
    generation: int | None = None
    version: str = ""
    columns: tuple[str, ...] = field(default=(), kw_only=True, repr=False, compare=False)
    lake: "Lake" = field(kw_only=True, repr=False, compare=False)

    def summarize(self) -> MonthSummary:
        """Summarize the month's current object. Raises the same errors as `Lake.summarize`."""
        return self.lake.summarize(self.month)

    def reread(self) -> "LakeObject":
        """Return the month's current object, which differs from this one if it was replaced.

        Raises the same errors as `Lake.find`.
        """
        return self.lake.find(self.month)


class Lake(Protocol):
    """A lake with one object per month. Objects are published atomically."""

    def stage(self, month: TripMonth) -> StagedFile:
        """Create the staged file that the month's Parquet data is written to before `put`."""
        ...

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Publish the staged file as the month's object. Replaces an existing object."""
        ...

    def find(self, month: TripMonth) -> LakeObject:
        """Return the month's object.

        Raises MissingUpstream if it does not exist, ForeignObject if another program wrote it, and DamagedFile if it is
        damaged.
        """
        ...

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the row groups of the month's object in order, with these columns only.

        Raises the same errors as `find`, and DamagedFile if the object is damaged.
        """
        ...

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's object. Raises the same errors as `find`, and DamagedFile if the object is damaged."""
        ...

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's object as a stored item, without reading it; an empty list if it does not exist."""
        ...

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's object and return what was deleted.

        Raises StoreBusy if another run replaces the object in the meantime.
        """
        ...

    def put_zones(self, zones: "pa.Table") -> str:
        """Publish the taxi zones as the Parquet file `ZONES_NAME`, replace an existing one, and return its URI."""
        ...

    def probe(self) -> str:
        """Write and delete a test file or object, and return the status in one sentence. Raises StoreError."""
        ...


@contextmanager
def damage_reported(month: TripMonth, uri: str, asset: str = "lake_trips") -> Iterator[None]:
    """Translate pyarrow's errors for an unreadable object or file to DamagedFile. `asset` creates it again."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        # For damaged pages, pyarrow raises a plain OSError without errno. Other OSErrors come from the operating system
        # (with errno) or from Google's client (subclasses).
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise damaged_object(month, uri, " ".join(str(error).split()), asset) from error


def require_own_object(month: TripMonth, uri: str, start: bytes, footer: Callable[[], Footer]) -> Footer:
    """Return the footer of an object, given its first bytes. Raises ForeignObject if another program wrote it.

    An object that ends before or after these bytes is damaged: `footer` raises the error.
    """
    if PARQUET.startswith(start) and (read := footer()).source:
        return read
    raise ForeignObject(f'This project did not write "{uri}".', **month.facts, uri=uri)


ZONES_NAME = "data/zones/taxi_zone_lookup.parquet"
"""The name of the object with the taxi zones."""


def damaged_object(month: TripMonth, uri: str, reason: str, asset: str = "lake_trips") -> DamagedFile:
    """Return the error for a month whose object or file is not a Parquet file with the columns of its color."""
    return DamagedFile(
        f'"{uri}" is damaged, or is not a Parquet file of {month.color} trips: {reason.rstrip(".")}.',
        **month.facts,
        uri=uri,
        asset=asset,
    )


def missing_object(month: TripMonth, uri: str) -> MissingUpstream:
    """Return the error for a month whose object does not exist."""
    return MissingUpstream(
        f'{month} is not in the lake: "{uri}" does not exist.', **month.facts, uri=uri, asset="lake_trips"
    )
