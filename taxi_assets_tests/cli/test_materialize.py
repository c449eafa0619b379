"""`taxi materialize` prints commands that load the months that are not loaded, and that can be pasted."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.cli.board import Board
from taxi_assets.cli.materialize import commands
from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import FolderInstallation
from taxi_assets_tests.program import BIN, run

DONE, FAILED, RUNNING, QUEUED, ABSENT = (TripMonth("green", f"2020-0{month}") for month in range(1, 6))


@pytest.fixture
def installation(home: Path) -> Iterator[FolderInstallation]:
    """Open an installation with nothing loaded."""
    assert home.exists()
    with closing(FolderInstallation()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ""),
        ({"select": "lake_trips+"}, " --select lake_trips+"),
        ({"fresh": True, "overwrite": True}, " --fresh --overwrite"),
    ],
)
def test_the_commands_load_everything_that_is_not_loaded(options: dict[str, Any], words: str) -> None:
    """After a failure or Ctrl-C, the commands also load the months that were running or queued."""
    board = Board([DONE, FAILED, RUNNING, QUEUED, ABSENT, TripMonth("fhv", "2020-03")], TRIP_ASSETS)
    for month, what in ((DONE, Progress.done), (FAILED, Progress.failed), (ABSENT, Progress.not_published)):
        board.update(ProgressEvent(month, Progress.started))
        board.update(ProgressEvent(month, what))
    board.update(ProgressEvent(RUNNING, Progress.started))
    board.stop()
    green, fhv = commands(board, **options)
    assert green.endswith(f"materialize --color green --months 2020-02..2020-04{words}")
    assert fhv.endswith(f"materialize --color fhv --months 2020-03{words}")


def test_the_command_can_be_pasted(installation: FolderInstallation) -> None:
    """If `taxi` is not on the path, the printed command starts with the path of the program."""
    installation.publish_page(DONE)
    command = ("materialize", "--color", "green", "--months", "2020-01")
    done = run("taxi", *command, settings={"PATH": "/nowhere"})
    assert done.returncode == 1
    program, *words = done.stdout.splitlines()[-1].split()
    assert Path(program).samefile(BIN / "taxi")
    assert tuple(words) == command
