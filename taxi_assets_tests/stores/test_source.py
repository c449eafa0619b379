"""A month comes from a folder or a web server, byte for byte, or not at all."""

import gzip
import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taxi_assets.errors import BadFile, NotPublished, SettingsError, SourceUnreachable, StoreError, TaxiAssetsError
from taxi_assets.stores.download import CHUNK_BYTES, Version
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.source import MIRROR_URL, Fetched, Publication, Source
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2020-04")
NAME = "green/green_tripdata_2020-04.csv.gz"
BODY = gzip.compress(b"VendorID\r\n2\r\n" * 1000)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[StagedFile]:
    """A staged file for the month."""
    with StagedFile(tmp_path / "raw" / "month.csv.gz") as staged:
        yield staged
        staged.discard()


def _write(path: Path, content: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("url", "address", "suffix"),
    [
        (MIRROR_URL, f"{MIRROR_URL}/{NAME}", ".csv.gz"),
        ("https://host/base/", f"https://host/base/{NAME}", ".csv.gz"),
        ("/data/source", f"/data/source/{NAME}", ".csv.gz"),
        ("/", f"/{NAME}", ".csv.gz"),
        ("file:///data/source", f"file:///data/source/{NAME}", ".csv.gz"),
        ("http://host/{month}/{color}.csv", "http://host/2020-04/green.csv", ".csv"),
        ("/data/{color}-{month}.csv.gz", "/data/green-2020-04.csv.gz", ".csv.gz"),
    ],
)
def test_address(url: str, address: str, suffix: str) -> None:
    """A base gets the TLC's layout, a template only its month; the suffix says the format."""
    source = Source(url)
    assert (source.address(MONTH), source.suffix) == (address, suffix)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/base", "starts with ftp://"),
        ("gs://bucket", "starts with gs://"),
        ("file://data/source", "file:///"),
        ("http://", "no host"),
        ("https://host/{color}-{month}.csv?sig=s3cret", "has a \\? in it"),
        ("https://host/{color}.csv.gz", "only {color}"),
        ("https://host/{month}.csv.gz", "only {month}"),
        ("https://host/{color}-{month}.parquet", "ends in {color}-{month}.parquet"),
    ],
)
def test_refused_url(url: str, said: str) -> None:
    """An address that cannot be a source is refused at once, with the reason."""
    with pytest.raises(SettingsError, match=said):
        Source(url)


@pytest.mark.parametrize("url", ["https://me:s3cret@host/base", "https:///me:s3cret@host", "https://host?sig=s3cret"])
def test_refused_secret(url: str) -> None:
    """An address with a secret is refused, and the message does not repeat it."""
    with pytest.raises(SettingsError) as caught:
        Source(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_fetch_from_folder(form: Callable[[Path], str], tmp_path: Path, staged: StagedFile) -> None:
    """A file in a folder, whose name may need quoting in a URL, is copied, counted and hashed."""
    place = _write(tmp_path / "a source 100%" / NAME)
    fetched = Source(form(tmp_path / "a source 100%")).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert (fetched.address, fetched.bytes) == (str(place), len(BODY))
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()


def test_fetch_from_web(web: WebServer, staged: StagedFile) -> None:
    """A file on a web server is stored, counted and hashed, with what the server says of its version."""
    web.replies[f"/{NAME}"] = [Reply(BODY, headers={"ETag": '"v1"', "Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"})]
    fetched = Source(web.url).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert fetched == Fetched(
        f"{web.url}/{NAME}",
        len(BODY),
        hashlib.sha256(BODY).hexdigest(),
        Version('"v1"', "Fri, 20 May 2022 10:00:00 GMT"),
    )


def test_fetch_streams(web: WebServer, tmp_path: Path, staged: StagedFile) -> None:
    """Memory does not grow with the file."""
    web.replies[f"/{NAME}"] = [Reply(bytes(CHUNK_BYTES), repeat=32)]
    _write(tmp_path / NAME, bytes(32 * CHUNK_BYTES))
    Source(web.url).fetch(MONTH, staged)
    for source in (Source(web.url), Source(str(tmp_path))):
        tracemalloc.start()
        try:
            fetched = source.fetch(MONTH, staged)
            assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK_BYTES
        finally:
            tracemalloc.stop()
            assert fetched.bytes == 32 * CHUNK_BYTES


def test_unchanged_file_is_not_copied(tmp_path: Path, staged: StagedFile) -> None:
    """A file of the known version is left where it is; one that was written since, with as many bytes, is copied."""
    place = _write(tmp_path / NAME)
    source = Source(str(tmp_path))
    fetched = source.fetch(MONTH, staged)
    staged.path.write_bytes(b"")
    assert source.fetch(MONTH, staged, fetched) == replace(fetched, unchanged=True)
    assert staged.path.read_bytes() == b""
    os.utime(place, ns=(0, 1))
    assert not source.fetch(MONTH, staged, fetched).unchanged
    assert staged.path.read_bytes() == BODY


def test_unchanged_month_is_not_downloaded(web: WebServer, staged: StagedFile) -> None:
    """What a server still has in the known version is not fetched; what is known of it stays known."""
    web.replies[f"/{NAME}"] = [Reply(BODY, headers={"ETag": '"v1"'})]
    source = Source(web.url)
    fetched = source.fetch(MONTH, staged)
    staged.path.write_bytes(b"")
    assert source.fetch(MONTH, staged, fetched) == replace(fetched, unchanged=True)
    assert staged.path.read_bytes() == b""


def test_not_published_in_folder(tmp_path: Path, staged: StagedFile) -> None:
    """A month that a folder does not have is not published: the message has month and path."""
    with pytest.raises(NotPublished, match=rf"green 2020-04.*{tmp_path / NAME}"):
        Source(str(tmp_path)).fetch(MONTH, staged)


@pytest.mark.parametrize("status", [404, 410])
def test_not_published_on_web(status: int, web: WebServer, staged: StagedFile) -> None:
    """A month that a server says it has not is not published, after one question: the message has month and address."""
    web.replies[f"/{NAME}"] = [Reply(status=status)]
    with pytest.raises(NotPublished, match=rf"green 2020-04.*{web.url}/{NAME}"):
        Source(web.url).fetch(MONTH, staged)
    assert len(web.seen) == 1


def test_refused_on_web(web: WebServer, staged: StagedFile) -> None:
    """What a server refuses for good is told with month, address and answer."""
    web.replies[f"/{NAME}"] = [Reply(status=403)]
    with pytest.raises(StoreError, match=f"green 2020-04 was not fetched: .*{NAME} answered 403"):
        Source(web.url).fetch(MONTH, staged)


def test_unreadable_file(tmp_path: Path, staged: StagedFile) -> None:
    """A folder in the file's place is the store's error."""
    (tmp_path / NAME).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"green 2020-04 cannot be read.*{NAME}"):
        Source(str(tmp_path)).fetch(MONTH, staged)


def test_failed_fetch_publishes_nothing(web: WebServer, tmp_path: Path) -> None:
    """After a failed fetch neither the month nor litter is there."""
    web.replies[f"/{NAME}"] = [Reply(status=403)]
    place = tmp_path / "raw" / "month.csv.gz"
    with pytest.raises(TaxiAssetsError), StagedFile(place) as staged:
        Source(web.url).fetch(MONTH, staged)
    assert list(place.parent.iterdir()) == []


def test_probe_of_folder(tmp_path: Path) -> None:
    """A folder, whatever its name, tells how many months of each color it has; one without any says what to do."""
    tmp_path /= "folder [1]*?"
    with pytest.raises(StoreError, match=r"no month at.*TAXI_SOURCE_URL"):
        Source(str(tmp_path)).probe([MONTH])
    for name in (NAME, "green/green_tripdata_2020-05.csv.gz", "fhv/fhv_tripdata_2020-05.csv.gz", "green/notes.csv.gz"):
        _write(tmp_path / name)
    for form in (str(tmp_path), tmp_path.as_uri(), f"{tmp_path}/{{color}}/{{color}}_tripdata_{{month}}.csv.gz"):
        assert Source(form).probe([]) == "2 green, 1 fhv months"


def test_probe_of_server(web: WebServer) -> None:
    """A server tells of the first month that it has, and how large it is, without the month being fetched."""
    earlier = TripMonth("yellow", "2019-01")
    with pytest.raises(NotPublished, match="none of yellow 2019-01, green 2020-04"):
        Source(web.url).probe([earlier, MONTH])
    web.replies[f"/{NAME}"] = [Reply(BODY + bytes(2_500_000))]
    assert Source(web.url).probe([earlier, MONTH]) == "green 2020-04 is there, 2.5 MB"
    web.replies[f"/{NAME}"] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
    with pytest.raises(BadFile, match="is an HTML page, no CSV"):
        Source(web.url).probe([earlier, MONTH])


@pytest.mark.parametrize(("status", "kind"), [(503, SourceUnreachable), (403, StoreError)])
def test_probe_of_server_that_refuses(status: int, kind: type[StoreError], web: WebServer) -> None:
    """A server that refuses is told of at once."""
    web.replies[f"/{NAME}"] = [Reply(status=status)]
    with pytest.raises(kind, match=f"answered {status}"):
        Source(web.url).probe([MONTH])
    assert len(web.seen) == 1


def test_look_at_folder(tmp_path: Path, staged: StagedFile) -> None:
    """A month in a folder has the fingerprint that its fetch has, and another once it is written again."""
    with pytest.raises(StoreError, match=f"no folder {tmp_path}/gone"):
        Source(f"{tmp_path}/gone").look(MONTH)
    source = Source(str(tmp_path))
    assert source.look(MONTH) is None
    place = _write(tmp_path / NAME)
    seen = source.look(MONTH)
    assert seen
    assert seen.fingerprint == source.fetch(MONTH, staged).fingerprint
    os.utime(place, (1, 1))
    again = source.look(MONTH)
    assert again
    assert again.fingerprint != seen.fingerprint
    assert Source(f"file://{tmp_path}/{{color}}/{{color}}_tripdata_{{month}}.csv.gz").look(MONTH) == again


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}, {}])
def test_look_at_server(headers: dict[str, str], web: WebServer, staged: StagedFile) -> None:
    """A month on a server has the fingerprint that its fetch has; one request tells, and no file is fetched."""
    source = Source(web.url)
    assert source.look(MONTH) is None
    web.replies[f"/{NAME}"] = [Reply(BODY, headers=headers)]
    seen = source.look(MONTH)
    assert seen == Publication(Version(headers.get("ETag"), headers.get("Last-Modified")), len(BODY))
    assert len(web.seen) == 2
    assert seen.fingerprint == source.fetch(MONTH, staged).fingerprint


def test_look_at_server_that_cannot_answer(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass is tried three times, what will not once; an answer that is no month is told as one."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    web.replies[f"/{NAME}"] = [Reply(status=503)]
    with pytest.raises(SourceUnreachable, match=r"answered 503.*Try again later"):
        Source(web.url).look(MONTH)
    assert len(web.seen) == 3
    web.replies[f"/{NAME}"] = [Reply(status=503, headers={"Retry-After": "120"}), Reply(status=403)]
    with pytest.raises(SourceUnreachable, match="answered 503"):
        Source(web.url).look(MONTH)
    with pytest.raises(StoreError, match="answered 403"):
        Source(web.url).look(MONTH)
    assert len(web.seen) == 5
    web.replies[f"/{NAME}"] = [Reply(b"<!DOCTYPE html>")]
    with pytest.raises(BadFile, match="HTML page"):
        Source(web.url).look(MONTH)
