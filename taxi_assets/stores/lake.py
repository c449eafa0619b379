"""A month's object in a lake, which a warehouse loads.

Here: what a lake does, and a folder as one.
Not here: the object's rows, and how they got there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taxi_assets.errors import MissingUpstream, SettingsError, StoreError
from taxi_assets.stores.files import StagedFile, local_path, probe_folder, remove_file
from taxi_assets.stores.holdings import Holding, hold_files
from taxi_assets.stores.refusals import refusals_told, said_room
from taxi_assets.tlc.parquet import read_footer, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class LakeObject:
    """A month's Parquet file in a lake.

    `uri` is what a warehouse can open: a path in a folder, `gs://` in a bucket. `rows` are those that the file tells.
    `generation` is the bucket's number of this version of the object; a folder has none. `version` is the data version
    that the file's footer states, empty where it states none.
    """

    month: TripMonth
    uri: str
    bytes: int
    rows: int
    generation: int | None = None
    version: str = ""


class Lake(Protocol):
    """Objects, one a month, each of which appears whole or not at all."""

    def stage(self, month: TripMonth) -> StagedFile:
        """Where to write the month's Parquet before `put`."""
        ...

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Let what was staged appear as the month's object, in the place of an older one."""
        ...

    def find(self, month: TripMonth) -> LakeObject:
        """The month's object. Raises MissingUpstream, and StoreError where it is no Parquet file."""
        ...

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month's object. Raises as `find`, and StoreError where the object is damaged."""
        ...

    def held(self, month: TripMonth) -> list[Holding]:
        """The month's object, whatever is in it, if it is there."""
        ...

    def remove(self, month: TripMonth) -> list[Holding]:
        """Remove the month's object; gives what went. Raises StoreBusy where another run just put another one."""
        ...

    def probe(self) -> str:
        """Try to put something there, and leave nothing; what was seen, in a sentence. Raises StoreError."""
        ...


class FolderLake:
    """A lake in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, month: TripMonth) -> StagedFile:
        """A staged file beside the object's place."""
        return StagedFile(self._place(month))

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Publish the staged file."""
        staged.publish()
        return self.find(month)

    def find(self, month: TripMonth) -> LakeObject:
        """The month's file. Raises MissingUpstream, and StoreError where it is not a Parquet file."""
        with self._reading(month) as place:
            footer = read_footer(place)
            return LakeObject(month, str(place), place.stat().st_size, footer.rows, version=footer.version)

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month's file. Raises as `find`, and StoreError where the file is damaged."""
        with self._reading(month) as place:
            return summarize_parquet(place, LAYOUTS[month.color])

    def held(self, month: TripMonth) -> list[Holding]:
        """The month's file, if it is there."""
        with refusals_told(self._place(month)):
            return hold_files(self._place(month))

    def remove(self, month: TripMonth) -> list[Holding]:
        """Remove the month's file; gives what went."""
        place = self._place(month)
        size = remove_file(place)
        return [] if size is None else [Holding(str(place), bytes=size)]

    def probe(self) -> str:
        """Try to write where objects will lie; what was seen, in a sentence. Raises StoreError."""
        for color in COLORS:
            probe_folder(self.folder / "data" / color)
        objects = sum(1 for _ in self.folder.glob("data/*/*.parquet"))
        return f"{self.folder} can be written to; objects: {objects:,}; {said_room(self.folder)}"

    @contextmanager
    def _reading(self, month: TripMonth) -> Iterator[Path]:
        place = self._place(month)
        try:
            with damage_reported(month, str(place)), refusals_told(place):
                yield place
        except FileNotFoundError as error:
            raise missing_object(month, str(place)) from error

    def _place(self, month: TripMonth) -> Path:
        return self.folder / month.object_name


@contextmanager
def damage_reported(month: TripMonth, uri: str) -> Iterator[None]:
    """Raise StoreError where pyarrow cannot read the month's object."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        # pyarrow raises a bare OSError for damaged pages; those of the system have a number, those of Google a class.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        said = " ".join(str(error).split()).rstrip(".")
        raise StoreError(
            f"{uri} is no Parquet file of {month.color} trips, or it is damaged: {said}. Run the step lake_trips "
            f"again: {_load_command(month)}"
        ) from error


def missing_object(month: TripMonth, uri: str) -> MissingUpstream:
    """The error for a month whose object does not exist."""
    return MissingUpstream(
        f"the lake has no object of {month}: expected {uri}. Run the step lake_trips first, here or, with a bucket, on "
        f"another machine: {_load_command(month)}"
    )


def _load_command(month: TripMonth) -> str:
    return f"taxi materialize --color {month.color} --months {month.month} --select +lake_trips"


def open_folder(url: str) -> FolderLake:
    """The lake in a folder, plain or `file://`. Raises SettingsError for anything else."""
    folder = local_path(url)
    if folder is None:
        raise SettingsError(
            f"TAXI_LAKE_URL: a lake cannot be at {url.partition(':')[0]}://: expected a folder, file:// or gs://bucket"
        )
    return FolderLake(folder)
