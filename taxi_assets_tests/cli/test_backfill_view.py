"""The plan of `taxi backfill` as text and as JSON, the list of backfills, and the live grid of several backfills."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from taxi_assets.cli.backfill_view import draw_grid, print_backfills, print_backfills_json, print_plan, print_plan_json
from taxi_assets.cli.board import Board
from taxi_assets.operations.backfills import BackfillSummary
from taxi_assets.operations.plan import Plan
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.tlc.trips import TripMonth

GREEN = [TripMonth("green", f"2020-{month:02d}") for month in (5, 4, 3)]
FHV = [TripMonth("fhv", "2020-04"), TripMonth("fhv", "2020-03")]
PLAN = Plan(
    {GREEN[0]: 1_500_000, GREEN[1]: 2_500_000, FHV[0]: None},
    {GREEN[2]: "already loaded", FHV[1]: "not published", TripMonth("fhv", "2020-02"): "not published"},
)
CREATED = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)
BACKFILLS = [
    BackfillSummary("of-a-job", "in progress", CREATED, "taxi backfill", "green", ["2020-01", "2020-02"], 1),
    BackfillSummary("of-assets", "completed", CREATED, "", "", [], 3),
]


def test_a_plan_is_grouped_by_color_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The months of a color are one line of ranges, and so are the months that are left out for the same reason."""
    print_plan(PLAN)
    assert capsys.readouterr().out.splitlines() == [
        "3 partitions, 3 runs, 4.0 MB and 1 of unknown size, newest month first:",
        "  green 2020-04..2020-05",
        "  fhv 2020-04",
        "Left out:",
        "  green 2020-03: already loaded",
        "  fhv 2020-02..2020-03: not published",
    ]


def test_a_plan_shows_the_estimated_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """The estimate is one line after the months. It is a lower limit if the size of a month is not known."""
    disk = {"raw": 4_000_000, "warehouse": 61_250_000_000}
    print_plan(replace(PLAN, disk=disk))
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "Estimated disk: at least raw 4.0 MB, warehouse 61.2 GB"
    print_plan(Plan({GREEN[0]: 25_000_000_000}, disk=disk))
    assert capsys.readouterr().out.splitlines() == [
        "1 partition, 1 run, 25.0 GB, newest month first:",
        "  green 2020-05",
        "Estimated disk: raw 4.0 MB, warehouse 61.2 GB",
    ]


def test_an_empty_plan_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """If every month is left out, the plan says that there is nothing to run."""
    print_plan(Plan({}, {FHV[1]: "not published"}))
    lines = ["Nothing to run.", "Left out:", "  fhv 2020-03: not published"]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_plan_ends_with_its_hints(capsys: pytest.CaptureFixture[str]) -> None:
    """A hint is a line of its own, so that its command can be copied."""
    hint = "fhv 2020-03: a file. To read it, run: export TAXI_SOURCE_URL='/data/[1]/{color}_{month}.csv'" + "x" * 100
    print_plan(Plan({}, {FHV[1]: "not published"}, [hint]))
    assert capsys.readouterr().out.splitlines()[-1] == hint


def test_a_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lists each month as color and month, the reasons, the total size, the disk and the ID of each backfill."""
    print_plan_json(replace(PLAN, disk={"raw": 4_000_000}), ["abc", "def"])
    assert json.loads(capsys.readouterr().out) == {
        "partitions": ["green 2020-05", "green 2020-04", "fhv 2020-04"],
        "left_out": ["green 2020-03", "fhv 2020-03", "fhv 2020-02"],
        "reasons": {
            "green 2020-03": "already loaded",
            "fhv 2020-03": "not published",
            "fhv 2020-02": "not published",
        },
        "bytes": 4_000_000,
        "disk": {"raw": 4_000_000},
        "backfills": ["abc", "def"],
    }


def test_backfills_are_listed_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Each backfill is a line with its status, its time in UTC, its months, and how many of them are loaded."""
    print_backfills(BACKFILLS)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    time = ["2026-03-01", "05:30"]
    assert lines[2:] == [
        ["of-a-job", "in", "progress", *time, "green", "2020-01..2020-02", "1", "of", "2"],
        ["of-assets", "completed", *time, "assets", "3"],
    ]


def test_an_empty_list_of_backfills(capsys: pytest.CaptureFixture[str]) -> None:
    """Without backfills, the text is one line, and the JSON is an empty list."""
    print_backfills([])
    assert len(capsys.readouterr().out.splitlines()) == 1
    print_backfills_json([])
    assert json.loads(capsys.readouterr().out) == []


def test_backfills_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has each backfill as an object, with its time in ISO format."""
    print_backfills_json(BACKFILLS)
    assert json.loads(capsys.readouterr().out)[0] == {
        "backfill_id": "of-a-job",
        "status": "in progress",
        "created": "2026-03-01T05:30:00+00:00",
        "title": "taxi backfill",
        "color": "green",
        "months": ["2020-01", "2020-02"],
        "loaded": 1,
    }


def test_a_grid_shows_several_backfills() -> None:
    """The grid has a line for each month and a column for each color. A cell shows the step, the rows or the state."""
    board = Board([*GREEN, *FHV], ("raw_trips", "clean_trips"))
    board.update(ProgressEvent(GREEN[0], Progress.asset_done, "clean_trips", rows=57_360))
    board.update(ProgressEvent(GREEN[0], Progress.done))
    board.update(ProgressEvent(GREEN[1], Progress.failed, "raw_trips", error="gone"))
    board.update(ProgressEvent(FHV[0], Progress.started))
    board.update(ProgressEvent(FHV[0], Progress.asset_started, "clean_trips"))
    board.update(ProgressEvent(FHV[1], Progress.not_published))
    console = Console(width=80, height=24, no_color=True)
    with console.capture() as capture:
        console.print(draw_grid(board, console))
    lines = [line.split() for line in capture.get().splitlines()]
    assert lines[0] == ["month", "green", "fhv"]
    assert lines[2:5] == [
        ["2020-05", "57,360", "rows"],
        ["2020-04", "failed", "at", "raw", "clean"],
        ["2020-03", "queued", "not", "published"],
    ]
    assert " ".join(lines[5]) == "1 queued, 1 running, 1 done, 1 not published, 1 failed"
