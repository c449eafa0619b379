"""The data lake: one Parquet object per month, which a warehouse loads.

Here: the interface of a lake, and the lake in a local folder.
Not here: the lake in a bucket (`gcs`), and how the rows of an object are produced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taxi_assets.errors import MissingUpstream, SettingsError, StoreError
from taxi_assets.stores.files import StagedFile, local_path, probe_folder, remove_file
from taxi_assets.stores.inventory import StoredItem, hold_files
from taxi_assets.stores.os_errors import describe_free_space, translate_os_errors
from taxi_assets.tlc.parquet import read_footer, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class LakeObject:
    """A month's Parquet file in a lake.

    `uri` is a location that a warehouse can open: a path for a folder, a `gs://` URI for a bucket. `bytes` is the size.
    `rows` is the row count in the file's footer. `generation` is the object's generation number in the bucket, or None
    in a folder. `version` is the data version in the file's footer, or empty if there is none.
    """

    month: TripMonth
    uri: str
    bytes: int
    rows: int
    generation: int | None = None
    version: str = ""


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

        Raises MissingUpstream if it does not exist, and StoreError if it is not a Parquet file.
        """
        ...

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's object. Raises the same errors as `find`, and StoreError if the object is damaged."""
        ...

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's object as a stored item, without reading it; an empty list if it does not exist."""
        ...

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's object and return what was deleted.

        Raises StoreBusy if another run replaces the object in the meantime.
        """
        ...

    def probe(self) -> str:
        """Write and delete a test file or object, and return the status in one sentence. Raises StoreError."""
        ...


class FolderLake:
    """A lake in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, month: TripMonth) -> StagedFile:
        """Create a staged file next to the month's target file."""
        return StagedFile(self._place(month))

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Publish the staged file as the month's object. Replaces an existing file."""
        staged.publish()
        return self.find(month)

    def find(self, month: TripMonth) -> LakeObject:
        """Return the month's file.

        Raises MissingUpstream if it does not exist, and StoreError if it is not a Parquet file.
        """
        with self._reading(month) as place:
            footer = read_footer(place)
            return LakeObject(month, str(place), place.stat().st_size, footer.rows, version=footer.version)

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's file. Raises the same errors as `find`, and StoreError if the file is damaged."""
        with self._reading(month) as place:
            return summarize_parquet(place, LAYOUTS[month.color])

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's file as a stored item; an empty list if it does not exist."""
        with translate_os_errors(self._place(month)):
            return hold_files(self._place(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's file and return what was deleted."""
        place = self._place(month)
        size = remove_file(place)
        return [] if size is None else [StoredItem(str(place), bytes=size)]

    def probe(self) -> str:
        """Check that the object folders are writable, and return the status in one sentence. Raises StoreError."""
        for color in COLORS:
            probe_folder(self.folder / "data" / color)
        objects = sum(1 for _ in self.folder.glob("data/*/*.parquet"))
        return f"{self.folder} can be written to; objects: {objects:,}; {describe_free_space(self.folder)}"

    @contextmanager
    def _reading(self, month: TripMonth) -> Iterator[Path]:
        place = self._place(month)
        try:
            with damage_reported(month, str(place)), translate_os_errors(place):
                yield place
        except FileNotFoundError as error:
            raise missing_object(month, str(place)) from error

    def _place(self, month: TripMonth) -> Path:
        return self.folder / month.object_name


@contextmanager
def damage_reported(month: TripMonth, uri: str) -> Iterator[None]:
    """Translate pyarrow's errors for an unreadable object to StoreError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        # For damaged pages, pyarrow raises a plain OSError without errno. Other OSErrors come from the operating system
        # (with errno) or from Google's client (subclasses).
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        said = " ".join(str(error).split()).rstrip(".")
        raise StoreError(
            f"{uri} is no Parquet file of {month.color} trips, or it is damaged: {said}. Run the step lake_trips "
            f"again: {_load_command(month)}"
        ) from error


def missing_object(month: TripMonth, uri: str) -> MissingUpstream:
    """Create the error for a month whose object does not exist."""
    return MissingUpstream(
        f"the lake has no object of {month}: expected {uri}. Run the step lake_trips first, here or, with a bucket, on "
        f"another machine: {_load_command(month)}"
    )


def _load_command(month: TripMonth) -> str:
    return f"taxi materialize --color {month.color} --months {month.month} --select +lake_trips"


def open_folder(url: str) -> FolderLake:
    """Return the lake for a folder path or `file://` URL. Raises SettingsError for any other URL."""
    folder = local_path(url)
    if folder is None:
        raise SettingsError(
            f"TAXI_LAKE_URL: a lake cannot be at {url.partition(':')[0]}://: expected a folder, file:// or gs://bucket"
        )
    return FolderLake(folder)
