"""Worker processes run months at the same time. A failure affects one month, and no run stays active after the end."""

import json
import logging
import multiprocessing
import os
import pty
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psutil
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import HistoryError
from taxi_assets.graph import job_name
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.processes import PROCESS_TAG, end_dead_runs, process_tags
from taxi_assets.keys import asset_key
from taxi_assets.operations.progress import ENDS, Progress, ProgressEvent
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.operations.workers import EXIT_TIMEOUT_S, started_months
from taxi_assets.partitions import month_partitions
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN

MONTHS = [TripMonth("fhv", f"2021-0{number}") for number in range(1, 5)]
ASSETS = ("raw_trips", "clean_trips")


# Workers then do not import Dagster again.
multiprocessing.set_forkserver_preload(["taxi_assets.operations.workers", "taxi_assets.defs.build"])


@pytest.fixture(autouse=True)
def fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process, which has threads, start faster than those of `taxi materialize`."""
    monkeypatch.setattr("taxi_assets.operations.workers._NEW_PROCESS", multiprocessing.get_context("forkserver"))


def run_months(
    settings: Settings, months: Sequence[TripMonth], spec: RunSpec, workers: int
) -> Generator[ProgressEvent, None, None]:
    """Run months in worker processes, and yield the progress events."""
    with started_months(settings, months, spec, workers) as events:
        yield from events


@pytest.fixture
def home(home: Path) -> Path:
    """A TAXI_HOME whose source has the months."""
    for month in MONTHS:
        publish(home.parent / "source", month, 100)
    return home


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance."""
    with open_instance(home) as opened:
        yield opened


def _kill_worker(instance: dg.DagsterInstance, run_id: str) -> None:
    """Kill the process that executes a run."""
    run = instance.get_run_by_id(run_id)
    assert run
    os.kill(json.loads(run.tags[PROCESS_TAG])["pid"], signal.SIGKILL)


def _publish_page(home: Path, month: TripMonth) -> None:
    """Publish a web page instead of a month."""
    (home.parent / "source" / month.color / f"{month.stem}.csv.gz").write_text("<html>no trips here</html>")


def test_each_month_ends_once(instance: dg.DagsterInstance) -> None:
    """Every month starts once and ends once, and both workers run months."""
    events = list(run_months(Settings.load(), MONTHS, RunSpec(ASSETS), workers=2))
    for what in (Progress.started, Progress.done):
        assert sorted(event.month for event in events if event.what is what) == MONTHS
    assert len({json.loads(run.tags[PROCESS_TAG])["pid"] for run in instance.get_runs()}) == 2


def test_runs_have_the_tags_of_their_color(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a command starts has the tags of its color's job, and `taxi/asked_by` is `cli`."""
    monkeypatch.setenv("TAXI_RUN_TAGS", '{"fhv": {"team": "north"}, "green": {"team": "south"}}')
    run_month(build_definitions(Settings.load()), instance, MONTHS[0], RunSpec(ASSETS), lambda _: None)
    [run] = instance.get_runs()
    tags = {"taxi/color": "fhv", "taxi/asked_by": "cli", "team": "north", "dagster/partition": MONTHS[0].month}
    assert run.tags.items() >= tags.items()


def test_a_killed_worker_fails_only_its_month(instance: dg.DagsterInstance) -> None:
    """When a worker is killed, its month and its run fail, with the signal as the reason. The other month is loaded."""
    events: list[ProgressEvent] = []
    for event in run_months(Settings.load(), MONTHS[:2], RunSpec(ASSETS), workers=1):
        events.append(event)
        if event.what is Progress.asset_started and event.month == MONTHS[0]:
            _kill_worker(instance, event.run_id)
    ends = {event.month: event for event in events if event.what in ENDS}
    assert ends[MONTHS[0]].what is Progress.failed
    assert "signal 9" in ends[MONTHS[0]].error
    assert "[out-of-memory]" in ends[MONTHS[0]].error
    assert ends[MONTHS[1]].what is Progress.done
    statuses = {run.tags["dagster/partition"]: run.status for run in instance.get_runs()}
    assert statuses["2021-01"] is dg.DagsterRunStatus.FAILURE
    assert statuses["2021-02"] is dg.DagsterRunStatus.SUCCESS


@pytest.mark.usefixtures("home")
def test_workers_end_when_their_command_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Workers end when their command is killed, whether they are copies of it or replaced one. They leave no files."""
    temporary = tmp_path_factory.mktemp("t")  # short, because the path of a socket is limited
    terminal, other_end = pty.openpty()  # on a terminal, the command has a thread, so it cannot copy itself again
    command = subprocess.Popen(
        [BIN / "taxi", "materialize", "--color", "fhv", "--months", "2021-01..2021-03", "--workers", "2"],
        env={**os.environ, "TMPDIR": str(temporary), "TERM": "xterm"},
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)

    def workers_after(*known: psutil.Process) -> list[psutil.Process]:
        while not (found := [child for child in psutil.Process(command.pid).children() if _is_worker(child, known)]):
            assert command.poll() is None
            time.sleep(0.05)
        return found

    first = workers_after()
    second = workers_after(*first) if len(first) == 1 else []
    first[0].kill()
    replacement = workers_after(*first, *second)
    command.kill()
    command.wait()
    assert psutil.wait_procs([*first, *second, *replacement], timeout=30)[1] == []
    assert not list(temporary.iterdir())
    os.close(terminal)


def _is_worker(child: psutil.Process, known: Sequence[psutil.Process]) -> bool:
    try:
        return child not in known and "resource_tracker" not in " ".join(child.cmdline())
    except psutil.Error:  # it has just ended
        return False


def test_a_damaged_history_fails_the_months(home: Path) -> None:
    """When the history becomes unusable, each month fails with its path and slug, and so does the command."""
    events = run_months(Settings.load(), MONTHS[:2], RunSpec(ASSETS), workers=1)
    next(event for event in events if event.what is Progress.asset_started)
    with closing(sqlite3.connect(home / "dagster/history/runs.db", timeout=60)) as database:
        database.execute("DROP TABLE runs")
    ends: list[ProgressEvent] = []
    with pytest.raises(HistoryError) as caught:
        ends.extend(event for event in events if event.what in ENDS)
    assert caught.value.facts == {"path": str(home / "dagster")}
    assert [(end.month, end.what) for end in ends] == [(month, Progress.failed) for month in MONTHS[:2]]
    assert all(str(home / "dagster") in end.error and "[history-unusable]" in end.error for end in ends)


def test_a_worker_that_cannot_start_fails_its_month(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that exits before its run fails its month with its exit code and its log, and prints nothing."""
    settings = Settings.load()
    monkeypatch.setenv("TAXI_RETRIES", "many")
    events = run_months(settings, MONTHS[:2], RunSpec(ASSETS), workers=1)
    ends = [event for event in events if event.what is Progress.failed]
    assert [end.month for end in ends] == MONTHS[:2]
    assert all("status 1" in end.error for end in ends)
    [log] = re.findall(r"/\S+\.log", ends[0].error)
    assert "TAXI_RETRIES" in Path(log).read_text()
    assert "Traceback" not in "".join(capfd.readouterr())
    assert not instance.get_runs()


def test_a_failed_month_has_an_error_and_a_traceback(home: Path) -> None:
    """The error of a failed month is text for people, with the remedy and the slug. The traceback is separate."""
    _publish_page(home, MONTHS[0])
    *_, last = run_months(Settings.load(), MONTHS[:1], RunSpec(ASSETS), workers=1)
    assert (last.what, last.asset) == (Progress.failed, "raw_trips")
    assert last.error.endswith("[not-a-csv]")
    assert "Traceback" not in last.error
    assert "[not-a-csv]" in last.trace
    assert "in raw_trips\n" in last.trace


def test_a_month_that_is_not_published_has_its_own_end(home: Path, instance: dg.DagsterInstance) -> None:
    """A month that is not published is neither done nor failed: its run succeeds, and the next month is loaded."""
    (home.parent / "source" / "fhv" / f"{MONTHS[0].stem}.csv.gz").unlink()
    events = list(run_months(Settings.load(), MONTHS[:2], RunSpec(ASSETS), workers=1))
    ends = {event.month: (event.what, event.error) for event in events if event.what in ENDS}
    assert ends == {MONTHS[0]: (Progress.not_published, ""), MONTHS[1]: (Progress.done, "")}
    assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_log_messages_of_a_step_are_progress(tmp_path: Path) -> None:
    """Messages at level INFO are progress, and warnings are failed attempts. Debug messages are not reported."""

    @dg.asset(key=asset_key("fhv", "raw_trips"), partitions_def=month_partitions(Settings.load(), "fhv"))
    def raw_trips(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        context.log.info("34 of 90 MB")
        context.log.debug("the 17th chunk")
        logging.getLogger("taxi_assets.stores.source.download").warning("attempt %d of %d", 2, 5)
        return dg.MaterializeResult(metadata={"dagster/partition_row_count": 7})

    jobs = [dg.define_asset_job(job_name("fhv"), [raw_trips])]
    definitions = dg.Definitions([raw_trips], jobs=jobs, executor=dg.in_process_executor)
    events: list[ProgressEvent] = []
    with open_instance(tmp_path) as opened:
        run_month(definitions, opened, MONTHS[0], RunSpec(), events.append)
    assert [(event.what, event.asset, event.detail) for event in events[2:4]] == [
        (Progress.progress, "raw_trips", "34 of 90 MB"),
        (Progress.attempt_failed, "raw_trips", "attempt 2 of 5"),
    ]
    assert [event.what for event in events[4:]] == [Progress.asset_done, Progress.done]


def test_closing_early_fails_active_runs(instance: dg.DagsterInstance) -> None:
    """If the iterator is closed early, the workers stop, and the active run is marked as failed."""
    for event in run_months(Settings.load(), MONTHS, RunSpec(ASSETS), workers=1):
        if event.what is Progress.asset_started:
            break
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_a_step_that_waits_for_a_retry_can_be_stopped(
    home: Path, instance: dg.DagsterInstance, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not wait for the next retry of a step."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", dead_postgres_url)
    monkeypatch.setenv("TAXI_RETRY_DELAY_S", "1000")
    assets = ("raw_trips", "clean_trips", "postgres_trips")
    events = run_months(Settings.load(), MONTHS[:1], RunSpec(assets), workers=1)
    scheduled = next(event for event in events if event.what is Progress.retry_scheduled)
    assert scheduled.asset == "postgres_trips"
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < EXIT_TIMEOUT_S / 2
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert not list(home.rglob("*.staged"))


def _run(instance: dg.DagsterInstance, **process: str | float) -> str:
    """Create an active run whose tag names this process, with other values in `process`."""
    job, run_id = dg.GraphDefinition("nothing").to_job(), str(uuid4())
    own = json.loads(process_tags(run_id)[PROCESS_TAG])
    tags = {PROCESS_TAG: json.dumps({**own, **process})}
    instance.create_run_for_job(job, run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return run_id


def test_only_runs_of_dead_processes_are_ended(instance: dg.DagsterInstance) -> None:
    """A run is dead if its process has ended, also as a zombie, or if another process has its PID now.

    A run on another host, or re-executed from the UI, is not. A dead run that was being canceled is canceled.
    """
    alive = _run(instance)
    other_host = _run(instance, host="elsewhere", pid=1)
    reexecuted = _run(instance, started=1.0, run="parent")
    ended = _run(instance, pid=_unused_pid())
    reused = _run(instance, started=1.0)
    instance.report_run_canceling(instance.get_runs(limit=1)[0])
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = _run(instance, pid=process.pid)
        assert {run.run_id for run in end_dead_runs(instance)} == {ended, reused, zombie}
    left = {run.run_id: run.status for run in instance.get_runs()}
    assert {left[run_id] for run_id in (alive, other_host, reexecuted)} == {dg.DagsterRunStatus.STARTED}
    assert left[ended] is dg.DagsterRunStatus.FAILURE
    assert left[reused] is dg.DagsterRunStatus.CANCELED


def _unused_pid() -> int:
    """The PID of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_processes_can_create_an_instance_together(tmp_path: Path) -> None:
    """Three commands that start at the same time with a new TAXI_HOME all succeed."""
    context = multiprocessing.get_context("forkserver")
    started = [context.Process(target=open_instance, args=(tmp_path,)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]
