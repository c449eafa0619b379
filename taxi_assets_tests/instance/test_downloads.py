"""Tests of repeated downloads: an unchanged month is fetched again only on request or if its file is damaged."""

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.instance.downloads import last_fetch
from taxi_assets.operations.progress import Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.source.download import Version
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import WebInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2021-03")
PATH = web_path(MONTH)


class FetchInstallation(WebInstallation):
    """An installation that fetches one month from a web server."""

    def __init__(self, web: WebServer) -> None:
        super().__init__(web)
        self.raw = self.settings.home / "raw" / PATH[1:]

    def fetch(self, *, fresh: bool = False) -> dict[str, Any]:
        """Run `raw_trips`. Return its metadata."""
        end = self.run(MONTH, "raw_trips", fresh=fresh)[-1]
        assert end.what is Progress.done, end.error
        return self.metadata("raw_trips", MONTH)


@pytest.fixture
def installation(web_source: WebServer) -> Iterator[FetchInstallation]:
    """Create an installation with nothing loaded."""
    with closing(FetchInstallation(web_source)) as created:
        yield created


def test_an_unchanged_month_is_not_fetched_again(installation: FetchInstallation) -> None:
    """A second run of an unchanged month downloads nothing. The file and the other metadata do not change."""
    body = installation.publish(MONTH, ETag='"v1"').body
    first, second = installation.fetch(), installation.fetch()
    assert installation.raw.read_bytes() == body
    assert installation.web.seen[1]["If-None-Match"] == '"v1"'
    assert first["download"] == "done"
    assert second["download"].startswith("not needed")
    times = {"seconds", "rows_per_second", "download"}
    assert {k: v for k, v in first.items() if k not in times} == {k: v for k, v in second.items() if k not in times}
    assert last_fetch(installation.instance, MONTH) is not None


def test_tags_of_a_run_of_a_command(installation: FetchInstallation) -> None:
    """The visible tags of a run contain its color, its partition, and who requested it."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    (run,) = installation.instance.get_runs()
    visible = {tag: value for tag, value in run.tags.items() if not tag.startswith(".dagster/")}
    assert visible.items() >= {"taxi/color": "green", "dagster/partition": "2021-03", "taxi/asked_by": "cli"}.items()
    assert {tag for tag in visible if tag.startswith("taxi/")} == {"taxi/color", "taxi/asked_by"}


def test_a_changed_month_is_fetched_again(installation: FetchInstallation) -> None:
    """A month that was published again replaces the previous file."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    body = installation.publish(MONTH, 2, ETag='"v2"').body
    assert installation.fetch()["download"] == "done"
    assert installation.raw.read_bytes() == body
    fetched = last_fetch(installation.instance, MONTH)
    assert fetched
    assert fetched.version == Version('"v2"')


def test_fresh_always_fetches(installation: FetchInstallation) -> None:
    """With `fresh`, a month is downloaded also if its ETag has not changed."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    body = installation.publish(MONTH, 2, ETag='"v1"').body
    assert installation.fetch()["download"] != "done"
    assert installation.fetch(fresh=True)["download"] == "done"
    assert installation.raw.read_bytes() == body


def _wipe(raw: Path) -> None:
    assert Home(raw.parent.parent.parent, ".csv.gz").remove_raw(MONTH)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda raw: raw.write_bytes(b"damaged"), _wipe], ids=["deleted", "damaged", "wiped"]
)
def test_a_missing_or_damaged_file_is_fetched_again(damage: Any, installation: FetchInstallation) -> None:
    """A month is downloaded again if its file is missing or has changed, also if the source has not changed."""
    body = installation.publish(MONTH, ETag='"v1"').body
    installation.fetch()
    damage(installation.raw)
    assert installation.fetch()["download"] == "done"
    assert installation.raw.read_bytes() == body


def test_another_source_is_fetched(installation: FetchInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ETag of a fetch is not used for another address."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    installation.web.replies["/other/green-2021-03.csv.gz"] = installation.web.replies[PATH]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/other/{{color}}-{{month}}.csv.gz")
    installation.definitions = build_definitions(Settings.load())
    assert installation.fetch()["download"] == "done"


def test_a_month_has_one_raw_file(installation: FetchInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch from a source with another file suffix deletes the previous file."""
    body = installation.publish(MONTH, ETag='"v1"').body
    installation.fetch()
    installation.web.replies["/plain/green-2021-03.csv"] = [Reply(gzip.decompress(body))]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/plain/{{color}}-{{month}}.csv")
    installation.definitions = build_definitions(Settings.load())
    installation.fetch()
    assert [file.name for file in installation.raw.parent.iterdir()] == ["green_tripdata_2021-03.csv"]


def test_metadata_of_a_resumed_download(installation: FetchInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata contains the number of attempts and of resumptions."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    cut = installation.publish(MONTH, ETag='"v1"')
    cut.cut_at = 700
    installation.web.replies[PATH] += [Reply(cut.body, headers=cut.headers)]
    metadata = installation.fetch()
    assert (metadata["tries"], metadata["resumed"]) == (2, 1)
