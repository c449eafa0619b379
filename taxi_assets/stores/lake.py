"""A month's object in a lake, which a warehouse loads.

Here: what a lake does, and a folder as one.
Not here: the object's rows, and how they got there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taxi_assets.errors import MissingUpstream, SettingsError, StoreError
from taxi_assets.stores.files import StagedFile, local_path, probe_folder, remove_file
from taxi_assets.stores.holdings import Holding, hold_files
from taxi_assets.stores.refusals import refusals_told, said_room
from taxi_assets.tlc.parquet import count_rows
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class LakeObject:
    """A month's Parquet file in a lake.

    `uri` is what a warehouse can open: a path in a folder, `gs://` in a bucket. `rows` are those that the file tells.
    `generation` is the bucket's number of this version of the object; a folder has none.
    """

    month: TripMonth
    uri: str
    bytes: int
    rows: int
    generation: int | None = None


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
        """The month's file. Raises MissingUpstream, and StoreError where it is no Parquet file."""
        import pyarrow as pa

        place = self._place(month)
        try:
            with refusals_told(place):
                return LakeObject(month, str(place), place.stat().st_size, count_rows(place))
        except FileNotFoundError as error:
            raise MissingUpstream(
                f"the lake has no object of {month}: expected {place}. The station lake_trips makes it: run that first"
            ) from error
        except pa.ArrowInvalid as error:
            raise StoreError(f"{place} is no Parquet file: {error}. Run lake_trips of {month} again") from error

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

    def _place(self, month: TripMonth) -> Path:
        return self.folder / month.object_name


def open_folder(url: str) -> FolderLake:
    """The lake in a folder, plain or `file://`. Raises SettingsError for anything else."""
    folder = local_path(url)
    if folder is None:
        raise SettingsError(
            f"TAXI_LAKE_URL: a lake cannot be at {url.partition(':')[0]}://: expected a folder, file:// or gs://bucket"
        )
    return FolderLake(folder)
