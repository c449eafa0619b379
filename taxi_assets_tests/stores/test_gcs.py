"""A month in Cloud Storage is put whole, once, and verified, whatever the line and Google do."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from taxi_assets.errors import SettingsError, StoreBusy, StoreError, StoreUnreachable
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.gcs import GCSLake, console_link, split_url
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.google_server import STEP, Fault, GoogleServer
from taxi_assets_tests.machine import closed
from taxi_assets_tests.months import write_month

MONTH = TripMonth("green", "2020-03")
URI = "gs://trips/nyc/data/green/green_tripdata_2020-03.parquet"
UPLOAD, CHUNK = "POST /upload/", "PUT /session/"


def _staged(lake: GCSLake, rows: int = 3, mark: int = 0, source: str = "5ha") -> StagedFile:
    staged = lake.stage(MONTH)
    write_month(staged.path, MONTH, rows, mark, source)
    return staged


def _large(lake: GCSLake, rows: int = 70_000) -> StagedFile:
    """A file of three of the smallest chunks, if it is not told otherwise."""
    staged = lake.stage(MONTH)
    fares = [number * 0.7310585 % 1 for number in range(rows)]
    write_month(staged.path, MONTH, len(fares), fare_amount=fares)
    return staged


def test_object(lake: GCSLake, google: GoogleServer) -> None:
    """An object has its type, its checksum and its facts; what is given back has its generation."""
    put = lake.put(MONTH, _staged(lake))
    resource = google.objects[URI].resource
    assert resource["metadata"]["version"] == put.version == ""
    assert resource["contentType"] == "application/vnd.apache.parquet"
    assert {name: resource["metadata"][name] for name in ("color", "month", "rows", "source_sha256")} == {
        "color": "green",
        "month": "2020-03",
        "rows": "3",
        "source_sha256": "5ha",
    }
    assert resource["metadata"]["taxi_assets"]
    assert (put.uri, put.rows, put.generation) == (URI, 3, int(resource["generation"]))
    assert lake.find(MONTH) == put


def test_chunks(lake: GCSLake, google: GoogleServer) -> None:
    """An object is sent in chunks of the size that is set, with its checksum at the end."""
    staged = _large(lake)
    content = staged.path.read_bytes()
    lake.put(MONTH, staged)
    assert [len(request.body) for request in google.asked(CHUNK)] == [STEP, STEP, len(content) - 2 * STEP]
    assert google.asked(CHUNK)[-1].headers["x-goog-hash"].startswith("crc32c=")
    assert google.objects[URI].content == content


@pytest.mark.parametrize(("megabytes", "chunk"), [(1, 3 * STEP), (8, 30 * STEP)])
def test_chunk_size(megabytes: int, chunk: int, lake: GCSLake, google: GoogleServer) -> None:
    """A chunk is the whole steps that fit into the megabytes of the setting, and one at least."""
    lake.chunk_mb = megabytes
    lake.put(MONTH, _large(lake, rows=1_200_000))
    assert len(google.asked(CHUNK)[0].body) == chunk


def test_skipped(lake: GCSLake, google: GoogleServer) -> None:
    """What is there already is not sent again: it stays the same generation."""
    put = lake.put(MONTH, _staged(lake))
    google.seen.clear()
    again = _staged(lake)
    assert lake.put(MONTH, again) == put
    assert [request.method for request in google.seen] == ["GET"]
    assert not again.path.exists()


def test_another_source(lake: GCSLake) -> None:
    """A file from another source is another object, with its rows unchanged."""
    put = lake.put(MONTH, _staged(lake, source="old"))
    newer = lake.put(MONTH, _staged(lake, source="new"))
    assert (newer.rows, newer.generation) == (put.rows, (put.generation or 0) + 1)


def test_facts_are_mended(lake: GCSLake, google: GoogleServer) -> None:
    """The same bytes that someone else put there get this project's facts, and stay the same generation."""
    staged = _staged(lake)
    generation = int(google.store(URI, staged.path.read_bytes(), {"metadata": {"rows": "9"}}).resource["generation"])
    assert lake.put(MONTH, staged).generation == generation
    assert google.objects[URI].resource["metadata"]["rows"] == "3"
    assert not google.asked(UPLOAD)


@pytest.mark.parametrize("on", [UPLOAD, CHUNK, "GET /storage"], ids=["start", "chunk", "look"])
@pytest.mark.parametrize(
    ("status", "reason"), [(503, "backendError"), (429, "rateLimitExceeded"), (500, "internalError")]
)
def test_bursts(status: int, reason: str, on: str, lake: GCSLake, google: GoogleServer) -> None:
    """What Google cannot do now is asked again, and the object is there once."""
    staged = _large(lake)
    content = staged.path.read_bytes()
    google.faults = [Fault(on, status, reason, times=3)]
    lake.put(MONTH, staged)
    assert google.faults[0].times == 0
    assert google.objects[URI].content == content


@pytest.mark.parametrize("cut_at", [0, 1000])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_cut(chunk: int, cut_at: int, lake: GCSLake, google: GoogleServer) -> None:
    """A connection that is cut within any chunk is made again, and the object is whole."""
    staged = _large(lake)
    content = staged.path.read_bytes()
    assert 2 * STEP < len(content) < 3 * STEP
    google.faults = [
        Fault(CHUNK, before=lambda: None, times=chunk),
        Fault(CHUNK, cut_at=cut_at),
    ]
    lake.put(MONTH, staged)
    assert google.faults[1].times == 0
    assert google.objects[URI].content == content


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_lost_answer(chunk: int, lake: GCSLake, google: GoogleServer) -> None:
    """A chunk whose answer was lost is sent again, which changes nothing; also the last, which made the object."""
    staged = _large(lake)
    content = staged.path.read_bytes()
    google.faults = [Fault(CHUNK, before=lambda: None, times=chunk), Fault(CHUNK, lost=True)]
    put = lake.put(MONTH, staged)
    assert google.faults[1].times == 0
    assert google.objects[URI].content == content
    assert lake.find(MONTH) == put


def test_old_object_stays(lake: GCSLake, google: GoogleServer) -> None:
    """Until the last chunk has arrived, the old object is there; where it never arrives, it stays."""
    old = lake.put(MONTH, _staged(lake))
    google.faults = [Fault(CHUNK, before=lambda: None, times=2), Fault(CHUNK, 503, times=1000)]
    lake.timeout_s = 0.1
    staged = _large(lake)
    with pytest.raises(StoreError, match=r"green 2020-03 was not put .*gs://trips.*again and again.*503"):
        lake.put(MONTH, staged)
    assert lake.find(MONTH) == old
    assert staged.path.exists()


def test_another_writer(lake: GCSLake, google: GoogleServer) -> None:
    """An object that another run put meanwhile is not overwritten unseen."""
    google.faults = [Fault(CHUNK, before=lambda: _store(google))]
    with pytest.raises(StoreBusy, match=r"another run put gs://trips.*Run lake_trips again"):
        lake.put(MONTH, _staged(lake))
    assert google.objects[URI].content == b"another run's"


def _store(google: GoogleServer, content: bytes = b"another run's") -> None:
    google.store(URI, content)


def test_writers_at_once(lake: GCSLake, google: GoogleServer) -> None:
    """Of writers of different objects at once, each puts a whole one or is told; what is there is one of theirs."""
    staged = [_staged(lake, rows, mark=rows) for rows in range(1, 6)]

    def put(mine: StagedFile) -> int:
        try:
            return replace(lake).put(MONTH, mine).rows
        except StoreBusy:
            return 0

    with ThreadPoolExecutor(5) as pool:
        done = list(pool.map(put, staged))
    assert any(done)
    assert lake.find(MONTH).rows in done
    assert len(google.objects) == 1


def test_another_writer_of_the_same(lake: GCSLake, google: GoogleServer) -> None:
    """Where another run put the same bytes meanwhile, both have what they wanted."""
    staged = _staged(lake)
    content = staged.path.read_bytes()
    google.faults = [Fault(CHUNK, before=lambda: _store(google, content))]
    assert lake.put(MONTH, staged) == lake.find(MONTH)


@pytest.mark.parametrize("checks_hash", [True, False], ids=["Google sees it", "the client sees it"])
def test_changed_on_its_way(lake: GCSLake, google: GoogleServer, checks_hash: bool) -> None:  # noqa: FBT001
    """Bytes that change on their way are seen, and do not stay as the month's object."""
    google.corrupts, google.checks_hash = True, checks_hash
    with pytest.raises(StoreError, match=r"green 2020-03 was not put.*(CRC32C|checksum)"):
        lake.put(MONTH, _staged(lake))
    assert URI not in google.objects


def test_less_was_kept(lake: GCSLake, google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that keeps less of a chunk than it was sent ends in an error, not in an object with a hole."""
    monkeypatch.setattr("taxi_assets_tests.google_server.STEP", 2 * STEP)
    lake.chunk_mb = 1
    with pytest.raises(StoreUnreachable, match=r"the upload to gs://trips.* broke off.*Run this again"):
        lake.put(MONTH, _large(lake, rows=150_000))
    assert URI not in google.objects


def test_object_of_another_time(lake: GCSLake, google: GoogleServer) -> None:
    """Rows are read from the generation that was found: one that is replaced meanwhile is told, not mixed."""
    lake.put(MONTH, _staged(lake))
    google.faults = [Fault("GET /download", before=lambda: _store(google))]
    with pytest.raises(StoreError, match="404 No such object"):
        lake.find(MONTH)


def test_bucket_is_made(lake: GCSLake, google: GoogleServer) -> None:
    """A missing bucket is made where it should be, private as a whole, and then has the object."""
    google.buckets.clear()
    lake.location = "EU"
    lake.put(MONTH, _staged(lake))
    bucket = google.buckets["trips"]
    assert bucket["location"] == "EU"
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert URI in google.objects


def test_bucket_made_by_another_run(lake: GCSLake, google: GoogleServer) -> None:
    """A bucket that another run made at the same moment is used."""
    google.faults = [Fault(UPLOAD, 404, "notFound", "The specified bucket does not exist.")]
    lake.put(MONTH, _staged(lake))
    assert google.asked("POST /storage/v1/b")
    assert URI in google.objects


def test_bucket_of_someone_else(lake: GCSLake, google: GoogleServer) -> None:
    """A name that is taken is told as such."""
    google.faults = [
        Fault(UPLOAD, 404, "notFound", "The specified bucket does not exist."),
        Fault(UPLOAD, 403, "forbidden", "Access denied."),
    ]
    with pytest.raises(
        StoreError, match=r"bucket name trips is taken by someone else.*choose another one in TAXI_LAKE"
    ):
        lake.put(MONTH, _staged(lake))


def test_bad_location(lake: GCSLake, google: GoogleServer) -> None:
    """A place that Google does not know is told by its setting."""
    google.buckets.clear()
    lake.location = "MARS"
    with pytest.raises(StoreError, match=r"cannot be made in MARS: 400 The specified.*TAXI_BIGQUERY_LOCATION"):
        lake.put(MONTH, _staged(lake))


REFUSALS = [
    (401, "authError", "Invalid Credentials", "does not accept the credentials: .*TAXI_GCP_CREDENTIALS"),
    (403, "forbidden", "you have no storage.objects.get access", "refused: 403 you have.*roles/storage.objectAdmin"),
    (403, "quotaExceeded", "Quota exceeded", "quota of Google's is used up: 403 Quota exceeded"),
    (403, "accountDisabled", "The billing account is disabled", "Give the project a billing account"),
]


@pytest.mark.parametrize(("status", "reason", "message", "said"), REFUSALS, ids=[each[1] for each in REFUSALS])
@pytest.mark.parametrize("on", [UPLOAD, "GET /storage", CHUNK], ids=["start", "look", "chunk"])
def test_refused(  # noqa: PLR0913, PLR0917
    on: str, status: int, reason: str, message: str, said: str, lake: GCSLake, google: GoogleServer
) -> None:
    """What Google refuses is told at once, with what to do, and leaves nothing."""
    google.faults = [Fault(on, status, reason, message)]
    with pytest.raises(StoreError, match=said):
        lake.put(MONTH, _staged(lake))
    assert not google.objects
    assert len(google.asked(on)) == 1


def test_nobody_there(lake: GCSLake, google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody answers ends within the patience."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url.rpartition(":")[0] + ":9")
    lake.timeout_s = 0.1
    with pytest.raises(StoreError, match=r"again and again, Google cannot be reached.*Check the connection"):
        lake.find(MONTH)


def test_no_such_address(lake: GCSLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names cannot be looked up, as without a network, the end is the same."""

    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    lake.timeout_s = 0.1
    with pytest.raises(StoreError, match=r"again and again, Google cannot be reached.*Name or service"):
        lake.find(MONTH)


def test_full_staging(lake: GCSLake, tmp_path: Path) -> None:
    """A staging folder that cannot be written to is told as any folder."""
    (tmp_path / "staging").mkdir()
    with closed(tmp_path / "staging"), pytest.raises(StoreError, match="Permission denied"):
        lake.stage(MONTH)


def test_probe_leaves_nothing(lake: GCSLake, google: GoogleServer) -> None:
    """A probe puts and removes a few bytes, and tells where the bucket is."""
    assert lake.probe() == "gs://trips/nyc/ can be written to; it is in US"
    assert google.asked("POST /upload")
    assert not google.objects


def test_probe_without_a_bucket(lake: GCSLake, google: GoogleServer) -> None:
    """A probe makes no bucket."""
    google.buckets.clear()
    assert lake.probe() == "gs://trips is not there yet: the first run makes it in US"
    assert not google.buckets


def test_probe_that_may_not_ask_where(lake: GCSLake, google: GoogleServer) -> None:
    """An account that may only write needs no more."""
    google.faults = [Fault("GET /storage/v1/b/trips", 403, "forbidden", "no storage.buckets.get access")]
    assert lake.probe() == "gs://trips/nyc/ can be written to"


@pytest.mark.parametrize("on", [UPLOAD, "DELETE /storage"])
def test_probe_refused(on: str, lake: GCSLake, google: GoogleServer) -> None:
    """A probe finds a missing permission, also that to remove, which replacing an object takes."""
    google.faults = [Fault(on, 403, "forbidden", "Access denied.")]
    with pytest.raises(StoreError, match=r"cannot be used \(gs://trips\): Google refused.*objectAdmin"):
        lake.probe()


@pytest.mark.parametrize(
    ("bucket", "dataset", "near"),
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
def test_probe_of_a_far_bucket(bucket: str, dataset: str, near: bool, lake: GCSLake, google: GoogleServer) -> None:  # noqa: FBT001
    """A bucket from which BigQuery would not load is found."""
    google.buckets["trips"]["location"] = bucket
    lake.location = dataset
    if near:
        assert f"in {bucket}" in lake.probe()
        return
    with pytest.raises(StoreError, match=f"is in {bucket}, TAXI_BIGQUERY_LOCATION is {dataset}: BigQuery loads only"):
        lake.probe()


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
    """A bucket and a prefix, with or without slashes at the end."""
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["gs://", "gs:///nyc", "trips"])
def test_bad_url(url: str) -> None:
    """An address without a bucket is refused, by its setting."""
    with pytest.raises(SettingsError, match=r"TAXI_LAKE_URL=.*gs://bucket"):
        split_url(url)


def test_console_link() -> None:
    """The console's page of an object."""
    assert console_link(URI) == (
        "https://console.cloud.google.com/storage/browser/_details/trips/nyc/data/green/green_tripdata_2020-03.parquet"
    )


def test_a_lost_answer_to_changed_facts(lake: GCSLake, google: GoogleServer) -> None:
    """What an object tells of itself is changed once: the second try finds it done."""
    lake.put(MONTH, _staged(lake))
    google.objects[URI].resource["metadata"]["rows"] = "unknown"
    google.faults = [Fault("PATCH", lost=True)]
    lake.put(MONTH, _staged(lake))
    assert google.objects[URI].resource["metadata"]["rows"] == "3"
    assert len(google.asked("PATCH")) == 2


@pytest.mark.parametrize("url", ["gs://", "gs://-x", "gs://x", "gs://A-B", "gs://a%20b", "gs://bucket-"])
def test_no_name_of_a_bucket(url: str) -> None:
    """A name that no bucket can have is said before anything is asked."""
    with pytest.raises(SettingsError, match="names no bucket"):
        split_url(url)


DELETE = "DELETE .*green_tripdata"


def test_remove_what_another_run_puts(lake: GCSLake, google: GoogleServer) -> None:
    """An object that another run put between the look and the removal stays, and that is told."""
    lake.put(MONTH, _staged(lake))
    google.faults = [Fault(DELETE, before=lambda: _store(google))]
    with pytest.raises(StoreBusy, match=r"another run put gs://trips.*it was left. Wipe it again"):
        lake.remove(MONTH)
    assert URI in google.objects


def test_remove_with_a_lost_answer(lake: GCSLake, google: GoogleServer) -> None:
    """A removal whose answer was lost is asked for again, and is a removal."""
    put = lake.put(MONTH, _staged(lake))
    google.faults = [Fault(DELETE, lost=True)]
    assert [holding.bytes for holding in lake.remove(MONTH)] == [put.bytes]
    assert len(google.asked(DELETE)) == 2
    assert google.objects == {}


def test_remove_refused(lake: GCSLake, google: GoogleServer) -> None:
    """A removal that Google refuses says what it takes; the object stays."""
    lake.put(MONTH, _staged(lake))
    google.faults = [Fault(DELETE, 403, "forbidden", "no storage.objects.delete access")]
    with pytest.raises(StoreError, match=r"not removed from the lake \(gs://trips\): .*objectAdmin"):
        lake.remove(MONTH)
    assert URI in google.objects
