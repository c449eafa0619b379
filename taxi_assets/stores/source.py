"""The source of raw files: a folder or web server with the TLC's files, by default a mirror of them on GitHub.

Here: the path or URL of a month's file, and an exact copy of the file with its size and hash.
Not here: HTTP downloads (see `download`), where the raw file is stored, and its content.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial
from glob import escape
from hashlib import sha256
from os import fstat, stat_result
from pathlib import Path

from taxi_assets.errors import NotPublished, SettingsError, StoreError
from taxi_assets.stores.download import CHUNK_BYTES, Download, NotFound, Version, ask, format_size
from taxi_assets.stores.files import StagedFile, local_path
from taxi_assets.tlc.raw import require_csv_start
from taxi_assets.tlc.trips import COLORS, TripMonth

MIRROR_URL = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download"

_FIRST_MONTH, _MIRROR_LAST_MONTH = "2019-01", "2021-07"
"""The first month whose files have the columns that this project reads, and the mirror's last month, as `YYYY-MM`."""

LAYOUT = "{color}/{color}_tripdata_{month}.csv.gz"
SUFFIXES = (".csv.gz", ".csv")

_LOOKS = 3
"""Maximum number of attempts of `look`. It is low because callers check several months, with little time for each."""

_EXPECTED = (
    "expected a folder, file://, http:// or https:// that holds "
    f"{LAYOUT}, or a whole address with {{color}} and {{month}} that ends in {' or '.join(SUFFIXES)}"
)


@dataclass(frozen=True)
class Fetched:
    """A fetched file: its path or URL, size in bytes, hexadecimal SHA-256, and version at the source.

    `tries` is the number of requests, and `resumed` the number of requests that continued a partial download.
    `unchanged` is true if the source still has the known version: the values are then those of the earlier fetch, and
    nothing was stored.
    """

    address: str
    bytes: int
    sha256: str
    version: Version
    tries: int = 1
    resumed: int = 0
    unchanged: bool = False

    @property
    def fingerprint(self) -> str:
        """The source version that was fetched, for comparison with `Publication.fingerprint`."""
        return self.version.fingerprint(self.bytes)


@dataclass(frozen=True)
class Publication:
    """The current version of a month's file at the source, and its size in bytes, or None if the server omits it."""

    version: Version
    bytes: int | None

    @property
    def fingerprint(self) -> str:
        """A string that changes when the month is republished, and equals `Fetched.fingerprint` of the same version."""
        return self.version.fingerprint(self.bytes)


class Source:
    """The raw files of all months, at `url`.

    `url` is a folder path or a `file://`, `http://` or `https://` URL, to which `LAYOUT` is appended, or a complete
    template with `{color}` and `{month}`. Raises SettingsError for anything else.
    """

    def __init__(self, url: str = MIRROR_URL) -> None:
        self.url = url
        named = [name for name in ("{color}", "{month}") if name in url]
        self._template = url if named else f"{url}{'' if url.endswith('/') else '/'}{LAYOUT}"
        if local_path(url) is None:
            _require_plain_web(url)
        if len(named) == 1:
            raise SettingsError(f"the source's address has only {named[0]}: {_EXPECTED}")
        if not self._template.endswith(SUFFIXES):
            raise SettingsError(f"the source's address ends in {Path(url).name}: {_EXPECTED}")

    @property
    def suffix(self) -> str:
        """The suffix of all files: `.csv.gz` or `.csv`."""
        return next(suffix for suffix in SUFFIXES if self._template.endswith(suffix))

    def span(self, color: str) -> tuple[str, str | None]:  # noqa: ARG002  # all colors have the same span so far
        """Return the first and last month of a color at the source, as `YYYY-MM`; the last is None if it is open."""
        return _FIRST_MONTH, _MIRROR_LAST_MONTH if self.url == MIRROR_URL else None

    def address(self, month: TripMonth) -> str:
        """Return the path or URL of the month's file."""
        return self._template.replace("{color}", month.color).replace("{month}", month.month)

    def fetch(self, month: TripMonth, staged: StagedFile, known: Fetched | None = None) -> Fetched:
        """Copy the month's file to `staged`, byte for byte. Memory use does not grow with the size of the file.

        Nothing is written if the source still has the version of the `known` fetch. Raises NotPublished if the file
        does not exist at the source, and StoreError if it cannot be fetched completely.
        """
        address = self.address(month)
        path = local_path(address)
        if path is None:
            return _download(month, address, staged, known)
        _require_folder(self._template)
        return _copy(month, path, staged, known)

    def look(self, month: TripMonth) -> Publication | None:
        """Return the current version of a month, or None if it is not published. Does not fetch the file.

        Raises BadFile if a server sends something other than a CSV file, and StoreError if the source is inaccessible.
        """
        address = self.address(month)
        if (path := local_path(address)) is not None:
            _require_folder(self._template)
            return _look_at(month, path)
        try:
            seen = ask(address, _LOOKS)
        except NotFound:
            return None
        require_csv_start(seen.start, self.suffix, address)
        return Publication(seen.version, seen.size)

    def probe(self, months: Sequence[TripMonth]) -> str:
        """Return what the source has, as text: all months of a folder, or the first of `months` that a server has.

        Raises NotPublished if a server has none of `months`, BadFile if it sends something other than a CSV file, and
        StoreError if the source is not accessible or is a folder without any month.
        """
        if (path := local_path(self._template)) is not None:
            return _list_folder(path)
        for month in months:
            try:
                seen = ask(self.address(month))
            except NotFound:
                continue
            require_csv_start(seen.start, self.suffix, self.address(month))
            return f"{month} is there" + (f", {format_size(seen.size)}" if seen.size else "")
        raise NotPublished(
            f"the server answers, but has none of {', '.join(map(str, months))}; asked for {self.address(months[0])}. "
            "Check TAXI_SOURCE_URL and TAXI_FIRST_MONTH"
        )


def _look_at(month: TripMonth, path: Path) -> Publication | None:
    try:
        with path.open("rb") as file:
            seen = fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(month, error) from error
    return Publication(_version(seen), seen.st_size)


def _require_folder(template: str) -> None:
    """Raise StoreError if the source folder does not exist: that does not mean that its months are not published."""
    folder = local_path(template.partition("{")[0].rpartition("/")[0] or "/")
    if folder and not folder.is_dir():
        raise StoreError(
            f"there is no folder {folder} to look for months in. Check TAXI_SOURCE_URL, and that it is mounted"
        )


def _list_folder(template: Path) -> str:
    """Return the number of months per color as text. Raises StoreError if there are none."""
    found = Counter(
        color
        for color in COLORS
        for _ in _glob(escape(str(template)).replace("{color}", color).replace("{month}", "????-??"))
    )
    if not found:
        raise StoreError(
            f"there is no month at {template}. Check TAXI_SOURCE_URL: {_EXPECTED}; taxi sample FOLDER makes months up"
        )
    return ", ".join(f"{count} {color}" for color, count in found.items()) + " months"


def _require_plain_web(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme not in {"http", "https"}:
        raise SettingsError(f"the source's address starts with {scheme}://: {_EXPECTED}")
    host = rest.partition("/")[0]
    if not host:
        raise SettingsError(f"the source's address names no host: {_EXPECTED}")
    # URLs appear in messages and in metadata, so they must not contain secrets.
    if "@" in host:
        raise SettingsError("the source's address holds a user name or a password: put those into ~/.netrc")
    if "?" in rest:
        raise SettingsError("the source's address has a ? in it, after which secrets are common: use one without")


def _copy(month: TripMonth, path: Path, staged: StagedFile, known: Fetched | None) -> Fetched:
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_published(month, str(path)) from error
    except OSError as error:
        raise _unreadable(month, error) from error
    with file:
        version = _version(fstat(file.fileno()))
        if known and known.version == version:
            return replace(known, unchanged=True)
        size, digest = _store(iter(partial(file.read, CHUNK_BYTES), b""), staged)
    return Fetched(str(path), size, digest, version)


def _version(seen: stat_result) -> Version:
    """Return a file's version in the form of a web server's ETag and Last-Modified headers."""
    return Version(f'"{seen.st_mtime_ns:x}-{seen.st_size:x}"', formatdate(seen.st_mtime, usegmt=True))


def _store(chunks: Iterable[bytes], staged: StagedFile) -> tuple[int, str]:
    """Write `chunks` to the staged file. Returns the number of bytes and the hexadecimal SHA-256."""
    size, digest = 0, sha256()
    with staged.path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _download(month: TripMonth, address: str, staged: StagedFile, known: Fetched | None) -> Fetched:
    with staged.path.open("wb") as file:
        download = Download(address, file)
        try:
            if not download.fetch(known.version if known else None) and known:
                return replace(known, unchanged=True)
        except NotFound as error:
            raise _not_published(month, address) from error
        except StoreError as error:
            raise type(error)(f"{month} was not fetched: {error}") from error
    return Fetched(address, download.bytes, download.sha256, download.version, download.tries, download.resumed)


def _glob(pattern: str) -> Iterable[Path]:
    path = Path(pattern)
    return Path(path.anchor).glob(str(path.relative_to(path.anchor)))


def _unreadable(month: TripMonth, error: OSError) -> StoreError:
    return StoreError(f"{month} cannot be read: {error}. Expected a file that this user may read")


def _not_published(month: TripMonth, address: str) -> NotPublished:
    return NotPublished(
        f"{month} is not published: there is no {address}. The TLC publishes about two months late, and a mirror may "
        "end earlier: choose a month that the source has, or another source"
    )
