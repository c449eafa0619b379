"""The server that comes along starts for whoever asks, survives what kills it, and touches nothing but its folder."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from taxi_assets.errors import StoreError
from taxi_assets.stores import embedded_postgres
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets_tests.machine import full, small_disk
from taxi_assets_tests.stores.test_postgres import JANUARY, month_of

START = """
import sys
from pathlib import Path
from taxi_assets.stores.embedded_postgres import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1])).ensure_running())
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a server as another user")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server that tests start and stop."""
    folder = tmp_path_factory.mktemp("server")
    yield folder
    EmbeddedPostgres(folder).stop()


@pytest.fixture
def server(folder: Path) -> EmbeddedPostgres:
    """A running server, which listens on no port."""
    server = EmbeddedPostgres(folder)
    if "port=5432" not in server.ensure_running():
        server.stop()
        server.ensure_running()
    return server


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    import psycopg2

    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def _pid_file(server: EmbeddedPostgres) -> Path:
    return server.folder / "data" / "postmaster.pid"


def _pid(server: EmbeddedPostgres) -> int:
    return int(_pid_file(server).read_text().split()[0])


def _kill(server: EmbeddedPostgres) -> None:
    """End the server as a power cut does: its files stay."""
    processes = [psutil.Process(_pid(server)), *psutil.Process(_pid(server)).children()]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)


def test_many_start_it_at_once(tmp_path: Path) -> None:
    """Processes that start the same new server together all get the same one, and it outlives them."""
    folder = tmp_path / "postgres"
    litter = folder / "data.new.1" / "half made"
    litter.mkdir(parents=True)
    command = [sys.executable, "-c", START, str(folder)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    urls = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    server = EmbeddedPostgres(folder)
    try:
        assert urls == {server.url_if_running()}
        assert _ask(urls.pop(), "SELECT current_database()::text") == [("ny_taxi",)]
        assert not litter.exists()
    finally:
        server.stop()


def test_running_is_fast(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask for a server that runs starts no process and takes a few milliseconds."""
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_words: pytest.fail("a process was started"))
    started = time.perf_counter()
    for _ in range(10):
        server.ensure_running()
    assert time.perf_counter() - started < 10 * 0.01


def test_url_is_understood_by_all(server: EmbeddedPostgres) -> None:
    """libpq, SQLAlchemy and the psql line reach the same server by the same URL, as its database's owner."""
    import sqlalchemy as sa

    engine = sa.create_engine(server.ensure_running())
    with engine.connect() as connection:
        by_sqlalchemy = connection.exec_driver_sql("SELECT current_user::text, current_database()::text").fetchone()
    engine.dispose()
    assert by_sqlalchemy == ("taxi", "ny_taxi")
    assert _ask(server.ensure_running(), "SELECT current_user::text") == [("taxi",)]
    line = f"{server.psql_line()} --no-psqlrc -Atc 'SELECT current_user, current_database()'"
    assert subprocess.check_output(line, shell=True, text=True) == "taxi|ny_taxi\n"  # noqa: S602  # people paste it


def test_role_can_not_reach_the_machine(server: EmbeddedPostgres) -> None:
    """Who connects can't have the server read files or start programs."""
    import psycopg2.errors

    for sql in ("CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'", "COPY (SELECT 1) TO PROGRAM 'true'"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            _ask(server.ensure_running(), sql)


def test_stop(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """A stopped server answers nobody, is not stopped twice, and has its rows when it starts again."""
    _ask(server.ensure_running(), "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7 AS x")
    assert server.stop()
    assert server.url_if_running() is None
    assert not server.stop()
    assert _ask(server.ensure_running(), "SELECT x FROM kept") == [(7,)]
    never = EmbeddedPostgres(tmp_path / "never")
    assert not never.stop()
    assert not never.folder.exists()


def test_killed(server: EmbeddedPostgres) -> None:
    """A killed server is not taken for a running one; it starts again, though another program has its pid by then."""
    _ask(server.ensure_running(), "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 8 AS x")
    pid = _pid(server)
    _kill(server)
    assert _pid_file(server).exists()
    assert server.url_if_running() is None
    with subprocess.Popen([*server._as(server._data), "sleep", "60"]) as program:
        for file in (_pid_file(server), server.folder / "data" / ".s.PGSQL.5432.lock"):
            file.write_text(file.read_text().replace(str(pid), str(program.pid), 1))
        try:
            assert _ask(server.ensure_running(), "SELECT x FROM kept") == [(8,)]
        finally:
            program.kill()


def test_removed_while_it_ran(tmp_path: Path) -> None:
    """A server whose folder went away without a stop is ended before its successor starts."""
    server = EmbeddedPostgres(tmp_path / "server")
    server.ensure_running()
    old = psutil.Process(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))
    server.folder.rename(tmp_path / "away")  # where it goes on, for as long as a removed one might
    url = server.ensure_running()
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    assert server.url_if_running() == url
    assert server.stop()


def test_waits_for_a_start(server: EmbeddedPostgres) -> None:
    """A server that is starting, by whoever's hand, is waited for."""
    ready = _pid_file(server).read_text()
    _pid_file(server).write_text(ready.replace("ready   ", "starting"))
    started = time.perf_counter()
    done = threading.Timer(0.2, _pid_file(server).write_text, [ready])
    done.start()
    assert server.ensure_running()
    assert time.perf_counter() - started > 0.15
    done.join()


def test_port(server: EmbeddedPostgres, free_port: int) -> None:
    """With a port it listens on loopback, to the database's owner only; without one it listens on no port."""
    import psycopg2

    with pytest.raises(StoreError, match=rf"not on port {free_port}\. Stop it with `taxi stop`"):
        EmbeddedPostgres(server.folder, free_port).ensure_running()
    assert _ask(server.ensure_running(), "SHOW listen_addresses") == [("",)]
    server.stop()
    EmbeddedPostgres(server.folder, free_port).ensure_running()
    place = f"127.0.0.1:{free_port}/ny_taxi"
    assert _ask(f"postgresql://taxi@{place}", "SHOW listen_addresses") == [("127.0.0.1",)]
    assert _ask(server.ensure_running(), "SELECT 1") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        _ask(f"postgresql://postgres@{place}", "SELECT 1")
    server.stop()


def test_port_taken(server: EmbeddedPostgres) -> None:
    """Where another program has the port, the error names the setting and a port that is free."""
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StoreError, match=rf"port {port} .*TAXI_POSTGRES_PORT to another, such as \d+") as caught:
            EmbeddedPostgres(server.folder, port).ensure_running()
    other = int(str(caught.value).split()[-1])
    EmbeddedPostgres(server.folder, other).ensure_running()
    server.stop()


def test_can_not_start(server: EmbeddedPostgres) -> None:
    """A server that can't start says why, in PostgreSQL's own words."""
    server.stop()
    version = server.folder / "data" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9\n")
    try:
        with pytest.raises(StoreError, match=r"(?s)did not start.*postgres\.log.*initialized by PostgreSQL version 9"):
            server.ensure_running()
    finally:
        version.write_text(right)


def test_no_room(tmp_path: Path) -> None:
    """Where there is no room for a server's data, the error says how much there is, and nothing is left of it."""
    with small_disk(tmp_path / "disk", 20) as disk:
        with pytest.raises(StoreError, match=r"(?s)initdb failed\. Only \d+\.\d MB are free there: make room"):
            EmbeddedPostgres(disk / "postgres").ensure_running()
        assert not list(disk.glob("postgres/data*"))


def test_disk_gets_full(tmp_path: Path) -> None:
    """A load that fills the server's disk leaves the old month, and says what to do; with room it works again."""
    with small_disk(tmp_path / "disk", 80) as disk:
        server = EmbeddedPostgres(disk / "postgres")
        store = PostgresStore(server.ensure_running())
        store.replace_month(JANUARY, [month_of(JANUARY, 100, mark=1)], 100)
        with full(disk), pytest.raises(StoreError, match=r"No space left on device.*make room on the server's disk"):
            store.replace_month(JANUARY, [month_of(JANUARY, 100_000, mark=2)], 100_000)
        assert store.count(JANUARY) == 100
        assert store.replace_month(JANUARY, [month_of(JANUARY, 200, mark=3)], 200) == 200
        store.engine().dispose()
        server.stop()


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    """Where a file is in the way of the server's folder, the error names it."""
    (tmp_path / "postgres").touch()
    with pytest.raises(StoreError, match=rf"{tmp_path}/postgres is a file.*Move"):
        EmbeddedPostgres(tmp_path / "postgres").ensure_running()


def test_long_path(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the data's path is too long for a socket, it lies in a short folder that is private."""
    server.stop()
    monkeypatch.setattr(embedded_postgres, "_SOCKET_PATH_BYTES", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _ask(server.ensure_running(), "SELECT 1") == [(1,)]
    (short,) = tmp_path.iterdir()
    assert (short / ".s.PGSQL.5432").exists()
    assert short.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert server.ensure_running()
    server.stop()
    short.chmod(0o777)
    with pytest.raises(StoreError, match=f"{short} was to hold the socket .* but someone else made it"):
        server.ensure_running()


@needs_root
def test_root(server: EmbeddedPostgres) -> None:
    """Root's server runs as its own user below folders that only root may enter, and they stay closed."""
    import pwd

    data = server.folder / "data"
    closed = [parent for parent in data.parents if parent.stat().st_mode & 0o777 == 0o700]
    assert closed, "the tests' own folder is open to all"
    assert {parent.owner() for parent in data.parents} == {"root"}
    assert psutil.Process(_pid(server)).uids().effective == pwd.getpwnam("embedded_postgres").pw_uid
    assert data.owner() == "embedded_postgres"


@needs_root
def test_another_user(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not enter the data is told whose it is to use."""

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(StoreError, match=r"(?s)Permission denied.*Run this as the owner of"):
        server.ensure_running()
