"""The project of the page about assets of one's own works: its files, commands, test and Python cells."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.docs.pages import EXTEND, require_same
from taxi_assets_tests.end_to_end.conftest import Checkout, create_checkout
from taxi_assets_tests.months import publish

DEMO_ROWS = 20_000

BLOCK = re.compile(r'^ *```(\w+)(?: title="([^"]+)")?\n(.*?)^ *```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path, postgres_url: str) -> Checkout:
    """A checkout with the environment of this one, and the month of green that `make demo` loads."""
    (tmp_path / "checkout").mkdir()
    created = create_checkout(tmp_path / "checkout", postgres_url)
    (created.folder / ".venv").symlink_to(sys.prefix)
    (created.folder / "Makefile").write_text("install demo:\n\t@true\n")  # the month is loaded below
    month = TripMonth("green", "2021-01")
    publish(created.folder / "source", month, DEMO_ROWS)
    created.load(month)
    return created


def test_the_project_of_the_page(checkout: Checkout) -> None:
    """In the order of the page, files are created and commands print what the page shows, from `dg scaffold` to pytest.

    `dg` lists what the page adds next to the assets of this project.
    """
    found = BLOCK.findall(EXTEND.read_text())
    [(_, setup), *blocks] = [(title or language, dedent(text)) for language, title, text in found]
    project, cells, shown = checkout.folder.parent / "my-taxi", "", ""
    run(checkout, setup, "true")
    for kind, text in blocks:
        if kind == "console":
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = step.partition("\n")
                require_same(command, run(checkout, setup, command), output or "...")
        elif kind == "python":
            cells += text
        elif kind == "text":
            shown += text
        else:
            (project / kind).write_text(text)
    listed = run(checkout, setup, "dg list defs --json")
    for name in ("card_share", "busy_hours", "has_all_trips", "green/lake_trips", "load_green"):
        assert f'"{name}"' in listed
    (project / "cells.py").write_text(cells)
    require_same("cells.py", run(checkout, setup, "python -W error cells.py"), shown)


def run(checkout: Checkout, setup: str, command: str) -> str:
    """Run a command after the commands that start a terminal on the page, and return its output."""
    # Below `make test-all`, the page's `make` would also print its folder.
    outside_of_make = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{setup}\n{command}"],
        cwd=checkout.folder,
        env={**outside_of_make, "TAXI_POSTGRES_URL": checkout.postgres_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
