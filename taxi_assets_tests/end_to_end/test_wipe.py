"""`taxi wipe` as people type it: it lists, asks, and tells what it did."""

import os
import subprocess

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.end_to_end.terminal import rest_of
from taxi_assets_tests.program import BIN, run

ROWS = 500
JANUARY, FEBRUARY = TripMonth("fhv", "2020-01"), TripMonth("fhv", "2020-02")
MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")


@pytest.fixture(scope="module")
def checkout(checkout: Checkout) -> Checkout:
    """A checkout whose source has four months."""
    checkout.publish(ROWS, JANUARY, FEBRUARY, MARCH, APRIL)
    return checkout


def test_a_wipe_asks_and_tells(checkout: Checkout) -> None:
    """`taxi wipe` lists what is there, refuses without an answer, and with --yes tells what it removed."""
    checkout.load(JANUARY, FEBRUARY)
    words = ("wipe", "--color", "fhv", "--months", "2020-01")
    listed = checkout.taxi(*words, status=2)
    assert [line.split()[2] for line in listed.splitlines()] == ["raw", "clean", "lake", "warehouse", "postgres"]
    assert "500 rows  public.fhv_taxi_trips_202001" in listed
    assert checkout.standings()["fhv", "2020-01"] == "loaded"
    told = checkout.taxi(*words, "--yes").splitlines()
    assert told[5:] == [f"removed  {line}" for line in listed.splitlines()]
    standings = checkout.standings()
    assert ("fhv", "2020-01") not in standings
    assert standings["fhv", "2020-02"] == "loaded"
    left = checkout.count("fhv") + checkout.count("fhv", postgres=True)
    assert "2020-01" not in [month for month, _ in left]
    assert checkout.taxi(*words) == "fhv 2020-01  nothing is there\n"


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 1, "loaded"), ("", 1, "loaded"), ("y", 0, "partly")])
def test_a_wipe_does_as_the_terminal_says(answer: str, status: int, left: str, checkout: Checkout) -> None:
    """Only a yes at the terminal removes what is listed; of several stores, those that are named."""
    checkout.load(APRIL)
    said, ended = _answered(checkout, answer, "wipe", "--color", "green", "--months", "2020-04", "--store", "lake")
    assert ended == status
    assert "Remove all of this? [y/N]" in said
    assert ("nothing was removed" in said) == (answer != "y")
    assert ("removed  green 2020-04  lake" in said) == (answer == "y")
    assert checkout.standings()["green", "2020-04"] == left


def test_a_wipe_that_fails_somewhere_does_the_rest(checkout: Checkout) -> None:
    """A database that does not answer is told, with status 1; the files go all the same."""
    with checkout.opened() as installation:
        installation.run(MARCH, "raw_trips", "clean_trips")
    settings = {**checkout.settings, "TAXI_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none"}
    words = ("wipe", "--color", "green", "--months", "2020-03", "--yes")
    done = run("taxi", *words, folder=checkout.folder, settings=settings)
    assert done.returncode == 1, done.stderr
    assert "postgres   failed: no connection to Postgres" in done.stdout
    assert "removed  green 2020-03  raw" in done.stdout
    assert not list(checkout.folder.glob("taxi_home/clean/green/*2020-03*"))


def _answered(checkout: Checkout, answer: str, *words: str) -> tuple[str, int]:
    """What `taxi` prints on a terminal where someone answers, and its exit status."""
    terminal, theirs = os.openpty()
    environment = {**os.environ, **checkout.settings}
    with subprocess.Popen(
        [str(BIN / "taxi"), *words], cwd=checkout.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        os.write(terminal, f"{answer}\n".encode())
        said = rest_of(terminal).decode()
    os.close(terminal)
    return said, running.returncode
