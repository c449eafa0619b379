"""The local data folder: where raw, clean and rejected months are stored, and how they are published.

Not here: the lake, the warehouse and Postgres, which are in the same folder only by default.
"""

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from taxi_assets.errors import MissingUpstream
from taxi_assets.stores.files import StagedFile, locked, probe_folder, remove_file
from taxi_assets.stores.inventory import StoredItem, hold_files
from taxi_assets.stores.os_errors import describe_free_space, translate_os_errors
from taxi_assets.tlc.parquet import count_rows
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class StagedClean:
    """The staged files of a clean month: its rows, and its rejected lines if there are any."""

    rows: StagedFile
    rejected: StagedFile | None


@dataclass(frozen=True)
class Home:
    """A folder with `raw/`, `clean/` and `rejected/`. `raw_suffix` is the source's file suffix, such as `.csv.gz`."""

    folder: Path
    raw_suffix: str

    def stage_raw(self, month: TripMonth) -> StagedFile:
        """Create the staged file that a month is downloaded to."""
        return StagedFile(self._raw(month))

    def publish_raw(self, month: TripMonth, staged: StagedFile) -> Path:
        """Publish a month's raw file and delete raw files with other suffixes, which come from another source."""
        place = staged.publish()
        with translate_os_errors(place):
            for other in self._raws(month):
                if other != place:
                    other.unlink(missing_ok=True)
        return place

    def find_raw(self, month: TripMonth) -> Path:
        """Return the path of a month's raw file. Raises MissingUpstream if it does not exist."""
        return _require(self._raw(month), month, "raw_trips")

    def held_raw(self, month: TripMonth) -> list[StoredItem]:
        """Return the raw files of a month, with any suffix, as stored items."""
        with translate_os_errors(self._raw(month)):
            return hold_files(*self._raws(month))

    def remove_raw(self, month: TripMonth) -> list[StoredItem]:
        """Delete the raw files of a month, with any suffix, and return what was deleted."""
        return _remove(*self._raws(month))

    def stage_clean(self, month: TripMonth) -> StagedFile:
        """Create the staged file for a month's clean rows."""
        return StagedFile(self._clean(month))

    def stage_rejected(self, month: TripMonth) -> StagedFile:
        """Create the staged file for a month's rejected lines."""
        return StagedFile(self._rejected(month))

    def publish_clean(self, month: TripMonth, staged: StagedClean) -> Path:
        """Publish a month's rows and rejected lines. If no lines are rejected, delete those of an earlier run.

        The rows are published last, so a reader that finds the rows also finds their rejected lines.
        """
        with self._publishing(month):
            staged.rows.sync()
            if staged.rejected:
                staged.rejected.publish()
            else:
                with translate_os_errors(self._rejected(month)):
                    self._rejected(month).unlink(missing_ok=True)
            return staged.rows.publish()

    def find_clean(self, month: TripMonth) -> Path:
        """Return the path of a month's clean file. Raises MissingUpstream if it does not exist."""
        return _require(self._clean(month), month, "clean_trips")

    def count_clean(self, month: TripMonth) -> int | None:
        """Return the row count of a month's clean file, or None if the file does not exist or is damaged."""
        import pyarrow as pa

        place = self._clean(month)
        with translate_os_errors(place), suppress(pa.ArrowInvalid):
            return count_rows(place) if place.is_file() else None
        return None

    def held_clean(self, month: TripMonth) -> list[StoredItem]:
        """Return the clean file of a month and the file of its rejected lines as stored items."""
        with translate_os_errors(self._clean(month)):
            return hold_files(self._clean(month), self._rejected(month))

    def remove_clean(self, month: TripMonth) -> list[StoredItem]:
        """Delete the clean file of a month, then its rejected lines, and return what was deleted.

        The rows are deleted first, so a reader that finds the rows also finds their rejected lines.
        """
        with self._publishing(month):
            return _remove(self._clean(month), self._rejected(month))

    def probe(self) -> str:
        """Check that all data folders are writable, and return the status in one sentence. Raises StoreError."""
        for asset in ("raw", "clean", "rejected"):
            for color in COLORS:
                probe_folder(self.folder / asset / color)
        return f"{self.folder} can be written to; {describe_free_space(self.folder)}"

    def _publishing(self, month: TripMonth) -> AbstractContextManager[None]:
        """Lock the clean months of a color, for all processes of this machine."""
        return locked(self._clean(month).parent / ".publish.lock", waiting_for=f"the clean months of {month.color}")

    def _raws(self, month: TripMonth) -> list[Path]:
        """Return the paths of a month's existing raw files, with any suffix."""
        return sorted(self._raw(month).parent.glob(f"{month.stem}.csv*"))

    def _raw(self, month: TripMonth) -> Path:
        return self.folder / "raw" / month.color / f"{month.stem}{self.raw_suffix}"

    def _clean(self, month: TripMonth) -> Path:
        return self.folder / "clean" / month.color / f"{month.stem}.parquet"

    def _rejected(self, month: TripMonth) -> Path:
        return self.folder / "rejected" / month.color / f"{month.stem}.parquet"


def _remove(*places: Path) -> list[StoredItem]:
    sizes = [(place, remove_file(place)) for place in places]
    return [StoredItem(str(place), bytes=size) for place, size in sizes if size is not None]


def _require(place: Path, month: TripMonth, asset: str) -> Path:
    with translate_os_errors(place):
        found = place.is_file()
    if not found:
        raise MissingUpstream(
            f"{month}: {place} is not on this machine. Run {asset} first, and what it needs: "
            f"taxi materialize --color {month.color} --months {month.month} --select +{asset}"
        )
    return place
