"""A month of trips of one color, and the names of its file, lake object, table and partition.

Not here: the contents of the file (`schema`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

from taxi_assets.errors import UnknownColor, UnknownMonth
from taxi_assets.tlc.schema import LAYOUTS

COLORS: tuple[str, ...] = tuple(LAYOUTS)

_MONTH = re.compile(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])")


def trips_table(color: str) -> str:
    """The table of a color in the warehouse and in Postgres, which contains all its months."""
    return f"{color}_taxi_trips"


@dataclass(frozen=True, order=True)
class TripMonth:
    """A color and a month: the unit of work, which the TLC publishes as one file.

    `color` is one of `COLORS`, and `month` is `YYYY-MM`. Raises UnknownMonth for other values, and UnknownColor, which
    is an UnknownMonth.
    """

    color: str
    month: str

    def __post_init__(self) -> None:
        if self.color not in COLORS:
            raise _not_a_color(self.color)
        require_month(self.month)

    def __str__(self) -> str:
        return f"{self.color} {self.month}"

    @property
    def facts(self) -> dict[str, str]:
        """The color and the month by name, for the facts of an error."""
        return {"color": self.color, "month": self.month}

    @property
    def first_day(self) -> date:
        """The first day of the month, which is the value of the column `file_month`."""
        return date.fromisoformat(f"{self.month}-01")

    @property
    def end(self) -> date:
        """The first day of the next month."""
        return date.fromisoformat(f"{next_month(self.month)}-01")

    @property
    def stem(self) -> str:
        """The TLC file name without a suffix, such as `yellow_tripdata_2021-01`."""
        return f"{self.color}_tripdata_{self.month}"

    @property
    def object_name(self) -> str:
        """The name of the object in the lake, the same as in the Data Engineering Zoomcamp course."""
        return f"data/{self.color}/{self.stem}.parquet"

    @property
    def table(self) -> str:
        """The table in the warehouse and in Postgres, which contains all months of this color."""
        return trips_table(self.color)

    @property
    def month_id(self) -> str:
        """The month as six digits, such as `202101`: the partition ID in BigQuery."""
        return self.month.replace("-", "")


def require_month(text: str) -> str:
    """Return `text` if it is a valid month (`YYYY-MM`). Raises UnknownMonth."""
    if not _MONTH.fullmatch(text):
        raise _not_a_month(text)
    return text


def next_month(month: str) -> str:
    """The month after `month`, both `YYYY-MM`."""
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


def months_before(month: str, count: int) -> tuple[str, ...]:
    """The `count` months before `month`, in chronological order, as `YYYY-MM`."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1
    return tuple(f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(number - count, number))


def parse_months(text: str, first: str = "", last: str = "") -> tuple[str, ...]:
    """Parse the value of `--months` into unique months (`YYYY-MM`) in chronological order.

    The value is a comma-separated list of months (`2021-01`, `2021-1`), years (`2021`) and ranges of them
    (`2020-03..2020-07`, `2020-03..07`, `2019..2021`). An open-ended range starts at `first` or ends at `last`, both
    `YYYY-MM`.

    Raises UnknownMonth for anything else, and for a range that ends before it starts.
    """
    months: set[str] = set()
    for part in _split(text):
        start, dots, end = (end.strip() for end in part.partition(".."))
        if not dots:
            months.update(_range(*_span(part)))
        elif (start or first) and (end or last) and (start or end):
            from_, to = _span(start)[0] if start else first, _span(_in_year(end, start))[1] if end else last
            if not (start and end) and to < from_:
                raise UnknownMonth(
                    f'"{part}" contains no month. The first month is {first}, and the last is {last}.',
                    seen=part,
                    first=first,
                    last=last,
                )
            months.update(_range(from_, to))
        else:
            raise UnknownMonth(f'"{part}" is not a range of months. Expected a start and an end.', seen=part)
    if not months:
        raise UnknownMonth(f'"{text}" contains no month.', seen=text)
    return tuple(sorted(months))


def in_years(years: str, months: str) -> str:
    """Return the value for `parse_months` of numbered months (`4`, `4,5`, `4..6`) in years (`2020`, `2019..2021`).

    Without months, it is the whole years. Raises UnknownMonth for a value of another form.
    """
    for part in _split(years):
        if not re.fullmatch(r"[0-9]{4}(\s*\.\.\s*[0-9]{4})?", part):
            raise UnknownMonth(f'"{part}" is not a year. Expected a year, such as 2020, or 2019..2021.', seen=part)
    numbers = _split(months)
    for part in numbers:
        if not re.fullmatch(r"[0-9]{1,2}(\s*\.\.\s*[0-9]{1,2})?", part):
            raise UnknownMonth(
                f'"{part}" is not a month in the year {years}. Expected numbers from 1 to 12, such as 4 or 4..6.',
                seen=part,
            )
    each_year = sorted({month[:4] for month in parse_months(years)})
    return ",".join(f"{year}-{part}" for year in each_year for part in numbers) if numbers else years


def parse_colors(values: Iterable[str]) -> tuple[str, ...]:
    """Parse colors into unique colors: comma-separated names in any letter case, or `all`.

    Raises UnknownColor for an unknown color, and for a value without any color.
    """
    given, colors = list(values), dict[str, None]()
    text = ",".join(given)
    for name in _split(text.lower()):
        if name != "all" and name not in COLORS:
            raise _not_a_color(name)
        colors |= dict.fromkeys(COLORS if name == "all" else [name])
    if given and not colors:
        raise UnknownColor(f'"{text}" contains no color.', seen=text)
    return tuple(colors)


def format_months(months: Iterable[str]) -> str:
    """Format months for `--months`, with consecutive months as ranges, such as `2020-03..2020-05,2020-12`."""
    ranges: list[list[str]] = []
    for month in sorted(months):
        if ranges and next_month(ranges[-1][-1]) == month:
            ranges[-1].append(month)
        else:
            ranges.append([month])
    return ",".join(part[0] if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in ranges)


def months_by_color(months: Iterable[TripMonth]) -> dict[str, list[str]]:
    """Group months by color, and keep the order of colors and months."""
    colors: dict[str, list[str]] = {}
    for month in months:
        colors.setdefault(month.color, []).append(month.month)
    return colors


def format_by_color(months: Iterable[TripMonth]) -> str:
    """Format months of several colors, such as `yellow 2021-08..2021-10, fhv 2020-01`."""
    return ", ".join(f"{color} {format_months(these)}" for color, these in months_by_color(months).items())


def _split(text: str) -> list[str]:
    """Return the parts of a comma-separated list, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _not_a_color(text: str) -> UnknownColor:
    nearest = get_close_matches(text, COLORS, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return UnknownColor(
        f'"{text}" is not a color of taxi trips.{hint}', seen=text, expected=", ".join(nearest or COLORS)
    )


def _not_a_month(text: str) -> UnknownMonth:
    hint = next((hint for form, hint in _ALMOST_MONTHS.items() if re.fullmatch(form, text)), "")
    return UnknownMonth(f'"{text}" is not a valid month.{hint}', seen=text)


_ALMOST_MONTHS = {r"[0-9]{4}-[0-9]{1,2}": " Months are 01 to 12.", r"[0-9]{1,2}": " It has no year."}
"""What is wrong with values that look like months."""


def _span(text: str) -> tuple[str, str]:
    """The first and last month of a month or year."""
    if re.fullmatch(r"[1-9][0-9]{3}", text):
        return f"{text}-01", f"{text}-12"
    year, dash, number = text.partition("-")
    month = require_month(f"{year}-{number:0>2}" if dash and number else text)
    return month, month


def _in_year(end: str, start: str) -> str:
    """Add the year of the start to the end of a range such as `2020-03..07`."""
    return f"{start[:4]}-{end}" if re.fullmatch(r"[0-9]{1,2}", end) and "-" in start else end


def _range(first: str, last: str) -> list[str]:
    if last < first:
        seen = f"{first}..{last}"
        raise UnknownMonth(f'The range "{seen}" ends before it starts.', seen=seen)
    months = [first]
    while months[-1] < last:
        months.append(next_month(months[-1]))
    return months
