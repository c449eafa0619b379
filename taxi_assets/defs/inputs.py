"""What an asset, a notebook or a test gets for months of trips: by type annotation, columns and partitions.

The metadata of an input has `columns`, the names of the columns to load, and `allow_missing_partitions`, which skips
months that are not loaded. Dagster's own I/O managers use the same names.

Not here: where the months are stored (`io_managers`, `stores`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, get_origin

import dagster as dg

from taxi_assets.errors import MissingUpstream, NoPartitionKey, UnknownColumn, UnsupportedInput
from taxi_assets.partitions import month_of
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS = "columns"
ALLOW_MISSING = "allow_missing_partitions"

FRAMES = "pandas.DataFrame, pyarrow.Table or pyarrow.RecordBatchReader"


class StoredTrips(Protocol):
    """The months of an asset in their store."""

    @property
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """The types other than data frames, and what loads a month as each of them. `Any` stands for no annotation.

        The functions raise MissingUpstream if the month is not stored.
        """
        ...

    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Return the columns of an asset's months. Raises UnsupportedInput if they cannot be read as a data frame."""
        ...

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield a month in parts, with these columns. Raises MissingUpstream if the month is not stored."""
        ...


def load_trips(stored: StoredTrips, context: dg.InputContext) -> object:
    """Return the input's partitions as the type of its annotation.

    A data frame has the rows of all partitions, month by month. For `dict[str, T]`, return a dictionary from partition
    key to T. Raises UnsupportedInput for any other type, UnknownColumn for a column that the asset does not have,
    NoPartitionKey if no partition was requested, and MissingUpstream if a month is not stored.
    """
    wanted, months = context.dagster_type.typing_type, _months(context)
    trips = _Input(stored, context)
    if wanted is not dict and get_origin(wanted) is not dict:
        return trips.load(wanted, months)
    value_type = get_args(wanted)[1] if get_args(wanted) else Path
    return {month.month: value for month, value in trips.load_each(value_type, months)}


class _Input:
    """The input of an asset, or what a notebook asks for."""

    def __init__(self, stored: StoredTrips, context: dg.InputContext) -> None:
        self._stored = stored
        self._asset = context.asset_key
        self._name = context.asset_key.to_user_string()
        self._metadata: Mapping[str, Any] = context.definition_metadata or {}
        self._log = context.log

    def load_each(self, wanted: Any, months: Sequence[TripMonth]) -> list[tuple[TripMonth, object]]:  # noqa: ANN401
        """Return each month as a value of its own."""
        loaded, skipped = [], []
        for month in months:
            try:
                loaded.append((month, self.load(wanted, [month], allow_missing=False)))
            except MissingUpstream:
                if not self._metadata.get(ALLOW_MISSING):
                    raise
                skipped.append(month)
        self._report(skipped)
        return loaded

    def load(self, wanted: Any, months: Sequence[TripMonth], *, allow_missing: bool = True) -> object:  # noqa: ANN401
        """Return these months as one value. Without `allow_missing`, a missing month raises MissingUpstream."""
        if find := self._stored.others.get(wanted):
            self._require_plain(wanted, months)
            return find(months[0])
        import pandas as pd
        import pyarrow as pa

        if wanted not in (pd.DataFrame, pa.Table, pa.RecordBatchReader):
            others = [_type_name(other) for other in self._stored.others if other is not Any]
            expected = ", ".join([*others, FRAMES])
            raise self._unsupported(wanted, f"cannot be loaded as {_type_name(wanted)}. Expected {expected}.")
        schema = self._stored.schema(self._asset)
        selected = pa.schema([schema.field(name) for name in self._columns(schema.names)])
        tables = self._read(months, selected.names, allow_missing=allow_missing and self._metadata.get(ALLOW_MISSING))
        if wanted is pa.RecordBatchReader:
            batches = (batch for table in tables for batch in table.to_batches())
            return pa.RecordBatchReader.from_batches(selected, batches)
        table = pa.concat_tables([selected.empty_table(), *tables])
        return table if wanted is pa.Table else to_pandas(table)

    def _read(
        self, months: Sequence[TripMonth], columns: Sequence[str], *, allow_missing: object
    ) -> "Iterator[pa.Table]":
        skipped = []
        for month in months:
            try:
                yield from self._stored.read(month, columns)
            except MissingUpstream:
                if not allow_missing:
                    raise
                skipped.append(month)
        self._report(skipped)

    def _report(self, skipped: Sequence[TripMonth]) -> None:
        if skipped:
            self._log.warning(
                "Skipped %s of %s that are not loaded: from %s to %s",
                len(skipped),
                self._name,
                skipped[0].month,
                skipped[-1].month,
            )

    def _require_plain(self, wanted: object, months: Sequence[TripMonth]) -> None:
        """Raise UnsupportedInput for a file or object of several months, or of only some columns."""
        if len(months) != 1:
            name = _type_name(wanted)
            raise self._unsupported(
                wanted, f"has {len(months)} partitions in this input. Expected {FRAMES}, or dict[str, {name}]."
            )
        if COLUMNS in self._metadata:
            raise self._unsupported(
                wanted, f"cannot be loaded as {_type_name(wanted)} with only some columns. Expected {FRAMES}."
            )

    def _columns(self, existing: Sequence[str]) -> list[str]:
        """Return the columns in the input's metadata, or all of them. Raises UnknownColumn."""
        given = self._metadata.get(COLUMNS, existing)
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise UnknownColumn(
                f'"{COLUMNS}" in the metadata of an input is "{given}". Expected a list of column names.',
                asset=self._name,
            )
        for name in given:
            if name not in existing:
                raise _unknown_column(self._name, str(name), existing)
        return list(dict.fromkeys(given))

    def _unsupported(self, wanted: object, problem: str) -> UnsupportedInput:
        return UnsupportedInput(f'"{self._name}" {problem}', asset=self._name, seen=_type_name(wanted))


def to_pandas(table: "pa.Table") -> "pd.DataFrame":
    """Return a table as a data frame and release its memory: do not use the table afterward.

    Integer columns have pandas' nullable type `Int64`, in every month, so that a missing value does not turn the whole
    column into decimals. Dates are timestamps, which pandas can compare and group.
    """
    import pandas as pd
    import pyarrow as pa

    types = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=types.get, date_as_object=False, split_blocks=True, self_destruct=True
    )
    return frame


def _months(context: dg.InputContext) -> list[TripMonth]:
    """Return the months of the input's partitions, in order."""
    if not context.has_asset_partitions:
        name = context.asset_key.to_user_string()
        raise NoPartitionKey(
            f'"{name}" was requested without a partition. Expected a month, such as 2020-03.', asset=name
        )
    return [month_of(context.asset_key, key) for key in sorted(context.asset_partition_keys)]


def _unknown_column(asset: str, name: str, existing: Sequence[str]) -> UnknownColumn:
    by_key = {column.lower(): column for column in existing}
    near = get_close_matches(name.lower(), by_key, n=1)
    hint = f'Did you mean "{by_key[near[0]]}"? ' if near else ""
    return UnknownColumn(
        f'"{asset}" has no column "{name}". {hint}Columns: {", ".join(existing)}.', asset=asset, seen=name
    )


def _type_name(wanted: object) -> str:
    """Return the name of a type as one writes it in an annotation."""
    if wanted is Any:
        return "Any, the type of a parameter without an annotation"
    if not isinstance(wanted, type):
        return str(wanted)
    package = wanted.__module__.partition(".")[0]
    return wanted.__qualname__ if package in ("builtins", "pathlib") else f"{package}.{wanted.__qualname__}"
