"""Reads the instance's events as stored JSON, because deserializing them into Dagster objects takes ten times as long.

Not here: what the events mean (`partition_status`, `failures`).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import dagster as dg

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


def newest_materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, tuple[int, str]]:
    """Return the storage ID and the JSON of the newest materialization of each partition of an asset."""
    newest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    number_of = events_table().c.id
    found = (event for ids in batched(list(newest.values())) for event in stored_events(instance, number_of.in_(ids)))
    stored = dict(found)
    return {partition: (number, stored[number]) for partition, number in newest.items() if number in stored}


def stored_events(instance: dg.DagsterInstance, wanted: "ColumnElement[bool]") -> list[tuple[int, str]]:
    """Return the storage ID and the JSON of each stored event that meets the condition `wanted`."""
    table = events_table()
    columns = table.select().with_only_columns(table.c.id, table.c.event)
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return [(number, event) for number, event in connection.execute(columns.where(wanted))]
