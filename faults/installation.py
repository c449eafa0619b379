"""An installation to break: a source on a local web server, a TAXI_HOME, and a PostgreSQL server of its own."""

import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from breaks import Break
from disks import mount, unmount_below
from forks import Child, ChildFailed, start, taxi

from taxi_assets.settings import setting_names
from taxi_assets.tlc.trips import TripMonth

COLOR = "yellow"
MONTH = TripMonth(COLOR, "2021-01")
OLD, NEW = "A", "B"
"""The names of two versions of a month, which have different rows."""

_ROWS = {OLD: 6000, NEW: 7000}
INVALID_EVERY = 500
"""A row of this many is invalid, so that there are rejected rows."""

_FIRST_TIME = 1_600_000_000
"""The time of the first file that is published, in seconds since 1970. Each later one is a minute newer."""


@dataclass(frozen=True)
class Installation:
    """A folder with everything: `home`, the source, the temporary folder and the output of each child.

    `source` and `postgres` are the URLs of the two servers. `fault` breaks the program in each child.
    """

    folder: Path
    source: str
    postgres: str
    fault: Break | None = None

    @property
    def home(self) -> Path:
        """TAXI_HOME."""
        return self.disk / "home"

    @property
    def disk(self) -> Path:
        """The folder that has only TAXI_HOME: a disk of its own in some trials."""
        return self.folder / "disk"

    @property
    def postgres_folder(self) -> Path:
        """The folder of the PostgreSQL server: a disk of its own in some trials."""
        return self.folder / "postgres"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files, where nothing may be left."""
        return self.folder / "tmp"

    @property
    def requests(self) -> Path:
        """The file with a line for each response of the source: the status and the path."""
        return self.folder / "requests"

    def environment(self) -> dict[str, str]:
        """The environment variables of a child."""
        return {
            **dict.fromkeys(setting_names(), ""),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "NO_PROXY": "127.0.0.1",
            "TMPDIR": str(self.temporary),
            "TAXI_HOME": str(self.home),
            "TAXI_SOURCE_URL": self.source,
            "TAXI_POSTGRES_URL": self.postgres,
            "TAXI_RETRY_DELAY_S": "0",
        }

    def start(self, name: str, function: Any, *arguments: Any, **environment: str) -> Child:
        """Start a child of this installation that calls a function. Its output is in `logs`."""
        log = self.folder / "logs" / f"{name}.log"
        return start({**self.environment(), **environment}, log, _call, self.fault, function, *arguments)

    def ask(self, name: str, function: Any, *arguments: Any) -> Any:
        """Call a function in a child and return its result. Raises ChildFailed."""
        return self.start(name, function, *arguments).result()

    def materialize(self, months: str = MONTH.month, color: str = COLOR) -> Child:
        """Run `taxi materialize` for months, and return the child when it has ended."""
        child = self.start("materialize", taxi, "materialize", "--color", color, "--months", months)
        child.wait()
        return child

    def status(self) -> list[dict[str, Any]]:
        """Return what `taxi status --json` prints. Raises ChildFailed."""
        child = self.start("status", taxi, "status", "--json")
        if (code := child.wait()) != 0:
            raise ChildFailed(f"taxi status ended with {code}: {child.output[-500:]}")
        found: list[dict[str, Any]] = json.loads(child.output)
        return found

    def publish(self, version: str, month: TripMonth = MONTH) -> None:
        """Make a version of a month the one that the source has, with a newer date than any before."""
        target = self.folder / "source" / month.color / f"{month.stem}.csv.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        published = self.folder / "published"
        number = int(published.read_text()) + 1 if published.exists() else 0
        published.write_text(str(number))
        new = target.with_suffix(".new")
        shutil.copyfile(_sample(self.folder, version, month), new)
        os.utime(new, (_FIRST_TIME + 60 * number,) * 2)
        new.replace(target)

    def empty(self) -> None:
        """Delete TAXI_HOME and all tables in Postgres."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.ask("empty", _drop_tables, self.postgres)


def _call(fault: Break | None, function: Any, *arguments: Any) -> Any:
    if fault:
        fault.apply()
    return function(*arguments)


@contextmanager
def installed(folder: Path, fault: Break | None = None, *, has_disks: bool = False) -> Iterator[Installation]:
    """Create an installation in a new folder with its two servers, and remove all of it at the end.

    With disks, TAXI_HOME and the data of PostgreSQL are each on a disk of their own, if this user may mount.
    """
    for name in ("logs", "source", "tmp", "versions"):
        (folder / name).mkdir(parents=True)
    bare = Installation(folder, "", "")
    for disk in (bare.disk, bare.postgres_folder):
        if has_disks:
            mount(disk)
        else:
            disk.mkdir()
    web = bare.start("web", _serve, folder / "source", bare.requests, folder / "port")
    try:
        postgres = bare.ask("postgres", start_postgres, bare.postgres_folder)
        yield Installation(folder, f"http://127.0.0.1:{_port(folder / 'port')}", postgres, fault)
    finally:
        web.kill()
        bare.start("postgres-end", _stop_postgres, bare.postgres_folder).wait()
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def write_versions(installation: Installation, months: Mapping[TripMonth, tuple[int, str]]) -> None:
    """Write the sample files of months: the number of rows and the name of the version of each."""
    from taxi_assets.tlc.sample import write_sample

    for month, (rows, version) in months.items():
        path = _sample(installation.folder, version, month)
        write_sample(month, rows, path, seed=sum(version.encode()))
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        for at in range(INVALID_EVERY, len(lines), INVALID_EVERY):
            lines[at] = b"not a trip" + lines[at]
        path.write_bytes(gzip.compress(b"".join(lines), 1))


def write_both_versions(installation: Installation, month: TripMonth = MONTH) -> None:
    """Write the two versions of a month."""
    for version, rows in _ROWS.items():
        write_versions(installation, {month: (rows, version)})


def _sample(folder: Path, version: str, month: TripMonth) -> Path:
    return folder / "versions" / f"{month.stem}-{version}.csv.gz"


def start_postgres(folder: Path) -> str:
    """Start the PostgreSQL server if it does not run, and return its URL. Call it in a child."""
    from taxi_assets.stores.postgres.embedded import EmbeddedPostgres

    return EmbeddedPostgres(folder).ensure_running()


def _stop_postgres(folder: Path) -> None:
    from taxi_assets.stores.postgres.embedded import EmbeddedPostgres

    EmbeddedPostgres(folder).stop()


def _drop_tables(url: str) -> None:
    with cursor_of(url) as cursor:
        cursor.execute("DROP OWNED BY CURRENT_USER")


@contextmanager
def cursor_of(url: str) -> Iterator[Any]:
    """Connect to PostgreSQL for one transaction. Call it in a child."""
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        yield cursor


class _Files(SimpleHTTPRequestHandler):
    """Serves the files of the source, and writes a line for each response."""

    requests = Path()

    def log_request(self, code: int | str = "-", _size: int | str = "-") -> None:
        with self.requests.open("a") as file:
            file.write(f"{int(code)} {self.path}\n")

    def log_error(self, *_: object) -> None:
        """Log nothing: a killed client is no error here."""


def _serve(folder: Path, requests: Path, port: Path) -> None:
    _Files.requests = requests

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(*_)  # type: ignore[arg-type]

    with Server(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        port.with_suffix(".new").write_text(str(server.server_port))
        port.with_suffix(".new").replace(port)
        server.serve_forever()


def _port(file: Path) -> int:
    from time import sleep

    while not file.exists():
        sleep(0.01)
    return int(file.read_text())
