"""The doctor tries each system for itself, tells what to mend, shows no secret and leaves no litter."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from taxi_assets.errors import SettingsError
from taxi_assets.news import Finding, Verdict
from taxi_assets.operations.diagnosis import ENOUGH_BYTES, examine
from taxi_assets.settings import Settings
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets.stores.lake import FolderLake
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.web_server import WebServer

SYSTEMS = ["versions", "home", "source", "lake", "warehouse", "postgres", "psql", "pgadmin", "history", "alerts"]

Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def found(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """What the doctor finds under settings; by default of a home and a source of one month, and the tests' Postgres."""
    place = tmp_path / "source" / "fhv" / "fhv_tripdata_2020-01.csv.gz"
    place.parent.mkdir(parents=True)
    place.touch()
    defaults = {
        "HOME": str(tmp_path / "home"),
        "SOURCE_URL": str(tmp_path / "source"),
        "POSTGRES_URL": postgres_url,
    }

    def examined(*, alert: bool = False, **settings: str) -> dict[str, Finding]:
        for name, value in {**defaults, **settings}.items():
            monkeypatch.setenv(f"TAXI_{name}", value)
        return {finding.system: finding for finding in examine(Settings.load(), alert=alert)}

    return examined


def _to_mend(findings: Mapping[str, Finding]) -> list[str]:
    return [system for system, finding in findings.items() if finding.verdict is Verdict.mend]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_is_well(found: Examine) -> None:
    """Of a sound installation every system is told, with what was seen of it, and nothing is to be mended."""
    findings = found()
    assert list(findings) == SYSTEMS
    assert not _to_mend(findings)
    seen = {system: finding.seen for system, finding in findings.items()}
    assert all(
        f"{package} " in seen["versions"] for package in ("python", "taxi-assets", "dagster", "duckdb", "pyarrow")
    )
    assert "free" in seen["home"]
    assert "1 fhv month" in seen["source"]
    assert "PostgreSQL 18" in seen["postgres"]
    assert "runs: 0" in seen["history"]
    assert "none: set TAXI_ALERT_URLS" in seen["alerts"]


def test_no_litter(found: Examine, tmp_path: Path, postgres_url: str) -> None:
    """Beside the history of runs, which every command makes, nothing stays in the home, nor in Postgres."""
    store = PostgresStore(postgres_url)
    relations = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = store.query(relations).rows
    found()
    assert {name.split("/")[0] for name in _files(tmp_path / "home")} == {"dagster"}
    files = _files(tmp_path)
    found()
    assert _files(tmp_path) == files
    assert store.query(relations).rows == before
    store.engine().dispose()


def test_one_does_not_hide_the_others(found: Examine, tmp_path: Path) -> None:
    """Systems that fail are told side by side, each with the setting that names it; the others are well."""
    (tmp_path / "lake").touch()
    (tmp_path / "no.duckdb").write_text("no database")
    findings = found(
        SOURCE_URL=str(tmp_path / "nothing"),
        LAKE_URL=str(tmp_path / "lake"),
        WAREHOUSE_URL=f"duckdb:///{tmp_path / 'no.duckdb'}",
        POSTGRES_URL="postgresql://ann:s3cr3t@127.0.0.1:1/trips",
    )
    assert _to_mend(findings) == ["source", "lake", "warehouse", "postgres"]
    for system in _to_mend(findings):
        assert f"TAXI_{system.upper()}_URL" in findings[system].remedy
    assert "no month" in findings["source"].seen
    assert "is a file" in findings["lake"].seen
    assert "not a valid DuckDB database" in findings["warehouse"].seen
    assert "127.0.0.1, port 1" in findings["postgres"].seen


def test_a_home_that_is_none(found: Examine, tmp_path: Path) -> None:
    """Where there can be no home, all that would lie in it is to be mended, and the rest is still tried."""
    (tmp_path / "home").touch()
    findings = found()
    assert _to_mend(findings) == ["home", "lake", "warehouse", "history"]
    assert "TAXI_HOME" in findings["home"].remedy


def test_little_room(found: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for no large month is worth a warning."""
    usage = shutil.disk_usage(tmp_path)._replace(free=ENOUGH_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    findings = found()
    assert not _to_mend(findings)
    assert findings["home"].verdict is Verdict.warn
    assert "make room" in findings["home"].remedy


def test_a_damaged_history(found: Examine, tmp_path: Path) -> None:
    """A history that cannot be read is told, and where it lies."""
    found()
    (tmp_path / "home/dagster/history/runs.db").write_bytes(b"no SQLite at all" * 1000)
    findings = found()
    assert _to_mend(findings) == ["history"]
    assert f"{tmp_path}/home/dagster cannot be used: file is not a database" in findings["history"].seen


def test_a_damaged_configuration(found: Examine, tmp_path: Path) -> None:
    """A dagster.yaml that cannot be read is told by its name, with what to do."""
    found()
    (tmp_path / "home/dagster/dagster.yaml").write_text("telemetry: [")
    findings = found()
    assert _to_mend(findings) == ["history"]
    assert re.search(r"dagster\.yaml cannot be read: .* move it away", findings["history"].seen)


def test_a_server_without_the_first_month(found: Examine, web: WebServer) -> None:
    """A server cannot be asked for all it has: that it lacks the first months is worth a look, and no more."""
    findings = found(SOURCE_URL=web.url)
    assert not _to_mend(findings)
    assert findings["source"].verdict is Verdict.warn
    assert "has none of yellow 2019-01, green 2019-01, fhv 2019-01" in findings["source"].seen


def test_psql_line(found: Examine) -> None:
    """The line that is told for psql reaches the database, as it is typed."""
    line = f"{found()['psql'].seen} --no-psqlrc -Atc 'SELECT current_database()'"
    assert subprocess.check_output(line, shell=True, text=True) == "ny_taxi\n"  # noqa: S602  # people paste it


def test_ways_into_the_server_that_comes_along(found: Examine, tmp_path: Path) -> None:
    """Without TAXI_POSTGRES_URL the server of the home is started; with a port, pgAdmin is told how to reach it."""
    server = EmbeddedPostgres(tmp_path / "home" / "postgres")
    try:
        assert "TAXI_POSTGRES_PORT" in found(POSTGRES_URL="")["pgadmin"].remedy
        assert server.stop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            assert _to_mend(found(POSTGRES_URL="", POSTGRES_PORT=port)) == ["postgres"]
        pgadmin = found(POSTGRES_URL="", POSTGRES_PORT=port)["pgadmin"].seen
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
def test_a_setting_that_names_no_system(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be used at all is said as by every command, before anything is tried."""
    monkeypatch.setenv(f"TAXI_{name}", value)
    with pytest.raises(SettingsError) as caught:
        next(examine(Settings.load()))
    assert "s3cr3t" not in str(caught.value)


def test_a_setting_that_only_a_try_finds_wrong(found: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a try shows to be a wrong setting, such as a bad key, is told, and the other systems are tried."""

    def refuse(_: FolderLake) -> str:
        raise SettingsError("TAXI_LAKE_URL: no")

    monkeypatch.setattr(FolderLake, "probe", refuse)
    assert _to_mend(found()) == ["lake"]


def test_channels_of_alerts(found: Examine, web: WebServer) -> None:
    """Channels are told by number and kind, without a message; a test message is sent when it is asked for."""
    inbox = Inbox(web)
    finding = found(ALERT_URLS=f"{inbox.address} {inbox.address}")["alerts"]
    assert (finding.verdict, inbox.mails) == (Verdict.ok, [])
    assert finding.seen.startswith("channels: 2 (json, json)")
    findings = found(ALERT_URLS=inbox.address, alert=True)
    assert not _to_mend(findings)
    assert "json took it" in findings["test alert"].seen
    assert [mail.title for mail in inbox.mails] == ["test alert of taxi"]


@pytest.mark.parametrize(
    ("urls", "to_mend", "said"),
    [
        ("", ["test alert"], "TAXI_ALERT_URLS is not set"),
        (f"slack://{SECRET}", ["alerts", "test alert"], "address 1 of 1 cannot be read as slack"),
        ("dead", ["test alert"], "did not get through to json (it answered 404)"),
    ],
    ids=["unset", "unreadable", "dead"],
)
def test_channels_that_take_nothing(urls: str, to_mend: list[str], said: str, found: Examine, web: WebServer) -> None:
    """What is wrong with the channels is to be mended, and shows nothing of their addresses."""
    address = Inbox(web).address + "/dead" if urls == "dead" else urls
    findings = found(ALERT_URLS=address, alert=True)
    assert _to_mend(findings) == to_mend
    assert said in findings["test alert"].seen
    assert "TAXI_ALERT_URLS" in f"{findings['test alert']}"
    assert SECRET not in f"{findings}"
