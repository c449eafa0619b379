"""The commands that people type, run as they type them, against real stores."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from taxi_assets.cli import DEMO_MONTHS, DEMO_ROWS

PROJECT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


@dataclass
class Checkout:
    """A folder that is laid out like a checkout, with its own taxi_home and a source of made-up months."""

    folder: Path

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints, when it exits as expected."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
        environment["TAXI_SOURCE_URL"] = "source"
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def taxi(self, *words: str, status: int = 0) -> str:
        """What a `taxi` command prints."""
        return self.run("taxi", *words, status=status)

    def standings(self) -> dict[tuple[str, str], str]:
        """How each month stands, as `taxi status` tells machines."""
        listed = json.loads(self.taxi("status", "--json"))
        return {(month["color"], month["month"]): month["standing"] for month in listed}

    def count(self, color: str, *flags: str) -> list[tuple[str, int]]:
        """Rows by month of a color's table."""
        sql = f"SELECT file_month, count(*) FROM {color}_taxi_trips GROUP BY 1 ORDER BY 1"
        lines = self.taxi("query", *flags, "--csv", sql).splitlines()[1:]
        return [(line.split(",")[0][:7], int(line.split(",")[1])) for line in lines]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of its own, whose Postgres is stopped at the end."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, made.folder)
    made.taxi("sample", "source", "--color", "green", "--color", "fhv", "--months", "2020-01..2020-04", "--rows", "500")
    yield made
    made.taxi("stop")


def test_the_demo_loads_its_months_once(checkout: Checkout) -> None:
    """`taxi demo` ends with every made-up month in both databases, and a second one doubles nothing."""
    for _ in range(2):
        said = checkout.taxi("demo")
        assert all(str(month) in said for month in DEMO_MONTHS)
        assert "taxi_home/lake" in said
        assert checkout.count("yellow") == [("2021-01", DEMO_ROWS), ("2021-02", DEMO_ROWS)]
        assert [rows for _, rows in checkout.count("fhv", "--postgres")] == [DEMO_ROWS]
    standings = checkout.standings()
    assert {standings[month.color, month.month] for month in DEMO_MONTHS} == {"loaded"}


def test_the_demo_replaces_no_real_months(checkout: Checkout) -> None:
    """A month of the demo that came from elsewhere stays, and the demo says how to have a home of its own."""
    checkout.taxi("sample", "source", "--color", "fhv", "--months", "2021-01", "--rows", "70")
    checkout.taxi("materialize", "--color", "fhv", "--months", "2021-01")
    checkout.taxi("demo", status=1)
    assert ("2021-01", 70) in checkout.count("fhv")


def test_a_bad_month_fails_alone(checkout: Checkout) -> None:
    """A month that cannot be read ends with status 1 and its reason; the months around it are loaded."""
    (checkout.folder / "source/green/green_tripdata_2020-02.csv.gz").write_text("<html>no trips here</html>")
    said = checkout.taxi("materialize", "--color", "green", "--months", "2020-01..2020-03", status=1)
    assert "green 2020-02 failed at raw_trips" in said
    assert "an HTML page" in said
    assert checkout.count("green") == [("2020-01", 500), ("2020-03", 500), ("2021-01", DEMO_ROWS)]
    standings = checkout.standings()
    assert [standings["green", f"2020-0{month}"] for month in (1, 2, 3)] == ["loaded", "failed", "loaded"]


def test_a_month_that_is_not_published_says_so(checkout: Checkout) -> None:
    """A month that the source does not have is named with the address that was tried."""
    said = checkout.taxi("materialize", "--color", "fhv", "--months", "2020-06", status=1)
    assert "fhv 2020-06 is not published" in said
    assert "source/fhv/fhv_tripdata_2020-06.csv.gz" in said


def test_several_workers_load_several_months(checkout: Checkout) -> None:
    """Two workers at once load every month once."""
    checkout.taxi("materialize", "--color", "fhv", "--months", "2020-01..2020-04", "--workers", "2")
    assert [rows for _, rows in checkout.count("fhv") if rows == 500] == [500] * 4


def test_a_selection_runs_only_those_stations(checkout: Checkout) -> None:
    """`--select` runs the stations that it names, and a later command the rest."""
    checkout.taxi("materialize", "--color", "green", "--months", "2020-04", "--select", "raw_trips,clean_trips")
    assert checkout.standings()["green", "2020-04"] == "partly"
    checkout.taxi("materialize", "--color", "green", "--months", "2020-04", "--select", "lake_trips+,postgres_trips")
    assert checkout.standings()["green", "2020-04"] == "loaded"


def test_a_station_without_what_it_needs_says_what_to_run(checkout: Checkout) -> None:
    """A station whose upstream file is not here names the command that makes it."""
    words = ("materialize", "--color", "yellow", "--months", "2019-05", "--select", "lake_trips")
    assert "taxi materialize --color yellow --months 2019-05 --select +clean_trips" in checkout.taxi(*words, status=1)


def test_stock_commands_do_the_same_work(checkout: Checkout) -> None:
    """`dagster job execute` and `dagster asset materialize` load partitions, and `taxi status` knows of it."""
    tags = json.dumps({"dagster/partition": "green|2020-03"})
    checkout.run("dagster", "job", "execute", "-m", "taxi_assets.definitions", "-j", "load_trips", "--tags", tags)
    checkout.taxi("sample", "source", "--color", "yellow", "--months", "2020-09", "--rows", "300")
    selection = ("--select", "*", "--partition", "yellow|2020-09")
    checkout.run("dagster", "asset", "materialize", "-m", "taxi_assets.definitions", *selection)
    standings = checkout.standings()
    assert standings["green", "2020-03"] == standings["yellow", "2020-09"] == "loaded"
    assert ("2020-09", 300) in checkout.count("yellow")
    assert not list(checkout.folder.glob(".tmp_dagster*"))


def test_a_terminal_gets_bars_and_ctrl_c_a_summary(checkout: Checkout) -> None:
    """On a terminal bars are drawn while months run; Ctrl-C ends with what was done, and with no run under way."""
    environment = {**os.environ, "TAXI_SOURCE_URL": "source", "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    checkout.taxi("sample", "source", "--color", "yellow", "--months", "2019-01..2019-09", "--rows", "50000")
    terminal, theirs = os.openpty()
    command = [str(BIN / "taxi"), "materialize", "--color", "yellow", "--months", "2019-01..2019-09"]
    with subprocess.Popen(
        command, cwd=checkout.folder, env=environment, stdout=theirs, stderr=theirs, start_new_session=True
    ) as running:
        os.close(theirs)
        drawn = b""
        while b"1 done" not in drawn:
            drawn += os.read(terminal, 65536)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all of its programs
        drawn += _rest(terminal)
    os.close(terminal)
    assert running.returncode == 130
    said = drawn.decode()
    assert "━" in said
    assert "it was stopped" in said
    assert "Traceback" not in said
    assert "running" not in checkout.standings().values()


def test_a_wipe_asks_and_tells(checkout: Checkout) -> None:
    """`taxi wipe` lists what is there, refuses without an answer, and with --yes tells what it removed."""
    checkout.taxi("materialize", "--color", "fhv", "--months", "2020-01..2020-02")
    words = ("wipe", "--color", "fhv", "--months", "2020-01")
    listed = checkout.taxi(*words, status=2)
    assert [line.split()[2] for line in listed.splitlines()] == ["raw", "clean", "lake", "warehouse", "postgres"]
    assert "500 rows  public.fhv_taxi_trips_202001" in listed
    assert checkout.standings()["fhv", "2020-01"] == "loaded"
    told = checkout.taxi(*words, "--yes").splitlines()
    assert told[5:] == [f"removed  {line}" for line in listed.splitlines()]
    assert ("fhv", "2020-01") not in checkout.standings()
    assert checkout.standings()["fhv", "2020-02"] == "loaded"
    assert "2020-01" not in [month for month, _ in checkout.count("fhv") + checkout.count("fhv", "--postgres")]
    assert checkout.taxi(*words) == "fhv 2020-01  nothing is there\n"


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 1, "loaded"), ("", 1, "loaded"), ("y", 0, "partly")])
def test_a_wipe_does_as_the_terminal_says(answer: str, status: int, left: str, checkout: Checkout) -> None:
    """Only a yes at the terminal removes what is listed; of several stores, those that are named."""
    checkout.taxi("materialize", "--color", "green", "--months", "2020-04")
    said, ended = _answered(checkout, answer, "wipe", "--color", "green", "--months", "2020-04", "--store", "lake")
    assert ended == status
    assert "Remove all of this? [y/N]" in said
    assert ("nothing was removed" in said) == (answer != "y")
    assert ("removed  green 2020-04  lake" in said) == (answer == "y")
    assert checkout.standings()["green", "2020-04"] == left


def test_a_wipe_that_fails_somewhere_does_the_rest(checkout: Checkout) -> None:
    """A database that does not answer is told, with status 1; the files go all the same."""
    checkout.taxi("materialize", "--color", "green", "--months", "2020-03", "--select", "raw_trips,clean_trips")
    environment = {**os.environ, "TAXI_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run(
        [str(BIN / "taxi"), "wipe", "--color", "green", "--months", "2020-03", "--yes"],
        cwd=checkout.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "postgres   failed: no connection to Postgres" in done.stdout
    assert "removed  green 2020-03  raw" in done.stdout
    assert not list(checkout.folder.glob("taxi_home/clean/green/*2020-03*"))


def _answered(checkout: Checkout, answer: str, *words: str) -> tuple[str, int]:
    """What `taxi` prints on a terminal where someone answers, and its exit status."""
    terminal, theirs = os.openpty()
    command = [str(BIN / "taxi"), *words]
    with subprocess.Popen(command, cwd=checkout.folder, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        os.write(terminal, f"{answer}\n".encode())
        said = _rest(terminal).decode()
    os.close(terminal)
    return said, running.returncode


def _rest(terminal: int) -> bytes:
    """All that a terminal's program still prints, until it ends."""
    printed = b""
    # At the end of the program, Linux says that there is no terminal any more.
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            printed += piece
    return printed
