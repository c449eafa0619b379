"""Objects in Cloud Storage are uploaded completely or not at all, and verified, even if the network fails."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from taxi_assets.errors import (
    BucketNameTaken,
    CannotCreate,
    DamagedFile,
    ForeignObject,
    GoogleBilling,
    GoogleError,
    GoogleLogin,
    GooglePermission,
    GoogleQuota,
    GoogleUnreachable,
    InvalidLakeUrl,
    ReplacedByAnotherRun,
    StoreBusy,
    StoreError,
    UploadInterrupted,
    WrongLocation,
)
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.google.addresses import object_link
from taxi_assets.stores.google.gcs import ROLES, GCSLake, split_url
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.google_server import STEP, Fault, GoogleServer, skip
from taxi_assets_tests.machine import closed
from taxi_assets_tests.months import write_month

MONTH = TripMonth("green", "2020-03")
URI = "gs://trips/nyc/data/green/green_tripdata_2020-03.parquet"
UPLOAD, CHUNK = "POST /upload/", "PUT /session/"

PUT = """
import sys
from pathlib import Path
from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets_tests.stores.google.test_gcs import MONTH, stage_large

lake = GCSLake("gs://trips/nyc", GoogleAccount().storage_client, Path(sys.argv[1]), chunk_mb=0)
lake.put(MONTH, stage_large(lake))
"""
"""Uploads the month in another process, in three chunks."""


def _stage(lake: GCSLake, rows: int = 3, mark: int = 0, source: str = "5ha") -> StagedFile:
    staged = lake.stage(MONTH)
    write_month(staged.path, MONTH, rows, mark, source)
    return staged


def stage_large(lake: GCSLake, rows: int = 70_000) -> StagedFile:
    """Stage a file of, by default, three chunks of the smallest size."""
    staged = lake.stage(MONTH)
    fares = [number * 0.7310585 % 1 for number in range(rows)]
    write_month(staged.path, MONTH, len(fares), source="5ha", fare_amount=fares)
    return staged


def _store(google: GoogleServer, content: bytes = b"another run's") -> None:
    """Replace the month's object, as another run would."""
    google.store(URI, content)


def test_upload_sets_metadata(lake: GCSLake, google: GoogleServer) -> None:
    """An uploaded object has a content type and metadata, and the result has its generation."""
    uploaded = lake.put(MONTH, _stage(lake))
    resource = google.objects[URI].resource
    assert resource["metadata"]["version"] == uploaded.version == ""
    assert resource["contentType"] == "application/vnd.apache.parquet"
    assert {name: resource["metadata"][name] for name in ("color", "month", "rows", "source_sha256")} == {
        "color": "green",
        "month": "2020-03",
        "rows": "3",
        "source_sha256": "5ha",
    }
    assert resource["metadata"]["taxi_assets"]
    assert (uploaded.uri, uploaded.rows, uploaded.generation) == (URI, 3, int(resource["generation"]))
    assert lake.find(MONTH) == uploaded


def test_upload_in_chunks(lake: GCSLake, google: GoogleServer) -> None:
    """A file is uploaded in chunks of the configured size, with its checksum in the last request."""
    staged = stage_large(lake)
    content = staged.path.read_bytes()
    lake.put(MONTH, staged)
    assert [len(request.body) for request in google.requests_to(CHUNK)] == [STEP, STEP, len(content) - 2 * STEP]
    assert google.requests_to(CHUNK)[-1].headers["x-goog-hash"].startswith("crc32c=")
    assert google.objects[URI].content == content


@pytest.mark.parametrize(("megabytes", "chunk"), [(1, 3 * STEP), (8, 30 * STEP)])
def test_round_chunk_size(megabytes: int, chunk: int, lake: GCSLake, google: GoogleServer) -> None:
    """The chunk size is rounded down to a multiple of Google's unit."""
    lake.chunk_mb = megabytes
    lake.put(MONTH, stage_large(lake, rows=1_200_000))
    assert len(google.requests_to(CHUNK)[0].body) == chunk


def test_skip_upload_of_same_content(lake: GCSLake, google: GoogleServer) -> None:
    """An object with the same content is not uploaded again and keeps its generation."""
    uploaded = lake.put(MONTH, _stage(lake))
    google.requests.clear()
    staged = _stage(lake)
    assert lake.put(MONTH, staged) == uploaded
    assert [request.method for request in google.requests] == ["GET"]
    assert not staged.path.exists()


def test_upload_same_rows_of_another_source(lake: GCSLake) -> None:
    """The same rows from another source file are uploaded as a new generation."""
    first = lake.put(MONTH, _stage(lake, source="old"))
    second = lake.put(MONTH, _stage(lake, source="new"))
    assert (second.rows, second.generation) == (first.rows, (first.generation or 0) + 1)


def test_update_metadata_of_same_content(lake: GCSLake, google: GoogleServer) -> None:
    """If another program uploaded the same content, only the metadata is updated, and the generation stays."""
    staged = _stage(lake)
    generation = int(google.store(URI, staged.path.read_bytes(), {"metadata": {"rows": "9"}}).resource["generation"])
    assert lake.put(MONTH, staged).generation == generation
    assert google.objects[URI].resource["metadata"]["rows"] == "3"
    assert not google.requests_to(UPLOAD)


def test_update_metadata_after_lost_response(lake: GCSLake, google: GoogleServer) -> None:
    """If the response to a metadata update is lost, the retry finds the metadata updated."""
    lake.put(MONTH, _stage(lake))
    google.objects[URI].resource["metadata"]["rows"] = "unknown"
    google.faults = [Fault("PATCH", lost=True)]
    lake.put(MONTH, _stage(lake))
    assert google.objects[URI].resource["metadata"]["rows"] == "3"
    assert len(google.requests_to("PATCH")) == 2


@pytest.mark.parametrize("pattern", [UPLOAD, CHUNK, "GET /storage"], ids=["start", "chunk", "look-up"])
@pytest.mark.parametrize(
    ("status", "reason"), [(503, "backendError"), (429, "rateLimitExceeded"), (500, "internalError")]
)
def test_retry_transient_error(status: int, reason: str, pattern: str, lake: GCSLake, google: GoogleServer) -> None:
    """Every request is retried after a transient error, until the object is complete."""
    staged = stage_large(lake)
    content = staged.path.read_bytes()
    google.faults = [Fault(pattern, status, reason, times=3)]
    lake.put(MONTH, staged)
    assert google.faults[0].times == 0
    assert google.objects[URI].content == content


@pytest.mark.parametrize("cut_at", [0, 1000])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_resume_after_lost_connection(chunk: int, cut_at: int, lake: GCSLake, google: GoogleServer) -> None:
    """If the connection is lost within a chunk, the upload resumes and the object is complete."""
    staged = stage_large(lake)
    content = staged.path.read_bytes()
    assert 2 * STEP < len(content) < 3 * STEP
    google.faults = [skip(CHUNK, times=chunk), Fault(CHUNK, cut_at=cut_at)]
    lake.put(MONTH, staged)
    assert google.faults[1].times == 0
    assert google.objects[URI].content == content


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_resend_chunk_after_lost_response(chunk: int, lake: GCSLake, google: GoogleServer) -> None:
    """If the response to a chunk is lost, resending it changes nothing, even the last one that created the object."""
    staged = stage_large(lake)
    content = staged.path.read_bytes()
    google.faults = [skip(CHUNK, times=chunk), Fault(CHUNK, lost=True)]
    uploaded = lake.put(MONTH, staged)
    assert google.faults[1].times == 0
    assert google.objects[URI].content == content
    assert lake.find(MONTH) == uploaded


def test_failed_upload_keeps_old_object(lake: GCSLake, google: GoogleServer) -> None:
    """If the last chunk never arrives, the old object and the staged file stay."""
    old = lake.put(MONTH, _stage(lake))
    google.faults = [skip(CHUNK, times=2), Fault(CHUNK, 503, times=1000)]
    lake.timeout_s = 0.1
    staged = stage_large(lake)
    with pytest.raises(GoogleUnreachable) as caught:
        lake.put(MONTH, staged)
    assert str(caught.value).startswith("green 2020-03 was not uploaded to the lake (gs://trips)")
    assert str(caught.value.facts["seen"]).startswith("503")
    assert lake.find(MONTH) == old
    assert staged.path.exists()


@pytest.mark.parametrize(("chunk", "rows"), [(1, 3), (2, 3), (3, 70_000)])
def test_killed_upload(chunk: int, rows: int, lake: GCSLake, google: GoogleServer) -> None:
    """The object has all old rows until the last chunk is stored. The next upload deletes the killed one's file."""
    lake.put(MONTH, _stage(lake))
    with subprocess.Popen([sys.executable, "-c", PUT, str(lake.staging_folder)]) as process:
        google.faults += [skip(CHUNK, chunk - 1), Fault(CHUNK, before=process.kill)]
        assert process.wait() == -signal.SIGKILL
    assert lake.find(MONTH).rows == rows
    assert [path for path in lake.staging_folder.rglob("*") if path.is_file()]
    assert lake.put(MONTH, stage_large(lake)).rows == 70_000
    assert not [path for path in lake.staging_folder.rglob("*") if path.is_file()]


def test_do_not_replace_object_of_another_run(lake: GCSLake, google: GoogleServer) -> None:
    """An upload does not replace an object that another run uploads at the same time."""
    google.faults = [Fault(CHUNK, before=lambda: _store(google))]
    with pytest.raises(ReplacedByAnotherRun) as caught:
        lake.put(MONTH, _stage(lake))
    assert caught.value.facts == {**MONTH.facts, "asset": "lake_trips", "uri": URI}
    assert google.objects[URI].content == b"another run's"


def test_concurrent_uploads(lake: GCSLake, google: GoogleServer) -> None:
    """Of several concurrent uploads, each succeeds or raises StoreBusy, and one of the successful ones remains."""
    staged = [_stage(lake, rows, mark=rows) for rows in range(1, 6)]

    def put(file: StagedFile) -> int:
        try:
            return replace(lake).put(MONTH, file).rows
        except StoreBusy:
            return 0

    with ThreadPoolExecutor(5) as pool:
        uploaded = list(pool.map(put, staged))
    assert any(uploaded)
    assert lake.find(MONTH).rows in {rows for rows in uploaded if rows}
    assert len(google.objects) == 1


def test_concurrent_upload_of_same_content(lake: GCSLake, google: GoogleServer) -> None:
    """If another run uploads the same content at the same time, both succeed."""
    staged = _stage(lake)
    content = staged.path.read_bytes()
    google.faults = [Fault(CHUNK, before=lambda: _store(google, content))]
    assert lake.put(MONTH, staged) == lake.find(MONTH)


@pytest.mark.parametrize(
    ("checks_hash", "kind"),
    [(True, GoogleError), (False, UploadInterrupted)],
    ids=["detected by Google", "detected by the client"],
)
def test_detect_corruption(checks_hash: bool, kind: type[StoreError], lake: GCSLake, google: GoogleServer) -> None:  # noqa: FBT001
    """Content that changes during the upload is detected and does not become the month's object."""
    google.corrupts, google.checks_hash = True, checks_hash
    with pytest.raises(StoreError) as caught:
        lake.put(MONTH, _stage(lake))
    assert caught.type is kind
    assert caught.value.facts.items() >= MONTH.facts.items()
    assert URI not in google.objects


def test_server_stores_part_of_chunk(lake: GCSLake, google: GoogleServer) -> None:
    """If the server stores less of a chunk than was sent, the upload fails and leaves no object."""
    google.step = 2 * STEP
    lake.chunk_mb = 1
    with pytest.raises(UploadInterrupted) as caught:
        lake.put(MONTH, stage_large(lake, rows=150_000))
    assert caught.value.facts.items() >= {**MONTH.facts, "uri": URI}.items()
    assert URI not in google.objects


def test_find_reads_one_generation(lake: GCSLake, google: GoogleServer) -> None:
    """An object that is replaced while its footer is read raises an error. Generations are not mixed."""
    lake.put(MONTH, _stage(lake))
    google.faults = [Fault("GET /download", before=lambda: _store(google))]
    with pytest.raises(GoogleError) as caught:
        lake.find(MONTH)
    assert "404 No such object" in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {}, {"rows": "3"}, {"source_sha256": ""}])
def test_find_object_without_metadata(metadata: dict[str, str] | None, lake: GCSLake, google: GoogleServer) -> None:
    """An object whose metadata was lost is found: the footer of its file identifies it."""
    lake.put(MONTH, _stage(lake, rows=7))
    google.store(URI, google.objects[URI].content, {"metadata": metadata} if metadata is not None else {})
    assert lake.find(MONTH).rows == 7


@pytest.mark.parametrize("metadata", [None, {}, {"rows": "3"}, {"color": "green", "month": "2020-03"}])
@pytest.mark.parametrize("content", [b"text", b"PARE" + bytes(50), b"VendorID,lpep_pickup_datetime\n" * 10_000])
def test_foreign_object(content: bytes, metadata: dict[str, str] | None, lake: GCSLake, google: GoogleServer) -> None:
    """An object of another program is an error, whatever its metadata, and is not changed. At most a chunk is read."""
    stored = google.store(URI, content, {"metadata": metadata} if metadata is not None else {})
    google.requests.clear()
    with pytest.raises(ForeignObject) as caught:
        lake.find(MONTH)
    assert caught.value.facts == {**MONTH.facts, "uri": URI}
    assert google.objects[URI] == stored
    assert {request.method for request in google.requests} == {"GET"}
    assert len(google.requests_to("GET /download")) == 1


@pytest.mark.parametrize("length", [0, 3, 4, 100, -1])
@pytest.mark.parametrize("metadata", [{}, {"source_sha256": "5ha"}], ids=["lost metadata", "metadata"])
def test_truncated_object(metadata: dict[str, str], length: int, lake: GCSLake, google: GoogleServer) -> None:
    """An object of this project that is cut off is damaged, with and without its metadata, and can be replaced."""
    lake.put(MONTH, _stage(lake))
    google.store(URI, google.objects[URI].content[:length], {"metadata": metadata})
    with pytest.raises(DamagedFile) as caught:
        lake.find(MONTH)
    assert caught.value.facts == {**MONTH.facts, "uri": URI, "asset": "lake_trips"}
    lake.put(MONTH, _stage(lake, rows=8))
    assert lake.find(MONTH).rows == 8


def test_find_reads_only_the_footer(lake: GCSLake, google: GoogleServer) -> None:
    """An object with the metadata of this project is found without reading its start."""
    lake.put(MONTH, stage_large(lake))
    google.requests.clear()
    lake.find(MONTH)
    with_metadata = len(google.requests)
    google.store(URI, google.objects[URI].content, {"metadata": {}})
    google.requests.clear()
    lake.find(MONTH)
    assert with_metadata < len(google.requests)


def test_create_bucket(lake: GCSLake, google: GoogleServer) -> None:
    """A missing bucket is created in the configured location, without public access."""
    google.buckets.clear()
    lake.location = "EU"
    lake.put(MONTH, _stage(lake))
    bucket = google.buckets["trips"]
    assert bucket["location"] == "EU"
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert URI in google.objects


def test_use_bucket_created_by_another_run(lake: GCSLake, google: GoogleServer) -> None:
    """A bucket that another run creates at the same time is used."""
    google.faults = [Fault(UPLOAD, 404, "notFound", "The specified bucket does not exist.")]
    lake.put(MONTH, _stage(lake))
    assert google.requests_to("POST /storage/v1/b")
    assert URI in google.objects


def test_bucket_name_taken(lake: GCSLake, google: GoogleServer) -> None:
    """A bucket name that belongs to someone else raises BucketNameTaken with Google's message."""
    google.faults = [
        Fault(UPLOAD, 404, "notFound", "The specified bucket does not exist."),
        Fault(UPLOAD, 403, "forbidden", "Access denied."),
    ]
    with pytest.raises(BucketNameTaken) as caught:
        lake.put(MONTH, _stage(lake))
    assert caught.value.facts["bucket"] == "trips"
    assert "409 The requested bucket name is not available" in str(caught.value)


def test_invalid_location(lake: GCSLake, google: GoogleServer) -> None:
    """A location that Google does not have raises CannotCreate with Google's message."""
    google.buckets.clear()
    lake.location = "MARS"
    with pytest.raises(CannotCreate) as caught:
        lake.put(MONTH, _stage(lake))
    assert caught.value.facts == {
        "bucket": "trips",
        "location": "MARS",
        "seen": "400 The specified location constraint is not valid",
    }


REJECTIONS = [
    (401, "authError", "Invalid Credentials", GoogleLogin),
    (403, "forbidden", "you have no storage.objects.get access", GooglePermission),
    (403, "quotaExceeded", "Quota exceeded", GoogleQuota),
    (403, "accountDisabled", "The billing account is disabled", GoogleBilling),
]


@pytest.mark.parametrize(("status", "reason", "message", "kind"), REJECTIONS, ids=[each[1] for each in REJECTIONS])
@pytest.mark.parametrize("pattern", [UPLOAD, "GET /storage", CHUNK], ids=["start", "look-up", "chunk"])
def test_do_not_retry_rejected_request(  # noqa: PLR0913, PLR0917
    pattern: str, status: int, reason: str, message: str, kind: type[StoreError], lake: GCSLake, google: GoogleServer
) -> None:
    """A rejected request is sent once, raises an error with Google's message, and leaves no object."""
    google.faults = [Fault(pattern, status, reason, message)]
    with pytest.raises(StoreError) as caught:
        lake.put(MONTH, _stage(lake))
    assert caught.type is kind
    # Credentials that are rejected are refreshed, which anonymous ones cannot be.
    seen = "Anonymous credentials cannot be refreshed" if kind is GoogleLogin else f"{status} {message}"
    roles = {"roles": ROLES} if kind is GooglePermission else {}
    assert caught.value.facts == {**MONTH.facts, "seen": seen, **roles}
    assert not google.objects
    assert len(google.requests_to(pattern)) == 1


def test_connection_refused(lake: GCSLake, google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a server raises GoogleUnreachable after the retries."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url.rpartition(":")[0] + ":9")
    lake.timeout_s = 0.1
    with pytest.raises(GoogleUnreachable) as caught:
        lake.find(MONTH)
    assert "Connection refused" in str(caught.value)


def test_host_name_not_found(lake: GCSLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that cannot be resolved, as without a network, raises GoogleUnreachable after the retries."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    lake.timeout_s = 0.1
    with pytest.raises(GoogleUnreachable) as caught:
        lake.find(MONTH)
    assert "Name or service not known" in str(caught.value)


def test_staging_folder_without_permission(lake: GCSLake, tmp_path: Path) -> None:
    """A staging folder that cannot be written to raises StoreError with its path."""
    (tmp_path / "staging").mkdir()
    with closed(tmp_path / "staging"), pytest.raises(StoreError) as caught:
        lake.stage(MONTH)
    assert str(tmp_path / "staging") in str(caught.value)


def test_probe(lake: GCSLake, google: GoogleServer) -> None:
    """A probe uploads and deletes a test object, and returns the location of the bucket."""
    assert lake.probe() == "gs://trips/nyc/ is writable; it is in US"
    assert google.requests_to("POST /upload")
    assert not google.objects


def test_probe_without_bucket(lake: GCSLake, google: GoogleServer) -> None:
    """A probe does not create the bucket."""
    google.buckets.clear()
    assert lake.probe() == "gs://trips does not exist yet: the first load creates it in US"
    assert not google.buckets


def test_probe_without_permission_to_get_bucket(lake: GCSLake, google: GoogleServer) -> None:
    """A probe succeeds for an account that can write objects and cannot read the bucket's location."""
    google.faults = [Fault("GET /storage/v1/b/trips", 403, "forbidden", "no storage.buckets.get access")]
    assert lake.probe() == "gs://trips/nyc/ is writable"


@pytest.mark.parametrize("pattern", [UPLOAD, "DELETE /storage"])
def test_probe_without_permission(pattern: str, lake: GCSLake, google: GoogleServer) -> None:
    """A probe detects missing permissions to create and to delete objects. Replacing an object needs both."""
    google.faults = [Fault(pattern, 403, "forbidden", "Access denied.")]
    with pytest.raises(GooglePermission) as caught:
        lake.probe()
    assert caught.value.facts == {"seen": "403 Access denied", "roles": ROLES}


@pytest.mark.parametrize(
    ("bucket", "dataset", "compatible"),
    [
        ("US", "US", True),
        ("US-CENTRAL1", "US", True),
        ("EUROPE-WEST1", "EU", True),
        ("EUROPE-WEST1", "europe-west1", True),
        ("NAM4", "US", True),
        ("EUROPE-WEST2", "EU", False),
        ("ASIA-EAST1", "US", True),
        ("ASIA-EAST1", "EU", False),
        ("US", "EU", False),
        ("US", "us-east1", False),
    ],
)
def test_probe_checks_location(
    bucket: str,
    dataset: str,
    compatible: bool,  # noqa: FBT001
    lake: GCSLake,
    google: GoogleServer,
) -> None:
    """A probe detects a bucket in a location from which BigQuery cannot load."""
    google.buckets["trips"]["location"] = bucket
    lake.location = dataset
    if compatible:
        assert f"in {bucket}" in lake.probe()
        return
    with pytest.raises(WrongLocation) as caught:
        lake.probe()
    assert caught.value.facts == {"bucket": "trips", "seen": bucket, "expected": dataset}


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("gs://trips", ("trips", "")),
        ("gs://trips/", ("trips", "")),
        ("gs://trips/nyc", ("trips", "nyc/")),
        ("gs://trips/nyc/taxi/", ("trips", "nyc/taxi/")),
    ],
)
def test_split_url(url: str, parts: tuple[str, str]) -> None:
    """A URL is split into a bucket and a prefix, with or without a slash at the end."""
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url",
    ["gs://", "gs:///nyc", "trips", "gs://-x", "gs://x", "gs://A-B", "gs://a%20b", "gs://bucket-"],
)
def test_invalid_url(url: str) -> None:
    """A URL without a valid bucket name raises InvalidLakeUrl with the URL."""
    with pytest.raises(InvalidLakeUrl) as caught:
        split_url(url)
    assert caught.value.facts == {"seen": url}
    assert f'"{url}"' in str(caught.value)


def test_object_link() -> None:
    """An object has a page in the Google Cloud console."""
    assert object_link(URI) == (
        "https://console.cloud.google.com/storage/browser/_details/trips/nyc/data/green/green_tripdata_2020-03.parquet"
    )


DELETE = "DELETE .*green_tripdata"


def test_remove_keeps_object_of_another_run(lake: GCSLake, google: GoogleServer) -> None:
    """An object that another run uploads during a removal is not deleted."""
    lake.put(MONTH, _stage(lake))
    google.faults = [Fault(DELETE, before=lambda: _store(google))]
    with pytest.raises(StoreBusy) as caught:
        lake.remove(MONTH)
    assert caught.value.facts == {**MONTH.facts, "uri": URI}
    assert URI in google.objects


def test_remove_after_lost_response(lake: GCSLake, google: GoogleServer) -> None:
    """If the response to a deletion is lost, the deletion is retried and the removed object is returned."""
    uploaded = lake.put(MONTH, _stage(lake))
    google.faults = [Fault(DELETE, lost=True)]
    assert [item.bytes for item in lake.remove(MONTH)] == [uploaded.bytes]
    assert len(google.requests_to(DELETE)) == 2
    assert google.objects == {}


def test_remove_without_permission(lake: GCSLake, google: GoogleServer) -> None:
    """A deletion that Google denies raises GooglePermission with the roles, and the object stays."""
    lake.put(MONTH, _stage(lake))
    google.faults = [Fault(DELETE, 403, "forbidden", "no storage.objects.delete access")]
    with pytest.raises(GooglePermission) as caught:
        lake.remove(MONTH)
    assert caught.value.facts == {**MONTH.facts, "seen": "403 no storage.objects.delete access", "roles": ROLES}
    assert URI in google.objects
