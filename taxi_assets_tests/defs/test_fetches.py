"""An unchanged month is not fetched again, unless it is asked for, or what was fetched is not here any more."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.fetches import remembered
from taxi_assets.defs.instance import open_instance
from taxi_assets.defs.partitions import partition_key
from taxi_assets.defs.runs import Order, run_month
from taxi_assets.news import News, RunNews
from taxi_assets.settings import Settings
from taxi_assets.stores.download import Version
from taxi_assets.stores.home import Home
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.web_server import Reply, WebServer

MONTH = TripMonth("green", "2021-03")
PATH = "/green/green_tripdata_2021-03.csv.gz"


class Installation:
    """A home whose source is a web server."""

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self.settings = Settings.load()
        self.raw = self.settings.home / "raw" / PATH[1:]
        self.instance = open_instance(self.settings.home)

    def publish(self, seed: int, version: str, **more: Any) -> bytes:
        """Let the server have a month; gives its bytes."""
        place = self.settings.home / "made-up"
        write_sample(MONTH, 100, place, seed)
        self.web.replies[PATH] = [Reply(place.read_bytes(), headers={"ETag": f'"{version}"'}, **more)]
        return place.read_bytes()

    def run(self, *, fresh: bool = False) -> dict[str, Any]:
        """Run `raw_trips`; what it tells."""
        told: list[RunNews] = []
        order = Order(["raw_trips"], fresh)
        run_month(build_definitions(self.settings), self.instance, MONTH, order, told.append)
        assert told[-1].what is News.done, told[-1].error
        wanted = dg.AssetRecordsFilter(dg.AssetKey("raw_trips"), asset_partitions=[partition_key(MONTH)])
        record = self.instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization
        return {name: entry.value for name, entry in record.asset_materialization.metadata.items()}


@pytest.fixture
def installation(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation with nothing loaded."""
    monkeypatch.setenv("TAXI_HOME", str(tmp_path))
    monkeypatch.setenv("TAXI_SOURCE_URL", web.url)
    made = Installation(web)
    yield made
    made.instance.dispose()


def test_unchanged_month_is_not_fetched_again(installation: Installation) -> None:
    """The second run asks, is told that nothing changed, and says so; the file, its rows and its version stay."""
    body = installation.publish(1, "v1")
    first, second = installation.run(), installation.run()
    assert installation.raw.read_bytes() == body
    assert installation.web.seen[1]["If-None-Match"] == '"v1"'
    assert (first["download"], second["download"]) == ("done", "not needed: the source has the version that is here")
    times = {"seconds", "rows_per_second", "download"}
    assert {k: v for k, v in first.items() if k not in times} == {k: v for k, v in second.items() if k not in times}
    assert remembered(installation.instance, MONTH) is not None


def test_a_run_from_the_terminal_is_tagged(installation: Installation) -> None:
    """The run has color, month and who asked as tags."""
    installation.publish(1, "v1")
    installation.run()
    (run,) = installation.instance.get_runs()
    assert run.tags.items() >= {"taxi/color": "green", "taxi/month": "2021-03", "taxi/asked_by": "cli"}.items()


def test_changed_month_is_fetched_again(installation: Installation) -> None:
    """A month that was published again replaces the old one."""
    installation.publish(1, "v1")
    installation.run()
    body = installation.publish(2, "v2")
    assert installation.run()["download"] == "done"
    assert installation.raw.read_bytes() == body
    fetched = remembered(installation.instance, MONTH)
    assert fetched
    assert fetched.version == Version('"v2"')


def test_fresh_insists(installation: Installation) -> None:
    """With `fresh` the month is fetched whatever is known of it."""
    installation.publish(1, "v1")
    installation.run()
    body = installation.publish(2, "v1")
    assert installation.run()["download"] != "done"
    assert installation.run(fresh=True)["download"] == "done"
    assert installation.raw.read_bytes() == body


def _wipe(raw: Path) -> None:
    assert Home(raw.parent.parent.parent, ".csv.gz").remove_raw(MONTH)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda raw: raw.write_bytes(b"damaged"), _wipe], ids=["gone", "damaged", "wiped"]
)
def test_what_is_not_here_any_more_is_fetched_again(damage: Any, installation: Installation) -> None:
    """History alone is no file: what is gone, or is not what was fetched, is fetched though the source is unchanged."""
    body = installation.publish(1, "v1")
    installation.run()
    damage(installation.raw)
    assert installation.run()["download"] == "done"
    assert installation.raw.read_bytes() == body


def test_another_source_is_asked_afresh(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ETag says nothing of another address."""
    installation.publish(1, "v1")
    installation.run()
    installation.web.replies["/other/green-2021-03.csv.gz"] = installation.web.replies[PATH]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/other/{{color}}-{{month}}.csv.gz")
    installation.settings = Settings.load()
    assert installation.run()["download"] == "done"


def test_only_one_raw_file_of_a_month_stays(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of another suffix leaves no second copy of the month behind."""
    body = installation.publish(1, "v1")
    installation.run()
    installation.web.replies["/plain/green-2021-03.csv"] = [Reply(gzip.decompress(body))]
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{installation.web.url}/plain/{{color}}-{{month}}.csv")
    installation.settings = Settings.load()
    installation.run()
    assert [file.name for file in installation.raw.parent.iterdir()] == ["green_tripdata_2021-03.csv"]


def test_a_broken_line_is_told(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often the source was asked, and that the file went on where it broke off, is metadata."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    installation.publish(1, "v1", cut_at=700)
    installation.web.replies[PATH] += [Reply(installation.web.replies[PATH][0].body, headers={"ETag": '"v1"'})]
    told = installation.run()
    assert (told["tries"], told["resumed"]) == (2, 1)
