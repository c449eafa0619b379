"""The Google Cloud Storage lake: a bucket with atomic uploads that are verified by checksum.

Here: uploads in chunks, which cope with slow connections; creation of the bucket if it does not exist.
Not here: the content of an object, and loading it into a warehouse (`bigquery`).
"""

import base64
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from taxi_assets.errors import SettingsError, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.stores.download import format_size
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.google_cloud import Patience, google_errors, said
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import LakeObject, damage_reported, missing_object
from taxi_assets.tlc.parquet import Footer, read_footer, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket, Client

_log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.apache.parquet"

ROLES = (
    "the role Storage Object Admin (roles/storage.objectAdmin) on the bucket, and Storage Admin (roles/storage.admin) "
    "on the project where the bucket must be made. A bucket of someone else's cannot be used: bucket names are one for "
    "the whole world"
)

_CHUNK_STEP = 256 << 10
"""Google requires the chunk size to be a multiple of this, in bytes."""

_READ_BYTES = 1 << 20

_REQUEST_S = 60.0
"""Timeout of a request without a large body, in seconds."""


@dataclass(eq=False)
class GCSLake:
    """A lake in the bucket and prefix of `url`, which is `gs://bucket[/prefix]`.

    `client_factory` returns a Cloud Storage client. Files are written to `staging_folder` before they are uploaded. If
    the bucket does not exist, it is created in `location`. `chunk_mb` is the chunk size of uploads in megabytes, and
    `timeout_s` the timeout of one chunk in seconds.
    """

    url: str
    client_factory: "Callable[[], Client]"
    staging_folder: Path
    location: str = "US"
    chunk_mb: int = 8
    timeout_s: float = 300
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self._bucket_name, self._prefix = split_url(self.url)

    def stage(self, month: TripMonth) -> StagedFile:
        """Create the local staged file that the month is written to before `put`."""
        return StagedFile(self.staging_folder / month.object_name)

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Upload the staged file and delete it. Skips the upload if the object already has the same content.

        Raises StoreError if Google rejects the upload, and StoreBusy if another run replaced the object in the
        meantime.
        """
        from google.api_core.exceptions import PreconditionFailed

        with self._errors(f"{month} was not put into the lake"):
            path = staged.path
            footer = read_footer(path)
            facts = _facts(month, footer)
            blob = self._get(month)
            if blob is None or not _has_bytes(blob, path):
                blob = self._upload_or_make_bucket(month, path, facts, int(blob.generation or 0) if blob else 0)
            elif any((blob.metadata or {}).get(name, "") != facts[name] for name in _OF_THE_BYTES):
                # Another program uploaded the same content. Updating the metadata keeps the object's generation.
                blob.metadata = facts
                with suppress(PreconditionFailed):  # another run did it, or our request's response was lost
                    blob.patch(if_metageneration_match=blob.metageneration, **self._patiently())
            put = self._describe(month, blob, footer)
        staged.discard()
        return put

    def find(self, month: TripMonth) -> LakeObject:
        """Return the month's object, including the row count and data version in its footer.

        Raises MissingUpstream if the object does not exist, and StoreError if it is not a Parquet file.
        """
        with self._errors(f"{month} was not found in the lake"), self._reading(month) as (blob, file):
            return self._describe(month, blob, read_footer(file))

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's object. Downloads only its footer and the column `total_amount`.

        Raises the same errors as `find`, and StoreError if the object is damaged.
        """
        with self._errors(f"{month} was not summarized in the lake"), self._reading(month) as (_, file):
            return summarize_parquet(file, LAYOUTS[month.color])

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's object as a stored item; an empty list if the object or the bucket does not exist."""
        with self._errors(f"{month} was not looked for in the lake"):
            blob = self._get(month)
        return [self._holding(month, blob)] if blob else []

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the current generation of the month's object and return what was deleted.

        A bucket with soft delete or object versioning retains it according to its policy. Raises StoreBusy if another
        run replaces the object in the meantime.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with self._errors(f"{month} was not removed from the lake"):
            blob = self._get(month)
            if blob is None:
                return []
            try:
                with suppress(NotFound):  # already deleted, possibly by our own request if its response was lost
                    blob.delete(if_generation_match=blob.generation, **self._patiently())
            except PreconditionFailed as error:
                raise StoreBusy(
                    f"{month}: another run put {self._uri(month)} while it was to be removed, so it was left. Wipe it "
                    "again, when that run has ended"
                ) from error
            return [self._holding(month, blob)]

    def probe(self) -> str:
        """Upload and delete a test object, and return the status in one sentence.

        Raises StoreError if that fails, or if BigQuery cannot load from the bucket's location.
        """
        from google.api_core.exceptions import NotFound

        trying = {"retry": self.patience.brief().retry(), "timeout": self.patience.brief().give_up_s}
        with self._errors("the lake cannot be used"):
            blob = self._bucket().blob(f"{self._prefix}taxi-doctor-{secrets.token_hex(4)}")
            try:
                blob.upload_from_string(b"taxi doctor was here", **trying)
            except NotFound:
                return f"gs://{self._bucket_name} is not there yet: the first run makes it in {self.location}"
            with suppress(NotFound):  # another process may have deleted it
                blob.delete(**trying)
            place = self._bucket_location()
        if place and not _near(place, self.location):
            raise StoreError(
                f"the bucket {self._bucket_name} is in {place}, TAXI_BIGQUERY_LOCATION is {self.location}: BigQuery "
                "loads only from where it is. Set TAXI_BIGQUERY_LOCATION to the bucket's location, or name another "
                "bucket in TAXI_LAKE_URL"
            )
        return f"gs://{self._bucket_name}/{self._prefix} can be written to{f'; it is in {place}' if place else ''}"

    def _bucket_location(self) -> str:
        """Return the bucket's location, or "" if the credentials lack that permission, which uploads do not need."""
        from google.api_core.exceptions import Forbidden

        try:
            brief = self.patience.brief()
            trying = {"retry": brief.retry(), "timeout": brief.give_up_s}
            return str(self._client.get_bucket(self._bucket_name, **trying).location)
        except Forbidden:
            return ""

    def _get(self, month: TripMonth) -> "Blob | None":
        return self._bucket().get_blob(self._name(month), **self._patiently())

    @contextmanager
    def _reading(self, month: TripMonth) -> Iterator[tuple["Blob", IO[bytes]]]:
        """Open the month's object. Yields the blob and a file that reads the blob's generation."""
        blob = self._get(month)
        if blob is None:
            raise missing_object(month, self._uri(month))
        with (
            damage_reported(month, self._uri(month)),
            blob.open("rb", chunk_size=_CHUNK_STEP, **self._patiently()) as file,
        ):
            yield blob, file

    def _upload_or_make_bucket(self, month: TripMonth, path: Path, facts: Mapping[str, str], generation: int) -> "Blob":
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            return self._upload(month, path, facts, generation)
        except NotFound:
            conflict = self._make_bucket()
        try:
            return self._upload(month, path, facts, generation)
        except (Forbidden, NotFound) as error:
            if not conflict:
                raise
            raise StoreError(
                f"the bucket name {self._bucket_name} is taken by someone else: {conflict}. Bucket names are one for "
                "the whole world: choose another one in TAXI_LAKE_URL"
            ) from error

    def _upload(self, month: TripMonth, path: Path, facts: Mapping[str, str], generation: int) -> "Blob":
        """Upload the file in chunks, if the object's current generation is `generation` (0: it does not exist).

        Raises StoreBusy if another run replaced the object, and StoreUnreachable if the upload breaks off.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.auth.exceptions import GoogleAuthError

        blob = self._bucket().blob(
            self._name(month), chunk_size=max(self.chunk_mb * 1_000_000 // _CHUNK_STEP, 1) * _CHUNK_STEP
        )
        blob.metadata = facts
        _log.info("sends %s to %s", format_size(path.stat().st_size), self._uri(month))
        try:
            with path.open("rb") as file:
                # Without a size, the client uploads small files in chunks too, so there is only one code path.
                blob.upload_from_file(
                    file,
                    content_type=CONTENT_TYPE,
                    if_generation_match=generation,
                    checksum="crc32c",
                    # Leaves time to retry a chunk twice after its timeout.
                    retry=replace(self.patience, give_up_s=max(self.patience.give_up_s, 3 * self.timeout_s)).retry(),
                    timeout=self.timeout_s,
                )
        except PreconditionFailed as error:
            # This also happens if the response to our own last chunk was lost.
            now = self._get(month)
            if now is not None and _has_bytes(now, path):
                return now
            raise StoreBusy(
                f"{month}: another run put {self._uri(month)} while this one was sending it. Run lake_trips again, "
                "when that run has ended"
            ) from error
        except GoogleAuthError:  # some of them are also ValueErrors
            raise
        except ValueError as error:
            # Google's client raises this if the server stored less of a chunk than was sent.
            raise StoreUnreachable(
                f"{month}: the upload to {self._uri(month)} broke off: {error} Run this again"
            ) from error
        return blob

    def _make_bucket(self) -> str:
        """Create the bucket, without any public access.

        Returns "", or Google's error message if the bucket name already exists. Raises StoreError if the name or
        location is invalid.
        """
        from google.api_core.exceptions import BadRequest, Conflict

        bucket = self._bucket()
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        try:
            self._client.create_bucket(bucket, location=self.location, **self._patiently())
        except Conflict as error:
            return said(error)  # possibly another of our runs has just created it
        except BadRequest as error:
            raise StoreError(
                f"the bucket {self._bucket_name} cannot be made in {self.location}: {said(error)}. Check its name in "
                "TAXI_LAKE_URL, and TAXI_BIGQUERY_LOCATION, such as US, EU or europe-west1"
            ) from error
        return ""

    def _describe(self, month: TripMonth, blob: "Blob", footer: Footer) -> LakeObject:
        size, generation = int(blob.size or 0), int(blob.generation or 0)
        return LakeObject(month, self._uri(month), size, footer.rows, generation, footer.version)

    def _holding(self, month: TripMonth, blob: "Blob") -> StoredItem:
        return StoredItem(self._uri(month), bytes=int(blob.size or 0))

    @cached_property
    def _client(self) -> "Client":
        return self.client_factory()

    def _bucket(self) -> "Bucket":
        return self._client.bucket(self._bucket_name)

    def _patiently(self) -> dict[str, Any]:
        """Return the retry and timeout arguments of a request without a large body."""
        return {"retry": self.patience.retry(), "timeout": min(self.timeout_s, _REQUEST_S)}

    def _name(self, month: TripMonth) -> str:
        return f"{self._prefix}{month.object_name}"

    def _uri(self, month: TripMonth) -> str:
        return f"gs://{self._bucket_name}/{self._name(month)}"

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with google_errors(f"{doing} (gs://{self._bucket_name})", ROLES):
            yield


_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def split_url(url: str) -> tuple[str, str]:
    """Split `gs://bucket[/prefix]` into bucket and prefix. The prefix ends with a slash or is empty.

    Raises SettingsError if the URL has another form.
    """
    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    if not url.startswith("gs://") or not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            f"TAXI_LAKE_URL={url} names no bucket: expected gs://bucket or gs://bucket/prefix, and a bucket's name has "
            "3 or more small letters, digits, dashes, underscores and dots, a letter or digit at both ends"
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def console_link(uri: str) -> str:
    """Return the Google Cloud console URL of an object, given its `gs://` URI."""
    return f"https://console.cloud.google.com/storage/browser/_details/{uri.removeprefix('gs://')}"


_OF_THE_BYTES = ("color", "month", "rows", "source_sha256", "version")
"""The metadata that depends only on the object's content, unlike the release of this project that uploaded it."""


def _facts(month: TripMonth, footer: Footer) -> dict[str, str]:
    """Return the metadata of an object. `version` is the data version, `taxi_assets` the release of this project."""
    return {
        "color": month.color,
        "month": month.month,
        "rows": str(footer.rows),
        "source_sha256": footer.source,
        "version": footer.version,
        "taxi_assets": version("taxi-assets"),
    }


def _has_bytes(blob: "Blob", path: Path) -> bool:
    """Whether an object and a file have the same size and CRC32C checksum."""
    return bool(blob.size == path.stat().st_size and blob.crc32c == _crc32c(path))


def _crc32c(path: Path) -> str:
    """Return the CRC32C checksum of a file in Google's encoding, base64."""
    import google_crc32c

    checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            checksum.update(chunk)  # type: ignore[no-untyped-call]
    return base64.b64encode(checksum.digest()).decode()  # type: ignore[no-untyped-call]


def _near(bucket: str, dataset: str) -> bool:
    """Whether BigQuery can load from a bucket location into a dataset location: the same one, or one within it.

    A dataset in `US` can load from any location. For dual-region buckets such as EUR4, the answer is not known here, so
    they are accepted.
    """
    bucket, dataset = bucket.upper(), dataset.upper()
    if dataset in ("US", bucket) or re.fullmatch(r"[A-Z]+[0-9]", bucket):
        return True
    return dataset == "EU" and bucket.startswith("EUROPE-") and bucket not in _OUTSIDE_EU


_OUTSIDE_EU = frozenset({"EUROPE-WEST2", "EUROPE-WEST6"})
"""London and Zurich."""
