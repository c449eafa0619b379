"""HTTP downloads: resuming, retries, conditional requests and errors."""

import hashlib
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from taxi_assets.errors import (
    SourceAddressInvalid,
    SourceHostNotFound,
    SourceRateLimited,
    SourceRejected,
    SourceTlsError,
    SourceUnreachable,
)
from taxi_assets.stores.source import download as download_module
from taxi_assets.stores.source.download import TRIES, Download, NotFound, Version, request_version
from taxi_assets_tests.network import fail_to_resolve
from taxi_assets_tests.web_server import Reply, WebServer

BODY = bytes(range(256)) * 40
OTHER = BODY[::-1]
TAG, OTHER_TAG = {"ETag": '"v1"'}, {"ETag": '"v2"'}
DATE = {"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}
DIGITS = "9" * 5000
"""A number that Python refuses to parse."""
OTHER_DATE = {"Last-Modified": "Sat, 21 May 2022 10:00:00 GMT"}


@pytest.fixture(autouse=True)
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the delays between attempts instead of waiting."""
    recorded: list[float] = []
    monkeypatch.setattr(time, "sleep", recorded.append)
    return recorded


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """Open an empty file."""
    with (tmp_path / "file").open("wb+") as file:
        yield file


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _fetch(web: WebServer, file: BinaryIO, *replies: Reply, known: Version | None = None) -> Download:
    """Download a file from a server with these replies, and require that the body was stored."""
    web.replies["/file"] = list(replies)
    download = Download(f"{web.url}/file", file)
    assert download.fetch(known)
    return download


@pytest.mark.parametrize("version", [TAG, DATE, TAG | DATE], ids=["ETag", "date", "both"])
def test_resume_interrupted_download(version: dict[str, str], web: WebServer, file: BinaryIO) -> None:
    """Only the missing part is requested after an interruption, on condition that the file is unchanged."""
    download = _fetch(web, file, Reply(BODY, headers=version, cut_at=4000), Reply(BODY, headers=version))
    assert _content(file) == BODY
    assert (download.bytes, download.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (download.tries, download.resumed) == (2, 1)
    assert web.seen[1]["Range"] == "bytes=4000-"
    assert web.seen[1]["If-Range"] == next(iter(version.values()))


def test_resume_after_timeout(web: WebServer, file: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download from a server that stops sending is resumed after the read timeout."""
    monkeypatch.setattr(download_module, "TIMEOUT_S", (1, 0.1))
    download = _fetch(web, file, Reply(BODY, headers=TAG, stall_at=4000), Reply(BODY, headers=TAG))
    assert _content(file) == BODY
    assert download.resumed == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Reply(OTHER, headers=OTHER_TAG, cut_at=4000), Reply(BODY, headers=TAG)),
        (Reply(OTHER, cut_at=4000), Reply(BODY)),
        (Reply(OTHER, headers={"ETag": 'W/"weak"'}, cut_at=4000), Reply(BODY, headers={"ETag": 'W/"weak"'})),
        (Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY, headers=TAG, ranges=False)),
    ],
    ids=["changed", "no version", "weak ETag", "no ranges"],
)
def test_start_over(first: Reply, second: Reply, web: WebServer, file: BinaryIO) -> None:
    """The whole file is fetched again if it may have changed or the server does not support ranges."""
    download = _fetch(web, file, first, second)
    assert _content(file) == BODY
    assert (download.bytes, download.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (download.tries, download.resumed) == (2, 0)


@pytest.mark.parametrize(
    "part",
    [
        Reply(BODY[:9000], 206, {**TAG, "Content-Range": f"bytes 0-8999/{len(BODY)}"}),
        Reply(BODY[4000:], 206, {**OTHER_TAG, "Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}),
        Reply(BODY[4000:], 206, {**TAG, "Content-Range": "bytes 4000-9999/10000"}),
        Reply(BODY[4000:], 206, {**TAG, **OTHER_DATE, "Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}),
        Reply(BODY[4000:], 206, {**TAG, "Content-Range": f"bytes {DIGITS}-{DIGITS}/{len(BODY)}"}),
        Reply(b"", 206, TAG),
        Reply(b"", 416, TAG),
    ],
    ids=["range", "version", "length", "date", "digits", "no Content-Range", "range rejected"],
)
def test_discard_wrong_part(part: Reply, web: WebServer, file: BinaryIO) -> None:
    """A partial response that does not continue the stored bytes is discarded, and the whole file is fetched."""
    first = Reply(OTHER, headers=TAG | DATE, cut_at=4000)
    _fetch(web, file, first, part, Reply(BODY, headers=TAG))
    assert _content(file) == BODY


def test_continue_after_shorter_range(web: WebServer, file: BinaryIO) -> None:
    """If a server sends less than the requested range, the rest is requested next."""
    part = {**TAG, "Content-Range": f"bytes 4000-4999/{len(BODY)}"}
    download = _fetch(
        web, file, Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY[4000:5000], 206, part), Reply(BODY, headers=TAG)
    )
    assert _content(file) == BODY
    assert [headers.get("Range") for headers in web.seen] == [None, "bytes=4000-", "bytes=5000-"]
    assert download.resumed == 2


def test_discard_part_that_was_not_requested(web: WebServer, file: BinaryIO) -> None:
    """A partial response to a request for the whole file is discarded, and the request is retried."""
    _fetch(web, file, Reply(BODY[:100], 206, {"Content-Range": "bytes 0-99/*"}), Reply(BODY))
    assert _content(file) == BODY


def test_continue_while_there_is_progress(web: WebServer, file: BinaryIO) -> None:
    """A download that breaks off more than TRIES times succeeds if the attempts make progress."""
    body = bytes(30_000) * (TRIES + 4)
    cuts = [Reply(body, headers=TAG, cut_at=at) for at in range(30_000, len(body), 30_000)]
    download = _fetch(web, file, *cuts, Reply(body, headers=TAG))
    assert _content(file) == body
    assert download.resumed == len(cuts) > TRIES


def test_fail_without_progress(web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """A download that breaks off at the same byte TRIES times fails, with the number of attempts and bytes."""
    web.replies["/file"] = [Reply(BODY, headers=TAG, cut_at=4000)]
    with pytest.raises(SourceUnreachable) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert caught.value.facts == {"address": f"{web.url}/file", "tries": TRIES, "bytes": 4000}
    assert "4.0 kB of 10.2 kB" in str(caught.value)
    assert (len(web.seen), len(delays)) == (TRIES, TRIES - 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_retry_transient_status(status: int, web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """Transient status codes are retried, with delays that double and have a jitter."""
    download = _fetch(web, file, *[Reply(status=status)] * 3, Reply(BODY))
    assert _content(file) == BODY
    assert download.tries == 4
    assert [int(delay) for delay in delays] == [1, 2, 4]  # plus up to a second of jitter
    assert any(delay % 1 for delay in delays)


@pytest.mark.parametrize("status", [204, 400, 401, 403, 405, 451, 501])
def test_no_retry_of_permanent_status(status: int, web: WebServer, file: BinaryIO) -> None:
    """Other status codes fail after one request."""
    web.replies["/file"] = [Reply(status=status)]
    with pytest.raises(SourceRejected) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert caught.value.facts == {"address": f"{web.url}/file", "status": status}
    assert str(status) in str(caught.value)
    assert len(web.seen) == 1


def test_missing_file(web: WebServer, file: BinaryIO) -> None:
    """A file that does not exist raises NotFound after one request."""
    with pytest.raises(NotFound):
        Download(f"{web.url}/file", file).fetch()
    assert len(web.seen) == 1


def _date(seconds: float) -> str:
    """Return the HTTP date `seconds` from now."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ("77", (77, 77)),
        ("in 77", (70, 78)),
        ("in -77", (1, 2)),
        ("soon", (1, 2)),
        ("²", (1, 2)),
        ("", (1, 2)),
        (DIGITS, (1, 2)),
        (DIGITS[:400], (1, 2)),
        (f"Fri, 31 Dec {DIGITS[:30]} 23:59:59 GMT", (1, 2)),
        (f"Fri, 31 Dec 2022 23:59:59 +{DIGITS[:30]}", (1, 2)),
    ],
    ids=[
        *("seconds", "date", "past date", "invalid", "not an ASCII digit", "empty"),
        *("too many digits", "not a float", "year", "time zone"),
    ],
)
def test_retry_after(
    value: str, limits: tuple[float, float], web: WebServer, file: BinaryIO, delays: list[float]
) -> None:
    """The delay is that of Retry-After if it is longer than the backoff."""
    _, _, seconds = value.partition("in ")
    header = _date(float(seconds)) if seconds else value
    _fetch(web, file, Reply(status=429, headers={"Retry-After": header}), Reply(BODY))
    assert limits[0] <= delays[0] <= limits[1]


def test_retry_after_too_long(web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """A Retry-After above the limit fails immediately with an error that is not retried."""
    web.replies["/file"] = [Reply(status=503, headers={"Retry-After": "3600"})]
    with pytest.raises(SourceRateLimited) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert caught.value.facts == {"address": f"{web.url}/file", "status": 503, "seconds": 3600}
    assert "3,600 s" in str(caught.value)
    assert not isinstance(caught.value, SourceUnreachable)
    assert delays == []


@pytest.mark.parametrize(
    "short",
    [
        Reply(BODY[:4000], headers={"Content-Length": str(len(BODY))}, cut_at=4000),
        Reply(b"fa0\r\n" + BODY[:4000], headers={"Transfer-Encoding": "chunked"}, cut_at=4005),
    ],
    ids=["shorter than Content-Length", "no last chunk"],
)
def test_retry_truncated_body(short: Reply, web: WebServer, file: BinaryIO) -> None:
    """A truncated body without a version is fetched again."""
    if "Transfer-Encoding" in short.headers:
        short.headers["Content-Length"] = ""
    _fetch(web, file, short, Reply(BODY))
    assert _content(file) == BODY


@pytest.mark.parametrize("version", [TAG, DATE], ids=["ETag", "date"])
def test_unchanged(version: dict[str, str], web: WebServer, file: BinaryIO) -> None:
    """A file of the known version is not fetched again; a file of another version is."""
    known = Version(TAG["ETag"] if version is TAG else None, DATE["Last-Modified"] if version is DATE else None)
    web.replies["/file"] = [Reply(BODY, headers=version)]
    assert not Download(f"{web.url}/file", file).fetch(known)
    assert _content(file) == b""
    _fetch(web, file, Reply(OTHER, headers=OTHER_TAG), known=known)
    assert _content(file) == OTHER


def test_unchanged_without_conditional_requests(web: WebServer, file: BinaryIO) -> None:
    """If a server ignores the condition and sends the known ETag, the body is not read."""
    web.replies["/file"] = [Reply(BODY, 200, TAG, stall_at=0)]
    download = Download(f"{web.url}/file", file)
    assert not download.fetch(Version('"v1"'))


def test_fetch_without_version(web: WebServer, file: BinaryIO) -> None:
    """A file without a known version is fetched again, because it may have changed."""
    _fetch(web, file, Reply(BODY), known=Version())
    assert _content(file) == BODY


def test_follow_redirects(web: WebServer, file: BinaryIO) -> None:
    """Redirects are followed, also when a download is resumed."""
    redirect = Reply(status=302, headers={"Location": "/elsewhere"})
    web.replies["/elsewhere"] = [Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY, headers=TAG)]
    download = _fetch(web, file, redirect)
    assert _content(file) == BODY
    assert download.resumed == 1


def test_redirect_loop(web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """Endless redirects are a permanent error."""
    web.replies["/file"] = [Reply(status=302, headers={"Location": "/file"})]
    with pytest.raises(SourceAddressInvalid) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert caught.value.facts == {"address": f"{web.url}/file"}
    assert delays == []


@pytest.mark.parametrize("location", ["http://[::1", "/\xff", "http://h\xe9/"], ids=["host", "path", "not UTF-8"])
def test_redirect_to_an_invalid_url(location: str, web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """A redirect to a URL that cannot be parsed is a permanent error."""
    web.replies["/file"] = [Reply(status=302, headers={"Location": location})]
    for request in (Download(f"{web.url}/file", file).fetch, lambda: request_version(f"{web.url}/file")):
        with pytest.raises(SourceAddressInvalid) as caught:
            request()
        assert "redirects" in str(caught.value)
    assert delays == []


def test_skip_interim_responses(web: WebServer, file: BinaryIO) -> None:
    """Interim responses are not mistaken for the final one, and the body of a redirect is not waited for."""
    interim = [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
    web.replies["/elsewhere"] = [Reply(BODY, before=interim)]
    download = _fetch(web, file, Reply(bytes(9), 302, {"Location": "/elsewhere"}, stall_at=0, before=interim))
    assert _content(file) == BODY
    assert download.tries == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(before=repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
        Reply(before=repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
        Reply(before=chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"x"))),
        Reply(BODY, headers={"Content-Length": DIGITS}),
        Reply(BODY, headers={"Content-Length": DIGITS[:400]}),
        Reply(BODY, headers={"Content-Length": "-1"}),
        Reply(before=[b"SSH-2.0\r\n"]),
    ],
    ids=["continue", "early hints", "slow headers", "digits", "not a float", "negative length", "not HTTP"],
)
def test_invalid_response(
    reply: Reply, web: WebServer, file: BinaryIO, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers that do not end in time, and invalid ones, are a transient error with a short message."""
    monkeypatch.setattr(download_module, "TIMEOUT_S", (1, 0.1))
    monkeypatch.setattr(download_module, "VERSION_TIMEOUT_S", (1, 0.1))
    web.replies["/file"] = [reply]
    for request in (Download(f"{web.url}/file", file).fetch, lambda: request_version(f"{web.url}/file", tries=TRIES)):
        with pytest.raises(SourceUnreachable, match="server") as caught:
            request()
        assert len(caught.value.explain()) < 700
    assert len(delays) == 2 * (TRIES - 1)


def test_store_bytes_as_sent(web: WebServer, file: BinaryIO) -> None:
    """No content encoding is requested, and a body that is marked as gzip is not decompressed."""
    _fetch(web, file, Reply(BODY, headers={"Content-Encoding": "gzip"}))
    assert _content(file) == BODY
    assert web.seen[0]["Accept-Encoding"] == "identity"


def test_log_progress_and_retries(
    web: WebServer, file: BinaryIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log shows the received and the total size, and for a failed attempt its number, reason and the delay."""
    monkeypatch.setattr(download_module, "LOG_INTERVAL_S", 0)
    body = bytes(3_000_000)
    web.replies["/file"] = [Reply(body, headers=TAG, cut_at=1_000_000), Reply(body, headers=TAG)]
    caplog.set_level(logging.INFO, "taxi_assets")
    Download(f"{web.url}/file", file).fetch()
    records = [record for record in caplog.records if record.name.startswith("taxi_assets")]
    assert records[-1].getMessage() == "3.0 MB of 3.0 MB"
    (warning,) = (record.getMessage() for record in records if record.levelno == logging.WARNING)
    assert re.search(r"1 of 5 .*IncompleteRead.* 1\.0 MB of 3\.0 MB.* \d s", warning)


def test_unreachable(file: BinaryIO, delays: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is retried, then reported with the URL and the reason."""
    monkeypatch.setenv("NO_PROXY", "*")
    url = "http://127.0.0.1:1/file"
    with pytest.raises(SourceUnreachable) as caught:
        Download(url, file).fetch()
    assert caught.value.facts == {"address": url, "tries": TRIES, "bytes": 0}
    assert "Connection refused" in str(caught.value)
    assert len(delays) == TRIES - 1


@pytest.mark.parametrize(
    ("code", "expected"), [(socket.EAI_NONAME, SourceHostNotFound), (socket.EAI_AGAIN, SourceUnreachable)]
)
def test_a_host_without_address_is_not_retried(
    code: int,
    expected: type[Exception],
    file: BinaryIO,
    delays: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host without an address is a permanent error. If no name server answers, only the step is retried."""
    fail_to_resolve(monkeypatch, code)
    url = "http://nowhere.invalid/file"
    for request in (Download(url, file).fetch, lambda: request_version(url, tries=3)):
        with pytest.raises(expected) as caught:
            request()
        assert type(caught.value) is expected
        assert "'nowhere.invalid'" in str(caught.value)
    assert delays == []


def test_a_transfer_continues_when_the_host_is_found_again(
    web: WebServer, file: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the network fails during a transfer, the host has no address for a while. The stored part is kept."""
    resolve, names = socket.getaddrinfo, iter(["found", "not found", "found"])

    def getaddrinfo(*args: Any, **options: Any) -> Any:
        if next(names) == "not found":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    download = _fetch(web, file, Reply(BODY, headers=TAG, cut_at=5000), Reply(BODY, headers=TAG))
    assert _content(file) == BODY
    assert (download.tries, download.resumed) == (3, 1)


def test_tls_error(web: WebServer, file: BinaryIO, delays: list[float]) -> None:
    """A failed TLS handshake is a permanent error."""
    address = web.url.replace("http://", "https://") + "/file"
    with pytest.raises(SourceTlsError) as caught:
        Download(address, file).fetch()
    assert caught.value.facts == {"address": address}
    assert delays == []


@pytest.mark.parametrize("location", ["ftp://host/f?sig=s3cret", "/file?sig=s3cret"], ids=["scheme", "loop"])
def test_hide_secret_of_redirect(location: str, web: WebServer, file: BinaryIO) -> None:
    """The query of a redirect, which may contain a signature, is not shown in errors."""
    web.replies["/file"] = web.replies["/file?sig=s3cret"] = [Reply(status=302, headers={"Location": location})]
    with pytest.raises(SourceAddressInvalid) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert "s3cret" not in caught.value.explain()


def _close_connections(server: socket.socket) -> None:
    """Accept TRIES connections and close each immediately."""
    for _ in range(TRIES):
        server.accept()[0].close()


def test_closed_connection(file: BinaryIO) -> None:
    """The error of a closed connection shows the reason without the names of Python's exceptions."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_close_connections, args=(server,), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/file"
        with pytest.raises(SourceUnreachable) as caught:
            Download(address, file).fetch()
    assert not re.search(r"[()']", str(caught.value))
