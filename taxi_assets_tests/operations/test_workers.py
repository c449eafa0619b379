"""Months in worker processes: they run at once, fail alone, and leave no run that looks alive."""

import json
import logging
import multiprocessing
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import StoreError
from taxi_assets.graph import asset_key, job_name
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.processes import PROCESS_TAG, fail_dead_runs, process_tags
from taxi_assets.news import ENDS, Progress, ProgressEvent
from taxi_assets.operations import workers
from taxi_assets.operations.runs import Order, run_month
from taxi_assets.operations.workers import run_months
from taxi_assets.partitions import month_partitions
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish

MONTHS = [TripMonth("fhv", f"2021-0{number}") for number in range(1, 5)]
ASSETS = ("raw_trips", "clean_trips")


# As the command does it: workers then need not each import Dagster.
multiprocessing.set_forkserver_preload(["taxi_assets.operations.workers", "taxi_assets.defs.build"])


@pytest.fixture
def home(home: Path) -> Path:
    """A home whose source has the months."""
    for month in MONTHS:
        publish(home.parent / "source", month, 100)
    return home


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The home's instance."""
    with open_instance(home) as opened:
        yield opened


def _kill_worker(instance: dg.DagsterInstance, run_id: str) -> None:
    """Kill the process that a run is in."""
    run = instance.get_run_by_id(run_id)
    assert run
    os.kill(json.loads(run.tags[PROCESS_TAG])["pid"], signal.SIGKILL)


def test_each_month_ends_once(instance: dg.DagsterInstance) -> None:
    """Every month that is asked for is told as started and as done, once, and both workers have their part."""
    news = list(run_months(Settings.load(), MONTHS, Order(ASSETS), workers=2))
    for what in (Progress.started, Progress.done):
        assert sorted(told.month for told in news if told.what is what) == MONTHS
    assert len({json.loads(run.tags[PROCESS_TAG])["pid"] for run in instance.get_runs()}) == 2


def test_runs_carry_the_tags_of_their_color(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a command starts has the tags of its color's job, and `taxi/asked_by` is `cli`."""
    monkeypatch.setenv("TAXI_RUN_TAGS", '{"fhv": {"team": "north"}, "green": {"team": "south"}}')
    run_month(build_definitions(Settings.load()), instance, MONTHS[0], Order(ASSETS), lambda _: None)
    [run] = instance.get_runs()
    told = {"taxi/color": "fhv", "taxi/asked_by": "cli", "team": "north", "dagster/partition": MONTHS[0].month}
    assert run.tags.items() >= told.items()


def test_a_killed_worker_fails_its_month_alone(instance: dg.DagsterInstance) -> None:
    """When a worker is killed, its month fails with the reason, its run is marked, and the other months are done."""
    news: list[ProgressEvent] = []
    for told in run_months(Settings.load(), MONTHS[:2], Order(ASSETS), workers=1):
        news.append(told)
        if told.what is Progress.asset_started and told.month == MONTHS[0]:
            _kill_worker(instance, told.run_id)
    ends = {told.month: told for told in news if told.what in (Progress.done, Progress.failed)}
    assert ends[MONTHS[0]].what is Progress.failed
    assert "its process was killed (signal 9): often too little memory" in ends[MONTHS[0]].error
    assert ends[MONTHS[1]].what is Progress.done
    statuses = {run.tags["dagster/partition"]: run.status for run in instance.get_runs()}
    assert statuses["2021-01"] is dg.DagsterRunStatus.FAILURE
    assert statuses["2021-02"] is dg.DagsterRunStatus.SUCCESS


def test_a_damaged_history_is_told_in_words(home: Path) -> None:
    """When the history cannot be used any more, months fail, and the command ends, with where it is and why."""
    news = run_months(Settings.load(), MONTHS[:2], Order(ASSETS), workers=1)
    next(told for told in news if told.what is Progress.asset_started)
    with closing(sqlite3.connect(home / "dagster/history/runs.db", timeout=60)) as database:
        database.execute("DROP TABLE runs")
    ends: list[ProgressEvent] = []
    said = f"the history of runs in {home / 'dagster'} cannot be used: "
    with pytest.raises(StoreError, match=re.escape(said)):
        ends.extend(told for told in news if told.what in (Progress.done, Progress.failed))
    assert [(end.month, end.what, said in end.error) for end in ends] == [
        (month, Progress.failed, True) for month in MONTHS[:2]
    ]


def test_a_worker_that_dies_before_its_month_fails_it(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that cannot even begin fails its month with its status and its log, and says nothing on the terminal."""
    settings = Settings.load()
    monkeypatch.setenv("TAXI_NO_SUCH_SETTING", "1")
    ends = [told for told in run_months(settings, MONTHS[:2], Order(ASSETS), workers=1) if told.what is Progress.failed]
    assert [told.month for told in ends] == MONTHS[:2]
    assert all("its process ended with status 1" in told.error for told in ends)
    log = Path(ends[0].error.partition("What it said is in ")[2])
    assert "TAXI_NO_SUCH_SETTING" in log.read_text()
    assert "Traceback" not in "".join(capfd.readouterr())
    assert not instance.get_runs()


def test_a_failed_month_tells_its_whole_stack(home: Path) -> None:
    """A month that fails is told with what to read, and apart from that with the stack that led there."""
    (home.parent / "source" / "fhv" / f"{MONTHS[0].stem}.csv.gz").write_text("<html>no trips here</html>")
    *_, last = run_months(Settings.load(), MONTHS[:1], Order(ASSETS), workers=1)
    assert (last.what, last.asset) == (Progress.failed, "raw_trips")
    assert "Traceback" not in last.error
    assert "is an HTML page" in last.error
    assert "is an HTML page" in last.trace
    assert "in raw_trips\n" in last.trace


def test_a_month_that_is_not_published_ends_as_such(home: Path, instance: dg.DagsterInstance) -> None:
    """An unpublished month is neither done nor failed: its run succeeds, and the next month is loaded."""
    (home.parent / "source" / "fhv" / f"{MONTHS[0].stem}.csv.gz").unlink()
    news = list(run_months(Settings.load(), MONTHS[:2], Order(ASSETS), workers=1))
    ends = {told.month: (told.what, told.error) for told in news if told.what in ENDS}
    assert ends == {MONTHS[0]: (Progress.not_published, ""), MONTHS[1]: (Progress.done, "")}
    assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_what_an_asset_logs_is_how_far_it_is(tmp_path: Path) -> None:
    """What an asset, or a store, logs is told as progress or as a setback; what is meant for who debugs is not."""

    @dg.asset(key=asset_key("fhv", "raw_trips"), partitions_def=month_partitions(Settings.load(), "fhv"))
    def raw_trips(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        context.log.info("34 of 90 MB")
        context.log.debug("the 17th chunk")
        logging.getLogger("taxi_assets.stores.download").warning("try %d of %d", 2, 5)
        return dg.MaterializeResult(metadata={"dagster/partition_row_count": 7})

    jobs = [dg.define_asset_job(job_name("fhv"), [raw_trips])]
    definitions = dg.Definitions([raw_trips], jobs=jobs, executor=dg.in_process_executor)
    news: list[ProgressEvent] = []
    with open_instance(tmp_path) as opened:
        run_month(definitions, opened, MONTHS[0], Order(), news.append)
    assert [(told.what, told.asset, told.detail) for told in news[2:4]] == [
        ("progress", "raw_trips", "34 of 90 MB"),
        ("setback", "raw_trips", "try 2 of 5"),
    ]
    assert [told.what for told in news[4:]] == ["asset_done", "done"]


def test_stopping_early_leaves_no_run_under_way(instance: dg.DagsterInstance) -> None:
    """Whoever stops listening stops the work, and the run that was under way is marked as failed."""
    for told in run_months(Settings.load(), MONTHS, Order(ASSETS), workers=1):
        if told.what is Progress.asset_started:
            break
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_an_asset_that_waits_to_be_tried_again_can_be_stopped(
    home: Path, instance: dg.DagsterInstance, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C need not wait for the next try of an asset."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    monkeypatch.setenv("TAXI_RETRY_DELAY_S", "1000")
    assets = ("raw_trips", "clean_trips", "postgres_trips")
    news = run_months(Settings.load(), MONTHS[:1], Order(assets), workers=1)
    paused = next(told for told in news if told.what is Progress.pause)
    assert paused.asset == "postgres_trips"
    began = time.monotonic()
    news.close()
    assert time.monotonic() - began < workers._GOODBYE_S / 2
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert not list(home.rglob("*.staged"))


def _run(instance: dg.DagsterInstance, **process: str | float) -> str:
    """A run that says that it is under way, in this process but for what is said otherwise of it."""
    job, run_id = dg.GraphDefinition("nothing").to_job(), make_new_run_id()
    this = json.loads(process_tags(run_id)[PROCESS_TAG])
    tags = {PROCESS_TAG: json.dumps({**this, **process})}
    instance.create_run_for_job(job, run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return run_id


def test_only_runs_of_dead_processes_are_failed(instance: dg.DagsterInstance) -> None:
    """A run is dead when its process is gone, or another has its number; not on another host, nor from the UI."""
    alive = _run(instance)
    other_host = _run(instance, host="elsewhere", pid=1)
    again_from_the_ui = _run(instance, started=1.0, run="its parent")
    gone = _run(instance, pid=_unused_process_id())
    reused = _run(instance, started=1.0)
    assert {run.run_id for run in fail_dead_runs(instance)} == {gone, reused}
    left = {run.run_id: run.status for run in instance.get_runs()}
    assert {left[run_id] for run_id in (alive, other_host, again_from_the_ui)} == {dg.DagsterRunStatus.STARTED}
    assert {left[run_id] for run_id in (gone, reused)} == {dg.DagsterRunStatus.FAILURE}


def _unused_process_id() -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_processes_that_open_a_fresh_instance_together_all_can(tmp_path: Path) -> None:
    """The first three commands of a new home, started at once, all find a history that works."""
    context = multiprocessing.get_context("forkserver")
    started = [context.Process(target=open_instance, args=(tmp_path,)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]
