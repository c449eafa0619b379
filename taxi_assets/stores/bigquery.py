"""The BigQuery warehouse: one table per color, partitioned by the file's month. One load job replaces a month.

A load job from the lake object into `table$YYYYMM` atomically replaces that partition and nothing else. It is free, and
the data does not pass through this process. There are no DML statements, because projects without billing cannot run
them.
Not here: the lake object (`gcs`) and its content.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard

from taxi_assets.errors import (
    BadQuery,
    CountMismatch,
    MissingUpstream,
    SettingsError,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)
from taxi_assets.stores.answers import Answer
from taxi_assets.stores.bigquery_tables import LABELS, REQUEST_S, BigQueryTables, patiently, schema
from taxi_assets.stores.google_cloud import PASSING_REASONS, QUOTA_REMEDY, Patience, google_errors, reason, said
from taxi_assets.stores.inventory import StoredItem, hold_rows
from taxi_assets.stores.lake import LakeObject
from taxi_assets.stores.summaries import from_row, select_list
from taxi_assets.tlc.schema import FILE_MONTH, LAYOUTS
from taxi_assets.tlc.summary import MonthSummary, no_rows
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from google.cloud import bigquery

    AnyJob = bigquery.LoadJob | bigquery.CopyJob | bigquery.ExtractJob | bigquery.QueryJob | bigquery.UnknownJob

ROLES = (
    "the roles BigQuery Data Editor (roles/bigquery.dataEditor), BigQuery Job User (roles/bigquery.jobUser), and "
    "Storage Object Viewer (roles/storage.objectViewer) on the lake's bucket"
)

_log = logging.getLogger(__name__)

_MOST_ATTEMPTS = 500

TRIES = 4
"""Maximum number of load jobs for a month in one run."""


@dataclass(frozen=True)
class _Failure:
    """Why a load job failed: `reason` is Google's error reason, `said` its message."""

    reason: str
    said: str

    @property
    def can_pass(self) -> bool:
        """Whether a new load job may succeed, after the table has been created if it is missing."""
        return self.reason in PASSING_REASONS or (self.reason == "notFound" and not self.of_object)

    @property
    def of_object(self) -> bool:
        """Whether the lake object was not found, rather than the table."""
        return "gs://" in self.said and self.reason == "notFound"


@dataclass(eq=False)
class BigQueryWarehouse:
    """A warehouse in the dataset at `url`, which is `bigquery://project/dataset`.

    `client_factory` returns a BigQuery client; jobs run in its project. If the dataset does not exist, it is created in
    `location`. `longest_job_s` is the maximum time to wait for a job, in seconds.
    """

    url: str
    client_factory: "Callable[[], bigquery.Client]"
    location: str = "US"
    patience: Patience = field(default_factory=Patience)
    longest_job_s: float = 3600

    def __post_init__(self) -> None:
        self._project, self._dataset = split_url(self.url)

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Replace the month with the rows of the lake object, in one load job, and return the row count of the table.

        Raises StoreError if an existing table is incompatible (see `BigQueryTables.ensure`), or if the job fails; the
        month is then unchanged. Raises CountMismatch if the count differs from `rows`. A load job cannot be pinned to
        one generation of an object, so in that case the month contains whatever the object contained when the job ran.
        """
        if not lake_object.uri.startswith("gs://"):
            raise SettingsError(
                f"BigQuery loads from gs:// only, the lake's object is {lake_object.uri}: set TAXI_LAKE_URL to "
                "gs://bucket, then run lake_trips again"
            )
        with self._errors(f"{month} was not loaded"):
            self._load(month, lake_object)
            loaded = self._count(month)
        if loaded != rows:
            raise CountMismatch(
                f"{month}: {loaded} rows are in {self._tables().name(month)} after the load, expected {rows}, those of "
                f"{lake_object.uri}. The object may have been changed in between: run lake_trips again, then this",
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

        with self._errors(f"{month} was not counted"):
            try:
                return self._count(month)
            except NotFound:
                return 0

    def total_rows(self, month: TripMonth) -> int:
        """Return the row count of the month's table, over all months, or 0 if it does not exist. The query is free."""
        from google.api_core.exceptions import NotFound

        with self._errors(f"the rows of {self.table(month)} were not counted"):
            try:
                rows = self._ask(f"SELECT count(*) FROM `{self.table(month)}`")
            except NotFound:
                return 0
            return int(next(iter(rows))[0])

    def summarize(self, month: TripMonth) -> MonthSummary:
        """Summarize the month in one query. If it was never loaded, the summary is that of zero rows.

        Google bills the query as a scan of all columns of the month's partition.
        """
        from google.api_core.exceptions import NotFound

        layout = LAYOUTS[month.color]
        with self._errors(f"{month} was not summarized"):
            try:
                rows = self._ask_month(month, select_list(layout, lambda name: f"`{name}`"))
            except NotFound:
                return no_rows(layout)
            return from_row(layout, next(iter(rows)).values())

    def held(self, month: TripMonth) -> list[StoredItem]:
        """Return the month's partition as a stored item with its row count, or an empty list if it has no rows."""
        return hold_rows(self._said(month), self.count(month))

    def remove(self, month: TripMonth) -> list[StoredItem]:
        """Delete the month's partition and return what was deleted. The API call is free and runs no SQL.

        BigQuery's time travel keeps the data for a week. Raises StoreError if the table is incompatible, and StoreBusy
        if the month has rows after the deletion.
        """
        held = self.held(month)
        with self._errors(f"{month} was not removed"):
            self._tables().remove(month)
        if again := self.count(month):
            raise StoreBusy(
                f"{month}: {again} rows are in {self._said(month)} after it was deleted: another run may have loaded "
                "them meanwhile. Wipe it again, when that run has ended"
            )
        return held

    def query(self, sql: str) -> Answer:
        """Run a SELECT statement and return its result.

        Raises BadQuery for any other statement or invalid SQL, and MissingUpstream if a table does not exist.
        """
        from google.api_core.exceptions import BadRequest, NotFound

        with self._errors("the query was not answered"):
            try:
                self._require_select(sql, self.patience.brief())
                rows = self._ask(sql)
            except NotFound as error:
                raise MissingUpstream(
                    f"BigQuery has no such table or dataset: {said(error)}. Load a month first, such as with "
                    "taxi materialize --color yellow --months 2021-01"
                ) from error
            except BadRequest as error:
                raise BadQuery(f"BigQuery cannot answer this: {said(error)}") from error
            return Answer([field.name for field in rows.schema], [row.values() for row in rows])

    def probe(self) -> str:
        """Dry-run a query, create and delete a test table, and return the status in one sentence. Raises StoreError."""
        with self._errors("the warehouse cannot be used"):
            brief = self.patience.brief()
            self._require_select("SELECT 1", brief)
            return self._tables(brief).probe()

    def _load(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Load the month. Retries after a transient error, and if the table was deleted in the meantime."""
        for tried in count(1):
            self._tables().ensure(month)
            failure = self._try_load(month, lake_object)
            if failure is None:
                return
            if failure.of_object:
                raise MissingUpstream(
                    f"{month}: BigQuery finds no {lake_object.uri}: {failure.said}. Run lake_trips again, then this"
                )
            if tried == TRIES or not failure.can_pass:
                kind = StoreUnreachable if failure.can_pass else StoreError
                raise kind(
                    f"{month} was not loaded into {self._tables().name(month)}, which stays as it was: {failure.said}. "
                    f"{_remedy(failure)}"
                )
            _log.warning("load job %d of %d is next, after: %s", tried + 1, TRIES, failure.said)
            time.sleep(self.patience.pause_s(tried))

    def _try_load(self, month: TripMonth, lake_object: LakeObject) -> _Failure | None:
        """Run one load job to its end. Returns None if it succeeds."""
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self._let_others_end(month, lake_object)
            job = self._start(month, lake_object)
            self._wait(job)
        except (BadRequest, NotFound) as error:  # the request was rejected, or the new job's ID is not visible yet
            return _Failure(reason(error), said(error))
        return _failure(job)

    def _let_others_end(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Wait for jobs that load another version of the month: a job that finishes after ours would overwrite it.

        The load job of a killed run keeps running. Jobs of other accounts are not visible.
        """
        from google.api_core.exceptions import Forbidden

        ours, partition = self._job_id(month, lake_object), self._tables().partition(month)
        with suppress(Forbidden):  # permission to create jobs does not imply permission to list them
            for state in ("pending", "running"):
                for job in self._client.list_jobs(state_filter=state, **self._patiently()):
                    if getattr(job, "destination", None) == partition and not str(job.job_id).startswith(ours):
                        self._wait(job)

    def _start(self, month: TripMonth, lake_object: LakeObject) -> "bigquery.LoadJob":
        """Start the next load job for this object, or return one that is still running.

        Such a job was left by a run that was killed or lost its connection. BigQuery accepts each job ID only once, so
        resending a request whose response was lost cannot load the data twice.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        for attempt in range(1, _MOST_ATTEMPTS):
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
        raise StoreError(
            f"{month}: {lake_object.uri} was loaded {_MOST_ATTEMPTS:,} times today, or its load jobs may not be looked "
            f"at by these credentials. It takes {ROLES}"
        )

    def _job_id(self, month: TripMonth, lake_object: LakeObject) -> str:
        """Return the ID prefix of today's load jobs for an object, without the attempt number.

        It contains the date, so the attempt numbers restart every day and stay low however often a month is loaded.
        """
        today = f"{datetime.now(UTC):%Y%m%d}"
        parts = ("taxi_assets", self._dataset, month.color, month.month_id, lake_object.generation or 0, today)
        return "-".join(map(str, parts))

    def _get_job(self, job_id: str) -> "AnyJob":
        return self._client.get_job(job_id, location=self.location, **self._patiently())

    def _insert(self, job_id: str, month: TripMonth, lake_object: LakeObject) -> "AnyJob":
        """Start a job, or return the existing job if one with this ID was just created.

        That job is ours if the response to our request was lost; otherwise it belongs to another run.
        """
        from google.api_core.exceptions import Conflict
        from google.cloud import bigquery

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema(month.color),
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
                **self._patiently(),
            )
        except Conflict:
            return self._get_job(job_id)

    def _wait(self, job: "AnyJob") -> None:
        """Poll a job until it ends, with increasing intervals. Raises StoreBusy after `longest_job_s` seconds."""
        began = time.monotonic()
        end = began + self.longest_job_s
        for asked in count():
            if job.done(**self._patiently()):
                return
            _log.info("BigQuery works on job %s for %.0f s", job.job_id, time.monotonic() - began)
            if time.monotonic() > end:
                raise StoreBusy(
                    f"the load job {job.job_id} was not done after {self.longest_job_s / 60:g} minutes. It goes on by "
                    "itself: run this again later, which waits for it, or look at it with "
                    f"bq show -j --location={self.location} {job.job_id}"
                )
            time.sleep(self.patience.pause_s(asked))

    def _count(self, month: TripMonth) -> int:
        return int(next(iter(self._ask_month(month, "count(*)")))[0])

    def _ask_month(self, month: TripMonth, selected: str) -> "bigquery.table.RowIterator":
        """Run a query on the rows of one month. `selected` is its select list."""
        from google.cloud.bigquery import ScalarQueryParameter

        sql = f"SELECT {selected} FROM `{self.table(month)}` WHERE {FILE_MONTH.name} = @month"
        return self._ask(sql, [ScalarQueryParameter("month", "DATE", month.first_day)])

    def _require_select(self, sql: str, patience: Patience | None = None) -> None:
        """Check the statement type with a dry run, which is free. Raises BadQuery if it is not a SELECT."""
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(default_dataset=self._tables().reference(), dry_run=True)
        # Without job_retry=None, the client keeps restarting the query for ten minutes if the server does not respond.
        kind = self._client.query(sql, job_config=config, job_retry=None, **self._patiently(patience)).statement_type
        if kind not in (None, "SELECT"):
            raise BadQuery(f"BigQuery is asked here, not changed: expected a SELECT, this is {kind}")

    def _ask(
        self, sql: str, parameters: "Sequence[bigquery.ScalarQueryParameter]" = ()
    ) -> "bigquery.table.RowIterator":
        from google.cloud.bigquery import QueryJobConfig

        return self._client.query_and_wait(
            sql,
            job_config=QueryJobConfig(default_dataset=self._tables().reference(), query_parameters=parameters),
            location=self.location,
            retry=self.patience.retry(),
            job_retry=self.patience.retry(),
            api_timeout=REQUEST_S,
            wait_timeout=self.longest_job_s,
        )

    def _said(self, month: TripMonth) -> str:
        return f"{self.table(month)}${month.month_id}"

    @cached_property
    def _client(self) -> "bigquery.Client":
        return self.client_factory()

    def _patiently(self, patience: Patience | None = None) -> dict[str, Any]:
        return patiently(patience or self.patience)

    def _tables(self, patience: Patience | None = None) -> BigQueryTables:
        return BigQueryTables(self._client, self._project, self._dataset, self.location, patience or self.patience)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with google_errors(f"{doing} (bigquery://{self._project}/{self._dataset})", ROLES):
            yield


def split_url(url: str) -> tuple[str, str]:
    """Split `bigquery://project/dataset` into project and dataset. Raises SettingsError if it has another form."""
    found = re.fullmatch(r"bigquery://([\w.:-]+)/(\w+)/?", url, re.ASCII)
    if not found:
        raise SettingsError(
            f"TAXI_WAREHOUSE_URL={url} names no dataset: expected bigquery://project/dataset, and a dataset's name has "
            "letters, digits and underscores, but no dashes"
        )
    return found[1], found[2]


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
    text = ". ".join([message for message in messages if message][:_SHOWN]) or "Google does not say why"
    return _Failure(job.error_result.get("reason", ""), f"{_where(text)}{text} (job {job.job_id})")


_SHOWN = 3
"""Maximum number of messages of a job to show: a bad column causes one message per file, row or worker."""

_ROW = re.compile(r"\b(?:row|line_number|line|position)\b[:\s]*(?:starting at position )?(\d+)", re.IGNORECASE)
_COLUMN = re.compile(r"\b(?:column_name|column|field)\b:?\s*['\"`]?([A-Za-z_]\w*)['\"`]?", re.IGNORECASE)


def _where(text: str) -> str:
    """Extract the row and column from an error message, as a prefix such as `row 5, column VendorID: `."""
    row, column = _ROW.search(text), _COLUMN.search(text)
    places = [f"{what} {found[1]}" for what, found in (("row", row), ("column", column)) if found]
    return f"{', '.join(places)}: " if places else ""


_REMEDIES = (
    (
        r"different locations",
        "Bucket and dataset must be in the same place: name another of them in TAXI_LAKE_URL or TAXI_WAREHOUSE_URL",
    ),
    (r"different partitions", "The object has rows of another month: run clean_trips and lake_trips again, then this"),
    (r"(?i)quota|exceeded", QUOTA_REMEDY),
    (r"(?i)access denied|permission", f"It takes {ROLES}"),
    (r"(?i)billing", "Give the project a billing account"),
)


def _remedy(failure: _Failure) -> str:
    if failure.reason in PASSING_REASONS:
        return "Google met this again and again: run this again later"
    found = (remedy for pattern, remedy in _REMEDIES if re.search(pattern, failure.said))
    return next(found, "Run lake_trips again, then this; if it stays, the object does not fit the table")
