"""The Dagster instance of one machine: its history in TAXI_HOME/dagster, and runs whose process is gone.

Not here: what a run does (`runs`).
"""

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import dagster as dg
import psutil
import sqlalchemy as sa
import yaml
from dagster._core.storage.runs import SqlRunStorage

from taxi_assets.errors import StoreError
from taxi_assets.stores.files import StagedFile, locked
from taxi_assets.stores.refusals import refusals_told, said_room
from taxi_assets.tlc.trips import COLORS

PROCESS_TAG = ".dagster/taxi_process"
"""The process that a run runs in, as JSON: its host, its number, when it started, and the run.

One that is run again from the UI gets its parent's tags. The prefix keeps it out of the UI's list of runs.
"""

_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_SAME_TIME_S = 5.0
"""Seconds by which a process's start, as the system tells it, may move when its clock is set."""

_MADE_HERE = "# Made by taxi"

_CONFIG = f"""\
{_MADE_HERE}, and made again when taxi changes. To change it by hand, remove this line.
# The history lies in this folder, the same that the checkout's dagster.yaml names.
telemetry:
  enabled: false
nux:
  enabled: false
# What the stores log, such as how far a download is, is among the events of its run.
python_logs:
  managed_python_loggers: [taxi_assets]
  python_log_level: INFO
# How many runs go at once, in all and of each color; others wait in the queue. A run is a process of about 500 MB.
concurrency:
  runs:
    max_concurrent_runs: 4
  pools:  # each color's assets are a pool of their own
    granularity: run
    default_limit: 2
# A run that does not start, or that somebody stops and does not end, is given up.
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 180
  poll_interval_seconds: 60
retention:
  schedule:
    purge_after_days: 365
  sensor:
    purge_after_days:
      skipped: 7
      failure: 90
      success: 90
"""


def dagster_home(home: Path) -> Path:
    """The instance's folder, with its configuration: made if it is missing, or if an older taxi made it otherwise."""
    folder = home / "dagster"
    config = folder / "dagster.yaml"
    with refusals_told(config):
        found = config.read_text(errors="replace") if config.exists() else _MADE_HERE
    if found.startswith(_MADE_HERE) and found != _CONFIG:
        with StagedFile(config) as staged:
            staged.path.write_text(_CONFIG)
            staged.publish()
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance in TAXI_HOME. Its tables are made under a lock, for processes that make them together fail."""
    folder = dagster_home(home)
    with locked(folder / ".instance.lock", waiting_for="Dagster's instance"), history_told(home):
        instance = _read_instance(folder)
        instance.get_runs_count()
        instance.all_asset_keys()
        _limit_colors(instance)
        return instance


def _limit_colors(instance: dg.DagsterInstance) -> None:
    """Create each color's pool with the configured limit.

    The daemon would create it when it first sees a run of the color in the queue, and would not apply the limit then.
    """
    if instance.global_op_concurrency_default_limit is not None:
        for color in set(COLORS) - instance.event_log_storage.get_concurrency_keys():
            instance.event_log_storage.initialize_concurrency_limit_to_default(color)


def _read_instance(folder: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(str(folder))
    except (yaml.YAMLError, dg.DagsterInvalidConfigError) as error:
        raise StoreError(
            f"{folder / 'dagster.yaml'} cannot be read: {str(error).replace(chr(10), ' ')}. Mend it, or move it away: "
            "it is made again"
        ) from error


def history_place(instance: dg.DagsterInstance, home: Path) -> str:
    """Where the history of runs is: the instance's folder, or the address of a server, without its password."""
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        with storage.connect() as connection:
            url = connection.engine.url
            if url.host:
                return url.render_as_string()
    return str(dagster_home(home))


def may_run_here(instance: dg.DagsterInstance) -> bool:
    """Whether runs may be in processes of this machine: not in a deployment, whose daemon starts each elsewhere."""
    # The launcher itself would be imported to be asked, with gRPC: a tenth of `taxi status`.
    launcher = instance.get_ref().run_launcher_data
    return launcher is None or launcher.class_name == "DefaultRunLauncher"


def require_runs_here(instance: dg.DagsterInstance) -> None:
    """Raise StoreError where runs are started elsewhere: a daemon would take one in this process for dead."""
    if not may_run_here(instance):
        raise StoreError(
            f"the runs of this deployment are started by its daemon ({type(instance.run_launcher).__name__}), which "
            "would take a run in this process for dead. Ask that one for the months: taxi backfill"
        )


@contextmanager
def history_told(home: Path) -> Iterator[None]:
    """Raise StoreError, with what to do, where the history of runs cannot be read or written."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, _postgres_given_up()) as error:
        raise _unusable(dagster_home(home), error) from error


def _postgres_given_up() -> type[Exception]:
    """What Dagster raises after it tried to connect to Postgres again and again. Read where something is raised."""
    from dagster_postgres.utils import DagsterPostgresException

    return DagsterPostgresException


def _unusable(folder: Path, error: Exception) -> StoreError:
    """What is to be said of a history that cannot be used."""
    from psycopg2 import Error as PostgresError

    # Dagster names the number of tries alone; what it met is behind it.
    met = error.__cause__ if isinstance(error, _postgres_given_up()) else error
    said = met.orig if isinstance(met, sa.exc.DBAPIError) else met
    if isinstance(said, PostgresError):
        return StoreError(
            f"the history of runs in Postgres cannot be used: {str(said).partition(chr(10))[0]}. See that the server "
            f"runs which {folder / 'dagster.yaml'} names, and takes its user and password; the months are not concerned"
        )
    return StoreError(
        f"the history of runs in {folder} cannot be used: {said}; {said_room(folder)}. Make room if there is "
        "little, and let this user write there; else it is damaged: move it away, which forgets the runs and keeps "
        "the months"
    )


def process_tags(run_id: str) -> dict[str, str]:
    """The tag that says which process a run runs in: this one."""
    return {PROCESS_TAG: json.dumps({**_this_process(), "run": run_id})}


def said_end(exit_code: int | None) -> str:
    """How a process, or a container, ended that said nothing itself, and what to look at.

    `exit_code` is negative for a signal, as Python has it, or 128 more than it, as shells and containers have it.
    """
    if exit_code is None:
        return "ended without a word: often too little memory"
    if 0 <= exit_code <= _OF_SIGNALS:
        return f"ended with status {exit_code}"
    number = -exit_code if exit_code < 0 else exit_code - _OF_SIGNALS
    hint = ": often too little memory" if number == signal.SIGKILL else ""
    return f"was killed (signal {number}){hint}"


_OF_SIGNALS = 128


def process_name() -> str:
    """A name of this process, by which another one sees whether it lives."""
    return json.dumps(_this_process())


def lives(process: str) -> bool:
    """Whether the process of this name lives, on this host: others cannot be seen."""
    return _is_alive(json.loads(process))


def _this_process() -> dict[str, str | int | float]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": round(psutil.Process().create_time(), 2)}


def claim_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with this process, which it runs in, unless whoever made the run did."""
    if not process_tags(run.run_id).items() <= run.tags.items():
        _claim(instance, run.run_id)


@lru_cache(maxsize=1)
def _claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Once, however many steps of the run ask."""
    instance.add_run_tags(run_id, process_tags(run_id))


def fail_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Mark as failed, and give back, the runs of this host's processes that are gone: nothing else ever would."""
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        process = json.loads(run.tags.get(PROCESS_TAG, "{}"))
        if process.get("run") == run.run_id and process["host"] == socket.gethostname() and not _is_alive(process):
            instance.report_run_failed(run, f"The process {process['pid']} that this run ran in is gone.")
            dead.append(run)
    return dead


def _is_alive(process: Mapping[str, str | int | float]) -> bool:
    """Whether such a process lives on this host; another that got the same number since is not it."""
    if process["host"] != socket.gethostname():
        return False
    try:
        started = psutil.Process(int(process["pid"])).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(started - float(process["started"])) < _SAME_TIME_S
