"""A checkout for the tests of each module, and the commands and queries that they run in it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from taxi_assets.connections import open_postgres, open_warehouse
from taxi_assets.instance.partition_status import months_of, read_history
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.docs.pages import PROJECT
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run


@dataclass
class Checkout:
    """A folder laid out like a checkout, with its own `taxi_home` and a source of sample months."""

    folder: Path
    postgres_url: str

    @property
    def settings(self) -> dict[str, str]:
        """The settings of its commands. All other settings have their defaults."""
        return {"TAXI_SOURCE_URL": "source", "TAXI_POSTGRES_URL": self.postgres_url}

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command, check its exit code, and return what it prints."""
        done = run(*words, folder=self.folder, settings=self.settings)
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def taxi(self, *words: str, status: int = 0) -> str:
        """Run `taxi`, check its exit code, and return what it prints."""
        return self.run("taxi", *words, status=status)

    def shell(self, line: str, status: int = 0) -> str:
        """Run a line in a shell, check its exit code, and return what it prints, including errors."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **self.settings, "PATH": path}
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, f"{line}\n{output}"
        return output

    def publish(self, rows: int, *months: TripMonth) -> None:
        """Add sample months to the source."""
        for month in months:
            publish(self.folder / "source", month, rows)

    @contextmanager
    def opened(self) -> Iterator[Installation]:
        """Open the installation in this process, which is faster than a command."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAXI_HOME", str(self.folder / "taxi_home"))
            patch.setenv("TAXI_SOURCE_URL", str(self.folder / "source"))
            patch.setenv("TAXI_POSTGRES_URL", self.postgres_url)
            with closing(Installation()) as installation:
                yield installation

    def load(self, *months: TripMonth) -> None:
        """Load months into all assets."""
        with self.opened() as installation:
            installation.load(*months)

    def statuses(self) -> dict[tuple[str, str], str]:
        """The status of each month in the history, by color and month."""
        with self.opened() as installation:
            histories = read_history(installation.instance, installation.settings)
        return {(history.month.color, history.month.month): history.status for history in histories}

    def runs(self, month: TripMonth) -> list[str]:
        """The statuses of a month's runs, newest first."""
        with self.opened() as installation:
            return [run.status.value for run in installation.instance.get_runs() if month in months_of(run)]

    def log_of_newest_run(self) -> str:
        """The messages of the newest run, as the UI shows them."""
        with self.opened() as installation:
            [run] = installation.instance.get_runs(limit=1)
            return "\n".join(entry.user_message for entry in installation.instance.all_logs(run.run_id))

    def count(self, color: str, *, postgres: bool = False) -> list[tuple[str, int]]:
        """The row count of each month in a color's table in the warehouse, or in Postgres."""
        with self.opened() as installation:
            open_store = open_postgres if postgres else open_warehouse
            sql = f"SELECT file_month, count(*) FROM {color}_taxi_trips GROUP BY 1 ORDER BY 1"
            return [(str(month)[:7], rows) for month, rows in open_store(installation.settings).query(sql).rows]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, empty_history: Path, database_of_module: str) -> Checkout:
    """A checkout for the tests of one module, with a database on the Postgres server of the tests."""
    checkout = create_checkout(tmp_path_factory.mktemp("checkout"), database_of_module)
    shutil.copytree(empty_history, checkout.folder / "taxi_home" / "dagster")
    return checkout


def create_checkout(folder: Path, postgres_url: str) -> Checkout:
    """Create a checkout in which nothing has run yet. An empty `postgres_url` selects the embedded Postgres server."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    return Checkout(folder, postgres_url)


@pytest.fixture(scope="module")
def database_of_module(postgres_server: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database for one module. Tests of other modules share a database, and each of them empties it."""
    name = request.module.__name__.rpartition(".")[2]
    with closing(psycopg2.connect(postgres_server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("@/ny_taxi?", f"@/{name}?")
