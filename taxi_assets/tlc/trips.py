"""A month of one color's trips, and the names that it goes by: file, object, table, partition.

Not here: what is inside the file (see `schema`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from taxi_assets.errors import UnknownMonth
from taxi_assets.tlc.schema import LAYOUTS

COLORS: tuple[str, ...] = tuple(LAYOUTS)

_MONTH = re.compile(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class TripMonth:
    """One color and one month, the unit of all work here: what the TLC publishes as one file.

    `color` is one of `COLORS`; `month` is `YYYY-MM`. Anything else raises UnknownMonth.
    """

    color: str
    month: str

    def __post_init__(self) -> None:
        if self.color not in COLORS:
            raise UnknownMonth(f"color {self.color!r} is unknown: choose one of {', '.join(COLORS)}")
        require_month(self.month)

    def __str__(self) -> str:
        return f"{self.color} {self.month}"

    @property
    def first_day(self) -> date:
        """The first day of the file's month, the value of the column `file_month`."""
        return date.fromisoformat(f"{self.month}-01")

    @property
    def end(self) -> date:
        """The first day of the month after."""
        return date.fromisoformat(f"{next_month(self.month)}-01")

    @property
    def stem(self) -> str:
        """The TLC's name of the file without a suffix, such as `yellow_tripdata_2021-01`."""
        return f"{self.color}_tripdata_{self.month}"

    @property
    def object_name(self) -> str:
        """The name of the month's object in a lake, the one that the course uses."""
        return f"data/{self.color}/{self.stem}.parquet"

    @property
    def table(self) -> str:
        """The table, of a warehouse and of Postgres, that all months of this color share."""
        return f"{self.color}_taxi_trips"

    @property
    def month_id(self) -> str:
        """The month as six digits, BigQuery's partition id, such as `202101`."""
        return self.month.replace("-", "")


def require_month(text: str) -> str:
    """Give `text` back if it is a month, `YYYY-MM`. Raises UnknownMonth."""
    if not _MONTH.fullmatch(text):
        raise UnknownMonth(f"month {text!r} is no month: write it as YYYY-MM, such as 2021-01")
    return text


def next_month(month: str) -> str:
    """The month after `month`, both `YYYY-MM`."""
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


def months_before(month: str, count: int) -> tuple[str, ...]:
    """The `count` months that end before `month`, in order."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1
    return tuple(f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(number - count, number))


def parse_months(text: str) -> tuple[str, ...]:
    """Read months and ranges of months, such as `2020-03..2020-07,2020-12`: in order, each once.

    Raises UnknownMonth for what is no month and for a range that ends before it starts.
    """
    months: set[str] = set()
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        months.update(_range(require_month(first), require_month(last if dots else first)))
    return tuple(sorted(months))


def format_months(months: Iterable[str]) -> str:
    """Months as `--months` takes them, ranges where they follow each other, such as `2020-03..2020-05,2020-12`."""
    ranges: list[list[str]] = []
    for month in sorted(months):
        if ranges and next_month(ranges[-1][-1]) == month:
            ranges[-1].append(month)
        else:
            ranges.append([month])
    return ",".join(part[0] if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in ranges)


def _range(first: str, last: str) -> list[str]:
    if last < first:
        raise UnknownMonth(f"the range {first}..{last} ends before it starts: write {last}..{first}")
    months = [first]
    while months[-1] < last:
        months.append(next_month(months[-1]))
    return months
