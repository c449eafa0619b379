"""The columns of each color, and the mapping of the TLC's headers to them."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from taxi_assets.errors import BadHeader, MissingHeader, SeparatorLine, UnnamedColumn, WrongDelimiter, printable
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS, Kind, Layout

YELLOW, GREEN, FHV = LAYOUTS["yellow"], LAYOUTS["green"], LAYOUTS["fhv"]

HEADERS = {
    "yellow": "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
    "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
    "improvement_surcharge,total_amount,congestion_surcharge",
    "green": "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,"
    "DOLocationID,passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
    "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge",
    "fhv": "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
    "Affiliated_base_number",
}

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@EVERY_LAYOUT
def test_columns_of_each_color(layout: Layout) -> None:
    """The columns are those of the files since 2019. Tables have `file_month` as an additional last column."""
    assert ",".join(layout.names) == HEADERS[layout.color]
    assert layout.table_columns == (*layout.columns, FILE_MONTH)


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
    assert types == {column.name: expected[column.kind] for column in layout.table_columns}
    assert all(field.nullable for field in layout.arrow_schema())


@pytest.mark.parametrize(
    ("layout", "kind", "names"),
    [
        (YELLOW, Kind.text, {"store_and_fwd_flag"}),
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
    """Roles are columns of the right kind. FHV has no passengers and no total."""
    kinds = {column.name: column.kind for column in layout.columns}
    assert kinds[layout.pickup] is kinds[layout.dropoff] is Kind.timestamp
    assert "pickup" in layout.pickup
    assert "dropoff" in layout.dropoff.lower()
    assert [name.lower() for name in layout.zones] == ["pulocationid", "dolocationid"]
    assert all(kinds[name] is Kind.integer for name in layout.zones)
    assert layout.passengers == {"yellow": "passenger_count", "green": "passenger_count", "fhv": None}[layout.color]
    assert layout.passengers is None or kinds[layout.passengers] is Kind.integer
    assert layout.total == {"yellow": "total_amount", "green": "total_amount", "fhv": None}[layout.color]
    assert layout.total is None or kinds[layout.total] is Kind.decimal


METERED_CODES: dict[str, set[int | str]] = {
    "VendorID": {1, 2, 6, 7},
    "RatecodeID": {1, 2, 3, 4, 5, 6, 99},
    "store_and_fwd_flag": {"Y", "N"},
    "payment_type": {0, 1, 2, 3, 4, 5, 6},
}


@pytest.mark.parametrize(
    ("layout", "codes"), [(YELLOW, METERED_CODES), (GREEN, {**METERED_CODES, "trip_type": {1, 2}}), (FHV, {})]
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
def test_map_a_header_in_any_spelling(layout: Layout, respell: Callable[[str], str]) -> None:
    """Letter case, spaces and quotes around a name do not matter."""
    assert layout.map_header([respell(name) for name in layout.names]) == layout.names


@EVERY_LAYOUT
def test_map_a_header_in_any_order(layout: Layout) -> None:
    """The result has the canonical names in the order of the file."""
    turned = (*layout.names[2:], *reversed(layout.names[:2]))
    assert layout.map_header([name.upper() for name in turned]) == turned


def _differences(error: BadHeader) -> dict[str, str | float]:
    """Return the facts about missing, unknown and duplicated columns."""
    return {kind: names for kind, names in error.facts.items() if kind in {"missing", "unknown", "duplicated"}}


@EVERY_LAYOUT
def test_reject_a_missing_column(layout: Layout) -> None:
    """The error names the missing column and no other difference."""
    for missing in layout.names:
        header = [name for name in layout.names if name != missing]
        with pytest.raises(BadHeader) as error:
            layout.map_header(header)
        assert _differences(error.value) == {"missing": missing}
        assert error.value.facts["seen"] == ",".join(header)


@EVERY_LAYOUT
def test_reject_an_unknown_column(layout: Layout) -> None:
    """The error names the unknown column, because its values would be lost."""
    with pytest.raises(BadHeader) as error:
        layout.map_header([*layout.names, ' "Weather" '])
    assert _differences(error.value) == {"unknown": "Weather"}


@EVERY_LAYOUT
def test_reject_a_duplicated_column(layout: Layout) -> None:
    """The error names a column that occurs twice in any letter case."""
    first = layout.names[0]
    with pytest.raises(BadHeader) as error:
        layout.map_header([*layout.names, first.upper()])
    assert _differences(error.value) == {"duplicated": first}


@EVERY_LAYOUT
@pytest.mark.parametrize("name", ["", " ", '""', '" "', "Unnamed: 0", "unnamed: 0.1", '"Unnamed: 20"'])
@pytest.mark.parametrize("place", ["first", "last", "third"])
def test_reject_an_unnamed_column(layout: Layout, name: str, place: str) -> None:
    """A column without a name has its own error, which says where it is and how to write the file without an index."""
    at = {"first": 0, "last": len(layout.names), "third": 2}[place]
    header = [*layout.names[:at], name, *layout.names[at:]]
    with pytest.raises(UnnamedColumn) as error:
        layout.map_header(header)
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
        FHV.map_header(header)
    assert error.value.facts["column"] == column


@pytest.mark.parametrize(
    "header",
    [
        ["", *FHV.names[1:]],
        ["", *GREEN.names],
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
        FHV.map_header(header)
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
            FHV.map_header(header)
        assert ("index=False" in str(error.value)) == suspected


@EVERY_LAYOUT
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_reject_another_delimiter(layout: Layout, delimiter: str, quote: str) -> None:
    """A header of any color with another delimiter has its own error, with the delimiter and a remedy."""
    line = delimiter.join(f"{quote}{name}{quote}" for name in layout.names)
    for expected in LAYOUTS.values():
        with pytest.raises(WrongDelimiter) as error:
            expected.map_header(line.split(","))
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
        layout.map_header(line.split(","))
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
        layout.map_header(line.split(","))
    assert error.value.facts["delimiter"] == delimiter
    assert error.value.explain().endswith(f"{HEADERS[layout.color]} [missing-header]")
    assert (repr(delimiter) in str(error.value)) == (delimiter != ",")


@pytest.mark.parametrize(
    "line", ["a;b;c", "New York taxi trips|April 2020", "name\tvalue\tnote", "VendorID;1", ",,,", "x,1,2"]
)
def test_reject_other_text(line: str) -> None:
    """A first line without known names, dates or numbers only is not mistaken for a file of trips."""
    with pytest.raises(BadHeader) as error:
        GREEN.map_header(line.split(","))
    assert error.type is BadHeader


def test_license_numbers() -> None:
    """Only the two base numbers of fhv are license numbers."""
    licenses = {
        (layout.color, column.name) for layout in LAYOUTS.values() for column in layout.columns if column.is_license
    }
    assert licenses == {("fhv", "dispatching_base_num"), ("fhv", "Affiliated_base_number")}


def test_error_has_all_differences() -> None:
    """One error has all missing, unknown and duplicated columns, and the header."""
    with pytest.raises(BadHeader) as error:
        FHV.map_header(["Pickup_datetime", "pickup_datetime", "locationID", *FHV.names[2:]])
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
        YELLOW.map_header([f"<html>\0\r{number}" for number in range(100_000)])
    assert str(error.value.facts["seen"]).startswith("<html>??0,")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1_500
