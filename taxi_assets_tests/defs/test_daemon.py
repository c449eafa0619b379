"""The real daemon ticks, backfills, cancels and keeps the queue's limits, on a real instance."""

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    ScheduleInstigatorData,
    TickStatus,
)

from taxi_assets.defs.build import build_definitions
from taxi_assets.defs.instance import dagster_home, open_instance
from taxi_assets.defs.partitions import TIMEZONE
from taxi_assets.defs.runs import ORIGIN, Order, run_month
from taxi_assets.news import News, RunNews
from taxi_assets.settings import Settings
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import COLORS, TripMonth, months_before, parse_months
from taxi_assets_tests import program
from taxi_assets_tests.defs.daemon import WarmRunLauncher, running_daemon, until
from taxi_assets_tests.docs.pages import PROJECT
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.web_server import Reply, WebServer

AT_ONCE, AT_ONCE_PER_COLOR = 2, 1

ROWS = 20


@dataclass
class Installation:
    """A home with a daemon's instance, whose source is a web server."""

    home: Path
    web: WebServer
    instance: dg.DagsterInstance

    def publish(self, month: TripMonth, rows: int = ROWS) -> None:
        """Let the server have a month, another version for another number of rows."""
        place = self.home / "made-up"
        write_sample(month, rows, place)
        self.web.replies[_path(month)] = [Reply(place.read_bytes(), headers={"ETag": f'"{rows}"'})]

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints, when it exits as expected."""
        done = program.run(*words, settings={"DAGSTER_HOME": str(dagster_home(self.home))}, folder=PROJECT)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def count(self, color: str) -> dict[str, int]:
        """Rows by month in the warehouse."""
        sql = f"SELECT strftime(file_month, '%Y-%m'), count(*) FROM {color}_taxi_trips GROUP BY 1"
        answer = list(csv.reader(io.StringIO(self.run("taxi", "query", "--csv", sql))))
        return {month: int(rows) for month, rows in answer[1:]}

    def runs(self, **tags: str) -> list[dg.RunRecord]:
        """The runs with these tags, in the order in which they were asked for."""
        named = {name.replace("__", "/"): value for name, value in tags.items()}
        return list(self.instance.get_run_records(dg.RunsFilter(tags=named), ascending=True))

    def ended(self, **tags: str) -> list[dg.RunRecord]:
        """Those of the runs that are over."""
        return [record for record in self.runs(**tags) if record.end_time]


def _path(month: TripMonth) -> str:
    return f"/{month.color}/{month.stem}.csv.gz"


@pytest.fixture
def installation(
    tmp_path: Path, web: WebServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """A home with nothing loaded."""
    environment = {
        "TAXI_HOME": str(tmp_path / "home"),
        "TAXI_SOURCE_URL": web.url,
        "TAXI_POSTGRES_URL": postgres_url,
        "TAXI_LOOKBACK_MONTHS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with open_instance(tmp_path / "home") as instance:
        yield Installation(tmp_path / "home", web, instance)


def _limit_runs(home: Path) -> None:
    """Write smaller limits into an instance's file, as people would; and let the queue be quick."""
    config = dagster_home(home) / "dagster.yaml"
    told = yaml.safe_load(config.read_text())
    limits = told["concurrency"]["runs"]
    limits["max_concurrent_runs"] = AT_ONCE
    limits["tag_concurrency_limits"][0]["limit"] = AT_ONCE_PER_COLOR
    told["run_queue"] = {"dequeue_interval_seconds": 1}
    told["run_launcher"] = {"module": WarmRunLauncher.__module__, "class": WarmRunLauncher.__name__}
    # Without the line that says whose the file is, it stays as it is.
    config.write_text(yaml.safe_dump(told))


def _most_at_once(records: Sequence[dg.RunRecord]) -> int:
    """How many of these runs were under way together, at most."""
    spans = [(record.start_time or 0, record.end_time or 0) for record in records]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def test_a_tick_loads_what_is_published_and_what_was_published_again(installation: Installation) -> None:
    """Of three schedules one finds a new month, one another version of a loaded month, and one nothing, and says so."""
    tick = _last_tick()
    [month] = months_before(f"{tick:%Y-%m}", 1)
    new, changed, absent = (TripMonth(color, month) for color in COLORS)
    installation.publish(new)
    installation.publish(changed)
    settings, told = Settings.load(), list[RunNews]()
    run_month(build_definitions(settings), installation.instance, changed, Order(), told.append)
    assert told[-1].what is News.done
    installation.publish(changed, ROWS + 1)
    for color in COLORS:
        _start_before(installation.instance, f"load_{color}", settings.schedule_cron, tick)
    with running_daemon(installation.home):
        until(lambda: all(_ticks(installation.instance, color) for color in COLORS), "the ticks")
        until(lambda: len(installation.ended(taxi__asked_by="schedule")) == 2, "the runs of two ticks")
    asked = installation.runs(taxi__asked_by="schedule")
    assert {(record.dagster_run.tags["dagster/partition"], record.dagster_run.status) for record in asked} == {
        (f"{found.color}|{month}", dg.DagsterRunStatus.SUCCESS) for found in (new, changed)
    }
    assert installation.count(new.color) == {month: ROWS}
    assert installation.count(changed.color) == {month: ROWS + 1}
    [skipped] = _ticks(installation.instance, absent.color)
    assert skipped.status is TickStatus.SKIPPED
    assert f"Nothing to load of {absent.color}: {month} not published" in (skipped.skip_reason or "")


def _last_tick() -> datetime:
    """When the default schedule was last due."""
    now = datetime.now(ZoneInfo(TIMEZONE))
    due = now.replace(day=1, hour=5, minute=0, second=0, microsecond=0)
    return due if due <= now else (due - timedelta(days=1)).replace(day=1)


def _start_before(instance: dg.DagsterInstance, schedule: str, cron: str, tick: datetime) -> None:
    """Have a schedule started shortly before it was due: a daemon that was away then makes up for it."""
    started = ScheduleInstigatorData(cron, start_timestamp=tick.timestamp() - 60)
    origin = ORIGIN.get_instigator_origin(schedule)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, started))


def _ticks(instance: dg.DagsterInstance, color: str) -> list[InstigatorTick]:
    """The ticks of a color's schedule that are over."""
    [state] = [state for state in instance.all_instigator_state() if state.name == f"load_{color}"]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return [tick for tick in ticks if tick.status is not TickStatus.STARTED]


def test_a_backfill_is_cancelled_and_taken_up_to_its_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 24 months some run before it is cancelled, the rest later, but for three that fail until they are mended.

    At no time do more runs go than the queue allows. Of each run that fails, and each backfill, people are told once.
    """
    inbox = Inbox(installation.web)
    monkeypatch.setenv("TAXI_ALERT_URLS", inbox.address)
    months = [TripMonth(color, month) for month in parse_months("2020-01..2020-12") for color in ("yellow", "green")]
    broken = [TripMonth("green", "2020-02"), TripMonth("yellow", "2020-03"), TripMonth("green", "2020-05")]
    for month in months:
        installation.publish(month)
    for month in broken:
        installation.web.replies[_path(month)] = [Reply(gzip.compress(b"no,header,of\n1,2,3\n"))]
    _limit_runs(installation.home)
    words = ("taxi", "backfill", "--color", "yellow", "--color", "green", "--months", "2020-01..2020-12")
    with running_daemon(installation.home):
        assert "24 partitions, 24 runs of load_trips" in installation.run(*words)
        [first] = installation.instance.get_backfills()
        until(lambda: len(installation.ended(dagster__backfill=first.backfill_id)) >= 4, "the first runs of a backfill")
        installation.run("taxi", "backfill", "--cancel", first.backfill_id)
        until(lambda: _status(installation, first.backfill_id) is BulkActionStatus.CANCELED, "the cancelled backfill")
        ran = [record for record in installation.runs(dagster__backfill=first.backfill_id) if record.start_time]
        assert 4 <= len(ran) < 24
        assert {_month(record) for record in ran} <= {f"2020-{number:02}" for number in range(13 - len(ran), 13)}

        told = installation.run(*words, "--missing", "--wait", status=1)
        for month in broken:
            assert f"{month} failed at raw_trips:" in told
        assert "3 failed" in told
        [second, *_] = installation.instance.get_backfills()
        assert f"taxi backfill --resume {second.backfill_id}\n" in told
        for month in broken:
            installation.publish(month)
        again = installation.run("taxi", "backfill", "--resume", second.backfill_id, "--wait")
        assert "3 partitions, 3 runs" in again
        until(lambda: len(inbox.mails) >= len(broken) + 3, "the alerts")
    loaded = dict.fromkeys(parse_months("2020-01..2020-12"), ROWS)
    assert installation.count("yellow") == installation.count("green") == loaded
    statuses = [_status(installation, backfill.backfill_id) for backfill in installation.instance.get_backfills()]
    assert statuses[1:] == [BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.CANCELED]
    titles = sorted(mail.title for mail in inbox.mails)
    assert [title for title in titles if "backfill" not in title] == sorted(
        f"{month} failed at raw_trips" for month in broken
    )
    assert "backfill of 3 months: 3 loaded" in titles
    assert any(re.fullmatch(r"backfill of \d\d months: \d\d loaded, 3 failed", title) for title in titles)
    assert any(
        re.fullmatch(r"backfill of 24 months: \d+ loaded, \d+ (cancelled|never ran).*", title) for title in titles
    )
    started = [record for record in installation.runs() if record.start_time]
    assert _most_at_once(started) == AT_ONCE
    for color in ("yellow", "green"):
        of_color = [record for record in started if record.dagster_run.tags["dagster/partition/color"] == color]
        assert _most_at_once(of_color) == AT_ONCE_PER_COLOR


def test_the_stock_command_backfills(installation: Installation) -> None:
    """Dagster's own command, with the documented words, has the months run that its keys name."""
    months = [TripMonth("green", "2020-03"), TripMonth("green", "2020-04")]
    for month in months:
        installation.publish(month)
    _limit_runs(installation.home)
    words = ["dagster", "job", "backfill", "-w", "workspace.yaml", "-j", "load_trips", "--noprompt", "--partitions"]
    with running_daemon(installation.home):
        installation.run(*words, "green|2020-04,green|2020-03")
        until(lambda: len(installation.ended(taxi__asked_by="dagster")) == len(months), "the runs of the stock command")
    assert installation.count("green") == {"2020-03": ROWS, "2020-04": ROWS}


def _status(installation: Installation, backfill_id: str) -> BulkActionStatus:
    backfill = installation.instance.get_backfill(backfill_id)
    assert backfill
    return backfill.status


def _month(record: dg.RunRecord) -> str:
    return record.dagster_run.tags["taxi/month"]
