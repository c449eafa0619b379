"""A month in BigQuery is replaced by one load job, whatever Google does; each request is one that Google knows."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taxi_assets.errors import (
    BadQuery,
    CountMismatch,
    MissingUpstream,
    SettingsError,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)
from taxi_assets.stores.bigquery import BigQueryWarehouse, split_url
from taxi_assets.stores.gcs import GCSLake
from taxi_assets.stores.google_cloud import GoogleAccount, Patience
from taxi_assets.stores.lake import LakeObject
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import no_rows
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.google_server import Fault, GoogleServer, Json
from taxi_assets_tests.months import write_month
from taxi_assets_tests.stores.conftest import QUICK

MARCH = TripMonth("green", "2020-03")
TABLE = "nyc-trips.taxi.green_taxi_trips"
PARTITION = f"{TABLE}$202003"
INSERT, ASK = r"POST .*/jobs\?", r"GET .*/jobs/"


@pytest.fixture
def green(lake: GCSLake) -> LakeObject:
    """A month's object of 5 rows in the lake."""
    return _put(lake, 5)


def _put(lake: GCSLake, rows: int, month: TripMonth = MARCH) -> LakeObject:
    staged = lake.stage(month)
    write_month(staged.path, month, rows)
    return lake.put(month, staged)


def _job_ids(google: GoogleServer) -> list[str]:
    return list(google.jobs)


def _table(google: GoogleServer, columns: list[Json] | None = None, **told: Any) -> None:
    """Let there be a table that a green month would go to, as this project makes it where it is not told otherwise."""
    google.datasets["nyc-trips.taxi"] = {"location": "US"}
    ours = [
        {"name": column.name, "type": _OLD.get(column.kind.value, "FLOAT"), "mode": "NULLABLE"}
        for column in LAYOUTS["green"].table_columns
    ]
    google.tables[TABLE] = {
        "tableReference": {"projectId": "nyc-trips", "datasetId": "taxi", "tableId": "green_taxi_trips"},
        "id": TABLE.replace(".", ":", 1),
        "etag": "1",
        "location": "US",
        "type": "TABLE",
        "timePartitioning": {"type": "MONTH", "field": "file_month"},
        "schema": {"fields": ours if columns is None else [*columns, *ours]},
        **told,
    }


_OLD = {"integer": "INTEGER", "text": "STRING", "timestamp": "DATETIME", "date": "DATE"}


def test_load(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A month is one load job, from the object into its partition, and is counted by a query."""
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
def test_table_is_made(color: str, warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """A missing dataset is made at its location, and the table in it, typed, described, partitioned and clustered."""
    month = TripMonth(color, "2020-03")
    warehouse.location = "EU"
    warehouse.replace_month(month, _put(lake, 2, month), 2)
    assert google.datasets["nyc-trips.taxi"]["location"] == "EU"
    made = google.asked(r"POST .*/tables\?")[-1].json
    assert made["timePartitioning"] == {"type": "MONTH", "field": "file_month"}
    assert made["clustering"] == {"fields": [LAYOUTS[color].pickup]}
    assert made["labels"] == {"made_by": "taxi_assets", "color": color}
    types = {"integer": "INT64", "decimal": "FLOAT64", "text": "STRING", "timestamp": "DATETIME", "date": "DATE"}
    assert [(told["name"], told["type"], told["mode"], told["description"]) for told in made["schema"]["fields"]] == [
        (column.name, types[column.kind], "NULLABLE", column.meaning) for column in LAYOUTS[color].table_columns
    ]


def test_only_load_jobs(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Nothing is changed by SQL, and no byte of a month goes through this program."""
    warehouse.replace_month(MARCH, green, 5)
    asked = [request.json["query"] for request in google.asked(r"POST .*/queries")]
    assert asked
    assert all(sql.startswith("SELECT count(*)") for sql in asked)
    assert not google.asked("/upload/bigquery")


def test_summary_asks_once(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A summary is one query for the month's partition; where the table does not exist, it is that of no rows."""
    assert warehouse.summarize(MARCH) == no_rows(LAYOUTS["green"])
    (asked,) = [request.json for request in google.asked(r"POST .*/queries")]
    assert asked["query"].endswith(f"FROM `{TABLE}` WHERE file_month = @month")
    assert asked["queryParameters"][0]["parameterValue"] == {"value": "2020-03-01"}


def test_total_rows_are_not_billed(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """The rows of a table are asked for without a filter, which BigQuery answers from metadata."""
    assert warehouse.total_rows(MARCH) == 0
    assert [request.json["query"] for request in google.asked(r"POST .*/queries")] == [
        f"SELECT count(*) FROM `{TABLE}`"
    ]


def test_repeated(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """The same object again is loaded again, by a job of its own: someone may have emptied the partition."""
    for _ in range(3):
        assert warehouse.replace_month(MARCH, green, 5) == 5
        google.rows[PARTITION] += 1000
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "2", "3"]


def test_another_generation(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake) -> None:
    """A new object starts with a new job."""
    for rows in (5, 6):
        warehouse.replace_month(MARCH, _put(lake, rows), rows)
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "1"]
    assert google.rows == {PARTITION: 6}


def test_lost_answer(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A request whose answer was lost is sent again, finds its job, and does not load twice."""
    google.faults = [Fault(INSERT, lost=True)]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.asked(INSERT)) == 2
    assert len(google.jobs) == 1


def test_lost_answer_and_late_job(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Google may say that the id is taken and, for a moment, that there is no such job."""
    google.faults = [
        Fault(ASK, before=lambda: None),
        Fault(INSERT, lost=True),
        Fault(ASK, 404, "notFound", "Not found: Job", times=2),
    ]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 1


def _left_running(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> Json:
    """A job that a run gave up to wait for, and that is done the second time that it is asked for from now on."""
    google.pending = 10**6
    warehouse.longest_job_s = 0.05
    with pytest.raises(StoreBusy, match=r"job taxi_assets-taxi-green-202003-\d+-\d+-1 was not done.*run this again"):
        warehouse.replace_month(MARCH, green, 5)
    (job,) = google.jobs.values()
    google.pending = job["asked"] + 2
    warehouse.longest_job_s = 10
    return job


def test_running_job_is_joined(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A job that a killed run, or one at the same time, left running is waited for, not repeated."""
    _left_running(warehouse, google, green)
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 1
    assert len(google.asked(INSERT)) == 1


def test_an_older_job_cannot_undo_a_newer_one(
    warehouse: BigQueryWarehouse, lake: GCSLake, google: GoogleServer, green: LakeObject
) -> None:
    """A job that a killed run left running is let to its end first: what it loads is then replaced."""
    older = _left_running(warehouse, google, green)
    assert warehouse.replace_month(MARCH, _put(lake, 7), 7) == 7
    assert older["status"]["state"] == "DONE"
    assert google.rows == {PARTITION: 7}


def test_jobs_that_may_not_be_listed(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Who may start jobs and not list them loads all the same."""
    google.faults = [Fault(r"GET .*/jobs\?", 403, "accessDenied", "Access Denied: bigquery.jobs.list")]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_job_of_another_account(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A job that these credentials may not look at, since another account started it, has its id taken."""
    google.faults = [Fault(ASK, 403, "accessDenied", "Access Denied: bigquery.jobs.get")]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["2"]


def test_jobs_that_may_not_be_started(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """Where it is the load that is refused, it is asked for once, and told with the roles that it takes."""
    google.faults = [Fault(INSERT, 403, "accessDenied", "Access Denied: bigquery.jobs.create", times=10)]
    with pytest.raises(StoreError, match=r"Access Denied: bigquery\.jobs\.create.*It takes the roles"):
        warehouse.replace_month(MARCH, green, 5)
    assert len(google.asked(INSERT)) == 1


def test_runs_at_once(google: GoogleServer, green: LakeObject) -> None:
    """Runs that load the same month at once, from the making of the dataset on, leave one copy of it."""
    google.pending = 3

    def load(_: int) -> int:
        warehouse = BigQueryWarehouse(
            "bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, patience=Patience(0.001, 0.01, 5)
        )
        return warehouse.replace_month(MARCH, green, 5)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [5] * 4
    assert google.rows == {PARTITION: 5}


@pytest.mark.parametrize("other", ["another object", "another dataset"])
def test_another_job_of_that_id(
    other: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A running job that only has the id is not taken for one's own."""
    job = _left_running(warehouse, google, green)
    if other == "another object":
        job["configuration"]["load"]["sourceUris"] = ["gs://other/object"]
    else:
        job["configuration"]["load"]["destinationTable"]["projectId"] = "other"
        google.tables["other.taxi.green_taxi_trips"] = google.tables[TABLE]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.jobs) == 2


def test_pending(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A job that runs for minutes is waited for."""
    google.pending = 20
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert len(google.asked(ASK)) > 20


@pytest.mark.parametrize("on", [INSERT, ASK, r"GET .*/tables/", r"POST .*/tables\?", r"POST .*/datasets\?", "/queries"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "backendError"), (500, "internalError"), (429, "x"), (403, "rateLimitExceeded"), (502, "badGateway")],
)
def test_bursts(  # noqa: PLR0913, PLR0917
    status: int, reason: str, on: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """What Google cannot do now is asked again, and the month is there once."""
    google.faults = [Fault(on, status, reason, times=3)]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.faults[0].times == 0
    assert len(google.jobs) == 1


@pytest.mark.parametrize("reason", ["backendError", "internalError", "rateLimitExceeded"])
def test_job_fails_in_passing(
    reason: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A job that met what can pass is followed by another, since its id cannot be used again."""
    google.failures = [{"reason": reason, "message": "Try again"}] * 3
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert [name.rpartition("-")[2] for name in _job_ids(google)] == ["1", "2", "3", "4"]


def test_job_fails_again_and_again(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """There is an end to that, and the month stays as it was."""
    warehouse.replace_month(MARCH, green, 5)
    google.failures = [{"reason": "backendError", "message": "Try again"}] * 10
    with pytest.raises(StoreUnreachable, match=r"stays as it was: Try again.*-5\)\. Google met this again and again"):
        warehouse.replace_month(MARCH, green, 5)
    assert len(google.jobs) == 5
    assert google.rows == {PARTITION: 5}


FAILURES: list[tuple[str, Json, str]] = [
    (
        "type",
        {
            "reason": "invalid",
            "message": "Error while reading data, error message: Parquet column 'fare_amount' has type INT64 which "
            "does not match the target cpp_type DOUBLE. File: gs://trips/x.parquet",
        },
        r"stays as it was: column fare_amount: Error while reading.*Run lake_trips again",
    ),
    (
        "value",
        {
            "reason": "invalid",
            "message": "Error while reading data",
            "more": [{"reason": "invalid", "message": 'Could not convert value; line_number: 7 column_name: "extra"'}],
        },
        r"row 7, column extra: Error while reading data\. Could not convert",
    ),
    (
        "schema",
        {"reason": "invalid", "message": "Provided Schema does not match Table x. Field VendorID has changed type"},
        "column VendorID: Provided Schema does not match",
    ),
    (
        "another month",
        {"reason": "invalid", "message": "Some rows belong to different partitions rather than destination partition"},
        r"Some rows.*rows of another month: run clean_trips and lake_trips again",
    ),
    (
        "location",
        {"reason": "invalid", "message": "Cannot read and write in different locations: source: ASIA, destination: US"},
        r"source: ASIA.*Bucket and dataset must be in the same place.*TAXI_LAKE_URL",
    ),
    ("quota", {"reason": "quotaExceeded", "message": "Quota exceeded: too many imports"}, "fewer runs go at once"),
    (
        "permission",
        {"reason": "accessDenied", "message": "Access Denied: File gs://trips/x: Access Denied"},
        r"roles/storage\.objectViewer",
    ),
]


@pytest.mark.parametrize(("failure", "said"), [each[1:] for each in FAILURES], ids=[each[0] for each in FAILURES])
def test_job_fails(
    failure: Json, said: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """What another try cannot mend is told once, with where it is and what to do; the month stays as it was."""
    warehouse.replace_month(MARCH, green, 5)
    google.failures = [dict(failure)]
    with pytest.raises(StoreError, match=said) as caught:
        warehouse.replace_month(MARCH, green, 5)
    assert str(caught.value).startswith(f"green 2020-03 was not loaded into {TABLE}")
    assert google.rows == {PARTITION: 5}
    assert len(google.jobs) == 2


def test_object_is_gone(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """An object that was removed since it was found is told, with the asset that makes it."""
    google.objects.clear()
    with pytest.raises(MissingUpstream, match=r"finds no gs://trips/.*Run lake_trips again"):
        warehouse.replace_month(MARCH, green, 5)
    assert len(google.jobs) == 1


def test_object_changed(warehouse: BigQueryWarehouse, green: LakeObject, lake: GCSLake) -> None:
    """An object that was replaced between upload and load is told, by its rows."""
    _put(lake, 7)
    with pytest.raises(
        CountMismatch, match=r"7 rows .* expected 5, those of gs://.*changed in between: run lake_trips"
    ):
        warehouse.replace_month(MARCH, green, 5)


def test_table_deleted(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A table that is deleted just before the job is made again, and the month loaded."""
    google.pending = 1
    google.faults = [Fault(INSERT, before=lambda: google.drop(TABLE))]
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert google.tables[TABLE]["timePartitioning"] == {"type": "MONTH", "field": "file_month"}
    assert len(google.jobs) == 2


def test_table_made_by_another_run(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A table that another run makes at the same moment is used."""
    google.datasets["nyc-trips.taxi"] = {"location": "US"}
    google.faults = [Fault(r"POST .*/tables\?", before=lambda: _table(google))]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_widened(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A column that the table lacks is added to it; what else it has stays."""
    _table(google, [{"name": "mine", "type": "STRING", "mode": "NULLABLE"}])
    fields = google.tables[TABLE]["schema"]["fields"]
    google.tables[TABLE]["schema"] = {"fields": [field for field in fields if field["name"] != "congestion_surcharge"]}
    warehouse.replace_month(MARCH, green, 5)
    (patch,) = google.asked("PATCH")
    assert patch.json["schema"]["fields"][-1]["name"] == "congestion_surcharge"
    assert patch.json["schema"]["fields"][0]["name"] == "mine"
    assert patch.headers["if-match"] == "1"
    warehouse.replace_month(MARCH, green, 5)
    assert len(google.asked("PATCH")) == 1


def test_spelling(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """BigQuery does not tell capital letters from small ones, and neither does the check."""
    _table(google)
    for column in google.tables[TABLE]["schema"]["fields"]:
        column["name"] = column["name"].lower()
    assert warehouse.replace_month(MARCH, green, 5) == 5
    assert not google.asked("PATCH")


FOREIGN: list[tuple[str, Json, str]] = [
    ("view", {"type": "VIEW"}, "it is a VIEW, expected a TABLE"),
    ("not partitioned", {"timePartitioning": None}, "it is not partitioned by time, expected by MONTH of file_month"),
    ("by day", {"timePartitioning": {"type": "DAY", "field": "file_month"}}, "partitioned by DAY of file_month, exp"),
    ("by loading", {"timePartitioning": {"type": "MONTH"}}, "partitioned by MONTH of the time of loading"),
    ("required", {"columns": [{"name": "mine", "type": "STRING", "mode": "REQUIRED"}]}, "mine is REQUIRED, and no col"),
]


@pytest.mark.parametrize(("told", "said"), [each[1:] for each in FOREIGN], ids=[each[0] for each in FOREIGN])
def test_foreign_table(
    told: Json, said: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A table of the month's name that something else made is told, with the difference, and left alone."""
    _table(google, **{name: value for name, value in told.items() if value is not None})
    if told.get("timePartitioning", 1) is None:
        del google.tables[TABLE]["timePartitioning"]
    for ask in (lambda: warehouse.replace_month(MARCH, green, 5), warehouse.probe):
        with pytest.raises(StoreError, match=f"{TABLE} is not one of green months: .*{said}.*Rename it"):
            ask()
    assert not google.jobs
    assert not google.asked("PATCH")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "FLOAT"}, "VendorID is FLOAT64 NULLABLE, expected INT64 NULLABLE"),
        ({"mode": "REQUIRED"}, "VendorID is INT64 REQUIRED, expected INT64 NULLABLE"),
        ({"mode": "REPEATED"}, "VendorID is INT64 REPEATED"),
    ],
)
def test_foreign_column(
    change: Json, said: str, warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject
) -> None:
    """A column of another type or mode is told, with the difference."""
    _table(google)
    google.tables[TABLE]["schema"]["fields"][0] |= change
    with pytest.raises(StoreError, match=said):
        warehouse.replace_month(MARCH, green, 5)
    assert not google.jobs


def test_expiring_partitions(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A table whose partitions expire, as without billing, would lose an old month at once: that is told before."""
    _table(google, timePartitioning={"type": "MONTH", "field": "file_month", "expirationMs": str(60 * 86_400_000)})
    with pytest.raises(StoreError, match=r"keeps a partition for 60 days.*billing.*time_partitioning_expiration 0"):
        warehouse.replace_month(MARCH, green, 5)
    assert not google.jobs
    google.tables[TABLE]["timePartitioning"]["expirationMs"] = str(60 * 365 * 86_400_000)
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_wrong_location(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A dataset that is elsewhere than the setting says is told, before anything is loaded."""
    _table(google, location="EU")
    google.datasets["nyc-trips.taxi"] = {"location": "EU"}
    for ask in (lambda: warehouse.replace_month(MARCH, green, 5), warehouse.probe):
        with pytest.raises(StoreError, match=r"taxi is in EU, TAXI_BIGQUERY_LOCATION is US: set it to EU"):
            ask()
    assert not google.jobs


def test_bad_location(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A place that Google does not know is told by its setting."""
    warehouse.location = "MARS"
    with pytest.raises(StoreError, match=r"cannot be made in MARS: 400 Invalid value.*TAXI_BIGQUERY_LOCATION"):
        warehouse.replace_month(MARCH, green, 5)
    assert not google.datasets


REFUSALS = [
    (401, "authError", "Invalid Credentials", r"does not accept the credentials: .*TAXI_GCP_CREDENTIALS"),
    (403, "accessDenied", "Access Denied: Project x", r"refused: 403 Access Denied: Project x\. It takes .*dataEditor"),
    (403, "quotaExceeded", "Quota exceeded", r"quota of Google's is used up: 403 Quota exceeded.*Quotas"),
]


@pytest.mark.parametrize(("status", "reason", "message", "said"), REFUSALS, ids=[each[1] for each in REFUSALS])
@pytest.mark.parametrize("on", [r"GET .*/tables/", r"POST .*/tables\?", INSERT, "/queries"])
def test_refused(  # noqa: PLR0913, PLR0917
    on: str,
    status: int,
    reason: str,
    message: str,
    said: str,
    warehouse: BigQueryWarehouse,
    google: GoogleServer,
    green: LakeObject,
) -> None:
    """What Google refuses is told at once, with what to do."""
    google.faults = [Fault(on, status, reason, message)]
    with pytest.raises(StoreError, match=rf"green 2020-03 was not loaded \(bigquery://nyc-trips/taxi\): .*{said}"):
        warehouse.replace_month(MARCH, green, 5)
    assert len(google.asked(on)) == 1


def test_never_well(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """There is an end to patience."""
    google.faults = [Fault(INSERT, 503, times=10**6)]
    with pytest.raises(StoreError, match="again and again, Google answered 503 Visibility check"):
        warehouse.replace_month(MARCH, green, 5)


def test_nobody_there(warehouse: BigQueryWarehouse, google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody answers ends within the patience."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", google.url.rpartition(":")[0] + ":9")
    with pytest.raises(StoreError, match=r"again and again, Google cannot be reached.*Check the connection"):
        warehouse.count(MARCH)


@pytest.mark.parametrize("uri", ["/home/me/lake/data/green.parquet", "data/green.parquet"])
def test_folder_lake(uri: str, warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A lake in a folder cannot be loaded from, and the setting is told; nothing is asked of Google."""
    with pytest.raises(SettingsError, match=r"loads from gs:// only.*TAXI_LAKE_URL"):
        warehouse.replace_month(MARCH, LakeObject(MARCH, uri, 0, 5), 5)
    assert not google.seen


def test_count_of_nothing(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """Before the first load there are no rows, and nothing is made."""
    assert warehouse.count(MARCH) == 0
    assert not google.datasets


def test_query_changes_nothing(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A statement that is no SELECT is planned, which costs nothing, and then refused."""
    with pytest.raises(BadQuery, match="expected a SELECT, this is DELETE"):
        warehouse.query("DELETE FROM green_taxi_trips WHERE true")
    assert not google.asked("/queries")
    (plan,) = google.asked(INSERT)
    assert plan.json["configuration"]["query"]["defaultDataset"] == {"projectId": "nyc-trips", "datasetId": "taxi"}


def test_probe(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A probe plans a query, makes a table and removes it, and counts the months' tables."""
    assert warehouse.probe() == "nyc-trips.taxi is not there yet: the first run makes it in US"
    assert not google.datasets
    warehouse.replace_month(MARCH, green, 5)
    assert warehouse.probe() == "nyc-trips.taxi can be written to; it is in US; tables: 1 of 3"
    assert list(google.tables) == [TABLE]


def test_probe_of_a_dataset_that_forgets(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A dataset whose tables expire, as without billing, is told before a month is lost."""
    google.datasets["nyc-trips.taxi"] = {"location": "US", "defaultTableExpirationMs": str(60 * 86_400_000)}
    with pytest.raises(StoreError, match=r"forgets what is 60 days old.*billing.*bq update"):
        warehouse.probe()


def test_probe_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a doctor waits for seconds, though Google's client would go on for ten minutes."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    warehouse = BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, patience=QUICK)
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(warehouse.probe).exception(timeout=30)
    assert isinstance(said, StoreError)
    assert re.search(r"tried again and again, Google cannot be reached: .*Connection refused", str(said))


def test_probe_of_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request that is never answered takes no longer than a doctor may."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        warehouse = BigQueryWarehouse("bigquery://nyc-trips/taxi", GoogleAccount().bigquery_client, patience=QUICK)
        said = pool.submit(warehouse.probe).exception(timeout=20)
    assert isinstance(said, StoreError)
    assert "Read timed out" in str(said)


@pytest.mark.parametrize("on", [INSERT, r"POST .*/tables\?", r"DELETE .*/tables/", r"GET .*/datasets/"])
def test_probe_refused(on: str, warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A probe finds a missing permission, with the roles it takes."""
    _table(google)
    google.faults = [Fault(on, 403, "accessDenied", "Access Denied: User does not have bigquery permission")]
    with pytest.raises(StoreError, match=r"warehouse cannot be used .*Access Denied.*bigquery\.jobUser"):
        warehouse.probe()


@pytest.mark.parametrize(
    "url", ["bigquery://project", "bigquery://project/my-dataset", "bigquery:///x", "bigquery://a/b/c"]
)
def test_bad_url(url: str) -> None:
    """An address without a dataset, or with a name that none can have, is refused, by its setting."""
    with pytest.raises(SettingsError, match=rf"TAXI_WAREHOUSE_URL={re.escape(url)} .*bigquery://project/dataset"):
        split_url(url)


def test_what_google_does_not_know(google: GoogleServer) -> None:
    """The server sees a request that Google's discovery document does not know: else the others would prove nothing."""
    import requests

    jobs = f"{google.url}/bigquery/v2/projects/nyc-trips/jobs"
    job = {
        "jobReference": {"jobId": "a"},
        "configuration": {"load": {"sourceUri": "gs://a", "schema": [], "maxBadRecords": "1"}},
    }
    requests.post(f"{jobs}?pretty=false", json=job, timeout=5)
    assert [wrong.partition(": ")[2] for wrong in google.unknown] == [
        "parameter pretty",
        "body.configuration.load.sourceUri is no field",
        "body.configuration.load.schema is [], expected object",
        "body.configuration.load.maxBadRecords is '1', expected integer",
    ]
    google.unknown.clear()


REMOVE = r"DELETE .*/tables/"


def test_remove(warehouse: BigQueryWarehouse, google: GoogleServer, lake: GCSLake, green: LakeObject) -> None:
    """A month's partition is deleted by the API; the table, and another month in it, stay; it can be loaded again."""
    april = TripMonth("green", "2020-04")
    warehouse.replace_month(MARCH, green, 5)
    warehouse.replace_month(april, _put(lake, 4, april), 4)
    removed = warehouse.remove(MARCH)
    assert [(holding.place, holding.rows) for holding in removed] == [(PARTITION, 5)]
    assert [request.path.rpartition("/")[2] for request in google.asked(REMOVE)] == ["green_taxi_trips$202003"]
    assert [warehouse.count(month) for month in (MARCH, april)] == [0, 4]
    assert warehouse.replace_month(MARCH, green, 5) == 5


def test_remove_nothing(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A month that is not there is removed already, whether the table is there or not."""
    assert warehouse.remove(MARCH) == []
    assert google.asked(REMOVE) == []
    warehouse.replace_month(MARCH, green, 5)
    assert warehouse.remove(TripMonth("green", "2020-04")) == []
    assert google.rows == {PARTITION: 5}


def test_remove_with_a_lost_answer(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A removal whose answer was lost is asked for again."""
    warehouse.replace_month(MARCH, green, 5)
    google.faults = [Fault(REMOVE, lost=True)]
    assert [holding.rows for holding in warehouse.remove(MARCH)] == [5]
    assert google.rows == {}
    assert TABLE in google.tables


def test_remove_what_is_loaded_again(warehouse: BigQueryWarehouse, google: GoogleServer, green: LakeObject) -> None:
    """A month that another run loads before the removal ends is told; its rows stay."""
    warehouse.replace_month(MARCH, green, 5)
    # The second count comes after the removal.
    google.faults = [
        Fault("POST .*/queries", before=lambda: None),
        Fault("POST .*/queries", before=lambda: google.rows.update({PARTITION: 7})),
    ]
    with pytest.raises(StoreBusy, match=r"green 2020-03: 7 rows are in .*\$202003 after it was deleted.*Wipe it again"):
        warehouse.remove(MARCH)
    assert google.rows == {PARTITION: 7}


def test_remove_from_a_foreign_table(warehouse: BigQueryWarehouse, google: GoogleServer) -> None:
    """A partition of a table that this project did not make stays."""
    _table(google, timePartitioning={"type": "MONTH", "field": "pickup"})
    google.rows[PARTITION] = 5
    with pytest.raises(StoreError, match="is not one of green months"):
        warehouse.remove(MARCH)
    assert google.rows == {PARTITION: 5}
