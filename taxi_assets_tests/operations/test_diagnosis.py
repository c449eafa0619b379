"""`taxi doctor` checks each system separately, shows how to fix it, shows no secret, and leaves no test data."""

import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from taxi_assets.errors import InvalidCredentials, SettingsError
from taxi_assets.operations.diagnosis import ENOUGH_BYTES, Finding, Verdict, examine
from taxi_assets.settings import Settings
from taxi_assets.stores.files.folder_lake import FolderLake
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.machine import closed
from taxi_assets_tests.web_server import WebServer

SYSTEMS = ["versions", "home", "source", "lake", "warehouse", "postgres", "psql", "pgadmin", "history", "alerts"]

Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def examined(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """A function that returns the findings for some settings.

    By default, TAXI_HOME does not exist, the source has one month, and Postgres is the server of the tests.
    """
    published = tmp_path / "source" / "fhv" / "fhv_tripdata_2020-01.csv.gz"
    published.parent.mkdir(parents=True)
    published.touch()
    defaults = {
        "HOME": str(tmp_path / "home"),
        "SOURCE_URL": str(tmp_path / "source"),
        "POSTGRES_URL": postgres_url,
    }

    def find(*, alert: bool = False, **settings: str) -> dict[str, Finding]:
        for name, value in {**defaults, **settings}.items():
            monkeypatch.setenv(f"TAXI_{name}", value)
        return {finding.system: finding for finding in examine(Settings.load(), alert=alert)}

    return find


def _errors(findings: Mapping[str, Finding]) -> dict[str, str]:
    """The slug of each system with the verdict `error`."""
    return {system: finding.error for system, finding in findings.items() if finding.verdict is Verdict.error}


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_systems_are_ok(examined: Examine) -> None:
    """If nothing is wrong, every system has a finding, and none is an error."""
    findings = examined()
    assert list(findings) == SYSTEMS
    assert _errors(findings) == {}
    seen = {system: finding.seen for system, finding in findings.items()}
    assert all(
        f"{package} " in seen["versions"] for package in ("python", "taxi-assets", "dagster", "duckdb", "pyarrow")
    )
    assert "free" in seen["home"]
    assert "1 fhv month" in seen["source"]
    assert "PostgreSQL 18" in seen["postgres"]
    assert "runs: 0" in seen["history"]
    assert "TAXI_ALERT_URLS" in seen["alerts"]


def test_no_test_data_is_left(examined: Examine, tmp_path: Path, postgres_url: str) -> None:
    """Except for the history, which every command creates, nothing is left in TAXI_HOME or in Postgres."""
    store = PostgresStore(postgres_url)
    relations = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = store.query(relations).rows
    examined()
    assert {name.split("/")[0] for name in _files(tmp_path / "home")} == {"dagster"}
    files = _files(tmp_path)
    examined()
    assert _files(tmp_path) == files
    assert store.query(relations).rows == before


def test_each_system_has_its_own_error(examined: Examine, tmp_path: Path) -> None:
    """Several systems that fail each have an error with its slug and the setting to change. The others are ok."""
    (tmp_path / "lake").touch()
    (tmp_path / "no.duckdb").write_text("no database")
    findings = examined(
        SOURCE_URL=str(tmp_path / "nothing"),
        LAKE_URL=str(tmp_path / "lake"),
        WAREHOUSE_URL=f"duckdb:///{tmp_path / 'no.duckdb'}",
        POSTGRES_URL="postgresql://ann:s3cr3t@127.0.0.1:1/trips",
    )
    errors = _errors(findings)
    assert errors == {
        "source": "source-folder-missing",
        "lake": "wrong-file-type",
        "warehouse": "damaged-warehouse",
        "postgres": "postgres-unreachable",
    }
    for system, slug in errors.items():
        assert f"TAXI_{system.upper()}_URL" in findings[system].remedy
        assert findings[system].seen.endswith(f"[{slug}]")
    assert str(tmp_path / "nothing") in findings["source"].seen
    assert str(tmp_path / "lake") in findings["lake"].seen
    assert "no.duckdb" in findings["warehouse"].seen
    assert re.search(r"127\.0\.0\.1\b.*\bport 1\b", findings["postgres"].seen)
    assert "s3cr3t" not in f"{findings}"


def test_a_home_that_is_a_file(examined: Examine, tmp_path: Path) -> None:
    """If TAXI_HOME is a file, everything in it is an error. The other systems are still checked."""
    (tmp_path / "home").touch()
    findings = examined()
    assert _errors(findings) == dict.fromkeys(["home", "lake", "warehouse", "history"], "wrong-file-type")
    assert "TAXI_HOME" in findings["home"].remedy


def test_little_free_space(examined: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without enough space for a large month is a warning with the space to free."""
    usage = shutil.disk_usage(tmp_path)._replace(free=ENOUGH_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    findings = examined()
    assert _errors(findings) == {}
    assert findings["home"].verdict is Verdict.warn
    assert "5 GB" in findings["home"].remedy


DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")


@pytest.mark.parametrize("name", DATABASES)
def test_a_damaged_history(name: str, examined: Examine, tmp_path: Path) -> None:
    """A history that is damaged is an error with its path, the reason, and the advice to move it away."""
    examined()
    (tmp_path / "home/dagster" / name).write_bytes(b"no SQLite at all" * 1000)
    findings = examined()
    assert _errors(findings) == {"history": "damaged-history"}
    seen = findings["history"].seen
    for fact in (f"{tmp_path}/home/dagster", "file is not a database", "Move the folder away"):
        assert fact in seen


@pytest.mark.parametrize("name", DATABASES)
def test_a_history_in_use(name: str, examined: Examine, tmp_path: Path) -> None:
    """A history that another process is writing to is ok, and the check does not wait for it."""
    examined()
    with closing(sqlite3.connect(tmp_path / "home/dagster" / name, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        findings = examined()
        assert time.monotonic() - started < 4
        writer.execute("CREATE TABLE mine (x)")
        writer.execute("ROLLBACK")
    assert _errors(findings) == {}


def test_the_check_locks_nothing(examined: Examine, tmp_path: Path) -> None:
    """While the systems are checked again and again, other processes write to the history without an error."""
    examined()
    stop = threading.Event()
    written: Counter[str] = Counter()

    def write(name: str) -> None:
        path = tmp_path / "home/dagster" / name
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as database:
            database.execute("CREATE TABLE mine (x)")
            while not stop.is_set():
                database.execute("INSERT INTO mine VALUES (1)")
                written[name] += 1

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, name) for name in DATABASES]
        findings = [examined() for _ in range(5)]
        stop.set()
        for writer in writers:
            writer.result()
    assert [_errors(found) for found in findings] == [{}] * 5
    assert all(written[name] > 5 for name in DATABASES)


@pytest.mark.parametrize("name", DATABASES)
def test_a_read_only_history(name: str, examined: Examine, tmp_path: Path) -> None:
    """A database of the history that this user may not write to is an error with its path, and not damage."""
    examined()
    folder = tmp_path / "home/dagster"
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (folder / name).chmod(0o444)
    with closed(folder, 0o777):
        finding = examined()["history"]
    assert finding.verdict is Verdict.error
    assert finding.error == "no-permission"
    assert str(folder / name) in finding.seen
    assert "Move" not in finding.seen


def test_a_read_only_folder_of_the_history(examined: Examine, tmp_path: Path) -> None:
    """A folder of the history that this user may not write to is an error, because SQLite creates files in it."""
    examined()
    folder = tmp_path / "home/dagster"
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    with closed(folder / "schedules", 0o555):
        finding = examined()["history"]
    assert (finding.verdict, finding.error) == (Verdict.error, "history-unusable")
    assert str(folder) in finding.seen
    assert "Move" not in finding.seen


@pytest.fixture
def duckdb_path(tmp_path: Path) -> Path:
    """The path of the warehouse, with an empty table of one color."""
    import duckdb

    path = tmp_path / "home" / "warehouse.duckdb"
    path.parent.mkdir()
    with duckdb.connect(path) as database:
        database.execute("CREATE TABLE numbers AS SELECT range AS x FROM range(1000)")
    return path


def test_a_warehouse_in_use(examined: Examine, duckdb_path: Path) -> None:
    """A warehouse that a load is using is ok, and the check does not wait for the load."""
    with locked(duckdb_path.with_name("warehouse.duckdb.lock"), "the test"):
        started = time.monotonic()
        findings = examined()
        assert time.monotonic() - started < 5
    assert _errors(findings) == {}
    assert f"{duckdb_path} is writable" in findings["warehouse"].seen


@pytest.mark.parametrize("position", [8, 4096 * 3, 4096 * 3 + 100])
def test_a_damaged_warehouse(position: int, examined: Examine, duckdb_path: Path) -> None:
    """A warehouse with wrong magic bytes or a wrong checksum is an error with the advice to move it away."""
    content = bytearray(duckdb_path.read_bytes())
    content[position] ^= 0xFF
    duckdb_path.write_bytes(content)
    findings = examined()
    assert _errors(findings) == {"warehouse": "damaged-warehouse"}
    for fact in (f"{duckdb_path}.wal", "--select warehouse_trips"):
        assert fact in findings["warehouse"].seen
    assert duckdb_path.read_bytes() == content


def test_a_warehouse_open_in_another_program(examined: Examine, duckdb_path: Path) -> None:
    """A warehouse that another program has open is an error without the advice to move it away."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    args = [sys.executable, "-c", script, str(duckdb_path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        findings = examined()
        process.communicate()
    assert _errors(findings) == {"warehouse": "warehouse-open-elsewhere"}
    assert str(process.pid) in findings["warehouse"].seen
    assert not re.search("(?i)move|damaged", findings["warehouse"].seen)


@pytest.mark.parametrize(
    "parameters", ["password=a@s3cr3t", "password=a%40s3cr3t", "passfile=/home/a@s3cr3t", "sslpassword=a@s3cr3t"]
)
@pytest.mark.parametrize("user", ["first", "last"])
def test_a_password_in_a_parameter(user: str, parameters: str, examined: Examine, postgres_url: str) -> None:
    """A password in a parameter of the URL is shown nowhere, and the user and the database are those of the URL."""
    place = postgres_url.partition("?")[2]
    query = {"first": f"user=taxi&{parameters}&{place}", "last": f"{place}&{parameters}&user=taxi"}[user]
    findings = examined(POSTGRES_URL=f"postgresql:///ny_taxi?{query}")
    assert _errors(findings) == {}
    assert not re.search("s3cr3t|a@|a%40|pass(word|file)=", f"{findings}")
    assert "database ny_taxi, user taxi" in findings["pgadmin"].seen
    line = f"{findings['psql'].seen} --no-psqlrc -Atc 'SELECT current_user'"
    assert subprocess.check_output(line, shell=True, text=True) == "taxi\n"  # noqa: S602  # as users paste it


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:1/trips?user=ann&password=a@s3cr3t",
        "postgresql://127.0.0.1:1/trips?password=a@s3cr3t&user=ann",
        "postgresql://127.0.0.1:1?dbname=trips&user=ann&password=a%40s3cr3t&sslpassword=b@s3cr3t",
        "postgresql://ann:a?s3cr3t@127.0.0.1:1/trips?passfile=/a@s3cr3t",
    ],
)
def test_a_password_of_a_server_that_is_not_available(url: str, examined: Examine) -> None:
    """The error for a server that is not available has its host, port, user and database, but no password."""
    finding = examined(POSTGRES_URL=url)["postgres"]
    assert finding.error == "postgres-unreachable"
    for fact in ("127.0.0.1", "port 1", "ann", "trips"):
        assert fact in finding.seen
    assert "s3cr3t" not in f"{finding}"


def test_an_invalid_configuration(examined: Examine, tmp_path: Path) -> None:
    """A `dagster.yaml` that cannot be parsed is an error with its path."""
    examined()
    (tmp_path / "home/dagster/dagster.yaml").write_text("telemetry: [")
    findings = examined()
    assert _errors(findings) == {"history": "invalid-dagster-yaml"}
    assert str(tmp_path / "home/dagster/dagster.yaml") in findings["history"].seen


def test_a_server_without_the_first_months(examined: Examine, web: WebServer) -> None:
    """A server that has none of the TLC's first months, nor of the mirror's, is an error: its URL is probably wrong."""
    findings = examined(SOURCE_URL=web.url)
    assert _errors(findings) == {"source": "empty-source"}
    for month in ("yellow 2009-01", "yellow 2019-01", "green 2013-08", "green 2019-01", "fhv 2015-01", "fhvhv 2019-02"):
        assert month in findings["source"].seen
    assert "fhvhv 2019-01" not in findings["source"].seen


def test_the_psql_command(examined: Examine) -> None:
    """The psql command, pasted into a shell, connects to the database."""
    line = f"{examined()['psql'].seen} --no-psqlrc -Atc 'SELECT current_database()'"
    assert subprocess.check_output(line, shell=True, text=True) == "ny_taxi\n"  # noqa: S602  # as users paste it


def test_connecting_to_the_embedded_server(examined: Examine, tmp_path: Path) -> None:
    """Without TAXI_POSTGRES_URL, the embedded server is started. With a port, pgAdmin can connect to it."""
    server = EmbeddedPostgres(tmp_path / "home" / "postgres")
    try:
        assert "TAXI_POSTGRES_PORT" in examined(POSTGRES_URL="")["pgadmin"].remedy
        assert server.stop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            assert _errors(examined(POSTGRES_URL="", POSTGRES_PORT=port)) == {"postgres": "port-in-use"}
        pgadmin = examined(POSTGRES_URL="", POSTGRES_PORT=port)["pgadmin"].seen
        assert pgadmin == f"host 127.0.0.1, port {port}, database ny_taxi, user taxi, no password"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAKE_URL", "s3://bucket"),
        ("WAREHOUSE_URL", "sqlite:///x"),
        ("SOURCE_URL", "ftp://x"),
        ("POSTGRES_URL", "mysql://ann:s3cr3t@host/trips"),
    ],
)
def test_a_url_of_an_unknown_system(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL of a system that is not supported is an error before any check, as for every other command."""
    monkeypatch.setenv(f"TAXI_{name}", value)
    with pytest.raises(SettingsError) as caught:
        next(examine(Settings.load()))
    assert f"TAXI_{name}" in caught.value.explain()
    assert "s3cr3t" not in caught.value.explain()


def test_a_setting_that_only_a_check_finds_invalid(examined: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If only a check can find that a setting, such as a key, is invalid, the other systems are still checked."""

    def reject(_: FolderLake) -> str:
        raise InvalidCredentials("The key is invalid.")

    monkeypatch.setattr(FolderLake, "probe", reject)
    findings = examined()
    assert list(findings) == SYSTEMS
    assert _errors(findings) == {"lake": "invalid-credentials"}


def test_notification_channels(examined: Examine, web: WebServer) -> None:
    """The number and kinds of the channels are shown without a message. With `alert`, a test message is sent."""
    inbox = Inbox(web)
    finding = examined(ALERT_URLS=f"{inbox.address} {inbox.address}")["alerts"]
    assert (finding.verdict, inbox.mails) == (Verdict.ok, [])
    assert "2 (json, json)" in finding.seen
    findings = examined(ALERT_URLS=inbox.address, alert=True)
    assert _errors(findings) == {}
    assert "json" in findings["test alert"].seen
    assert [(mail.title, mail.kind) for mail in inbox.mails] == [("Test notification from taxi", "success")]


@pytest.mark.parametrize(
    ("urls", "errors", "expected"),
    [
        ("", {"test alert": "no-notification-urls"}, "TAXI_ALERT_URLS"),
        (
            f"slack://{SECRET}",
            {"alerts": "invalid-notification-url", "test alert": "invalid-notification-url"},
            r"1 of 1 \(slack\)",
        ),
        ("dead", {"test alert": "notification-failed"}, "json .*404"),
    ],
    ids=["unset", "invalid", "dead"],
)
def test_channels_that_fail(
    urls: str, errors: dict[str, str], expected: str, examined: Examine, web: WebServer
) -> None:
    """An error of a channel shows its kind and the setting, but no part of its URL."""
    address = Inbox(web).address + "/dead" if urls == "dead" else urls
    findings = examined(ALERT_URLS=address, alert=True)
    assert _errors(findings) == errors
    assert re.search(expected, findings["test alert"].seen)
    assert "TAXI_ALERT_URLS" in f"{findings['test alert']}"
    assert SECRET not in f"{findings}"
