"""The source: its URLs, and fetching, checking and listing months in a folder and on a web server."""

import gzip
import hashlib
import os
import shlex
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taxi_assets.errors import (
    BadFile,
    EmptySource,
    InvalidFileUrl,
    InvalidSourceUrl,
    NotParquet,
    NotPublished,
    OtherLayout,
    OtherName,
    SourceFolderMissing,
    SourceForbidden,
    SourceRejected,
    SourceUnreachable,
    SourceUnreadable,
    StoreError,
)
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.source.download import CHUNK_BYTES, Version
from taxi_assets.stores.source.known import MIRROR_URL, TLC_URL
from taxi_assets.stores.source.months import Fetched, Source, SourceVersion
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2020-04")
NAME = "green/green_tripdata_2020-04.csv.gz"
BODY = gzip.compress(b"VendorID\r\n2\r\n" * 1000)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[StagedFile]:
    """Create a staged file for the month."""
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
        ("https://host/{year}/{month:02}/{color}.csv", "https://host/2020/04/green.csv", ".csv"),
        ("/data/{Color}/{COLOR}_{year}_{month:d}.CSV.GZ", "/data/Green/GREEN_2020_4.CSV.GZ", ".csv.gz"),
        ("file:///a%20b/{year}{month:02d}{color}.csv", "file:///a%20b/202004green.csv", ".csv"),
        ("/data/{color}-{month}.parquet", "/data/green-2020-04.parquet", ".parquet"),
        ("https://host/{color}/{year}/{month:02}.PARQUET", "https://host/green/2020/04.PARQUET", ".parquet"),
        ("tlc", TLC_URL.format(color="green", month="2020-04"), ".parquet"),
        ("TLC", TLC_URL.format(color="green", month="2020-04"), ".parquet"),
        ("mirror", f"{MIRROR_URL}/{NAME}", ".csv.gz"),
        ("Mirror", f"{MIRROR_URL}/{NAME}", ".csv.gz"),
    ],
)
def test_address(url: str, address: str, suffix: str) -> None:
    """The TLC's layout is appended to a base URL; a template only gets the color and the month."""
    source = Source(url)
    assert (source.address(MONTH), source.suffix) == (address, suffix)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("ftp://host/base", "ftp://"),
        ("gs://bucket", "gs://"),
        ("http://", "http://"),
        ("https://host/{color}-{month}.csv?sig=s3cret", "?"),
        ("https://host/{color}.csv.gz", "{color}"),
        ("https://host/{month}.csv.gz", "{month}"),
        ("https://host/{color}-{month}.parquet.gz", "{color}-{month}.parquet.gz"),
        ("/data/{month}/{color}/", "{color}"),
        ("/data/{color}/{year}.csv", "{color}, {year}"),
        ("/data/{color}/{month:02}.csv", "{color}, {month:02}"),
        ("/data/{year}/{month:02}.csv", "{month:02}, {year}"),
        ("/data/{color}_{mm}_{year}.csv", "{mm}"),
        ("/data/{}_{month}.csv", "{}"),
        ("/data/{color}_{month:2}.csv", "{month:2}"),
    ],
)
def test_invalid_url(url: str, seen: str) -> None:
    """An invalid URL is rejected with the part that is wrong."""
    with pytest.raises(InvalidSourceUrl) as caught:
        Source(url)
    assert caught.value.facts == {"seen": seen}
    assert seen in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("{colour}", "{color}"), ("{MONTH}", "{month}"), ("{Year}", "{year}"), ("{x}", "")]
)
def test_unknown_placeholder(name: str, meant: str) -> None:
    """An unknown placeholder is an error that lists the known ones, and suggests the nearest."""
    with pytest.raises(InvalidSourceUrl) as caught:
        Source(f"/data/{{color}}-{{month}}-{name}.csv")
    assert caught.value.facts == {"seen": name}
    for known in ("{color}", "{month}", "{year}", "{month:02}", "{month:d}"):
        assert known in str(caught.value)
    assert (f"Did you mean {meant}?" in str(caught.value)) == bool(meant)


def test_relative_file_url() -> None:
    """A `file://` URL without an absolute path is rejected."""
    with pytest.raises(InvalidFileUrl):
        Source("file://data/source")


@pytest.mark.parametrize("url", ["https://me:s3cret@host/base", "https:///me:s3cret@host", "https://host?sig=s3cret"])
def test_hide_secret_of_url(url: str) -> None:
    """A URL with a secret is rejected, and the secret is not shown."""
    with pytest.raises(InvalidSourceUrl) as caught:
        Source(url)
    assert "s3cret" not in f"{caught.value.explain()} {caught.value.facts}"


@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_fetch_from_folder(form: Callable[[Path], str], tmp_path: Path, staged: StagedFile) -> None:
    """A file in a folder, whose name may need quoting in a URL, is copied, and its size and hash are returned."""
    path = _write(tmp_path / "a source 100%" / NAME)
    fetched = Source(form(tmp_path / "a source 100%")).fetch(MONTH, staged)
    assert staged.path.read_bytes() == BODY
    assert (fetched.address, fetched.bytes) == (str(path), len(BODY))
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()


def test_fetch_from_web(web: WebServer, staged: StagedFile) -> None:
    """A file on a web server is stored, and its size, hash and version are returned."""
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
    """Memory use does not grow with the size of the file."""
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
    """A file of the known version is not copied; a file of the same size with a newer time is."""
    path = _write(tmp_path / NAME)
    source = Source(str(tmp_path))
    fetched = source.fetch(MONTH, staged)
    staged.path.write_bytes(b"")
    assert source.fetch(MONTH, staged, fetched) == replace(fetched, unchanged=True)
    assert staged.path.read_bytes() == b""
    os.utime(path, ns=(0, 1))
    assert not source.fetch(MONTH, staged, fetched).unchanged
    assert staged.path.read_bytes() == BODY


def test_unchanged_month_is_not_downloaded(web: WebServer, staged: StagedFile) -> None:
    """A file of the known version is not fetched, and the values of the earlier fetch are returned."""
    web.replies[f"/{NAME}"] = [Reply(BODY, headers={"ETag": '"v1"'})]
    source = Source(web.url)
    fetched = source.fetch(MONTH, staged)
    staged.path.write_bytes(b"")
    assert source.fetch(MONTH, staged, fetched) == replace(fetched, unchanged=True)
    assert staged.path.read_bytes() == b""


def test_not_published_in_folder(tmp_path: Path, staged: StagedFile) -> None:
    """A month without a file in the folder is not published; the error has the month and the path."""
    with pytest.raises(NotPublished) as caught:
        Source(str(tmp_path)).fetch(MONTH, staged)
    assert caught.value.facts == {"color": "green", "month": "2020-04", "address": str(tmp_path / NAME)}
    assert str(tmp_path / NAME) in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
def test_not_published_on_web(status: int, web: WebServer, staged: StagedFile) -> None:
    """A month with status 404 or 410 is not published, after one request; the error has the month and the URL."""
    web.replies[f"/{NAME}"] = [Reply(status=status)]
    with pytest.raises(NotPublished) as caught:
        Source(web.url).fetch(MONTH, staged)
    assert caught.value.facts == {"color": "green", "month": "2020-04", "address": f"{web.url}/{NAME}"}
    assert len(web.seen) == 1


def test_rejected_request(web: WebServer, staged: StagedFile) -> None:
    """The error of a failed download has the month, the URL and the status code."""
    web.replies[f"/{NAME}"] = [Reply(status=401)]
    with pytest.raises(SourceRejected) as caught:
        Source(web.url).fetch(MONTH, staged)
    address = f"{web.url}/{NAME}"
    assert caught.value.facts == {"color": "green", "month": "2020-04", "address": address, "status": 401}
    assert str(caught.value).startswith("green 2020-04 ")


def test_unreadable_file(tmp_path: Path, staged: StagedFile) -> None:
    """A folder with the name of the month's file cannot be read."""
    (tmp_path / NAME).mkdir(parents=True)
    source = Source(str(tmp_path))
    for read in (lambda: source.fetch(MONTH, staged), lambda: source.current_version(MONTH)):
        with pytest.raises(SourceUnreadable) as caught:
            read()
        assert caught.value.facts == {"color": "green", "month": "2020-04", "path": str(tmp_path / NAME)}


def test_failed_fetch_publishes_nothing(web: WebServer, tmp_path: Path) -> None:
    """A failed download leaves neither a file nor a staged file."""
    web.replies[f"/{NAME}"] = [Reply(status=401)]
    path = tmp_path / "raw" / "month.csv.gz"
    with pytest.raises(SourceRejected), StagedFile(path) as staged:
        Source(web.url).fetch(MONTH, staged)
    assert list(path.parent.iterdir()) == []


def test_probe_folder(tmp_path: Path) -> None:
    """The probe of a folder with any name counts the months of each color, and fails if there are none."""
    tmp_path /= "folder [1]*?"
    with pytest.raises(SourceFolderMissing):
        Source(str(tmp_path)).probe()
    tmp_path.mkdir()
    with pytest.raises(EmptySource) as caught:
        Source(str(tmp_path), [MONTH]).probe()
    assert str(tmp_path) in str(caught.value.facts["path"])
    for name in (NAME, "green/green_tripdata_2020-05.csv.gz", "fhv/fhv_tripdata_2020-05.csv.gz", "green/notes.csv.gz"):
        _write(tmp_path / name)
    for form in (str(tmp_path), tmp_path.as_uri(), f"{tmp_path}/{{color}}/{{color}}_tripdata_{{month}}.csv.gz"):
        assert Source(form).probe() == "2 green, 1 fhv months"


@pytest.mark.parametrize(
    "template", ["{year}/{month:02}/{color}.csv", "{Color} {year}-{month:d}.csv", "{color}{month}.csv"]
)
def test_probe_folder_with_a_template(tmp_path: Path, template: str) -> None:
    """The probe counts only files whose path is that of a month under the template."""
    source = Source(f"{tmp_path}/[1] {template}")
    for month in ("2020-04", "2020-11"):
        _write(Path(source.address(TripMonth("green", month))))
    for name in ("[1] 2020/13/green.csv", "[1] Green 2020-04.csv", "[1] Green 2020-x.csv", "[1] green2020_04.csv"):
        _write(tmp_path / name)
    assert source.probe() == "2 green months"


def test_probe_server(web: WebServer) -> None:
    """The probe of a server returns the first expected month that it has and its size, without fetching it."""
    source = Source(web.url, [TripMonth("yellow", "2019-01"), MONTH])
    with pytest.raises(EmptySource) as caught:
        source.probe()
    assert caught.value.facts["months"] == "yellow 2019-01, green 2020-04"
    web.replies[f"/{NAME}"] = [Reply(BODY + bytes(2_500_000))]
    assert source.probe() == "green 2020-04 is available, 2.5 MB"
    web.replies[f"/{NAME}"] = [Reply(b"<!DOCTYPE html><title>Log in</title>")]
    with pytest.raises(BadFile) as bad:
        source.probe()
    assert f"{web.url}/{NAME}" in str(bad.value)


@pytest.mark.parametrize(("status", "kind"), [(503, SourceUnreachable), (401, SourceRejected), (403, SourceForbidden)])
def test_probe_server_that_fails(status: int, kind: type[StoreError], web: WebServer) -> None:
    """The probe of a server does not retry."""
    web.replies[f"/{NAME}"] = [Reply(status=status)]
    with pytest.raises(kind) as caught:
        Source(web.url, [MONTH]).probe()
    assert str(status) in str(caught.value)
    assert len(web.seen) == 1


def test_probe_server_with_loaded_months(web: WebServer) -> None:
    """The newest loaded month shows that a server is the source, also if it rejects requests for other months."""
    web.replies["/fhv/fhv_tripdata_2019-01.csv.gz"] = [Reply(status=403)]
    web.replies[f"/{NAME}"] = [Reply(BODY)]
    source = Source(web.url, [TripMonth("fhv", "2019-01")])
    assert source.probe([TripMonth("green", "2020-03"), MONTH]).startswith("green 2020-04 is available")
    # It has no other month, and the status of one of them is 404.
    with pytest.raises(SourceRejected):
        source.probe([TripMonth("green", "2020-03")])


def test_current_version_in_folder(tmp_path: Path, staged: StagedFile) -> None:
    """The fingerprint of a month in a folder equals that of its fetch, and changes when the file is replaced."""
    with pytest.raises(SourceFolderMissing) as caught:
        Source(f"{tmp_path}/missing").current_version(MONTH)
    assert caught.value.facts == {"path": f"{tmp_path}/missing"}
    assert "Did you mean" not in str(caught.value)
    source = Source(str(tmp_path))
    assert source.current_version(MONTH) is None
    path = _write(tmp_path / NAME)
    first = source.current_version(MONTH)
    assert first
    assert first.fingerprint == source.fetch(MONTH, staged).fingerprint
    os.utime(path, (1, 1))
    second = source.current_version(MONTH)
    assert second
    assert second.fingerprint != first.fingerprint
    assert Source(f"file://{tmp_path}/{{color}}/{{color}}_tripdata_{{month}}.csv.gz").current_version(MONTH) == second


def test_missing_folder_with_a_similar_name(tmp_path: Path) -> None:
    """The error of a folder that does not exist names one with almost the same name."""
    (tmp_path / "Source").mkdir()
    with pytest.raises(SourceFolderMissing) as caught:
        Source(f"{tmp_path}/source/{{color}}-{{month}}.csv").current_version(MONTH)
    assert f'Did you mean "{tmp_path}/Source"?' in str(caught.value)


def test_a_file_as_the_source(tmp_path: Path) -> None:
    """If the source is a file, the error shows the template for it, unless it is not that of a month."""
    with pytest.raises(OtherLayout) as caught:
        Source(str(_write(tmp_path / "my_green_2020-04.csv.gz"))).probe()
    assert f"export TAXI_SOURCE_URL='{tmp_path}/my_{{color}}_{{month}}.csv.gz'" in caught.value.explain()
    with pytest.raises(SourceFolderMissing):
        Source(str(_write(tmp_path / "notes.txt"))).probe()


def test_not_published_under_the_expected_name(tmp_path: Path, staged: StagedFile) -> None:
    """The error of a missing file names a similar file and the template for it, ready to paste."""
    similar = _write(tmp_path / "it's" / "Green" / "green_tripdata_2020-04.csv.gz")
    source = Source(str(tmp_path / "it's"))
    with pytest.raises(OtherName) as caught:
        source.fetch(MONTH, staged)
    assert caught.value.facts["found"] == str(similar)
    assert shlex.split(caught.value.explain().rpartition("export ")[2])[0] == (
        f"TAXI_SOURCE_URL={tmp_path}/it's/{{Color}}/{{color}}_tripdata_{{month}}.csv.gz"
    )
    with pytest.raises(OtherLayout) as empty:
        source.probe()
    assert empty.value.facts["template"] == caught.value.facts["template"]


def test_not_published_in_a_format_that_is_read(tmp_path: Path, staged: StagedFile) -> None:
    """A similar file in a format that is not read is named, without a template."""
    similar = _write(tmp_path / "green" / "green_tripdata_2020-04.csv.zip")
    for read, kind in (
        (lambda: Source(str(tmp_path)).fetch(MONTH, staged), NotPublished),
        (Source(str(tmp_path)).probe, EmptySource),
    ):
        with pytest.raises(kind) as caught:
            read()
        assert caught.type is kind
        assert caught.value.facts["found"] == str(similar)
        assert ".csv.gz and .csv and .parquet" in str(caught.value)
        assert "export" not in caught.value.explain()


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}, {}])
def test_current_version_on_server(headers: dict[str, str], web: WebServer, staged: StagedFile) -> None:
    """The fingerprint of a month on a server equals that of its fetch, and takes one request."""
    source = Source(web.url)
    assert source.current_version(MONTH) is None
    web.replies[f"/{NAME}"] = [Reply(BODY, headers=headers)]
    version = source.current_version(MONTH)
    assert version == SourceVersion(Version(headers.get("ETag"), headers.get("Last-Modified")), len(BODY))
    assert len(web.seen) == 2
    assert version.fingerprint == source.fetch(MONTH, staged).fingerprint


def test_current_version_retries(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transient error is retried up to three attempts, but not if the server asks for a long delay."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    source = Source(web.url)
    web.replies[f"/{NAME}"] = [Reply(status=503)]
    with pytest.raises(SourceUnreachable) as caught:
        source.current_version(MONTH)
    assert caught.value.facts == {"address": f"{web.url}/{NAME}"}
    assert "503" in str(caught.value)
    assert len(web.seen) == 3
    web.replies[f"/{NAME}"] = [Reply(status=503, headers={"Retry-After": "120"})]
    with pytest.raises(SourceUnreachable):
        source.current_version(MONTH)
    assert len(web.seen) == 4


def test_current_version_permanent_errors(web: WebServer) -> None:
    """A rejected request and a file that is not a CSV are not retried."""
    source = Source(web.url)
    web.replies[f"/{NAME}"] = [Reply(status=401)]
    with pytest.raises(SourceRejected):
        source.current_version(MONTH)
    web.replies[f"/{NAME}"] = [Reply(b"<!DOCTYPE html>")]
    with pytest.raises(BadFile):
        source.current_version(MONTH)
    assert len(web.seen) == 2


PARQUET = b"PAR1" + BODY + b"PAR1"


def test_fetch_parquet(web: WebServer, staged: StagedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet files are fetched as CSV files are: retried after 503, resumed, and not downloaded again if unchanged."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    source = Source(f"{web.url}/{{color}}_tripdata_{{month}}.parquet")
    headers = {"ETag": '"v1"'}
    replies = [Reply(status=503), Reply(PARQUET, headers=headers, cut_at=50), Reply(PARQUET, headers=headers)]
    web.replies["/green_tripdata_2020-04.parquet"] = replies
    fetched = source.fetch(MONTH, staged)
    assert staged.path.read_bytes() == PARQUET
    assert (fetched.tries, fetched.resumed, fetched.sha256) == (3, 1, hashlib.sha256(PARQUET).hexdigest())
    assert web.seen[2]["Range"] == "bytes=50-"
    assert source.fetch(MONTH, staged, fetched).unchanged
    assert web.seen[3]["If-None-Match"] == '"v1"'
    version = source.current_version(MONTH)
    assert version
    assert (version.fingerprint, version.bytes) == (fetched.fingerprint, len(PARQUET))


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html><title>Log in</title>", b"VendorID,a\r\n2,1\r\n", BODY, b"PAR", b""],
    ids=["HTML", "CSV", "gzip", "cut", "empty"],
)
def test_current_version_of_a_file_that_is_not_parquet(body: bytes, web: WebServer) -> None:
    """A web page, a CSV, a gzip file and an empty file under the name of a Parquet file are errors with the URL."""
    source = Source(f"{web.url}/{{color}}_tripdata_{{month}}.parquet", [MONTH])
    web.replies["/green_tripdata_2020-04.parquet"] = [Reply(body)]
    for read in (lambda: source.current_version(MONTH), source.probe):
        with pytest.raises(NotParquet) as caught:
            read()
        assert caught.value.facts["address"] == source.address(MONTH)
