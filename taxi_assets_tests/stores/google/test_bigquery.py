"""A load job replaces a month in BigQuery, even if requests fail. Each request matches Google's discovery document."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.errors import (
    BadQuery,
    CannotCreate,
    DamagedFile,
    GoogleBilling,
    GoogleLogin,
    GooglePermission,
    GoogleQuota,
    GoogleUnreachable,
    IncompatibleTable,
    InputChanged,
    InvalidWarehouseUrl,
    LakeNotInBucket,
    LoadJobFailed,
    LoadJobInterrupted,
    LoadJobRunning,
    MissingUpstream,
    NothingLoaded,
    StoreBusy,
    StoreError,
    TablesExpire,
    TaxiAssetsError,
    UnknownTable,
    WrongLocation,
)
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.stores.google.addresses import dataset_of
from taxi_assets.stores.google.bigquery import ROLES, BigQueryWarehouse
from taxi_assets.stores.google.gcs import GCSLake
from taxi_assets.stores.google.retry import RetryPolicy
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests import first_release
from taxi_assets_tests.google_server import Fault, GoogleServer, Json, skip
from taxi_assets_tests.months import write_month
from taxi_assets_tests.stores.conftest import QUICK

MARCH = TripMonth("green", "2020-03")
TABLE = "nyc-trips.taxi.green_taxi_trips"
PARTITION = f"{TABLE}$202003"
DAY_MS = 86_400_000
INSERT, POLL = r"POST .*/jobs\?", r"GET .*/jobs/"


@pytest.fixture
def green(lake: GCSLake) -> LakeObject:
    """The object of MARCH in the lake, with 5 rows."""
    return _put(lake, 5)


def _put(lake: GCSLake, rows: int, month: TripMonth = MARCH) -> LakeObject:
    staged = lake.stage(month)
    write_month(staged.path, month, rows, source="5ha")
    return lake.put(month, staged)


def _job_ids(google: GoogleServer) -> list[str]:
    return list(google.jobs)


def _create_table(google: GoogleServer, columns: list[Json] | None = None, **properties: Any) -> None:
    """Create the table of green months, as this project does, except for additional columns and other properties."""
    google.datasets["nyc-trips.taxi"] = {"location": "US"}
    standard = [
        {"name": column.name, "type": _LEGACY_TYPES.get(column.kind.value, "FLOAT"), "mode": "NULLABLE"}
        for column in LAYOUTS["green"].table_columns
    ]
    google.tables[TABLE] = {
        "tableReference": {"projectId": "nyc-trips", "datasetId": "taxi", "tableId": "green_taxi_trips"},
        "id": TABLE.replace(".", ":", 1),
        "etag": "1",
        "location": "US",
        "type": "TABLE",
        "timePartitioning": {"type": "MONTH", "field": "file_month"},
        "schema": {"fields": [*(columns or []), *standard]},
        **properties,
    }


_LEGACY_TYPES = {"integer": "INTEGER", "text": "STRING", "timestamp": "DATETIME", "date": "DATE"}


def test_load(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """One load job copies the object into the month's partition, and a query returns its row count."""
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.rows == {PARTITION: 5}
    (job,) = google.jobs.values()
    job_id = job["jobReference"].pop("jobId")
    assert re.fullmatch(rf"taxi_assets-taxi-green-202003-{green.generation}-\d{{8}}-1", job_id)
    assert job["jobReference"] == {"projectId": "emulator", "location": "US"}
    load = job["configuration"]["load"]
    assert load["sourceUris"] == [green.uri]
    assert load["destinationTable"]["tableId"] == "green_taxi_trips$202003"
    assert (load["sourceFormat"], load["writeDisposition"]) == ("PARQUET", "WRITE_TRUNCATE")
    assert "autodetect" not in load
    assert [column["name"] for column in load["schema"]["fields"]] == [
        column.name for column in LAYOUTS["green"].table_columns
    ]
    assert warehouse.count(MARCH) == 5


@pytest.mark.parametrize("color", COLORS)
def test_create_table(color: str, warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """A missing dataset is created in its location, with a partitioned and clustered table of the color's columns."""
    month = TripMonth(color, "2020-03")
    warehouse.location = "EU"
    warehouse.replace_month(month, _put(lake, 2, month), 2)
    assert google.datasets["nyc-trips.taxi"]["location"] == "EU"
    created = google.requests_to(r"POST .*/tables\?")[-1].json
    assert created["timePartitioning"] == {"type": "MONTH", "field": "file_month"}
    assert created["clustering"] == {"fields": [LAYOUTS[color].pickup]}
    assert created["labels"] == {"made_by": "taxi_assets", "color": color}
    types = {"integer": "INT64", "decimal": "FLOAT64", "text": "STRING", "timestamp": "DATETIME", "date": "DATE"}
    fields = created["schema"]["fields"]
    assert [(field["name"], field["type"], field["mode"], field["description"]) for field in fields] == [
        (column.name, types[column.kind], "NULLABLE", column.meaning) for column in LAYOUTS[color].table_columns
    ]


def test_load_without_dml(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A load runs no SQL except for the row count and, with a new table, to create views. It sends no data."""
    warehouse.replace_month(MARCH, green, 5)
    queries = [request.json["query"] for request in google.requests_to(r"POST .*/queries")]
    assert queries
    assert all(sql.startswith(("SELECT count(*)", "CREATE OR REPLACE VIEW")) for sql in queries)
    assert not google.requests_to("/upload/bigquery")


def test_summarize_in_one_query(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A summary is one query of the month's partition. If the table does not exist, it is the summary of no rows."""
    assert warehouse.summarize(MARCH) == no_rows(LAYOUTS["green"])
    (query,) = [request.json for request in google.requests_to(r"POST .*/queries")]
    assert query["query"].endswith(f"FROM `{TABLE}` WHERE file_month = @month")
    assert query["queryParameters"][0]["parameterValue"] == {"value": "2020-03-01"}


def test_total_rows_without_filter(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """The rows of a table are counted without a filter, which is free because BigQuery uses metadata."""
    assert warehouse.total_rows(MARCH) == 0
    assert [request.json["query"] for request in google.requests_to(r"POST .*/queries")] == [
        f"SELECT count(*) FROM `{TABLE}`"
    ]


def test_load_same_object_again(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Each load of the same object runs a new job, because the partition may have changed in the meantime."""
    for _ in range(3):
        assert warehouse.replace_month(MARCH, green, 5) == 5
        google.rows[PARTITION] += 1000
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "2", "3"]


def test_load_another_generation(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """The job IDs of another generation of an object start at 1."""
    for rows in (5, 6):
        warehouse.replace_month(MARCH, _put(lake, rows), rows)
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "1"]
    assert google.rows == {PARTITION: 6}


def test_resend_job_after_lost_response(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """If the response to a new job is lost, the request is sent again and does not start a second job."""
    google.faults = [Fault(INSERT, lost=True)]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.requests_to(INSERT)) == 2
    assert len(google.jobs) == 1


def test_job_not_visible_after_lost_response(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """After a lost response, Google may report that the job ID exists and, for a moment, that the job does not."""
    google.faults = [
        skip(POLL),
        Fault(INSERT, lost=True),
        Fault(POLL, 404, "notFound", "Not found: Job", times=2),
    ]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 1


def _leave_job_running(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> Json:
    """Start a job that a run stops waiting for. From then on, it ends at the second status request."""
    google.running_polls = 10**6
    warehouse.longest_job_s = 0.05
    with pytest.raises(LoadJobRunning) as caught:
        warehouse.replace_month(MARCH, green, 5)
    (job,) = google.jobs.values()
    job_id = job["jobReference"]["jobId"]
    command = f"bq show -j --location=US {job_id}"
    assert caught.value.facts == {**MARCH.facts, "job": job_id, "command": command}
    google.running_polls = job["polls"] + 2
    warehouse.longest_job_s = 10
    return job


def test_wait_for_running_job(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """If another run left a job of the same object running, the load waits for it and starts no second job."""
    _leave_job_running(warehouse, google, green)
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 1
    assert len(google.requests_to(INSERT)) == 1


def test_wait_for_job_of_older_object(
    warehouse: BigQueryWarehouse, lake: GCSLake, google: GoogleServer, green: LakeObject
) -> None:
    """A running job of an older object ends before the new job starts, so it cannot overwrite the newer rows."""
    older = _leave_job_running(warehouse, google, green)
    assert warehouse.replace_month(MARCH, _put(lake, 7), 7) == 7
    assert older["status"]["state"] == "DONE"
    assert google.rows == {PARTITION: 7}


def test_load_without_permission_to_list_jobs(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """An account that can start jobs and cannot list them can load a month."""
    google.faults = [Fault(r"GET .*/jobs\?", 403, "accessDenied", "Access Denied: bigquery.jobs.list")]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_skip_job_id_of_another_account(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A job ID that another account has used is skipped."""
    google.faults = [Fault(POLL, 403, "accessDenied", "Access Denied: bigquery.jobs.get")]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["2"]


def test_load_without_permission_to_start_jobs(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """An account that cannot start jobs sends one request and gets GooglePermission with the roles."""
    google.faults = [Fault(INSERT, 403, "accessDenied", "Access Denied: bigquery.jobs.create", times=10)]
    with pytest.raises(GooglePermission) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts == {**MARCH.facts, "seen": "403 Access Denied: bigquery.jobs.create", "roles": ROLES}
    assert len(google.requests_to(INSERT)) == 1


def test_concurrent_loads(google: GoogleServer, green: LakeObject) -> None:
    """Concurrent loads of the same month, including the creation of the dataset, leave one copy of it."""
    google.running_polls = 3

    def load(_: int) -> int:
        warehouse = BigQueryWarehouse(
            "bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, retry_policy=RetryPolicy(0.001, 0.01, 5)
        )
        return warehouse.replace_month(MARCH, green, 5)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [5] * 4
    assert google.rows == {PARTITION: 5}


@pytest.mark.parametrize("other", ["another object", "another dataset"])
def test_skip_unrelated_job_with_same_id(
    other: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A running job with the expected ID and another source or destination is not mistaken for the load job."""
    job = _leave_job_running(warehouse, google, green)
    if other == "another object":
        job["configuration"]["load"]["sourceUris"] = ["gs://other/object"]
    else:
        job["configuration"]["load"]["destinationTable"]["projectId"] = "other"
        google.tables["other.taxi.green_taxi_trips"] = google.tables[TABLE]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 2


def test_wait_for_long_job(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A job is polled until it ends."""
    google.running_polls = 20
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.requests_to(POLL)) > 20


@pytest.mark.parametrize(
    "pattern", [INSERT, POLL, r"GET .*/tables/", r"POST .*/tables\?", r"POST .*/datasets\?", "/queries"]
)
@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "backendError"), (500, "internalError"), (429, "x"), (403, "rateLimitExceeded"), (502, "badGateway")],
)
def test_retry_transient_error(  # noqa: PLR0913, PLR0917
    status: int, reason: str, pattern: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """Every request is retried after a transient error, and the month is loaded once."""
    google.faults = [Fault(pattern, status, reason, times=3)]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.faults[0].times == 0
    assert len(google.jobs) == 1


@pytest.mark.parametrize("reason", ["backendError", "internalError", "rateLimitExceeded"])
def test_retry_job_after_transient_error(
    reason: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A job that fails with a transient error is followed by a job with another ID."""
    google.failures = [{"reason": reason, "message": "Try again"}] * 3
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "2", "3", "4"]


def test_give_up_after_transient_errors_of_jobs(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """After four jobs with transient errors the load fails, and the month is unchanged."""
    warehouse.replace_month(MARCH, green, 5)
    google.failures = [{"reason": "backendError", "message": "Try again"}] * 10
    with pytest.raises(LoadJobInterrupted) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert re.fullmatch(r"Try again \(job .*-5\)", str(caught.value.facts["seen"]))
    assert caught.value.facts.items() >= {**MARCH.facts, "table": TABLE, "uri": green.uri}.items()
    assert len(google.jobs) == 5
    assert google.rows == {PARTITION: 5}


FAILURES: list[tuple[str, Json, type[TaxiAssetsError], str]] = [
    (
        "type",
        {
            "reason": "invalid",
            "message": "Error while reading data, error message: Parquet column 'fare_amount' has type INT64 which "
            "does not match the target cpp_type DOUBLE. File: gs://trips/x.parquet",
        },
        LoadJobFailed,
        "column fare_amount: Error while reading data",
    ),
    (
        "value",
        {
            "reason": "invalid",
            "message": "Error while reading data",
            "more": [{"reason": "invalid", "message": 'Could not convert value; line_number: 7 column_name: "extra"'}],
        },
        LoadJobFailed,
        "row 7, column extra: Error while reading data. Could not convert",
    ),
    (
        "schema",
        {"reason": "invalid", "message": "Provided Schema does not match Table x. Field VendorID has changed type"},
        LoadJobFailed,
        "column VendorID: Provided Schema does not match",
    ),
    ("no message", {"reason": "invalid", "message": ""}, LoadJobFailed, "Google gave no reason (job taxi_assets-taxi-"),
    (
        "another month",
        {"reason": "invalid", "message": "Some rows belong to different partitions rather than destination partition"},
        InputChanged,
        "Some rows belong to different partitions",
    ),
    (
        "location",
        {"reason": "invalid", "message": "Cannot read and write in different locations: source: ASIA, destination: US"},
        WrongLocation,
        "Cannot read and write in different locations: source: ASIA",
    ),
    (
        "quota",
        {"reason": "quotaExceeded", "message": "Quota exceeded: too many imports"},
        GoogleQuota,
        "Quota exceeded: too many imports",
    ),
    (
        "permission",
        {"reason": "accessDenied", "message": "Access Denied: File gs://trips/x: Access Denied"},
        GooglePermission,
        "Access Denied: File gs://trips/x",
    ),
    (
        "billing",
        {"reason": "billingNotEnabled", "message": "Billing has not been enabled for this project"},
        GoogleBilling,
        "Billing has not been enabled",
    ),
]


@pytest.mark.parametrize(
    ("failure", "kind", "seen"), [each[1:] for each in FAILURES], ids=[each[0] for each in FAILURES]
)
def test_job_fails(  # noqa: PLR0913, PLR0917
    failure: Json,
    kind: type[TaxiAssetsError],
    seen: str,
    warehouse: BigQueryWarehouse,
    google: GoogleServer,
    green: LakeObject,
) -> None:
    """A job with another error is not repeated, and the month is unchanged. The error has the row and the column."""
    warehouse.replace_month(MARCH, green, 5)
    google.failures = [dict(failure)]
    with pytest.raises(TaxiAssetsError) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.type is kind
    assert str(caught.value).startswith(f"green 2020-03 was not loaded into {TABLE}")
    assert str(caught.value.facts["seen"]).startswith(seen)
    asset = "clean_trips" if kind is InputChanged else "lake_trips"
    expected = {**MARCH.facts, "table": TABLE, "uri": green.uri, "roles": ROLES, "asset": asset}
    assert caught.value.facts.items() >= expected.items()
    assert google.rows == {PARTITION: 5}
    assert len(google.jobs) == 2


def test_object_missing(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """If the object was deleted in the meantime, the load raises MissingUpstream with the asset that creates it."""
    google.objects.clear()
    with pytest.raises(MissingUpstream) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts.items() >= {**MARCH.facts, "asset": "lake_trips", "uri": green.uri}.items()
    assert len(google.jobs) == 1


def test_object_changed(warehouse: BigQueryWarehouse, green: LakeObject, lake: GCSLake) -> None:
    """If the object was replaced in the meantime, the load raises InputChanged with both row counts."""
    _put(lake, 7)
    with pytest.raises(InputChanged) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts == {
        **MARCH.facts,
        "asset": "lake_trips",
        "table": TABLE,
        "uri": green.uri,
        "seen": 7,
        "expected": 5,
    }


def test_recreate_table_deleted_before_job(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A table that is deleted just before the job runs is created again, and the month is loaded."""
    google.running_polls = 1
    google.faults = [Fault(INSERT, before=lambda: google.drop(TABLE))]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.tables[TABLE]["timePartitioning"] == {"type": "MONTH", "field": "file_month"}
    assert len(google.jobs) == 2


def test_use_table_created_by_another_run(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A table that another run creates at the same time is used."""
    google.datasets["nyc-trips.taxi"] = {"location": "US"}
    google.faults = [Fault(r"POST .*/tables\?", before=lambda: _create_table(google))]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_add_missing_column(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A missing column is added to the table, whose other columns stay."""
    _create_table(google, [{"name": "note", "type": "STRING", "mode": "NULLABLE"}])
    fields = google.tables[TABLE]["schema"]["fields"]
    google.tables[TABLE]["schema"] = {"fields": [field for field in fields if field["name"] != "congestion_surcharge"]}
    warehouse.replace_month(MARCH, green, 5)
    (patch,) = google.requests_to("PATCH")
    assert patch.json["schema"]["fields"][-1]["name"] == "congestion_surcharge"
    assert patch.json["schema"]["fields"][0]["name"] == "note"
    assert patch.headers["if-match"] == "1"
    warehouse.replace_month(MARCH, green, 5)
    assert len(google.requests_to("PATCH")) == 1


def _create_first_table(google: GoogleServer, *columns: Json) -> list[Json]:
    """Create the table of green months as the first release does, and additional columns. Return its columns."""
    _create_table(google)
    standard = google.tables[TABLE]["schema"]["fields"]
    fields = [*(field for field in standard if field["name"] in first_release.COLUMNS["green"]), *columns]
    google.tables[TABLE]["schema"] = {"fields": fields}
    return fields


def test_widen_a_table_of_the_first_release(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """The first load adds later columns at the end, in the order of a new table. Earlier columns stay as they are."""
    before = _create_first_table(google)
    google.rows[f"{TABLE}$202002"] = 7
    for _ in range(2):
        assert warehouse.replace_month(MARCH, green, 5) == 5
    (patch,) = google.requests_to("PATCH")
    fields = patch.json["schema"]["fields"]
    assert [field["name"] for field in fields] == [column.name for column in LAYOUTS["green"].table_columns]
    assert [(field["name"], field["mode"]) for field in before] == [
        (field["name"], field["mode"]) for field in fields[: len(before)]
    ]
    assert all(field["description"] and field["mode"] == "NULLABLE" for field in fields[len(before) :])
    assert google.rows == {f"{TABLE}$202002": 7, PARTITION: 5}


def test_widen_a_table_in_concurrent_loads(
    warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake, green: LakeObject
) -> None:
    """If another load adds the columns at the same time, both months are loaded."""
    _create_first_table(google)
    april = TripMonth("green", "2020-04")
    other = _put(lake, 4, april)

    def load_other() -> None:
        warehouse.replace_month(april, other, 4)

    google.faults = [Fault("PATCH .*/tables/", before=load_other)]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.rows == {PARTITION: 5, f"{TABLE}$202004": 4}
    names = [field["name"] for field in google.tables[TABLE]["schema"]["fields"]]
    assert names == [column.name for column in LAYOUTS["green"].table_columns]


def test_probe_a_table_of_the_first_release(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A table of the first release is compatible. A probe and a removal do not change its columns."""
    _create_first_table(google)
    google.rows[PARTITION] = 5
    assert "tables: 1 of 4" in warehouse.probe()
    assert [item.rows for item in warehouse.remove(MARCH)] == [5]
    assert not google.requests_to("PATCH")


@pytest.mark.parametrize(
    ("type_", "mode", "seen"),
    [
        ("STRING", "NULLABLE", "cbd_congestion_fee is STRING NULLABLE, expected FLOAT64 NULLABLE"),
        ("FLOAT", "REQUIRED", "cbd_congestion_fee is FLOAT64 REQUIRED, expected FLOAT64 NULLABLE"),
    ],
)
def test_incompatible_later_column(  # noqa: PLR0913, PLR0917
    type_: str, mode: str, seen: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A table of the first release to which someone added a later column with another type or mode is incompatible."""
    _create_first_table(google, {"name": "cbd_congestion_fee", "type": type_, "mode": mode})
    for operation in (lambda: warehouse.replace_month(MARCH, green, 5), warehouse.probe):
        with pytest.raises(IncompatibleTable) as caught:
            operation()
        assert caught.value.facts == {"color": "green", "table": TABLE, "seen": seen}
    assert not google.jobs
    assert not google.requests_to("PATCH")


def test_object_of_the_first_release(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """The load job of an object of the first release has the columns of the object only. The table has all of them."""
    staged = lake.stage(MARCH)
    first_release.write_month(staged.path, MARCH, 5)
    assert warehouse.replace_month(MARCH, lake.put(MARCH, staged), 5) == 5
    (job,) = google.jobs.values()
    names = [field["name"] for field in job["configuration"]["load"]["schema"]["fields"]]
    assert names == list(first_release.COLUMNS["green"])
    names = [field["name"] for field in google.tables[TABLE]["schema"]["fields"]]
    assert names == [column.name for column in LAYOUTS["green"].table_columns]


def test_object_without_a_column(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """An object without a column of the first release is damaged. No load job is started."""
    import pyarrow.parquet as pq

    staged = lake.stage(MARCH)
    first_release.write_month(staged.path, MARCH, 5)
    pq.write_table(pq.read_table(staged.path).drop_columns(["fare_amount", "file_month"]), staged.path)
    lake_object = lake.put(MARCH, staged)
    with pytest.raises(DamagedFile) as caught:
        warehouse.replace_month(MARCH, lake_object, 5)
    assert caught.value.facts == {**MARCH.facts, "uri": lake_object.uri, "asset": "lake_trips"}
    assert "fare_amount, file_month" in str(caught.value)
    assert not google.jobs


def test_ignore_case_of_column_names(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Column names are compared without regard to case, as in BigQuery. Missing descriptions are added once."""
    _create_table(google)
    for column in google.tables[TABLE]["schema"]["fields"]:
        column["name"] = column["name"].lower()
    for _ in range(2):
        assert warehouse.replace_month(MARCH, green, 5) == 5
    (patch,) = google.requests_to("PATCH")
    assert patch.json["description"] == LAYOUTS["green"].table_meaning
    assert [(field["name"], field["description"]) for field in patch.json["schema"]["fields"]] == [
        (column.name.lower(), column.meaning) for column in LAYOUTS["green"].table_columns
    ]


INCOMPATIBLE: list[tuple[str, Json, str]] = [
    ("view", {"type": "VIEW"}, "VIEW"),
    ("not partitioned", {"timePartitioning": None}, "not partitioned by time"),
    ("by day", {"timePartitioning": {"type": "DAY", "field": "file_month"}}, "partitioned by DAY of file_month"),
    ("by ingestion", {"timePartitioning": {"type": "MONTH"}}, "partitioned by MONTH of ingestion time"),
    ("required", {"columns": [{"name": "note", "type": "STRING", "mode": "REQUIRED"}]}, "note is REQUIRED"),
]


@pytest.mark.parametrize(
    ("properties", "seen"), [each[1:] for each in INCOMPATIBLE], ids=[each[0] for each in INCOMPATIBLE]
)
def test_incompatible_table(
    properties: Json, seen: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A table with another type or partitioning raises IncompatibleTable with the difference, and is not changed."""
    _create_table(google, **{name: value for name, value in properties.items() if value is not None})
    if properties.get("timePartitioning", 1) is None:
        del google.tables[TABLE]["timePartitioning"]
    for operation in (lambda: warehouse.replace_month(MARCH, green, 5), warehouse.probe):
        with pytest.raises(IncompatibleTable) as caught:
            operation()
        assert (caught.value.facts["color"], caught.value.facts["table"]) == ("green", TABLE)
        assert seen in str(caught.value.facts["seen"])
    assert not google.jobs
    assert not google.requests_to("PATCH")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"type": "FLOAT"}, "VendorID is FLOAT64 NULLABLE, expected INT64 NULLABLE"),
        ({"mode": "REQUIRED"}, "VendorID is INT64 REQUIRED, expected INT64 NULLABLE"),
        ({"mode": "REPEATED"}, "VendorID is INT64 REPEATED, expected INT64 NULLABLE"),
    ],
)
def test_incompatible_column(
    change: Json, seen: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A column of another type or mode raises IncompatibleTable with the difference."""
    _create_table(google)
    google.tables[TABLE]["schema"]["fields"][0] |= change
    with pytest.raises(IncompatibleTable) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts == {"color": "green", "table": TABLE, "seen": seen}
    assert not google.jobs


def test_partitions_expire(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A table in which an old month would expire immediately raises TablesExpire before the load."""
    _create_table(google, timePartitioning={"type": "MONTH", "field": "file_month", "expirationMs": str(60 * DAY_MS)})
    with pytest.raises(TablesExpire) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts == {
        **MARCH.facts,
        "table": "green_taxi_trips",
        "days": 60,
        "command": "bq update --time_partitioning_expiration 0 nyc-trips:taxi.green_taxi_trips",
    }
    assert not google.jobs
    google.tables[TABLE]["timePartitioning"]["expirationMs"] = str(60 * 365 * DAY_MS)
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_dataset_in_another_location(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A dataset in another location than the configured one raises WrongLocation before the load."""
    _create_table(google, location="EU")
    google.datasets["nyc-trips.taxi"] = {"location": "EU"}
    for operation in (lambda: warehouse.replace_month(MARCH, green, 5), warehouse.probe):
        with pytest.raises(WrongLocation) as caught:
            operation()
        assert caught.value.facts == {"dataset": "nyc-trips.taxi", "seen": "EU", "expected": "US"}
    assert not google.jobs


def test_invalid_location(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A location that Google does not have raises CannotCreate with Google's message."""
    warehouse.location = "MARS"
    with pytest.raises(CannotCreate) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.value.facts == {
        "dataset": "nyc-trips.taxi",
        "location": "MARS",
        "seen": "400 Invalid value for location: MARS is not a valid value",
    }
    assert not google.datasets


REJECTIONS = [
    (401, "authError", "Invalid Credentials", GoogleLogin),
    (403, "accessDenied", "Access Denied: Project x", GooglePermission),
    (403, "quotaExceeded", "Quota exceeded", GoogleQuota),
]


@pytest.mark.parametrize(("status", "reason", "message", "kind"), REJECTIONS, ids=[each[1] for each in REJECTIONS])
@pytest.mark.parametrize("pattern", [r"GET .*/tables/", r"POST .*/tables\?", INSERT, "/queries"])
def test_do_not_retry_rejected_request(  # noqa: PLR0913, PLR0917
    pattern: str,
    status: int,
    reason: str,
    message: str,
    kind: type[StoreError],
    warehouse: BigQueryWarehouse,
    google: GoogleServer,
    green: LakeObject,
) -> None:
    """A rejected request is sent once and raises an error with Google's message."""
    google.faults = [Fault(pattern, status, reason, message)]
    with pytest.raises(StoreError) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert caught.type is kind
    assert str(caught.value).startswith("green 2020-03 was not loaded (bigquery://nyc-trips/taxi): ")
    # Credentials that are rejected are refreshed, which anonymous ones cannot be.
    seen = "Anonymous credentials cannot be refreshed" if kind is GoogleLogin else f"{status} {message}"
    roles = {"roles": ROLES} if kind is GooglePermission else {}
    assert caught.value.facts == {**MARCH.facts, "seen": seen, **roles}
    assert len(google.requests_to(pattern)) == 1


def test_give_up_after_transient_errors_of_requests(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """Retries end after the total timeout."""
    google.faults = [Fault(INSERT, 503, times=10**6)]
    with pytest.raises(GoogleUnreachable) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert str(caught.value.facts["seen"]).startswith("503 Visibility check")
    assert len(google.requests_to(INSERT)) > 1


def test_connection_refused(
    warehouse: BigQueryWarehouse, google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address without a server raises GoogleUnreachable after the total timeout."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", google.url.rpartition(":")[0] + ":9")
    with pytest.raises(GoogleUnreachable) as caught:
        warehouse.count(MARCH)
    assert "Connection refused" in str(caught.value)


@pytest.mark.parametrize("uri", ["/home/me/lake/data/green.parquet", "data/green.parquet"])
def test_lake_in_folder(uri: str, warehouse: BigQueryWarehouse, google: GoogleServer, tmp_path: Path) -> None:
    """An object in a folder raises LakeNotInBucket without any request."""
    with pytest.raises(LakeNotInBucket) as caught:
        warehouse.replace_month(MARCH, LakeObject(MARCH, uri, 0, 5, lake=FolderLake(tmp_path)), 5)
    assert caught.value.facts == {**MARCH.facts, "uri": uri}
    assert not google.requests


def test_count_before_first_load(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """Before the first load, the row count is 0 and no dataset is created."""
    assert warehouse.count(MARCH) == 0
    assert not google.datasets


def test_query_only_select(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """Another statement than SELECT is rejected after a dry run, which is free."""
    with pytest.raises(BadQuery) as caught:
        warehouse.query("DELETE FROM green_taxi_trips WHERE true")
    assert caught.value.facts == {"seen": "DELETE", "expected": "SELECT"}
    assert not google.requests_to("/queries")
    (dry_run,) = google.requests_to(INSERT)
    assert dry_run.json["configuration"]["query"]["defaultDataset"] == {"projectId": "nyc-trips", "datasetId": "taxi"}


def test_query_with_syntax_error(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """Invalid SQL raises BadQuery with Google's message."""
    with pytest.raises(BadQuery) as caught:
        warehouse.query("SELEKT 1")
    assert str(caught.value.facts["seen"]).startswith("400 Syntax error")
    assert not google.requests_to("/queries")


def test_query_before_first_load(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A query before the dataset exists raises NothingLoaded with Google's message."""
    google.faults = [Fault("/queries", 404, "notFound", "Not found: Dataset nyc-trips:taxi was not found")]
    with pytest.raises(NothingLoaded) as caught:
        warehouse.query("SELECT * FROM green_taxi_trips")
    assert caught.value.facts == {"seen": "404 Not found: Dataset nyc-trips:taxi was not found", "color": "yellow"}


@pytest.mark.parametrize(
    ("name", "kind", "facts"),
    [
        ("fhv_taxi_trips", NothingLoaded, {"seen": "fhv_taxi_trips", "color": "fhv"}),
        ("green_rides", UnknownTable, {"seen": "green_rides", "expected": "green_taxi_trips"}),
    ],
)
def test_query_of_a_table_that_does_not_exist(
    name: str, kind: type[TaxiAssetsError], facts: Json, warehouse: BigQueryWarehouse, google: GoogleServer
) -> None:
    """A query of a table that does not exist is an error with the tables of the dataset."""
    _create_table(google)
    message = f"Not found: Table nyc-trips:taxi.{name} was not found in location US"
    google.faults = [Fault("/jobs", 404, "notFound", message)]
    with pytest.raises(kind) as caught:
        warehouse.query(f"SELECT * FROM {name}")
    assert caught.value.facts == facts
    assert "Existing tables: green_taxi_trips." in str(caught.value)


def test_query_without_permission_to_list_tables(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """If this account cannot list the tables, the error for an unknown table does not name any."""
    google.faults = [
        Fault("/jobs", 404, "notFound", "Not found: Table nyc-trips:taxi.rides was not found in location US"),
        Fault("/tables", 403, "accessDenied", "Access Denied: bigquery.tables.list"),
    ]
    with pytest.raises(UnknownTable) as caught:
        warehouse.query("SELECT * FROM rides")
    assert str(caught.value) == 'The table "rides" does not exist.'


@pytest.mark.parametrize(("limit", "rows"), [(None, [(5,)]), (1, [(5,)]), (0, [])])
def test_limit_of_a_query(
    limit: int | None, rows: list[tuple[int, ...]], warehouse: BigQueryWarehouse, google: GoogleServer
) -> None:
    """With a limit, the first rows are returned, and Google counts all of them."""
    _create_table(google)
    google.rows[PARTITION] = 5
    result = warehouse.query(f"SELECT count(*) FROM `{TABLE}`", limit=limit)
    assert (result.columns, result.rows, result.row_count) == (["f0_"], rows, 1)


def test_probe(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A probe dry-runs a query, creates and deletes a test table, and counts the tables of trips."""
    assert warehouse.probe() == "nyc-trips.taxi does not exist yet: the first load creates it in US"
    assert not google.datasets
    warehouse.replace_month(MARCH, green, 5)
    assert warehouse.probe() == "nyc-trips.taxi is writable; it is in US; tables: 1 of 4"
    assert list(google.tables) == [TABLE]


def test_probe_dataset_with_expiration(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A dataset whose tables expire, as in a project without billing, raises TablesExpire."""
    google.datasets["nyc-trips.taxi"] = {"location": "US", "defaultTableExpirationMs": str(60 * DAY_MS)}
    with pytest.raises(TablesExpire) as caught:
        warehouse.probe()
    assert caught.value.facts == {
        "dataset": "nyc-trips.taxi",
        "days": 60,
        "command": "bq update --default_table_expiration 0 --default_partition_expiration 0 nyc-trips:taxi",
    }


def test_probe_without_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe without a server fails within seconds, although Google's client would retry for ten minutes."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    warehouse = BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, retry_policy=QUICK)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(warehouse.probe).exception(timeout=30)
    assert isinstance(error, GoogleUnreachable)
    assert "Connection refused" in str(error.facts["seen"])


def test_probe_server_without_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe of a server that does not respond fails within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        warehouse = BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, retry_policy=QUICK)
        error = pool.submit(warehouse.probe).exception(timeout=20)
    assert isinstance(error, GoogleUnreachable)
    assert "Read timed out" in str(error.facts["seen"])


@pytest.mark.parametrize("pattern", [INSERT, r"POST .*/tables\?", r"DELETE .*/tables/", r"GET .*/datasets/"])
def test_probe_without_permission(pattern: str, warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A probe detects each missing permission."""
    _create_table(google)
    google.faults = [Fault(pattern, 403, "accessDenied", "Access Denied: no bigquery permission")]
    with pytest.raises(GooglePermission) as caught:
        warehouse.probe()
    assert caught.value.facts == {"seen": "403 Access Denied: no bigquery permission", "roles": ROLES}


@pytest.mark.parametrize(
    "url", ["bigquery://project", "bigquery://project/my-dataset", "bigquery:///x", "bigquery://a/b/c"]
)
def test_invalid_url(url: str) -> None:
    """A URL without a valid dataset name raises InvalidWarehouseUrl with the URL."""
    with pytest.raises(InvalidWarehouseUrl) as caught:
        dataset_of(url)
    assert caught.value.facts == {"seen": url}
    assert f'"{url}"' in str(caught.value)


def test_server_detects_unknown_fields(google: GoogleServer) -> None:
    """The test server reports parameters and fields that are not in Google's discovery document."""
    import requests

    jobs = f"{google.url}/bigquery/v2/projects/nyc-trips/jobs"
    job = {
        "jobReference": {"jobId": "a"},
        "configuration": {"load": {"sourceUri": "gs://a", "schema": [], "maxBadRecords": "1"}},
    }
    requests.post(f"{jobs}?pretty=false", json=job, timeout=5)
    assert [error.partition(": ")[2] for error in google.unknown] == [
        "parameter pretty",
        "body.configuration.load.sourceUri is not a field",
        "body.configuration.load.schema is [], expected object",
        "body.configuration.load.maxBadRecords is '1', expected integer",
    ]
    google.unknown.clear()


REMOVE = r"DELETE .*/tables/"


def test_remove(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake, green: LakeObject) -> None:
    """A removal deletes the month's partition and no other one, and the month can be loaded again."""
    april = TripMonth("green", "2020-04")
    warehouse.replace_month(MARCH, green, 5)
    warehouse.replace_month(april, _put(lake, 4, april), 4)
    removed = warehouse.remove(MARCH)
    assert [(item.place, item.rows) for item in removed] == [(PARTITION, 5)]
    assert [request.path.rpartition("/")[2] for request in google.requests_to(REMOVE)] == ["green_taxi_trips$202003"]
    assert [warehouse.count(month) for month in (MARCH, april)] == [0, 4]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_remove_month_without_rows(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """The removal of a month that was not loaded succeeds, with or without a table."""
    assert warehouse.remove(MARCH) == []
    assert google.requests_to(REMOVE) == []
    warehouse.replace_month(MARCH, green, 5)
    assert warehouse.remove(TripMonth("green", "2020-04")) == []
    assert google.rows == {PARTITION: 5}


def test_remove_after_lost_response(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """If the response to a deletion is lost, the deletion is retried."""
    warehouse.replace_month(MARCH, green, 5)
    google.faults = [Fault(REMOVE, lost=True)]
    assert [item.rows for item in warehouse.remove(MARCH)] == [5]
    assert google.rows == {}
    assert TABLE in google.tables


def test_remove_month_loaded_by_another_run(
    warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """If another run loads the month during a removal, the removal raises StoreBusy, and the new rows stay."""
    warehouse.replace_month(MARCH, green, 5)
    # The second count follows the deletion.
    google.faults = [
        skip("POST .*/queries"),
        Fault("POST .*/queries", before=lambda: google.rows.update({PARTITION: 7})),
    ]
    with pytest.raises(StoreBusy) as caught:
        warehouse.remove(MARCH)
    assert caught.value.facts == {**MARCH.facts, "table": PARTITION, "seen": 7, "expected": 0}
    assert google.rows == {PARTITION: 7}


def test_remove_from_incompatible_table(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A partition of an incompatible table is not deleted."""
    _create_table(google, timePartitioning={"type": "MONTH", "field": "pickup"})
    google.rows[PARTITION] = 5
    with pytest.raises(IncompatibleTable) as caught:
        warehouse.remove(MARCH)
    assert caught.value.facts["table"] == TABLE
    assert google.rows == {PARTITION: 5}
