"""Failed months are grouped by cause: the same asset, and the same error apart from the month and its numbers."""

import pytest

from taxi_assets.cli.causes import Failed, by_cause, format_selections
from taxi_assets.tlc.trips import TripMonth

MARCH, APRIL, MAY = (TripMonth("green", f"2020-0{month}") for month in (3, 4, 5))
FHV = TripMonth("fhv", "2020-03")


@pytest.mark.parametrize(
    "template",
    [
        "The disk is full. [disk-full]",
        'The file "/data/{color}/{color}_tripdata_{month}.csv.gz" is truncated. [corrupt-file]',
        "{color} {month} was not loaded: gs://bucket/data/{color}/{color}_tripdata_{month}.parquet. [missing-upstream]",
        "12 rows of p.d.{color}_taxi_trips${digits} in 3.5 s: run taxi materialize --color {color} --months {month}",
    ],
)
def test_one_error_of_several_months(template: str) -> None:
    """An error that differs only in the color, the month and its paths is one cause."""
    months = [MARCH, APRIL, FHV]
    (cause,) = by_cause(
        Failed(month, "raw_trips", template.format(**month.facts, digits=month.month_id)) for month in months
    )
    assert [failed.month for failed in cause.failed] == months
    assert cause.title == "green 2020-03..2020-04, fhv 2020-03 failed at raw_trips"


def test_other_numbers_are_the_same_cause() -> None:
    """Counts and sizes may differ between months. The text then says whose they are."""
    (cause,) = by_cause(
        Failed(month, "clean_trips", f"{rows:,} of 57,360 rows were rejected. [too-many-rejects]")
        for month, rows in ((MARCH, 1_234), (APRIL, 99))
    )
    assert cause.text == "For example, green 2020-03: 1,234 of 57,360 rows were rejected. [too-many-rejects]"


def test_the_same_text_is_not_an_example() -> None:
    """If all months have exactly the same error, it is shown as it is."""
    (cause,) = by_cause(Failed(month, "", "The disk is full. [disk-full]") for month in (MARCH, APRIL))
    assert cause.text == "The disk is full. [disk-full]"
    assert cause.title == "green 2020-03..2020-04 failed"


@pytest.mark.parametrize(
    "other",
    [
        Failed(APRIL, "lake_trips", "It failed. [disk-full]"),
        Failed(APRIL, "raw_trips", "It failed. [disk-error]"),
        Failed(APRIL, "raw_trips", "It failed again. [disk-full]"),
        Failed(APRIL, "raw_trips", ""),
    ],
    ids=["asset", "slug", "text", "no text"],
)
def test_different_causes(other: Failed) -> None:
    """Another asset, another slug, or other words are another cause."""
    causes = by_cause([Failed(MARCH, "raw_trips", "It failed. [disk-full]"), other])
    assert [cause.failed for cause in causes] == [[Failed(MARCH, "raw_trips", "It failed. [disk-full]")], [other]]


def test_a_color_within_a_word_is_not_the_color_of_the_month() -> None:
    """Only whole words are taken for the color."""
    for word, other in (("greenish", "fhvish"), ("evergreen", "everfhv")):
        assert len(by_cause([Failed(MARCH, "", word), Failed(FHV, "", other)])) == 2


def test_stopped_months_come_last() -> None:
    """Real errors come before months that somebody stopped or canceled."""
    causes = by_cause(
        [
            Failed(MARCH, "", "The command was stopped."),
            Failed(APRIL, "", "The run was canceled."),
            Failed(MAY, "", "It failed."),
        ]
    )
    assert [cause.first.month for cause in causes] == [MAY, MARCH, APRIL]


@pytest.mark.parametrize(
    ("months", "text"),
    [
        ([], ""),
        ([MARCH], "green 2020-03"),
        ([MARCH, FHV, APRIL], "green 2020-03..2020-04, fhv 2020-03"),
        ([MARCH, FHV], "green,fhv 2020-03"),
        ([MAY, MARCH], "green 2020-03,2020-05"),
    ],
)
def test_months_of_several_colors(months: list[TripMonth], text: str) -> None:
    """Colors with the same months share them."""
    assert format_selections(months) == text
