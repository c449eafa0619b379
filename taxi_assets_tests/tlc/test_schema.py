"""The columns of each color, and how the TLC's drifting headers map onto them."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from taxi_assets.errors import BadHeader
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
def test_layout_has_the_tlcs_columns_in_its_order(layout: Layout) -> None:
    """A color's columns are those of its files since 2019; tables add `file_month` at the end."""
    assert ",".join(layout.names) == HEADERS[layout.color]
    assert layout.table_columns == (*layout.columns, FILE_MONTH)


@EVERY_LAYOUT
def test_arrow_schema_has_the_types_of_the_contract(layout: Layout) -> None:
    """Ids and counts are int64, money double, flags string, times timestamp[us] without a zone, the month date32."""
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
def test_columns_are_of_their_kind(layout: Layout, kind: Kind, names: set[str]) -> None:
    """What is counted or looked up is an integer, what is a name is text."""
    assert {column.name for column in layout.columns if column.kind is kind} == names


@EVERY_LAYOUT
def test_columns_have_names_apart_in_any_case_and_meanings(layout: Layout) -> None:
    """No two names differ by case alone, for Postgres lowers them, and each column says what it means."""
    assert len({column.name.lower() for column in layout.table_columns}) == len(layout.table_columns)
    assert all(column.meaning.endswith(".") for column in layout.table_columns)


@EVERY_LAYOUT
def test_roles_are_columns_of_their_kind(layout: Layout) -> None:
    """Times are timestamps, zones and passengers integers, the total a decimal; fhv lacks the last two."""
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
def test_codes_are_those_of_the_data_dictionary(layout: Layout, codes: dict[str, set[int | str]]) -> None:
    """Coded columns have the codes that the TLC defines, of the column's own kind."""
    assert {column.name: set(column.codes) for column in layout.coded} == codes
    types = {Kind.integer: int, Kind.text: str}
    assert all(isinstance(code, types[column.kind]) for column in layout.coded for code in column.codes)


@EVERY_LAYOUT
def test_meaning_of_a_coded_column_lists_its_codes(layout: Layout) -> None:
    """Whoever reads the meaning of a column, such as a comment in a database, sees what each code stands for."""
    for column in layout.coded:
        assert all(f" {code} {text}" in column.meaning for code, text in column.codes.items())


def test_layouts_cannot_be_changed() -> None:
    """What one part of the project reads about a color, no other part can have altered; columns can be in a set."""
    with pytest.raises(FrozenInstanceError):
        YELLOW.pickup = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        LAYOUTS["blue"] = YELLOW  # type: ignore[index]
    with pytest.raises(TypeError):
        YELLOW.coded[0].codes[4] = "x"  # type: ignore[index]
    assert len(set(GREEN.columns)) == len(GREEN.columns)


@EVERY_LAYOUT
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title, str.swapcase, lambda name: f' "{name} "\t'])
def test_header_maps_in_any_spelling(layout: Layout, spelled: Callable[[str], str]) -> None:
    """Letter case, and spaces and quotes around a name, do not matter."""
    assert layout.map_header([spelled(name) for name in layout.names]) == layout.names


@EVERY_LAYOUT
def test_header_maps_in_any_order(layout: Layout) -> None:
    """The names come back canonical, in the order of the file."""
    turned = (*layout.names[2:], *reversed(layout.names[:2]))
    assert layout.map_header([name.upper() for name in turned]) == turned


@EVERY_LAYOUT
def test_missing_column_is_refused_by_name(layout: Layout) -> None:
    """A header without one of the columns is refused, whichever it is; nothing else is held against it."""
    for missing in layout.names:
        with pytest.raises(BadHeader, match=rf"{layout.color} month since 2019.*\. missing: {missing}\. Seen: "):
            layout.map_header([name for name in layout.names if name != missing])


@EVERY_LAYOUT
def test_unknown_column_is_refused_as_it_is_spelled(layout: Layout) -> None:
    """A header with a column more is refused: its values must not vanish."""
    with pytest.raises(BadHeader, match=r"2019\. unknown: Weather\. Seen: "):
        layout.map_header([*layout.names, ' "Weather" '])


@EVERY_LAYOUT
def test_doubled_column_is_refused_in_any_case(layout: Layout) -> None:
    """A name that is there twice is refused: which of the two would it be."""
    first = layout.names[0]
    with pytest.raises(BadHeader, match=rf"2019\. there twice: {first}\. Seen: "):
        layout.map_header([*layout.names, first.upper()])


def test_every_difference_is_told_with_what_was_seen_and_what_to_do() -> None:
    """One error names all that is missing, unknown and double, the header, and where to look."""
    with pytest.raises(BadHeader) as refused:
        FHV.map_header(["Pickup_datetime", "pickup_datetime", "locationID", *FHV.names[2:]])
    assert str(refused.value) == (
        "the header is not that of a fhv month since 2019. missing: dispatching_base_num; unknown: locationID; "
        "there twice: pickup_datetime. Seen: Pickup_datetime,pickup_datetime,locationID,dropOff_datetime,PUlocationID,"
        "DOlocationID,SR_Flag,Affiliated_base_number. Check the color, the month and the source's address"
    )


def test_error_about_what_is_no_header_stays_short() -> None:
    """A web page in one line is told by its beginning, not repeated."""
    with pytest.raises(BadHeader, match="<html>0") as refused:
        YELLOW.map_header([f"<html>{number}" for number in range(100_000)])
    assert len(str(refused.value)) < 1_500
