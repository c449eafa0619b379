"""The plan of a `taxi backfill` says what is loaded and what is left out, in words and as JSON; a grid shows it run."""

import json

import pytest
from rich.console import Console

from taxi_assets.cli.backfill_view import draw_grid, print_plan, print_plan_json
from taxi_assets.cli.board import Board
from taxi_assets.news import Plan, Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

GREEN = [TripMonth("green", f"2020-{month:02d}") for month in (5, 4, 3)]
FHV = [TripMonth("fhv", "2020-04"), TripMonth("fhv", "2020-03")]
PLAN = Plan(
    {GREEN[0]: 1_500_000, GREEN[1]: 2_500_000, FHV[0]: None},
    {GREEN[2]: "loaded already", FHV[1]: "not published", TripMonth("fhv", "2020-02"): "not published"},
)


def test_a_plan_is_grouped_by_color_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The months of a color are one line of ranges, and so are those that are left out for one reason."""
    print_plan(PLAN)
    assert capsys.readouterr().out.splitlines() == [
        "3 partitions, 3 runs, 4.0 MB and 1 of unknown size, the newest month first:",
        "  green 2020-04..2020-05",
        "  fhv 2020-04",
        "Left out:",
        "  green 2020-03: loaded already",
        "  fhv 2020-02..2020-03: not published",
    ]


def test_an_empty_plan_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every month is left out, that is what is said."""
    print_plan(Plan({}, {FHV[1]: "not published"}))
    lines = ["Nothing to run.", "Left out:", "  fhv 2020-03: not published"]
    assert capsys.readouterr().out.splitlines() == lines


def test_machines_get_a_plan_by_month(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON names each month by its color and month, and has the id of each color's backfill."""
    print_plan_json(PLAN, ["abc", "def"])
    assert json.loads(capsys.readouterr().out) == {
        "partitions": ["green 2020-05", "green 2020-04", "fhv 2020-04"],
        "left_out": ["green 2020-03", "fhv 2020-03", "fhv 2020-02"],
        "reasons": {
            "green 2020-03": "loaded already",
            "fhv 2020-03": "not published",
            "fhv 2020-02": "not published",
        },
        "bytes": 4_000_000,
        "backfills": ["abc", "def"],
    }


def test_a_grid_shows_several_backfills_as_one() -> None:
    """A line a month, a column a color, each cell with what its month came to."""
    board = Board([*GREEN, *FHV], ("raw_trips", "clean_trips"))
    board.hear(ProgressEvent(GREEN[0], Progress.asset_done, "clean_trips", rows=57_360))
    board.hear(ProgressEvent(GREEN[0], Progress.done))
    board.hear(ProgressEvent(GREEN[1], Progress.failed, "raw_trips", error="gone"))
    board.hear(ProgressEvent(FHV[0], Progress.started))
    board.hear(ProgressEvent(FHV[0], Progress.asset_started, "clean_trips"))
    board.hear(ProgressEvent(FHV[1], Progress.not_published))
    console = Console(width=80, height=24, no_color=True)
    with console.capture() as capture:
        console.print(draw_grid(board, console))
    lines = [line.split() for line in capture.get().splitlines()]
    assert lines[0] == ["month", "green", "fhv"]
    assert lines[2:5] == [
        ["2020-05", "57,360", "rows"],
        ["2020-04", "failed", "at", "raw", "clean"],
        ["2020-03", "waiting", "not", "published"],
    ]
    assert " ".join(lines[5]) == "1 waiting, 1 running, 1 done, 1 not published, 1 failed"
