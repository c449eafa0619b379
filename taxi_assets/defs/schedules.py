"""Schedules, one per color: each checks the source for the recent months and requests runs of those to load.

A month needs loading if it is published and is either not fully loaded or was published again since it was loaded. A
failed month counts as not loaded, so every tick requests it again.

Not here: how the source is queried (`stores.source`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import dagster as dg

from taxi_assets.defs.failed_runs import first_lines, notify
from taxi_assets.defs.newest import judge_newest
from taxi_assets.defs.resources import NotificationsResource
from taxi_assets.defs.source_trips import loaded_months, read_source
from taxi_assets.errors import InvalidSchedule, StoreError
from taxi_assets.graph import job_name
from taxi_assets.instance.downloads import last_fetch
from taxi_assets.instance.partition_status import IN_PROGRESS, PartitionStatus, read_history
from taxi_assets.instance.processes import end_dead_runs
from taxi_assets.instance.tags import ASKED_BY_TAG
from taxi_assets.notifications import Message
from taxi_assets.partitions import TIMEZONE, recent_months, source_colors
from taxi_assets.settings import Settings
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.trips import TripMonth, format_months


@dataclass(frozen=True)
class _MonthCheck:
    """The result of a tick for one month.

    `description` describes it in words. `to_load` is the source version to load, or "" if there is nothing to load.
    `published` is false if the source does not have the month or was not queried.
    """

    month: TripMonth
    description: str
    to_load: str = ""
    published: bool = True


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules, such as `load_yellow`, of the colors that the source has.

    Raises SettingsError if TAXI_SCHEDULE_CRON is not a valid cron expression.
    """
    try:
        return [_schedule(color, settings) for color in source_colors(settings)]
    except dg.DagsterInvalidDefinitionError as error:
        raise InvalidSchedule(f'"{settings.schedule_cron}" is not a cron expression.') from error


def _schedule(color: str, settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=job_name(color),
        job_name=job_name(color),
        cron_schedule=settings.schedule_cron,
        execution_timezone=TIMEZONE,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if settings.schedules == "on" else dg.DefaultScheduleStatus.STOPPED
        ),
        description=_describe(settings, color),
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
        source: dg.ResourceParam[Source],
        notifications: dg.ResourceParam[NotificationsResource],
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            yield from _requests(context, settings, source, color)
        except StoreError as error:
            if settings.alert_urls:
                # Dagster has no sensor for failed ticks.
                text = "\n".join([*first_lines(error.explain()), f"{notifications.ui_url}/automation"])
                notify(notifications, [Message(f"The schedule of {color} failed", text)], context.log)
            raise

    return tick


def _describe(settings: Settings, color: str) -> str:
    """Return what a color's schedule does, when, and which settings change that, in plain text: the UI shows it so."""
    months = "month" if settings.lookback_months == 1 else f"{settings.lookback_months} months"
    return (
        f"Checks the source for the last {months} of {color} (TAXI_LOOKBACK_MONTHS), and requests a run of each month "
        "that is published and not loaded, or that was published again. Skips months that are queued or running. Ticks "
        f"at {settings.schedule_cron} (TAXI_SCHEDULE_CRON), New York time. By default, the schedule is "
        f"{settings.schedules} (TAXI_SCHEDULES). The switch in the UI takes precedence over this setting."
    )


def _requests(
    context: dg.ScheduleEvaluationContext, settings: Settings, source: Source, color: str
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Yield a request for each month that needs loading, or the reason why there is none. Raises StoreError."""
    months = recent_months(settings, color, context.scheduled_execution_time)
    # Otherwise a month whose run process no longer exists would stay in progress forever.
    end_dead_runs(context.instance)
    histories = read_history(context.instance, settings)
    statuses = {history.month: history.status for history in histories}
    findings = [_judge(context.instance, source, month, statuses) for month in months]
    if findings and not any(finding.published or finding.month in statuses for finding in findings):
        source.probe(loaded_months(context.instance, color))
    summary = _summary(findings)
    context.log.info("%s: %s", color, summary)
    published = [finding.month for finding in findings if finding.published]
    context.instance.report_runless_asset_event(judge_newest(color, published, histories))
    wanted = [finding for finding in findings if finding.to_load]
    for finding in wanted:
        yield dg.RunRequest(
            partition_key=finding.month.month,
            # A tick requests each version of a month once. The next tick may request the same version again.
            run_key=f"{finding.month} {finding.to_load}",
            tags={ASKED_BY_TAG: "schedule"},
        )
    if not wanted:
        yield dg.SkipReason(f"Nothing to load for {color}: {summary}. Source: {source.url}")


def _judge(
    instance: dg.DagsterInstance, source: Source, month: TripMonth, statuses: Mapping[TripMonth, PartitionStatus]
) -> _MonthCheck:
    """Return whether and why a month needs loading. Raises StoreError if the source cannot be reached."""
    status = statuses.get(month)
    if status in IN_PROGRESS:
        return _MonthCheck(month, f"already {status}", published=False)
    published = read_source(instance, source, month)
    if isinstance(published, str):
        return _MonthCheck(month, published, published=False)
    if status is not PartitionStatus.loaded:
        return _MonthCheck(month, f"published, {status or 'not loaded'}", published.fingerprint)
    fetched = last_fetch(instance, month)
    if fetched is None or fetched.fingerprint != published.fingerprint:
        return _MonthCheck(month, "published again", published.fingerprint)
    return _MonthCheck(month, "loaded and up to date")


def _summary(findings: Sequence[_MonthCheck]) -> str:
    """Return the findings as text, grouped, such as `2021-05 loaded; 2021-06..2021-07 not published`."""
    if not findings:
        return "no partitions exist yet, see TAXI_FIRST_MONTH"
    by_description = attrgetter("description")
    return "; ".join(
        f"{format_months(finding.month.month for finding in these)} {description}"
        for description, these in groupby(sorted(findings, key=by_description), key=by_description)
    )
