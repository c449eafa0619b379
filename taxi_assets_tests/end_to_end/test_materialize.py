"""Months are loaded by the commands that people type, run as they type them, against real stores."""

import json
import os
import re
import signal
import subprocess

import pytest

from taxi_assets.tlc.trips import TripMonth, parse_months
from taxi_assets_tests.defs.daemon import until
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.end_to_end.terminal import rest_of
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.program import BIN
from taxi_assets_tests.web_server import WebServer

ROWS = 500


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


def test_a_month_that_is_not_published_says_so(said: str) -> None:
    """A month that the source does not have is named with the address that was tried."""
    assert "fhv 2020-06 is not published" in said
    assert "source/fhv/fhv_tripdata_2020-06.csv.gz" in said


def test_failed_months_are_told_where_it_is_asked(checkout: Checkout, web: WebServer) -> None:
    """`taxi materialize --alert` sends a message for each failed month at once, but for one that is not published.

    A channel that cannot be reached is told on stderr, by its kind, and changes nothing.
    """
    inbox = Inbox(web)
    page, source = "<html>no trips here</html>", checkout.folder / "source/yellow"
    source.mkdir()
    (source / "yellow_tripdata_2020-02.csv.gz").write_text(page)
    waits = source / "yellow_tripdata_2020-04.csv.gz"
    os.mkfifo(waits)  # whoever opens it waits
    words = ("materialize", "--color", "yellow", "--months", "2020-02..2020-04", "--select", "raw_trips", "--alert")
    urls = f"json://ann:{SECRET}@127.0.0.1:1/{SECRET} {inbox.address}"
    with subprocess.Popen(
        [str(BIN / "taxi"), *words],
        cwd=checkout.folder,
        env={**os.environ, **checkout.settings, "TAXI_ALERT_URLS": urls},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            until(lambda: bool(inbox.mails), "the alert of the first month", timeout_s=30)
            waits.write_text(page)
            stdout, stderr = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 1
    assert [mail.title for mail in inbox.mails] == [f"yellow 2020-0{month} failed at raw_trips" for month in (2, 4)]
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


def test_a_selection_runs_only_those_stations(checkout: Checkout) -> None:
    """`--select` runs the stations that it names, and a later command the rest.

    A station whose upstream file is not here names the command that makes it.
    """
    words = ("materialize", "--color", "green", "--months")
    checkout.taxi(*words, "2020-04", "--select", "raw_trips,clean_trips")
    assert checkout.standings()["green", "2020-04"] == "partly"
    said = checkout.taxi(*words, "2020-04..2020-05", "--select", "lake_trips+,postgres_trips", status=1)
    assert checkout.standings()["green", "2020-04"] == "loaded"
    assert "taxi materialize --color green --months 2020-05 --select +clean_trips" in said


def test_stock_commands_do_the_same_work(checkout: Checkout) -> None:
    """`dagster job execute` and `dagster asset materialize` load partitions, and `taxi status` knows of it."""
    checkout.publish(300, TripMonth("yellow", "2020-08"), TripMonth("yellow", "2020-09"))
    tags = json.dumps({"dagster/partition": "yellow|2020-08"})
    checkout.run("dagster", "job", "execute", "-m", "taxi_assets.definitions", "-j", "load_trips", "--tags", tags)
    selection = ("--select", "*", "--partition", "yellow|2020-09")
    checkout.run("dagster", "asset", "materialize", "-m", "taxi_assets.definitions", *selection)
    standings = checkout.standings()
    assert standings["yellow", "2020-08"] == standings["yellow", "2020-09"] == "loaded"
    assert {("2020-08", 300), ("2020-09", 300)} <= set(checkout.count("yellow"))
    assert not list(checkout.folder.glob(".tmp_dagster*"))


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
