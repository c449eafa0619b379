"""Runs, ticks and observations of a server like the TLC's, with Parquet files and status 403 for absent months."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from taxi_assets.connections import open_home
from taxi_assets.errors import SourceForbidden
from taxi_assets.graph import SOURCE_TRIPS
from taxi_assets.instance.partition_status import observed_versions, read_history
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import Progress
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation, web_path
from taxi_assets_tests.web_server import Reply, WebServer

MONTH, NEXT = TripMonth("green", "2021-03"), TripMonth("green", "2021-04")
FILES = ("raw_trips", "clean_trips")
FORBIDDEN = Reply(b"<Error><Code>AccessDenied</Code></Error>", 403)
TICK = datetime(2021, 6, 1, 5, tzinfo=ZoneInfo("America/New_York"))


class ParquetInstallation(Installation):
    """An installation whose source is a server that has the Parquet file of `MONTH`, and answers 403 for others."""

    def __init__(self, web: WebServer) -> None:
        super().__init__()
        self.web = web
        self.file = open_home(self.settings).folder / "raw" / MONTH.color / f"{MONTH.stem}.parquet"
        sample = self.settings.home / "sample.parquet"
        write_sample(MONTH, 60, sample)
        self.body = sample.read_bytes()
        self.serve(Reply(self.body, headers={"ETag": '"v1"'}))

    def serve(self, reply: Reply) -> None:
        """Set the reply for the file of `MONTH`."""
        self.web.replies[f"/{MONTH.stem}.parquet"] = [reply]

    def sources(self) -> dict[TripMonth, str]:
        """Return the source of each month in `taxi status`."""
        return {history.month: history.source for history in read_history(self.instance, self.settings)}

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the schedule of green in June 2021. Return its run requests."""
        repository = self.definitions.get_repository_def()
        resources = repository.get_top_level_resources()
        with dg.build_schedule_context(
            self.instance, scheduled_execution_time=TICK, repository_def=repository, resources=resources
        ) as context:
            return list(repository.get_schedule_def("load_green").evaluate_tick(context).run_requests or [])

    def observe(self) -> bool:
        """Observe the source of green. Return whether the run succeeded."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection={asset_key("green", SOURCE_TRIPS)})
        return subset.execute_in_process(instance=self.instance, raise_on_error=False).success


@pytest.fixture
def installation(home: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ParquetInstallation]:
    """Create an installation with nothing loaded. The source has the month, and the partitions start with it."""
    assert home.exists()
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{web.url}/{{color}}_tripdata_{{month}}.parquet")
    monkeypatch.setenv("TAXI_FIRST_MONTH", MONTH.month)
    web.missing = FORBIDDEN
    with closing(ParquetInstallation(web)) as created:
        yield created


def test_the_raw_file_keeps_its_suffix(installation: ParquetInstallation) -> None:
    """A month is loaded into all assets, its raw file is the published one, and it is not downloaded twice."""
    installation.load(MONTH)
    assert installation.file.read_bytes() == installation.body
    [history] = read_history(installation.instance, installation.settings)
    assert set(history.rows.values()) <= {60, history.rows["postgres_trips"]}
    assert history.source == installation.settings.source_url
    installation.load(MONTH)
    assert installation.metadata("raw_trips", MONTH)["download"].startswith("not needed")
    assert installation.web.seen[-1]["If-None-Match"] == '"v1"'


def test_another_source_replaces_a_month(installation: ParquetInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that was loaded from a CSV and then from Parquet is one month, with one raw file and one source."""
    csv = installation.settings.home / "sample.csv.gz"
    write_sample(MONTH, 50, csv)
    installation.web.replies[web_path(MONTH)] = [Reply(csv.read_bytes())]
    monkeypatch.setenv("TAXI_SOURCE_URL", installation.web.url)
    with closing(Installation()) as of_csv:
        of_csv.load(MONTH)
    assert installation.sources() == {MONTH: installation.web.url}
    assert [path.suffix for path in installation.file.parent.iterdir()] == [".gz"]
    installation.load(MONTH)
    assert installation.sources() == {MONTH: installation.settings.source_url}
    assert list(installation.file.parent.iterdir()) == [installation.file]
    [history] = read_history(installation.instance, installation.settings)
    assert history.rows["warehouse_trips"] == 60


@pytest.mark.parametrize("kind", ["html", "csv", "cut", "damaged"])
def test_a_bad_file_leaves_what_was_loaded(kind: str, installation: ParquetInstallation) -> None:
    """A file that is not Parquet, or not a whole one, fails with its URL. The raw file and the status stay."""
    installation.run(MONTH, *FILES)
    body = installation.body
    damaged = bytes(64) + body[64:]
    bodies = {
        "html": b"<html>Log in</html>",
        "csv": b"VendorID,a\r\n2,1\r\n" * 99,
        "cut": body[:-500],
        "damaged": damaged,
    }
    installation.serve(Reply(bodies[kind]))
    end = installation.run(MONTH, *FILES)[-1]
    assert (end.what, end.asset) == (Progress.failed, "raw_trips")
    assert f"{MONTH.stem}.parquet" in end.error
    assert installation.file.read_bytes() == body
    [history] = read_history(installation.instance, installation.settings)
    assert history.rows == dict.fromkeys(FILES, 60)


def test_a_forbidden_month_is_not_published(installation: ParquetInstallation) -> None:
    """While a month that exists is available, a run, a tick and an observation take 403 as not published."""
    assert installation.run(NEXT, *FILES)[-1].what is Progress.not_published
    assert installation.run(MONTH, *FILES)[-1].what is Progress.done
    assert [request.partition_key for request in installation.tick()] == [MONTH.month]
    assert installation.observe()
    assert observed_versions(installation.instance, "green") == {MONTH.month: '"v1"'}


def test_a_server_that_forbids_everything(installation: ParquetInstallation) -> None:
    """If the server rejects all requests, a run, a tick and an observation fail, also after a month was loaded."""
    installation.run(MONTH, *FILES)
    installation.serve(replace(FORBIDDEN))
    end = installation.run(NEXT, *FILES)[-1]
    assert end.what is Progress.failed
    assert "[source-forbidden]" in end.error
    with pytest.raises(dg.DagsterUserCodeExecutionError) as failed:
        installation.tick()
    assert isinstance(failed.value.user_exception, SourceForbidden)
    assert not installation.observe()
