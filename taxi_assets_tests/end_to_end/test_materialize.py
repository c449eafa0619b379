"""`taxi materialize` and Dagster's own commands load months into real stores."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from taxi_assets.graph import JOBS
from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.end_to_end.terminal import read_rest
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run
from taxi_assets_tests.web_server import Reply, WebServer

ROWS = 500

DEFINITIONS = "-m taxi_assets.definitions"

STOCK_COMMANDS = {
    "2020-05": f'dagster job execute {DEFINITIONS} -j load_green --tags \'{{"dagster/partition": "2020-05"}}\'',
    "2020-06": f"dagster asset materialize {DEFINITIONS} --select 'group:green' --partition 2020-06",
}
"""A command of Dagster that loads a month, by month."""


@pytest.fixture(scope="module")
def checkout(checkout: Checkout) -> Checkout:
    """A checkout whose source has four green months and as many of fhv."""
    words = ("source", "--color", "green", "--color", "fhv", "--months", "2020-01..2020-04", "--rows", str(ROWS))
    checkout.taxi("sample", *words)
    return checkout


@pytest.fixture(scope="module")
def output(checkout: Checkout) -> str:
    """The output of a load with two workers: of six months, one is invalid, and two others are not published."""
    (checkout.folder / "source/green/green_tripdata_2020-02.csv.gz").write_text("<html>no trips here</html>")
    words = ("--color", "green", "--color", "fhv", "--months", "2020-01..2020-03,2020-06", "--workers", "2")
    return checkout.taxi("materialize", *words, status=1)


def test_a_failed_month_does_not_affect_the_others(checkout: Checkout, output: str) -> None:
    """A month with an invalid file fails with the reason and exit code 1. The other months are loaded."""
    assert "green 2020-02 failed at raw_trips" in output
    assert "[not-a-csv]" in output
    rows = dict(checkout.count("green"))
    assert (rows["2020-01"], rows.get("2020-02"), rows["2020-03"]) == (ROWS, None, ROWS)
    statuses = checkout.statuses()
    assert [statuses["green", f"2020-0{month}"] for month in (1, 2, 3)] == ["loaded", "failed", "loaded"]


def test_months_that_are_not_published_are_left_out(checkout: Checkout, output: str) -> None:
    """Months that the source does not have are listed first, and get no run."""
    assert output.splitlines()[0] == "not published: green 2020-06, fhv 2020-06"
    assert "6 months: 5 done, 1 failed" in output
    for color in ("green", "fhv"):
        assert checkout.runs(TripMonth(color, "2020-06")) == []
        assert (color, "2020-06") not in checkout.statuses()


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_a_month_that_is_not_published_is_no_failure(flags: tuple[str, ...], status: int, checkout: Checkout) -> None:
    """If some months are not published, the others are loaded and the exit code is 0, or 1 with --strict."""
    words = ("--color", "fhv,green", "--months", "2020-04..07,2020-12", "--select", "raw_trips")
    output = checkout.taxi("materialize", *words, *flags, status=status)
    assert output.splitlines()[0] == "not published: fhv 2020-05..2020-07,2020-12, green 2020-05..2020-07,2020-12"
    assert "2 months: 2 done" in output
    assert "again" not in output


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_without_published_months_nothing_runs(flags: tuple[str, ...], status: int, checkout: Checkout) -> None:
    """If no month is published, the list of those months is the whole output."""
    words = ("--color", "yellow,fhv", "--months", "2019-08..10,2020-12")
    output = checkout.taxi("materialize", *words, *flags, status=status)
    assert output == "not published: yellow 2019-08..2019-10,2020-12, fhv 2019-08..2019-10,2020-12\n"


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_a_month_deleted_before_its_run_is_no_failure(
    flags: tuple[str, ...], status: int, checkout: Checkout, web: WebServer, tmp_path: Path
) -> None:
    """A month that the source deletes between the plan and the run is also reported as not published."""
    month = TripMonth("fhv", "2020-02")
    content = publish(tmp_path, month, 10).read_bytes()
    web.replies[f"/{month.color}/{month.stem}.csv.gz"] = [Reply(content), Reply(b"Not Found", 404)]
    web.replies["/fhv/fhv_tripdata_2019-01.csv.gz"] = [Reply(content)]
    changed = {"TAXI_SOURCE_URL": web.url, "TAXI_FIRST_MONTH": "2019-01", "TAXI_HOME": "another_home"}
    settings = {**checkout.settings, **changed}
    words = ("materialize", "--color", month.color, "--months", month.month, *flags)
    done = run("taxi", *words, folder=checkout.folder, settings=settings)
    assert done.returncode == status, done.stderr
    assert "[1/1] fhv 2020-02 not published" in done.stdout
    assert "1 month: 1 not published" in done.stdout
    assert "again" not in done.stdout


def test_a_run_of_a_month_that_is_not_published_succeeds(checkout: Checkout) -> None:
    """A run that Dagster starts for such a month succeeds, materializes nothing, and logs the reason."""
    month = TripMonth("green", "2020-11")
    checkout.shell(STOCK_COMMANDS["2020-05"].replace("2020-05", month.month))
    assert checkout.runs(month) == ["SUCCESS"]
    log = checkout.log_of_newest_run()
    assert "green 2020-11 is not published" in log
    assert "source/green/green_tripdata_2020-11.csv.gz" in log
    assert ("green", "2020-11") not in checkout.statuses()
    assert not list((checkout.folder / "taxi_home").rglob("*2020-11*"))


@pytest.mark.usefixtures("output")
def test_several_workers_load_several_months(checkout: Checkout) -> None:
    """Two concurrent workers load every month once."""
    assert checkout.count("fhv") == [(f"2020-0{month}", ROWS) for month in (1, 2, 3)]


def test_a_selection_runs_only_those_assets(checkout: Checkout) -> None:
    """`--select` runs only the selected assets, and a later command can run the rest.

    If the upstream file of an asset does not exist, the error contains the command that creates it.
    """
    words = ("materialize", "--color", "green", "--months")
    checkout.taxi(*words, "2020-04", "--select", "raw_trips,clean_trips", "--strict")
    assert checkout.statuses()["green", "2020-04"] == "partial"
    output = checkout.taxi(*words, "2020-04..2020-05", "--select", "lake_trips+,postgres_trips", status=1)
    assert checkout.statuses()["green", "2020-04"] == "loaded"
    assert "[missing-upstream]" in output
    assert "taxi materialize --color green --months 2020-05 --select +clean_trips" in output


@pytest.mark.parametrize("month", STOCK_COMMANDS)
def test_stock_commands_load_a_month(month: str, checkout: Checkout) -> None:
    """The documented commands of Dagster load a month into all assets, and `taxi status` shows it as loaded."""
    checkout.publish(300, TripMonth("green", month))
    checkout.shell(STOCK_COMMANDS[month])
    assert checkout.statuses()["green", month] == "loaded"
    assert dict(checkout.count("green"))[month] == 300
    assert not list(checkout.folder.glob(".tmp_dagster*"))


def test_a_stock_command_materializes_one_asset(checkout: Checkout) -> None:
    """`dagster asset materialize` with the key of one asset materializes only that asset."""
    month = TripMonth("green", "2020-08")
    checkout.publish(300, month)
    with checkout.opened() as installation:
        installation.run(month, "raw_trips")
    checkout.shell(f"dagster asset materialize {DEFINITIONS} --select 'key:\"green/clean_trips\"' --partition 2020-08")
    listed = json.loads(checkout.taxi("status", "--json"))
    [entry] = [entry for entry in listed if (entry["color"], entry["month"]) == (month.color, month.month)]
    assert entry["rows"] == {"raw_trips": 300, "clean_trips": 300}
    assert entry["status"] == "partial"


def test_the_error_of_a_former_job_lists_the_jobs(checkout: Checkout) -> None:
    """If you run the job of earlier releases, which covered all colors, the error lists the current jobs."""
    tags = json.dumps({"dagster/partition": "green|2020-03"})
    output = checkout.shell(f"dagster job execute {DEFINITIONS} -j load_trips --tags '{tags}'", status=2)
    error = output.partition("Error: ")[2]
    assert all(job in error for job in ("load_trips", *JOBS))


def test_the_stock_backfill_queues_its_months(checkout: Checkout) -> None:
    """`dagster job backfill` queues a run for each month, which the daemon starts later."""
    line = "dagster job backfill -w workspace.yaml -j load_green --partitions 2020-09,2020-10 --noprompt"
    checkout.shell(f"DAGSTER_HOME=$PWD {line}")
    statuses = checkout.statuses()
    for month in ("2020-09", "2020-10"):
        assert checkout.runs(TripMonth("green", month)) == ["QUEUED"]
        assert statuses["green", month] == "queued"


def test_ctrl_c_on_a_terminal(checkout: Checkout) -> None:
    """A terminal shows progress bars. Ctrl-C prints a summary and leaves no active run."""
    checkout.publish(ROWS, *(TripMonth("yellow", month) for month in parse_months("2019-01..2019-09")))
    size = {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    terminal, process_end = os.openpty()
    with subprocess.Popen(
        [str(BIN / "taxi"), "materialize", "--color", "yellow", "--months", "2019-01..2019-09"],
        cwd=checkout.folder,
        env={**os.environ, **checkout.settings, **size},
        stdout=process_end,
        stderr=process_end,
        start_new_session=True,
    ) as process:
        os.close(process_end)
        printed = b""
        while b"1 done" not in printed:
            printed += os.read(terminal, 65536)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends the signal to all processes of the command
        printed += read_rest(terminal)
    os.close(terminal)
    assert process.returncode == 130
    output = printed.decode()
    assert "━" in output
    assert "The command was stopped" in output
    assert "9 months: " in output
    assert "Traceback" not in output
    assert "running" not in checkout.statuses().values()
