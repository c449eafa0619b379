"""Reads the instance's events as stored JSON, because deserializing them into Dagster objects takes ten times as long.

Not here: what the events mean (`partition_status`, `failures`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import dagster as dg

from taxi_assets.instance._dagster import DeserializationError, without_wiped

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table

    from taxi_assets.instance._dagster import SqlEventLogStorage

Value = TypeVar("Value")

_BATCH = 500
"""Number of values in a condition of a query. SQLite limits the parameters of a statement."""


def events_table() -> "Table":
    """Return the table in which the instance stores its events."""
    from taxi_assets.instance._dagster import SqlEventLogStorageTable

    return SqlEventLogStorageTable


def batched(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Split values into batches for the condition of a query."""
    return (values[at : at + _BATCH] for at in range(0, len(values), _BATCH))


@contextmanager
def reading_event() -> Iterator[None]:
    """Raise DeserializationError if the body does not find in a stored event what Dagster stores in it.

    The event is damaged then. The body should do nothing but look up values, because its own mistakes look the same.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DeserializationError(f"A stored event has an unexpected form: {type(error).__name__}: {error}") from error


def event_data(event: Mapping[str, Any]) -> Any:  # noqa: ANN401  # each type of event has a different form
    """Return the part of the JSON of an event that is specific to its type. Call it in `reading_event`."""
    return event["dagster_event"]["event_specific_data"]


def run_ids_of(instance: dg.DagsterInstance, events: Iterable[int]) -> dict[int, str]:
    """Return the run ID of each event with one of these storage IDs."""
    from sqlalchemy import select

    table = events_table().c
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return {
            number: run_id
            for ids in batched(sorted(set(events)))
            for number, run_id in connection.execute(select(table.id, table.run_id).where(table.id.in_(ids)))
        }


def newest_events(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], kind: dg.DagsterEventType
) -> dict[int, tuple[dg.AssetKey, str]]:
    """Return the asset and the partition of the newest event of a kind for each partition of assets, by storage ID.

    This is one query. Dagster's own method is for one asset, and opens the database twice for it.
    """
    from sqlalchemy import func, select

    events, by_name = events_table().c, {key.to_string(): key for key in keys}
    newest = (
        select(func.max(events.id), events.asset_key, events.partition)
        .where(events.asset_key.in_(by_name))
        .where(events.dagster_event_type == kind.value)
        .where(events.partition.is_not(None))
        .group_by(events.asset_key, events.partition)
    )
    storage = cast("SqlEventLogStorage", instance.event_log_storage)
    unwiped = without_wiped(storage, newest, keys)
    with storage.index_connection() as connection:
        return {number: (by_name[name], partition) for number, name, partition in connection.execute(unwiped)}


def newest_materializations(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]
) -> Iterator[tuple[dg.AssetKey, str, int, str]]:
    """Yield the asset, partition, storage ID and JSON of the newest materialization of each partition of assets."""
    newest, number_of = newest_events(instance, keys, dg.DagsterEventType.ASSET_MATERIALIZATION), events_table().c.id
    for ids in batched(sorted(newest)):
        for number, event in stored_events(instance, number_of.in_(ids)):
            yield *newest[number], number, event


def stored_events(instance: dg.DagsterInstance, wanted: "ColumnElement[bool]") -> list[tuple[int, str]]:
    """Return the storage ID and the JSON of each stored event that meets the condition `wanted`."""
    table = events_table()
    columns = table.select().with_only_columns(table.c.id, table.c.event)
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return [(number, event) for number, event in connection.execute(columns.where(wanted))]
