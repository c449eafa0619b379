"""The check `newest_month_loaded`: the newest month that the source has is in the color's warehouse table.

It is the only check that is not partitioned. The color's schedule evaluates it on each tick, and so does a load that is
launched from the UI. After a failure, the check passes as soon as the missing month is loaded.

Not here: the checks of each month (`checks`).
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from taxi_assets.errors import BadFile, StoreError
from taxi_assets.graph import NEWEST_MONTH_LOADED
from taxi_assets.instance.partition_status import MonthStatus, read_history
from taxi_assets.keys import asset_key
from taxi_assets.partitions import recent_months, source_colors
from taxi_assets.settings import Settings
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.trips import TripMonth


def build_newest_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the check `newest_month_loaded` of each color's warehouse table."""
    return [_build(settings, color) for color in source_colors(settings)]


def _build(settings: Settings, color: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(color, "warehouse_trips"),
        name=NEWEST_MONTH_LOADED,
        description="The newest month that the source has, among the last TAXI_LOOKBACK_MONTHS, is in the warehouse. "
        "The color's schedule evaluates this check on each tick. After a failure, it passes as soon as the missing "
        "month is loaded.",
    )
    def newest_month_loaded(
        context: dg.AssetCheckExecutionContext, source: dg.ResourceParam[Source]
    ) -> dg.AssetCheckResult:
        months = recent_months(settings, color, datetime.now(UTC))
        try:
            published = published_months(source, months)
        except StoreError as error:
            # Dagster also evaluates this check after a load from the UI, which may not need the source. Only warn.
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=error.explain())
        found = judge_newest(color, published, read_history(context.instance, settings))
        return dg.AssetCheckResult(passed=found.passed, severity=found.severity, metadata=found.metadata)

    return newest_month_loaded


def published_months(source: Source, months: Iterable[TripMonth]) -> list[TripMonth]:
    """Return the newest of these months that the source has, as a list with one month or none.

    Raises StoreError if the source cannot be reached.
    """
    for month in sorted(months, reverse=True):
        try:
            if source.current_version(month):
                return [month]
        except BadFile:
            continue
    return []


def judge_newest(
    color: str, published: Iterable[TripMonth], histories: Iterable[MonthStatus]
) -> dg.AssetCheckEvaluation:
    """Evaluate whether the newest of these published months of a color is in the warehouse.

    The check passes if no month is published.
    """
    newest = max(published, default=None)
    loaded = {history.month for history in histories if "warehouse_trips" in history.rows}
    return _evaluation(color, newest.month if newest else _NONE, passed=newest is None or newest in loaded)


def report_loaded(instance: dg.DagsterInstance, month: TripMonth) -> None:
    """Report the check as passed if its last evaluation failed because this month, now loaded, was missing.

    A schedule evaluates the check before the runs that it requests, and its next tick may be a month away.
    """
    key = dg.AssetCheckKey(asset_key(month.color, "warehouse_trips"), NEWEST_MONTH_LOADED)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=_RECORDS_READ)
    evaluations = (record.evaluation for record in records)
    # The record of a planned evaluation, such as that of this run in the UI, has an event of another type.
    last = next((found for found in evaluations if isinstance(found, dg.AssetCheckEvaluation)), None)
    if last and not last.passed and last.metadata.get(_NEWEST) == dg.MetadataValue.text(month.month):
        instance.report_runless_asset_event(_evaluation(month.color, month.month, passed=True))


_RECORDS_READ = 10
"""Number of records to search for the last evaluation: a run that was only planned has a record without one."""


def _evaluation(color: str, newest: str, *, passed: bool) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(color, "warehouse_trips"),
        check_name=NEWEST_MONTH_LOADED,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={_NEWEST: newest},
    )


_NEWEST, _NONE = "newest_published_month", "none of the recent months"
