"""The local data folder: where raw, clean and rejected months are stored, and how they are published.

Not here: the lake, the warehouse and Postgres, which are in the same folder only by default.
"""

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from taxi_assets.errors import MissingUpstream
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.files.os_errors import describe_free_space, translate_os_errors
from taxi_assets.stores.files.staging import StagedFile, probe_folder, remove_file
from taxi_assets.stores.inventory import StoredItem, file_items
from taxi_assets.stores.source.template import SUFFIXES
from taxi_assets.tlc.parquet import count_rows, read_footer
from taxi_assets.tlc.trips import COLORS, TripMonth


@dataclass(frozen=True)
class StagedClean:
    """The staged files of a clean month: its rows, and its rejected lines if there are any.

    `version` is the data version in the footer of the rows.
    """

    rows: StagedFile
    rejected: StagedFile | None
    version: str


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
        path = staged.publish()
        with translate_os_errors(path):
            for other in self._raws(month):
                if other != path:
                    other.unlink(missing_ok=True)
        return path

    def find_raw(self, month: TripMonth) -> Path:
        """Return the path of a month's raw file. Raises MissingUpstream if it does not exist."""
        return _require(self._raw(month), month, "raw_trips")

    def raw_files(self, color: str) -> Path:
        """Return the pattern that matches the raw files of a color."""
        return self.folder / "raw" / color / f"*{self.raw_suffix}"

    def raw_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the raw files of a month, with any suffix, as stored items."""
        with translate_os_errors(self._raw(month)):
            return file_items(*self._raws(month))

    def remove_raw(self, month: TripMonth) -> list[StoredItem]:
        """Delete the raw files of a month, with any suffix, and return what was deleted."""
        return _remove(*self._raws(month))

    def stage_clean(self, month: TripMonth) -> StagedFile:
        """Create the staged file for a month's clean rows."""
        return StagedFile(self._clean(month))

    def stage_rejected(self, month: TripMonth) -> StagedFile:
        """Create the staged file for a month's rejected lines."""
        return StagedFile(self._rejected(month, ""))

    def publish_clean(self, month: TripMonth, staged: StagedClean) -> Path:
        """Publish a month's rows and rejected lines together, and delete the rejected lines of an earlier run.

        The name of the file with the rejected lines contains the version in the footer of the rows. Moving the rows to
        their target therefore switches both, even if the process is killed before or after.
        """
        with self._publishing(month):
            staged.rows.sync()
            rejected = self._rejected(month, staged.version)
            if staged.rejected:
                staged.rejected.publish(rejected)
            path = staged.rows.publish()
            with translate_os_errors(rejected):
                for other in self._rejects(month):
                    if staged.rejected is None or other != rejected:
                        other.unlink(missing_ok=True)
            return path

    def find_clean(self, month: TripMonth) -> Path:
        """Return the path of a month's clean file. Raises MissingUpstream if it does not exist."""
        return _require(self._clean(month), month, "clean_trips")

    def clean_files(self, color: str) -> Path:
        """Return the pattern that matches the clean files of a color."""
        return self.folder / "clean" / color / "*.parquet"

    def find_rejected(self, month: TripMonth) -> Path | None:
        """Return the path of the rejected lines of a month's clean file, or None if no lines were rejected.

        Raises MissingUpstream if the clean file does not exist.
        """
        rejected = self._rejected(month, read_footer(self.find_clean(month)).version)
        previous_release = self._rejected(month, "")
        return next((path for path in (rejected, previous_release) if path.is_file()), None)

    def count_clean(self, month: TripMonth) -> int | None:
        """Return the row count of a month's clean file, or None if the file does not exist or is damaged."""
        import pyarrow as pa

        path = self._clean(month)
        with translate_os_errors(path), suppress(pa.ArrowInvalid):
            return count_rows(path) if path.is_file() else None
        return None

    def clean_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the clean file of a month and the file of its rejected lines as stored items."""
        with translate_os_errors(self._clean(month)):
            return file_items(self._clean(month), *self._rejects(month))

    def remove_clean(self, month: TripMonth) -> list[StoredItem]:
        """Delete the clean file of a month, then its rejected lines, and return what was deleted.

        The rows are deleted first, so a reader that finds the rows also finds their rejected lines.
        """
        with self._publishing(month):
            return _remove(self._clean(month), *self._rejects(month))

    def probe(self) -> str:
        """Check that all data folders are writable, and return the status in one sentence. Raises StoreError."""
        for asset in ("raw", "clean", "rejected"):
            for color in COLORS:
                probe_folder(self.folder / asset / color)
        return f"{self.folder} is writable; {describe_free_space(self.folder)}"

    def _publishing(self, month: TripMonth) -> AbstractContextManager[None]:
        """Lock the clean months of a color, for all processes of this machine."""
        return locked(self._clean(month).parent / ".publish.lock", waiting_for=f"the clean months of {month.color}")

    def _raws(self, month: TripMonth) -> list[Path]:
        """Return the paths of a month's existing raw files, with any suffix."""
        folder = self._raw(month).parent
        return sorted(path for suffix in SUFFIXES for path in folder.glob(f"{month.stem}{suffix}"))

    def _raw(self, month: TripMonth) -> Path:
        return self.folder / "raw" / month.color / f"{month.stem}{self.raw_suffix}"

    def _clean(self, month: TripMonth) -> Path:
        return self.folder / "clean" / month.color / f"{month.stem}.parquet"

    def _rejects(self, month: TripMonth) -> list[Path]:
        """Return the paths of a month's existing files with rejected lines, of all versions."""
        return sorted(self._rejected(month, "").parent.glob(f"{month.stem}.*parquet"))

    def _rejected(self, month: TripMonth, version: str) -> Path:
        """Return the path of the rejected lines that belong to a version of the rows; empty for a previous release."""
        name = f"{month.stem}.{version}.parquet" if version else f"{month.stem}.parquet"
        return self.folder / "rejected" / month.color / name


def _remove(*paths: Path) -> list[StoredItem]:
    sizes = [(path, remove_file(path)) for path in paths]
    return [StoredItem(str(path), bytes=size) for path, size in sizes if size is not None]


def _require(path: Path, month: TripMonth, asset: str) -> Path:
    with translate_os_errors(path):
        found = path.is_file()
    if not found:
        raise MissingUpstream(
            f'The file "{path}" of {month} does not exist on this machine.', **month.facts, asset=asset, path=str(path)
        )
    return path
