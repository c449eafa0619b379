"""Explain values that do not parse."""

import pytest

from taxi_assets.tlc.forms import explain_value, has_other_form
from taxi_assets.tlc.schema import Kind


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *((value, "spreadsheet") for value in ("4/1/2020 0:12", "04/01/2020 00:12:33", "4/1/20 0:12", "4/1/2020")),
        *((value, "spreadsheet") for value in ("4/1/2020 12:12:00 AM", "01.04.2020 00:12", "1.4.20 0:12", "12:33.0")),
        *(
            (value, "spreadsheet")
            for value in ("01-04-2020 00:12", "2020/4/1 0:12", "43922.00833", "43922,01", "43922")
        ),
        ("1585699953", " seconds since 1970"),
        ("1585699953.5", " seconds since 1970"),
        ("1585699953000", "milliseconds since 1970"),
        ("1585699953000000", "microseconds since 1970"),
        ("1585699953000000000", "nanoseconds since 1970"),
        *((f"2020-04-01T00:12:00{zone}", "time zone") for zone in ("Z", "+00:00", "-0400", ".000Z", "+02")),
        ("2020-04-01 00:12:00 UTC", "time zone"),
        *((value, "no separators") for value in ("20200401 001200", "20200401001200", "20200401T0012Z")),
        ("2020-04-01 12:12:00 AM", "AM or PM"),
        *(
            (value, "too large")
            for value in ("2020-4-1 00:12:00", "2020-04-01 0:12", "2020-04-01 24:00:00", "2020-13-01")
        ),
        *((value, "letters") for value in ("1-Apr-2020 00:12", "April 1, 2020", "noon")),
    ],
)
def test_form_of_a_timestamp(value: str, meaning: str) -> None:
    """The explanation has the expected form, the value, and what its form suggests, also if it is in quotes."""
    for written in (value, f' "{value}" '):
        explained = explain_value(Kind.timestamp, written)
        for expected in ("YYYY-MM-DD HH:MM:SS", '"2020-04-01 00:12:00"', f'"{value}"', meaning):
            assert expected in explained
        assert ("spreadsheet" in explained) == (meaning == "spreadsheet")


@pytest.mark.parametrize("value", ["", "?", "2020"])
def test_unknown_form_of_a_timestamp(value: str) -> None:
    """Without a known form, the explanation has only the expected form."""
    assert explain_value(Kind.timestamp, value).endswith('such as "2020-04-01 00:12:00".')


def test_form_of_a_number() -> None:
    """A decimal comma is explained. Other values of other kinds are not."""
    assert '"10,5" has a comma' in explain_value(Kind.decimal, "10,5")
    assert '"1,0" has a comma' in explain_value(Kind.integer, "1,0")
    for kind, value in ((Kind.decimal, "x"), (Kind.integer, "1.5"), (Kind.text, "10,5")):
        assert explain_value(kind, value) == ""


@pytest.mark.parametrize("value", ["4/1/2020 0:12", "2020-04-01T00:12:00Z", "noon"])
def test_another_form(value: str) -> None:
    """Text in another form than the expected one is recognized."""
    assert has_other_form(value)


@pytest.mark.parametrize("value", ["2020-02-30 00:00:00", "2020-02-30", "2020-04-01 25:00", ""])
def test_a_date_that_does_not_exist_has_the_expected_form(value: str) -> None:
    """A missing date, and one that is not in the calendar, is not a date in another form."""
    assert not has_other_form(value)
