"""Which lines are rows, alone and among others, and how their values are parsed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxi_assets.errors import BadHeader
from taxi_assets.tlc import parse
from taxi_assets.tlc.parse import RETRY_LINES, LineParser
from taxi_assets.tlc.raw import Measure, is_blank, measure
from taxi_assets.tlc.rejects import Reject
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.values import NULL_VALUES

YELLOW = (
    b"2,2021-01-05 08:00:00,2021-01-05 08:10:30,1,1.5,1,N,142,43,1,8,3,0.5,2.36,0,0.3,14.16,2.5",
    (
        b"VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
        b"store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
        b"improvement_surcharge,total_amount,congestion_surcharge"
    ),
)
FHV = (
    b"B00021,2021-01-05 08:00:00,2021-01-05 08:10:30,142,43,,B00022",
    b"dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,Affiliated_base_number",
)
GREEN = (
    b"2,2021-01-05 08:00:00,2021-01-05 08:10:30,N,1,43,151,1,1.01,5.5,0.5,0.5,0,0,,0.3,6.8,2,1,0",
    (
        b"VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
        b"passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
        b"improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge"
    ),
)
FHVHV = (
    (
        b"HV0003,B02764,B02764,2021-01-05 07:52:11,2021-01-05 07:59:02,2021-01-05 08:00:00,2021-01-05 08:10:30,142,43,"
        b"1.5,630,11.5,0,0.34,1.02,2.75,,0,8.2,N,N, ,N,N"
    ),
    (
        b"hvfhs_license_num,dispatching_base_num,originating_base_num,request_datetime,on_scene_datetime,"
        b"pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,trip_miles,trip_time,base_passenger_fare,tolls,"
        b"bcf,sales_tax,congestion_surcharge,airport_fee,tips,driver_pay,shared_request_flag,shared_match_flag,"
        b"access_a_ride_flag,wav_request_flag,wav_match_flag"
    ),
)
GOODS = {"yellow": YELLOW, "green": GREEN, "fhv": FHV, "fhvhv": FHVHV}
NAMES = {color: header.decode().split(",") for color, (_, header) in GOODS.items()}
BASES = ["dispatching_base_num", "Affiliated_base_number"]
"""The columns of license numbers of bases: the first and the last column of fhv."""

LICENSES = [*(("fhv", base) for base in BASES), ("fhvhv", "hvfhs_license_num"), ("fhvhv", "originating_base_num")]
"""Columns of license numbers, one of which has codes."""

Row = dict[str, Any]
_at = datetime.fromisoformat


def _line(color: str = "yellow", **values: bytes) -> bytes:
    """Return a valid line with some values replaced by these bytes."""
    line, header = GOODS[color]
    fields = dict(zip(header.decode().split(","), line.split(b","), strict=True))
    assert values.keys() <= fields.keys()
    return b",".join((fields | values).values())


def _parse(
    lines: Sequence[bytes], color: str = "yellow", end: bytes = b"\n", header: bytes | None = None
) -> tuple[list[Row], list[Reject]]:
    """Return the rows and rejects of lines that start at line 2."""
    layout = LAYOUTS[color]
    table, rejects = _join(LineParser(layout, header or GOODS[color][1]), end.join(lines) + end)
    assert table.schema == layout.arrow_schema().remove(len(layout.columns))
    table.validate(full=True)
    return table.to_pylist(), rejects


def _join(parser: LineParser, text: bytes, first_line: int = 2) -> tuple[pa.Table, list[Reject]]:
    """Return the pieces of a parsed text as one table and one list of rejects."""
    pieces = list(parser.parse(text, first_line))
    rows = pa.concat_tables(rows for rows, _ in pieces)
    return rows, [reject for _, rejects in pieces for reject in rejects]


def _value(column: str, written: bytes, color: str = "yellow") -> Any:
    """Return the parsed value of a column in a valid line."""
    rows, rejects = _parse([_line(color, **{column: written})], color)
    assert rejects == []
    [row] = rows
    return row[column]


def _reason(line: bytes, color: str = "yellow") -> str:
    """Return why a line is rejected, and check that its neighbors are rows."""
    good = _line(color)
    rows, rejects = _parse([good, line, good, good], color)
    assert len(rows) == 3
    [reject] = rejects
    assert reject.line == 3
    assert reject.text == line.decode(errors="backslashreplace")
    alone = _parse([line], color)
    assert alone == ([], [Reject(2, reject.reason, reject.text)])
    return reject.reason


FAULTS = [
    b"bad",
    _line() + b",",
    _line(VendorID=b"x"),
    _line(passenger_count=b"1.5"),
    _line(PULocationID=b"9007199254740992"),
    _line(DOLocationID=b"nan"),
    _line(fare_amount=b"inf"),
    _line(fare_amount=b"1e400", congestion_surcharge=b"x"),
    _line(tpep_pickup_datetime=b"01/31/2021 10:00:00 AM"),
    _line(tpep_dropoff_datetime=b"0000-12-31 23:59:59"),
    _line(store_and_fwd_flag=b"\x81"),
    _line(tpep_pickup_datetime=b""),
    _line(store_and_fwd_flag=b"\0"),
    _line(store_and_fwd_flag=b"a\rb"),
    b"\xef\xbb\xbf" + _line(),
    _line(store_and_fwd_flag=b'"N'),
    _line(congestion_surcharge=b'"2.5'),
    b'"',
    _line(store_and_fwd_flag=b'"N,Y"', VendorID=b"x"),
]
"""Invalid lines."""


def _reject_alone(line: bytes) -> tuple[str, str]:
    [(_, [reject])] = LineParser(LAYOUTS["yellow"], YELLOW[1]).parse(line, 2)
    return reject.reason, reject.text


class TestHeader:
    """The header defines the order of the columns."""

    @pytest.mark.parametrize(
        "header",
        [
            FHV[1],
            FHV[1].upper() + b"\r",
            b"\xef\xbb\xbf" + FHV[1],
            b'"' + FHV[1].replace(b",", b'","') + b'"\r',
            b'\xef\xbb\xbf"' + FHV[1].replace(b",", b'" ,"') + b'"',
            FHV[1].replace(b",", b" , ") + b" ",
        ],
    )
    def test_ignore_the_spelling_of_the_header(self, header: bytes) -> None:
        """Letter case, quotes, spaces, a byte order mark and a carriage return do not matter."""
        assert _parse([_line("fhv")], "fhv", header=header) == _parse([_line("fhv")], "fhv")

    @pytest.mark.parametrize("color", GOODS)
    def test_match_columns_by_name(self, color: str) -> None:
        """A file with another column order produces the same table."""
        line, header = (b",".join(reversed(text.split(b","))) for text in GOODS[color])
        assert _parse([line], color, header=header) == _parse([_line(color)], color)
        _, [reject] = _parse([line.replace(b"2021-01-05 08:00:00", b"noon")], color, header=header)
        assert reject.reason == f"{LAYOUTS[color].pickup} is not a timestamp"

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"\0",
            b"\xff\xfeV\0e\0n\0d\0o\0r\0I\0D\0",
            YELLOW[1].replace(b"VendorID", b"VendorID,VendorID"),
            YELLOW[1].replace(b"VendorID", b"Vendor\rID"),
            YELLOW[1].replace(b",", b";"),
            YELLOW[1] + b"\r" + YELLOW[0],
            YELLOW[1] + b",",
            b"<!DOCTYPE html><html>" + b"<p>Not, found</p>" * 60_000,
            b'"' + b"x" * 200_000,
        ],
    )
    def test_reject_an_invalid_header(self, header: bytes) -> None:
        """Any other first line is a BadHeader with a short message."""
        with pytest.raises(BadHeader) as error:
            LineParser(LAYOUTS["yellow"], header)
        assert error.value.facts["color"] == "yellow"
        assert len(str(error.value)) < 1_500
        assert str(error.value).isprintable()


class TestValues:
    """How the values of each column type are parsed."""

    def test_parse_a_line(self) -> None:
        """Parse a line as the TLC publishes it."""
        [row], _ = _parse([_line()])
        assert list(row.values()) == [
            *(2, _at("2021-01-05 08:00:00"), _at("2021-01-05 08:10:30"), 1, 1.5, 1, "N", 142, 43, 1),
            *(8.0, 3.0, 0.5, 2.36, 0.0, 0.3, 14.16, 2.5),
            *[None] * (len(LAYOUTS["yellow"].names) - 18),
        ]

    @pytest.mark.parametrize("color", GOODS)
    @pytest.mark.parametrize("empty", [*(value.encode() for value in NULL_VALUES), b'""', b'"NULL"', b'"\\N"'])
    def test_accept_missing_values(self, color: str, empty: bytes) -> None:
        """A row needs only a pickup time. All other values can be missing, in each spelling of a missing value."""
        names, pickup = LAYOUTS[color].names, LAYOUTS[color].pickup
        written = dict.fromkeys(NAMES[color], empty) | {pickup: b"2021-01-05 08:00:00"}
        rows, rejects = _parse([_line(color, **written)], color)
        assert rejects == []
        assert rows == [dict.fromkeys(names) | {pickup: _at("2021-01-05 08:00:00")}]

    @pytest.mark.parametrize("color", GOODS)
    @pytest.mark.parametrize("empty", [*(value.encode() for value in NULL_VALUES), b'""', b'"N/A"'])
    def test_reject_a_missing_pickup_time(self, color: str, empty: bytes) -> None:
        """A row without a pickup time is rejected, also if all its values are written as missing ones."""
        pickup = LAYOUTS[color].pickup
        assert _reason(_line(color, **{pickup: empty}), color) == f"{pickup} is missing"
        if empty.strip(b'"'):
            line = b",".join([empty] * len(NAMES[color]))
            assert _reason(line, color) == f"{pickup} is missing"

    @pytest.mark.parametrize("color", GOODS)
    def test_accept_a_missing_dropoff_time(self, color: str) -> None:
        """A row without a dropoff time is valid."""
        assert _value(LAYOUTS[color].dropoff, b"", color) is None
        assert _value(LAYOUTS[color].dropoff, b"NULL", color) is None

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b"1", 1),
            (b"1.0", 1),
            (b"108.0", 108),
            (b"0", 0),
            (b"-3", -3),
            (b'"5"', 5),
            (b"", None),
            (b"9007199254740991", 2**53 - 1),
            (b"-9007199254740991.0", 1 - 2**53),
        ],
    )
    def test_parse_integers(self, written: bytes, value: int | None) -> None:
        """Integers may be written as decimals without a fraction, and are exact."""
        read = _value("passenger_count", written)
        assert read == value
        assert type(read) is type(value)

    @pytest.mark.parametrize(
        "written",
        [
            *(b"1.5", b"1e30", b"-1e30", b"1e400", b"nan", b"NaN", b"inf", b"-inf", b"N", b"1 2", b"0x10", b"-", b" "),
            *(
                b"9007199254740992",
                b"9007199254740993",
                b"9007199254740994",
                b"-9007199254740993",
                b"null",
                b"NULL ",
                b"n/a",
                b"\xd9\xa1",
                b"1\xa0",
            ),
            *(b'"1,0"', b"1;0"),
        ],
    )
    def test_reject_invalid_integers(self, written: bytes) -> None:
        """Fractions, values that are not finite or not exact, and text are rejected with the column name."""
        assert _reason(_line(passenger_count=written)) == "passenger_count is not an integer"

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b".58", 0.58),
            (b"-.5", -0.5),
            (b"12", 12.0),
            (b"-52.30", -52.3),
            (b"205654.12", 205654.12),
            (b"1e3", 1000.0),
            (b"1.7e308", 1.7e308),
            (b"", None),
        ],
    )
    def test_parse_decimals(self, written: bytes, value: float | None) -> None:
        """Decimals may start with the decimal point. Negative and implausible values are valid."""
        assert _value("fare_amount", written) == value

    @pytest.mark.parametrize("written", [b"nan", b"inf", b"-inf", b"1e400", b"1.2.3", b"$5", b'"1,234.5"', b".", b"N"])
    def test_reject_invalid_decimals(self, written: bytes) -> None:
        """Text and values that are not finite are rejected with the column name."""
        assert _reason(_line(fare_amount=written)) == "fare_amount is not a decimal number"

    def test_accept_decimals_whose_sum_is_not_finite(self) -> None:
        """Each value is checked on its own, not the sum of the column."""
        rows, rejects = _parse([_line(fare_amount=b"1.7e308")] * 9 + [_line(fare_amount=b"-1.7e308")] * 9)
        assert [row["fare_amount"] for row in rows] == [1.7e308] * 9 + [-1.7e308] * 9
        assert rejects == []

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b"2021-01-31 23:59:59", "2021-01-31 23:59:59"),
            (b"2020-04-24 08:20:17.000000", "2020-04-24 08:20:17"),
            (b"2020-04-24 08:20:17.5", "2020-04-24 08:20:17.500000"),
            (b"2020-04-24 08:20:17.000001", "2020-04-24 08:20:17.000001"),
            (b'"2020-02-29 00:00:00"', "2020-02-29 00:00:00"),
            (b"2021-03-14 02:30:00", "2021-03-14 02:30:00"),
            (b"0001-01-01 00:00:00", "0001-01-01 00:00:00"),
            (b"9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ],
    )
    def test_parse_timestamps(self, written: bytes, value: str) -> None:
        """Times are wall-clock times with or without fractions. Hours skipped by daylight saving time are valid."""
        assert _value("tpep_pickup_datetime", written) == _at(value)

    @pytest.mark.parametrize(
        "written",
        [
            *(b"2021-02-29 00:00:00", b"2021-02-30 00:00:00", b"2021-13-01 00:00:00", b"2021-01-01 24:00:00"),
            *(
                b"2021-01-01 00:00:60",
                b"01/31/2021 10:00:00 AM",
                b"31.01.2021 10:00",
                b"20210131 100000",
                b"1609459200",
            ),
            *(b"2021-01-01 00:00:00Z", b"2021-01-01 00:00:00-05:00", b"2021-01-01 00:00:00.1234567", b"0", b"null"),
            *(b"0000-12-31 23:59:59", b"10000-01-01 00:00:00", b"2021-1-1 00:00:00", b"2021-01-01 00:00:00 UTC"),
        ],
    )
    def test_reject_invalid_timestamps(self, written: bytes) -> None:
        """Invalid dates, time zones and other formats are rejected with the column name."""
        assert _reason(_line(tpep_dropoff_datetime=written)) == "tpep_dropoff_datetime is not a timestamp"

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b" x ", " x "),
            (b'"B1,B2"', "B1,B2"),
            (b'"the ""A"" base"', 'the "A" base'),
            (b'","', ","),
            (b'""""', '"'),
            (b"null", "null"),
            (b"NULL ", None),
            (b" ", None),
            (b'"  "', None),
            (b"nan", "nan"),
            (b"1", "1"),
            (b'a"b', 'a"b'),
            (b'6" x 4"', '6" x 4"'),
            ("Peña 出租車 🚕".encode(), "Peña 出租車 🚕"),
            (b'""', None),
        ],
    )
    @pytest.mark.parametrize("color", ["yellow", "green"])
    def test_parse_text(self, color: str, written: bytes, value: str | None) -> None:
        """Text is unchanged. Enclosing quotes are removed; commas and doubled quotes inside them are kept.

        A code that is blank, or a missing value with spaces around it, is missing.
        """
        assert _value("store_and_fwd_flag", written, color) == value

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b"B00021", "B00021"),
            (b"B00021         ", "B00021"),
            (b" b00021", "B00021"),
            (b'"\tb02_x "', "B02_X"),
            (b"B00021\xc2\xa0", "B00021"),
            (b"B00021\xa0", "B00021"),
            (b"B 1", "B 1"),
            ("peña".encode(), "PEÑA"),
            (b"pe\xf1a", "PEÑA"),
            (b'"b1,b2 "', "B1,B2"),
            (b'a"b', 'A"B'),
            (b"   ", None),
            (b'" "', None),
            (b'""', None),
            (b"null", None),
            (b" NULL ", None),
            (b"n/a", None),
            (b'"\\N "', None),
        ],
    )
    @pytest.mark.parametrize(("color", "column"), LICENSES)
    def test_parse_license_numbers(self, color: str, column: str, written: bytes, value: str | None) -> None:
        """License numbers are trimmed and in uppercase. One that is then empty or a missing value is missing."""
        assert _value(column, written, color) == value

    @pytest.mark.parametrize(
        ("written", "value"), [(b"Y", "Y"), (b"N", "N"), (b" ", None), (b'" "', None), (b"", None), (b"NULL", None)]
    )
    @pytest.mark.parametrize("flag", [name for name in NAMES["fhvhv"] if name.endswith("_flag")])
    def test_parse_flags_of_high_volume_trips(self, flag: str, written: bytes, value: str | None) -> None:
        """Some companies report a space instead of N or of no value, so it is a missing value."""
        assert _value(flag, written, "fhvhv") == value

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b"Caf\xe9", "CAFÉ"),
            (b"\x80 5", "€ 5"),
            (b"\x93B1\x94", "“B1”"),
            (b"\xff", "Ÿ"),
            (b'"Pe\xf1a, ""B1"""', 'PEÑA, "B1"'),
            (b"\xc3\xa9\xe9", "Ã©é".upper()),
        ],
    )
    @pytest.mark.parametrize("column", BASES)
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_decode_windows_1252(self, column: str, written: bytes, value: str, end: bytes) -> None:
        """Text that is not UTF-8 is decoded as Windows-1252, and its rows are counted. Other rows do not change."""
        parser = LineParser(LAYOUTS["fhv"], FHV[1])
        other = _line("fhv", dispatching_base_num="Peña".encode())
        lines = [other, _line("fhv", **{column: written}), other]
        table, rejects = _join(parser, end.join([*lines, b""]))
        assert (rejects, parser.recoded_rows) == ([], 1)
        assert table.column(column).to_pylist()[1] == value
        assert table.take([0, 2]).to_pylist() == _parse([other, other], "fhv")[0]

    def test_decode_each_field(self) -> None:
        """In a row with fields in UTF-8 and fields in Windows-1252, each is decoded as what it is."""
        line = _line("fhv", dispatching_base_num="Ñ€".encode(), Affiliated_base_number=b"\xd1 \x80")
        [row], _ = _parse([line], "fhv")
        assert (row["dispatching_base_num"], row["Affiliated_base_number"]) == ("Ñ€", "Ñ €")

    @pytest.mark.parametrize("undefined", [b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d"])
    @pytest.mark.parametrize("column", BASES)
    def test_reject_text_in_neither_encoding(self, column: str, undefined: bytes) -> None:
        """Bytes that are neither UTF-8 nor Windows-1252 are rejected with the column name, and stored with escapes."""
        line = _line("fhv", **{column: b"B" + undefined + b"\xe9"})
        assert _reason(line, "fhv") == f"{column} is not valid UTF-8"
        _, [reject] = _parse([line], "fhv")
        assert rf"B\x{undefined.hex()}\xe9" in reject.text

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (_line("fhv", Affiliated_base_number=b"\xe9", PUlocationID=b"x"), "PUlocationID is not an integer"),
            (_line("fhv", dispatching_base_num=b"\xe9", SR_Flag=b"1\xa0"), "SR_Flag is not an integer"),
            (_line("fhv", Affiliated_base_number=b"\xe9", pickup_datetime=b""), "pickup_datetime is missing"),
            (_line("fhv", Affiliated_base_number=b'"\xe9'), "a quote is not closed"),
            (_line("fhv", Affiliated_base_number=b"\xe9") + b",", "8 fields instead of 7"),
            (_line("fhv", dispatching_base_num=b"\xe9\0"), "a NUL byte"),
            (b"\xef\xbb\xbf\xe9" + _line("fhv"), "a byte order mark inside the file"),
        ],
    )
    def test_reject_a_recoded_line_for_its_other_fault(self, line: bytes, reason: str) -> None:
        """A line in Windows-1252 that is not valid otherwise is rejected, stored as it is in the file, not counted."""
        assert _reason(line, "fhv") == reason
        parser = LineParser(LAYOUTS["fhv"], FHV[1])
        _join(parser, b"\n".join([line, _line("fhv"), line]))
        assert parser.recoded_rows == 0

    @pytest.mark.parametrize("retry_lines", [1, 2, 7, 400])
    def test_count_recoded_rows_once(self, retry_lines: int) -> None:
        """Each recoded row counts once, also if other lines are parsed again because of rejects and open quotes."""
        parser = LineParser(LAYOUTS["fhv"], FHV[1], retry_lines)
        kinds = [
            _line("fhv", dispatching_base_num=b"\xe9"),
            _line("fhv"),
            b"bad",
            _line("fhv", Affiliated_base_number=b'"\xe9"'),
            _line("fhv", Affiliated_base_number=b'"x'),
            _line("fhv", dispatching_base_num=b"\x81"),
        ]
        table, rejects = _join(parser, b"\n".join(kinds * 20))
        assert (table.num_rows, len(rejects), parser.recoded_rows) == (60, 60, 40)
        _join(parser, kinds[0])
        assert parser.recoded_rows == 41

    def test_reason_names_the_first_invalid_column(self) -> None:
        """If several columns are invalid, the reason always names the first one."""
        slow = b"1" * 400_000 + b"x"
        _, rejects = _parse([_line(VendorID=slow, congestion_surcharge=b"x")] * 3)
        assert [reject.reason for reject in rejects] == ["VendorID is not an integer"] * 3


class TestLines:
    """Lines that are invalid as a whole do not affect their neighbors."""

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (_line().rpartition(b",")[0], "17 fields instead of 18"),
            (_line() + b",", "19 fields instead of 18"),
            (_line() + b",1,2", "20 fields instead of 18"),
            (b" ", "1 fields instead of 18"),
            (b"<html>", "1 fields instead of 18"),
            (b'""""', "1 fields instead of 18"),
            (b", ,", "3 fields instead of 18"),
            (b"," * 17 + b"0", "tpep_pickup_datetime is missing"),
            (b"," * 18 + b"0", "19 fields instead of 18"),
            (b'",' * 17 + b'"', "9 fields instead of 18"),
            (YELLOW[1], "VendorID is not an integer"),
            (_line(store_and_fwd_flag=b"N\0"), "a NUL byte"),
            (b"\0", "a NUL byte"),
            (_line(store_and_fwd_flag=b"a\rb"), "a carriage return inside the line"),
            (b"\r" + _line(), "a carriage return inside the line"),
            (b"\xef\xbb\xbf" + _line(), "a byte order mark inside the file"),
            (_line(store_and_fwd_flag=b"\xef\xbb\xbf"), "a byte order mark inside the file"),
            (_line(VendorID=b'"2'), "a quote is not closed"),
            (_line(store_and_fwd_flag=b'"N'), "a quote is not closed"),
            (_line(store_and_fwd_flag=b'"N""'), "a quote is not closed"),
            (_line(congestion_surcharge=b'"2.5'), "a quote is not closed"),
            (_line(congestion_surcharge=b'"'), "a quote is not closed"),
            (b'"', "a quote is not closed"),
        ],
    )
    def test_reject_an_invalid_line(self, line: bytes, reason: str) -> None:
        """The line is rejected with its reason, and its neighbors are rows."""
        assert _reason(line) == reason

    @pytest.mark.parametrize("line", [_line("fhv", Affiliated_base_number=b'"B1'), _line("fhv") + b'"'])
    def test_distinguish_opening_quotes_from_quotes_in_text(self, line: bytes) -> None:
        """A quote at the start of a value must be closed. A quote after other text is part of the text."""
        if line.endswith(b'"'):
            assert _parse([line], "fhv")[0][0]["Affiliated_base_number"] == 'B00022"'
        else:
            assert _reason(line, "fhv") == "a quote is not closed"

    def test_unclosed_quotes_do_not_span_lines(self) -> None:
        """Two lines with an unclosed quote each are two rejects, not one row with a line break."""
        opens = _line("fhv", Affiliated_base_number=b'"B1')
        closes = b'B2",' + opens.partition(b",")[2].replace(b'"', b"")
        for lines in ([opens, opens], [opens, closes], [opens, _line("fhv"), opens, opens]):
            rows, rejects = _parse(lines, "fhv")
            assert [reject.line for reject in rejects] == [
                number for number, line in enumerate(lines, 2) if line == opens
            ]
            assert len(rows) == len(lines) - len(rejects)
            assert not any("\n" in str(value) for row in rows for value in row.values())

    def test_quote_inside_text_does_not_open_a_value(self) -> None:
        """A line with one quote inside text is a row, with any neighbors. With an unclosed quote as well, it is not."""
        quoted = _line("fhv", dispatching_base_num=b'a"b')
        opened = _line("fhv", dispatching_base_num=b'a"b', Affiliated_base_number=b'"c')
        assert len(_parse([quoted], "fhv")[0]) == 1
        assert len(_parse([quoted, quoted], "fhv")[0]) == 2
        for lines in ([opened], [opened, _line("fhv")], [_line("fhv"), opened]):
            rows, [reject] = _parse(lines, "fhv")
            assert reject.reason == "a quote is not closed"
            assert len(rows) == len(lines) - 1

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_reject_lines_among_many_rows(self, end: bytes) -> None:
        """Each invalid line keeps its number, even if it is the first or last one, and the rows keep their order."""
        bad = {0, 1, 57, 500, 501, 998, 999}
        lines = [_line(PULocationID=b"x" if number in bad else b"%d" % number) for number in range(1000)]
        rows, rejects = _parse(lines, end=end)
        assert [row["PULocationID"] for row in rows] == sorted(set(range(1000)) - bad)
        assert rejects == [Reject(n + 2, "PULocationID is not an integer", lines[n].decode()) for n in sorted(bad)]

    def test_reject_all_lines(self) -> None:
        """If all lines are invalid, the table is empty with the right types, and each line is a reject."""
        rows, rejects = _parse([b"x"] * 33)
        assert rows == []
        assert [reject.line for reject in rejects] == list(range(2, 35))

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_reject_many_lines_with_different_faults(self, end: bytes) -> None:
        """Each of many invalid lines among thousands has the same reason as alone."""
        faults = [line for line in FAULTS if b"\n" not in line]
        bad = {number: faults[number % len(faults)] for number in range(0, 4_000, 7)}
        rows, rejects = _parse([bad.get(n, _line(PULocationID=b"%d" % n)) for n in range(4_000)], end=end)
        assert [row["PULocationID"] for row in rows] == sorted(set(range(4_000)) - set(bad))
        assert rejects == [Reject(number + 2, *_reject_alone(line)) for number, line in bad.items()]

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_skip_blank_lines(self, end: bytes) -> None:
        """Blank lines are neither rows nor rejects, but count in line numbers."""
        rows, rejects = _parse([b"", _line(), b"", b"", b"x", b"", _line(), b"", b"x", b"", b""], end=end)
        assert len(rows) == 2
        assert [(reject.line, reject.text) for reject in rejects] == [(6, "x"), (10, "x")]
        assert _parse([b"", b"", b""], end=end) == ([], [])

    @pytest.mark.parametrize("color", GOODS)
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("quoted", [False, True])
    @pytest.mark.parametrize("empty", ["all", "all quoted", "one", "more", '""', "mixed"])
    def test_skip_rows_with_only_empty_fields(self, color: str, end: bytes, empty: str, *, quoted: bool) -> None:
        """A row with only empty fields is blank, with any number of fields, first, last, and among quoted lines."""
        fields = len(NAMES[color])
        row = {
            "all": b"," * (fields - 1),
            "all quoted": b",".join([b'""'] * fields),
            "one": b",",
            "more": b"," * (fields + 3),
            '""': b'""',
            "mixed": b',"",' * (fields // 2),
        }[empty]
        good = _line(color)
        good = b'"' + good.replace(b",", b'","') + b'"' if quoted else good
        lines = [row, good, row, row, b"x", b"", row, good, b"x", good + b",", row]
        rows, rejects = _parse(lines, color, end)
        assert len(rows) == 2
        assert [reject.line for reject in rejects] == [6, 10, 11]
        assert _parse([b"" if line == row else line for line in lines], color, end) == (rows, rejects)
        assert _parse([row, row], color, end) == ([], [])
        table, rejects = _join(LineParser(LAYOUTS[color], GOODS[color][1]), end.join([good, row, good, row]))
        assert (table.num_rows, rejects) == (2, [])

    @pytest.mark.parametrize("last", [b"", b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("line", [_line(), _line() + b",x", _line(congestion_surcharge=b'"2.5"')])
    def test_accept_a_last_line_without_a_line_ending(self, line: bytes, last: bytes) -> None:
        """The last line is parsed in the same way with and without a line ending."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        table, rejects = _join(parser, _line() + b"\r\n" + line + last)
        assert (table.num_rows, rejects) == (
            (1, [Reject(3, "19 fields instead of 18", line.decode())]) if line.endswith(b"x") else (2, [])
        )

    def test_parse_an_empty_text(self) -> None:
        """An empty text has no rows and no rejects."""
        table, rejects = _join(LineParser(LAYOUTS["fhv"], FHV[1]), b"")
        assert (table.num_rows, rejects) == (0, [])

    def test_parse_long_lines(self) -> None:
        """Lines of hundreds of kilobytes do not affect each other, quoted or not."""
        long = b"x" * 900_000
        rows, rejects = _parse(
            [_line(store_and_fwd_flag=flag) for flag in (b"N", long, b'"' + long + b'"', b"Y", b'"' + long)]
        )
        assert [row["store_and_fwd_flag"] for row in rows] == ["N", long.decode(), long.decode(), "Y"]
        assert [(reject.line, reject.reason) for reject in rejects] == [(6, "a quote is not closed")]


class TestPadding:
    """Rows of 2016-07 to 2016-12 have two empty fields after those of the header."""

    HEADER = YELLOW[1].rpartition(b",")[0]
    LINE = _line().rpartition(b",")[0]

    def _parse(self, *lines: bytes) -> tuple[list[Row], list[Reject]]:
        return _parse(lines, header=self.HEADER)

    @pytest.mark.parametrize("padding", [b",", b",,", b',"",""', b",NULL,N/A"])
    def test_empty_fields_do_not_change_the_rows(self, padding: bytes) -> None:
        """Rows with the empty fields are the same as rows without them."""
        assert self._parse(*[self.LINE + padding] * 3) == self._parse(*[self.LINE] * 3)
        assert len(self._parse(*[self.LINE + padding] * 3)[0]) == 3

    @pytest.mark.parametrize("padding", [b",0,", b",,x", b", ,", b",\xff,"])
    def test_reject_a_value_in_a_field_without_a_name(self, padding: bytes) -> None:
        """A value that belongs to no column rejects its line. Its neighbors are rows."""
        good, bad = self.LINE + b",,", self.LINE + padding
        rows, rejects = self._parse(good, bad, good, good)
        assert len(rows) == 3
        reason = "a field after those of the header is not empty"
        assert rejects == [Reject(3, reason, bad.decode(errors="backslashreplace"))]

    def test_all_lines_have_the_fields_of_the_first(self) -> None:
        """The first line decides how many fields there are. The number of fields of the others is the same."""
        padded = self.LINE + b",,"
        for lines, reason in (
            ([padded, self.LINE, padded], "17 fields instead of 19"),
            ([self.LINE, padded, self.LINE], "19 fields instead of 17"),
            ([b"", b",,,", padded, padded + b",", padded], "20 fields instead of 19"),
        ):
            rows, [reject] = self._parse(*lines)
            assert (len(rows), reject.reason) == (2, reason)

    @pytest.mark.parametrize("padding", [b",,,", b",,,,"])
    def test_reject_more_fields(self, padding: bytes) -> None:
        """More fields than the TLC's files have are rejected, also if they are empty."""
        rows, [reject] = self._parse(self.LINE + padding)
        assert (rows, reject.reason) == ([], f"{17 + len(padding)} fields instead of 17")


class TestCodes:
    """Files until 2014 have text where later files have codes."""

    HEADER = (
        b"vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,"
        b"Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt"
    )

    def _parse(self, *rows: tuple[bytes, bytes, bytes]) -> tuple[list[Row], list[Reject]]:
        line = b"%s,2009-01-04 02:52:00,2009-01-04 03:02:00,1,2.63,-73.9,40.7,,%s,-73.9,40.6,%s,8.9,0.5,,0,0,9.4"
        return _parse([line % row for row in rows], header=self.HEADER)

    def test_decode_text(self) -> None:
        """Vendors, payment types and flags have the codes of the data dictionary. DDS has no code, only its name."""
        rows, rejects = self._parse(
            (b"VTS", b"", b"CASH"), (b"CMT", b"0", b"Credit"), (b"DDS", b"1", b"No Charge"), (b'"vts"', b"N", b'"5"')
        )
        columns = ("VendorID", "vendor_name", "store_and_fwd_flag", "payment_type")
        assert [tuple(row[name] for name in columns) for row in rows] == [
            (2, "VTS", None, 2),
            (1, "CMT", "N", 1),
            (None, "DDS", "Y", 3),
            (2, "vts", "N", 5),
        ]
        assert rejects == []
        [places] = {tuple(row[name] for row in rows[:1] for name in row if "tude" in name)}
        assert places == (-73.9, 40.7, -73.9, 40.6)

    @pytest.mark.parametrize("written", [b"Barter", b"cash!", b"1.5", b"C"])
    def test_reject_an_unknown_payment_type(self, written: bytes) -> None:
        """Text that has no code rejects its line. Its neighbors are rows."""
        good = (b"VTS", b"", b"CASH")
        rows, [reject] = self._parse(good, (b"VTS", b"", written), good)
        assert len(rows) == 2
        assert (reject.line, reject.reason) == (3, "payment_type is not an integer")
        assert written.decode() in reject.text

    def test_text_is_a_code_only_until_2014(self) -> None:
        """In later files, payment types are numbers."""
        assert _reason(_line(payment_type=b"CASH")) == "payment_type is not an integer"


@settings(deadline=None, max_examples=300)
@given(st.text("0123456789+-.eExXaF _", min_size=1, max_size=6).map(str.encode) | st.integers().map(b"%d".__mod__))
def test_integers_do_not_depend_on_earlier_lines(written: bytes) -> None:
    """A value of an integer column is read in the same way after a text with an integer such as `1.0`."""
    first, later = (LineParser(LAYOUTS["yellow"], YELLOW[1]) for _ in range(2))
    _join(later, _line(passenger_count=b"1.0"))
    text = _line(passenger_count=written) + b"\n" + _line()
    (rows, rejects), (others, other_rejects) = _join(first, text), _join(later, text)
    assert rows.equals(others)
    assert rejects == other_rejects


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that are parsed during the test. Each is measured once before it is parsed."""
    texts: list[bytes] = []

    def measure_and_record(text: bytes) -> Measure:
        texts.append(text)
        return measure(text)

    monkeypatch.setattr(parse, "measure", measure_and_record)
    return texts


class TestPieces:
    """A text is parsed in pieces, so that the caller can stop early."""

    def test_parse_a_valid_text_in_one_piece(self, parsed: list[bytes]) -> None:
        """A text without invalid lines is one piece."""
        [(rows, rejects)] = LineParser(LAYOUTS["yellow"], YELLOW[1]).parse(b"\n".join([_line()] * 5_000), 2)
        assert (rows.num_rows, rejects) == (5_000, [])
        assert len(parsed) == 1

    @pytest.mark.parametrize("empty", [b"", b"," * 17, b'"",' * 17 + b'""'])
    def test_empty_rows_do_not_split_a_text(self, empty: bytes) -> None:
        """A text with empty rows and without invalid lines is one piece."""
        lines = [_line(), empty] * 2_000
        [(rows, rejects)] = LineParser(LAYOUTS["yellow"], YELLOW[1]).parse(b"\n".join(lines), 2)
        assert (rows.num_rows, rejects) == (2_000, [])

    def test_recoded_lines_cost_few_parses(self, parsed: list[bytes]) -> None:
        """Lines in Windows-1252 are recoded before they are parsed, so a file full of them costs one more parse."""
        parser = LineParser(LAYOUTS["fhv"], FHV[1])
        lines = [_line("fhv", dispatching_base_num=b"B\xe9")] * 4_000
        assert sum(rows.num_rows for rows, _ in parser.parse(b"\n".join(lines), 2)) == 4_000
        assert parser.recoded_rows == 4_000
        assert len(parsed) <= 2 + 4_000 // RETRY_LINES

    def test_parse_pieces_on_demand(self, parsed: list[bytes]) -> None:
        """The first rejects of many are available after a few parses."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        rows, rejects = next(iter(parser.parse(b"\n".join([b"bad"] * 50_000), 2)))
        assert rows.num_rows == 0
        assert len(rejects) < 1_000
        assert 0 < len(parsed) < 2_000

    def test_each_invalid_line_costs_few_parses(self, parsed: list[bytes]) -> None:
        """The parser locates an invalid line from the reported position, without a search."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        faults = [line for line in FAULTS if line.count(b'"') % 2 or b'"' not in line]
        lines = [faults[n // 50 % len(faults)] if n % 50 == 0 else _line() for n in range(4_000)]
        assert sum(len(rejects) for _, rejects in parser.parse(b"\n".join(lines), 2)) == 80
        assert 80 < len(parsed) <= 1 + 4_000 // RETRY_LINES + 2 * 80


UNUSUAL_FIELDS = st.one_of(
    st.sampled_from(
        [
            *(b"", b'"', b'""', b'"""', b'a"b', b'"a', b'b"', b'"a"b', b'"a,b"', b'","', b"\r", b"\0", b"\xff", b" "),
            *(b"\x81", "\u00e9".encode(), b"NULL", b"\\N"),
            *(b"\xef\xbb\xbf", b"1", b"1.5", b"x", b"nan", b"1e400", b"2021-01-01 00:00:00", b"0000-01-01 00:00:00"),
        ]
    ),
    st.binary(max_size=3).map(lambda field: field.replace(b"\n", b"")),
)
GOOD_FIELDS = dict(zip(FHV[1].split(b","), FHV[0].split(b","), strict=True))
LINES = st.one_of(
    # A valid row with up to two other fields, which is sometimes still valid.
    st.dictionaries(st.sampled_from(sorted(GOOD_FIELDS)), UNUSUAL_FIELDS, max_size=2).map(
        lambda replaced: b",".join((GOOD_FIELDS | replaced).values())
    ),
    st.lists(UNUSUAL_FIELDS, min_size=6, max_size=8).map(b",".join),
    st.sampled_from([b"", b"\r", *(_line("fhv") + end for end in (b"", b"\r", b'"', b","))]),
    st.lists(st.sampled_from([b"", b'""']), min_size=1, max_size=9).map(b",".join),
)


@settings(deadline=None, max_examples=150)
@given(
    lines=st.lists(LINES, min_size=2, max_size=12),
    retry_lines=st.sampled_from([1, 2, 3, 5, 400]),
    first=st.integers(1, 10**9),
)
def test_parse_each_line_independently_of_its_neighbors(lines: list[bytes], retry_lines: int, first: int) -> None:
    """Lines parsed together produce the rows and rejects that each produces alone, in order."""
    parser = LineParser(LAYOUTS["fhv"], FHV[1], retry_lines)
    table, rejects = _join(parser, b"\n".join(lines), first)
    recoded = parser.recoded_rows
    alone = [_join(parser, line, number) for number, line in enumerate(lines, first)]
    assert parser.recoded_rows == 2 * recoded
    assert table.to_pylist() == [row for rows, _ in alone for row in rows.to_pylist()]
    assert rejects == [reject for _, found in alone for reject in found]
    assert table.num_rows + len(rejects) == sum(not is_blank(line) for line in lines)
