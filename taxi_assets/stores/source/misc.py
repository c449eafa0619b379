"""Files of a source that do not belong to a month, such as the lookup table of the taxi zones.

Not here: the files of the months (`months`), and the contents of the files (`tlc.zones`).
"""

from dataclasses import dataclass
from tempfile import TemporaryFile

from taxi_assets.errors import SourceRejected, SourceUnreadable
from taxi_assets.stores.files.staging import local_path
from taxi_assets.stores.source.download import Download, NotFound, is_forbidden


@dataclass(frozen=True)
class MiscFile:
    """A file of the source: its path or URL, and its bytes."""

    address: str
    content: bytes


def read_misc(address: str) -> MiscFile | None:
    """Return the file at a path or URL, or None if the source does not have it.

    A server says so with 404, or with 403 like the TLC's. Raises SourceUnreachable if a server does not respond, and
    StoreError if the file cannot be read.
    """
    path = local_path(address)
    if path is None:
        return _download(address)
    try:
        return MiscFile(str(path), path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceUnreadable(
            f'The file "{path}" cannot be read: {error.strerror or error}. Expected a file that this user can read.',
            path=str(path),
        ) from error


def _download(address: str) -> MiscFile | None:
    with TemporaryFile() as file:
        try:
            Download(address, file).fetch()
        except NotFound:
            return None
        except SourceRejected as error:
            if is_forbidden(error):
                return None
            raise
        file.seek(0)
        return MiscFile(address, file.read())
