"""An unchanged month is not fetched again, unless it is asked for, or what was fetched is not here any more."""

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.instance.downloads import remembered
from taxi_assets.news import Progress
from taxi_assets.settings import Settings
from taxi_assets.stores.download import Version
from taxi_assets.stores.home import Home
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import WebInstallation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2021-03")
PATH = web_path(MONTH)


class Fetching(WebInstallation):
    """An installation that fetches one month."""

    def __init__(self, web: WebServer) -> None:
        super().__init__(web)
        self.raw = self.settings.home / "raw" / PATH[1:]

    def fetch(self, *, fresh: bool = False) -> dict[str, Any]:
        """Run `raw_trips`; returns its metadata."""
        told = self.run(MONTH, "raw_trips", fresh=fresh)
        assert told[-1].what is Progress.done, told[-1].error
        return self.metadata("raw_trips", MONTH)


@pytest.fixture
def installation(web_source: WebServer) -> Iterator[Fetching]:
    """An installation with nothing loaded."""
    with closing(Fetching(web_source)) as made:
        yield made


def test_unchanged_month_is_not_fetched_again(installation: Fetching) -> None:
    """A second run of an unchanged month downloads nothing and reports that; file, rows and version stay the same."""
    body = installation.publish(MONTH, ETag='"v1"').body
    first, second = installation.fetch(), installation.fetch()
    assert installation.raw.read_bytes() == body
    assert installation.web.seen[1]["If-None-Match"] == '"v1"'
    assert (first["download"], second["download"]) == ("done", "not needed: the source has the version that is here")
    times = {"seconds", "rows_per_second", "download"}
    assert {k: v for k, v in first.items() if k not in times} == {k: v for k, v in second.items() if k not in times}
    assert remembered(installation.instance, MONTH) is not None


def test_a_run_from_the_terminal_is_tagged(installation: Fetching) -> None:
    """A run has its color, its partition and its origin as tags; bookkeeping tags are hidden."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    (run,) = installation.instance.get_runs()
    shown = {tag: value for tag, value in run.tags.items() if not tag.startswith(".dagster/")}
    assert shown.items() >= {"taxi/color": "green", "dagster/partition": "2021-03", "taxi/asked_by": "cli"}.items()
    assert {tag for tag in shown if tag.startswith("taxi/")} == {"taxi/color", "taxi/asked_by"}


def test_changed_month_is_fetched_again(installation: Fetching) -> None:
    """A month that was published again replaces the old one."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    body = installation.publish(MONTH, 2, ETag='"v2"').body
    assert installation.fetch()["download"] == "done"
    assert installation.raw.read_bytes() == body
    fetched = remembered(installation.instance, MONTH)
    assert fetched
    assert fetched.version == Version('"v2"')


def test_fresh_insists(installation: Fetching) -> None:
    """With `fresh` the month is fetched whatever is known of it."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    body = installation.publish(MONTH, 2, ETag='"v1"').body
    assert installation.fetch()["download"] != "done"
    assert installation.fetch(fresh=True)["download"] == "done"
    assert installation.raw.read_bytes() == body


def _wipe(raw: Path) -> None:
    assert Home(raw.parent.parent.parent, ".csv.gz").remove_raw(MONTH)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda raw: raw.write_bytes(b"damaged"), _wipe], ids=["gone", "damaged", "wiped"]
)
def test_what_is_not_here_any_more_is_fetched_again(damage: Any, installation: Fetching) -> None:
    """History alone is no file: what is gone, or is not what was fetched, is fetched though the source is unchanged."""
    body = installation.publish(MONTH, ETag='"v1"').body
    installation.fetch()
    damage(installation.raw)
    assert installation.fetch()["download"] == "done"
    assert installation.raw.read_bytes() == body


def test_another_source_is_asked_afresh(installation: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ETag says nothing of another address."""
    installation.publish(MONTH, ETag='"v1"')
    installation.fetch()
    installation.web.replies["/other/green-2021-03.csv.gz"] = installation.web.replies[PATH]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/other/{{color}}-{{month}}.csv.gz")
    installation.definitions = build_definitions(Settings.load())
    assert installation.fetch()["download"] == "done"


def test_only_one_raw_file_of_a_month_stays(installation: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of another suffix leaves no second copy of the month behind."""
    body = installation.publish(MONTH, ETag='"v1"').body
    installation.fetch()
    installation.web.replies["/plain/green-2021-03.csv"] = [Reply(gzip.decompress(body))]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/plain/{{color}}-{{month}}.csv")
    installation.definitions = build_definitions(Settings.load())
    installation.fetch()
    assert [file.name for file in installation.raw.parent.iterdir()] == ["green_tripdata_2021-03.csv"]


def test_a_resumed_download_is_reported(installation: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of tries, and how often a download was resumed, are metadata."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    cut = installation.publish(MONTH, ETag='"v1"')
    cut.cut_at = 700
    installation.web.replies[PATH] += [Reply(cut.body, headers=cut.headers)]
    told = installation.fetch()
    assert (told["tries"], told["resumed"]) == (2, 1)
