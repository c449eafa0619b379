"""A lake in Google Cloud Storage: a bucket whose objects appear whole, and are verified end to end.

Here: the upload, in chunks that survive a slow line; the bucket, made where it is missing.
Not here: what is in an object, and what a warehouse does with it (`bigquery`).
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
from taxi_assets.stores.download import said_size
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.google_cloud import Patience, google_errors, said
from taxi_assets.stores.holdings import Holding
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
"""Bytes. Google takes chunks of multiples of this."""

_READ_BYTES = 1 << 20

_REQUEST_S = 60.0
"""How long a request that sends next to nothing may take, in seconds."""


@dataclass(eq=False)
class GCSLake:
    """Objects of the bucket, and below the prefix, of `url`, which is `gs://bucket[/prefix]`.

    `client_factory` gives a client of Cloud Storage. `staging_folder` is for a month's file on its way. A missing
    bucket is made at `location`. `chunk_mb` megabytes are sent at once, and each such chunk may take `timeout_s`
    seconds.
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
        """A local file to write the month to before `put`."""
        return StagedFile(self.staging_folder / month.object_name)

    def put(self, month: TripMonth, staged: StagedFile) -> LakeObject:
        """Upload the object, unless the bucket has just these bytes; the staged file is gone afterwards.

        Raises StoreError where the bucket refuses, StoreBusy where another run put another object meanwhile.
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
                # Someone else put these bytes there. This changes what the object tells of itself, not its generation.
                blob.metadata = facts
                with suppress(PreconditionFailed):  # another run was faster; or this one, whose answer was lost
                    blob.patch(if_metageneration_match=blob.metageneration, **self._patiently())
            put = self._describe(month, blob, footer)
        staged.discard()
        return put

    def find(self, month: TripMonth) -> LakeObject:
        """The month's object, with what its footer states. Raises MissingUpstream, StoreError for no Parquet file."""
        with self._errors(f"{month} was not found in the lake"), self._reading(month) as (blob, file):
            return self._describe(month, blob, read_footer(file))

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month's object. Raises as `find`, and StoreError where the object is damaged.

        It downloads the footer and the column `total_amount`.
        """
        with self._errors(f"{month} was not summarized in the lake"), self._reading(month) as (_, file):
            return summarize_parquet(file, LAYOUTS[month.color])

    def held(self, month: TripMonth) -> list[Holding]:
        """The month's object, if it is there; none where there is no bucket either."""
        with self._errors(f"{month} was not looked for in the lake"):
            blob = self._get(month)
        return [self._holding(month, blob)] if blob else []

    def remove(self, month: TripMonth) -> list[Holding]:
        """Remove the object that is seen now; gives what went.

        A bucket with soft delete or versions keeps it for as long as that says. Raises StoreBusy where another run put
        another object in between.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with self._errors(f"{month} was not removed from the lake"):
            blob = self._get(month)
            if blob is None:
                return []
            try:
                with suppress(NotFound):  # gone, perhaps by our own request, whose answer was lost
                    blob.delete(if_generation_match=blob.generation, **self._patiently())
            except PreconditionFailed as error:
                raise StoreBusy(
                    f"{month}: another run put {self._uri(month)} while it was to be removed, so it was left. Wipe it "
                    "again, when that run has ended"
                ) from error
            return [self._holding(month, blob)]

    def probe(self) -> str:
        """Put a few bytes and remove them again; what was seen, in a sentence.

        Raises StoreError, also where the bucket is where BigQuery would not load from it.
        """
        from google.api_core.exceptions import NotFound

        trying = {"retry": self.patience.brief().retry(), "timeout": self.patience.brief().give_up_s}
        with self._errors("the lake cannot be used"):
            blob = self._bucket().blob(f"{self._prefix}taxi-doctor-{secrets.token_hex(4)}")
            try:
                blob.upload_from_string(b"taxi doctor was here", **trying)
            except NotFound:
                return f"gs://{self._bucket_name} is not there yet: the first run makes it in {self.location}"
            with suppress(NotFound):  # another doctor was faster
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
        """Where the bucket is; empty where these credentials may not know that, which no upload needs."""
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
        """The month's object, and a file to read it with: always of the generation that was seen."""
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
        """Send the file in chunks; it becomes the object only where that is still of `generation`, 0 for none."""
        from google.api_core.exceptions import PreconditionFailed
        from google.auth.exceptions import GoogleAuthError

        blob = self._bucket().blob(
            self._name(month), chunk_size=max(self.chunk_mb * 1_000_000 // _CHUNK_STEP, 1) * _CHUNK_STEP
        )
        blob.metadata = facts
        _log.info("sends %s to %s", said_size(path.stat().st_size), self._uri(month))
        try:
            with path.open("rb") as file:
                # Without a size, small files go in chunks too: one way for all.
                blob.upload_from_file(
                    file,
                    content_type=CONTENT_TYPE,
                    if_generation_match=generation,
                    checksum="crc32c",
                    # A chunk that ran into its timeout is sent again, twice.
                    retry=replace(self.patience, give_up_s=max(self.patience.give_up_s, 3 * self.timeout_s)).retry(),
                    timeout=self.timeout_s,
                )
        except PreconditionFailed as error:
            # Also where the answer to our own last chunk was lost.
            now = self._get(month)
            if now is not None and _has_bytes(now, path):
                return now
            raise StoreBusy(
                f"{month}: another run put {self._uri(month)} while this one was sending it. Run lake_trips again, "
                "when that run has ended"
            ) from error
        except GoogleAuthError:  # some are ValueErrors too
            raise
        except ValueError as error:
            # Google's client gives up this way where the server kept less of a chunk than was sent.
            raise StoreUnreachable(
                f"{month}: the upload to {self._uri(month)} broke off: {error} Run this again"
            ) from error
        return blob

    def _make_bucket(self) -> str:
        """Make the bucket, private as a whole. Empty, or what was said where there is one of that name."""
        from google.api_core.exceptions import BadRequest, Conflict

        bucket = self._bucket()
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        try:
            self._client.create_bucket(bucket, location=self.location, **self._patiently())
        except Conflict as error:
            return said(error)  # perhaps of another run of ours, just now
        except BadRequest as error:
            raise StoreError(
                f"the bucket {self._bucket_name} cannot be made in {self.location}: {said(error)}. Check its name in "
                "TAXI_LAKE_URL, and TAXI_BIGQUERY_LOCATION, such as US, EU or europe-west1"
            ) from error
        return ""

    def _describe(self, month: TripMonth, blob: "Blob", footer: Footer) -> LakeObject:
        size, generation = int(blob.size or 0), int(blob.generation or 0)
        return LakeObject(month, self._uri(month), size, footer.rows, generation, footer.version)

    def _holding(self, month: TripMonth, blob: "Blob") -> Holding:
        return Holding(self._uri(month), bytes=int(blob.size or 0))

    @cached_property
    def _client(self) -> "Client":
        return self.client_factory()

    def _bucket(self) -> "Bucket":
        return self._client.bucket(self._bucket_name)

    def _patiently(self) -> dict[str, Any]:
        """How a request is made that sends next to nothing."""
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
    """The bucket, and the prefix with a slash at its end or empty, of `gs://bucket[/prefix]`. Raises SettingsError."""
    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    if not url.startswith("gs://") or not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            f"TAXI_LAKE_URL={url} names no bucket: expected gs://bucket or gs://bucket/prefix, and a bucket's name has "
            "3 or more small letters, digits, dashes, underscores and dots, a letter or digit at both ends"
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def console_link(uri: str) -> str:
    """The page of Google's console that shows an object, given its `gs://` address."""
    return f"https://console.cloud.google.com/storage/browser/_details/{uri.removeprefix('gs://')}"


_OF_THE_BYTES = ("color", "month", "rows", "source_sha256", "version")
"""The facts that follow from an object's bytes; the release of the project that put them does not."""


def _facts(month: TripMonth, footer: Footer) -> dict[str, str]:
    """The metadata of an object; `version` is the data version, `taxi_assets` the release of the project."""
    return {
        "color": month.color,
        "month": month.month,
        "rows": str(footer.rows),
        "source_sha256": footer.source,
        "version": footer.version,
        "taxi_assets": version("taxi-assets"),
    }


def _has_bytes(blob: "Blob", path: Path) -> bool:
    """Whether an object is the same as a file, by size and checksum."""
    return bool(blob.size == path.stat().st_size and blob.crc32c == _crc32c(path))


def _crc32c(path: Path) -> str:
    """The checksum of a file, as Google writes it."""
    import google_crc32c

    checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            checksum.update(chunk)  # type: ignore[no-untyped-call]
    return base64.b64encode(checksum.digest()).decode()  # type: ignore[no-untyped-call]


def _near(bucket: str, dataset: str) -> bool:
    """Whether BigQuery may load from a bucket there into a dataset there: the same place, or a part of it.

    A dataset in `US` takes them from anywhere. Of buckets in two regions, such as EUR4, it is not known here: they are
    let through.
    """
    bucket, dataset = bucket.upper(), dataset.upper()
    if dataset in ("US", bucket) or re.fullmatch(r"[A-Z]+[0-9]", bucket):
        return True
    return dataset == "EU" and bucket.startswith("EUROPE-") and bucket not in _OUTSIDE_EU


_OUTSIDE_EU = frozenset({"EUROPE-WEST2", "EUROPE-WEST6"})
"""London and Zurich."""
