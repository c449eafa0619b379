"""The tables of a BigQuery dataset: creates missing tables, validates their schema, adds missing columns.

Not here: their rows (`bigquery`).
"""

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import CannotCreate, IncompatibleTable, TablesExpire, WrongLocation
from taxi_assets.stores.google.retry import RetryPolicy, describe_google_error
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import COLORS, TripMonth, trips_table

if TYPE_CHECKING:
    from google.cloud import bigquery

TYPES = {
    Kind.integer: "INT64",
    Kind.decimal: "FLOAT64",
    Kind.text: "STRING",
    Kind.timestamp: "DATETIME",
    Kind.date: "DATE",
}

_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
"""BigQuery's API returns the legacy SQL names of these types."""

REQUEST_S = 60.0
"""Timeout of a request, in seconds."""

LABELS = {"made_by": "taxi_assets"}


@dataclass(frozen=True)
class BigQueryTables:
    """The tables of a dataset, one per color. If the dataset does not exist, it is created in `location`."""

    client: "bigquery.Client"
    project: str
    dataset: str
    location: str
    retry_policy: RetryPolicy

    def name(self, month: TripMonth) -> str:
        """Return the name of the month's table, for SQL and for messages: project, dataset, table."""
        return f"{self.project}.{self.dataset}.{month.table}"

    def partition(self, month: TripMonth) -> "bigquery.TableReference":
        """Return a reference to the month's partition (`table$YYYYMM`), the destination of a load job."""
        return self.reference().table(f"{month.table}${month.month_id}")

    def reference(self) -> "bigquery.DatasetReference":
        """Return a reference to the dataset."""
        from google.cloud.bigquery import DatasetReference

        return DatasetReference(self.project, self.dataset)

    def ensure(self, month: TripMonth) -> bool:
        """Create the month's table if it does not exist, and add any missing columns. Return whether there was either.

        Raises StoreError if the table is incompatible (partitioning, columns, location), or if its partition expiration
        would immediately delete the month.
        """
        found = self.find(month.table)
        table = found or self._create(month)
        missing = self._require_compatible(month.color, table)
        _require_not_expired(month, table)
        layout = LAYOUTS[month.color]
        self.describe(table, layout.table_columns, layout.table_meaning)
        return found is None or bool(missing)

    def describe(self, table: "bigquery.Table", columns: Sequence[Column], meaning: str) -> None:
        """Add missing columns to a table, and set its description and those of its columns, where they differ.

        Columns of others stay as they are.
        """
        from google.api_core.exceptions import PreconditionFailed

        found = {field.name.lower() for field in table.schema}
        missing = [column for column in columns if column.name.lower() not in found]
        new = [*_described(table.schema, columns), *schema(missing)]
        if [field.to_api_repr() for field in new] != [field.to_api_repr() for field in table.schema] or (
            table.description != meaning
        ):
            table.schema, table.description = new, meaning
            with suppress(PreconditionFailed):  # another run has just changed the table
                self.client.update_table(table, ["schema", "description"], **self._request_options())

    def remove(self, month: TripMonth) -> None:
        """Delete the month's partition if it exists. Raises StoreError if the table is incompatible."""
        table = self.find(month.table)
        if table is not None:
            self._require_compatible(month.color, table)
            self.client.delete_table(self.partition(month), not_found_ok=True, **self._request_options())

    def probe(self) -> str:
        """Create and delete a test table, validate the tables of all colors, and return the status in one sentence.

        Raises StoreError if any of this fails, or if a table is incompatible.
        """
        from google.api_core.exceptions import NotFound

        try:
            dataset = self.client.get_dataset(self.reference(), **self._request_options())
        except NotFound:
            return f"{self.project}.{self.dataset} does not exist yet: the first load creates it in {self.location}"
        self._require_location(dataset.location)
        self._require_no_expiration(dataset)
        self._try_table()
        found = {color: self.find(trips_table(color)) for color in COLORS}
        tables = {color: table for color, table in found.items() if table}
        for color, table in tables.items():
            self._require_compatible(color, table)
        return (
            f"{self.project}.{self.dataset} is writable; it is in {dataset.location}; "
            f"tables: {len(tables)} of {len(COLORS)}"
        )

    def _try_table(self) -> None:
        """Create and delete a test table. It expires after an hour, in case this process is killed in between."""
        from google.cloud import bigquery

        name = f"taxi_doctor_{secrets.token_hex(4)}"
        table = bigquery.Table(self.reference().table(name), [_field(FILE_MONTH)])
        table.expires = datetime.now(UTC) + timedelta(hours=1)
        self.client.create_table(table, exists_ok=True, **self._request_options())
        self.client.delete_table(table, not_found_ok=True, **self._request_options())

    def find(self, name: str) -> "bigquery.Table | None":
        """Return a table of the dataset, or None if it does not exist."""
        from google.api_core.exceptions import NotFound

        try:
            return self.client.get_table(self.reference().table(name), **self._request_options())
        except NotFound:
            return None

    def _create(self, month: TripMonth) -> "bigquery.Table":
        layout = LAYOUTS[month.color]
        columns, meaning, order = layout.table_columns, layout.table_meaning, [layout.pickup]
        return self.create(month.table, columns, meaning, color=month.color, clustering=order)

    def create(
        self, name: str, columns: Sequence[Column], meaning: str, *, color: str = "", clustering: Sequence[str] = ()
    ) -> "bigquery.Table":
        """Create a table unless it exists, and the dataset if necessary. Return the table.

        A table of a color is partitioned by the month of the file.
        """
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        table = bigquery.Table(self.reference().table(name), schema(columns))
        table.description = meaning
        table.labels = {**LABELS, "color": color} if color else LABELS
        if color:
            table.time_partitioning = bigquery.TimePartitioning(
                type_=bigquery.TimePartitioningType.MONTH, field=FILE_MONTH.name
            )
        if clustering:
            table.clustering_fields = clustering

        try:
            return self.client.create_table(table, exists_ok=True, **self._request_options())
        except NotFound:
            self._create_dataset()
            return self.client.create_table(table, exists_ok=True, **self._request_options())

    def _create_dataset(self) -> None:
        from google.api_core.exceptions import BadRequest
        from google.cloud import bigquery

        dataset = bigquery.Dataset(self.reference())
        dataset.location = self.location
        dataset.labels = LABELS
        try:
            self.client.create_dataset(dataset, exists_ok=True, **self._request_options())
        except BadRequest as error:
            text = describe_google_error(error)
            raise CannotCreate(
                f'The dataset {self.project}.{self.dataset} was not created in "{self.location}": "{text}".',
                dataset=f"{self.project}.{self.dataset}",
                location=self.location,
                seen=text,
            ) from error

    def _require_compatible(self, color: str, table: "bigquery.Table") -> list[Column]:
        """Return the missing columns, which can be added. Raises StoreError if the table differs in any other way."""
        self._require_location(table.location)
        differences = "; ".join(_shape_differences(table) or _column_differences(color, table))
        if differences:
            name = f"{self.project}.{self.dataset}.{table.table_id}"
            raise IncompatibleTable(
                f"The table {name} cannot be used for {color} months: {differences}. The table was not changed.",
                color=color,
                table=name,
                seen=differences,
            )
        found = {field.name.lower() for field in table.schema}
        return [column for column in LAYOUTS[color].table_columns if column.name.lower() not in found]

    def _require_location(self, found: str | None) -> None:
        if found and found.lower() != self.location.lower():
            raise WrongLocation(
                f'The dataset {self.project}.{self.dataset} is in "{found}", but the configured location is '
                f'"{self.location}".',
                dataset=f"{self.project}.{self.dataset}",
                seen=found,
                expected=self.location,
            )

    def _require_no_expiration(self, dataset: "bigquery.Dataset") -> None:
        """Raise TablesExpire if new tables or partitions in the dataset expire, as in projects without billing."""
        limits = (dataset.default_table_expiration_ms, dataset.default_partition_expiration_ms)
        expiration_ms = min((int(limit) for limit in limits if limit is not None), default=None)
        if expiration_ms is not None:
            days = expiration_ms / _DAY_MS
            raise TablesExpire(
                f"New tables or partitions of the dataset {self.project}.{self.dataset} expire after {days:g} days, so "
                "most months would be deleted right after the load.",
                dataset=f"{self.project}.{self.dataset}",
                days=days,
                command="bq update --default_table_expiration 0 --default_partition_expiration 0 "
                f"{self.project}:{self.dataset}",
            )

    def listed(self) -> list[str]:
        """Return the names of the tables in the dataset. Empty if it does not exist, or if this account may not list.

        Reading a table does not require the permission to list tables.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            return sorted(
                table.table_id for table in self.client.list_tables(self.reference(), **self._request_options())
            )
        except (Forbidden, NotFound):
            return []

    def _request_options(self) -> dict[str, Any]:
        return request_options(self.retry_policy)


def request_options(retry_policy: RetryPolicy) -> dict[str, Any]:
    """Return the retry and timeout arguments of a request. No attempt may last longer than all attempts together."""
    return {"retry": retry_policy.retry(), "timeout": min(REQUEST_S, retry_policy.total_timeout_s)}


def schema(columns: Iterable[Column]) -> list["bigquery.SchemaField"]:
    """Return the schema of columns, with types and descriptions. All columns are NULLABLE."""
    return [_field(column) for column in columns]


def _field(column: Column) -> "bigquery.SchemaField":
    from google.cloud.bigquery import SchemaField

    return SchemaField(column.name, TYPES[column.kind], mode="NULLABLE", description=column.meaning)


def _described(fields: "Iterable[bigquery.SchemaField]", columns: Iterable[Column]) -> "list[bigquery.SchemaField]":
    """Return fields with the meanings of the columns as descriptions. Other fields stay as they are."""
    from google.cloud.bigquery import SchemaField

    meanings = {column.name.lower(): column.meaning for column in columns}
    return [
        SchemaField.from_api_repr(
            {**field.to_api_repr(), "description": meanings.get(field.name.lower(), field.description)}
        )
        if field.name.lower() in meanings
        else field
        for field in fields
    ]


def _shape_differences(table: "bigquery.Table") -> list[str]:
    """Return what is wrong with a table apart from its columns: its type or its partitioning."""
    if table.table_type != "TABLE":
        return [f"it is a {table.table_type}, expected a TABLE"]
    by = table.time_partitioning
    if by is None or (by.type_, by.field) != ("MONTH", FILE_MONTH.name):
        seen = f"partitioned by {by.type_} of {by.field or 'ingestion time'}" if by else "not partitioned by time"
        return [f"it is {seen}, but must be partitioned by MONTH of {FILE_MONTH.name}"]
    return []


def _column_differences(color: str, table: "bigquery.Table") -> list[str]:
    """Return the column differences that adding columns cannot fix. Extra NULLABLE columns are allowed."""
    expected = {column.name.lower(): column for column in LAYOUTS[color].table_columns}
    differences = []
    for field in table.schema:
        column = expected.get(field.name.lower())
        kind = _STANDARD.get(field.field_type, field.field_type)
        if column is None and field.mode == "REQUIRED":
            differences.append(f"{field.name} is REQUIRED, but is not a column of {color} months")
        if column is not None and (kind, field.mode) != (TYPES[column.kind], "NULLABLE"):
            differences.append(f"{field.name} is {kind} {field.mode}, expected {TYPES[column.kind]} NULLABLE")
    return differences


def _require_not_expired(month: TripMonth, table: "bigquery.Table") -> None:
    """Raise TablesExpire if the table's partition expiration is so short that the month is already expired."""
    expiration_ms = table.time_partitioning.expiration_ms
    end = datetime(month.end.year, month.end.month, 1, tzinfo=UTC)
    if expiration_ms is not None and end + timedelta(milliseconds=int(expiration_ms)) < datetime.now(UTC):
        days = int(expiration_ms) / _DAY_MS
        raise TablesExpire(
            f"Partitions of the table {table.table_id} expire {days:g} days after their month, so {month} would be "
            "deleted right after the load.",
            **month.facts,
            table=table.table_id,
            days=days,
            command=f"bq update --time_partitioning_expiration 0 {table.full_table_id}",
        )


_DAY_MS = 86_400_000
