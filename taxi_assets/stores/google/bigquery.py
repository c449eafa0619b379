"""The BigQuery warehouse: one table per color, partitioned by the file's month. One load job replaces a month.

A load job from the lake object into `table$YYYYMM` atomically replaces that partition and nothing else. It is free, and
the data does not pass through this process. There are no DML statements, because projects without billing cannot run
them.
Not here: the lake object (`gcs`) and its content.
"""

import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from taxi_assets.errors import (
    BadQuery,
    GoogleBilling,
    GooglePermission,
    GoogleQuota,
    InputChanged,
    LakeNotInBucket,
    LoadJobFailed,
    LoadJobInterrupted,
    LoadJobRunning,
    MissingUpstream,
    NothingLoaded,
    StoreBusy,
    TaxiAssetsError,
    TooManyLoadJobs,
    WrongLocation,
)
from taxi_assets.stores.google.addresses import dataset_of
from taxi_assets.stores.google.bigquery_marts import BigQueryMarts
from taxi_assets.stores.google.bigquery_tables import LABELS, REQUEST_S, BigQueryTables, request_options, schema
from taxi_assets.stores.google.retry import (
    TRANSIENT_REASONS,
    RetryPolicy,
    describe_google_error,
    error_reason,
    translate_google_errors,
)
from taxi_assets.stores.inventory import StoredItem, row_items
from taxi_assets.stores.lake import LakeObject, damaged_object
from taxi_assets.stores.mart_sql import mart_sql, no_trips, to_bigquery, trip_sums_sql
from taxi_assets.stores.query_result import QueryResult, unknown_table
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.stores.warehouse import missing_month, require_own_table
from taxi_assets.tlc.marts import ZONES_TABLE, Mart
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS, Column
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery
    from google.cloud.bigquery.table import RowIterator

    AnyJob = bigquery.LoadJob | bigquery.CopyJob | bigquery.ExtractJob | bigquery.QueryJob | bigquery.UnknownJob

Batch = TypeVar("Batch")

ROLES = (
    "the roles BigQuery Data Editor (roles/bigquery.dataEditor), BigQuery Job User (roles/bigquery.jobUser), and "
    "Storage Object Viewer (roles/storage.objectViewer) on the lake's bucket"
)

_log = logging.getLogger(__name__)

_MAX_JOBS_A_DAY = 500

TRIES = 4
"""Maximum number of load jobs for a month in one run."""


@dataclass(frozen=True)
class _Failure:
    """Why a load job failed: `reason` is Google's error reason, `message` its message."""

    reason: str
    message: str

    @property
    def transient(self) -> bool:
        """Whether a new load job may succeed, after the table has been created if it is missing."""
        return self.reason in TRANSIENT_REASONS or (self.reason == "notFound" and not self.object_missing)

    @property
    def object_missing(self) -> bool:
        """Whether the lake object was not found, rather than the table."""
        return "gs://" in self.message and self.reason == "notFound"


@dataclass(eq=False)
class BigQueryWarehouse:
    """A warehouse in the dataset at `url`, which is `bigquery://project/dataset`.

    `client_factory` returns a BigQuery client; jobs run in its project. If the dataset does not exist, it is created in
    `location`. `longest_job_s` is the maximum time to wait for a job, in seconds.
    """

    url: str
    client_factory: "Callable[[], bigquery.Client]"
    location: str = "US"
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    longest_job_s: float = 3600

    def __post_init__(self) -> None:
        self._project, self._dataset = dataset_of(self.url)

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Replace the month with the rows of the lake object, in one load job, and return the row count of the table.

        Raises StoreError if an existing table is incompatible (see `BigQueryTables.ensure`), or if the job fails, and
        InputChanged if the object has rows of another month; the month is then unchanged. Also raises InputChanged if
        the count differs from `rows`. A load job cannot be pinned to one generation of an object, so in that case the
        month contains whatever the object contained when the job ran.
        """
        if not lake_object.uri.startswith("gs://"):
            raise LakeNotInBucket(
                f'{month} was not loaded: its object is "{lake_object.uri}", but BigQuery loads only from gs:// URIs.',
                **month.facts,
                uri=lake_object.uri,
            )
        with self._errors(f"{month} was not loaded", month):
            self._load(month, lake_object)
            loaded = self._count(month)
        if loaded != rows:
            raise InputChanged(
                f"After the load, {month} has {loaded} rows in {self.table(month)}. Expected {rows}, as in "
                f"{lake_object.uri} before the load. The object may have changed in the meantime.",
                **month.facts,
                asset="lake_trips",
                table=self.table(month),
                uri=lake_object.uri,
                seen=loaded,
                expected=rows,
            )
        return loaded

    def table(self, month: TripMonth) -> str:
        """Return the fully qualified name of the month's table: project, dataset, table."""
        return f"{self._project}.{self._dataset}.{month.table}"

    def count(self, month: TripMonth) -> int:
        """Return the number of rows of the month, or 0 if it was never loaded."""
        from google.api_core.exceptions import NotFound

        with self._errors(f"The rows of {month} were not counted", month):
            try:
                return self._count(month)
            except NotFound:
                return 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist. The query is free."""
        from google.api_core.exceptions import NotFound

        with self._errors(f"The rows of {self.table(month)} were not counted", month):
            try:
                rows = self._run_query(f"SELECT count(*) FROM `{self.table(month)}`")
            except NotFound:
                return 0
            return int(next(iter(rows))[0])

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows.

        Google bills the query as a scan of all columns of the month's partition.
        """
        from google.api_core.exceptions import NotFound

        layout = LAYOUTS[month.color]
        with self._errors(f"{month} was not summarized", month):
            try:
                rows = self._query_month(month, select_list(layout, lambda name: f"`{name}`"))
            except NotFound:
                return no_rows(layout)
            return from_row(layout, next(iter(rows)).values())

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of the month in parts, in no particular order, with these columns only.

        Google bills the query as a scan of these columns of the month's partition. Raises MissingUpstream if the month
        was never loaded.
        """
        import pyarrow as pa
        from google.api_core.exceptions import NotFound

        layout = LAYOUTS[month.color].arrow_table_schema()
        schema = pa.schema([layout.field(name) for name in columns])
        with self._errors(f"{month} was not read from the warehouse", month):
            try:
                table = self._client.get_table(self.table(month), **self._request_options())
                existing = {field.name for field in table.schema}  # a table of an earlier release may lack some
                selected = (f"`{name}`" if name in existing else f"NULL AS `{name}`" for name in columns)
                found = self._query_month(month, ", ".join(selected))
            except NotFound:
                raise missing_month(month, self.table(month), "warehouse_trips") from None
            if not found.total_rows:
                raise missing_month(month, self.table(month), "warehouse_trips")
            for batch in found.to_arrow_iterable():
                yield pa.Table.from_batches([batch]).cast(schema)

    def replace_table(self, name: str, sql: str) -> int:
        """Replace a table of the user's own with the result of a SELECT statement, and return its row count.

        Raises BadQuery for any other statement, for invalid SQL, and for the name of a table of this project.
        """
        from google.api_core.exceptions import BadRequest
        from google.cloud.bigquery import QueryJobConfig

        require_own_table(name)
        config = QueryJobConfig(
            default_dataset=self._tables().reference(),
            destination=self._tables().reference().table(name),
            write_disposition="WRITE_TRUNCATE",
        )
        with self._errors(f'The table "{name}" was not replaced'):
            try:
                self._require_select(sql, self.retry_policy.brief())
                rows = self._run_query(sql, config)
            except BadRequest as error:
                text = describe_google_error(error)
                raise BadQuery(f'BigQuery rejected the query: "{text}".', seen=text) from error
            return int(rows.total_rows or 0)

    def stored_items(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's partitions of trips and of each mart as stored items with their row counts.

        A partition without rows is left out.
        """
        with self._errors(f"The figures of {month} were not counted", month):
            marts = [
                row_items(self._partition_name(month, mart.table(month.color)), self._count_mart(mart, month))
                for mart in self._marts().existing(month)
            ]
        return [*row_items(self._partition_name(month), self.count(month)), *chain.from_iterable(marts)]

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's partitions of trips and marts and return what was deleted.

        The API calls are free and run no SQL.

        BigQuery's time travel keeps the data for a week. Raises StoreError if the table is incompatible, and StoreBusy
        if the month has rows after the deletion.
        """
        items = self.stored_items(month)
        with self._errors(f"{month} was not deleted", month):
            self._tables().remove(month)
            for mart in self._marts().existing(month):
                self._marts().remove(mart, month)
        if remaining := self.count(month):
            table = self._partition_name(month)
            raise StoreBusy(
                f"After its deletion, {month} still has {remaining} rows in {table}. Expected none. Another run may "
                "have loaded them at the same time.",
                **month.facts,
                table=table,
                seen=remaining,
                expected=0,
            )
        return items

    def replace_mart(self, mart: Mart, month: TripMonth) -> "pa.Table":
        """Compute a mart for a month from its trips, replace the month in the mart's table, and return its rows.

        Google bills the query as a scan of the columns that it reads in the month's partition. Raises MissingUpstream
        if the month has no trips in the warehouse.
        """
        with self._errors(f"{mart.name} of {month} was not computed", month):
            if not self.count(month):
                raise no_trips(month, mart)
            found = self._run_query(to_bigquery(mart_sql(mart, LAYOUTS[month.color], [month.month])))
            rows = mart.arrange(_arrow_table(found, mart))
            self._marts().replace_mart(mart, month, rows)
            self._marts().create_views()
        return rows

    def sum_trips(self, month: TripMonth) -> dict[str, float]:
        """Return the number of trips of the month, and the sums of `fare`, `tips` and `total` that its color reports.

        Google bills the query as a scan of these columns of the month's partition.
        """
        with self._errors(f"The trips of {month} were not added up", month):
            (row,) = self._run_query(to_bigquery(trip_sums_sql(LAYOUTS[month.color], month.month)))
            return {name: value or 0 for name, value in row.items()}

    def mart_table(self, mart: Mart, color: str) -> str:
        """Return the fully qualified name of the table of a color's mart."""
        return f"{self._project}.{self._dataset}.{mart.table(color)}"

    def replace_zones(self, zones: "pa.Table") -> str:
        """Replace all taxi zones in one load job, and return the fully qualified name of their table."""
        with self._errors("The taxi zones were not loaded"):
            self._marts().replace_zones(zones)
            self._marts().create_views()
        return f"{self._project}.{self._dataset}.{ZONES_TABLE}"

    def query(
        self,
        sql: str,
        *,
        unsafe: bool = False,  # noqa: ARG002  # it cannot read local files
        limit: int | None = None,
    ) -> QueryResult:
        """Run a SELECT statement and return its result, or its first `limit` rows.

        Raises BadQuery for any other statement, invalid SQL or an unknown table, and NothingLoaded if the dataset or
        the table of a color does not exist yet.
        """
        with closing(self._select(sql, partial(_fetch, limit=limit))) as results:
            return next(results)

    def stream(self, sql: str, *, unsafe: bool = False) -> Generator[QueryResult, None, None]:  # noqa: ARG002  # as in `query`
        """Run one SELECT statement as `query` does, and yield the rows of each page of the result, at least one.

        Nothing stays locked: BigQuery stores the result before it sends the first page.
        """
        return self._select(sql, _row_batches)

    def stream_arrow(
        self,
        sql: str,
        *,
        unsafe: bool = False,  # noqa: ARG002  # as in `query`
    ) -> "Generator[pa.RecordBatch, None, None]":
        """Run one SELECT statement as `stream` does, and yield Arrow record batches with BigQuery's types."""
        return self._select(sql, _arrow_batches)

    def _select(self, sql: str, fetch: "Callable[[RowIterator], Iterator[Batch]]") -> Generator[Batch, None, None]:
        """Run one SELECT statement, and yield what `fetch` does with its result."""
        from google.api_core.exceptions import BadRequest, NotFound

        with self._errors("The query failed"):
            try:
                self._require_select(sql, self.retry_policy.brief())
                rows = self._run_query(sql)
            except NotFound as error:
                text = describe_google_error(error)
                if missing := _MISSING_TABLE.search(text):
                    raise unknown_table(missing[1], self._tables(self.retry_policy.brief()).listed()) from error
                raise NothingLoaded(
                    f'BigQuery did not find the dataset: "{text}".', seen=text, color=COLORS[0]
                ) from error
            except BadRequest as error:
                text = describe_google_error(error)
                raise BadQuery(f'BigQuery rejected the query: "{text}".', seen=text) from error
            yield from fetch(rows)

    def probe(self) -> str:
        """Dry-run a query, create and delete a test table, and return the status in one sentence. Raises StoreError."""
        with self._errors("The warehouse cannot be used"):
            brief = self.retry_policy.brief()
            self._require_select("SELECT 1", brief)
            return self._tables(brief).probe()

    def _load(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Load the month. Retries after a transient error, and if the table was deleted in the meantime."""
        for attempt in count(1):
            if self._tables().ensure(month):
                self._marts().create_views()
            failure = self._try_load(month, lake_object)
            if failure is None:
                return
            if failure.transient and attempt < TRIES:
                _log.warning("Starting load job %d of %d after an error: %s", attempt + 1, TRIES, failure.message)
                time.sleep(self.retry_policy.delay_s(attempt))
                continue
            raise _error(failure)(
                f"{month} was not loaded into {self.table(month)}: {failure.message}.",
                **month.facts,
                asset=_asset(failure),
                table=self.table(month),
                uri=lake_object.uri,
                roles=ROLES,
                seen=failure.message,
            )

    def _try_load(self, month: TripMonth, lake_object: LakeObject) -> _Failure | None:
        """Run one load job to its end. Returns None if it succeeds."""
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self._wait_for_other_jobs(month, lake_object)
            job = self._start(month, lake_object)
            self._wait(job, month)
        except (BadRequest, NotFound) as error:  # the request was rejected, or the new job's ID is not visible yet
            return _Failure(error_reason(error), describe_google_error(error))
        return _failure(job)

    def _wait_for_other_jobs(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Wait for jobs that load another version of the month: a job that finishes after ours would overwrite it.

        The load job of a killed run keeps running. Jobs of other accounts are not visible.
        """
        from google.api_core.exceptions import Forbidden

        prefix, partition = self._job_id(month, lake_object), self._tables().partition(month)
        with suppress(Forbidden):  # permission to create jobs does not imply permission to list them
            for state in ("pending", "running"):
                for job in self._client.list_jobs(state_filter=state, **self._request_options()):
                    if getattr(job, "destination", None) == partition and not str(job.job_id).startswith(prefix):
                        self._wait(job, month)

    def _start(self, month: TripMonth, lake_object: LakeObject) -> "bigquery.LoadJob":
        """Start the next load job for this object, or return one that is still running.

        Such a job was left by a run that was killed or lost its connection. BigQuery accepts each job ID only once, so
        resending a request whose response was lost cannot load the data twice.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        for attempt in range(1, _MAX_JOBS_A_DAY):
            job_id = f"{self._job_id(month, lake_object)}-{attempt}"
            try:
                job = self._get_job(job_id)
            except Forbidden:  # it belongs to another account
                continue
            except NotFound:
                job = self._insert(job_id, month, lake_object)
            else:
                if job.state == "DONE":
                    continue
            if _is_load(job, lake_object.uri, self._tables().partition(month)):
                return job
        raise TooManyLoadJobs(
            f"{month} was not loaded: {lake_object.uri} already has {_MAX_JOBS_A_DAY:,} load jobs today. All of them "
            "have finished or belong to another account.",
            **month.facts,
            uri=lake_object.uri,
            roles="the role BigQuery Resource Viewer (roles/bigquery.resourceViewer)",
        )

    def _job_id(self, month: TripMonth, lake_object: LakeObject) -> str:
        """Return the ID prefix of today's load jobs for an object, without the attempt number.

        It contains the date, so the attempt numbers restart every day and stay low however often a month is loaded.
        """
        today = f"{datetime.now(UTC):%Y%m%d}"
        parts = ("taxi_assets", self._dataset, month.color, month.month_id, lake_object.generation or 0, today)
        return "-".join(map(str, parts))

    def _get_job(self, job_id: str) -> "AnyJob":
        return self._client.get_job(job_id, location=self.location, **self._request_options())

    def _insert(self, job_id: str, month: TripMonth, lake_object: LakeObject) -> "AnyJob":
        """Start a job, or return the existing job if one with this ID was just created.

        That job is ours if the response to our request was lost; otherwise it belongs to another run.
        """
        from google.api_core.exceptions import Conflict
        from google.cloud import bigquery

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            # The table may have more columns. Their values are missing in the rows of the object.
            schema=schema(_columns(month, lake_object)),
            # The table exists. If it is deleted before the job runs, BigQuery must not recreate it: the new table
            # would be partitioned differently.
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            labels={**LABELS, "color": month.color, "month": month.month},
        )
        try:
            return self._client.load_table_from_uri(
                lake_object.uri,
                self._tables().partition(month),
                job_id=job_id,
                location=self.location,
                job_config=config,
                **self._request_options(),
            )
        except Conflict:
            return self._get_job(job_id)

    def _wait(self, job: "AnyJob", month: TripMonth) -> None:
        """Poll a job until it ends, with increasing intervals. Raises LoadJobRunning after `longest_job_s` seconds."""
        start = time.monotonic()
        for poll in count():
            if job.done(**self._request_options()):
                return
            seconds = time.monotonic() - start
            _log.info("Load job %s has been running for %.0f s", job.job_id, seconds)
            if seconds > self.longest_job_s:
                raise LoadJobRunning(
                    f"{month} is still being loaded: the job {job.job_id} did not finish within "
                    f"{self.longest_job_s / 60:g} minutes.",
                    **month.facts,
                    job=str(job.job_id),
                    command=f"bq show -j --location={self.location} {job.job_id}",
                )
            time.sleep(self.retry_policy.delay_s(poll))

    def _count(self, month: TripMonth) -> int:
        return int(next(iter(self._query_month(month, "count(*)")))[0])

    def _count_mart(self, mart: Mart, month: TripMonth) -> int:
        return int(next(iter(self._query_month(month, "count(*)", self.mart_table(mart, month.color))))[0])

    def _query_month(self, month: TripMonth, columns: str, table: str = "") -> "bigquery.table.RowIterator":
        """Run a query on the rows of one month, by default of its trips. `columns` is its select list."""
        from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

        sql = f"SELECT {columns} FROM `{table or self.table(month)}` WHERE {FILE_MONTH.name} = @month"
        parameters = [ScalarQueryParameter("month", "DATE", month.first_day)]
        return self._run_query(
            sql, QueryJobConfig(default_dataset=self._tables().reference(), query_parameters=parameters)
        )

    def _require_select(self, sql: str, retry_policy: RetryPolicy | None = None) -> None:
        """Check the statement type with a dry run, which is free. Raises BadQuery if it is not a SELECT."""
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(default_dataset=self._tables().reference(), dry_run=True)
        # Without job_retry=None, the client keeps restarting the query for ten minutes if the server does not respond.
        kind = self._client.query(
            sql, job_config=config, job_retry=None, **self._request_options(retry_policy)
        ).statement_type
        if kind not in (None, "SELECT"):
            raise BadQuery(
                f"The query is a {kind} statement, but only SELECT statements are allowed.",
                seen=kind,
                expected="SELECT",
            )

    def _run_query(self, sql: str, config: "bigquery.QueryJobConfig | None" = None) -> "bigquery.table.RowIterator":
        from google.cloud.bigquery import QueryJobConfig

        return self._client.query_and_wait(
            sql,
            job_config=config or QueryJobConfig(default_dataset=self._tables().reference()),
            location=self.location,
            retry=self.retry_policy.retry(),
            job_retry=self.retry_policy.retry(),
            api_timeout=REQUEST_S,
            wait_timeout=self.longest_job_s,
        )

    def _partition_name(self, month: TripMonth, table: str = "") -> str:
        return f"{self._project}.{self._dataset}.{table or month.table}${month.month_id}"

    @cached_property
    def _client(self) -> "bigquery.Client":
        return self.client_factory()

    def _request_options(self, retry_policy: RetryPolicy | None = None) -> dict[str, Any]:
        return request_options(retry_policy or self.retry_policy)

    def _tables(self, retry_policy: RetryPolicy | None = None) -> BigQueryTables:
        return BigQueryTables(
            self._client, self._project, self._dataset, self.location, retry_policy or self.retry_policy
        )

    def _marts(self) -> BigQueryMarts:
        return BigQueryMarts(self._tables(), self.longest_job_s, self._run_query)

    @contextmanager
    def _errors(self, context: str, month: TripMonth | None = None) -> Iterator[None]:
        facts = month.facts if month else {}
        with translate_google_errors(f"{context} (bigquery://{self._project}/{self._dataset})", ROLES, **facts):
            yield


def _fetch(rows: "RowIterator", *, limit: int | None) -> Iterator[QueryResult]:
    """Read the first rows of a result. BigQuery knows the number of all of them."""
    columns, first = [field.name for field in rows.schema], islice(rows, limit)
    yield QueryResult(columns, [row.values() for row in first], rows.total_rows)


def _row_batches(rows: "RowIterator") -> Iterator[QueryResult]:
    """Yield the rows of each page of a result. The first batch has the columns and no rows."""
    columns = [field.name for field in rows.schema]
    yield QueryResult(columns, [])
    for page in rows.pages:
        yield QueryResult(columns, [row.values() for row in page])


def _arrow_batches(rows: "RowIterator") -> "Iterator[pa.RecordBatch]":
    """Yield each page of a result as an Arrow record batch, at least one."""
    import pyarrow as pa

    if rows.total_rows:
        yield from rows.to_arrow_iterable()
    else:
        empty = rows.to_arrow(create_bqstorage_client=False)
        yield pa.record_batch([pa.array([], kind) for kind in empty.schema.types], empty.schema)


def _arrow_table(rows: "bigquery.table.RowIterator", mart: Mart) -> "pa.Table":
    """Return the rows of a mart as an Arrow table, without the packages that the client's own conversion needs."""
    import pyarrow as pa

    names = [column.name for column in mart.columns]
    return pa.Table.from_pylist([dict(zip(names, row.values(), strict=True)) for row in rows], mart.arrow_schema())


def _columns(month: TripMonth, lake_object: LakeObject) -> list[Column]:
    """Return the columns to load from an object. An object of an earlier release may lack later columns.

    Raises DamagedFile if it lacks another one, which BigQuery would load as missing values.
    """
    expected = LAYOUTS[month.color].table_columns
    missing = [c.name for c in expected if not c.is_later and c.name not in lake_object.columns]
    if missing:
        reason = f"Columns of {month.color} months are missing: {', '.join(missing)}"
        raise damaged_object(month, lake_object.uri, reason)
    return [column for column in expected if column.name in lake_object.columns]


def _is_load(job: object, uri: str, partition: "bigquery.TableReference") -> "TypeGuard[bigquery.LoadJob]":
    """Whether a job loads this object into this partition: other software in the project may have used its ID."""
    from google.cloud.bigquery import LoadJob

    return isinstance(job, LoadJob) and job.source_uris == [uri] and job.destination == partition


def _failure(job: "bigquery.LoadJob") -> _Failure | None:
    """Return why a finished job failed, or None if it succeeded."""
    if not job.error_result:
        return None
    errors: Sequence[dict[str, str]] = [job.error_result, *(job.errors or [])]
    messages = dict.fromkeys(" ".join(error.get("message", "").split()).rstrip(".") for error in errors)
    text = ". ".join([message for message in messages if message][:_MAX_MESSAGES]) or "Google gave no reason"
    return _Failure(job.error_result.get("reason", ""), f"{_where(text)}{text} (job {job.job_id})")


_MAX_MESSAGES = 3
"""Maximum number of messages of a job to show: a bad column causes one message per file, row or worker."""

_MISSING_TABLE = re.compile(r"Not found: Table [\w.:-]*?([\w-]+)(?:\s|$)")
"""Google's message for a table that does not exist, such as `Not found: Table project:dataset.table was not ...`."""

_ROW = re.compile(r"\b(?:row|line_number|line|position)\b[:\s]*(?:starting at position )?(\d+)", re.IGNORECASE)
_COLUMN = re.compile(r"\b(?:column_name|column|field)\b:?\s*['\"`]?([A-Za-z_]\w*)['\"`]?", re.IGNORECASE)


def _where(text: str) -> str:
    """Extract the row and column from an error message, as a prefix such as `row 5, column VendorID: `."""
    row, column = _ROW.search(text), _COLUMN.search(text)
    parts = [f"{name} {found[1]}" for name, found in (("row", row), ("column", column)) if found]
    return f"{', '.join(parts)}: " if parts else ""


_ERRORS: tuple[tuple[str, type[TaxiAssetsError]], ...] = (
    (r"different locations", WrongLocation),
    (r"different partitions", InputChanged),
    (r"(?i)quota|exceeded", GoogleQuota),
    (r"(?i)access denied|permission", GooglePermission),
    (r"(?i)billing", GoogleBilling),
)
"""The errors for messages of load jobs, in order: Google's reasons, such as `invalid`, do not distinguish them."""


def _error(failure: _Failure) -> type[TaxiAssetsError]:
    """Return the kind of error for a failed load job that no other job follows."""
    if failure.object_missing:
        return MissingUpstream
    if failure.transient:
        return LoadJobInterrupted
    return next((kind for pattern, kind in _ERRORS if re.search(pattern, failure.message)), LoadJobFailed)


def _asset(failure: _Failure) -> str:
    """Return the asset to run again: rows of another month were already in the clean file."""
    return "clean_trips" if _error(failure) is InputChanged else "lake_trips"
