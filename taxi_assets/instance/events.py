"""Reads the instance's events as stored JSON, because deserializing them into Dagster objects takes ten times as long.

Not here: what the events mean (`partition_status`, `failures`).
"""

from typing import TYPE_CHECKING, cast

import dagster as dg

from taxi_assets.instance._dagster import SqlEventLogStorage, SqlEventLogStorageTable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

EVENTS = SqlEventLogStorageTable


def stored_events(instance: dg.DagsterInstance, wanted: "ColumnElement[bool]") -> list[tuple[int, str]]:
    """Return the storage ID and the JSON of each stored event that meets the condition `wanted`."""
    columns = EVENTS.select().with_only_columns(EVENTS.c.id, EVENTS.c.event)
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        return [(number, event) for number, event in connection.execute(columns.where(wanted))]
