"""Decide which months a command or backfill loads and which it skips, and why, before any run starts.

Not here: running them (`runs`), and submitting them (`backfills`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TypeAlias

import dagster as dg

from taxi_assets.errors import BadFile, SourceUnreachable, UnknownMonth
from taxi_assets.instance.partition_status import read_history
from taxi_assets.news import UNDER_WAY, MonthStatus, PartitionStatus, Plan
from taxi_assets.partitions import NOT_PUBLISHED, why_not_a_partition
from taxi_assets.settings import Settings
from taxi_assets.stores.download import Version
from taxi_assets.stores.source import Publication
from taxi_assets.systems import open_source
from taxi_assets.tlc.trips import TripMonth

_Answer: TypeAlias = Publication | BadFile | SourceUnreachable | None
"""The published file of a month, None if it is not published, or an error if that is not known."""

_LOOKS_AT_ONCE = 8
"""Concurrent requests to the source. Sequentially, a hundred months would take half a minute."""


class Which(StrEnum):
    """Which of the given months a backfill loads."""

    all = "all"
    missing = "missing"
    failed = "failed"


def plan_backfill(
    settings: Settings, instance: dg.DagsterInstance, months: Sequence[TripMonth], assets: Sequence[str], which: Which
) -> Plan:
    """Plan a backfill: the months to load, newest first, and the months to skip.

    If `assets` includes `raw_trips`, it checks that each month to load is available at the source. Raises
    SettingsError, and StoreError if the source does not respond.
    """
    histories = {history.month: history for history in read_history(instance, settings)}
    plan = Plan()
    possible: list[TripMonth] = []
    # The sort is stable, so it keeps the order of colors within a month.
    for month in sorted(months, key=lambda month: month.month, reverse=True):
        why = why_not_a_partition(settings, month) or _why_not_wanted(histories.get(month), assets, which)
        if why:
            plan.left_out[month] = why
        else:
            possible.append(month)
    for month, published in _ask_source(settings, possible, assets):
        if isinstance(published, SourceUnreachable):
            raise published
        if isinstance(published, BadFile):
            plan.left_out[month] = f"{NOT_PUBLISHED}, something else is in its place ({published})"
        else:
            _add(plan, month, published)
    return plan


def plan_months(settings: Settings, months: Sequence[TripMonth], assets: Sequence[str]) -> Plan:
    """Plan a command that loads months immediately: the months to load, and those to skip as not published.

    A month whose file is not valid, or for which the source does not respond, stays in the plan: its run retries and
    fails without affecting the others. Raises UnknownMonth for a month that is not a partition, SettingsError, and
    StoreError if the source responds for none of the months.
    """
    plan = Plan()
    for month in months:
        why = why_not_a_partition(settings, month)
        if why == NOT_PUBLISHED:
            plan.left_out[month] = why
        elif why:
            raise UnknownMonth(f"{month} is {why}.")
    possible = [month for month in months if month not in plan.left_out]
    answers = dict(_ask_source(settings, possible, assets))
    unanswered = [answer for answer in answers.values() if isinstance(answer, SourceUnreachable)]
    if unanswered and len(unanswered) == len(answers):
        raise unanswered[0]
    for month, published in answers.items():
        if isinstance(published, BadFile | SourceUnreachable):
            plan.wanted[month] = None
        else:
            _add(plan, month, published)
    return plan


def _add(plan: Plan, month: TripMonth, published: Publication | None) -> None:
    if published is None:
        plan.left_out[month] = NOT_PUBLISHED
    else:
        plan.wanted[month] = published.bytes


def _ask_source(
    settings: Settings, months: Sequence[TripMonth], assets: Sequence[str]
) -> Iterator[tuple[TripMonth, _Answer]]:
    """Look up months at the source concurrently. Without `raw_trips` in `assets`, it sends no requests."""
    if "raw_trips" not in assets:
        yield from ((month, _UNASKED) for month in months)
        return
    source = open_source(settings)

    def ask(month: TripMonth) -> _Answer:
        try:
            return source.look(month)
        except (BadFile, SourceUnreachable) as error:
            return error

    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        yield from zip(months, pool.map(ask, months), strict=True)


_UNASKED = Publication(Version(None, None), None)


def _why_not_wanted(history: MonthStatus | None, assets: Sequence[str], which: Which) -> str:
    """Why a backfill skips a month because of its status; empty if the backfill loads it."""
    if history and history.standing in UNDER_WAY:
        return f"{history.standing} already"
    if which is Which.missing and history and all(name in history.rows for name in assets):
        return "loaded already"
    if which is Which.failed and (history is None or history.standing is not PartitionStatus.failed):
        return "not failed"
    return ""
