"""Retries of steps: which errors are retried, how often, and after what delay; and which runs the daemon retries.

Only transient errors are retried. All other errors fail the step immediately. A Dagster retry policy on the op would
not do: it also retries steps of a canceled run, and every other error.

Not here: which errors are transient (`errors`), and retries of single requests (`stores`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from taxi_assets.errors import TRANSIENT, TaxiAssetsError
from taxi_assets.instance._dagster import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from taxi_assets.settings import Settings
from taxi_assets.stores.memory import translate_memory_errors

_TIMES_TAG, _DELAY_TAG = "taxi/retries", "taxi/retry_delay_s"


def retry_tags(settings: Settings) -> dict[str, str]:
    """Return the op tags of an asset that configure the retries of its step, including those of its I/O manager."""
    return {_TIMES_TAG: str(settings.retries), _DELAY_TAG: f"{settings.retry_delay_s:g}"}


class Failure(dg.Failure):
    """The failure of a step or of a run. Dagster shows its description first, then its metadata and the traceback."""

    # Python puts the module before the name of an exception, and so would the UI, except for built-in ones.
    __module__ = "builtins"


class RetryRequested(dg.RetryRequested):
    """A request to retry a step. Dagster shows its message first, then the traceback of its cause."""

    __module__ = "builtins"

    def __init__(self, policy: dg.RetryPolicy, failed: int, error: TaxiAssetsError) -> None:
        """Request the retry after the attempt number `failed`, which the error ended."""
        delay_s = round(policy.calculate_delay(failed), 1)
        super().__init__(policy.max_retries, delay_s)
        # Dagster displays the message of this exception but does not set one.
        reason = str(error).partition("\n")[0]
        self.args = (f"retry {failed} of {policy.max_retries} in {delay_s:.0f} s: {reason}",)


@contextmanager
def retry_transient(step: dg.StepExecutionContext | None) -> Iterator[None]:
    """Convert a transient error into a request to retry the step after a delay.

    The error is raised unchanged after the last retry, and outside of a run (`step` is None). Raises RetryRequested.
    """
    try:
        yield
    except TRANSIENT as error:
        if step is None:
            raise
        policy, failed = _policy(step.op.tags), step.previous_attempt_count + 1
        if failed > policy.max_retries:
            raise
        raise RetryRequested(policy, failed, error) from error


@contextmanager
def translate_errors(step: dg.StepExecutionContext | None) -> Iterator[None]:
    """Convert the errors of this project: a transient one into a retry, any other into a Failure with its remedy.

    Outside of a run (`step` is None), errors are raised unchanged. Raises RetryRequested and Failure.
    """
    try:
        with retry_transient(step), translate_memory_errors():
            yield
    except TaxiAssetsError as error:
        if step is None:
            raise
        raise failure(error) from error


def failure(error: TaxiAssetsError) -> Failure:
    """Return the failure of a step or run: the explanation of the error, with its slug and facts as metadata."""
    return Failure(error.explain(), metadata={"error": error.slug, **error.facts}, allow_retries=False)


def _policy(tags: Mapping[str, str]) -> dg.RetryPolicy:
    """Return a policy with exponential backoff and jitter, so that parallel runs do not retry at the same time.

    A delay of 10 s gives delays of about 10, 30, and 70 s, each plus or minus 10 s.
    """
    return dg.RetryPolicy(
        int(tags.get(_TIMES_TAG, 0)), float(tags.get(_DELAY_TAG, 0)), dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS
    )


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the daemon will retry a failed run, or already has."""
    if AUTO_RETRY_RUN_ID_TAG in run.tags:
        return True
    if WILL_RETRY_TAG in run.tags:
        marked = run.tags[WILL_RETRY_TAG] == "true"
    else:
        # Dagster sets the tag shortly after it reports the failure.
        reason = run.tags.get(RUN_FAILURE_REASON_TAG)
        marked = instance.run_retries_enabled and auto_reexecution_should_retry_run(
            instance, run, RunFailureReason(reason) if reason else None
        )
    return marked and not _is_not_retried(instance, run)


def _is_not_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run's backfill has finished or does not exist yet. The daemon does not retry such runs.

    `dagster job backfill` creates its backfill only after all runs are queued, and immediately marks it as completed.
    """
    from taxi_assets.instance._dagster import BULK_ACTION_TERMINAL_STATUSES

    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return bool(backfill_id) and (backfill is None or backfill.status in BULK_ACTION_TERMINAL_STATUSES)
