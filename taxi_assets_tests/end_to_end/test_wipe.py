"""`taxi wipe` lists what is stored, asks for confirmation, and deletes."""

import os
import subprocess

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.end_to_end.terminal import read_rest
from taxi_assets_tests.program import BIN, run

ROWS = 500
JANUARY, FEBRUARY = TripMonth("fhv", "2020-01"), TripMonth("fhv", "2020-02")
MARCH, APRIL = TripMonth("green", "2020-03"), TripMonth("green", "2020-04")


@pytest.fixture(scope="module")
def checkout(checkout: Checkout) -> Checkout:
    """A checkout whose source has four months."""
    checkout.publish(ROWS, JANUARY, FEBRUARY, MARCH, APRIL)
    return checkout


def test_a_wipe_needs_confirmation(checkout: Checkout) -> None:
    """Without a terminal, `taxi wipe` lists what is stored and deletes nothing. With --yes, it deletes all of it."""
    checkout.load(JANUARY, FEBRUARY)
    words = ("wipe", "--color", "fhv", "--months", "2020-01")
    listed = checkout.taxi(*words, status=2)
    assert [line.split()[2] for line in listed.splitlines()] == ["raw", "clean", "lake", "warehouse", "postgres"]
    assert "500 rows  public.fhv_taxi_trips_202001" in listed
    assert checkout.statuses()["fhv", "2020-01"] == "loaded"
    deleted = checkout.taxi(*words, "--yes").splitlines()
    assert deleted[5:] == [f"deleted  {line}" for line in listed.splitlines()]
    statuses = checkout.statuses()
    assert ("fhv", "2020-01") not in statuses
    assert statuses["fhv", "2020-02"] == "loaded"
    left = checkout.count("fhv") + checkout.count("fhv", postgres=True)
    assert "2020-01" not in [month for month, _ in left]
    assert checkout.taxi(*words) == "fhv 2020-01  not stored\n"


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 1, "loaded"), ("", 1, "loaded"), ("y", 0, "partial")])
def test_a_wipe_asks_on_a_terminal(answer: str, status: int, left: str, checkout: Checkout) -> None:
    """On a terminal, only the answer yes deletes what is listed. --store limits the wipe to one store."""
    checkout.load(APRIL)
    words = ("wipe", "--color", "green", "--months", "2020-04", "--store", "lake")
    output, exit_code = _run_with_answer(checkout, answer, *words)
    assert exit_code == status
    assert "[y/N]" in output
    assert ("deleted  green 2020-04  lake" in output) == (answer == "y")
    assert checkout.statuses()["green", "2020-04"] == left


def test_a_wipe_continues_after_a_failure(checkout: Checkout) -> None:
    """If a database is unreachable, `taxi wipe` reports it with exit code 1, and still deletes the files."""
    with checkout.opened() as installation:
        installation.run(MARCH, "raw_trips", "clean_trips")
    settings = {**checkout.settings, "TAXI_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none"}
    words = ("wipe", "--color", "green", "--months", "2020-03", "--yes")
    done = run("taxi", *words, folder=checkout.folder, settings=settings)
    assert done.returncode == 1, done.stderr
    [failure] = [line for line in done.stdout.splitlines() if line.startswith("green 2020-03  postgres   failed: ")]
    assert failure.endswith("[postgres-unreachable]")
    assert "deleted  green 2020-03  raw" in done.stdout
    assert not list(checkout.folder.glob("taxi_home/clean/green/*2020-03*"))


def _run_with_answer(checkout: Checkout, answer: str, *words: str) -> tuple[str, int]:
    """Run `taxi` on a terminal, type an answer, and return the output and the exit code."""
    terminal, process_end = os.openpty()
    environment = {**os.environ, **checkout.settings}
    with subprocess.Popen(
        [str(BIN / "taxi"), *words],
        cwd=checkout.folder,
        env=environment,
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
    ) as process:
        os.close(process_end)
        os.write(terminal, f"{answer}\n".encode())
        output = read_rest(terminal).decode()
    os.close(terminal)
    return output, process.returncode
