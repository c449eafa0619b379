"""The partitions of each color: the months that its source has, or can have by now, each under its key `YYYY-MM`."""

from datetime import datetime

import dagster as dg

from taxi_assets.errors import UnknownMonth
from taxi_assets.settings import Settings
from taxi_assets.stores.source import Source
from taxi_assets.tlc.trips import TripMonth, next_month

TIMEZONE = "America/New_York"

_PUBLICATION_LAG = 1
"""Whole months after a month before which the TLC never publishes it: companies may file until the end of the next."""


def month_partitions(settings: Settings, color: str) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of a color under these settings.

    From TAXI_FIRST_MONTH, else the first month that the source has, to TAXI_LAST_MONTH, else its last one. A source
    that goes on gets a month once it can be published.
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
    """The first and the last month that a color may have; None where it goes on."""
    first, last = Source(settings.source_url).span(color)
    return settings.first_month or first, settings.last_month or last


def month_of(asset: dg.AssetKey, key: str) -> TripMonth:
    """The month that a partition of an asset of a color stands for. Raises UnknownMonth."""
    return TripMonth(asset.path[0], key)


def recent_months(settings: Settings, color: str, now: datetime) -> tuple[TripMonth, ...]:
    """The last TAXI_LOOKBACK_MONTHS partitions of a color at a time."""
    keys = month_partitions(settings, color).get_partition_keys(current_time=now)
    return tuple(TripMonth(color, key) for key in keys[-settings.lookback_months :])


def bounds(settings: Settings, color: str) -> tuple[str, str]:
    """The first and the last partition of a color now, both `YYYY-MM`. Raises UnknownMonth where there is none."""
    keys = month_partitions(settings, color).get_partition_keys()
    if not keys:
        first, last = _span(settings, color)
        raise UnknownMonth(
            f"There is no month of {color} to load: partitions would start at {first} (TAXI_FIRST_MONTH) and end at "
            f"{last or 'the last month that can be published by now'} (TAXI_LAST_MONTH). Set TAXI_FIRST_MONTH to an "
            "earlier month, or TAXI_LAST_MONTH to a later one."
        )
    return keys[0], keys[-1]


def describe_partitions(settings: Settings, color: str) -> str:
    """Which months of a color are partitions, for people."""
    first, last = bounds(settings, color)
    return f"The partitions of {color} go from {first} (TAXI_FIRST_MONTH) to {last} (TAXI_LAST_MONTH)"


def why_not_a_partition(settings: Settings, month: TripMonth) -> str:
    """Why a month cannot be loaded: it is not published yet, or not a partition. Empty where it can be."""
    first, last = bounds(settings, month.color)
    if first <= month.month <= last:
        return ""
    if last < month.month <= (settings.last_month or month.month):
        return NOT_PUBLISHED
    return f"not a partition. {describe_partitions(settings, month.color)}"


NOT_PUBLISHED = "not published"
"""Why a month is left out that the source does not have."""
