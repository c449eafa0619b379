"""The source of raw files: a folder or web server with the TLC's files, by default a mirror of them on GitHub.

Here: the path or URL of a month's file, and an exact copy of the file with its size and hash.
Not here: the placeholders in a URL (`template`), files with other names (`similar`), HTTP downloads (`download`), where
the raw file is stored, and its content.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from os import fstat, stat_result
from pathlib import Path
from shlex import quote

from taxi_assets.errors import (
    EmptySource,
    InvalidSourceUrl,
    NotPublished,
    OtherLayout,
    OtherName,
    SourceFolderMissing,
    SourceHostNotFound,
    SourceRejected,
    SourceUnreadable,
    StoreError,
)
from taxi_assets.stores.files.staging import StagedFile, local_path
from taxi_assets.stores.network import why_host_not_found
from taxi_assets.stores.sizes import format_size
from taxi_assets.stores.source.download import CHUNK_BYTES, Download, NotFound, Version, request_version
from taxi_assets.stores.source.similar import SimilarFile, find_similar, list_folders, recognize
from taxi_assets.stores.source.template import LAYOUT, SUFFIXES, Template, has_placeholder
from taxi_assets.tlc.formats import require_csv_start
from taxi_assets.tlc.trips import COLORS, TripMonth

MIRROR_URL = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download"

_FIRST_MONTH, _MIRROR_LAST_MONTH = "2019-01", "2021-07"
"""The first month whose files have the columns that this project reads, and the mirror's last month, as `YYYY-MM`."""

_VERSION_TRIES = 3
"""Maximum number of attempts of `current_version`. It is low because callers check several months in a short time."""

_EXPECTED = f"Expected a folder or a file://, http:// or https:// URL that contains {LAYOUT}, or a template."


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
        """The source version that was fetched, for comparison with `SourceVersion.fingerprint`."""
        return self.version.fingerprint(self.bytes)


@dataclass(frozen=True)
class SourceVersion:
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
    template with placeholders. `expected` are months of which the source must have at least one. Raises
    SettingsError for any other URL.
    """

    def __init__(self, url: str = MIRROR_URL, expected: Sequence[TripMonth] = ()) -> None:
        self.url = url
        self.expected = expected
        if local_path(url) is None:
            _require_web_url(url)
        self._template = Template(url if has_placeholder(url) else f"{url}{'' if url.endswith('/') else '/'}{LAYOUT}")

    @property
    def suffix(self) -> str:
        """The suffix of all files: `.csv.gz` or `.csv`."""
        return self._template.suffix

    def span(self, color: str) -> tuple[str, str | None]:  # noqa: ARG002  # all colors have the same span so far
        """Return the first and last month of a color at the source, as `YYYY-MM`; the last is None if it is open."""
        return _FIRST_MONTH, _MIRROR_LAST_MONTH if self.url == MIRROR_URL else None

    def address(self, month: TripMonth) -> str:
        """Return the path or URL of the month's file."""
        return self._template.fill(month)

    def find_similar(self) -> dict[TripMonth, SimilarFile]:
        """Return files that seem to be months under other names than expected; none if the source is a server."""
        folder = local_path(self._template.folder)
        return find_similar(folder) if folder else {}

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
        try:
            return _copy(month, path, staged, known)
        except NotPublished as error:
            if similar := self.find_similar().get(month):
                raise _other_name(error, similar) from error
            raise

    def current_version(self, month: TripMonth) -> SourceVersion | None:
        """Return the current version of a month, or None if it is not published. Does not fetch the file.

        Raises BadFile if a server sends something other than a CSV file, and StoreError if the source is inaccessible.
        """
        address = self.address(month)
        if (path := local_path(address)) is not None:
            _require_folder(self._template)
            return _file_version(month, path)
        try:
            file = request_version(address, _VERSION_TRIES)
        except NotFound:
            return None
        require_csv_start(file.start, self.suffix, address)
        return SourceVersion(file.version, file.size)

    def require_host(self) -> None:
        """Raise SourceHostNotFound if the server's name has no address. It takes a few seconds at most."""
        if local_path(self._template.text) is None and (why := why_host_not_found(self.url)):
            raise SourceHostNotFound(f"The source {self.url} cannot be reached: {why}.", address=self.url)

    def probe(self, loaded: Iterable[TripMonth] = ()) -> str:
        """Return what the source has, as text: all months of a folder, or a month that a server has.

        A server is asked for the newest of the months that were `loaded` from it, and for the expected months. If it
        has none of them, the URL is probably wrong, and no month counts as not published.

        Raises EmptySource in that case, BadFile if a server sends something other than a CSV file, and StoreError if
        the source is not accessible or rejects the requests.
        """
        if (path := local_path(self._template.text)) is not None:
            _require_folder(self._template)
            if listed := _list_folder(Template(str(path))):
                return listed
            raise _empty_folder(path, self.find_similar())
        self.require_host()
        rejected: SourceRejected | None = None
        months = [*sorted(loaded, key=lambda month: month.month)[-1:], *self.expected]
        for month in months:
            try:
                file = request_version(self.address(month))
            except NotFound:
                continue
            except SourceRejected as error:  # some servers reject requests for files that do not exist
                rejected = error
                continue
            require_csv_start(file.start, self.suffix, self.address(month))
            return f"{month} is available" + (f", {format_size(file.size)}" if file.size else "")
        if rejected:
            raise rejected
        names = ", ".join(map(str, months))
        address = self.address(months[0]) if months else self.url
        raise EmptySource(
            f"The server responds, but has none of these months: {names}. Expected, for example, {address}.",
            months=names,
            address=address,
        )


def _file_version(month: TripMonth, path: Path) -> SourceVersion | None:
    try:
        with path.open("rb") as file:
            status = fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(month, path, error) from error
    return SourceVersion(_version(status), status.st_size)


def _require_folder(template: Template) -> None:
    """Raise SourceFolderMissing if the folder does not exist. Its months may be published nevertheless."""
    folder = local_path(template.folder)
    if folder is None or folder.is_dir():
        return
    if not folder.exists():
        raise SourceFolderMissing(f'The source folder "{folder}" does not exist.{_nearest(folder)}', path=str(folder))
    message = f'The source "{folder}" is a file. Expected a folder, or a template that ends in {" or ".join(SUFFIXES)}.'
    recognized = recognize(folder.parent, folder)
    if recognized and recognized[1].template:
        raise OtherLayout(message, **_facts(recognized[1]))
    raise SourceFolderMissing(message, path=str(folder))


def _nearest(missing: Path) -> str:
    """Return a hint with a folder that has almost the same path, for example in another letter case; or ""."""
    names = {name.lower(): name for name in list_folders(missing.parent)}
    nearest = get_close_matches(missing.name.lower(), names, n=1, cutoff=0.7)
    return f' Did you mean "{missing.parent / names[nearest[0]]}"?' if nearest else ""


def _list_folder(template: Template) -> str:
    """Return the number of months per color as text; empty if there are none."""
    paths = {color: _glob(template.glob(TripMonth(color, _FIRST_MONTH))) for color in COLORS}
    found = Counter(color for color in COLORS for path in paths[color] if template.read(str(path), color))
    return ", ".join(f"{count} {color}" for color, count in found.items()) + " months" if found else ""


def _empty_folder(template: Path, similar: Mapping[TripMonth, SimilarFile]) -> EmptySource:
    """Return an error that names a similar file, preferably one that can be read."""
    message, facts = f'The source has no months: no file matches "{template}".', {"path": str(template)}
    file = next(iter(sorted(similar.values(), key=lambda file: not file.template)), None)
    if file is None:
        return EmptySource(message, **facts)
    kind = OtherLayout if file.template else EmptySource
    return kind(f"{message} {file}", **facts, **_facts(file))


def _other_name(error: NotPublished, similar: SimilarFile) -> NotPublished:
    kind = OtherName if similar.template else NotPublished
    return kind(f"{error} {similar}", **error.facts, **_facts(similar))


def _facts(file: SimilarFile) -> dict[str, str]:
    """Return the facts of an error about a similar file. The template is quoted for a shell."""
    return {"found": str(file.path)} | ({"template": quote(file.template)} if file.template else {})


def _require_web_url(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme not in {"http", "https"}:
        raise InvalidSourceUrl(f'The URL of the source starts with "{scheme}://". {_EXPECTED}', seen=f"{scheme}://")
    host = rest.partition("/")[0]
    if not host:
        raise InvalidSourceUrl(f"The URL of the source has no host. {_EXPECTED}", seen=f"{scheme}://")
    # URLs appear in messages and in metadata, so they must not contain secrets.
    if "@" in host:
        raise InvalidSourceUrl("The URL of the source contains a user name or a password.", seen="@")
    if "?" in rest:
        raise InvalidSourceUrl('The URL of the source contains a query ("?"), which may contain a secret.', seen="?")


def _copy(month: TripMonth, path: Path, staged: StagedFile, known: Fetched | None) -> Fetched:
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_published(month, str(path)) from error
    except OSError as error:
        raise _unreadable(month, path, error) from error
    with file:
        version = _version(fstat(file.fileno()))
        if known and known.version == version:
            return replace(known, unchanged=True)
        size, digest = _store(iter(partial(file.read, CHUNK_BYTES), b""), staged)
    return Fetched(str(path), size, digest, version)


def _version(status: stat_result) -> Version:
    """Return a file's version in the form of a web server's ETag and Last-Modified headers."""
    return Version(f'"{status.st_mtime_ns:x}-{status.st_size:x}"', formatdate(status.st_mtime, usegmt=True))


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
            failed = error.within(f"{month} was not fetched")
            failed.facts.update(month.facts)
            raise failed from error
    return Fetched(address, download.bytes, download.sha256, download.version, download.tries, download.resumed)


def _glob(pattern: str) -> Iterable[Path]:
    path = Path(pattern)
    return Path(path.anchor).glob(str(path.relative_to(path.anchor)))


def _unreadable(month: TripMonth, path: Path, error: OSError) -> SourceUnreadable:
    return SourceUnreadable(
        f'The file "{path}" of {month} cannot be read: {error.strerror or error}. Expected a file that this user can '
        "read.",
        **month.facts,
        path=str(path),
    )


def _not_published(month: TripMonth, address: str) -> NotPublished:
    return NotPublished(f"{month} is not published: {address} does not exist.", **month.facts, address=address)
