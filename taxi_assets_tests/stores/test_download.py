"""A file comes whole over a bad line, or not at all; what may pass is tried again, what cannot is not."""

import hashlib
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from taxi_assets.errors import SourceUnreachable, StoreError
from taxi_assets.stores import download as download_module
from taxi_assets.stores.download import TRIES, Download, NotFound, Version
from taxi_assets_tests.web_server import Reply, WebServer

BODY = bytes(range(256)) * 40
OTHER = BODY[::-1]
TAG, OTHER_TAG = {"ETag": '"v1"'}, {"ETag": '"v2"'}
DATE = {"Last-Modified": "Fri, 20 May 2022 10:00:00 GMT"}
OTHER_DATE = {"Last-Modified": "Sat, 21 May 2022 10:00:00 GMT"}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are taken down and not waited for."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """An open file, empty."""
    with (tmp_path / "file").open("wb+") as file:
        yield file


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _fetch(web: WebServer, file: BinaryIO, *replies: Reply, known: Version | None = None) -> Download:
    """What came of a download from a server that answers so, which must store the body whole."""
    web.replies["/file"] = list(replies)
    download = Download(f"{web.url}/file", file)
    assert download.fetch(known)
    return download


@pytest.mark.parametrize("version", [TAG, DATE, TAG | DATE], ids=["by ETag", "by date", "by both"])
def test_resumed_where_it_broke_off(version: dict[str, str], web: WebServer, file: BinaryIO) -> None:
    """After a break only the rest is fetched, on the condition that it is still the same file."""
    done = _fetch(web, file, Reply(BODY, headers=version, cut_at=4000), Reply(BODY, headers=version))
    assert _content(file) == BODY
    assert (done.bytes, done.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (done.tries, done.resumed) == (2, 1)
    assert web.seen[1]["Range"] == "bytes=4000-"
    assert web.seen[1]["If-Range"] == next(iter(version.values()))


def test_resumed_after_silence(web: WebServer, file: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends nothing more is left after a while, and asked for the rest."""
    monkeypatch.setattr(download_module, "TIMEOUT_S", (1, 0.1))
    done = _fetch(web, file, Reply(BODY, headers=TAG, stall_at=4000), Reply(BODY, headers=TAG))
    assert _content(file) == BODY
    assert done.resumed == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Reply(OTHER, headers=OTHER_TAG, cut_at=4000), Reply(BODY, headers=TAG)),
        (Reply(OTHER, cut_at=4000), Reply(BODY)),
        (Reply(OTHER, headers={"ETag": 'W/"weak"'}, cut_at=4000), Reply(BODY, headers={"ETag": 'W/"weak"'})),
        (Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY, headers=TAG, ranges=False)),
    ],
    ids=["it changed meanwhile", "no version", "only a weak ETag", "the server gives no parts"],
)
def test_begun_again(first: Reply, second: Reply, web: WebServer, file: BinaryIO) -> None:
    """Where it is not sure that the rest is of the same file, or none is to be had, all of it is fetched again."""
    done = _fetch(web, file, first, second)
    assert _content(file) == BODY
    assert (done.bytes, done.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (done.tries, done.resumed) == (2, 0)


@pytest.mark.parametrize(
    "lie",
    [
        Reply(BODY[:9000], 206, {**TAG, "Content-Range": f"bytes 0-8999/{len(BODY)}"}),
        Reply(BODY[4000:], 206, {**OTHER_TAG, "Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}),
        Reply(BODY[4000:], 206, {**TAG, "Content-Range": "bytes 4000-9999/10000"}),
        Reply(BODY[4000:], 206, {**TAG, **OTHER_DATE, "Content-Range": f"bytes 4000-{len(BODY) - 1}/{len(BODY)}"}),
        Reply(b"", 206, TAG),
        Reply(b"", 416, TAG),
    ],
    ids=["another part", "of another version", "of another length", "of another date", "unnamed", "refused"],
)
def test_a_wrong_part_is_not_taken(lie: Reply, web: WebServer, file: BinaryIO) -> None:
    """A part that does not fit what is here is thrown away with it, and the whole is fetched."""
    first = Reply(OTHER, headers=TAG | DATE, cut_at=4000)
    _fetch(web, file, first, lie, Reply(BODY, headers=TAG))
    assert _content(file) == BODY


def test_a_part_of_the_rest_is_not_all_of_it(web: WebServer, file: BinaryIO) -> None:
    """A server may send less than it was asked for, and say so: then the rest of that is asked for."""
    part = {**TAG, "Content-Range": f"bytes 4000-4999/{len(BODY)}"}
    done = _fetch(
        web, file, Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY[4000:5000], 206, part), Reply(BODY, headers=TAG)
    )
    assert _content(file) == BODY
    assert [seen.get("Range") for seen in web.seen] == [None, "bytes=4000-", "bytes=5000-"]
    assert done.resumed == 2


def test_a_part_that_nobody_asked_for_is_not_taken(web: WebServer, file: BinaryIO) -> None:
    """A server that sends a part, asked for the whole, is asked again."""
    _fetch(web, file, Reply(BODY[:100], 206, {"Content-Range": "bytes 0-99/*"}), Reply(BODY))
    assert _content(file) == BODY


def test_a_long_file_may_break_more_often_than_there_are_tries(web: WebServer, file: BinaryIO) -> None:
    """Tries are counted anew once they got further: what breaks off again and again arrives in the end."""
    body = bytes(30_000) * (TRIES + 4)
    cuts = [Reply(body, headers=TAG, cut_at=at) for at in range(30_000, len(body), 30_000)]
    done = _fetch(web, file, *cuts, Reply(body, headers=TAG))
    assert _content(file) == body
    assert done.resumed == len(cuts) > TRIES


def test_given_up_when_it_gets_no_further(web: WebServer, file: BinaryIO, pauses: list[float]) -> None:
    """A download that breaks off at the same place again and again ends, with what was seen and what to do."""
    web.replies["/file"] = [Reply(BODY, headers=TAG, cut_at=4000)]
    with pytest.raises(SourceUnreachable, match=r"/file did not arrive: .* 5 tries, 4\.0 kB of 10\.2 kB came\. Check"):
        Download(f"{web.url}/file", file).fetch()
    assert (len(web.seen), len(pauses)) == (TRIES, TRIES - 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int, web: WebServer, file: BinaryIO, pauses: list[float]) -> None:
    """A server that is busy or broken is asked again, after pauses that grow."""
    done = _fetch(web, file, *[Reply(status=status)] * 3, Reply(BODY))
    assert _content(file) == BODY
    assert done.tries == 4
    assert [int(pause) for pause in pauses] == [1, 2, 4]  # and up to a second more
    assert any(pause % 1 for pause in pauses)


@pytest.mark.parametrize("status", [204, 400, 401, 403, 405, 451, 501])
def test_what_cannot_pass_is_not(status: int, web: WebServer, file: BinaryIO) -> None:
    """A refusal for good is told after one question, with the address and the answer."""
    web.replies["/file"] = [Reply(status=status)]
    with pytest.raises(StoreError, match=f"/file answered {status}.*expected 200 OK") as caught:
        Download(f"{web.url}/file", file).fetch()
    assert not isinstance(caught.value, SourceUnreachable)
    assert len(web.seen) == 1


def test_missing_file(web: WebServer, file: BinaryIO) -> None:
    """A file that is not there is the caller's business, after one question."""
    with pytest.raises(NotFound):
        Download(f"{web.url}/file", file).fetch()
    assert len(web.seen) == 1


def _date(seconds: float) -> str:
    """The HTTP date of a moment so many seconds from now."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [("77", (77, 77)), ("in 77", (70, 78)), ("in -77", (1, 2)), ("soon", (1, 2)), ("²", (1, 2)), ("", (1, 2))],
    ids=["seconds", "date", "past date", "nonsense", "no ASCII digit", "nothing"],
)
def test_retry_after(
    asked: str, kept: tuple[float, float], web: WebServer, file: BinaryIO, pauses: list[float]
) -> None:
    """The pause that a server asks for is kept, where it is longer than ours."""
    _, _, seconds = asked.partition("in ")
    header = _date(float(seconds)) if seconds else asked
    _fetch(web, file, Reply(status=429, headers={"Retry-After": header}), Reply(BODY))
    assert kept[0] <= pauses[0] <= kept[1]


def test_retry_after_too_long(web: WebServer, file: BinaryIO, pauses: list[float]) -> None:
    """Nobody sits through an hour: the message says when to come back."""
    web.replies["/file"] = [Reply(status=503, headers={"Retry-After": "3600"})]
    with pytest.raises(StoreError, match=r"left alone for 3,600 s\. Run this again after") as caught:
        Download(f"{web.url}/file", file).fetch()
    assert caught.type is StoreError, "who takes that for unreachable tries again"
    assert pauses == []


@pytest.mark.parametrize(
    "short",
    [
        Reply(BODY[:4000], headers={"Content-Length": str(len(BODY))}, cut_at=4000),
        Reply(b"fa0\r\n" + BODY[:4000], headers={"Transfer-Encoding": "chunked"}, cut_at=4005),
    ],
    ids=["shorter than announced", "chunks without an end"],
)
def test_short_body(short: Reply, web: WebServer, file: BinaryIO) -> None:
    """A body that ends too early is no file: it is fetched again."""
    if "Transfer-Encoding" in short.headers:
        short.headers["Content-Length"] = ""
    _fetch(web, file, short, Reply(BODY))
    assert _content(file) == BODY


@pytest.mark.parametrize("version", [TAG, DATE], ids=["by ETag", "by date"])
def test_unchanged(version: dict[str, str], web: WebServer, file: BinaryIO) -> None:
    """A version that is known is not sent again; another one is."""
    known = Version(TAG["ETag"] if version is TAG else None, DATE["Last-Modified"] if version is DATE else None)
    web.replies["/file"] = [Reply(BODY, headers=version)]
    assert not Download(f"{web.url}/file", file).fetch(known)
    assert _content(file) == b""
    _fetch(web, file, Reply(OTHER, headers=OTHER_TAG), known=known)
    assert _content(file) == OTHER


def test_unchanged_though_sent(web: WebServer, file: BinaryIO) -> None:
    """A server that knows no conditions, and sends the known ETag, is not listened to any further."""
    web.replies["/file"] = [Reply(BODY, 200, TAG, stall_at=0)]
    download = Download(f"{web.url}/file", file)
    assert not download.fetch(Version('"v1"'))


def test_without_a_version_it_is_fetched_again(web: WebServer, file: BinaryIO) -> None:
    """What a server says nothing of may have changed."""
    _fetch(web, file, Reply(BODY), known=Version())
    assert _content(file) == BODY


def test_redirects_are_followed(web: WebServer, file: BinaryIO) -> None:
    """A server may send the file from elsewhere, as the mirror does; also the rest of it."""
    away = Reply(status=302, headers={"Location": "/elsewhere"})
    web.replies["/elsewhere"] = [Reply(BODY, headers=TAG, cut_at=4000), Reply(BODY, headers=TAG)]
    done = _fetch(web, file, away)
    assert _content(file) == BODY
    assert done.resumed == 1


def test_a_redirect_in_a_circle_is_not_followed_for_ever(web: WebServer, file: BinaryIO) -> None:
    """That does not pass."""
    web.replies["/file"] = [Reply(status=302, headers={"Location": "/file"})]
    with pytest.raises(StoreError, match="redirects"):
        Download(f"{web.url}/file", file).fetch()


def test_bytes_are_kept_as_sent(web: WebServer, file: BinaryIO) -> None:
    """No compression is asked for, and a file that a server calls gzip-encoded is not unpacked."""
    _fetch(web, file, Reply(BODY, headers={"Content-Encoding": "gzip"}))
    assert _content(file) == BODY
    assert web.seen[0]["Accept-Encoding"] == "identity"


def test_it_tells_how_far_it_is(
    web: WebServer, file: BinaryIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While it goes on it tells how much has come of how much; and when it broke off, why, and what happens next."""
    monkeypatch.setattr(download_module, "_TELL_EVERY_S", 0)
    body = bytes(3_000_000)
    web.replies["/file"] = [Reply(body, headers=TAG, cut_at=1_000_000), Reply(body, headers=TAG)]
    caplog.set_level(logging.INFO, "taxi_assets")
    Download(f"{web.url}/file", file).fetch()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("taxi_assets")]
    assert told[-1] == "3.0 MB of 3.0 MB"
    broke = next(said for said in told if "try 2" in said)
    assert re.fullmatch(r"try 2 of 5 in \d s: IncompleteRead.*; 1\.0 MB of 3\.0 MB came", broke)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/file", r"Failed to establish a new connection: \[Errno 111\] Connection refused"),
        ("http://nowhere.invalid/file", "Failed to resolve 'nowhere.invalid'"),
    ],
)
def test_unreachable(url: str, said: str, file: BinaryIO, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """No listener, no such host: tried again, then told with the address and what to check."""
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(SourceUnreachable, match=f"{url} did not arrive: {said}.*Check the address and the connection"):
        Download(url, file).fetch()
    assert len(pauses) == TRIES - 1


def test_no_safe_connection(web: WebServer, file: BinaryIO) -> None:
    """No further try mends that; the message says what may."""
    address = web.url.replace("http://", "https://") + "/file"
    with pytest.raises(StoreError, match=r"no safe connection can be made: .*REQUESTS_CA_BUNDLE"):
        Download(address, file).fetch()


@pytest.mark.parametrize(
    ("away", "said"), [("ftp://host/f?sig=s3cret", "No connection adapters"), ("/file?sig=s3cret", "redirects")]
)
def test_a_secret_in_a_redirect_is_not_shown(away: str, said: str, web: WebServer, file: BinaryIO) -> None:
    """Servers sign the addresses they send people to: what comes after the ? stays out of messages."""
    web.replies["/file"] = web.replies["/file?sig=s3cret"] = [Reply(status=302, headers={"Location": away})]
    with pytest.raises(StoreError, match=said) as caught:
        Download(f"{web.url}/file", file).fetch()
    assert "s3cret" not in str(caught.value)


def _hang_up(listening: socket.socket) -> None:
    """Answer each call by hanging up."""
    for _ in range(TRIES):
        listening.accept()[0].close()


def test_a_reset_connection_is_told_in_words(file: BinaryIO) -> None:
    """What the system says is passed on, without the names of Python's objects."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_hang_up, args=(listening,), daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/file"
        with pytest.raises(SourceUnreachable, match=r"did not arrive: [^()']*\. 5 tries"):
            Download(address, file).fetch()
