"""A server that answers 403: for months that it does not have, or for all requests."""

from collections.abc import Callable

import pytest

from taxi_assets.errors import NotPublished, SourceForbidden, SourceRejected, StoreError
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.stores.source.test_months import staged
from taxi_assets_tests.web_server import Reply, WebServer

__all__ = ["staged"]

BODY = b"PAR1" + bytes(100) + b"PAR1"
FIRST, LOADED, NEWEST, ABSENT = (TripMonth("green", month) for month in ("2013-08", "2024-01", "2024-02", "2024-03"))

Read = Callable[[Source, TripMonth], object]


def _path(month: TripMonth) -> str:
    return f"/{month.stem}.parquet"


def _source(web: WebServer) -> Source:
    return Source(f"{web.url}/{{color}}_tripdata_{{month}}.parquet", [FIRST])


@pytest.fixture
def tlc(web: WebServer) -> WebServer:
    """A server like the TLC's: it has a few months, and answers 403 for all others."""
    web.missing = Reply(b"<Error><Code>AccessDenied</Code></Error>", 403)
    for month in (FIRST, LOADED, NEWEST):
        web.replies[_path(month)] = [Reply(BODY)]
    return web


@pytest.mark.parametrize("loaded", [[], [LOADED], [LOADED, NEWEST, TripMonth("yellow", "2025-01")]])
def test_a_forbidden_month_is_not_published(loaded: list[TripMonth], tlc: WebServer, staged: StagedFile) -> None:
    """A month with status 403 is not published while the newest loaded month, or else the first one, is available."""
    source = _source(tlc)
    assert source.current_version(ABSENT, lambda: loaded) is None
    witness = max((month for month in loaded if month.color == "green"), default=FIRST)
    assert tlc.paths == [_path(ABSENT), _path(witness), _path(TripMonth("green", "1999-01"))]
    with pytest.raises(NotPublished) as caught:
        source.fetch(ABSENT, staged, loaded=lambda: loaded)
    assert caught.value.facts["address"] == source.address(ABSENT)
    # The answers about the other months are reused.
    assert tlc.paths[3:] == [_path(ABSENT)]
    assert source.probe().endswith("is available")
    assert len(tlc.paths) == 4


@pytest.mark.parametrize("loaded", [[], [LOADED]])
def test_a_server_that_forbids_everything(loaded: list[TripMonth], web: WebServer, staged: StagedFile) -> None:
    """If the server also rejects a month that it has, requests are forbidden or throttled, and no month is absent."""
    web.missing = Reply(status=403)
    witness = max(loaded, default=FIRST)
    reads: list[Callable[[], object]] = [
        lambda: _source(web).current_version(ABSENT, lambda: loaded),
        lambda: _source(web).fetch(ABSENT, staged, loaded=lambda: loaded),
        lambda: _source(web).probe(loaded),
    ]
    for read in reads:
        with pytest.raises(SourceForbidden, match="forbidden or throttled") as caught:
            read()
        assert _path(witness) in str(caught.value)
        assert caught.value.facts["status"] == 403
        assert "[source-forbidden]" in caught.value.explain()
    assert staged.path.read_bytes() == b""


def test_throttling_that_starts_later(tlc: WebServer) -> None:
    """The error is not remembered, and neither is an answer from before a minute."""
    source = _source(tlc)
    tlc.replies[_path(FIRST)] = [Reply(status=403), Reply(BODY)]
    with pytest.raises(SourceForbidden):
        source.current_version(ABSENT)
    assert source.current_version(ABSENT) is None


def test_an_answer_is_reused_for_a_minute(tlc: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute, a month that exists is requested again before another month counts as absent."""
    now = [1000.0]
    monkeypatch.setattr("taxi_assets.stores.source.months.monotonic", lambda: now[0])
    source = _source(tlc)
    assert source.current_version(ABSENT) is None
    tlc.replies[_path(FIRST)] = [Reply(status=403)]
    now[0] += 59
    assert source.current_version(ABSENT) is None
    now[0] += 2
    with pytest.raises(SourceForbidden):
        source.current_version(ABSENT)
    with pytest.raises(StoreError):
        source.probe()


def test_a_month_that_was_found_shows_that_the_server_is_there(tlc: WebServer) -> None:
    """A server without the first month of the TLC is a source if a month of the color was found there."""
    del tlc.replies[_path(FIRST)]
    source = _source(tlc)
    with pytest.raises(SourceForbidden):
        source.current_version(ABSENT)
    assert source.look_up(LOADED)
    assert source.current_version(ABSENT) is None


@pytest.mark.parametrize("month", [ABSENT, NEWEST])
def test_one_rejected_month(month: TripMonth, tlc: WebServer, staged: StagedFile) -> None:
    """If a server answers 404 for absent files, a month with status 403 is rejected, also one that was loaded."""
    tlc.missing = Reply(status=404)
    tlc.replies[_path(month)] = [Reply(status=403)]
    source = _source(tlc)
    for read in (source.current_version, lambda month, loaded: source.fetch(month, staged, loaded=loaded)):
        with pytest.raises(SourceRejected) as caught:
            read(month, lambda: [LOADED, NEWEST])
        assert caught.value.facts["address"] == source.address(month)


def test_another_status_is_not_absence(tlc: WebServer) -> None:
    """Status 401 asks for a login, so the month may exist. No other month is requested."""
    tlc.replies[_path(ABSENT)] = [Reply(status=401)]
    with pytest.raises(SourceRejected):
        _source(tlc).current_version(ABSENT)
    assert tlc.paths == [_path(ABSENT)]
