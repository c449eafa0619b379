"""Alerts about failed runs: which runs to notify about, and the message.

A sensor sends the message, or the command that executed the run.
Not here: alerts about backfills (`finished_backfills`), and how messages are delivered (`stores.alerts`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from taxi_assets.defs.resources import AlertsResource
from taxi_assets.defs.retries import will_be_retried
from taxi_assets.errors import StoreError
from taxi_assets.graph import run_colors
from taxi_assets.instance._dagster import PARENT_RUN_ID_TAG, RETRY_NUMBER_TAG
from taxi_assets.instance.failures import Failure, read_failures
from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.partition_status import months_of
from taxi_assets.instance.processes import lives
from taxi_assets.instance.tags import ALERT_TAG, ASKED_BY_TAG, TOLD
from taxi_assets.news import ProgressEvent
from taxi_assets.settings import Settings
from taxi_assets.stores.alerts import Channels, Message

INTERVAL_S = 10
"""The interval between sensor ticks, in seconds. A tick with nothing to report costs one or two queries."""

_LINES, _LETTERS = 5, 800
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
        """Return the alert message, with a link to the run if it has an ID."""
        at = f" at {self.failure.asset}" if self.failure.asset else ""
        tries = f", failed {self.tries} times" if self.tries > 1 else ""
        link = [f"{ui_url}/runs/{self.run_id}"] if self.run_id else []
        lines = [*first_lines(self.failure.error), f"Asked for by {self.asked_by}{tries}", *link]
        return Message(f"{self.what} failed{at}", "\n".join(lines))


def first_lines(error: str) -> list[str]:
    """Return the first non-empty lines of an error, followed by "..." if it is truncated."""
    lines = [line.rstrip() for line in error.splitlines() if line.strip()]
    told = "\n".join(lines[:_LINES])
    more = len(lines) > _LINES or len(told) > _LETTERS
    return [*told[:_LETTERS].splitlines(), *(["..."] if more else [])]


def build_run_alerts() -> dg.SensorDefinition:
    """Return the sensor `alert_failed_runs`."""

    @dg.run_failure_sensor(
        name="alert_failed_runs",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Runs launched by Dagster's own commands do not have a code location.
        monitor_all_code_locations=True,
        description="Notifies TAXI_ALERT_URLS of each run that failed, after its last retry.",
    )
    def tick(context: dg.RunFailureSensorContext, alerts: AlertsResource) -> None:
        run = context.dagster_run
        failure = read_failures(context.instance, [run]).get(run.run_id, Failure())
        if why := _why_not_told(context.instance, run):
            context.log.info("not told of run %s: %s", run.run_id, why)
            return
        failed = FailedRun(
            _what_of(run),
            failure,
            run.run_id,
            run.tags.get(ASKED_BY_TAG, "dagster"),
            int(run.tags.get(RETRY_NUMBER_TAG, 0)) + 1,
        )
        for trouble in send(alerts.open(), [failed.message(alerts.ui_url)]):
            context.log.warning(trouble)

    return tick


def tell_failed_month(settings: Settings, channels: Channels, failed: ProgressEvent) -> list[str]:
    """Notify the channels about a failed month and tag its run as reported.

    Returns an error for each message that could not be sent.
    """
    with open_instance(settings.home) as instance:
        run = instance.get_run_by_id(failed.run_id) if failed.run_id else None
        what = FailedRun(str(failed.month), Failure(failed.asset, failed.error), failed.run_id, "cli")
        troubles = list(send(channels, [what.message(settings.ui_url)]))
        if run:
            instance.add_run_tags(run.run_id, {ALERT_TAG: TOLD})
        return troubles


def send(channels: Channels, messages: Iterable[Message]) -> Iterator[str]:
    """Send messages, and yield an error for each one that could not be sent instead of raising it."""
    for message in messages:
        try:
            channels.send(message)
        except StoreError as error:
            yield f"{message.title}: {error}"


def _what_of(run: dg.DagsterRun) -> str:
    """Return what a run covers as text: its months, or else its assets and checks, or else its job."""
    if months := months_of(run):
        return ", ".join(map(str, months))
    chosen = [*(run.asset_selection or ()), *(run.asset_check_selection or ())]
    return ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name


def _why_not_told(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return why a failed run is not reported, or "" if it is."""
    if not run_colors(run):
        return "it is of another project"
    if will_be_retried(instance, run):
        return "it will be retried"
    # A run re-executed by the UI or the daemon inherits its parent's tags, but no command reports it.
    teller = run.tags.get(ALERT_TAG)
    if teller and PARENT_RUN_ID_TAG not in run.tags and (teller == TOLD or lives(teller)):
        return "the command that ran it tells"
    return ""
