"""The monthly partitions of each color, with keys in the form `YYYY-MM`.

A color has a partition for each month that its source has, or could have published by now. A color that the source
does not have at all, such as fhvhv at the mirror, has none.
"""

from datetime import datetime

import dagster as dg

from taxi_assets.errors import BadFile, NotAPartition, SourceRejected
from taxi_assets.settings import Settings
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.trips import TripMonth, next_month

TIMEZONE = "America/New_York"

_PUBLICATION_LAG = 1
"""The minimum number of full months between the end of a month and its publication by the TLC.

Companies may file their trips until the end of the following month.
"""


def source_colors(settings: Settings) -> tuple[str, ...]:
    """Return the colors that the source has, in the usual order."""
    return Source(settings.source_url).colors


def partition_keys(settings: Settings, color: str) -> list[str]:
    """Return the partition keys (`YYYY-MM`) of a color now, in order; an empty list if the source has no such color."""
    if color not in source_colors(settings):
        return []
    return list(month_partitions(settings, color).get_partition_keys())


def month_partitions(settings: Settings, color: str) -> dg.TimeWindowPartitionsDefinition:
    """Return the partitions of a color of the source under these settings.

    They start at TAXI_FIRST_MONTH (default: the first month of the source) and end at TAXI_LAST_MONTH (default: the
    last month of the source). For a source without a last month, a partition is added as soon as the TLC can publish
    the month.
    """
    first, last = _span(settings, color)
    return dg.MonthlyPartitionsDefinition(
        start_date=first,
        end_date=next_month(last) if last else None,
        fmt="%Y-%m",
        timezone=TIMEZONE,
        end_offset=0 if last else -_PUBLICATION_LAG,
    )


def _span(settings: Settings, color: str) -> tuple[str, str | None]:
    """Return the first and the last possible month of a color. The last is None if the source has no last month."""
    first, last = Source(settings.source_url).span(color)
    return settings.first_month or first, settings.last_month or last


def month_of(asset: dg.AssetKey, key: str) -> TripMonth:
    """Return the month of an asset's partition. Raises UnknownMonth if the key is not a valid month of a color."""
    return TripMonth(asset.path[0], key)


def recent_months(settings: Settings, color: str, now: datetime) -> tuple[TripMonth, ...]:
    """Return the last TAXI_LOOKBACK_MONTHS partitions of a color that exist at the time `now`."""
    keys = month_partitions(settings, color).get_partition_keys(current_time=now)
    return tuple(TripMonth(color, key) for key in keys[-settings.lookback_months :])


def bounds(settings: Settings, color: str) -> tuple[str, str]:
    """Return the first and last partition keys (`YYYY-MM`) of a color now. Raises NotAPartition if there are none."""
    if color not in source_colors(settings):
        raise NotAPartition(f"The source has no {color} trips.", color=color, source=settings.source_url)
    partitions = month_partitions(settings, color)
    # A plan asks for each of hundreds of months, so do not list all keys.
    oldest, newest = partitions.get_first_partition_key(), partitions.get_last_partition_key()
    if oldest is None or newest is None:
        first, last = _span(settings, color)
        end = last or "the last month that the TLC can have published by now"
        raise NotAPartition(
            f"No month of {color} is a partition: the first would be {first}, and the last would be {end}.",
            color=color,
            first=first,
            last=end,
        )
    return oldest, newest


def describe_partitions(settings: Settings, color: str) -> str:
    """Return the range of a color's partitions as text for messages."""
    first, last = bounds(settings, color)
    return f"The partitions of {color} go from {first} (TAXI_FIRST_MONTH) to {last} (TAXI_LAST_MONTH)"


def why_not_a_partition(settings: Settings, month: TripMonth) -> str:
    """Return why a month cannot be loaded (not published, or not a partition), or "" if it can be loaded."""
    if month.color not in source_colors(settings):
        return NOT_PUBLISHED
    first, last = bounds(settings, month.color)
    if first <= month.month <= last:
        return ""
    if last < month.month <= (settings.last_month or month.month):
        return NOT_PUBLISHED
    return f"not a partition. {describe_partitions(settings, month.color)}"


NOT_PUBLISHED = "not published"
"""The reason shown for a skipped month that the source does not have."""


def why_not_available(error: BadFile | SourceRejected | None) -> str:
    """Return why a month cannot be loaded, given the source's error for it. Without an error, it is not published."""
    match error:
        case SourceRejected():
            return f"rejected by the source: {error}"
        case BadFile():
            return f"{NOT_PUBLISHED}: the source has something else at this address ({error})"
        case None:
            return NOT_PUBLISHED
