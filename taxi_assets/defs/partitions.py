"""The one partition set, color x month, and the way from a partition key to a `TripMonth`.

A key reads `yellow|2021-01`. It is never split by hand: Dagster orders the dimensions by their names.
"""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._check import CheckError

from taxi_assets.errors import UnknownMonth
from taxi_assets.tlc.trips import COLORS, TripMonth, months_before

COLOR, MONTH = "color", "month"
TIMEZONE = "America/New_York"


def trip_partitions(first_month: str) -> dg.MultiPartitionsDefinition:
    """Every color x every month from `first_month` (`YYYY-MM`) to the last whole one.

    A month can be published once it is over, and the set grows by it then. How late it will be differs from source to
    source: schedules ask, and the set leaves no month out that a source might have.
    """
    return dg.MultiPartitionsDefinition(
        {
            COLOR: dg.StaticPartitionsDefinition(COLORS),
            MONTH: dg.TimeWindowPartitionsDefinition(
                start=first_month, fmt="%Y-%m", cron_schedule="0 0 1 * *", timezone=TIMEZONE
            ),
        }
    )


def partition_key(month: TripMonth) -> dg.MultiPartitionKey:
    """The key of a month's partition."""
    return dg.MultiPartitionKey({COLOR: month.color, MONTH: month.month})


def trip_month(key: str, partitions: dg.PartitionsDefinition[str] | None) -> TripMonth:
    """The month that a partition key of these partitions stands for; the key may be a plain string."""
    if not isinstance(key, dg.MultiPartitionKey) and isinstance(partitions, dg.MultiPartitionsDefinition):
        key = partitions.get_partition_key_from_str(key)
    if not isinstance(key, dg.MultiPartitionKey):
        raise TypeError(f"partition key {key!r} is none of color x month")
    return TripMonth(key.keys_by_dimension[COLOR], key.keys_by_dimension[MONTH])


def read_month(key: str, partitions: dg.MultiPartitionsDefinition) -> TripMonth | None:
    """The month that a key stands for; None where it is none of color x month, such as another project's."""
    try:
        return trip_month(key, partitions)
    except (UnknownMonth, CheckError):
        return None


def recent_months(color: str, now: datetime, lookback: int, first_month: str) -> tuple[TripMonth, ...]:
    """The last `lookback` whole months of a color at a time, none before `first_month`."""
    present = f"{now.astimezone(ZoneInfo(TIMEZONE)):%Y-%m}"
    return tuple(TripMonth(color, month) for month in months_before(present, lookback) if month >= first_month)


def require_partitions(months: Sequence[TripMonth], first_month: str) -> None:
    """Raise UnknownMonth for months that are no partitions: too early, or not over yet."""
    known = set(map(str, trip_partitions(first_month).get_partition_keys()))
    if strange := [str(month) for month in months if str(partition_key(month)) not in known]:
        raise UnknownMonth(f"no partition: {', '.join(strange)}. {said_partitions(first_month)}")


def said_partitions(first_month: str) -> str:
    """Which months are partitions, for people."""
    known = trip_partitions(first_month)
    if not (keys := known.get_partition_keys()):
        return f"TAXI_FIRST_MONTH={first_month} is not over yet"
    last = max(trip_month(key, known).month for key in keys)
    return f"The months go from {first_month} (TAXI_FIRST_MONTH) to {last}, the last whole one"
