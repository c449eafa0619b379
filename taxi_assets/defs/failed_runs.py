"""Notifications about failed runs: which runs to report, and the message.

Not here: notifications about backfills (`finished_backfills`), and how messages are delivered (`notifications`).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from taxi_assets.defs.resources import NotificationsResource
from taxi_assets.defs.retries import will_be_retried
from taxi_assets.errors import StoreError
from taxi_assets.instance._dagster import RETRY_NUMBER_TAG
from taxi_assets.instance.failures import Failure, read_failures
from taxi_assets.instance.partition_status import months_of
from taxi_assets.instance.tags import ASKED_BY_TAG
from taxi_assets.keys import is_own_run
from taxi_assets.notifications import Message

INTERVAL_S = 10
"""The interval between sensor ticks, in seconds. A tick with nothing to report costs one or two queries."""

WHEN = (
    f"Ticks every {INTERVAL_S} seconds. By default, the sensor is on. It exists only if TAXI_ALERT_URLS is set. To "
    "turn it off, use the switch in the UI."
)
"""The end of a sensor's description. The UI does not render Markdown there."""

_LINES, _CHARACTERS = 5, 800
"""The maximum number of lines, and of characters in total, of an error in a message."""


@dataclass(frozen=True)
class FailedRun:
    """A failed run to notify about.

    `what` names its months, or else its assets, checks, or job. `asked_by` is who requested the run, and `tries` is the
    number of attempts, including retries.
    """

    what: str
    failure: Failure
    run_id: str
    asked_by: str
    tries: int = 1

    def message(self, ui_url: str) -> Message:
        """Return the message, with a link to the run."""
        at = f" at {self.failure.asset}" if self.failure.asset else ""
        tries = f", failed {self.tries} times" if self.tries > 1 else ""
        lines = [
            *first_lines(self.failure.error),
            f"Requested by {self.asked_by}{tries}",
            f"{ui_url}/runs/{self.run_id}",
        ]
        return Message(f"{self.what} failed{at}", "\n".join(lines))


def first_lines(error: str) -> list[str]:
    """Return the first non-empty lines of an error, followed by "..." if it is truncated."""
    lines = [line.rstrip() for line in error.splitlines() if line.strip()]
    start = "\n".join(lines[:_LINES])
    truncated = len(lines) > _LINES or len(start) > _CHARACTERS
    return [*start[:_CHARACTERS].splitlines(), *(["..."] if truncated else [])]


def build_run_notifications() -> dg.SensorDefinition:
    """Return the sensor `alert_failed_runs`."""

    @dg.run_failure_sensor(
        name="alert_failed_runs",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Runs launched by Dagster's own commands do not have a code location.
        monitor_all_code_locations=True,
        description="Notifies the channels in TAXI_ALERT_URLS of each run of this project that failed, after its last "
        f"retry. {WHEN}",
    )
    def tick(context: dg.RunFailureSensorContext, notifications: dg.ResourceParam[NotificationsResource]) -> None:
        run = context.dagster_run
        failure = read_failures(context.instance, [run]).get(run.run_id, Failure())
        if why := _why_not_reported(context.instance, run, failure):
            context.log.info("run %s is not reported: %s", run.run_id, why)
            return
        failed = FailedRun(
            _what_of(run),
            failure,
            run.run_id,
            run.tags.get(ASKED_BY_TAG, "dagster"),
            int(run.tags.get(RETRY_NUMBER_TAG, 0)) + 1,
        )
        notify(notifications, [failed.message(notifications.ui_url)], context.log)

    return tick


def notify(notifications: NotificationsResource, messages: Iterable[Message], log: logging.Logger) -> None:
    """Send messages, and log a warning for each one that could not be sent instead of raising an error."""
    channels = notifications.open()
    for message in messages:
        try:
            channels.send(message)
        except StoreError as error:
            log.warning("%s: %s", message.title, error.explain())


def _what_of(run: dg.DagsterRun) -> str:
    """Return what a run covers as text: its months, or else its assets and checks, or else its job."""
    if months := months_of(run):
        return ", ".join(map(str, months))
    chosen = [*(run.asset_selection or ()), *(run.asset_check_selection or ())]
    return ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name


def _why_not_reported(instance: dg.DagsterInstance, run: dg.DagsterRun, failure: Failure) -> str:
    """Return why a failed run is not reported, or "" if it is."""
    if not is_own_run(run):
        return "it belongs to another project"
    if will_be_retried(instance, run):
        return "it will be retried"
    if failure.is_canceled:
        return "it was canceled"
    return ""
