"""Which failures of a station are tried again, how often, and after how long; and which runs the daemon runs again.

What may pass by itself is tried again, everything else fails at once. Dagster's own retry policies are not used: under
one, a run that somebody stops is begun again, and every other error too.
Not here: what may pass (`errors`), and the tries of single requests (`stores`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
)

from taxi_assets.errors import MAY_PASS
from taxi_assets.settings import Settings

_TIMES_TAG, _DELAY_TAG = "taxi/retries", "taxi/retry_delay_s"


def retry_tags(settings: Settings) -> dict[str, str]:
    """The tags of an asset's op that say how its work, and that of its IO manager, is tried again."""
    return {_TIMES_TAG: str(settings.retries), _DELAY_TAG: f"{settings.retry_delay_s:g}"}


@contextmanager
def tried_again(step: StepExecutionContext | None) -> Iterator[None]:
    """Let Dagster try the step again, later, where it fails in here at what may pass.

    The error stays as it is the last time, and where nothing runs.
    """
    try:
        yield
    except MAY_PASS as error:
        if step is None:
            raise
        policy, failed = _policy(step.op.tags), step.previous_attempt_count + 1
        if failed > policy.max_retries:
            raise
        pause_s = round(policy.calculate_delay(failed), 1)
        again = dg.RetryRequested(policy.max_retries, pause_s)
        # Dagster gives it no words, and shows them.
        again.args = (f"will be tried again in {pause_s:.0f} s ({failed} of {policy.max_retries})",)
        raise again from error


def _policy(tags: Mapping[str, str]) -> dg.RetryPolicy:
    """Pauses that grow as the tries fail: of 10 s about 10, 30, 70, each give or take 10, so that many do not meet."""
    return dg.RetryPolicy(
        int(tags.get(_TIMES_TAG, 0)), float(tags.get(_DELAY_TAG, 0)), dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS
    )


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the daemon runs a failed run again, or has done so."""
    if AUTO_RETRY_RUN_ID_TAG in run.tags:
        return True
    if WILL_RETRY_TAG in run.tags:
        marked = run.tags[WILL_RETRY_TAG] == "true"
    else:
        # The mark is made a moment after the failure is told.
        reason = run.tags.get(RUN_FAILURE_REASON_TAG)
        marked = instance.run_retries_enabled and auto_reexecution_should_retry_run(
            instance, run, RunFailureReason(reason) if reason else None
        )
    return marked and not _is_left_alone(instance, run)


def _is_left_alone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run is of a backfill that is over, or not there yet: the daemon retries none of those.

    `dagster job backfill` makes its backfill when all runs are queued, and calls it over at once.
    """
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return bool(backfill_id) and (backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES)
