"""Where a month's raw file comes from: a folder or a web server with the TLC's files, by default its mirror.

Here: the address of a month, and its bytes as they were sent, counted and hashed on the way.
Not here: where the raw file is kept, and what is in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from os import fstat
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import NotPublished, SettingsError, SourceUnreachable, StoreError
from taxi_assets.stores.files import StagedFile, local_path
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import requests

MIRROR_URL = "https://github.com/DataTalksClub/nyc-tlc-data/releases/download"

LAYOUT = "{color}/{color}_tripdata_{month}.csv.gz"
SUFFIXES = (".csv.gz", ".csv")

CHUNK_BYTES = 1 << 20
TIMEOUT_S = (10.0, 60.0)  # to connect; from one byte to the next

_EXPECTED = (
    "expected a folder, file://, http:// or https:// that holds "
    f"{LAYOUT}, or a whole address with {{color}} and {{month}} that ends in {' or '.join(SUFFIXES)}"
)


@dataclass(frozen=True)
class Fetched:
    """What was stored of a month: its address, size and SHA-256 (hexadecimal), and what the source says of its version.

    `last_modified` is an HTTP date, for a file as well.
    """

    address: str
    bytes: int
    sha256: str
    etag: str | None
    last_modified: str | None


class Source:
    """The raw files of all months, at `url`.

    `url` is a folder, or a `file://`, `http://` or `https://` base of `LAYOUT`; or a whole template with `{color}` and
    `{month}`. Raises SettingsError for anything else.
    """

    def __init__(self, url: str = MIRROR_URL) -> None:
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
        """The format of every file: `.csv.gz` or `.csv`."""
        return next(suffix for suffix in SUFFIXES if self._template.endswith(suffix))

    def address(self, month: TripMonth) -> str:
        """Where the month's file is: a path or a URL."""
        return self._template.replace("{color}", month.color).replace("{month}", month.month)

    def fetch(self, month: TripMonth, staged: StagedFile) -> Fetched:
        """Write the month's file, byte for byte as the source has it, to `staged`; memory does not grow with its size.

        Raises NotPublished where the source has no such file, and StoreError where it cannot be had, or not whole.
        """
        address = self.address(month)
        path = local_path(address)
        return _download(month, address, staged) if path is None else _copy(month, path, staged)


def _require_plain_web(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme not in {"http", "https"}:
        raise SettingsError(f"the source's address starts with {scheme}://: {_EXPECTED}")
    host = rest.partition("/")[0]
    if not host:
        raise SettingsError(f"the source's address {url} names no host: {_EXPECTED}")
    if "@" in host:
        # Addresses are shown in messages and in metadata.
        raise SettingsError("the source's address holds a user name or a password: put those into ~/.netrc")


def _copy(month: TripMonth, path: Path, staged: StagedFile) -> Fetched:
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_published(month, str(path)) from error
    except OSError as error:
        raise StoreError(f"{month} cannot be read: {error}. Expected a file that this user may read") from error
    with file:
        size, digest = _store(iter(partial(file.read, CHUNK_BYTES), b""), staged)
        changed = formatdate(fstat(file.fileno()).st_mtime, usegmt=True)
    return Fetched(str(path), size, digest, etag=None, last_modified=changed)


def _download(month: TripMonth, address: str, staged: StagedFile) -> Fetched:
    import requests
    from urllib3.exceptions import HTTPError

    try:
        # The file is compressed already: a server must not compress it again, and what it sends is kept as it is.
        with requests.get(address, stream=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as response:
            _require_found(month, address, response)
            # urllib3 holds the body against Content-Length.
            size, digest = _store(response.raw.stream(CHUNK_BYTES, decode_content=False), staged)
    except (requests.RequestException, HTTPError) as error:
        raise SourceUnreachable(
            f"{month} did not arrive from {address}: {error}. Check the address and the connection, then run this again"
        ) from error
    headers = response.headers
    return Fetched(address, size, digest, headers.get("ETag"), headers.get("Last-Modified"))


def _store(chunks: Iterable[bytes], staged: StagedFile) -> tuple[int, str]:
    """Write `chunks` to the staged file; gives their bytes and SHA-256."""
    size, digest = 0, sha256()
    with staged.path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _require_found(month: TripMonth, address: str, response: "requests.Response") -> None:
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise _not_published(month, address)
    if response.status_code != HTTPStatus.OK:
        raise StoreError(
            f"{month} was refused: {address} answered {response.status_code} {response.reason}, expected 200 OK. "
            "Open the address in a browser to see what the server says"
        )


def _not_published(month: TripMonth, address: str) -> NotPublished:
    return NotPublished(
        f"{month} is not published: there is no {address}. The TLC publishes about two months late, and a mirror may "
        "end earlier: choose a month that the source has, or another source"
    )
