"""The Google Cloud Storage lake: a bucket with atomic uploads that are verified by checksum.

Here: uploads in chunks, which work on slow connections; creation of the bucket if it does not exist.
Not here: the content of an object, and loading it into a warehouse (`bigquery`).
"""

import base64
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from taxi_assets.errors import (
    BucketNameTaken,
    CannotCreate,
    InvalidLakeUrl,
    ReplacedByAnotherRun,
    StoreBusy,
    UploadInterrupted,
    WrongLocation,
)
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.google.retry import RetryPolicy, describe_google_error, translate_google_errors
from taxi_assets.stores.inventory import StoredItem
from taxi_assets.stores.lake import ZONES_NAME, LakeObject, damage_reported, missing_object, require_own_object
from taxi_assets.stores.sizes import format_size
from taxi_assets.tlc.formats import PARQUET
from taxi_assets.tlc.parquet import Footer, read_columns, read_footer, summarize_parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.storage import Blob, Bucket, Client

_log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.apache.parquet"

ROLES = (
    "the role Storage Object Admin (roles/storage.objectAdmin) on the bucket and, if the bucket does not exist yet, "
    "Storage Admin (roles/storage.admin) on the project. If the bucket belongs to someone else, choose another name"
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
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

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

        with self._errors(f"{month} was not uploaded to the lake", month):
            path = staged.path
            footer = read_footer(path)
            metadata = _metadata(month, footer)
            blob = self._get(month)
            if blob is None or not _same_content(blob, path):
                blob = self._upload_or_create_bucket(month, path, metadata, int(blob.generation or 0) if blob else 0)
            elif any((blob.metadata or {}).get(name, "") != metadata[name] for name in _CONTENT_METADATA):
                # Another program uploaded the same content. Updating the metadata keeps the object's generation.
                blob.metadata = metadata
                with suppress(PreconditionFailed):  # another run did it, or our request's response was lost
                    blob.patch(if_metageneration_match=blob.metageneration, **self._request_options())
            lake_object = self._describe(month, blob, footer)
        staged.discard()
        return lake_object

    def find(self, month: TripMonth) -> LakeObject:
        """Return the month's object, including the row count and data version in its footer.

        Raises MissingUpstream if the object does not exist, ForeignObject if another program wrote it, and DamagedFile
        if it is damaged.
        """
        with self._errors(f"{month} was not read from the lake", month), self._reading(month) as (blob, file):
            # An object without this project's metadata may not be a Parquet file.
            start = PARQUET if (blob.metadata or {}).get("source_sha256") else file.read(len(PARQUET))
            footer = require_own_object(month, self._uri(month), start, lambda: read_footer(file))
            return self._describe(month, blob, footer)

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the row groups of the month's object in order. Downloads only its footer and these columns.

        Raises the same errors as `find`.
        """
        self.find(month)
        with self._errors(f"{month} was not read from the lake", month), self._reading(month) as (_, file):
            yield from read_columns(file, LAYOUTS[month.color], columns)

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month's object. Downloads only its footer and the column `total_amount`.

        Raises the same errors as `find`.
        """
        with self._errors(f"{month} was not summarized in the lake", month), self._reading(month) as (_, file):
            return summarize_parquet(file, LAYOUTS[month.color])

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's object as a stored item; an empty list if the object or the bucket does not exist."""
        with self._errors(f"{month} was not looked up in the lake", month):
            blob = self._get(month)
        return [self._stored_item(month, blob)] if blob else []

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the current generation of the month's object and return what was deleted.

        A bucket with soft delete or object versioning retains it according to its policy. Raises StoreBusy if another
        run replaces the object in the meantime.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with self._errors(f"{month} was not deleted from the lake", month):
            blob = self._get(month)
            if blob is None:
                return []
            try:
                with suppress(NotFound):  # already deleted, possibly by our own request if its response was lost
                    blob.delete(if_generation_match=blob.generation, **self._request_options())
            except PreconditionFailed as error:
                raise StoreBusy(
                    f"{month} was not deleted from the lake: another run replaced {self._uri(month)} at the same time.",
                    **month.facts,
                    uri=self._uri(month),
                ) from error
            return [self._stored_item(month, blob)]

    def put_zones(self, zones: "pa.Table") -> str:
        """Upload the taxi zones as a Parquet object, and return its URI. Creates the bucket if necessary."""
        import pyarrow.parquet as pq
        from google.api_core.exceptions import NotFound

        file = BytesIO()
        pq.write_table(zones, file)
        blob = self._bucket().blob(f"{self._prefix}{ZONES_NAME}")
        options = {"content_type": CONTENT_TYPE, "checksum": "crc32c", **self._request_options()}
        with self._errors("The taxi zones were not uploaded to the lake"):
            try:
                blob.upload_from_string(file.getvalue(), **options)
            except NotFound:
                self._create_bucket()
                blob.upload_from_string(file.getvalue(), **options)
        return f"gs://{self._bucket_name}/{self._prefix}{ZONES_NAME}"

    def probe(self) -> str:
        """Upload and delete a test object, and return the status in one sentence.

        Raises StoreError if that fails, or if BigQuery cannot load from the bucket's location.
        """
        from google.api_core.exceptions import NotFound

        options = self._brief_options()
        with self._errors("The lake cannot be used"):
            blob = self._bucket().blob(f"{self._prefix}taxi-doctor-{secrets.token_hex(4)}")
            try:
                blob.upload_from_string(b"test", **options)
            except NotFound:
                return f"gs://{self._bucket_name} does not exist yet: the first load creates it in {self.location}"
            with suppress(NotFound):  # another process may have deleted it
                blob.delete(**options)
            found = self._bucket_location()
        if found and not _can_load_from(found, self.location):
            raise WrongLocation(
                f'The bucket {self._bucket_name} is in "{found}", but the configured location is "{self.location}".',
                bucket=self._bucket_name,
                seen=found,
                expected=self.location,
            )
        return f"gs://{self._bucket_name}/{self._prefix} is writable{f'; it is in {found}' if found else ''}"

    def _bucket_location(self) -> str:
        """Return the bucket's location, or "" if the credentials lack that permission, which uploads do not need."""
        from google.api_core.exceptions import Forbidden

        try:
            return str(self._client.get_bucket(self._bucket_name, **self._brief_options()).location)
        except Forbidden:
            return ""

    def _get(self, month: TripMonth) -> "Blob | None":
        return self._bucket().get_blob(self._name(month), **self._request_options())

    @contextmanager
    def _reading(self, month: TripMonth) -> Iterator[tuple["Blob", IO[bytes]]]:
        """Open the month's object. Yields the blob and a file that reads the blob's generation."""
        blob = self._get(month)
        if blob is None:
            raise missing_object(month, self._uri(month))
        with (
            damage_reported(month, self._uri(month)),
            blob.open("rb", chunk_size=_CHUNK_STEP, **self._request_options()) as file,
        ):
            yield blob, file

    def _upload_or_create_bucket(
        self, month: TripMonth, path: Path, metadata: Mapping[str, str], generation: int
    ) -> "Blob":
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            return self._upload(month, path, metadata, generation)
        except NotFound:
            conflict = self._create_bucket()
        try:
            return self._upload(month, path, metadata, generation)
        except (Forbidden, NotFound) as error:
            if not conflict:
                raise
            raise BucketNameTaken(
                f"{month} was not uploaded to the lake, because the bucket {self._bucket_name} belongs to someone "
                f'else: "{conflict}".',
                **month.facts,
                bucket=self._bucket_name,
                seen=conflict,
            ) from error

    def _upload(self, month: TripMonth, path: Path, metadata: Mapping[str, str], generation: int) -> "Blob":
        """Upload the file in chunks, if the object's current generation is `generation` (0: it does not exist).

        Raises ReplacedByAnotherRun if another run replaced the object, and UploadInterrupted if the server stored only
        a part of a chunk.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.auth.exceptions import GoogleAuthError

        blob = self._bucket().blob(
            self._name(month), chunk_size=max(self.chunk_mb * 1_000_000 // _CHUNK_STEP, 1) * _CHUNK_STEP
        )
        blob.metadata = metadata
        _log.info("Uploading %s to %s", format_size(path.stat().st_size), self._uri(month))
        try:
            with path.open("rb") as file:
                # Without a size, the client uploads small files in chunks too, so there is only one code path.
                blob.upload_from_file(
                    file,
                    content_type=CONTENT_TYPE,
                    if_generation_match=generation,
                    checksum="crc32c",
                    retry=self._upload_policy().retry(),
                    timeout=self.timeout_s,
                )
        except PreconditionFailed as error:
            # This also happens if the response to our own last chunk was lost.
            now = self._get(month)
            if now is not None and _same_content(now, path):
                return now
            raise ReplacedByAnotherRun(
                f"{month} was not uploaded to the lake: another run replaced {self._uri(month)} at the same time.",
                **month.facts,
                asset="lake_trips",
                uri=self._uri(month),
            ) from error
        except GoogleAuthError:  # some of them are also ValueErrors
            raise
        except ValueError as error:
            # Google's client raises this if the server stored less of a chunk than was sent.
            text = str(error).rstrip(".")
            raise UploadInterrupted(
                f"{month} was not uploaded to the lake, because the server stored only part of a chunk of "
                f'{self._uri(month)}: "{text}".',
                **month.facts,
                uri=self._uri(month),
                seen=text,
            ) from error
        return blob

    def _upload_policy(self) -> RetryPolicy:
        """Return a retry policy that leaves time to retry a chunk twice after its timeout."""
        return replace(self.retry_policy, total_timeout_s=max(self.retry_policy.total_timeout_s, 3 * self.timeout_s))

    def _create_bucket(self) -> str:
        """Create the bucket, without any public access.

        Returns "", or Google's error message if the bucket name already exists. Raises CannotCreate if the name or
        location is invalid.
        """
        from google.api_core.exceptions import BadRequest, Conflict

        bucket = self._bucket()
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        try:
            self._client.create_bucket(bucket, location=self.location, **self._request_options())
        except Conflict as error:
            return describe_google_error(error)  # possibly another of our runs has just created it
        except BadRequest as error:
            text = describe_google_error(error)
            raise CannotCreate(
                f'The bucket {self._bucket_name} was not created in "{self.location}": "{text}".',
                bucket=self._bucket_name,
                location=self.location,
                seen=text,
            ) from error
        return ""

    def _describe(self, month: TripMonth, blob: "Blob", footer: Footer) -> LakeObject:
        size, generation = int(blob.size or 0), int(blob.generation or 0)
        return LakeObject(
            month, self._uri(month), size, footer.rows, generation, footer.version, columns=footer.columns, lake=self
        )

    def _stored_item(self, month: TripMonth, blob: "Blob") -> StoredItem:
        return StoredItem(self._uri(month), bytes=int(blob.size or 0))

    @cached_property
    def _client(self) -> "Client":
        return self.client_factory()

    def _bucket(self) -> "Bucket":
        return self._client.bucket(self._bucket_name)

    def _request_options(self) -> dict[str, Any]:
        """Return the retry and timeout arguments of a request without a large body."""
        return {"retry": self.retry_policy.retry(), "timeout": min(self.timeout_s, _REQUEST_S)}

    def _brief_options(self) -> dict[str, Any]:
        """Return the retry and timeout arguments of a request of a check that a user waits for."""
        brief = self.retry_policy.brief()
        return {"retry": brief.retry(), "timeout": brief.total_timeout_s}

    def _name(self, month: TripMonth) -> str:
        return f"{self._prefix}{month.object_name}"

    def _uri(self, month: TripMonth) -> str:
        return f"gs://{self._bucket_name}/{self._name(month)}"

    @contextmanager
    def _errors(self, context: str, month: TripMonth | None = None) -> Iterator[None]:
        facts = month.facts if month else {}
        with translate_google_errors(f"{context} (gs://{self._bucket_name})", ROLES, **facts):
            yield


_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def split_url(url: str) -> tuple[str, str]:
    """Split `gs://bucket[/prefix]` into bucket and prefix. The prefix ends with a slash or is empty.

    Raises InvalidLakeUrl if the URL has another form.
    """
    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    if not url.startswith("gs://") or not _BUCKET.fullmatch(bucket):
        raise InvalidLakeUrl(
            f'"{url}" is not the URL of a bucket. Expected gs://BUCKET or gs://BUCKET/PREFIX. The name of a bucket has '
            "at least 3 characters: lowercase letters, digits, dashes, underscores and dots. It starts and ends with a "
            "letter or digit.",
            seen=url,
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


_CONTENT_METADATA = ("color", "month", "rows", "source_sha256", "version")
"""The metadata that depends only on the object's content, unlike the release of this project that uploaded it."""


def _metadata(month: TripMonth, footer: Footer) -> dict[str, str]:
    """Return the metadata of an object. `version` is the data version, `taxi_assets` the release of this project."""
    return {
        "color": month.color,
        "month": month.month,
        "rows": str(footer.rows),
        "source_sha256": footer.source,
        "version": footer.version,
        "taxi_assets": version("taxi-assets"),
    }


def _same_content(blob: "Blob", path: Path) -> bool:
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


def _can_load_from(bucket: str, dataset: str) -> bool:
    """Whether BigQuery can load from a bucket location into a dataset location: the same one, or one within it.

    A dataset in `US` can load from any location. Dual-region buckets such as EUR4 are accepted without a check.
    """
    bucket, dataset = bucket.upper(), dataset.upper()
    if dataset in ("US", bucket) or re.fullmatch(r"[A-Z]+[0-9]", bucket):
        return True
    return dataset == "EU" and bucket.startswith("EUROPE-") and bucket not in _OUTSIDE_EU


_OUTSIDE_EU = frozenset({"EUROPE-WEST2", "EUROPE-WEST6"})
"""London and Zurich."""
