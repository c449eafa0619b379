"""Writes the result of a query to a Parquet file.

Not here: the query (the stores).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import BadQuery
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.query_result import ARROW_ROWS

if TYPE_CHECKING:
    import pyarrow as pa


def write_query_file(
    target: Path, batches: "Iterable[pa.RecordBatch]", report: Callable[[int], None] = lambda _: None
) -> int:
    """Write record batches to a Parquet file atomically, and return the number of rows.

    There is at least one batch, which has the schema. After each row group, `report` gets the number of rows so far.
    The file is compressed with zstd. An existing file is replaced; if anything fails, it stays as it is. Raises
    BadQuery for a result that Parquet cannot represent, and StoreError for a file that cannot be written.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    groups = _row_groups(batches)
    first = next(groups)
    _require_columns(first.schema.names)
    rows = 0
    with StagedFile(target) as staged:
        try:
            with ParquetWriter(staged.path, first.schema, compression="zstd") as writer:
                while first is not None:
                    writer.write_table(first)
                    rows += first.num_rows
                    report(rows)
                    first = next(groups, None)
        except pa.ArrowNotImplementedError as error:
            raise BadQuery(
                f"The result cannot be written to Parquet: {error}. Cast the column to text.", path=str(target)
            ) from error
        staged.publish()
    return rows


def _row_groups(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Yield tables of at least `ARROW_ROWS` rows, except the last one. There is always one."""
    import pyarrow as pa

    kept: list[pa.RecordBatch] = []
    for batch in batches:
        kept.append(batch)
        if sum(one.num_rows for one in kept) >= ARROW_ROWS:
            yield pa.Table.from_batches(kept)
            kept = []
    if kept:
        yield pa.Table.from_batches(kept)


def _require_columns(names: list[str]) -> None:
    """Raise BadQuery if there are no columns, or two with the same name: programs could read only one of them."""
    if not names:
        raise BadQuery("The statement returns no columns, so there is nothing to write.")
    require_unique(names)


def require_unique(names: Iterable[str]) -> None:
    """Raise BadQuery if two columns of a result have the same name: only one of them could be read by its name."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise BadQuery(
            f'The result has several columns with the name "{repeated[0]}". Give each one a name with AS.',
            seen=repeated[0],
        )
