"""The names that a month of trips goes by, and what people may write for months."""

from datetime import date

import pytest

from taxi_assets.errors import UnknownMonth
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
    """The error has the word that was given, and the colors that exist."""
    with pytest.raises(UnknownMonth, match=r"Use yellow, green, fhv") as refused:
        TripMonth(color, "2021-01")
    assert f'"{color}" is not a color' in str(refused.value)


@pytest.mark.parametrize(
    "month",
    ["2021-1", "21-01", "202101", "2021-01-01", "2021-01\n", "0000-01", "2021-٠١", "", "January"],  # noqa: RUF001
)
def test_invalid_month_is_refused(month: str) -> None:
    """Only four digits, a dash and 01 to 12 are a month, so that every month has a first day."""
    with pytest.raises(UnknownMonth) as refused:
        TripMonth("yellow", month)
    assert str(refused.value).startswith(f'"{month}" is not a valid month.')


def test_the_error_of_an_invalid_month_has_an_example() -> None:
    """Whoever writes a month in another way reads how to write it."""
    with pytest.raises(UnknownMonth, match=r"Use YYYY-MM, for example 2021-01\."):
        TripMonth("yellow", "January")


@pytest.mark.parametrize("month", ["2021-13", "2021-00"])
def test_month_number_out_of_range_is_refused(month: str) -> None:
    """A month that is written well, with a number that no month has, is refused for its number."""
    with pytest.raises(UnknownMonth, match=f'"{month}" is not a valid month. Months are 01 to 12'):
        TripMonth("yellow", month)


def test_months_are_ordered_by_time_within_a_color() -> None:
    """Sorted months of a color are in the order of the calendar."""
    months = [TripMonth("fhv", month) for month in ("2021-02", "2019-12", "2021-01")]
    assert [month.month for month in sorted(months)] == ["2019-12", "2021-01", "2021-02"]


@pytest.mark.parametrize(("month", "after"), [("2021-01", "2021-02"), ("2021-09", "2021-10"), ("2021-12", "2022-01")])
def test_next_month_follows(month: str, after: str) -> None:
    """The month after December is January of the next year."""
    assert next_month(month) == after


def _year(year: int) -> tuple[str, ...]:
    return tuple(f"{year}-{month:02d}" for month in range(1, 13))


TYPED = [
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
"""Words for months, with the months that they mean wherever the partitions begin and end."""


@pytest.mark.parametrize(("text", "months"), TYPED)
def test_typed_months_become_months_in_order_each_once(text: str, months: tuple[str, ...]) -> None:
    """Months, years and ranges hold both ends; what overlaps or is out of order is put in order."""
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
def test_open_range_goes_to_the_first_or_last_partition(text: str, months: tuple[str, ...]) -> None:
    """A range without an end goes to the last partition, one without a start begins at the first."""
    assert parse_months(text, "2019-01", "2021-07") == months


@pytest.mark.parametrize("text", ["2021-09..", "..2018-12"])
def test_open_range_without_a_partition_is_refused(text: str) -> None:
    """An open range that begins after the last partition, or ends before the first, names both of these."""
    with pytest.raises(UnknownMonth, match=r"The first is 2019-01, the last 2021-07") as refused:
        parse_months(text, "2019-01", "2021-07")
    assert str(refused.value).startswith(f'"{text}"')


@pytest.mark.parametrize("text", ["2020-03..", "..2020-03", ".."])
def test_open_range_is_refused_where_there_are_no_partitions(text: str) -> None:
    """Where nothing says which month is the first and the last, a range needs both ends."""
    with pytest.raises(UnknownMonth, match=r"is not a range of months. Use START..END") as refused:
        parse_months(text)
    assert f'"{text}"' in str(refused.value)


def test_range_without_ends_is_refused() -> None:
    """Two dots alone do not mean every month."""
    with pytest.raises(UnknownMonth, match=r'"\.\." is not a range of months'):
        parse_months("..", "2019-01", "2021-07")


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
def test_invalid_months_are_refused(text: str, quoted: str) -> None:
    """Other words are refused, and the error quotes the part that is wrong."""
    with pytest.raises(UnknownMonth) as refused:
        parse_months(text, "2019-01", "2021-07")
    assert str(refused.value).startswith(f'"{quoted}" is not a valid month.')


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_no_month_at_all_is_refused(text: str) -> None:
    """Commas and blanks alone name no month."""
    with pytest.raises(UnknownMonth, match=r"names no month. Use YYYY-MM"):
        parse_months(text)


@pytest.mark.parametrize("text", ["2020-07..2020-03", "2020-07..03", "2020-7..3"])
def test_range_that_ends_before_it_starts_is_refused(text: str) -> None:
    """A reversed range selects nothing; the error says how to write it."""
    with pytest.raises(UnknownMonth, match=r"2020-07\.\.2020-03 ends before it starts. Use 2020-03\.\.2020-07"):
        parse_months(text)


@pytest.mark.parametrize(
    ("words", "colors"),
    [
        (["green"], ("green",)),
        (["Green,YELLOW"], ("green", "yellow")),
        (["yellow, green"], ("yellow", "green")),
        (["fhv", "yellow"], ("fhv", "yellow")),
        (["green", "GREEN,green"], ("green",)),
        (["all"], COLORS),
        (["All"], COLORS),
        (["fhv,all"], ("fhv", "yellow", "green")),
        (["green,"], ("green",)),
        ([], ()),
    ],
)
def test_typed_colors(words: list[str], colors: tuple[str, ...]) -> None:
    """Colors in any letter case, by commas or several times, or all of them: each once, in the order of the words."""
    assert parse_colors(words) == colors


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("purple", '"purple" is not a color of taxi trips. Use yellow, green, fhv or all.'),
        ("yelow", '"yelow" is not a color of taxi trips. Did you mean yellow?'),
        ("green;fhv", '"green;fhv" is not a color of taxi trips'),
        ("green fhv", '"green fhv" is not a color of taxi trips'),
    ],
)
def test_typed_color_that_does_not_exist_is_refused(word: str, said: str) -> None:
    """The error has the word, and the color that was probably meant, or all of them."""
    with pytest.raises(UnknownMonth) as refused:
        parse_colors(["yellow", word])
    assert said in str(refused.value)


@pytest.mark.parametrize("word", ["", ",", " "])
def test_no_color_at_all_is_refused(word: str) -> None:
    """An empty word would else load nothing, and be called a success."""
    with pytest.raises(UnknownMonth, match=r"names no color. Use yellow, green, fhv or all"):
        parse_colors([word])


@pytest.mark.parametrize(
    ("months", "written"),
    [
        (["2020-03"], "2020-03"),
        (["2020-03", "2020-04"], "2020-03..2020-04"),
        (["2020-12", "2021-01", "2021-02", "2021-05"], "2020-12..2021-02,2021-05"),
    ],
)
def test_months_are_written_as_they_are_read(months: list[str], written: str) -> None:
    """Months that follow each other become a range, across years too; read again, they are the same months."""
    assert format_months(months) == written
    assert list(parse_months(written)) == months


def test_months_of_several_colors_are_written_by_color() -> None:
    """Each color has its months as ranges; the colors keep their order."""
    months = [TripMonth("yellow", month) for month in ("2021-08", "2021-09", "2021-10")]
    assert format_by_color([*months, TripMonth("fhv", "2020-01")]) == "yellow 2021-08..2021-10, fhv 2020-01"
    assert format_by_color([]) == ""
    mixed = [TripMonth("fhv", "2020-02"), TripMonth("green", "2020-01"), TripMonth("fhv", "2020-01")]
    assert months_by_color(mixed) == {"fhv": ["2020-02", "2020-01"], "green": ["2020-01"]}


@pytest.mark.parametrize(
    ("month", "count", "before"),
    [("2021-02", 3, ("2020-11", "2020-12", "2021-01")), ("2021-01", 1, ("2020-12",)), ("2021-12", 0, ())],
)
def test_months_before_a_month(month: str, count: int, before: tuple[str, ...]) -> None:
    """The months that end before another, across years."""
    assert months_before(month, count) == before
