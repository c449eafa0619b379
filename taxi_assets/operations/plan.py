"""Decide which months a command or backfill loads and which it skips, and why, before any run starts.

Not here: running them (`runs`), and submitting them (`backfills`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from shlex import quote
from typing import TypeAlias

import dagster as dg

from taxi_assets.connections import open_source
from taxi_assets.errors import BadFile, NotAPartition, SourceRejected, SourceUnreachable
from taxi_assets.instance.partition_status import IN_PROGRESS, MonthStatus, PartitionStatus, read_history
from taxi_assets.operations.disk import estimate_disk
from taxi_assets.partitions import NOT_PUBLISHED, why_not_a_partition, why_not_available
from taxi_assets.settings import Settings
from taxi_assets.stores.source.download import Version
from taxi_assets.stores.source.months import Source, SourceVersion
from taxi_assets.tlc.trips import TripMonth, format_by_color

_Lookup: TypeAlias = SourceVersion | BadFile | SourceRejected | SourceUnreachable | None
"""The published file of a month, None if it is not published, or an error if that is not known."""

_CONCURRENT_LOOKUPS = 8
"""Concurrent requests to the source. Sequentially, a hundred months would take half a minute."""


class Which(StrEnum):
    """Which of the given months a backfill loads."""

    all = "all"
    missing = "missing"
    failed = "failed"


@dataclass(frozen=True)
class Plan:
    """The months to load and the months to skip.

    `wanted` maps each month, in load order, to its size at the source in bytes, or None if the size is not known.
    `left_out` maps each skipped month to the reason. `hints` are sentences about files with other names than expected.
    `disk` maps each store that the months are loaded into to the estimated bytes of the months whose size is known.
    """

    wanted: dict[TripMonth, int | None] = field(default_factory=dict)
    left_out: dict[TripMonth, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    disk: dict[str, int] = field(default_factory=dict)


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
        why = why_not_a_partition(settings, month) or _why_skipped(histories.get(month), assets, which)
        if why:
            plan.left_out[month] = why
        else:
            possible.append(month)
    loaded = [month for month, history in histories.items() if "raw_trips" in history.rows]
    source = open_source(settings)
    found = _look_up(source, possible, assets, loaded)
    _require_source(source, found, loaded)
    plan.hints.extend(_find_similar(source, found))
    for month, published in found.items():
        if isinstance(published, SourceUnreachable):
            raise published
        _add(plan, month, published)
    plan.disk.update(estimate_disk(plan.wanted, source.suffix, assets))
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
            raise NotAPartition(f"{month} is {why}.")
    possible = [month for month in months if month not in plan.left_out]
    source = open_source(settings)
    found = _look_up(source, possible, assets)
    unreachable = [error for error in found.values() if isinstance(error, SourceUnreachable)]
    if unreachable and len(unreachable) == len(found):
        raise unreachable[0]
    _require_source(source, found)
    plan.hints.extend(_find_similar(source, found))
    for month, published in found.items():
        if isinstance(published, BadFile | SourceUnreachable):
            plan.wanted[month] = None
        else:
            _add(plan, month, published)
    plan.disk.update(estimate_disk(plan.wanted, source.suffix, assets))
    return plan


def _require_source(source: Source, found: Mapping[TripMonth, _Lookup], loaded: Iterable[TripMonth] = ()) -> None:
    """Raise an error if no month was found and the source has no other month either."""
    if found and all(published is None or isinstance(published, SourceRejected) for published in found.values()):
        source.probe(loaded)


def _add(plan: Plan, month: TripMonth, published: SourceVersion | BadFile | SourceRejected | None) -> None:
    if isinstance(published, SourceVersion):
        plan.wanted[month] = published.bytes
    else:
        plan.left_out[month] = why_not_available(published)


def _find_similar(source: Source, found: Mapping[TripMonth, _Lookup]) -> Iterator[str]:
    """Yield a hint for each group of missing months that the source seems to have under other names."""
    missing = sorted(month for month, published in found.items() if published is None)
    similar = source.find_similar() if missing else {}
    groups: dict[str, list[TripMonth]] = {}
    for month in missing:
        if month in similar:
            groups.setdefault(similar[month].template, []).append(month)
    for template, months in groups.items():
        remedy = f"To read files with such names, run: export TAXI_SOURCE_URL={quote(template)}" if template else ""
        yield f"{format_by_color(months)}: {similar[months[0]]} {remedy}".rstrip()


def _look_up(
    source: Source, months: Sequence[TripMonth], assets: Sequence[str], loaded: Sequence[TripMonth] = ()
) -> dict[TripMonth, _Lookup]:
    """Look up months at the source concurrently, in one request each. Without `raw_trips` in `assets`, it sends none.

    `loaded` are months that were loaded before. Raises SourceForbidden if the source may have months that it rejects.
    """
    if "raw_trips" not in assets:
        return dict.fromkeys(months, _NOT_CHECKED)
    if months:
        source.require_host()

    def look_up(month: TripMonth) -> _Lookup:
        try:
            return source.look_up(month)
        except (BadFile, SourceRejected, SourceUnreachable) as error:
            return error

    with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
        found = dict(zip(months, pool.map(look_up, months), strict=True))
    # A server can start to throttle at any of these requests, so find out only after the last one.
    absent = [
        month
        for month, published in found.items()
        if isinstance(published, SourceRejected) and source.is_absent(month, published, lambda: loaded)
    ]
    return {**found, **dict.fromkeys(absent)}


_NOT_CHECKED = SourceVersion(Version(None, None), None)


def _why_skipped(history: MonthStatus | None, assets: Sequence[str], which: Which) -> str:
    """Why a backfill skips a month because of its status; empty if the backfill loads it."""
    if history and history.status in IN_PROGRESS:
        return f"already {history.status}"
    if which is Which.missing and history and all(name in history.rows for name in assets):
        return "already loaded"
    if which is Which.failed and (history is None or history.status is not PartitionStatus.failed):
        return "not failed"
    return ""
