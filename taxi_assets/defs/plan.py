"""Which months a command or a backfill loads, and which it leaves out, and why: before any run is spent on them.

Not here: running them (`runs`), and submitting them (`backfills`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TypeAlias

import dagster as dg

from taxi_assets.defs.history import read_history
from taxi_assets.defs.partitions import NOT_PUBLISHED, why_not_a_partition
from taxi_assets.errors import BadFile, SourceUnreachable, UnknownMonth
from taxi_assets.news import UNDER_WAY, MonthHistory, Plan, Standing
from taxi_assets.settings import Settings
from taxi_assets.stores.download import Version
from taxi_assets.stores.source import Publication
from taxi_assets.systems import open_source
from taxi_assets.tlc.trips import TripMonth

_Answer: TypeAlias = Publication | BadFile | SourceUnreachable | None
"""What the source has of a month, None where it is not published; or why that is not known."""

_LOOKS_AT_ONCE = 8
"""Months that the source is asked for at once: one after another, a hundred would take half a minute."""


class Which(StrEnum):
    """Which of the given months a backfill loads."""

    all = "all"
    missing = "missing"
    failed = "failed"


def plan_backfill(
    settings: Settings, instance: dg.DagsterInstance, months: Sequence[TripMonth], assets: Sequence[str], which: Which
) -> Plan:
    """The months that a backfill loads, the newest first, and those it leaves out.

    It asks the source for each month that it would load, if `raw_trips` is among the assets. Raises SettingsError, and
    StoreError where the source cannot be asked.
    """
    histories = {history.month: history for history in read_history(instance, settings)}
    plan = Plan()
    possible: list[TripMonth] = []
    # The sort keeps the order of the colors within a month.
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
    """The months that a command loads at once, and those it leaves out because they are not published.

    A month that is not a file of trips, or that the source does not answer for, is left to its run, which retries and
    fails alone. Raises UnknownMonth for a month that is not a partition, SettingsError, and StoreError where the source
    answers for none of the months.
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
    """What the source has of each month, several asked for at once; nothing is asked where nothing is downloaded."""
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


def _why_not_wanted(history: MonthHistory | None, assets: Sequence[str], which: Which) -> str:
    """Why a month is left out, judged by what is known of it; empty where it is not."""
    if history and history.standing in UNDER_WAY:
        return f"{history.standing} already"
    if which is Which.missing and history and all(name in history.rows for name in assets):
        return "loaded already"
    if which is Which.failed and (history is None or history.standing is not Standing.failed):
        return "not failed"
    return ""
