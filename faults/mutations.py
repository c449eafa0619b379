"""Change files in ways that keep their structure, so that more than their first bytes is read.

`change` is the function that changes bytes without regard to what they are.
"""

import gzip
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Change: TypeAlias = Callable[[bytes, int], bytes]
"""Changes bytes to others, with a maximum length."""

_MAGIC = b"PAR1"

_END = 8
"""The length of the footer, and the magic bytes after it."""

_TYPES = (
    *(pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()),
    *(
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.binary(4),
        pa.dictionary(pa.int32(), pa.string()),
    ),
    *(pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "UTC")),
    *(pa.date32(), pa.date64(), pa.time64("us"), pa.duration("us"), pa.decimal128(38, 6), pa.decimal256(60, 2)),
    *(pa.list_(pa.int64()), pa.struct([("x", pa.int64())]), pa.map_(pa.string(), pa.int64())),
    pa.dictionary(pa.int32(), pa.float64()),
)

_VALUES = (
    *(None, 0, -1, 1, 265, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1),
    *(0.5, -0.0, 1e308, 5e-324, float("inf"), float("-inf"), float("nan")),
    *(
        "",
        " ",
        "NULL",
        "1",
        "1.0",
        "0x1F",
        "1e400",
        "N",
        "\0",
        "\ufeff",
        "\u202e",
        "é" * 70,
        "2021-01-05 08:00:00",
        "2021-02-30",
    ),
    *("0000-01-01", "9999-12-31 23:59:59.999999", "10000-01-01", "2021-01-05T08:00:00Z", True, b"\xff\xfe"),
)

_REFUSALS = (pa.ArrowException, OSError, OverflowError, TypeError, UnicodeError, ValueError)
"""What pyarrow raises for types and values that do not go together, and for files that it cannot read."""


def change_gzip(content: bytes, longest: int, seed: int, change: Change) -> bytes:
    """Change the text in gzip data, or sometimes the data itself."""
    chance = random.Random(seed)
    if chance.random() < _SOMETIMES:
        return change(content, longest)
    text = b""
    with suppress(OSError, EOFError, zlib.error):
        text = gzip.decompress(content)
    packed = gzip.compress(change(text, longest), chance.choice((1, 9)), mtime=0)
    if chance.random() < _SOMETIMES:
        at = chance.randrange(len(packed))
        packed = chance.choice(
            (packed[:at], packed + packed, packed + b"\0" * at, packed[:at] + b"\xff" + packed[at + 1 :])
        )
    return packed[:longest]


_SOMETIMES = 0.15


def change_parquet(content: bytes, longest: int, seed: int, change: Change) -> bytes:
    """Change the rows, columns and encodings of a Parquet file, or the bytes of its footer or pages."""
    chance = random.Random(seed)
    split = _split(content)
    if not split:
        return change(content, longest)
    pages, footer = split
    way = chance.random()
    if way < _REWRITES and (written := _rewrite(content, chance)) and len(written) <= longest:
        return written
    if way < _FOOTERS:
        footer = change(footer, max(longest - len(pages) - _END - len(_MAGIC), 1))
    elif pages:
        start = chance.randrange(len(pages))
        end = start + chance.choice((8, 64, len(pages)))
        part = pages[start:end]
        # The footer has the positions of pages.
        pages = pages[:start] + change(part, len(part)).ljust(len(part), b"\0")[: len(part)] + pages[end:]
    return b"".join((_MAGIC, pages, footer, len(footer).to_bytes(4, "little"), _MAGIC))


_REWRITES, _FOOTERS = 0.5, 0.75


def _split(content: bytes) -> tuple[bytes, bytes] | None:
    """Return the pages and the footer of a Parquet file, or None if it is none."""
    length = int.from_bytes(content[-_END:-4], "little")
    if not content.startswith(_MAGIC) or not content.endswith(_MAGIC) or length > len(content) - _END - len(_MAGIC):
        return None
    return content[len(_MAGIC) : len(content) - _END - length], content[len(content) - _END - length : -_END]


def _rewrite(content: bytes, chance: random.Random) -> bytes | None:
    """Write the rows of a file again with some changes; None if pyarrow cannot read or write them."""
    written = BytesIO()
    try:
        with pq.ParquetFile(BytesIO(content)) as file:
            if file.metadata.num_rows > _MOST_ROWS:
                return None
            table = file.read()
        for _ in range(chance.randrange(1, 4)):
            table = chance.choice(_CHANGES)(table, chance)
        pq.write_table(
            table,
            written,
            row_group_size=chance.choice((1, 3, 1000)),
            compression=chance.choice(("none", "snappy", "gzip", "zstd", "lz4", "brotli")),
            use_dictionary=chance.choice((True, False)),
            data_page_version=chance.choice(("1.0", "2.0")),
            version=chance.choice(("1.0", "2.4", "2.6")),
            write_statistics=chance.choice((True, False)),
            write_page_checksum=chance.choice((True, False)),
            use_deprecated_int96_timestamps=chance.choice((True, False)),
            store_schema=chance.choice((True, False)),
            data_page_size=chance.choice((16, 1 << 20)),
        )
    except _REFUSALS:
        return None
    return written.getvalue()


_MOST_ROWS = 1000


def _cast(table: pa.Table, chance: random.Random) -> pa.Table:
    at = chance.randrange(table.num_columns)
    type_ = chance.choice(_TYPES)
    values: pa.ChunkedArray | pa.Array
    try:
        values = table.column(at).cast(type_, safe=False)
    except _REFUSALS:
        values = pa.nulls(table.num_rows, type_)
    return table.set_column(at, table.column_names[at], values)


def _replace(table: pa.Table, chance: random.Random) -> pa.Table:
    """Replace some values of a column by extreme ones, of any type that has them."""
    at, rows = chance.randrange(table.num_columns), table.num_rows
    values = [chance.choice(_VALUES)] * rows if chance.random() < _SOMETIMES else table.column(at).to_pylist()
    for _ in range(chance.randrange(3)):
        if rows:
            values[chance.randrange(rows)] = chance.choice(_VALUES)
    types = (table.column(at).type, None, pa.string())
    for type_ in types:
        with suppress(*_REFUSALS):
            return table.set_column(at, table.column_names[at], pa.array(values, type_, from_pandas=False))
    return table


def _rename(table: pa.Table, chance: random.Random) -> pa.Table:
    names, at = list(table.column_names), chance.randrange(table.num_columns)
    name = names[at]
    others = (name.upper(), f" {name} ", f'"{name}"', "", name * 100, f"{name}\0", "\ufeff" + name, f"{name}.x")
    names[at] = chance.choice((*others, names[0], "Unnamed: 0", "__index_level_0__"))
    return table.rename_columns(names)


def _resize(table: pa.Table, chance: random.Random) -> pa.Table:
    rows = chance.choice((0, 1, table.num_rows // 2, table.num_rows))
    return pa.concat_tables([table.slice(0, rows)] * chance.choice((1, 1, 2)))


def _columns(table: pa.Table, chance: random.Random) -> pa.Table:
    at = chance.randrange(table.num_columns)
    if chance.random() < _HALF and table.num_columns > 1:
        return table.remove_column(at)
    other = chance.randrange(table.num_columns)
    return table.add_column(at, chance.choice(("", "Unnamed: 0", table.column_names[other])), table.column(other))


_HALF = 0.5

_CHANGES = (_cast, _cast, _replace, _replace, _replace, _rename, _resize, _columns)
