"""The names that a month of trips goes by, and what people may write for months."""

from datetime import date

import pytest

from taxi_assets.errors import UnknownMonth
from taxi_assets.tlc.trips import COLORS, TripMonth, months_before, next_month, parse_months


def test_month_names_its_file_object_table_and_partition() -> None:
    """A month has the TLC's file name, the course's object name, its color's table and BigQuery's partition id."""
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
def test_month_lasts_from_its_first_day_to_the_next_months_first(month: str, first_day: date, end: date) -> None:
    """A month starts on its first day and ends where the next one starts, across the year's end too."""
    trips = TripMonth("green", month)
    assert (trips.first_day, trips.end) == (first_day, end)


def test_colors_are_the_three_of_the_mirror() -> None:
    """Yellow, green and fhv have months here."""
    assert COLORS == ("yellow", "green", "fhv")


@pytest.mark.parametrize("color", ["blue", "Yellow", "yellow ", ""])
def test_unknown_color_is_refused_with_the_known_ones(color: str) -> None:
    """A color that is none is told what the colors are."""
    with pytest.raises(UnknownMonth, match=r"choose one of yellow, green, fhv") as refused:
        TripMonth(color, "2021-01")
    assert repr(color) in str(refused.value)


@pytest.mark.parametrize(
    "month",
    ["2021-13", "2021-00", "2021-1", "21-01", "202101", "2021-01-01", "2021-01\n", "0000-01", "2021-٠١", "", "January"],  # noqa: RUF001
)
def test_what_is_no_month_is_refused_with_an_example(month: str) -> None:
    """Only four digits, a dash and 01 to 12 are a month, so that every month has a first day."""
    with pytest.raises(UnknownMonth, match=r"write it as YYYY-MM, such as 2021-01"):
        TripMonth("yellow", month)


def test_months_are_ordered_by_time_within_a_color() -> None:
    """Sorted months of a color are in the order of the calendar."""
    months = [TripMonth("fhv", month) for month in ("2021-02", "2019-12", "2021-01")]
    assert [month.month for month in sorted(months)] == ["2019-12", "2021-01", "2021-02"]


@pytest.mark.parametrize(("month", "after"), [("2021-01", "2021-02"), ("2021-09", "2021-10"), ("2021-12", "2022-01")])
def test_next_month_follows(month: str, after: str) -> None:
    """The month after December is January of the next year."""
    assert next_month(month) == after


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("2021-01", ("2021-01",)),
        ("2020-03..2020-05,2020-12", ("2020-03", "2020-04", "2020-05", "2020-12")),
        ("2020-11..2021-02", ("2020-11", "2020-12", "2021-01", "2021-02")),
        ("2020-12, 2020-03..2020-03", ("2020-03", "2020-12")),
        ("2020-02..2020-03,2020-01..2020-02,2020-03", ("2020-01", "2020-02", "2020-03")),
    ],
)
def test_months_and_ranges_become_months_in_order_each_once(text: str, months: tuple[str, ...]) -> None:
    """Ranges hold both ends; what overlaps or is out of order is put right."""
    assert parse_months(text) == months


@pytest.mark.parametrize(
    "text", ["", "2020-03..", "..2020-03", "2020-03,", "2020-01...2020-02", "2020", "2020-01-2020-02"]
)
def test_what_is_no_list_of_months_is_refused(text: str) -> None:
    """An open range, a stray comma and other words are no months."""
    with pytest.raises(UnknownMonth, match="is no month: write it as YYYY-MM"):
        parse_months(text)


def test_range_that_ends_before_it_starts_is_refused_the_right_way_round() -> None:
    """A reversed range selects nothing silently nowhere: the error says how to write it."""
    with pytest.raises(UnknownMonth, match=r"2020-07\.\.2020-03 ends before it starts: write 2020-03\.\.2020-07"):
        parse_months("2020-07..2020-03")


@pytest.mark.parametrize(
    ("month", "count", "before"),
    [("2021-02", 3, ("2020-11", "2020-12", "2021-01")), ("2021-01", 1, ("2020-12",)), ("2021-12", 0, ())],
)
def test_months_before_a_month(month: str, count: int, before: tuple[str, ...]) -> None:
    """The months that end before another, across years."""
    assert months_before(month, count) == before
