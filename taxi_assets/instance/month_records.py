"""What the instance recorded when a month was loaded: its fetch, the rows that were rejected, and its checks.

Not here: the status of a month (`partition_status`), and the metadata itself (`defs`).
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from taxi_assets.instance.events import batched, event_data, newest_materializations, reading_event
from taxi_assets.instance.partition_status import read_month
from taxi_assets.keys import asset_key
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from taxi_assets.instance._dagster import SqlEventLogStorage


@dataclass(frozen=True)
class Fetch:
    """Where and when a raw file was fetched: its path or URL, size in bytes, hexadecimal SHA-256, and source version.

    `version` is the ETag or the date of the file at the source; empty if the source has neither.
    """

    address: str
    bytes: int
    sha256: str
    version: str
    at: datetime


@dataclass(frozen=True)
class Cleaning:
    """The counts of a month's cleaning: its raw rows, the rows rejected for each reason, and its missing values.

    `nulls` has the number of missing values of each column in the clean file, without columns that have none.
    """

    raw_rows: int
    rejected: Mapping[str, int]
    nulls: Mapping[str, int]


@dataclass(frozen=True)
class CheckResult:
    """The newest result of a check of a month. `only_warns` is true if a failure does not stop the month."""

    asset: str
    name: str
    passed: bool
    only_warns: bool
    figures: Mapping[str, object] = field(default_factory=dict)


def read_fetches(instance: dg.DagsterInstance, color: str) -> dict[TripMonth, Fetch]:
    """Return the newest fetch of each month of a color. Months that were loaded without a fetch are left out."""
    return {
        month: Fetch(
            str(values["source"]),
            cast("int", values.get("bytes", 0)),
            str(values.get("sha256", "")),
            str(values.get("etag") or values.get("last_modified") or ""),
            at,
        )
        for month, (values, at) in _newest_metadata(instance, color, "raw_trips").items()
        if values.get("source")
    }


def read_cleanings(instance: dg.DagsterInstance, color: str) -> dict[TripMonth, Cleaning]:
    """Return the counts of the newest cleaning of each month of a color."""
    return {
        month: Cleaning(
            cast("int", values["raw_rows"]),
            _counts(values, "rejected_by_reason", "reason"),
            _counts(values, "nulls_by_column", "column"),
        )
        for month, (values, _) in _newest_metadata(instance, color, "clean_trips").items()
        if "raw_rows" in values
    }


def _counts(values: Mapping[str, Any], label: str, what: str) -> dict[str, int]:
    """Return the counts of a table of `defs.metadata.counts_table`, without those that are 0."""
    return {str(row[what]): int(row["rows"]) for row in values.get(label, ()) if row["rows"]}


def read_checks(instance: dg.DagsterInstance, months: Collection[TripMonth]) -> dict[TripMonth, list[CheckResult]]:
    """Return the newest result of each check of these months, in the order in which the checks were first evaluated."""
    from sqlalchemy import select

    from taxi_assets.instance._dagster import AssetCheckExecutionsTable

    table = AssetCheckExecutionsTable.c
    columns = select(table.id, table.asset_key, table.check_name, table.partition, table.evaluation_event)
    newest: dict[tuple[str, str, str], str] = {}
    with cast("SqlEventLogStorage", instance.event_log_storage).index_connection() as connection:
        for keys in batched(sorted({month.month for month in months})):
            evaluated = table.partition.in_(keys) & table.evaluation_event.is_not(None)
            for _, key, name, partition, event in connection.execute(columns.where(evaluated).order_by(table.id)):
                newest[key, name, partition] = event
    found: dict[TripMonth, list[CheckResult]] = {month: [] for month in months}
    for (key, name, partition), event in newest.items():
        path = json.loads(key)
        month = read_month(path[0], partition) if len(path) == len(("color", "name")) else None
        with reading_event():
            evaluation = event_data(json.loads(event))
            if month in found and "success" in evaluation:
                only_warns = str(evaluation["severity"]).endswith("WARN'}")
                figures = _values(evaluation["metadata"].items())
                found[month].append(CheckResult(path[1], name, evaluation["success"], only_warns, figures))
    return found


def _newest_metadata(
    instance: dg.DagsterInstance, color: str, name: str
) -> dict[TripMonth, tuple[dict[str, Any], datetime]]:
    """Return the metadata and the time of the newest materialization of each month of an asset."""
    found = {}
    for _, partition, _, stored in newest_materializations(instance, [asset_key(color, name)]):
        if month := read_month(color, partition):
            with reading_event():
                event = json.loads(stored)
                entries = event_data(event)["materialization"]["metadata_entries"]
                values = _values((entry["label"], entry["entry_data"]) for entry in entries)
                found[month] = values, datetime.fromtimestamp(event["timestamp"], UTC)
    return found


def _values(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the plain values of stored metadata: numbers, texts, and tables as lists of dictionaries."""
    return {
        label: [record["data"] for record in entry["records"]]
        if "records" in entry
        else next((entry[kind] for kind in ("value", "text", "url", "path") if kind in entry), None)
        for label, entry in entries
    }
