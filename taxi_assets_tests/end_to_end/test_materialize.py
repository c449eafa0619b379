"""Months are loaded by the commands that people type, run as they type them, against real stores."""

import json
import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from taxi_assets.stores.files import locked
from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.defs.daemon import until
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.end_to_end.terminal import rest_of
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run
from taxi_assets_tests.web_server import Reply, WebServer

ROWS = 500

DEFINITIONS = "-m taxi_assets.definitions"

TYPED = {
    "2020-05": f'dagster job execute {DEFINITIONS} -j load_green --tags \'{{"dagster/partition": "2020-05"}}\'',
    "2020-06": f"dagster asset materialize {DEFINITIONS} --select 'group:green' --partition 2020-06",
}
"""A line for a shell that loads each of these months."""


@pytest.fixture(scope="module")
def checkout(checkout: Checkout) -> Checkout:
    """A checkout whose source has four green months and as many of fhv."""
    words = ("source", "--color", "green", "--color", "fhv", "--months", "2020-01..2020-04", "--rows", str(ROWS))
    checkout.taxi("sample", *words)
    return checkout


@pytest.fixture(scope="module")
def said(checkout: Checkout) -> str:
    """What two workers say of a month that cannot be read, of two that are not published, and of those around them."""
    (checkout.folder / "source/green/green_tripdata_2020-02.csv.gz").write_text("<html>no trips here</html>")
    words = ("--color", "green", "--color", "fhv", "--months", "2020-01..2020-03,2020-06", "--workers", "2")
    return checkout.taxi("materialize", *words, status=1)


def test_a_bad_month_fails_alone(checkout: Checkout, said: str) -> None:
    """A month that cannot be read ends with status 1 and its reason; the months around it are loaded."""
    assert "green 2020-02 failed at raw_trips" in said
    assert "an HTML page" in said
    rows = dict(checkout.count("green"))
    assert (rows["2020-01"], rows.get("2020-02"), rows["2020-03"]) == (ROWS, None, ROWS)
    standings = checkout.standings()
    assert [standings["green", f"2020-0{month}"] for month in (1, 2, 3)] == ["loaded", "failed", "loaded"]


def test_months_that_are_not_published_are_left_out(checkout: Checkout, said: str) -> None:
    """Months that the source does not have are one line before anything runs, and no run is spent on them."""
    assert said.splitlines()[0] == "not published: green 2020-06, fhv 2020-06"
    assert "6 months: 5 done, 1 failed" in said
    for color in ("green", "fhv"):
        assert checkout.runs(TripMonth(color, "2020-06")) == []
        assert (color, "2020-06") not in checkout.standings()


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_a_month_that_is_not_published_is_no_failure(flags: tuple[str, ...], status: int, checkout: Checkout) -> None:
    """The command loads the months that there are and ends with 0; with --strict, with 1."""
    words = ("--color", "fhv,green", "--months", "2020-04..07,2020-12", "--select", "raw_trips")
    said = checkout.taxi("materialize", *words, *flags, status=status)
    assert said.splitlines()[0] == "not published: fhv 2020-05..2020-07,2020-12, green 2020-05..2020-07,2020-12"
    assert "2 months: 2 done" in said
    assert "again" not in said


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_nothing_is_run_where_nothing_is_published(flags: tuple[str, ...], status: int, checkout: Checkout) -> None:
    """Where no month is published, that line is all that is said."""
    words = ("--color", "yellow,fhv", "--months", "2019-08..10,2020-12")
    said = checkout.taxi("materialize", *words, *flags, status=status)
    assert said == "not published: yellow 2019-08..2019-10,2020-12, fhv 2019-08..2019-10,2020-12\n"


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_a_month_that_disappears_before_it_runs_is_no_failure(
    flags: tuple[str, ...], status: int, checkout: Checkout, web: WebServer, tmp_path: Path
) -> None:
    """A month that the source has when it is asked, and has not when the month runs, is not published either."""
    month = TripMonth("fhv", "2020-02")
    there = publish(tmp_path, month, 10).read_bytes()
    web.replies[f"/{month.color}/{month.stem}.csv.gz"] = [Reply(there), Reply(b"Not Found", 404)]
    settings = {**checkout.settings, "TAXI_SOURCE_URL": web.url, "TAXI_HOME": "another_home"}
    words = ("materialize", "--color", month.color, "--months", month.month, *flags)
    done = run("taxi", *words, folder=checkout.folder, settings=settings)
    assert done.returncode == status, done.stderr
    assert "[1/1] fhv 2020-02 not published" in done.stdout
    assert "1 month: 1 not published" in done.stdout
    assert "again" not in done.stdout


def test_a_run_of_a_month_that_is_not_published_succeeds(checkout: Checkout) -> None:
    """A run that somebody starts all the same ends as a success that materializes nothing, and says why in its log."""
    month = TripMonth("green", "2020-11")
    checkout.type(TYPED["2020-05"].replace("2020-05", month.month))
    assert checkout.runs(month) == ["SUCCESS"]
    said = checkout.log_of_newest_run()
    assert "green 2020-11 is not published: there is no " in said
    assert "source/green/green_tripdata_2020-11.csv.gz" in said
    assert ("green", "2020-11") not in checkout.standings()
    assert not list((checkout.folder / "taxi_home").rglob("*2020-11*"))


def test_failed_months_are_told_where_it_is_asked(checkout: Checkout, web: WebServer) -> None:
    """`taxi materialize --alert` sends a message for each failed month at once, but for one that is not published.

    A channel that cannot be reached is told on stderr, by its kind, and changes nothing.
    """
    inbox = Inbox(web)
    source = checkout.folder / "source/yellow"
    source.mkdir()
    for month in ("2020-02", "2020-05"):
        (source / f"yellow_tripdata_{month}.csv.gz").write_text("<html>no trips here</html>")
    checkout.publish(ROWS, TripMonth("yellow", "2020-04"))
    clean = checkout.folder / "taxi_home/clean/yellow"
    clean.mkdir(parents=True)
    words = ("materialize", "--color", "yellow", "--months", "2020-02..2020-05", "--alert")
    urls = f"json://ann:{SECRET}@127.0.0.1:1/{SECRET} {inbox.address}"
    with (
        ExitStack() as waits,
        subprocess.Popen(
            [str(BIN / "taxi"), *words, "--select", "raw_trips,clean_trips"],
            cwd=checkout.folder,
            env={**os.environ, **checkout.settings, "TAXI_ALERT_URLS": urls},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        try:
            # The month between the two that fail is not done before the first message is there.
            waits.enter_context(locked(clean / ".publish.lock", waiting_for="the test"))
            until(lambda: bool(inbox.mails), "the alert of the first month", timeout_s=30)
            waits.close()
            stdout, stderr = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 1
    assert stdout.startswith("not published: yellow 2020-03\n")
    assert [mail.title for mail in inbox.mails] == [f"yellow 2020-0{month} failed at raw_trips" for month in (2, 5)]
    error, asked, link = inbox.mails[0].text.splitlines()
    assert "an HTML page" in error
    assert asked == "Asked for by cli"
    assert re.fullmatch("http://127.0.0.1:3000/runs/[0-9a-f-]{36}", link)
    assert stderr.startswith("yellow 2020-02 failed at raw_trips: the alert did not get through to json (it could")
    log = (checkout.folder / "taxi_home/dagster/worker-0.log").read_text()
    assert SECRET not in stderr + stdout + log


@pytest.mark.usefixtures("said")
def test_several_workers_load_several_months(checkout: Checkout) -> None:
    """Two workers at once load every month once."""
    assert checkout.count("fhv") == [(f"2020-0{month}", ROWS) for month in (1, 2, 3)]


def test_a_selection_runs_only_those_assets(checkout: Checkout) -> None:
    """`--select` materializes the assets that it names, and a later command the rest.

    An asset whose upstream file is not here names the command that makes it.
    """
    words = ("materialize", "--color", "green", "--months")
    checkout.taxi(*words, "2020-04", "--select", "raw_trips,clean_trips", "--strict")
    assert checkout.standings()["green", "2020-04"] == "partly"
    said = checkout.taxi(*words, "2020-04..2020-05", "--select", "lake_trips+,postgres_trips", status=1)
    assert checkout.standings()["green", "2020-04"] == "loaded"
    assert "taxi materialize --color green --months 2020-05 --select +clean_trips" in said


@pytest.mark.parametrize("month", TYPED)
def test_stock_commands_load_a_month(month: str, checkout: Checkout) -> None:
    """Dagster's own commands, with the documented words, load a month in all assets, and `taxi status` knows of it."""
    checkout.publish(300, TripMonth("green", month))
    checkout.type(TYPED[month])
    assert checkout.standings()["green", month] == "loaded"
    assert dict(checkout.count("green"))[month] == 300
    assert not list(checkout.folder.glob(".tmp_dagster*"))


def test_a_stock_command_materializes_one_asset(checkout: Checkout) -> None:
    """`dagster asset materialize` with the key of one asset materializes that one, and no other."""
    month = TripMonth("green", "2020-08")
    checkout.publish(300, month)
    with checkout.opened() as installation:
        installation.run(month, "raw_trips")
    checkout.type(f"dagster asset materialize {DEFINITIONS} --select 'key:\"green/clean_trips\"' --partition 2020-08")
    listed = json.loads(checkout.taxi("status", "--json"))
    [told] = [one for one in listed if (one["color"], one["month"]) == (month.color, month.month)]
    assert told["rows"] == {"raw_trips": 300, "clean_trips": 300}
    assert told["standing"] == "partly"


def test_the_job_of_all_colors_is_gone(checkout: Checkout) -> None:
    """Whoever runs the job of earlier releases reads which jobs there are now."""
    tags = json.dumps({"dagster/partition": "green|2020-03"})
    said = checkout.type(f"dagster job execute {DEFINITIONS} -j load_trips --tags '{tags}'", status=2)
    assert all(job in said.partition("Error: ")[2] for job in ("load_trips", "load_yellow", "load_green", "load_fhv"))


def test_the_stock_backfill_queues_its_months(checkout: Checkout) -> None:
    """`dagster job backfill` queues a run of each month in the history of the checkout, for the daemon to start."""
    line = "dagster job backfill -w workspace.yaml -j load_green --partitions 2020-09,2020-10 --noprompt"
    checkout.type(f"DAGSTER_HOME=$PWD {line}")
    standings = checkout.standings()
    for month in ("2020-09", "2020-10"):
        assert checkout.runs(TripMonth("green", month)) == ["QUEUED"]
        assert standings["green", month] == "waiting"


def test_a_terminal_gets_bars_and_ctrl_c_a_summary(checkout: Checkout) -> None:
    """On a terminal bars are drawn while months run; Ctrl-C ends with what was done, and with no run under way."""
    checkout.publish(ROWS, *(TripMonth("yellow", month) for month in parse_months("2019-01..2019-09")))
    shape = {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    terminal, theirs = os.openpty()
    with subprocess.Popen(
        [str(BIN / "taxi"), "materialize", "--color", "yellow", "--months", "2019-01..2019-09"],
        cwd=checkout.folder,
        env={**os.environ, **checkout.settings, **shape},
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        drawn = b""
        while b"1 done" not in drawn:
            drawn += os.read(terminal, 65536)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all of its programs
        drawn += rest_of(terminal)
    os.close(terminal)
    assert running.returncode == 130
    said = drawn.decode()
    assert "━" in said
    assert "it was stopped" in said
    assert "Traceback" not in said
    assert "running" not in checkout.standings().values()
