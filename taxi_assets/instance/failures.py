"""Why runs failed, for display: the first asset that failed and its error, or how the run's process ended.

Not here: the status of a month (`partition_status`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from taxi_assets import errors
from taxi_assets.instance._dagster import JobFailureData, SerializableErrorInfo
from taxi_assets.instance.events import events_table, reading_event, stored_events
from taxi_assets.instance.processes import describe_exit
from taxi_assets.keys import asset_of_step, split_step
from taxi_assets.stores.memory import is_memory_error, out_of_memory


@dataclass(frozen=True)
class Failure:
    """The first asset that failed in a run, its color, and the error. A field is empty if it is not known.

    `is_canceled` is true for a run that was canceled while it started. Dagster reports it as failed, not as canceled.
    """

    asset: str = ""
    error: str = ""
    color: str = ""
    is_canceled: bool = False


def read_failures(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> dict[str, Failure]:
    """Return where and why each of these runs failed, by run ID. For a killed run, `error` is how its process ended."""
    events = events_table().c
    of_these = events.run_id.in_([run.run_id for run in runs])
    kinds = dg.DagsterEventType.RUN_FAILURE.value, dg.DagsterEventType.RUN_CANCELING.value
    failures, canceled = {}, set()
    for _, stored in stored_events(instance, of_these & events.dagster_event_type.in_(kinds)):
        with reading_event():
            entry = dg.deserialize_value(stored, dg.EventLogEntry)
        if not (event := entry.dagster_event):
            continue
        if event.event_type is dg.DagsterEventType.RUN_CANCELING:
            canceled.add(entry.run_id)
        else:
            # A run that was marked as failed from outside only has a message.
            specific = event.event_specific_data
            data = specific if isinstance(specific, JobFailureData) else JobFailureData(None)
            step = data.first_step_failure_event
            step_key = (step and step.step_key) or ""
            failures[entry.run_id] = Failure(
                asset_of_step(step_key),
                explain(data.error) or _describe_end(instance, entry.run_id, event.message or ""),
                split_step(step_key)[0],
            )
    return failures | {
        run_id: Failure(error=CANCELED, is_canceled=True)
        for run_id in canceled & failures.keys()
        if not failures[run_id].asset
    }


CANCELED = "The run was canceled."
"""The error of a run that was canceled."""


_FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
"""Dagster's message for a run whose process ended without reporting an error."""

_CRASH = re.compile(
    r"Run execution process for \S+ (?:was terminated by signal (\d+)|unexpectedly exited with code (\d+))"
)
"""The code server's message about such a process, in a separate event."""

_CONTAINER = re.compile(r'Container state: .*?"ExitCode": (\d+)')
"""The part of a deployment daemon's message about a stopped container that contains the exit code.

The message contains everything that the Docker engine knows about the container. The exit codes of its health checks
come later.
"""


def _describe_end(instance: dg.DagsterInstance, run_id: str, message: str) -> str:
    """Return how the run's process or container ended if the message does not explain it; else return the message."""
    if state := _CONTAINER.search(message):
        return f"its container {describe_exit(int(state[1]))}"
    return f"its process {describe_exit(_exit_code(instance, run_id))}" if message == _FROM_OUTSIDE else message


def _exit_code(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the exit code of a run's process, negative for a signal, or None if the code server did not report it."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if crash := _CRASH.search((entry.dagster_event and entry.dagster_event.message) or ""):
            signal, code = crash.groups()
            return -int(signal) if signal else int(code)
    return None


def explain(error: SerializableErrorInfo | None) -> str:
    """Return the error message without Dagster's wrapper exceptions, or "" for None.

    The message of an error that this project does not define starts with the name of the error's class.
    """
    # A Failure of this project has the remedy and the slug in its message, its cause does not.
    while error and error.cause and error.cls_name in _WRAPPERS - {"Failure"}:
        error = error.cause
    if error is None:
        return ""
    if is_memory_error(error.cls_name or "", error.message):
        return out_of_memory(error.message.partition(": ")[2].strip()).explain()
    text = error.message.partition(": ")[2].strip()
    if error.cls_name == "DagsterExecutionInterruptedError":
        return "The run was stopped."
    return text if error.cls_name in _WRAPPERS or hasattr(errors, error.cls_name or "") else f"{error.cls_name}: {text}"


_WRAPPERS = {
    "DagsterExecutionHandleOutputError",
    "DagsterExecutionLoadInputError",
    "DagsterExecutionStepExecutionError",
    "DagsterResourceFunctionError",
    "Failure",
    "RetryRequested",
}
