"""Months in worker processes: they run at once, fail alone, and leave no run that looks alive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.defs.instance import fail_dead_runs, open_instance, process_tags
from taxi_assets.defs.workers import run_months
from taxi_assets.news import News, RunNews
from taxi_assets.settings import Settings
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth

MONTHS = [TripMonth("fhv", f"2021-0{number}") for number in range(1, 5)]
STATIONS = ("raw_trips", "clean_trips")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose source has the months, in the environment that workers read."""
    for month in MONTHS:
        place = tmp_path / "source" / month.color / f"{month.stem}.csv.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_sample(month, 100, place)
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(tmp_path / "source"))
    return tmp_path / "home"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The home's instance."""
    with open_instance(home) as opened:
        yield opened


def _kill_worker(instance: dg.DagsterInstance, run_id: str) -> None:
    """Kill the process that a run is in."""
    run = instance.get_run_by_id(run_id)
    assert run
    os.kill(int(run.tags["taxi/process"]), signal.SIGKILL)


def test_each_month_ends_once(instance: dg.DagsterInstance) -> None:
    """Every month that is asked for is told as started and as done, once, and both workers have their part."""
    news = list(run_months(Settings.load(), MONTHS, STATIONS, workers=2))
    for what in (News.started, News.done):
        assert sorted(told.month for told in news if told.what is what) == MONTHS
    assert len({run.tags["taxi/process"] for run in instance.get_runs()}) == 2


def test_a_killed_worker_fails_its_month_alone(instance: dg.DagsterInstance) -> None:
    """When a worker is killed, its month fails with the reason, its run is marked, and the other months are done."""
    news: list[RunNews] = []
    for told in run_months(Settings.load(), MONTHS[:2], STATIONS, workers=1):
        news.append(told)
        if told.what is News.station_started and told.month == MONTHS[0]:
            _kill_worker(instance, told.run_id)
    ends = {told.month: told for told in news if told.what in (News.done, News.failed)}
    assert ends[MONTHS[0]].what is News.failed
    assert "killed by signal 9" in ends[MONTHS[0]].error
    assert ends[MONTHS[1]].what is News.done
    statuses = {run.tags["dagster/partition"]: run.status for run in instance.get_runs()}
    assert statuses["fhv|2021-01"] is dg.DagsterRunStatus.FAILURE
    assert statuses["fhv|2021-02"] is dg.DagsterRunStatus.SUCCESS


def test_stopping_early_leaves_no_run_under_way(instance: dg.DagsterInstance) -> None:
    """Whoever stops listening stops the work, and the run that was under way is marked as failed."""
    for told in run_months(Settings.load(), MONTHS, STATIONS, workers=1):
        if told.what is News.station_started:
            break
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def _run(instance: dg.DagsterInstance, **tags: str) -> str:
    """A run that says that it is under way."""
    job = dg.GraphDefinition("nothing").to_job()
    created = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={**process_tags(), **tags})
    return created.run_id


def test_only_runs_of_dead_processes_are_failed(instance: dg.DagsterInstance) -> None:
    """A run is dead when its process is gone, or another has its number; not on another host, nor from the UI."""
    alive = _run(instance)
    other_host = _run(instance, **{"taxi/host": "elsewhere", "taxi/process": "1"})
    again_from_the_ui = _run(instance, **{"taxi/process_started": "1.00", "dagster/parent_run_id": "x"})
    gone = _run(instance, **{"taxi/process": str(_unused_process_id())})
    reused = _run(instance, **{"taxi/process_started": "1.00"})
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
    code = f"import pathlib, taxi_assets.defs.instance as i; i.open_instance(pathlib.Path({str(tmp_path)!r}))"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
