"""The names of a month, and the values of --months and --color."""

from datetime import date

import pytest

from taxi_assets.errors import UnknownColor, UnknownMonth
from taxi_assets.tlc.trips import (
    COLORS,
    TripMonth,
    format_by_color,
    format_months,
    months_before,
    months_by_color,
    next_month,
    parse_colors,
    parse_months,
)


def test_names_of_a_month() -> None:
    """A month has a file name, an object name, a table and a partition ID."""
    month = TripMonth("yellow", "2021-01")
    assert str(month) == "yellow 2021-01"
    assert month.stem == "yellow_tripdata_2021-01"
    assert month.object_name == "data/yellow/yellow_tripdata_2021-01.parquet"
    assert month.table == "yellow_taxi_trips"
    assert month.month_id == "202101"


@pytest.mark.parametrize(
    ("month", "first_day", "end"),
    [
        ("2021-01", date(2021, 1, 1), date(2021, 2, 1)),
        ("2020-11", date(2020, 11, 1), date(2020, 12, 1)),
        ("2019-12", date(2019, 12, 1), date(2020, 1, 1)),
    ],
)
def test_first_day_and_end(month: str, first_day: date, end: date) -> None:
    """A month ends on the first day of the next month, also at the end of a year."""
    trips = TripMonth("green", month)
    assert (trips.first_day, trips.end) == (first_day, end)


def test_colors() -> None:
    """The colors are those of the TLC's files, in the order of its website."""
    assert COLORS == ("yellow", "green", "fhv", "fhvhv")


@pytest.mark.parametrize("color", ["blue", "Yellow", "yellow ", ""])
def test_reject_an_unknown_color(color: str) -> None:
    """The error has the value, and its remedy lists the colors."""
    with pytest.raises(UnknownColor) as error:
        TripMonth(color, "2021-01")
    assert error.value.facts["seen"] == color
    assert str(error.value).startswith(f'"{color}" ')
    assert all(known in error.value.explain() for known in COLORS)


@pytest.mark.parametrize(
    "month",
    ["2021-1", "21-01", "202101", "2021-01-01", "2021-01\n", "0000-01", "2021-٠١", "", "January"],  # noqa: RUF001
)
def test_reject_an_invalid_month(month: str) -> None:
    """Only YYYY-MM in ASCII digits is a month, so that every month has a first day."""
    with pytest.raises(UnknownMonth) as error:
        TripMonth("yellow", month)
    assert (error.type, error.value.facts) == (UnknownMonth, {"seen": month})
    assert str(error.value).startswith(f'"{month}" ')


def test_remedy_of_an_invalid_month_has_an_example() -> None:
    """The remedy shows the format with an example."""
    with pytest.raises(UnknownMonth) as error:
        TripMonth("yellow", "January")
    for example in ("YYYY-MM", "2021-01", "2020-03..2020-07"):
        assert example in error.value.explain()


@pytest.mark.parametrize("month", ["2021-13", "2021-00"])
def test_reject_an_invalid_month_number(month: str) -> None:
    """The error shows the range of months if only the number is invalid."""
    with pytest.raises(UnknownMonth) as error:
        TripMonth("yellow", month)
    for fact in (f'"{month}"', "01", "12"):
        assert fact in str(error.value)


def test_sort_months_by_time() -> None:
    """Sorted months of a color are in chronological order."""
    months = [TripMonth("fhv", month) for month in ("2021-02", "2019-12", "2021-01")]
    assert [month.month for month in sorted(months)] == ["2019-12", "2021-01", "2021-02"]


@pytest.mark.parametrize(("month", "after"), [("2021-01", "2021-02"), ("2021-09", "2021-10"), ("2021-12", "2022-01")])
def test_next_month(month: str, after: str) -> None:
    """The month after December is January of the next year."""
    assert next_month(month) == after


def _year(year: int) -> tuple[str, ...]:
    return tuple(f"{year}-{month:02d}" for month in range(1, 13))


VALUES = [
    ("2021-01", ("2021-01",)),
    ("2020-4", ("2020-04",)),
    ("2020", _year(2020)),
    ("2020-03..2020-05,2020-12", ("2020-03", "2020-04", "2020-05", "2020-12")),
    ("2020-11..2021-02", ("2020-11", "2020-12", "2021-01", "2021-02")),
    ("2020-04..06", ("2020-04", "2020-05", "2020-06")),
    ("2020-4..6", ("2020-04", "2020-05", "2020-06")),
    ("2019..2021", _year(2019) + _year(2020) + _year(2021)),
    ("2019..2020-02", (*_year(2019), "2020-01", "2020-02")),
    ("2019-11..2020", ("2019-11", "2019-12", *_year(2020))),
    ("2020-04, 2020-05", ("2020-04", "2020-05")),
    (" 2020-04 .. 2020-05 ", ("2020-04", "2020-05")),
    ("2020-04,", ("2020-04",)),
    ("2020-12, 2020-03..2020-03", ("2020-03", "2020-12")),
    ("2020-02..2020-03,2020-01..2020-02,2020-03", ("2020-01", "2020-02", "2020-03")),
    ("2020-06,2020", _year(2020)),
]
"""Values of --months, with the months that they select for any partitions."""


@pytest.mark.parametrize(("text", "months"), VALUES)
def test_parse_months(text: str, months: tuple[str, ...]) -> None:
    """Months, years and ranges include both ends. The result is sorted and unique."""
    assert parse_months(text) == months
    assert parse_months(text, "2019-01", "2021-07") == months


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("2021-06..", ("2021-06", "2021-07")),
        ("2021-07..", ("2021-07",)),
        ("..2019-03", ("2019-01", "2019-02", "2019-03")),
        ("2021..", tuple(f"2021-{month:02d}" for month in range(1, 8))),
        ("..2019", _year(2019)),
        ("..2019-02,2021-06..", ("2019-01", "2019-02", "2021-06", "2021-07")),
    ],
)
def test_parse_an_open_ended_range(text: str, months: tuple[str, ...]) -> None:
    """A range without an end ends at the last partition, and one without a start begins at the first."""
    assert parse_months(text, "2019-01", "2021-07") == months


@pytest.mark.parametrize("text", ["2021-09..", "..2018-12"])
def test_reject_an_open_ended_range_without_partitions(text: str) -> None:
    """The error has the first and last partition if the range is before or after them."""
    with pytest.raises(UnknownMonth) as error:
        parse_months(text, "2019-01", "2021-07")
    assert error.value.facts == {"seen": text, "first": "2019-01", "last": "2021-07"}
    assert all(str(fact) in str(error.value) for fact in error.value.facts.values())


@pytest.mark.parametrize("text", ["2020-03..", "..2020-03", ".."])
def test_reject_an_open_ended_range_if_partitions_are_unknown(text: str) -> None:
    """Without partitions, a range needs both ends."""
    with pytest.raises(UnknownMonth) as error:
        parse_months(text)
    assert error.value.facts == {"seen": text}
    assert f'"{text}"' in str(error.value)


def test_reject_a_range_without_ends() -> None:
    """Two dots alone do not mean all months."""
    with pytest.raises(UnknownMonth) as error:
        parse_months("..", "2019-01", "2021-07")
    assert error.value.facts == {"seen": ".."}


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("2020-13", "2020-13"),
        ("2020-00", "2020-00"),
        ("2020-", "2020-"),
        ("-04", "-04"),
        ("20-04", "20-04"),
        ("2020-004", "2020-004"),
        ("0000", "0000"),
        ("2020-01-2020-02", "2020-01-2020-02"),
        ("2020-01...2020-02", ".2020-02"),
        ("2020-01..2020-13", "2020-13"),
        ("2020-01..13", "2020-13"),
        ("2020..06", "06"),
        ("2020-01,January", "January"),
        ("2020 -01", "2020 -01"),
    ],
)
def test_reject_invalid_months(text: str, quoted: str) -> None:
    """The error has the part of the value that is invalid."""
    with pytest.raises(UnknownMonth) as error:
        parse_months(text, "2019-01", "2021-07")
    assert error.value.facts == {"seen": quoted}
    assert str(error.value).startswith(f'"{quoted}" ')


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_reject_a_value_without_months(text: str) -> None:
    """A value of only commas and spaces contains no month."""
    with pytest.raises(UnknownMonth) as error:
        parse_months(text)
    assert error.value.facts == {"seen": text}


@pytest.mark.parametrize("text", ["2020-07..2020-03", "2020-07..03", "2020-7..3"])
def test_reject_a_reversed_range(text: str) -> None:
    """The error has the range with complete months."""
    with pytest.raises(UnknownMonth) as error:
        parse_months(text)
    assert error.value.facts == {"seen": "2020-07..2020-03"}
    assert '"2020-07..2020-03"' in str(error.value)


@pytest.mark.parametrize(
    ("values", "colors"),
    [
        (["green"], ("green",)),
        (["Green,YELLOW"], ("green", "yellow")),
        (["yellow, green"], ("yellow", "green")),
        (["fhv", "yellow"], ("fhv", "yellow")),
        (["green", "GREEN,green"], ("green",)),
        (["all"], COLORS),
        (["All"], COLORS),
        (["fhv,all"], ("fhv", "yellow", "green", "fhvhv")),
        (["green,"], ("green",)),
        ([], ()),
    ],
)
def test_parse_colors(values: list[str], colors: tuple[str, ...]) -> None:
    """Accept colors in any letter case, with commas or repeated, and `all`. The result is unique and in order."""
    assert parse_colors(values) == colors


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("purple", "yellow, green, fhv, fhvhv"),
        ("yelow", "yellow"),
        ("green;fhv", "green"),
        ("green fhv", "green"),
    ],
)
def test_reject_unknown_colors(value: str, expected: str) -> None:
    """The error has the value and the nearest color, or all colors."""
    with pytest.raises(UnknownColor) as error:
        parse_colors(["yellow", value])
    assert error.value.facts == {"seen": value, "expected": expected}
    assert str(error.value).startswith(f'"{value}" ')
    assert expected in error.value.explain()


@pytest.mark.parametrize("value", ["", ",", " "])
def test_reject_a_value_without_colors(value: str) -> None:
    """An empty value is an error, because otherwise nothing would be loaded."""
    with pytest.raises(UnknownColor) as error:
        parse_colors([value])
    assert error.value.facts == {"seen": value}
    assert "yellow, green, fhv, fhvhv, or all" in error.value.explain()


@pytest.mark.parametrize(
    ("months", "text"),
    [
        (["2020-03"], "2020-03"),
        (["2020-03", "2020-04"], "2020-03..2020-04"),
        (["2020-12", "2021-01", "2021-02", "2021-05"], "2020-12..2021-02,2021-05"),
    ],
)
def test_format_months(months: list[str], text: str) -> None:
    """Consecutive months become a range, also across years. Parsing the result returns the same months."""
    assert format_months(months) == text
    assert list(parse_months(text)) == months


def test_format_months_by_color() -> None:
    """Each color has its months as ranges, and the colors keep their order."""
    months = [TripMonth("yellow", month) for month in ("2021-08", "2021-09", "2021-10")]
    assert format_by_color([*months, TripMonth("fhv", "2020-01")]) == "yellow 2021-08..2021-10, fhv 2020-01"
    assert format_by_color([]) == ""
    mixed = [TripMonth("fhv", "2020-02"), TripMonth("green", "2020-01"), TripMonth("fhv", "2020-01")]
    assert months_by_color(mixed) == {"fhv": ["2020-02", "2020-01"], "green": ["2020-01"]}


@pytest.mark.parametrize(
    ("month", "count", "before"),
    [("2021-02", 3, ("2020-11", "2020-12", "2021-01")), ("2021-01", 1, ("2020-12",)), ("2021-12", 0, ())],
)
def test_months_before(month: str, count: int, before: tuple[str, ...]) -> None:
    """Return the preceding months, also across years."""
    assert months_before(month, count) == before
