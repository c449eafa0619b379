"""The processes that execute runs: which process a run claims, whether it is alive, and its exit description.

Not here: opening the instance (`opening`), and why a run failed (`failures`).
"""

import json
import os
import signal
import socket
from collections.abc import Mapping
from functools import lru_cache

import dagster as dg

PROCESS_TAG = ".dagster/taxi_process"
"""The tag with the process that executes a run, as JSON: its host, PID, start time, and the ID of the run.

The run ID is included because a run that is re-executed from the UI inherits the tags of its parent. The prefix
`.dagster/` hides the tag in the UI's list of runs.
"""

Process = Mapping[str, str | int | float]
"""A process as JSON: its host, PID and start time."""

_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_SAME_TIME_S = 5.0
"""The tolerance for a process's start time, in seconds. The reported time can change when the system clock is set."""


def process_tags(run_id: str) -> dict[str, str]:
    """Return the tag that names this process as the one that executes a run."""
    return {PROCESS_TAG: json.dumps({**this_process(), "run": run_id})}


def describe_exit(exit_code: int | None) -> str:
    """Describe how a process or container ended that did not report an error, with a hint about the likely cause.

    For a signal, `exit_code` is either negative, as in Python, or 128 plus the signal, as in shells and containers.
    """
    if exit_code is None:
        return "ended without an error message, often because memory ran out"
    if 0 <= exit_code <= _SIGNAL_BASE:
        return f"ended with status {exit_code}"
    number = -exit_code if exit_code < 0 else exit_code - _SIGNAL_BASE
    hint = ", often because memory ran out" if number == signal.SIGKILL else ""
    return f"was killed (signal {number}){hint}"


_SIGNAL_BASE = 128


def this_process() -> Process:
    """Return the host, the PID and the start time of this process."""
    import psutil

    return {"host": socket.gethostname(), "pid": os.getpid(), "started": round(psutil.Process().create_time(), 2)}


def claim_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with this process, which executes it, unless the run was created with the tag."""
    if not process_tags(run.run_id).items() <= run.tags.items():
        _claim(instance, run.run_id)


@lru_cache(maxsize=1)
def _claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Add the tag. The cache makes sure that this happens once per run, not once per step."""
    instance.add_run_tags(run_id, process_tags(run_id))


def end_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Mark the runs whose process on this host no longer exists as failed, or else as canceled, and return them.

    Nothing else in the system ever ends these runs.
    """
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        process = json.loads(run.tags.get(PROCESS_TAG, "{}"))
        if process.get("run") == run.run_id and process["host"] == socket.gethostname() and not is_alive(process):
            is_canceled = run.status is dg.DagsterRunStatus.CANCELING
            end = instance.report_run_canceled if is_canceled else instance.report_run_failed
            end(run, f"The process that executed this run ({process['pid']}) no longer exists.")
            dead.append(run)
    return dead


def is_alive(process: Process) -> bool:
    """Return whether a process is alive on this host. The start time rules out a new process with the same PID.

    A zombie has ended, even if its parent never asks how.
    """
    import psutil

    if process["host"] != socket.gethostname():
        return False
    try:
        found = psutil.Process(int(process["pid"]))
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(found.create_time() - float(process["started"])) < _SAME_TIME_S
    except psutil.NoSuchProcess:
        return False
