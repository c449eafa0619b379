"""The source of raw files: a folder or web server with the TLC's files, by default a mirror of them on GitHub.

Here: the path or URL of a month's file, and an exact copy of the file with its size and hash.
Not here: the placeholders in a URL (`template`), files with other names (`similar`), HTTP downloads (`download`), where
the raw file is stored, and its content.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from os import fstat, stat_result
from pathlib import Path
from shlex import quote
from threading import Lock
from time import monotonic
from typing import TypeAlias

from taxi_assets.errors import (
    EmptySource,
    InvalidSourceUrl,
    NotPublished,
    OtherLayout,
    OtherName,
    SourceFolderMissing,
    SourceForbidden,
    SourceHostNotFound,
    SourceRejected,
    SourceUnreadable,
    StoreError,
)
from taxi_assets.stores.files.staging import StagedFile, local_path
from taxi_assets.stores.network import why_host_not_found
from taxi_assets.stores.sizes import format_size
from taxi_assets.stores.source.download import CHUNK_BYTES, Download, NotFound, Version, is_forbidden, request_version
from taxi_assets.stores.source.known import MIRROR_URL, NAMES, know, likely_months, misc_address
from taxi_assets.stores.source.misc import MiscFile, read_misc
from taxi_assets.stores.source.similar import SimilarFile, find_similar, list_folders, recognize
from taxi_assets.stores.source.template import LAYOUT, SUFFIXES, Template, has_placeholder
from taxi_assets.tlc.formats import require_start
from taxi_assets.tlc.trips import COLORS, TripMonth

_VERSION_TRIES = 3
"""Maximum number of attempts of `current_version`. It is low because callers check several months in a short time."""

_AVAILABLE_S = 60
"""How long to reuse the knowledge that a server has a month, in seconds."""

_NEVER_PUBLISHED = "1999-01"
"""A month before the first one that the TLC has published."""

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


@dataclass(frozen=True)
class _Availability:
    """A month that the server still has, and whether the server answers 403 for files that do not exist.

    `at_s` is the time of the requests on the clock of `monotonic`.
    """

    witness: TripMonth
    forbids_absent: bool
    at_s: float

    @property
    def is_recent(self) -> bool:
        return monotonic() - self.at_s <= _AVAILABLE_S


Loaded: TypeAlias = Callable[[], Iterable[TripMonth]]
"""Returns months that were loaded from a source. It is called only if it is needed."""


class Source:
    """The raw files of all months, at `url`.

    `url` is a folder path or a `file://`, `http://` or `https://` URL, to which `LAYOUT` is appended, a complete
    template with placeholders, or one of `NAMES` in any letter case. The suffix of the files says their format.
    `expected` are months of which the source must have at least one. Raises SettingsError for any other URL.
    """

    def __init__(self, url: str = MIRROR_URL, expected: Sequence[TripMonth] = ()) -> None:
        self.url = url = NAMES.get(url.lower(), url)
        self.expected = expected
        self._known = know(url)
        self._available: dict[str, _Availability] = {}
        self._found: dict[str, TripMonth] = {}
        self._lock = Lock()
        if local_path(url) is None:
            _require_web_url(url)
        self._template = Template(url if has_placeholder(url) else f"{url}{'' if url.endswith('/') else '/'}{LAYOUT}")

    @property
    def suffix(self) -> str:
        """The suffix of all files: `.csv.gz`, `.csv` or `.parquet`."""
        return self._template.suffix

    @property
    def colors(self) -> tuple[str, ...]:
        """The colors that the source can have, in the usual order."""
        return tuple(color for color in COLORS if color in self._known.firsts)

    def span(self, color: str) -> tuple[str, str | None]:
        """Return the first and last month of a color at the source, as `YYYY-MM`; the last is None if it is open.

        Raises KeyError for a color that is not among `colors`.
        """
        return self._known.firsts[color], self._known.last

    def likely_months(self, color: str) -> tuple[str, ...]:
        """Return months of a color (`YYYY-MM`), of which the source probably has at least one."""
        return likely_months(self._known, color)

    def address(self, month: TripMonth) -> str:
        """Return the path or URL of the month's file."""
        return self._template.fill(month)

    def misc(self, name: str) -> MiscFile | None:
        """Return a file that does not belong to a month, such as `taxi_zone_lookup.csv`; None if it does not exist.

        Raises StoreError if the source is inaccessible.
        """
        return read_misc(misc_address(self._template.folder, name))

    def find_similar(self) -> dict[TripMonth, SimilarFile]:
        """Return files that seem to be months under other names than expected; none if the source is a server."""
        folder = local_path(self._template.folder)
        return find_similar(folder) if folder else {}

    def fetch(
        self, month: TripMonth, staged: StagedFile, known: Fetched | None = None, loaded: Loaded = tuple
    ) -> Fetched:
        """Copy the month's file to `staged`, byte for byte. Memory use does not grow with the size of the file.

        Nothing is written if the source still has the version of the `known` fetch. `loaded` are months that were
        loaded from this source: see `is_absent`. Raises NotPublished if the file does not exist at the source, and
        StoreError if it cannot be fetched completely.
        """
        address = self.address(month)
        path = local_path(address)
        if path is None:
            try:
                return _download(month, address, staged, known)
            except SourceRejected as error:
                if self.is_absent(month, error, loaded):
                    raise _not_published(month, address) from error
                raise
        _require_folder(self._template)
        try:
            return _copy(month, path, staged, known)
        except NotPublished as error:
            if similar := self.find_similar().get(month):
                raise _other_name(error, similar) from error
            raise

    def current_version(self, month: TripMonth, loaded: Loaded = tuple) -> SourceVersion | None:
        """Return the current version of a month, or None if it is not published. Does not fetch the file.

        `loaded` returns months that were loaded from this source: see `is_absent`. Raises BadFile if a server sends
        something other than a file of the source's format, and StoreError if the source is inaccessible.
        """
        try:
            return self.look_up(month)
        except SourceRejected as error:
            if self.is_absent(month, error, loaded):
                return None
            raise

    def look_up(self, month: TripMonth) -> SourceVersion | None:
        """Do what `current_version` does, in one request: the server may reject a month because it does not have it.

        After the last of several months, call `is_absent` for those that were rejected.
        """
        address = self.address(month)
        if (path := local_path(address)) is not None:
            _require_folder(self._template)
            return _file_version(month, path)
        try:
            file = request_version(address, _VERSION_TRIES)
        except NotFound:
            return None
        require_start(file.start, self.suffix, address)
        self._found[month.color] = max(month, self._found.get(month.color, month))
        return SourceVersion(file.version, file.size)

    def is_absent(self, month: TripMonth, rejected: SourceRejected, loaded: Loaded = tuple) -> bool:
        """Whether a server rejected the request for a month because it does not have the month.

        Some servers, such as the TLC's, answer 403 instead of 404 for a file that does not exist. They also answer 403
        to a client that they block or throttle. So a month counts as absent only if the server answers 403 for a month
        that nobody can have published, and still has a month that is known to exist: the newest of the color that was
        loaded from it or found there, or else one of the expected months. The answers are reused for a minute.

        Raises SourceForbidden if the server rejects that month too, and StoreError if it does not respond.
        """
        if not is_forbidden(rejected):
            return False
        with self._lock:
            found = self._available.get(month.color)
            if found is None or not found.is_recent:
                witness = self._witness(month, loaded)
                exists = self._require_allowed(witness, self.address(month))
                found = _Availability(witness, exists and self._forbids_absent(month.color), monotonic())
                self._available[month.color] = found
        return found.forbids_absent

    def _witness(self, rejected: TripMonth, loaded: Loaded) -> TripMonth:
        """Return a month that is known to exist at the source, of the color of a rejected month, and not that month."""
        color = rejected.color
        known = {month for month in (*loaded(), *self._found.values()) if month.color == color} - {rejected}
        first = next((month for month in self.expected if month.color == color), None)
        return max(known, default=None) or first or TripMonth(color, self.span(color)[0])

    def _require_allowed(self, witness: TripMonth, rejected: str) -> bool:
        """Return whether a month exists. Raises SourceForbidden if the server forbids it, like the URL `rejected`."""
        address = self.address(witness)
        try:
            request_version(address, _VERSION_TRIES)
        except NotFound:
            return False
        except SourceRejected as error:
            if not is_forbidden(error):
                raise
            raise _forbidden([rejected, address], f"The server is known to have {witness}.") from error
        return True

    def _forbids_absent(self, color: str) -> bool:
        """Whether the server answers 403 for a file that cannot exist."""
        try:
            request_version(self.address(TripMonth(color, _NEVER_PUBLISHED)), _VERSION_TRIES)
        except SourceRejected as error:
            return is_forbidden(error)
        except NotFound:
            pass
        return False

    def require_host(self) -> None:
        """Raise SourceHostNotFound if the server's name has no address. It takes a few seconds at most."""
        if local_path(self._template.text) is None and (why := why_host_not_found(self.url)):
            raise SourceHostNotFound(f"The source {self.url} cannot be reached: {why}.", address=self.url)

    def probe(self, loaded: Iterable[TripMonth] = ()) -> str:
        """Return what the source has, as text: all months of a folder, or a month that a server has.

        A server is asked for the newest of the months that were `loaded` from it, and for the expected months, unless
        `is_absent` has just found a month. If it has none of them, the URL is probably wrong, and no month counts as
        not published.

        Raises EmptySource in that case, BadFile if a server sends something other than a file of the source's format,
        SourceForbidden if it answers 403 for all of these months, and StoreError if the source is not accessible.
        """
        if (path := local_path(self._template.text)) is not None:
            _require_folder(self._template)
            if listed := _list_folder(Template(str(path))):
                return listed
            raise _empty_folder(path, self.find_similar())
        if found := next(
            (found for found in self._available.values() if found.forbids_absent and found.is_recent), None
        ):
            return f"{found.witness} is available"
        self.require_host()
        rejected: list[SourceRejected] = []
        months = [*sorted(loaded, key=lambda month: month.month)[-1:], *self.expected]
        for month in months:
            try:
                file = request_version(self.address(month))
            except NotFound:
                continue
            except SourceRejected as error:  # some servers reject requests for files that do not exist
                rejected.append(error)
                continue
            require_start(file.start, self.suffix, self.address(month))
            return f"{month} is available" + (f", {format_size(file.size)}" if file.size else "")
        if rejected and len(rejected) == len(months) and all(map(is_forbidden, rejected)):
            raise _forbidden([self.address(month) for month in months]) from rejected[-1]
        if rejected:
            raise rejected[-1]
        names = ", ".join(map(str, months))
        address = self.address(months[0]) if months else self.url
        raise EmptySource(
            f"The server responds, but has none of these months: {names}. Expected, for example, {address}.",
            months=names,
            address=address,
        )


def _forbidden(addresses: Sequence[str], known: str = "The server should have one of these months.") -> SourceForbidden:
    """Return an error about URLs that a server rejected, of which it must have at least one."""
    return SourceForbidden(
        f"Requests are forbidden or throttled: the server responded with 403 Forbidden to requests for "
        f"{' and '.join(dict.fromkeys(addresses))}. {known}",
        address=addresses[-1],
        status=HTTPStatus.FORBIDDEN.value,
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
    paths = {color: _glob(template.glob(TripMonth(color, _NEVER_PUBLISHED))) for color in COLORS}
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
