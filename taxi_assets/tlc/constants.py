"""Constants as Arrow values, made without pandas.

pyarrow's own functions for Python values (`scalar`, `array`, and each compute function that is given a number) import
pandas if it is installed, which takes 0.2 s and 40 MB in each process that loads months.
"""

from collections.abc import Sequence
from datetime import date
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def constant(value: float | date | None, type_: "pa.DataType") -> "pa.Scalar":
    """Return a value as a scalar of an Arrow type: a number, a truth value, a date, or a timestamp in microseconds."""
    import numpy as np
    import pyarrow as pa

    if value is None:
        return pa.nulls(1, type_)[0]
    kind = {"date32[day]": "datetime64[D]", "timestamp[us]": "datetime64[us]"}.get(str(type_), type_.to_pandas_dtype())
    values = np.array([value], kind)
    if pa.types.is_boolean(type_):
        values = np.packbits(values, bitorder="little")
    elif pa.types.is_date32(type_):
        values = values.astype(np.int32)
    return pa.Array.from_buffers(type_, 1, [None, pa.py_buffer(values.tobytes())])[0]


def texts(values: Sequence[str]) -> "pa.Array":
    """Return texts as an array."""
    import numpy as np
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.array([0, *accumulate(map(len, encoded))], np.int32)
    buffers = [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
