"""The tables of marts and zones in a BigQuery dataset, and the views on all tables.

A query computes the figures. Its result, a few hundred rows, is loaded into the month's partition with a load job,
which is free and atomic, and which projects without billing can run. Not here: the tables of trips (`bigquery_tables`),
running queries (`bigquery`), and the SQL (`stores.mart_sql`, `stores.mart_views`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from taxi_assets.errors import IncompatibleTable
from taxi_assets.stores.google.bigquery_tables import LABELS, BigQueryTables, request_options, schema
from taxi_assets.stores.mart_sql import to_bigquery
from taxi_assets.stores.mart_views import View, build_views, table_names
from taxi_assets.tlc.marts import MARTS, ZONE_COLUMNS, ZONES_MEANING, ZONES_TABLE, Mart
from taxi_assets.tlc.schema import Column
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery


@dataclass(frozen=True)
class BigQueryMarts:
    """The tables of marts and zones, next to the tables of trips in `tables`. `longest_job_s` limits a load job.

    `run_query` runs a statement that creates a view, which is free and needs no billing.
    """

    tables: BigQueryTables
    longest_job_s: float
    run_query: Callable[[str], object]

    def replace_mart(self, mart: Mart, month: TripMonth, rows: "pa.Table") -> None:
        """Replace a month in the table of a mart. Raises IncompatibleTable if the table has other columns."""
        name = mart.table(month.color)
        self._ensure(name, mart.columns, mart.meaning(month.color), month.color)
        self._load(f"{name}${month.month_id}", mart.columns, rows)

    def replace_zones(self, zones: "pa.Table") -> None:
        """Replace all taxi zones. Raises IncompatibleTable if the table has other columns."""
        self._ensure(ZONES_TABLE, ZONE_COLUMNS, ZONES_MEANING)
        self._load(ZONES_TABLE, ZONE_COLUMNS, zones)

    def existing(self, month: TripMonth) -> list[Mart]:
        """Return the marts whose tables exist for the color of a month."""
        return [mart for mart in MARTS if self.tables.find(mart.table(month.color))]

    def remove(self, mart: Mart, month: TripMonth) -> None:
        """Delete the month's partition from the table of a mart, if it exists."""
        partition = self.tables.reference().table(f"{mart.table(month.color)}${month.month_id}")
        self.tables.client.delete_table(partition, not_found_ok=True, **self._options())

    def create_views(self) -> None:
        """Create or replace the views that the existing tables allow.

        Leaves out a view if something else has its name: a table, or a view that this project did not create.
        """
        listed = self.tables.listed()
        found = {name: table for name in table_names() if name in listed and (table := self.tables.find(name))}
        tables = {name: [field.name for field in table.schema] for name, table in found.items()}
        for view in build_views(tables, self._place):
            self._create_view(view, self.tables.find(view.name) if view.name in listed else None)

    def _create_view(self, view: View, existing: "bigquery.Table | None") -> None:
        sql = to_bigquery(view.sql)
        if existing is None or (_is_own_view(existing) and existing.view_query != sql):
            labels = ", ".join(f"({json.dumps(name)}, {json.dumps(value)})" for name, value in LABELS.items())
            options = f"description = {json.dumps(view.meaning)}, labels = [{labels}]"
            name = f"`{self.tables.project}.{self.tables.dataset}.{view.name}`"
            self.run_query(f"CREATE OR REPLACE VIEW {name} OPTIONS ({options}) AS {sql}")

    def _place(self, table: str) -> str:
        """Return the name of a table in a view, which must be fully qualified."""
        return f'"{self.tables.project}"."{self.tables.dataset}"."{table}"'

    def _ensure(self, name: str, columns: Sequence[Column], meaning: str, color: str = "") -> None:
        expected = [column.name for column in columns]
        found = self.tables.find(name)
        if found is None:
            self.tables.create(name, columns, meaning, color=color)
        elif [field.name for field in found.schema] != expected:
            seen = ", ".join(field.name for field in found.schema)
            raise IncompatibleTable(
                f'The table "{name}" has other columns than expected. Seen: {seen}. Expected: {", ".join(expected)}. '
                "The table was not changed.",
                table=f"{self.tables.project}.{self.tables.dataset}.{name}",
                seen=seen,
            )
        else:
            self.tables.describe(found, columns, meaning)

    def _load(self, destination: str, columns: Sequence[Column], rows: "pa.Table") -> None:
        """Replace a table or partition with rows in one load job. Raises GoogleAPIError if the job fails."""
        import pyarrow.parquet as pq
        from google.cloud import bigquery

        file = BytesIO()
        pq.write_table(rows, file)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema(columns),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            labels=LABELS,
        )
        job = self.tables.client.load_table_from_file(
            file,
            self.tables.reference().table(destination),
            rewind=True,
            location=self.tables.location,
            job_config=config,
            timeout=self._options()["timeout"],
        )
        job.result(timeout=self.longest_job_s)

    def _options(self) -> dict[str, Any]:
        return request_options(self.tables.retry_policy)


def _is_own_view(table: "bigquery.Table") -> bool:
    """Whether this project created a table or view, and it is a view."""
    return bool(table.table_type == "VIEW" and LABELS.items() <= table.labels.items())
