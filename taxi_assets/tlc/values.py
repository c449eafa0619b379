"""Convert the values of one column, as a file has them, to the type and form of a column of trips.

The same rules apply to CSVs and to Parquet files. Not here: how a file is read (`parse`, `published`).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from taxi_assets.tlc.constants import constant, texts
from taxi_assets.tlc.eras import Codes
from taxi_assets.tlc.schema import VENDOR_ID, Column, Kind

if TYPE_CHECKING:
    import pyarrow as pa

    Values: TypeAlias = pa.Array | pa.ChunkedArray

EXACT_INTEGERS = 2**53
"""The TLC also writes integers as decimals, such as `1.0`. Below this limit, a double represents them exactly."""

NULL_VALUES = ("", "\\N", "NULL", "N/A")
"""The values that are missing values in every column: empty fields, and how databases and spreadsheets write them."""

FIRST_MICROSECOND, LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999
"""0001-01-01 and the end of 9999 in microseconds since 1970: the dates that Python and BigQuery support."""

_DATE = r"^\d{4}-\d\d-\d\d"

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Converted(NamedTuple):
    """Converted values, and whether each of the original values does not fit the column; None if all of them fit.

    Values that do not fit are missing among the converted values.
    """

    values: "Values"
    unfit: "Values | None" = None


def convert(values: "Values", column: Column, codes: Codes | None = None) -> Converted:
    """Convert values to the type and form of a column. `codes` are those for text, by the text in lowercase."""
    if codes:
        values = _decode(_as_text(values), codes)
    return _CONVERSIONS[column.kind](values, column)


def _code_of(values: "Values", codes: Codes, type_: "pa.DataType") -> "Values":
    """Return the codes of text values in an Arrow type. Other values are missing."""
    return _map_distinct(values, lambda text: codes.get(text.strip().lower()), type_)


def absent(
    column: Column, type_: "pa.DataType", vendors: Codes | None, read: "pa.Table | pa.RecordBatch", vendor_field: str
) -> "Values":
    """Return the values of a column that a file does not have: missing, but for the IDs of vendors with a name.

    `vendors` are the codes of the file's era for the names of vendors, which are in the field `vendor_field`.
    """
    import pyarrow as pa

    if column.name == VENDOR_ID and vendors:
        return _code_of(_as_text(read.column(vendor_field)), vendors, type_)
    return pa.nulls(read.num_rows, type_)


def wrong_kind(column: Column) -> str:
    """Return why a value that does not fit a column is rejected."""
    return f"{column.name} is not {_KIND_NAMES[column.kind]}"


def are_exact(table: "pa.Table") -> bool:
    """Whether a double represents each integer of a table exactly."""
    from pyarrow import compute, types

    columns = (column for column in table.columns if types.is_integer(column.type))
    bounds = (compute.min_max(column).as_py().values() for column in columns)
    return all(value is None or abs(value) < EXACT_INTEGERS for pair in bounds for value in pair)


def can_convert(type_: "pa.DataType", kind: Kind) -> bool:
    """Whether columns of a kind can have values of an Arrow type."""
    from pyarrow import types

    number = types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_)
    text = types.is_string(type_) or types.is_large_string(type_) or types.is_dictionary(type_)
    if types.is_null(type_) or text:
        return True
    if kind is Kind.timestamp:
        return bool(types.is_timestamp(type_) and type_.tz is None)
    return bool(number) and kind in {Kind.integer, Kind.decimal, Kind.text}


def _to_integers(values: "Values", column: Column) -> Converted:
    import pyarrow as pa
    from pyarrow import compute, types

    if types.is_signed_integer(values.type) or types.is_null(values.type):
        return Converted(values.cast(pa.int64()))
    numbers, unfit = _to_doubles(values, column)
    small = compute.less(compute.abs(numbers), constant(EXACT_INTEGERS, numbers.type))
    fits = compute.and_(small, compute.equal(numbers, compute.floor(numbers)))
    kept, rest = _keep(numbers, fits)
    return Converted(kept.cast(pa.int64()), _either(unfit, rest))


def _to_decimals(values: "Values", column: Column) -> Converted:
    from pyarrow import compute

    numbers, unfit = _to_doubles(values, column)
    kept, rest = _keep(numbers, compute.is_finite(numbers))
    return Converted(kept, _either(unfit, rest))


def _to_doubles(values: "Values", column: Column) -> Converted:  # noqa: ARG001  # as the other conversions
    import pyarrow as pa
    from pyarrow import compute, types

    if types.is_float64(values.type):
        return Converted(values)
    if types.is_decimal(values.type):
        # The cast from a decimal is not to the nearest double.
        values = values.cast(pa.string())
    if not _is_text(values.type):
        return Converted(values.cast(pa.float64(), safe=False))
    text = _without_nulls(_as_text(values))
    kept, unfit = _keep(text, compute.match_substring_regex(text, _NUMBER))
    return Converted(compute.utf8_trim_whitespace(kept).cast(pa.float64()), unfit)


def _to_timestamps(values: "Values", column: Column) -> Converted:  # noqa: ARG001  # as the other conversions
    import pyarrow as pa
    from pyarrow import compute

    if _is_text(values.type):
        values = _without_nulls(_as_text(values))
    try:
        times, unfit = values.cast(pa.timestamp("us")), None
    except pa.ArrowInvalid:
        times, unfit = _to_microseconds(values)
    bounds = compute.min_max(times.cast(pa.int64())).as_py()
    if bounds["min"] is None or FIRST_MICROSECOND <= bounds["min"] <= bounds["max"] <= LAST_MICROSECOND:
        return Converted(times, unfit)
    first, last = (constant(end, pa.int64()).cast(times.type) for end in (FIRST_MICROSECOND, LAST_MICROSECOND))
    kept, rest = _keep(times, compute.and_(compute.greater_equal(times, first), compute.less_equal(times, last)))
    return Converted(kept, _either(unfit, rest))


def _to_microseconds(values: "Values") -> Converted:
    """Convert timestamps of which at least one has no exact equivalent in microseconds."""
    import pyarrow as pa
    from pyarrow import compute

    if _is_text(values.type):
        # pyarrow.compute.strptime accepts February 30.
        times = _parse_timestamps(_keep(_whole(values), compute.match_substring_regex(_whole(values), _DATE)).values)
        return Converted(times, compute.and_(values.is_valid(), times.is_null()))
    times = values.cast(pa.timestamp("us"), safe=False)
    return Converted(*_keep(times, compute.equal(times.cast(values.type, safe=False), values)))


def _parse_timestamps(text: "pa.Array") -> "pa.Array":
    """Parse text as timestamps, as in a CSV. Text that is not a timestamp becomes missing."""
    import pyarrow as pa

    try:
        return text.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.nulls(1, pa.timestamp("us"))
    # The error does not say which value is at fault.
    middle = len(text) // 2
    return pa.concat_arrays([_parse_timestamps(half) for half in (text[:middle], text[middle:])])


def _to_text(values: "Values", column: Column) -> Converted:
    from pyarrow import compute

    text = _as_text(values)
    if column.is_license:
        text = compute.utf8_upper(compute.utf8_trim_whitespace(text))
    if not column.codes:
        return Converted(_without_nulls(text))
    # Such columns have few distinct values, and some companies report a space instead of no value.
    blank = [value for value in text.unique().to_pylist() if value is not None and value.strip() in NULL_VALUES]
    return Converted(_without(text, blank) if blank else text)


def _decode(text: "Values", codes: Codes) -> "Values":
    """Replace text by its code. Other text stays as it is."""
    return _map_distinct(text, lambda value: str(codes.get(value.strip().lower(), value)), text.type)


def _map_distinct(text: "Values", function: "Callable[[str], int | str | None]", type_: "pa.DataType") -> "Values":
    """Apply a function to each distinct value."""
    import pyarrow as pa

    encoded = _whole(text).dictionary_encode()
    mapped = [None if value is None else function(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(mapped, type_).take(encoded.indices)


def _whole(values: "Values") -> "pa.Array":
    import pyarrow as pa

    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _as_text(values: "Values") -> "Values":
    import pyarrow as pa
    from pyarrow import types

    return values if types.is_string(values.type) else values.cast(pa.string())


def _without_nulls(text: "Values") -> "Values":
    return _without(text, NULL_VALUES)


def _without(text: "Values", missing: Sequence[str]) -> "Values":
    """Return text in which some values are missing."""
    from pyarrow import compute

    found = compute.is_in(text, texts(missing))
    return compute.if_else(found, constant(None, text.type), text) if compute.any(found).as_py() else text


def _is_text(type_: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_string(type_) or types.is_large_string(type_) or types.is_dictionary(type_))


def _keep(values: "Values", fits: "Values") -> Converted:
    """Return the values that fit or are missing, and which of the others do not fit."""
    import pyarrow as pa
    from pyarrow import compute

    if compute.all(fits, min_count=0).as_py():
        return Converted(values)
    fits = compute.fill_null(fits, constant(value=True, type_=pa.bool_()))
    return Converted(compute.if_else(fits, values, constant(None, values.type)), compute.invert(fits))


def _either(one: "Values | None", other: "Values | None") -> "Values | None":
    from pyarrow import compute

    return compute.or_(one, other) if one is not None and other is not None else other if one is None else one


_CONVERSIONS: Mapping[Kind, "Callable[[Values, Column], Converted]"] = MappingProxyType(
    {
        Kind.integer: _to_integers,
        Kind.decimal: _to_decimals,
        Kind.timestamp: _to_timestamps,
        Kind.text: _to_text,
    }
)

_KIND_NAMES = {
    Kind.integer: "an integer",
    Kind.decimal: "a decimal number",
    Kind.timestamp: "a timestamp",
    Kind.text: "text",
    Kind.date: "a date",
}
