"""Alerts of failed runs: which are told, and in which words; by a sensor, or by the command that ran them.

Not here: those of backfills (`backfill_alerts`), and how a message reaches people (`stores.alerts`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, RETRY_NUMBER_TAG

from taxi_assets.defs.graph import run_colors
from taxi_assets.defs.history import Failure, months_of, read_failures
from taxi_assets.defs.instance import lives, open_instance
from taxi_assets.defs.jobs import ALERT_TAG, ASKED_BY_TAG, TOLD
from taxi_assets.defs.resources import AlertsResource
from taxi_assets.defs.retries import will_be_retried
from taxi_assets.errors import StoreError
from taxi_assets.news import RunNews
from taxi_assets.settings import Settings
from taxi_assets.stores.alerts import Channels, Message

INTERVAL_S = 10
"""How often the sensors look, in seconds. A tick without news is a query or two."""

_LINES, _LETTERS = 5, 800
"""What of an error is told: its first lines, of so many letters together."""


@dataclass(frozen=True)
class FailedRun:
    """What is told of a run that failed: of which month, or else which job, who asked for it, and how often it ran."""

    what: str
    failure: Failure
    run_id: str
    asked_by: str
    tries: int = 1

    def message(self, ui_url: str) -> Message:
        """The same in words, with a link to the run, if it has an id."""
        at = f" at {self.failure.station}" if self.failure.station else ""
        tries = f", failed {self.tries} times" if self.tries > 1 else ""
        link = [f"{ui_url}/runs/{self.run_id}"] if self.run_id else []
        lines = [*first_lines(self.failure.error), f"Asked for by {self.asked_by}{tries}", *link]
        return Message(f"{self.what} failed{at}", "\n".join(lines))


def first_lines(error: str) -> list[str]:
    """The first lines of an error, without empty ones; dots where there is more."""
    lines = [line.rstrip() for line in error.splitlines() if line.strip()]
    told = "\n".join(lines[:_LINES])
    more = len(lines) > _LINES or len(told) > _LETTERS
    return [*told[:_LETTERS].splitlines(), *(["..."] if more else [])]


def build_run_alerts() -> dg.SensorDefinition:
    """The sensor `alert_failed_runs`."""

    @dg.run_failure_sensor(
        name="alert_failed_runs",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Runs of Dagster's own commands name no code location.
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


def tell_failed_month(settings: Settings, channels: Channels, failed: RunNews) -> list[str]:
    """Tell of a month that failed, and mark its run as told; what did not get through."""
    with open_instance(settings.home) as instance:
        run = instance.get_run_by_id(failed.run_id) if failed.run_id else None
        what = FailedRun(str(failed.month), Failure(failed.station, failed.error), failed.run_id, "cli")
        troubles = list(send(channels, [what.message(settings.ui_url)]))
        if run:
            instance.add_run_tags(run.run_id, {ALERT_TAG: TOLD})
        return troubles


def send(channels: Channels, messages: Iterable[Message]) -> Iterator[str]:
    """Send messages, and tell which did not get through: whoever sends them goes on."""
    for message in messages:
        try:
            channels.send(message)
        except StoreError as error:
            yield f"{message.title}: {error}"


def _what_of(run: dg.DagsterRun) -> str:
    """What a run is of, for people: its months, or else its assets and checks, or its job."""
    if months := months_of(run):
        return ", ".join(map(str, months))
    chosen = [*(run.asset_selection or ()), *(run.asset_check_selection or ())]
    return ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name


def _why_not_told(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why people are not told of a failed run; empty where they are."""
    if not run_colors(run):
        return "it is of another project"
    if will_be_retried(instance, run):
        return "it will be retried"
    # What the UI or the daemon runs again has its parent's tags, and no command that tells.
    teller = run.tags.get(ALERT_TAG)
    if teller and PARENT_RUN_ID_TAG not in run.tags and (teller == TOLD or lives(teller)):
        return "the command that ran it tells"
    return ""
