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

from taxi_assets.defs.newest import judge_newest
from taxi_assets.defs.resources import SourceResource
from taxi_assets.defs.source_trips import look
from taxi_assets.errors import SettingsError
from taxi_assets.graph import job_name
from taxi_assets.instance._dagster import is_valid_cron_schedule
from taxi_assets.instance.downloads import remembered
from taxi_assets.instance.partition_status import read_history
from taxi_assets.instance.processes import fail_dead_runs
from taxi_assets.instance.tags import ASKED_BY_TAG
from taxi_assets.news import UNDER_WAY, PartitionStatus
from taxi_assets.partitions import TIMEZONE, recent_months
from taxi_assets.settings import Settings
from taxi_assets.stores.source import Source
from taxi_assets.tlc.trips import COLORS, TripMonth, format_months


@dataclass(frozen=True)
class _Finding:
    """What a tick found out about a month.

    `said` describes it in words. `to_load` is the source version to load, or "" if there is nothing to load.
    `published` is false if the source does not have the month or was not queried.
    """

    month: TripMonth
    said: str
    to_load: str = ""
    published: bool = True


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules `load_yellow`, `load_green`, and `load_fhv` under these settings.

    Raises SettingsError if TAXI_SCHEDULE_CRON is not a valid cron expression.
    """
    if not is_valid_cron_schedule(settings.schedule_cron):
        raise SettingsError(
            f"TAXI_SCHEDULE_CRON={settings.schedule_cron} is no time: expected the five fields of a cron line, minute, "
            "hour, day, month and weekday, such as 0 5 1 * *"
        )
    return [_schedule(color, settings) for color in COLORS]


def _schedule(color: str, settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=job_name(color),
        job_name=job_name(color),
        cron_schedule=settings.schedule_cron,
        execution_timezone=TIMEZONE,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if settings.schedules == "on" else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"Asks the source for the last {settings.lookback_months} months of {color}, and loads those that "
        "are published and not loaded, or were published again since.",
    )
    def tick(context: dg.ScheduleEvaluationContext, source: SourceResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now, opened = context.scheduled_execution_time, source.open()
        months = recent_months(settings, color, now)
        # Otherwise a month whose run process no longer exists would stay in progress forever.
        fail_dead_runs(context.instance)
        histories = read_history(context.instance, settings)
        standings = {history.month: history.standing for history in histories}
        findings = [_judge(context.instance, opened, month, standings) for month in months]
        said = _summary(findings)
        context.log.info("%s: %s", color, said)
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
            yield dg.SkipReason(f"Nothing to load of {color}: {said}. Asked: {opened.url}")

    return tick


def _judge(
    instance: dg.DagsterInstance, source: Source, month: TripMonth, standings: Mapping[TripMonth, PartitionStatus]
) -> _Finding:
    """Return whether and why a month needs loading. Raises StoreError if the source cannot be reached."""
    standing = standings.get(month)
    if standing in UNDER_WAY:
        return _Finding(month, f"{standing} already", published=False)
    published = look(source, month)
    if isinstance(published, str):
        return _Finding(month, published, published=False)
    if standing is not PartitionStatus.loaded:
        return _Finding(month, f"published, {standing or 'not loaded'}", published.fingerprint)
    fetched = remembered(instance, month)
    if fetched is None or fetched.fingerprint != published.fingerprint:
        return _Finding(month, "published again", published.fingerprint)
    return _Finding(month, "loaded, and not published again")


def _summary(findings: Sequence[_Finding]) -> str:
    """Return the findings as text, grouped, such as `2021-05 loaded; 2021-06..2021-07 not published`."""
    if not findings:
        return "there are no partitions yet: see TAXI_FIRST_MONTH"
    by_words = attrgetter("said")
    return "; ".join(
        f"{format_months(finding.month.month for finding in these)} {said}"
        for said, these in groupby(sorted(findings, key=by_words), key=by_words)
    )
