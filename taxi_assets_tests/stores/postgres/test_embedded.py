"""The embedded server: start, stop, recovery after a crash, ports and sockets, and errors of the machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from taxi_assets.errors import (
    EmbeddedPostgresError,
    EmbeddedPostgresPort,
    NoPermission,
    PortInUse,
    PostgresConnectionLost,
    PostgresDiskFull,
    SocketFolderTaken,
    WrongFileType,
)
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres, psql_line
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets_tests.machine import full, small_disk
from taxi_assets_tests.stores.postgres.test_store import JANUARY, month_of

START = """
import sys
from pathlib import Path
from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
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
    """A running server that does not listen on a port."""
    server = EmbeddedPostgres(folder)
    if "port=5432" not in server.ensure_running():
        server.stop()
        server.ensure_running()
    return server


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 on which no program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _execute(url: str, sql: str) -> list[tuple[Any, ...]]:
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
    """Kill the server. Its files stay, as after a power failure."""
    processes = [psutil.Process(_pid(server)), *psutil.Process(_pid(server)).children()]
    # Suspended first, so that none of them notices the end of another and cleans up.
    for action in (psutil.Process.suspend, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a child may have just exited
                action(process)
    psutil.wait_procs(processes)


def test_concurrent_starts(tmp_path: Path) -> None:
    """Processes that start the same new server at the same time get the same server, and it outlives them."""
    folder = tmp_path / "postgres"
    leftover = folder / "data.new.1" / "incomplete"
    leftover.mkdir(parents=True)
    command = [sys.executable, "-c", START, str(folder)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    urls = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    server = EmbeddedPostgres(folder)
    try:
        assert urls == {server.url_if_running()}
        assert _execute(urls.pop(), "SELECT current_database()::text") == [("ny_taxi",)]
        assert not leftover.exists()
    finally:
        server.stop()


def test_running_server_is_found_quickly(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL of a running server is returned within milliseconds, without starting a process."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    started = time.perf_counter()
    for _ in range(10):
        server.ensure_running()
    assert time.perf_counter() - started < 10 * 0.01


def test_url(server: EmbeddedPostgres) -> None:
    """libpq, SQLAlchemy and the psql command connect with the same URL, as the owner of the database."""
    import sqlalchemy as sa

    engine = sa.create_engine(server.ensure_running())
    with engine.connect() as connection:
        by_sqlalchemy = connection.exec_driver_sql("SELECT current_user::text, current_database()::text").fetchone()
    engine.dispose()
    assert by_sqlalchemy == ("taxi", "ny_taxi")
    assert _execute(server.ensure_running(), "SELECT current_user::text") == [("taxi",)]
    line = f"{psql_line(server.ensure_running())} --no-psqlrc -Atc 'SELECT current_user, current_database()'"
    assert subprocess.check_output(line, shell=True, text=True) == "taxi|ny_taxi\n"  # noqa: S602  # users paste it into a shell


def test_role_has_no_access_to_the_machine(server: EmbeddedPostgres) -> None:
    """Clients cannot make the server read files or run programs."""
    import psycopg2.errors

    for sql in ("CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'", "COPY (SELECT 1) TO PROGRAM 'true'"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            _execute(server.ensure_running(), sql)


def test_stop(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """A stopped server accepts no connections, is not stopped twice, and still has its data after the next start."""
    _execute(server.ensure_running(), "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7 AS x")
    assert server.stop()
    assert server.url_if_running() is None
    assert not server.stop()
    assert _execute(server.ensure_running(), "SELECT x FROM kept") == [(7,)]
    never = EmbeddedPostgres(tmp_path / "never")
    assert not never.stop()
    assert not never.folder.exists()


def test_start_after_a_kill_during_a_load(server: EmbeddedPostgres) -> None:
    """A killed server counts as not running. The next start deletes the files of the unfinished load, and no others."""
    import psycopg2

    url = server.ensure_running()
    sizes = "SELECT count(*), sum(pg_relation_size(oid)) FROM pg_class WHERE oid >= 16384"
    _execute(url, "DROP TABLE IF EXISTS kept; CREATE TABLE kept (x int PRIMARY KEY, long text)")
    _execute(url, "INSERT INTO kept SELECT x, repeat(md5(x::text), 200) FROM generate_series(1, 5000) x")
    _execute(url, "UPDATE kept SET x = -x; CREATE INDEX ON kept (long text_pattern_ops) WHERE x < -4990")
    _execute(url, "TRUNCATE kept; INSERT INTO kept SELECT x, repeat(md5(x::text), 200) FROM generate_series(1, 5000) x")
    content = "SELECT count(*), sum(x), md5(string_agg(long, '' ORDER BY x)) FROM kept"
    before, rows = _execute(url, sizes), _execute(url, content)
    connection = psycopg2.connect(url)
    connection.cursor().execute(
        "CREATE TABLE unfinished AS SELECT x, repeat(md5(x::text), 200) FROM generate_series(1, 99999) x"
    )
    _kill(server)
    with suppress(psycopg2.OperationalError):
        connection.close()
    assert _pid_file(server).exists()
    assert server.url_if_running() is None
    orphaned = _megabytes(server)
    url = server.ensure_running()
    assert _megabytes(server) < orphaned - 10
    assert _execute(url, content) == rows
    assert _execute(url, sizes) == before
    files = "SELECT pg_relation_filepath(oid) FROM pg_class WHERE pg_relation_filepath(oid) IS NOT NULL"
    assert all((server.folder / "data" / path).exists() for (path,) in _execute(url, files))


def test_server_ends_between_statements(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A load whose server has ended is transient, although psycopg2 takes the connection for open, and logs nothing."""
    store = PostgresStore(server.ensure_running())

    def stop(*_: object) -> None:
        """Stop the server as `pg_ctl stop -m immediate` does."""
        postmaster = psutil.Process(_pid(server))
        processes = [postmaster, *postmaster.children()]
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs(processes)

    monkeypatch.setattr("taxi_assets.stores.postgres.store._drop", stop)
    with pytest.raises(PostgresConnectionLost) as error:
        store.replace_month(JANUARY, [month_of(JANUARY, 100, mark=1)], 100)
    assert "closed the connection unexpectedly" in str(error.value)
    assert not caplog.records


def _megabytes(server: EmbeddedPostgres) -> float:
    return sum(file.stat().st_size for file in server.folder.glob("data/base/*/*")) / 1e6


def test_start_with_a_pid_that_is_taken(server: EmbeddedPostgres) -> None:
    """A killed server starts again if its PID file has the PID of another program, or of a zombie, or no PID."""
    pid = str(_pid(server))
    owner = (server.folder / "data").stat()
    version = [psql_line("").split()[0].replace("psql", "postgres"), "--version"]
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid) as program:
        for taken in (program, subprocess.Popen(version, stdout=subprocess.DEVNULL), None):
            _kill(server)
            for file in (_pid_file(server), server.folder / "data" / ".s.PGSQL.5432.lock"):
                file.write_text(file.read_text().replace(pid, str(taken.pid) if taken else "no PID", 1))
            if taken and taken is not program:
                os.waitid(os.P_PID, taken.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
            assert _execute(server.ensure_running(), "SELECT 1") == [(1,)]
            pid = str(_pid(server))
            if taken:
                taken.kill()
                taken.wait()


def test_start_after_the_folder_was_deleted(tmp_path: Path) -> None:
    """A server whose folder was deleted while it was running is stopped before a new server starts."""
    server = EmbeddedPostgres(tmp_path / "server")
    server.ensure_running()
    old = psutil.Process(_pid(server))
    server.folder.rename(tmp_path / "away")  # the server keeps running, as it may do for a while after a deletion
    url = server.ensure_running()
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    assert server.url_if_running() == url
    assert server.stop()


def test_waits_for_a_start(server: EmbeddedPostgres) -> None:
    """A server that another process is starting is used once it is ready."""
    ready = _pid_file(server).read_text()
    _pid_file(server).write_text(ready.replace("ready   ", "starting"))
    started = time.perf_counter()
    startup = threading.Timer(0.2, _pid_file(server).write_text, [ready])
    startup.start()
    assert server.ensure_running()
    assert time.perf_counter() - started > 0.15
    startup.join()


def test_port(server: EmbeddedPostgres, free_port: int) -> None:
    """With a port, the server listens on loopback and accepts only the owner; without one, it listens on no port."""
    import psycopg2

    with pytest.raises(EmbeddedPostgresPort) as error:
        EmbeddedPostgres(server.folder, free_port).ensure_running()
    assert error.value.facts == {"path": str(server.folder), "port": free_port}
    assert _execute(server.ensure_running(), "SHOW listen_addresses") == [("",)]
    server.stop()
    EmbeddedPostgres(server.folder, free_port).ensure_running()
    address = f"127.0.0.1:{free_port}/ny_taxi"
    assert _execute(f"postgresql://taxi@{address}", "SHOW listen_addresses") == [("127.0.0.1",)]
    assert _execute(server.ensure_running(), "SELECT 1") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        _execute(f"postgresql://postgres@{address}", "SELECT 1")
    server.stop()


def test_port_in_use(server: EmbeddedPostgres) -> None:
    """If another program uses the port, the error has a free port, on which the server then starts."""
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUse) as error:
            EmbeddedPostgres(server.folder, port).ensure_running()
    assert error.value.facts["port"] == port
    EmbeddedPostgres(server.folder, int(error.value.facts["free_port"])).ensure_running()
    server.stop()


def test_failed_start(server: EmbeddedPostgres) -> None:
    """The error of a server that does not start contains PostgreSQL's message from the log, and the log's path."""
    server.stop()
    version_file = server.folder / "data" / "PG_VERSION"
    version = version_file.read_text()
    version_file.write_text("9\n")
    try:
        with pytest.raises(EmbeddedPostgresError) as error:
            server.ensure_running()
    finally:
        version_file.write_text(version)
    log = str(server.folder / "postgres.log")
    assert error.value.facts == {"path": str(server.folder), "log": log}
    assert log in str(error.value)
    assert "initialized by PostgreSQL version 9" in str(error.value)


def test_no_space_for_a_new_server(tmp_path: Path) -> None:
    """If the disk has no space for a new server, the error has the free space, and no data is left."""
    with small_disk(tmp_path / "disk", 20) as disk:
        folder = disk / "postgres"
        with pytest.raises(EmbeddedPostgresError) as error:
            EmbeddedPostgres(folder).ensure_running()
        assert error.value.facts["path"] == str(folder)
        assert re.search(r"\binitdb\b.* \d+\.\d MB ", str(error.value))
        assert not list(folder.glob("data*"))


def test_disk_full_during_a_load(tmp_path: Path) -> None:
    """A load that fills the server's disk leaves the old month, and succeeds once there is space again."""
    with small_disk(tmp_path / "disk", 80) as disk:
        server = EmbeddedPostgres(disk / "postgres")
        store = PostgresStore(server.ensure_running())
        store.replace_month(JANUARY, [month_of(JANUARY, 100, mark=1)], 100)
        with full(disk), pytest.raises(PostgresDiskFull) as error:
            store.replace_month(JANUARY, [month_of(JANUARY, 100_000, mark=2)], 100_000)
        assert error.value.facts == JANUARY.facts
        assert "No space left on device" in str(error.value)
        assert store.count(JANUARY) == 100
        assert store.replace_month(JANUARY, [month_of(JANUARY, 200, mark=3)], 200) == 200
        server.stop()


def test_file_instead_of_the_folder(tmp_path: Path) -> None:
    """If there is a file instead of the server's folder, the error has its path."""
    path = tmp_path / "postgres"
    path.touch()
    with pytest.raises(WrongFileType) as error:
        EmbeddedPostgres(path).ensure_running()
    assert error.value.facts["path"] == str(path)


def test_long_path(
    server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """If the path of the data is too long for a socket, the socket is in a private folder with a short path."""
    server.stop()
    temporary = tmp_path_factory.mktemp("t")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    link = tmp_path / ("long" * 30)
    link.symlink_to(server.folder)
    long = EmbeddedPostgres(link)
    assert _execute(long.ensure_running(), "SELECT 1") == [(1,)]
    (socket_folder,) = temporary.iterdir()
    assert (socket_folder / ".s.PGSQL.5432").exists()
    assert socket_folder.stat().st_mode & 0o777 == 0o700
    long.stop()
    assert long.ensure_running()
    long.stop()
    socket_folder.chmod(0o777)
    with pytest.raises(SocketFolderTaken) as error:
        long.ensure_running()
    assert error.value.facts == {"path": str(socket_folder)}
    assert str(socket_folder) in str(error.value)


@needs_root
def test_server_of_root(server: EmbeddedPostgres) -> None:
    """If root starts the server, it runs as its own user below folders of root, whose modes do not change."""
    import pwd

    data = server.folder / "data"
    private = [parent for parent in data.parents if parent.stat().st_mode & 0o777 == 0o700]
    assert private, "all users can enter the folder of the tests"
    assert {parent.owner() for parent in data.parents} == {"root"}
    assert psutil.Process(_pid(server)).uids().effective == pwd.getpwnam("embedded_postgres").pw_uid
    assert data.owner() == "embedded_postgres"


@needs_root
def test_user_without_permission(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the user may not read the data folder, the error has its path."""

    def deny(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", deny)
    with pytest.raises(NoPermission) as error:
        server.ensure_running()
    assert error.value.facts["path"] == str(_pid_file(server))
