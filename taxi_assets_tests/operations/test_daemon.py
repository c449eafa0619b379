"""The real daemon runs schedules and backfills, cancels them, and enforces the limits of the run queue."""

import csv
import gzip
import io
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import psutil
import pytest
import yaml

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.instance._dagster import BulkActionStatus
from taxi_assets.instance.opening import dagster_home, open_instance
from taxi_assets.instance.processes import PROCESS_TAG, end_dead_runs
from taxi_assets.keys import asset_key, run_colors
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.operations.runs import ORIGIN, RunSpec, run_month
from taxi_assets.partitions import TIMEZONE, recent_months
from taxi_assets.settings import Settings
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months
from taxi_assets_tests import program
from taxi_assets_tests.defs.daemon import WarmRunLauncher, running_daemon, until
from taxi_assets_tests.defs.dagster_internals import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    TickStatus,
)
from taxi_assets_tests.defs.installation import OLD, web_path
from taxi_assets_tests.defs.ui import opened_ui
from taxi_assets_tests.docs.pages import PROJECT
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.web_server import Reply, WebServer

ROWS = 20


@dataclass
class DaemonInstallation:
    """A TAXI_HOME whose source is a web server, and the instance that the daemon uses."""

    home: Path
    web: WebServer
    instance: dg.DagsterInstance

    def publish(self, month: TripMonth, rows: int = ROWS) -> None:
        """Publish a sample month on the server. The version differs by the number of rows."""
        path = self.home / "sample.csv.gz"
        write_sample(month, rows, path)
        self.web.replies[web_path(month)] = [Reply(path.read_bytes(), headers={"ETag": f'"{rows}"'})]

    def run(self, *words: str, status: int = 0) -> str:
        """Run a program, which must exit with `status`, and return its output."""
        done = program.run(*words, settings={"DAGSTER_HOME": str(dagster_home(self.home))}, folder=PROJECT)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def count(self, color: str) -> dict[str, int]:
        """Return the row count of each month in the warehouse."""
        sql = f"SELECT strftime(file_month, '%Y-%m'), count(*) FROM {color}_taxi_trips GROUP BY 1"
        result = list(csv.reader(io.StringIO(self.run("taxi", "query", "--csv", sql))))
        return {month: int(rows) for month, rows in result[1:]}

    def runs(self, **tags: str) -> list[dg.RunRecord]:
        """Return the runs with these tags, in the order of their creation."""
        named = {name.replace("__", "/"): value for name, value in tags.items()}
        return list(self.instance.get_run_records(dg.RunsFilter(tags=named), ascending=True))

    def ended(self, **tags: str) -> list[dg.RunRecord]:
        """Return the finished runs with these tags."""
        return [record for record in self.runs(**tags) if record.end_time]

    def ended_of(self, backfill_ids: Sequence[str]) -> list[dg.RunRecord]:
        """Return the finished runs of these backfills."""
        return [record for backfill_id in backfill_ids for record in self.ended(dagster__backfill=backfill_id)]

    def run_of(self, run_id: str) -> dg.DagsterRun:
        """Return the current state of a run."""
        found = self.instance.get_run_by_id(run_id)
        assert found
        return found

    def newest_backfills(self, count: int) -> list[str]:
        """Return the IDs of the last submitted backfills, in the order of submission."""
        return [backfill.backfill_id for backfill in reversed(self.instance.get_backfills(limit=count))]

    def statuses(self, backfill_ids: Sequence[str]) -> list[BulkActionStatus]:
        """Return the statuses of backfills."""
        found = [self.instance.get_backfill(backfill_id) for backfill_id in backfill_ids]
        return [backfill.status for backfill in found if backfill]


@pytest.fixture
def installation(
    tmp_path: Path, web: WebServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DaemonInstallation]:
    """An installation with nothing loaded. The environment has its settings."""
    environment = {
        "TAXI_HOME": str(tmp_path / "home"),
        "TAXI_SOURCE_URL": web.url,
        "TAXI_FIRST_MONTH": OLD.month,
        "TAXI_POSTGRES_URL": postgres_url,
        "TAXI_LOOKBACK_MONTHS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with open_instance(tmp_path / "home") as instance:
        yield DaemonInstallation(tmp_path / "home", web, instance)


def _limit_runs(home: Path, at_once: int, of_a_color: int) -> None:
    """Write lower limits into `dagster.yaml`, as a user would, and let the queue poll every second."""
    config = dagster_home(home) / "dagster.yaml"
    content = yaml.safe_load(config.read_text())
    content["concurrency"]["runs"]["max_concurrent_runs"] = at_once
    content["concurrency"]["pools"]["default_limit"] = of_a_color
    content["run_queue"] = {"dequeue_interval_seconds": 1}
    content["run_launcher"] = {"module": WarmRunLauncher.__module__, "class": WarmRunLauncher.__name__}
    # Without its first line, a comment, taxi does not replace the file.
    config.write_text(yaml.safe_dump(content))


def _most_at_once(records: Sequence[dg.RunRecord]) -> int:
    """The highest number of these runs that were in progress at the same time, by their start and end times."""
    spans = [(record.start_time or 0, record.end_time or 0) for record in records]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def _most_at_once_by_color(records: Sequence[dg.RunRecord]) -> dict[str, int]:
    """The same for each color. A run of several colors counts for each."""
    colors = {color for record in records for color in run_colors(record.dagster_run)}
    return {
        color: _most_at_once([record for record in records if color in run_colors(record.dagster_run)])
        for color in colors
    }


def test_a_tick_loads_new_and_changed_months(installation: DaemonInstallation) -> None:
    """Of several schedules, one finds a new month, one a new version of a loaded month, and the others nothing."""
    tick, settings = _last_tick(), Settings.load()
    new, changed, *absent = (month for color in COLORS for month in recent_months(settings, color, tick))
    installation.publish(OLD)
    installation.publish(new)
    installation.publish(changed)
    events = list[ProgressEvent]()
    run_month(build_definitions(settings), installation.instance, changed, RunSpec(), events.append)
    assert events[-1].what is Progress.done
    installation.publish(changed, ROWS + 1)
    for color in COLORS:
        _start_before(installation.instance, job_name(color), settings.schedule_cron, tick)
    with running_daemon(installation.home):
        until(lambda: all(_ticks(installation.instance, color) for color in COLORS), "the ticks")
        until(lambda: len(installation.ended(taxi__asked_by="schedule")) == 2, "the runs of two ticks")
    requested = [record.dagster_run for record in installation.runs(taxi__asked_by="schedule")]
    assert {(run.job_name, run.tags["dagster/partition"], run.status) for run in requested} == {
        (job_name(month.color), month.month, dg.DagsterRunStatus.SUCCESS) for month in (new, changed)
    }
    assert installation.count(new.color) == {new.month: ROWS}
    assert installation.count(changed.color) == {changed.month: ROWS + 1}
    for month in absent:
        [skipped] = _ticks(installation.instance, month.color)
        assert skipped.status is TickStatus.SKIPPED, skipped.error
        assert f"{month.color}: {month.month} not published" in (skipped.skip_reason or "")


def _last_tick() -> datetime:
    """The time at which the default schedule was last due."""
    now = datetime.now(ZoneInfo(TIMEZONE))
    due = now.replace(day=1, hour=5, minute=0, second=0, microsecond=0)
    return due if due <= now else (due - timedelta(days=1)).replace(day=1)


def _start_before(instance: dg.DagsterInstance, schedule: str, cron: str, tick: datetime) -> None:
    """Start a schedule shortly before it was due. A daemon that did not run then catches up."""
    started = ScheduleInstigatorData(cron, start_timestamp=tick.timestamp() - 60)
    origin = ORIGIN.get_instigator_origin(schedule)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, started))


def _ticks(instance: dg.DagsterInstance, color: str) -> list[InstigatorTick]:
    """The finished ticks of a color's schedule."""
    [state] = [state for state in instance.all_instigator_state() if state.name == f"load_{color}"]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return [tick for tick in ticks if tick.status is not TickStatus.STARTED]


def test_backfills_are_canceled_and_resumed(installation: DaemonInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 months, some run before the cancellation and the others later. Three fail until their files are fixed.

    The backfills of both colors are submitted, canceled, followed and resumed together. There is one notification for
    each failed run and each finished backfill.
    """
    inbox = Inbox(installation.web)
    monkeypatch.setenv("TAXI_ALERT_URLS", inbox.address)
    colors, months_option = ("yellow", "green"), "2020-5..12"
    listed = parse_months(months_option)
    broken = [TripMonth("green", "2020-05"), TripMonth("yellow", "2020-06"), TripMonth("green", "2020-07")]
    for month in (TripMonth(color, month) for month in listed for color in colors):
        installation.publish(month)
    for month in broken:
        installation.web.replies[web_path(month)] = [Reply(gzip.compress(b"no,header,of\n1,2,3\n"))]
    _limit_runs(installation.home, at_once=2, of_a_color=1)
    command = ("taxi", "backfill", "--color", ",".join(colors), "--months", months_option)
    with running_daemon(installation.home):
        assert "16 partitions, 16 runs" in installation.run(*command)
        first = installation.newest_backfills(len(colors))
        until(lambda: len(installation.ended_of(first)) >= 4, "the first runs of the backfills")
        installation.run("taxi", "backfill", "cancel", *first)
        until(lambda: installation.statuses(first) == [BulkActionStatus.CANCELED] * 2, "the canceled backfills")
        ran = [record for backfill_id in first for record in installation.runs(dagster__backfill=backfill_id)]
        ran = [record for record in ran if record.start_time]
        assert 4 <= len(ran) < len(listed) * len(colors)
        for color in colors:
            months = {_month(record) for record in ran if color in run_colors(record.dagster_run)}
            assert months == set(listed[len(listed) - len(months) :])

        printed = installation.run(*command, "--missing", "--wait", status=1)
        assert "green 2020-05,2020-07 failed at raw_trips:" in printed
        assert "yellow 2020-06 failed at raw_trips:" in printed
        assert "3 failed" in printed
        second = installation.newest_backfills(len(colors))
        assert f"taxi backfill resume {' '.join(second)}\n" in printed
        for month in broken:
            installation.publish(month)
        again = installation.run("taxi", "backfill", "resume", *second, "--wait")
        assert "3 partitions, 3 runs" in again
        until(lambda: len(inbox.mails) >= len(broken) + 3 * len(colors), "the notifications")
    loaded = dict.fromkeys(listed, ROWS)
    assert installation.count("yellow") == installation.count("green") == loaded
    assert installation.statuses(second) == [BulkActionStatus.COMPLETED_FAILED] * 2
    assert installation.statuses(first) == [BulkActionStatus.CANCELED] * 2
    titles = sorted(mail.title for mail in inbox.mails)
    failed = sorted(title for title in titles if not title.startswith("Backfill"))
    assert failed == sorted(f"{month} failed at raw_trips" for month in broken), inbox.mails
    of_backfills = [
        r"Backfill of 1 month: 1 loaded",
        r"Backfill of 2 months: 2 loaded",
        r"Backfill of \d+ months: \d+ loaded, 1 failed",
        r"Backfill of \d+ months: \d+ loaded, 2 failed",
        *[r"Backfill of 8 months: \d+ loaded, \d+ (cancell?ed|never ran).*"] * 2,
    ]
    for title in of_backfills:
        titles.remove(next(sent for sent in titles if re.fullmatch(title, sent)))
    assert len(titles) == len(broken)
    started = [record for record in installation.runs() if record.start_time]
    assert _most_at_once(started) == 2
    assert _most_at_once_by_color(started) == {"yellow": 1, "green": 1}


def test_limits_apply_to_runs_of_every_kind(installation: DaemonInstallation) -> None:
    """Runs of jobs, of the asset graph and of backfills of both never exceed the limits, in total and for each color.

    The queue also reaches both limits, because all runs are queued when the daemon starts. A run of two colors' assets
    counts for each color.
    """
    at_once, of_a_color = 3, 2
    colors, months = ("yellow", "green", "fhv"), parse_months("2020-01..2020-05")
    for month in (TripMonth(color, month) for color in colors for month in months):
        installation.publish(month)
    _limit_runs(installation.home, at_once, of_a_color)
    dagster = ("dagster", "job", "backfill", "-w", "workspace.yaml", "--noprompt", "-j", "load_green")
    installation.run(*dagster, "--partitions", "2020-02,2020-01")
    installation.run("taxi", "backfill", "--color", "yellow,fhv", "--months", "2020-1", "--select", "+clean")
    files = ("raw_trips", "clean_trips")
    with dg.DagsterInstance.from_config(str(dagster_home(installation.home))) as limited, opened_ui(limited) as ui:
        of_graph = [
            ui.materialize([asset_key("green", name) for name in TRIP_ASSETS], "2020-03"),
            ui.materialize([asset_key("fhv", name) for name in files], "2020-03"),
            ui.materialize([asset_key(color, name) for color in ("green", "yellow") for name in files], "2020-04"),
        ]
        of_assets = ui.backfill([asset_key("yellow", name) for name in files], ["2020-03", "2020-05"])
    with running_daemon(installation.home):
        until(lambda: len(installation.ended()) == 9, "the runs of every kind")
    records = installation.runs()
    assert {record.dagster_run.status for record in records} == {dg.DagsterRunStatus.SUCCESS}
    assert len(installation.runs(taxi__asked_by="dagster")) == 2
    assert len(installation.runs(taxi__asked_by="cli")) == 2
    assert len(installation.runs(dagster__backfill=of_assets)) == 2
    assert {record.dagster_run.run_id for record in records} >= set(of_graph)
    assert _most_at_once(records) == at_once
    by_color = _most_at_once_by_color(records)
    assert by_color.keys() == set(colors)
    assert max(by_color.values()) == of_a_color
    assert installation.count("green") == dict.fromkeys(("2020-01", "2020-02", "2020-03"), ROWS)


def test_a_killed_run_releases_its_slot(installation: DaemonInstallation) -> None:
    """A killed run keeps its slot until it is marked as failed. Then the next run starts."""
    stalled, queued = TripMonth("green", "2020-01"), TripMonth("green", "2020-02")
    installation.publish(stalled)
    installation.publish(queued)
    installation.web.replies[web_path(stalled)][0].stall_at = 100
    _limit_runs(installation.home, at_once=2, of_a_color=1)
    job = build_definitions(Settings.load()).resolve_job_def(job_name("green"))
    run_id, next_id = (_queue(installation.instance, job, month) for month in (stalled, queued))
    with running_daemon(installation.home):
        until(lambda: _process_of(installation.run_of(run_id)) is not None, "the run's process")
        process = _process_of(installation.run_of(run_id))
        assert process
        os.kill(process, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(process), "the end of the process")
        _wait_for_the_queue(installation.home)
        assert installation.run_of(next_id).status is dg.DagsterRunStatus.QUEUED
        assert [run.run_id for run in end_dead_runs(installation.instance)] == [run_id]
        until(lambda: installation.run_of(next_id).is_finished, "the queued run")
    assert installation.run_of(next_id).status is dg.DagsterRunStatus.SUCCESS
    assert _most_at_once(installation.runs()) == 1


def _queue(instance: dg.DagsterInstance, job: dg.JobDefinition, month: TripMonth) -> str:
    """Queue a run of a month's first asset. Return its ID."""
    raw = frozenset({asset_key(month.color, "raw_trips")})
    return instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.QUEUED,
        tags={**job.run_tags, **job.get_tags_for_partition_key(month.month, raw)},
        asset_selection=raw,
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    ).run_id


def _wait_for_the_queue(home: Path) -> None:
    """Wait until the daemon has checked the whole queue once more."""
    log = home / "daemon.log"
    checks = log.read_text().count(_QUEUE_CHECK)
    until(lambda: log.read_text().count(_QUEUE_CHECK) >= checks + 2, "the next check of the queue")


_QUEUE_CHECK = "Priority sorting and checking tag concurrency limits for queued runs."


def _process_of(run: dg.DagsterRun) -> int | None:
    """The PID in the tag of a run."""
    found: int | None = json.loads(run.tags.get(PROCESS_TAG, "{}")).get("pid")
    return found


def _month(record: dg.RunRecord) -> str:
    return record.dagster_run.tags["dagster/partition"]
