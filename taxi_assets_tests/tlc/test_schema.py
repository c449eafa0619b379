"""The columns of each color, and the mapping of the TLC's headers to them."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError

import pytest

from taxi_assets.errors import BadHeader, MissingHeader, SeparatorLine, UnnamedColumn, WrongDelimiter, printable
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS, Column, Kind, Layout

YELLOW, GREEN, FHV, FHVHV = (LAYOUTS[color] for color in ("yellow", "green", "fhv", "fhvhv"))

HEADERS = {
    "yellow": "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
    "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
    "improvement_surcharge,total_amount,congestion_surcharge",
    "green": "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,"
    "DOLocationID,passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
    "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge",
    "fhv": "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
    "Affiliated_base_number",
    "fhvhv": "hvfhs_license_num,dispatching_base_num,originating_base_num,request_datetime,on_scene_datetime,"
    "pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,trip_miles,trip_time,base_passenger_fare,tolls,bcf,"
    "sales_tax,congestion_surcharge,airport_fee,tips,driver_pay,shared_request_flag,shared_match_flag,"
    "access_a_ride_flag,wav_request_flag,wav_match_flag",
}
"""The headers of the mirror's CSVs, and of the TLC's fhvhv files of the same years, in the order of the columns."""

PLACES = "pickup_longitude,pickup_latitude,dropoff_longitude,dropoff_latitude"
LATER = {
    "yellow": f"Airport_fee,cbd_congestion_fee,{PLACES},vendor_name".split(","),
    "green": f"cbd_congestion_fee,{PLACES}".split(","),
    "fhv": [],
    "fhvhv": [],
}
"""The columns that tables of the first release do not have. It had no fhvhv tables."""

OTHER = {"fhvhv": ["cbd_congestion_fee", "SR_Flag"]}
"""The other columns that the files with these headers do not have."""

NAMES = {color: tuple(header.split(",")) for color, header in HEADERS.items()}

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]


@EVERY_LAYOUT
def test_columns_of_each_color(layout: Layout) -> None:
    """The columns are those of the TLC's current files, and then those that only earlier files have."""
    assert list(layout.names) == [*NAMES[layout.color], *OTHER.get(layout.color, LATER[layout.color])]
    assert layout.file_columns == (*layout.columns, FILE_MONTH)


@EVERY_LAYOUT
def test_columns_of_tables(layout: Layout) -> None:
    """Tables have the columns that a table of the first release has when the later ones are added to it."""
    first = [*NAMES[layout.color], *OTHER.get(layout.color, [])]
    assert _names(layout.table_columns) == [*first, "file_month", *LATER[layout.color]]
    assert set(layout.table_columns) == set(layout.file_columns)


@EVERY_LAYOUT
def test_optional_columns(layout: Layout) -> None:
    """Files and tables of the first release lack only the later columns. Databases may spell names in lowercase."""
    for respell in (str, str.lower, str.upper):
        assert [name for name in layout.names if layout.is_optional(respell(name))] == LATER[layout.color]
    assert not layout.is_optional("file_month")
    assert not layout.is_optional("weather")


@EVERY_LAYOUT
def test_arrow_types_of_each_kind(layout: Layout) -> None:
    """Every kind has its Arrow type, times have no time zone, and all columns are nullable."""
    types = {field.name: str(field.type) for field in layout.arrow_schema()}
    assert list(types) == [*layout.names, "file_month"]
    assert types["file_month"] == "date32[day]"
    assert types[layout.pickup] == "timestamp[us]"
    expected = {
        Kind.integer: "int64",
        Kind.decimal: "double",
        Kind.text: "string",
        Kind.timestamp: "timestamp[us]",
        Kind.date: "date32[day]",
    }
    assert types == {column.name: expected[column.kind] for column in layout.file_columns}
    assert all(field.nullable for field in layout.arrow_schema())


@pytest.mark.parametrize(
    ("layout", "kind", "names"),
    [
        (YELLOW, Kind.text, {"store_and_fwd_flag", "vendor_name"}),
        (YELLOW, Kind.timestamp, {"tpep_pickup_datetime", "tpep_dropoff_datetime"}),
        (
            YELLOW,
            Kind.integer,
            {"VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type"},
        ),
        (GREEN, Kind.timestamp, {"lpep_pickup_datetime", "lpep_dropoff_datetime"}),
        (
            GREEN,
            Kind.integer,
            {"VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type", "trip_type"},
        ),
        (FHV, Kind.text, {"dispatching_base_num", "Affiliated_base_number"}),
        (FHV, Kind.timestamp, {"pickup_datetime", "dropOff_datetime"}),
        (FHV, Kind.integer, {"PUlocationID", "DOlocationID", "SR_Flag"}),
        (
            FHVHV,
            Kind.text,
            {
                *("hvfhs_license_num", "dispatching_base_num", "originating_base_num", "shared_request_flag"),
                *("shared_match_flag", "access_a_ride_flag", "wav_request_flag", "wav_match_flag"),
            },
        ),
        (
            FHVHV,
            Kind.timestamp,
            {"request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime"},
        ),
        (FHVHV, Kind.integer, {"PULocationID", "DOLocationID", "trip_time", "SR_Flag"}),
    ],
)
def test_kinds_of_columns(layout: Layout, kind: Kind, names: set[str]) -> None:
    """IDs and counts are integers, names are text, and times are timestamps."""
    assert {column.name for column in layout.columns if column.kind is kind} == names


@EVERY_LAYOUT
def test_columns_have_unique_names_and_meanings(layout: Layout) -> None:
    """Names are unique in lowercase, because Postgres lowers them, and every column has a meaning."""
    assert len({column.name.lower() for column in layout.table_columns}) == len(layout.table_columns)
    assert all(column.meaning.endswith(".") for column in layout.table_columns)


@EVERY_LAYOUT
def test_roles_refer_to_columns(layout: Layout) -> None:
    """Roles are columns of the right kind. Only taxis with a meter report passengers and a total."""
    kinds = {column.name: column.kind for column in layout.columns}
    assert kinds[layout.pickup] is kinds[layout.dropoff] is Kind.timestamp
    assert "pickup" in layout.pickup
    assert "dropoff" in layout.dropoff.lower()
    assert [name.lower() for name in layout.zones] == ["pulocationid", "dolocationid"]
    assert all(kinds[name] is Kind.integer for name in layout.zones)
    is_metered = layout.color in ("yellow", "green")
    assert layout.passengers == ("passenger_count" if is_metered else None)
    assert layout.passengers is None or kinds[layout.passengers] is Kind.integer
    assert layout.total == ("total_amount" if is_metered else None)
    assert layout.total is None or kinds[layout.total] is Kind.decimal


METERED_CODES: dict[str, set[int | str]] = {
    "VendorID": {1, 2, 6, 7},
    "RatecodeID": {1, 2, 3, 4, 5, 6, 99},
    "store_and_fwd_flag": {"Y", "N"},
    "payment_type": {0, 1, 2, 3, 4, 5, 6},
}


FHVHV_CODES: dict[str, set[int | str]] = {
    "hvfhs_license_num": {"HV0002", "HV0003", "HV0004", "HV0005"},
    **{name: {"Y", "N"} for name in FHVHV.names if name.endswith("_flag")},
}


@pytest.mark.parametrize(
    ("layout", "codes"),
    [
        (YELLOW, METERED_CODES),
        (GREEN, {**METERED_CODES, "trip_type": {1, 2}}),
        (FHV, {}),
        (FHVHV, FHVHV_CODES),
    ],
    ids=LAYOUTS,
)
def test_codes_of_the_data_dictionary(layout: Layout, codes: dict[str, set[int | str]]) -> None:
    """Coded columns have the codes of the TLC data dictionaries, with the column's type."""
    assert {column.name: set(column.codes) for column in layout.coded} == codes
    types = {Kind.integer: int, Kind.text: str}
    assert all(isinstance(code, types[column.kind]) for column in layout.coded for code in column.codes)


@EVERY_LAYOUT
def test_meanings_list_the_codes(layout: Layout) -> None:
    """The meaning of a coded column, which databases show as a comment, lists its codes."""
    for column in layout.coded:
        assert all(f" {code} {text}" in column.meaning for code, text in column.codes.items())


def test_layouts_are_immutable() -> None:
    """Layouts and codes cannot be changed, and columns are hashable."""
    with pytest.raises(FrozenInstanceError):
        YELLOW.pickup = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        LAYOUTS["blue"] = YELLOW  # type: ignore[index]
    with pytest.raises(TypeError):
        YELLOW.coded[0].codes[4] = "x"  # type: ignore[index]
    assert len(set(GREEN.columns)) == len(GREEN.columns)


@EVERY_LAYOUT
@pytest.mark.parametrize("respell", [str.lower, str.upper, str.title, str.swapcase, lambda name: f' "{name} "\t'])
def test_match_a_header_in_any_spelling(layout: Layout, respell: Callable[[str], str]) -> None:
    """Letter case, spaces and quotes around a name do not matter."""
    names = NAMES[layout.color]
    assert layout.match_header([respell(name) for name in names]).names == names


@EVERY_LAYOUT
def test_match_a_header_in_any_order(layout: Layout) -> None:
    """The result has the canonical names in the order of the file."""
    names = NAMES[layout.color]
    turned = (*names[2:], *reversed(names[:2]))
    assert layout.match_header([name.upper() for name in turned]).names == turned


@EVERY_LAYOUT
@pytest.mark.parametrize("index", ["__index_level_0__", "__INDEX_LEVEL_12__", ' "__index_level_0__" '])
@pytest.mark.parametrize("at", [0, 3, 99])
def test_ignore_the_index_of_a_data_frame(layout: Layout, index: str, at: int) -> None:
    """A column with the name that pandas gives to an index has no name, and does not change the era."""
    names = NAMES[layout.color]
    matched = layout.match_header([*names[:at], index, *names[at:]])
    assert matched.names == (*names[:at], "", *names[at:])
    assert matched.era == layout.match_header(names).era


@EVERY_LAYOUT
@pytest.mark.parametrize("name", ["__index_level_x__", "index_level_0", "__index_level_0__x", "__index_level___"])
def test_reject_a_name_like_that_of_an_index(layout: Layout, name: str) -> None:
    """Any other name is an unknown column."""
    with pytest.raises(BadHeader) as error:
        layout.match_header([*NAMES[layout.color], "__index_level_0__", name])
    assert _differences(error.value) == {"unknown": name}


def _differences(error: BadHeader) -> dict[str, str | float]:
    """Return the facts about missing, unknown and duplicated columns."""
    return {kind: names for kind, names in error.facts.items() if kind in {"missing", "unknown", "duplicated"}}


@EVERY_LAYOUT
def test_reject_a_missing_column(layout: Layout) -> None:
    """The error names the missing column and no other difference, unless the others are those of another era."""
    for missing in set(NAMES[layout.color]) - {"congestion_surcharge", "Affiliated_base_number"}:
        header = [name for name in NAMES[layout.color] if name != missing]
        with pytest.raises(BadHeader) as error:
            layout.match_header(header)
        assert _differences(error.value) == {"missing": missing}
        assert error.value.facts["seen"] == ",".join(header)


@EVERY_LAYOUT
def test_reject_an_unknown_column(layout: Layout) -> None:
    """The error names the unknown column, because its values would be lost."""
    with pytest.raises(BadHeader) as error:
        layout.match_header([*NAMES[layout.color], ' "Weather" '])
    assert _differences(error.value) == {"unknown": "Weather"}


@EVERY_LAYOUT
def test_reject_a_duplicated_column(layout: Layout) -> None:
    """The error names a column that occurs twice in any letter case."""
    names = NAMES[layout.color]
    first = names[0]
    with pytest.raises(BadHeader) as error:
        layout.match_header([*names, first.upper()])
    assert _differences(error.value) == {"duplicated": first}


@EVERY_LAYOUT
@pytest.mark.parametrize("name", ["", " ", '""', '" "', "Unnamed: 0", "unnamed: 0.1", '"Unnamed: 20"'])
@pytest.mark.parametrize("place", ["first", "last", "third"])
def test_reject_an_unnamed_column(layout: Layout, name: str, place: str) -> None:
    """A column without a name has its own error, which says where it is and how to write the file without an index."""
    names = NAMES[layout.color]
    at = {"first": 0, "last": len(names), "third": 2}[place]
    header = [*names[:at], name, *names[at:]]
    with pytest.raises(UnnamedColumn) as error:
        layout.match_header(header)
    seen = ",".join(header).strip()
    assert error.value.facts == {"color": layout.color, "column": at + 1, "seen": seen}
    assert {"first": "The first", "last": "The last", "third": "Column 3"}[place] in str(error.value)
    assert layout.color in str(error.value)
    assert "index=False" in error.value.explain()
    assert error.value.explain().endswith("[unnamed-column]")


@pytest.mark.parametrize(
    ("unnamed", "column"),
    [([0, 1], 1), ([7, 8, 9], 8), ([0, 8], 1), ([0, 4, 9], 1)],
    ids=["two indexes", "separators at the end", "both ends", "everywhere"],
)
def test_reject_several_unnamed_columns(unnamed: list[int], column: int) -> None:
    """The error is about the first of them. The names of the others stay in order."""
    header = list(FHV.names)
    for at in unnamed:
        header.insert(at, "")
    with pytest.raises(UnnamedColumn) as error:
        FHV.match_header(header)
    assert error.value.facts["column"] == column


@pytest.mark.parametrize(
    "header",
    [
        ["", *FHV.names[1:]],
        ["", *NAMES["green"]],
        ["", *FHV.names, "Weather"],
        ["", *FHV.names, FHV.names[0]],
        ["index", *FHV.names],
        ["Unnamed", *FHV.names],
        [],
        [""],
        ["", "", ""],
    ],
)
def test_an_unnamed_column_is_not_the_only_difference(header: list[str]) -> None:
    """If columns are missing, unknown or duplicated, the error has all differences."""
    with pytest.raises(BadHeader) as error:
        FHV.match_header(header)
    assert error.type is BadHeader
    assert _differences(error.value)


@pytest.mark.parametrize("name", ["index", "level_0"])
def test_a_named_index_is_suspected(name: str) -> None:
    """The error of a column with the name that pandas gives an index says how to write the file without it."""
    for header, suspected in (
        ([name, *FHV.names], True),
        ([name, *FHV.names[1:]], False),
        ([name, "x", *FHV.names], False),
    ):
        with pytest.raises(BadHeader) as error:
            FHV.match_header(header)
        assert ("index=False" in str(error.value)) == suspected


@EVERY_LAYOUT
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_reject_another_delimiter(layout: Layout, delimiter: str, quote: str) -> None:
    """A header of any color with another delimiter has its own error, with the delimiter and a remedy."""
    line = delimiter.join(f"{quote}{name}{quote}" for name in layout.names)
    for expected in LAYOUTS.values():
        with pytest.raises(WrongDelimiter) as error:
            expected.match_header(line.split(","))
        assert error.value.facts["delimiter"] == repr(delimiter)
        assert f"sep={delimiter!r}" in error.value.explain()
        assert error.value.explain().isprintable()


@EVERY_LAYOUT
@pytest.mark.parametrize(
    ("line", "delimiter"),
    [("sep=;", ";"), ("SEP=;\r", ";"), ('"sep=;"', ";"), ("sep=,", ","), ("sep=\t", "\t"), ("sep=;,,,", ";")],
)
def test_reject_a_separator_line(layout: Layout, line: str, delimiter: str) -> None:
    """A first line that tells Excel the delimiter has its own error."""
    with pytest.raises(SeparatorLine) as error:
        layout.match_header(line.split(","))
    assert error.value.facts["delimiter"] == printable(delimiter)


@EVERY_LAYOUT
@pytest.mark.parametrize(
    ("line", "delimiter"),
    [
        ("2,2020-04-01 00:44:02,2020-04-01 00:52:23,N,1,42,41,1,1.68,8,0.5", ","),
        ("B00021,4/1/2020 0:03,4/1/2020 0:10,,,,B00021", ","),
        ('"1","2020-04-01 00:44:02","x"', ","),
        ("2;01.04.2020 00:44;01.04.2020 00:52;N", ";"),
        ("2\t2020-04-01 00:44:02\t2020-04-01 00:52:23", "\t"),
        ("0,1,2,3,4,5,6", ","),
        (",0,1,2", ","),
    ],
)
def test_reject_a_file_without_a_header(layout: Layout, line: str, delimiter: str) -> None:
    """A first line of dates or numbers has its own error, with the header to add."""
    with pytest.raises(MissingHeader) as error:
        layout.match_header(line.split(","))
    assert error.value.facts["delimiter"] == delimiter
    assert error.value.explain().endswith(f"{HEADERS[layout.color]} [missing-header]")
    assert (repr(delimiter) in str(error.value)) == (delimiter != ",")


@pytest.mark.parametrize(
    "line", ["a;b;c", "New York taxi trips|April 2020", "name\tvalue\tnote", "VendorID;1", ",,,", "x,1,2"]
)
def test_reject_other_text(line: str) -> None:
    """A first line without known names, dates or numbers only is not mistaken for a file of trips."""
    with pytest.raises(BadHeader) as error:
        GREEN.match_header(line.split(","))
    assert error.type is BadHeader


def test_license_numbers() -> None:
    """The numbers of bases and companies are license numbers."""
    licenses = {
        (layout.color, column.name) for layout in LAYOUTS.values() for column in layout.columns if column.is_license
    }
    assert licenses == {
        ("fhv", "dispatching_base_num"),
        ("fhv", "Affiliated_base_number"),
        ("fhvhv", "hvfhs_license_num"),
        ("fhvhv", "dispatching_base_num"),
        ("fhvhv", "originating_base_num"),
    }


def test_error_has_all_differences() -> None:
    """One error has all missing, unknown and duplicated columns, and the header."""
    with pytest.raises(BadHeader) as error:
        FHV.match_header(["Pickup_datetime", "pickup_datetime", "locationID", *FHV.names[2:]])
    facts = {
        "missing": "dispatching_base_num",
        "unknown": "locationID",
        "duplicated": "pickup_datetime",
        "seen": "Pickup_datetime,pickup_datetime,locationID,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
        "Affiliated_base_number",
    }
    assert error.value.facts == {"color": "fhv", "expected": HEADERS["fhv"], **facts}
    assert all(fact in str(error.value) for fact in facts.values())


def test_error_of_a_long_header_is_short() -> None:
    """The error shows only the start of a long first line, such as a web page, in printable characters."""
    with pytest.raises(BadHeader) as error:
        YELLOW.match_header([f"<html>\0\r{number}" for number in range(100_000)])
    assert str(error.value.facts["seen"]).startswith("<html>??0,")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1_500
