"""The line that says what a command is doing, on a pseudoterminal."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from taxi_assets_tests.end_to_end.terminal import read_rest
from taxi_assets_tests.program import BIN, run

IMPORTING = "importing Dagster"


def _run_on_terminal(words: Sequence[str], settings: dict[str, str]) -> tuple[str, str]:
    """Run a program of this environment with stderr on a terminal. Return what it prints to stdout and there."""
    terminal, its_end = os.openpty()
    with subprocess.Popen(
        [str(BIN / words[0]), *words[1:]],
        env={**os.environ, "TERM": "xterm", **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=its_end,
        text=True,
    ) as process:
        os.close(its_end)
        shown = read_rest(terminal).decode()
        os.close(terminal)
        stdout, _ = process.communicate()
    return stdout, shown


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """A TAXI_HOME that does not exist yet, and a source folder without months."""
    (tmp_path / "source").mkdir()
    return {"TAXI_HOME": str(tmp_path / "home"), "TAXI_SOURCE_URL": str(tmp_path / "source")}


@pytest.fixture
def without_dagster(settings: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same settings, and instead of Dagster a package that ends the process as soon as it is imported."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "__init__.py").write_text(
        f"import sys\nsys.stderr.write('{IMPORTING}')\nsys.stderr.flush()\nraise SystemExit(7)\n"
    )
    return {**settings, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(
    "command",
    [
        "materialize --months 2020-04",
        "materialize --months 2020-04.. --dry-run",
        "backfill --months 2020-04",
        "backfill list",
        "backfill resume abcdefgh",
        "backfill cancel abcdefgh",
        "status",
        "doctor",
        "wipe --color green --months 2020-04",
        "adopt",
        "demo",
        "dev",
    ],
)
def test_a_command_shows_what_it_does_before_dagster_is_imported(command: str, without_dagster: dict[str, str]) -> None:
    """The import of Dagster takes seconds, so the line comes first."""
    _, shown = _run_on_terminal(["taxi", *command.split()], without_dagster)
    before, imported, _ = shown.partition(IMPORTING)
    assert imported
    assert " ..." in before


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_line_is_not_part_of_the_output(term: str, settings: dict[str, str]) -> None:
    """The output has only the result. On a terminal that can erase, the line is erased at the end."""
    stdout, shown = _run_on_terminal(["taxi", "status", "--json"], {**settings, "TERM": term})
    assert json.loads(stdout) == []
    assert "Reading the history" in shown
    assert shown.endswith("\x1b[2K") == (term == "xterm")


def test_nothing_is_shown_in_a_pipe(settings: dict[str, str]) -> None:
    """If stderr is not a terminal, it has only warnings and errors."""
    done = run("taxi", "status", "--json", settings=settings)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [], "")


def test_warnings_stay_on_the_terminal(settings: dict[str, str]) -> None:
    """A warning during the work is not erased with the line, and does not get into stdout."""
    stdout, shown = _run_on_terminal(["taxi", "status", "--json"], {**settings, "TAXI_COLOUR": "green"})
    assert json.loads(stdout) == []
    assert "TAXI_COLOUR is not a setting" in shown
