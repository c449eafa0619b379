"""Dagster's daemon for tests: it checks for work every second instead of every 30 seconds."""
# ruff: noqa: D102  # the methods of a launcher are documented by Dagster

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from taxi_assets.defs.build import build_definitions
from taxi_assets.instance._dagster import InMemoryJob, execute_run
from taxi_assets.instance.opening import dagster_home, open_instance
from taxi_assets.settings import Settings
from taxi_assets_tests.defs.dagster_internals import (
    ConfigurableClass,
    ConfigurableClassData,
    LaunchRunContext,
    RunLauncher,
)
from taxi_assets_tests.docs.pages import PROJECT

_DAEMON = """
import sys
from dagster._daemon import controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
from dagster._daemon.cli import main
sys.argv[0] = "dagster-daemon"
main()
"""

_PRELOADED = [
    "taxi_assets.defs.build",
    "duckdb",
    "pandas",
    "pgpq",
    "psycopg2",
    "pyarrow.csv",
    "pyarrow.parquet",
    "requests",
]

_TERMINATION_TIMEOUT_S = 20.0
"""Time limit for an interrupted run to end, in seconds."""


class WarmRunLauncher(RunLauncher, ConfigurableClass):
    """Launches each run in its own process, forked from one that has imported Dagster.

    Starting an interpreter for each of dozens of runs would take minutes.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(_PRELOADED)
        self._running: dict[str, BaseProcess] = {}

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run_id = context.dagster_run.run_id
        self._running[run_id] = self._processes.Process(target=_execute, args=(run_id,))
        self._running[run_id].start()

    def terminate(self, run_id: str) -> bool:
        process, run = self._running.get(run_id), self._instance.get_run_by_id(run_id)
        if process is None or process.pid is None or run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        os.kill(process.pid, signal.SIGINT)
        process.join(_TERMINATION_TIMEOUT_S)
        left = self._instance.get_run_by_id(run_id)
        if left and not left.is_finished:
            # It was interrupted before it started, so it did not report its cancellation.
            self._instance.report_run_canceled(left)
        return True


def _execute(run_id: str) -> None:
    """Execute a run of the instance in this process."""
    settings = Settings.load()
    with open_instance(settings.home) as instance:
        run = instance.get_run_by_id(run_id)
        assert run
        execute_run(InMemoryJob(build_definitions(settings).resolve_job_def(run.job_name)), run, instance)


@contextmanager
def running_daemon(home: Path) -> Iterator[None]:
    """Run Dagster's daemon on the existing instance of a TAXI_HOME. Its log is `daemon.log` in that folder."""
    folder = dagster_home(home)
    with (home / "daemon.log").open("a") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _DAEMON, "run", "-m", "taxi_assets.definitions"],
            cwd=folder,
            env={**os.environ, "DAGSTER_HOME": str(folder), "PYTHONPATH": str(PROJECT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(daemon.pid, signal.SIGINT)
        try:
            daemon.wait(timeout=30)
        finally:
            # The processes that it started are in its session.
            _end_group(daemon.pid)


def _end_group(group: int) -> None:
    """Kill the remaining processes of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def until(condition: Callable[[], bool], waiting_for: str, timeout_s: float = 120) -> None:
    """Wait until a condition is true. Raises AssertionError with `waiting_for` after the time limit."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {waiting_for}"
        time.sleep(0.25)
