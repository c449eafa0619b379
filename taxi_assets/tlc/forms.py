"""Explain values that do not parse: what their form suggests, and which form is expected.

Not here: parsing (`parse`).
"""

import re

from taxi_assets.tlc.schema import Kind

TIMESTAMP = "2020-04-01 00:12:00"
"""A timestamp in the form of the TLC's files, for messages."""

_SPREADSHEET = "suggests that a spreadsheet program, such as Excel, saved the file"

_TIMESTAMPS = {
    re.compile(pattern, re.IGNORECASE | re.VERBOSE): meaning
    for pattern, meaning in (
        (r"\d{1,2} [/.-] \d{1,2} [/.-] (\d{4}|\d{2}) (\ .*)?", _SPREADSHEET),  # 4/1/2020 0:12, 01.04.20 00:12
        (r"\d{4} [/.] \d{1,2} [/.] \d{1,2} (\ .*)?", _SPREADSHEET),  # 2020/4/1 0:12
        (r"\d{1,2} : \d{2} \. \d", _SPREADSHEET),  # 12:34.0, only minutes and seconds
        (r"[34]\d{4} ([.,]\d+)?", f"is a number of days since 1900, which {_SPREADSHEET}"),  # 43922.00833
        (r"\d{10} ([.]\d+)?", "looks like a number of seconds since 1970"),
        (r"\d{13}", "looks like a number of milliseconds since 1970"),
        (r"\d{16}", "looks like a number of microseconds since 1970"),
        (r"\d{19}", "looks like a number of nanoseconds since 1970"),
        (
            r"\d{4}-\d\d-\d\d [T\ ] .* (Z | UTC | [+-]\d\d:?(\d\d)?)",
            "has a time zone at its end. Expected New York wall-clock time",
        ),
        (r"\d{8} [T\ ]? \d{4} (\d\d)? Z?", "has no separators"),
        (r"\d{4}-\d\d-\d\d [T\ ] .* \ ? [AP]M", "has AM or PM"),
        (
            r"\d{4}-\d{1,2}-\d{1,2} ([T\ ] \d{1,2} (:\d\d)*)?",
            "has an hour, a day or a month with one digit, or too large",
        ),
        (r".* [a-z]{3} .*", "contains letters"),
    )
}
"""What the form of a timestamp suggests. The first match wins."""

_EXPECTED = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d(\.\d+)?)?)?")

_DECIMAL_COMMA = re.compile(r"-?\d+,\d*")


def has_other_form(timestamp: str) -> bool:
    """Whether a text that is not a timestamp is neither missing nor written as one, such as `2020-02-30 00:00:00`."""
    return bool(timestamp) and not _EXPECTED.fullmatch(timestamp.strip(' "'))


def explain_value(kind: Kind, value: str) -> str:
    """Return sentences with the expected form of a value of this kind, and what its form suggests; or ""."""
    value = value.strip(' "')
    if kind is Kind.timestamp:
        meaning = next((meaning for form, meaning in _TIMESTAMPS.items() if form.fullmatch(value)), "")
        seen = f' "{value}" {meaning}.' if meaning else ""
        return f'Expected timestamps in the form YYYY-MM-DD HH:MM:SS, such as "{TIMESTAMP}".{seen}'
    if kind in (Kind.decimal, Kind.integer) and _DECIMAL_COMMA.fullmatch(value):
        return f'Expected numbers with a decimal point, such as 10.5. "{value}" has a comma.'
    return ""
