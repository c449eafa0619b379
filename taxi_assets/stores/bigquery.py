"""Months in BigQuery: a table a color, partitioned by the file's month, where a month is replaced by one load job.

A LOAD job from the lake's object into `table$YYYYMM` replaces that partition and nothing else, all or nothing, costs
nothing, and moves no byte through this program. Nothing is deleted or inserted by SQL, which projects without billing
may not do.
Not here: the object (`gcs`), and what is in it.
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
from taxi_assets.stores.holdings import Holding, hold_rows
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
"""Load jobs of a month in one run, before it is given up."""


@dataclass(frozen=True)
class _Failure:
    """Why a load job failed: Google's word for it, and what it says, for people."""

    reason: str
    said: str

    @property
    def can_pass(self) -> bool:
        """Whether another load job may succeed, once the table is there."""
        return self.reason in PASSING_REASONS or (self.reason == "notFound" and not self.of_object)

    @property
    def of_object(self) -> bool:
        """Whether it is about the object's address."""
        return "gs://" in self.said and self.reason == "notFound"


@dataclass(eq=False)
class BigQueryWarehouse:
    """The tables of a dataset, `url` being `bigquery://project/dataset`.

    `client_factory` gives a client of BigQuery, whose project the jobs belong to. A missing dataset is made at
    `location`. Load jobs are waited for `longest_job_s` seconds.
    """

    url: str
    client_factory: "Callable[[], bigquery.Client]"
    location: str = "US"
    patience: Patience = field(default_factory=Patience)
    longest_job_s: float = 3600

    def __post_init__(self) -> None:
        self._project, self._dataset = split_url(self.url)

    def replace_month(self, month: TripMonth, lake_object: LakeObject, rows: int) -> int:
        """Make the object's rows the month's only ones, by one load job; gives their count, asked of the table.

        Raises StoreError where the table is not one of this project's, or the job fails: the month then stays as it
        was. Raises CountMismatch where the count is not `rows`: BigQuery cannot be held to one version of an object, so
        that the month then is what the object was at that time.
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
        """The fully qualified name of the month's table, with its project and dataset."""
        return f"{self._project}.{self._dataset}.{month.table}"

    def count(self, month: TripMonth) -> int:
        """The rows of the month; 0 where it was never loaded."""
        from google.api_core.exceptions import NotFound

        with self._errors(f"{month} was not counted"):
            try:
                return self._count(month)
            except NotFound:
                return 0

    def total_rows(self, month: TripMonth) -> int:
        """The rows of all months in the month's table; 0 where the table does not exist. Google does not bill it."""
        from google.api_core.exceptions import NotFound

        with self._errors(f"the rows of {self.table(month)} were not counted"):
            try:
                rows = self._ask(f"SELECT count(*) FROM `{self.table(month)}`")
            except NotFound:
                return 0
            return int(next(iter(rows))[0])

    def summarize(self, month: TripMonth) -> MonthSummary:
        """The figures of the month, from one query; those of no rows where it was never loaded.

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

    def held(self, month: TripMonth) -> list[Holding]:
        """The rows of the month, if there are any."""
        return hold_rows(self._said(month), self.count(month))

    def remove(self, month: TripMonth) -> list[Holding]:
        """Delete the month's partition, which is no SQL and costs nothing; gives what went.

        BigQuery's time travel keeps it for a week. Raises StoreError where the table is not one of this project's, and
        StoreBusy where the month has rows again.
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
        """What BigQuery answers to a SELECT. Raises BadQuery for other or wrong SQL, MissingUpstream for no table."""
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
        """Try a query, and to make a table, and leave nothing; what was seen, in a sentence. Raises StoreError."""
        with self._errors("the warehouse cannot be used"):
            brief = self.patience.brief()
            self._require_select("SELECT 1", brief)
            return self._tables(brief).probe()

    def _load(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Load, and load again where a job met what can pass, or where the table was deleted meanwhile."""
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
        """One load job, waited for; None where the month is loaded."""
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self._let_others_end(month, lake_object)
            job = self._start(month, lake_object)
            self._wait(job)
        except (BadRequest, NotFound) as error:  # refused before it became a job, or not found yet under its id
            return _Failure(reason(error), said(error))
        return _failure(job)

    def _let_others_end(self, month: TripMonth, lake_object: LakeObject) -> None:
        """Wait for jobs that load another version of the month: one that ended after ours would undo it.

        A run that was killed leaves its job running. Jobs of other accounts are not seen.
        """
        from google.api_core.exceptions import Forbidden

        ours, partition = self._job_id(month, lake_object), self._tables().partition(month)
        with suppress(Forbidden):  # who may start jobs may not always list them
            for state in ("pending", "running"):
                for job in self._client.list_jobs(state_filter=state, **self._patiently()):
                    if getattr(job, "destination", None) == partition and not str(job.job_id).startswith(ours):
                        self._wait(job)

    def _start(self, month: TripMonth, lake_object: LakeObject) -> "bigquery.LoadJob":
        """Start the next load job of this object, or join one that still runs, of a run that was killed or lost it.

        A job's id can be used once, so a request whose answer was lost cannot load twice when it is sent again.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        for attempt in range(1, _MOST_ATTEMPTS):
            job_id = f"{self._job_id(month, lake_object)}-{attempt}"
            try:
                job = self._get_job(job_id)
            except Forbidden:  # another account's, which this one may not look at
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
        """The id of today's load jobs of an object, without the number of the attempt.

        With the day in it, the numbers begin anew each day, and stay few however often a month is loaded.
        """
        today = f"{datetime.now(UTC):%Y%m%d}"
        parts = ("taxi_assets", self._dataset, month.color, month.month_id, lake_object.generation or 0, today)
        return "-".join(map(str, parts))

    def _get_job(self, job_id: str) -> "AnyJob":
        return self._client.get_job(job_id, location=self.location, **self._patiently())

    def _insert(self, job_id: str, month: TripMonth, lake_object: LakeObject) -> "AnyJob":
        """Start a job; or find the one of this id, which came to be just now.

        That is our own, where the answer to the request was lost, or that of another run.
        """
        from google.api_core.exceptions import Conflict
        from google.cloud import bigquery

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema(month.color),
            # The table is there; where it was deleted since, BigQuery would make one with other partitions.
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
        """Wait for a job to end, asking less and less often."""
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
        """Run a query that selects from the rows of one month."""
        from google.cloud.bigquery import ScalarQueryParameter

        sql = f"SELECT {selected} FROM `{self.table(month)}` WHERE {FILE_MONTH.name} = @month"
        return self._ask(sql, [ScalarQueryParameter("month", "DATE", month.first_day)])

    def _require_select(self, sql: str, patience: Patience | None = None) -> None:
        """Let BigQuery plan the query, which costs nothing. Raises BadQuery where it would change something."""
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(default_dataset=self._tables().reference(), dry_run=True)
        # Without job_retry=None, the client begins anew for ten minutes where nothing answers.
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
    """The project and the dataset of `bigquery://project/dataset`. Raises SettingsError."""
    found = re.fullmatch(r"bigquery://([\w.:-]+)/(\w+)/?", url, re.ASCII)
    if not found:
        raise SettingsError(
            f"TAXI_WAREHOUSE_URL={url} names no dataset: expected bigquery://project/dataset, and a dataset's name has "
            "letters, digits and underscores, but no dashes"
        )
    return found[1], found[2]


def _is_load(job: object, uri: str, partition: "bigquery.TableReference") -> "TypeGuard[bigquery.LoadJob]":
    """Whether a job loads this object into this partition: what else runs in the project may have used its id."""
    from google.cloud.bigquery import LoadJob

    return isinstance(job, LoadJob) and job.source_uris == [uri] and job.destination == partition


def _failure(job: "bigquery.LoadJob") -> _Failure | None:
    """Why a job failed; None where it did not."""
    if not job.error_result:
        return None
    errors: Sequence[dict[str, str]] = [job.error_result, *(job.errors or [])]
    messages = dict.fromkeys(" ".join(error.get("message", "").split()).rstrip(".") for error in errors)
    text = ". ".join([message for message in messages if message][:_SHOWN]) or "Google does not say why"
    return _Failure(job.error_result.get("reason", ""), f"{_where(text)}{text} (job {job.job_id})")


_SHOWN = 3
"""Messages of a job that are shown: one with a bad column has one for each file, row or worker."""

_ROW = re.compile(r"\b(?:row|line_number|line|position)\b[:\s]*(?:starting at position )?(\d+)", re.IGNORECASE)
_COLUMN = re.compile(r"\b(?:column_name|column|field)\b:?\s*['\"`]?([A-Za-z_]\w*)['\"`]?", re.IGNORECASE)


def _where(text: str) -> str:
    """The row and the column that a message is about, such as `row 5, column VendorID: `."""
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
