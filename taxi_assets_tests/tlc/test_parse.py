"""What is a row and what is none: one line at a time, and among others."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxi_assets.errors import BadHeader
from taxi_assets.tlc import parse
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.rejects import Reject
from taxi_assets.tlc.schema import LAYOUTS

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
GOODS = {"yellow": YELLOW, "fhv": FHV}
FIRST = {"yellow": "VendorID", "fhv": "dispatching_base_num"}
LAST = {"yellow": "congestion_surcharge", "fhv": "Affiliated_base_number"}

Row = dict[str, Any]
_at = datetime.fromisoformat


def _line(color: str = "yellow", **values: bytes) -> bytes:
    """A good line, with these values as they stand in the file in place of its own."""
    line, header = GOODS[color]
    fields = dict(zip(header.decode().split(","), line.split(b","), strict=True))
    assert values.keys() <= fields.keys()
    return b",".join((fields | values).values())


def _parse(
    lines: Sequence[bytes], color: str = "yellow", end: bytes = b"\n", header: bytes | None = None
) -> tuple[list[Row], list[Reject]]:
    """The rows and rejects of lines that start at line 2."""
    layout = LAYOUTS[color]
    table, rejects = _join(LineParser(layout, header or GOODS[color][1]), end.join(lines) + end)
    assert table.schema == layout.arrow_schema().remove(len(layout.columns))
    table.validate(full=True)
    return table.to_pylist(), rejects


def _join(parser: LineParser, text: bytes, first_line: int = 2) -> tuple[pa.Table, list[Reject]]:
    """The pieces that a text is parsed into, as one."""
    pieces = list(parser.parse(text, first_line))
    rows = pa.concat_tables(rows for rows, _ in pieces)
    return rows, [reject for _, rejects in pieces for reject in rejects]


def _value(column: str, written: bytes, color: str = "yellow") -> Any:
    """What a written value is read as, in a line that is a row."""
    rows, rejects = _parse([_line(color, **{column: written})], color)
    assert rejects == []
    [row] = rows
    return row[column]


def _reason(line: bytes, color: str = "yellow") -> str:
    """Why a line is no row. Its neighbors must be rows."""
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
    _line(store_and_fwd_flag=b"\xff"),
    _line(store_and_fwd_flag=b"\0"),
    _line(store_and_fwd_flag=b"a\rb"),
    b"\xef\xbb\xbf" + _line(),
    _line(store_and_fwd_flag=b'"N'),
    _line(congestion_surcharge=b'"2.5'),
    b'"',
    _line(store_and_fwd_flag=b'"N,Y"', VendorID=b"x"),
]
"""Lines that are no rows."""


def _judged_alone(line: bytes) -> tuple[str, str]:
    [(_, [reject])] = LineParser(LAYOUTS["yellow"], YELLOW[1]).parse(line, 2)
    return reject.reason, reject.text


class TestHeader:
    """The header says which column is where."""

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
    def test_spelling_does_not_matter(self, header: bytes) -> None:
        """Letter case, quotes, spaces, a byte order mark and a carriage return change nothing."""
        assert _parse([_line("fhv")], "fhv", header=header) == _parse([_line("fhv")], "fhv")

    @pytest.mark.parametrize("color", GOODS)
    def test_columns_go_by_their_names(self, color: str) -> None:
        """A file with its columns in another order gives the same table."""
        line, header = (b",".join(reversed(text.split(b","))) for text in GOODS[color])
        assert _parse([line], color, header=header) == _parse([_line(color)], color)
        _, [reject] = _parse([line.replace(b"2021-01-05 08:00:00", b"noon")], color, header=header)
        assert reject.reason == f"{LAYOUTS[color].pickup} is no timestamp"

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
    def test_what_is_no_header_is_refused(self, header: bytes) -> None:
        """Whatever the first line holds, the error is one of the header, and short."""
        with pytest.raises(BadHeader, match="is not that of a yellow month since 2019") as refused:
            LineParser(LAYOUTS["yellow"], header)
        assert len(str(refused.value)) < 1_500


class TestValues:
    """What a column's written value is read as."""

    def test_a_line_becomes_a_row_with_every_value_in_its_column(self) -> None:
        """A published line is read as it stands."""
        [row], _ = _parse([_line()])
        assert list(row.values()) == [
            *(2, _at("2021-01-05 08:00:00"), _at("2021-01-05 08:10:30"), 1, 1.5, 1, "N", 142, 43, 1),
            *(8.0, 3.0, 0.5, 2.36, 0.0, 0.3, 14.16, 2.5),
        ]

    @pytest.mark.parametrize("color", GOODS)
    def test_every_value_may_be_missing(self, color: str) -> None:
        """A row of nothing is a row; so is one of empty quotes."""
        commas = len(LAYOUTS[color].columns) - 1
        rows, rejects = _parse([b"," * commas, b'"",' * commas + b'""'], color)
        assert rejects == []
        assert rows == [dict.fromkeys(LAYOUTS[color].names)] * 2

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
    def test_integers(self, written: bytes, value: int | None) -> None:
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
                b"NULL",
                b"\xd9\xa1",
            ),
            *(b'"1,0"', b"1;0"),
        ],
    )
    def test_what_is_no_integer(self, written: bytes) -> None:
        """Fractions, what is not finite or would be altered, and words are told with their column."""
        assert _reason(_line(passenger_count=written)) == "passenger_count is no integer"

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
    def test_decimals(self, written: bytes, value: float | None) -> None:
        """Decimals may start with their dot; negative and absurd ones are data."""
        assert _value("fare_amount", written) == value

    @pytest.mark.parametrize("written", [b"nan", b"inf", b"-inf", b"1e400", b"1.2.3", b"$5", b'"1,234.5"', b".", b"N"])
    def test_what_is_no_decimal(self, written: bytes) -> None:
        """What is no number, or none that is finite, is told with its column."""
        assert _reason(_line(fare_amount=written)) == "fare_amount is no decimal"

    def test_decimals_whose_sum_is_not_finite_are_rows(self) -> None:
        """Each value counts for itself, however many large ones stand together."""
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
    def test_timestamps(self, written: bytes, value: str) -> None:
        """Times are wall-clock times with or without fractions: no hour is missing in spring, no zone is added."""
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
            *(b"2021-01-01 00:00:00Z", b"2021-01-01 00:00:00-05:00", b"2021-01-01 00:00:00.1234567", b"0", b"NULL"),
            *(b"0000-12-31 23:59:59", b"10000-01-01 00:00:00", b"2021-1-1 00:00:00", b"2021-01-01 00:00:00 UTC"),
        ],
    )
    def test_what_is_no_timestamp(self, written: bytes) -> None:
        """Days that no calendar has, zones and other styles are told with their column."""
        assert _reason(_line(tpep_dropoff_datetime=written)) == "tpep_dropoff_datetime is no timestamp"

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (b"B00021         ", "B00021         "),
            (b" x ", " x "),
            (b'"B1,B2"', "B1,B2"),
            (b'"the ""A"" base"', 'the "A" base'),
            (b'","', ","),
            (b'""""', '"'),
            (b"NULL", "NULL"),
            (b"nan", "nan"),
            (b"1", "1"),
            (b'a"b', 'a"b'),
            (b'6" x 4"', '6" x 4"'),
            ("Peña 出租車 🚕".encode(), "Peña 出租車 🚕"),
            (b'""', None),
        ],
    )
    @pytest.mark.parametrize("column", [FIRST["fhv"], LAST["fhv"]])
    def test_text(self, column: str, written: bytes, value: str | None) -> None:
        """Text is kept as it stands; quotes around it are not part of it, commas and doubled quotes inside are."""
        assert _value(column, written, "fhv") == value

    def test_text_that_is_not_utf_8(self) -> None:
        """Bytes that are no letters are told with their column, and kept as escapes."""
        line = _line("fhv", dispatching_base_num=b"B\xff\xe9")
        assert _reason(line, "fhv") == "dispatching_base_num is not valid UTF-8"
        _, [reject] = _parse([line], "fhv")
        assert reject.text.startswith(r"B\xff\xe9,2021")

    def test_reason_is_the_first_column_at_fault(self) -> None:
        """Of several faults the first of the line is told, always, though another is found sooner."""
        slow = b"1" * 400_000 + b"x"
        _, rejects = _parse([_line(VendorID=slow, congestion_surcharge=b"x")] * 3)
        assert [reject.reason for reject in rejects] == ["VendorID is no integer"] * 3


class TestLines:
    """What is wrong with a line as a whole, and what it does to its neighbors: nothing."""

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (_line().rpartition(b",")[0], "17 fields instead of 18"),
            (_line() + b",", "19 fields instead of 18"),
            (_line() + b",1,2", "20 fields instead of 18"),
            (b" ", "1 fields instead of 18"),
            (b"<html>", "1 fields instead of 18"),
            (b'""', "1 fields instead of 18"),
            (YELLOW[1], "VendorID is no integer"),
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
    def test_line_that_is_no_row(self, line: bytes, reason: str) -> None:
        """It is rejected with its reason; the lines around it are rows."""
        assert _reason(line) == reason

    @pytest.mark.parametrize("line", [_line("fhv", Affiliated_base_number=b'"B1'), _line("fhv") + b'"'])
    def test_open_quote_or_literal_one_at_the_end_of_text(self, line: bytes) -> None:
        """A quote that opens a last text is not closed; one that follows a text is part of it."""
        if line.endswith(b'"'):
            assert _parse([line], "fhv")[0][0]["Affiliated_base_number"] == 'B00022"'
        else:
            assert _reason(line, "fhv") == "a quote is not closed"

    def test_open_quotes_do_not_pair_up(self) -> None:
        """Two lines that each leave a quote open are two rejects, not one row with a line end in it."""
        opens = _line("fhv", Affiliated_base_number=b'"B1')
        closes = b'B2",' + opens.partition(b",")[2].replace(b'"', b"")
        for lines in ([opens, opens], [opens, closes], [opens, _line("fhv"), opens, opens]):
            rows, rejects = _parse(lines, "fhv")
            assert [reject.line for reject in rejects] == [
                number for number, line in enumerate(lines, 2) if line == opens
            ]
            assert len(rows) == len(lines) - len(rejects)
            assert not any("\n" in str(value) for row in rows for value in row.values())

    def test_quote_inside_a_text_opens_nothing(self) -> None:
        """A line with an odd quote inside a text is a row, whatever stands beside it; an open one after it is not."""
        odd = _line("fhv", dispatching_base_num=b'a"b')
        opened = _line("fhv", dispatching_base_num=b'a"b', Affiliated_base_number=b'"c')
        assert len(_parse([odd], "fhv")[0]) == 1
        assert len(_parse([odd, odd], "fhv")[0]) == 2
        for lines in ([opened], [opened, _line("fhv")], [_line("fhv"), opened]):
            rows, [reject] = _parse(lines, "fhv")
            assert reject.reason == "a quote is not closed"
            assert len(rows) == len(lines) - 1

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_rejects_among_many_rows(self, end: bytes) -> None:
        """Wherever bad lines stand, first and last too, each keeps its number, and the rows their order."""
        bad = {0, 1, 57, 500, 501, 998, 999}
        lines = [_line(PULocationID=b"x" if number in bad else b"%d" % number) for number in range(1000)]
        rows, rejects = _parse(lines, end=end)
        assert [row["PULocationID"] for row in rows] == sorted(set(range(1000)) - bad)
        assert rejects == [Reject(n + 2, "PULocationID is no integer", lines[n].decode()) for n in sorted(bad)]

    def test_all_lines_rejected(self) -> None:
        """A text without a row gives an empty table of the right types, and a reject for each line."""
        rows, rejects = _parse([b"x"] * 33)
        assert rows == []
        assert [reject.line for reject in rejects] == list(range(2, 35))

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_lines_of_every_fault_among_thousands(self, end: bytes) -> None:
        """Faults of all kinds, so many that most are not alone where they are looked for, are each told as alone."""
        faults = [line for line in FAULTS if b"\n" not in line]
        bad = {number: faults[number % len(faults)] for number in range(0, 4_000, 7)}
        rows, rejects = _parse([bad.get(n, _line(PULocationID=b"%d" % n)) for n in range(4_000)], end=end)
        assert [row["PULocationID"] for row in rows] == sorted(set(range(4_000)) - set(bad))
        assert rejects == [Reject(number + 2, *_judged_alone(line)) for number, line in bad.items()]

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_blank_lines_are_neither_but_counted_in_line_numbers(self, end: bytes) -> None:
        """Blank lines, also many and at both ends, are no rows and no rejects, and number those after them."""
        rows, rejects = _parse([b"", _line(), b"", b"", b"x", b"", _line(), b"", b"x", b"", b""], end=end)
        assert len(rows) == 2
        assert [(reject.line, reject.text) for reject in rejects] == [(6, "x"), (10, "x")]
        assert _parse([b"", b"", b""], end=end) == ([], [])

    @pytest.mark.parametrize("last", [b"", b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("line", [_line(), _line() + b",x", _line(congestion_surcharge=b'"2.5"')])
    def test_last_line_may_lack_its_end(self, line: bytes, last: bytes) -> None:
        """A last line is read alike with and without a line end."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        table, rejects = _join(parser, _line() + b"\r\n" + line + last)
        assert (table.num_rows, rejects) == (
            (1, [Reject(3, "19 fields instead of 18", line.decode())]) if line.endswith(b"x") else (2, [])
        )

    def test_nothing_is_nothing(self) -> None:
        """An empty text has no rows and no rejects."""
        table, rejects = _join(LineParser(LAYOUTS["fhv"], FHV[1]), b"")
        assert (table.num_rows, rejects) == (0, [])

    def test_long_lines_are_rows(self) -> None:
        """Lines of hundreds of kilobytes do not trouble each other, quoted or not."""
        long = b"x" * 900_000
        rows, rejects = _parse(
            [_line(store_and_fwd_flag=flag) for flag in (b"N", long, b'"' + long + b'"', b"Y", b'"' + long)]
        )
        assert [row["store_and_fwd_flag"] for row in rows] == ["N", long.decode(), long.decode(), "Y"]
        assert [(reject.line, reject.reason) for reject in rejects] == [(6, "a quote is not closed")]


def _watch(parser: LineParser, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that are parsed from now on."""
    parsed, read = [], parser._read

    def read_and_tell(text: bytes) -> Any:
        parsed.append(text)
        return read(text)

    monkeypatch.setattr(parser, "_read", read_and_tell)
    return parsed


class TestPieces:
    """A text comes in pieces, so that one can stop early."""

    def test_rows_alone_are_one_piece(self) -> None:
        """A text that is all rows is parsed once."""
        [(rows, rejects)] = LineParser(LAYOUTS["yellow"], YELLOW[1]).parse(b"\n".join([_line()] * 5_000), 2)
        assert (rows.num_rows, rejects) == (5_000, [])

    def test_lines_behind_a_piece_are_not_looked_at_before_it_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first rejects of many come after a few parses, whatever is behind them."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        parsed = _watch(parser, monkeypatch)
        rows, rejects = next(iter(parser.parse(b"\n".join([b"bad"] * 50_000), 2)))
        assert rows.num_rows == 0
        assert len(rejects) < 1_000
        assert len(parsed) < 2_000

    def test_bad_lines_among_rows_cost_a_few_parses_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line at fault is pointed at, not searched for: values, fields, and bytes alike."""
        parser = LineParser(LAYOUTS["yellow"], YELLOW[1])
        parsed = _watch(parser, monkeypatch)
        faults = [line for line in FAULTS if line.count(b'"') % 2 or b'"' not in line]
        lines = [faults[n // 50 % len(faults)] if n % 50 == 0 else _line() for n in range(4_000)]
        assert sum(len(rejects) for _, rejects in parser.parse(b"\n".join(lines), 2)) == 80
        assert len(parsed) <= 1 + 4_000 // 400 + 2 * 80


ODD_FIELDS = st.one_of(
    st.sampled_from(
        [
            *(b"", b'"', b'""', b'"""', b'a"b', b'"a', b'b"', b'"a"b', b'"a,b"', b'","', b"\r", b"\0", b"\xff", b" "),
            *(b"\xef\xbb\xbf", b"1", b"1.5", b"x", b"nan", b"1e400", b"2021-01-01 00:00:00", b"0000-01-01 00:00:00"),
        ]
    ),
    st.binary(max_size=3).map(lambda field: field.replace(b"\n", b"")),
)
GOOD_FIELDS = dict(zip(FHV[1].split(b","), FHV[0].split(b","), strict=True))
LINES = st.one_of(
    # A row but for one or two fields, so that it is a row now and then.
    st.dictionaries(st.sampled_from(sorted(GOOD_FIELDS)), ODD_FIELDS, max_size=2).map(
        lambda odd: b",".join((GOOD_FIELDS | odd).values())
    ),
    st.lists(ODD_FIELDS, min_size=6, max_size=8).map(b",".join),
    st.sampled_from([b"", b"\r", *(_line("fhv") + end for end in (b"", b"\r", b'"', b","))]),
)


@settings(deadline=None, max_examples=150)
@given(
    lines=st.lists(LINES, min_size=2, max_size=12), few=st.sampled_from([1, 2, 3, 5, 400]), first=st.integers(1, 10**9)
)
def test_what_a_line_is_does_not_depend_on_the_lines_around_it(lines: list[bytes], few: int, first: int) -> None:
    """Lines parsed together, however few at a time, give the rows and rejects that each gives alone, in order."""
    parser = LineParser(LAYOUTS["fhv"], FHV[1])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(parse, "_FEW", few)
        table, rejects = _join(parser, b"\n".join(lines), first)
    alone = [_join(parser, line, number) for number, line in enumerate(lines, first)]
    assert table.to_pylist() == [row for rows, _ in alone for row in rows.to_pylist()]
    assert rejects == [reject for _, found in alone for reject in found]
    assert table.num_rows + len(rejects) == sum(line not in (b"", b"\r") for line in lines)
