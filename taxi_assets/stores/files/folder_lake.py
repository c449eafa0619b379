"""The lake in a local folder.

Not here: the lake in a bucket (`google.gcs`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import InvalidLakeUrl
from taxi_assets.stores.files.os_errors import describe_free_space, translate_os_errors
from taxi_assets.stores.files.staging import StagedFile, local_path, probe_folder, remove_file
from taxi_assets.stores.inventory import StoredItem, file_items
from taxi_assets.stores.lake import ZONES_NAME, LakeObject, damage_reported, missing_object, require_own_object
from taxi_assets.tlc.formats import PARQUET
from taxi_assets.tlc.parquet import read_columns, read_footer, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import pyarrow as pa


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

        Raises MissingUpstream if it does not exist, ForeignObject if another program wrote it, and DamagedFile if it is
        damaged.
        """
        with self._reading(month) as place:
            with place.open("rb") as file:
                start = file.read(len(PARQUET))
            footer = require_own_object(month, str(place), start, lambda: read_footer(place))
            size, columns = place.stat().st_size, footer.columns
            return LakeObject(month, str(place), size, footer.rows, version=footer.version, columns=columns, lake=self)

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the row groups of the month's file in order, with these columns only. Raises the same errors as `find`.

        Also raises DamagedFile if the file is damaged.
        """
        self.find(month)
        with self._reading(month) as place:
            yield from read_columns(place, LAYOUTS[month.color], columns)

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's file. Raises the same errors as `find`, and DamagedFile if the file is damaged."""
        with self._reading(month) as place:
            return summarize_parquet(place, LAYOUTS[month.color])

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's file as a stored item; an empty list if it does not exist."""
        with translate_os_errors(self._place(month)):
            return file_items(self._place(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's file and return what was deleted."""
        place = self._place(month)
        size = remove_file(place)
        return [] if size is None else [StoredItem(str(place), bytes=size)]

    def put_zones(self, zones: "pa.Table") -> str:
        """Publish the taxi zones as a Parquet file, and return its path."""
        import pyarrow.parquet as pq

        with StagedFile(self.folder / ZONES_NAME) as staged:
            pq.write_table(zones, staged.path)
            return str(staged.publish())

    def probe(self) -> str:
        """Check that the object folders are writable, and return the status in one sentence. Raises StoreError."""
        for color in COLORS:
            probe_folder(self.folder / "data" / color)
        objects = sum(1 for _ in self.folder.glob("data/*/*.parquet"))
        return f"{self.folder} is writable; objects: {objects:,}; {describe_free_space(self.folder)}"

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


def open_folder(url: str) -> FolderLake:
    """Return the lake for a folder path or `file://` URL. Raises InvalidLakeUrl for any other URL."""
    folder = local_path(url)
    if folder is None:
        scheme = f"{url.partition('://')[0]}://"
        raise InvalidLakeUrl(
            f'The URL of the lake starts with "{scheme}". Expected a folder, "file://" or "gs://".', seen=scheme
        )
    return FolderLake(folder)
