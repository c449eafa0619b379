"""The Arrow types of the columns of a Postgres query, and the conversion of its rows.

Not here: how the rows are read (`store`).
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import BadQuery

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg2.extensions import Column

_NUMERIC = 1700

_MAX_DIGITS = 38
"""The most digits of Arrow's decimal128."""


def result_schema(columns: "Sequence[Column]") -> "pa.Schema":
    """Return the Arrow schema of the columns that a cursor describes.

    Numbers, dates, times and bytes keep their types. A numeric without a precision, such as an average, is a double.
    Any other type, such as an array or JSON, is text.
    """
    import pyarrow as pa

    # By the OIDs of pg_type.
    types = {
        16: pa.bool_(),
        17: pa.binary(),
        20: pa.int64(),
        21: pa.int16(),
        23: pa.int32(),
        26: pa.int64(),
        700: pa.float32(),
        701: pa.float64(),
        1082: pa.date32(),
        1083: pa.time64("us"),
        1114: pa.timestamp("us"),
        1184: pa.timestamp("us", "UTC"),
    }
    return pa.schema(
        [
            (
                column.name,
                _numeric(column) if column.type_code == _NUMERIC else types.get(column.type_code, pa.string()),
            )
            for column in columns
        ]
    )


def _numeric(column: "Column") -> "pa.DataType":
    import pyarrow as pa

    if column.precision and column.precision <= _MAX_DIGITS and 0 <= (column.scale or 0) <= column.precision:
        return pa.decimal128(column.precision, column.scale or 0)
    return pa.float64()


def to_record_batch(rows: Sequence[Sequence[Any]], schema: "pa.Schema") -> "pa.RecordBatch":
    """Convert rows of psycopg2 to a record batch. Raises BadQuery for a value that its type cannot represent."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.record_batch([_array(values, field) for values, field in zip(columns, schema, strict=True)], schema)


def _array(values: Sequence[Any], field: "pa.Field") -> "pa.Array":
    import pyarrow as pa

    if pa.types.is_string(field.type):
        values = [_text(value) for value in values]
    elif pa.types.is_float64(field.type):
        values = [value if value is None else float(value) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise BadQuery(
            f'A value of the column "{field.name}" is not a valid {field.type}: {error}. Cast the column to text.',
            seen=field.name,
            expected=str(field.type),
        ) from error


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)
