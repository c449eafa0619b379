"""The folder of one machine: where raw, clean and rejected months lie, and how they get there.

Not here: the lake, the warehouse and Postgres, which only happen to be in the same folder by default.
"""

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from taxi_assets.errors import MissingUpstream
from taxi_assets.stores.files import StagedFile, locked, probe_folder, remove_file
from taxi_assets.stores.holdings import Holding, hold_files
from taxi_assets.stores.refusals import refusals_told, said_room
from taxi_assets.tlc.parquet import count_rows
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class StagedClean:
    """A clean month on its way: its rows, and its rejected lines if there are any."""

    rows: StagedFile
    rejected: StagedFile | None


@dataclass(frozen=True)
class Home:
    """`raw/`, `clean/` and `rejected/` in one folder; `raw_suffix` is that of the source's files, such as `.csv.gz`."""

    folder: Path
    raw_suffix: str

    def stage_raw(self, month: TripMonth) -> StagedFile:
        """A file to download a month to."""
        return StagedFile(self._raw(month))

    def publish_raw(self, month: TripMonth, staged: StagedFile) -> Path:
        """Let a month's raw file appear; one of another suffix, from another source, goes."""
        place = staged.publish()
        with refusals_told(place):
            for other in self._raws(month):
                if other != place:
                    other.unlink(missing_ok=True)
        return place

    def find_raw(self, month: TripMonth) -> Path:
        """The raw file of a month. Raises MissingUpstream."""
        return _require(self._raw(month), month, "raw_trips")

    def held_raw(self, month: TripMonth) -> list[Holding]:
        """The raw files of a month, of any suffix."""
        with refusals_told(self._raw(month)):
            return hold_files(*self._raws(month))

    def remove_raw(self, month: TripMonth) -> list[Holding]:
        """Remove the raw files of a month, of any suffix; gives what went."""
        return _remove(*self._raws(month))

    def stage_clean(self, month: TripMonth) -> StagedFile:
        """A file to write a month's clean rows to."""
        return StagedFile(self._clean(month))

    def stage_rejected(self, month: TripMonth) -> StagedFile:
        """A file to write a month's rejected lines to."""
        return StagedFile(self._rejected(month))

    def publish_clean(self, month: TripMonth, staged: StagedClean) -> Path:
        """Let a month's rows and its rejected lines appear; where none are rejected, none of an earlier run stay.

        The rows come last: whoever finds them finds the lines that belong to them.
        """
        with self._publishing(month):
            staged.rows.sync()
            if staged.rejected:
                staged.rejected.publish()
            else:
                with refusals_told(self._rejected(month)):
                    self._rejected(month).unlink(missing_ok=True)
            return staged.rows.publish()

    def find_clean(self, month: TripMonth) -> Path:
        """The clean file of a month. Raises MissingUpstream."""
        return _require(self._clean(month), month, "clean_trips")

    def count_clean(self, month: TripMonth) -> int | None:
        """The rows of a month's clean file, None where there is no such file, or one that is damaged."""
        import pyarrow as pa

        place = self._clean(month)
        with refusals_told(place), suppress(pa.ArrowInvalid):
            return count_rows(place) if place.is_file() else None
        return None

    def held_clean(self, month: TripMonth) -> list[Holding]:
        """The clean file of a month, and its rejected lines."""
        with refusals_told(self._clean(month)):
            return hold_files(self._clean(month), self._rejected(month))

    def remove_clean(self, month: TripMonth) -> list[Holding]:
        """Remove the clean file of a month, then its rejected lines; gives what went.

        The rows go first: whoever finds them finds the lines that belong to them.
        """
        with self._publishing(month):
            return _remove(self._clean(month), self._rejected(month))

    def probe(self) -> str:
        """Try to write where months will lie; what was seen, in a sentence. Raises StoreError."""
        for station in ("raw", "clean", "rejected"):
            for color in COLORS:
                probe_folder(self.folder / station / color)
        return f"{self.folder} can be written to; {said_room(self.folder)}"

    def _publishing(self, month: TripMonth) -> AbstractContextManager[None]:
        """Be alone with the clean months of a color."""
        return locked(self._clean(month).parent / ".publish.lock", waiting_for=f"the clean months of {month.color}")

    def _raws(self, month: TripMonth) -> list[Path]:
        """The raw files of a month that are there, of any suffix."""
        return sorted(self._raw(month).parent.glob(f"{month.stem}.csv*"))

    def _raw(self, month: TripMonth) -> Path:
        return self.folder / "raw" / month.color / f"{month.stem}{self.raw_suffix}"

    def _clean(self, month: TripMonth) -> Path:
        return self.folder / "clean" / month.color / f"{month.stem}.parquet"

    def _rejected(self, month: TripMonth) -> Path:
        return self.folder / "rejected" / month.color / f"{month.stem}.parquet"


def _remove(*places: Path) -> list[Holding]:
    sizes = [(place, remove_file(place)) for place in places]
    return [Holding(str(place), bytes=size) for place, size in sizes if size is not None]


def _require(place: Path, month: TripMonth, station: str) -> Path:
    with refusals_told(place):
        found = place.is_file()
    if not found:
        raise MissingUpstream(
            f"{month}: {place} is not on this machine. Run {station} first, and what it needs: "
            f"taxi materialize --color {month.color} --months {month.month} --select +{station}"
        )
    return place
