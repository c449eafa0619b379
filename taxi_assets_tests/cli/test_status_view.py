"""The grid of a `taxi status` says in words how each month stands, and what to do about it."""

import json
from dataclasses import replace

import pytest

from taxi_assets.cli.status_view import print_status, print_status_json
from taxi_assets.news import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import TripMonth

LOADED = {"raw_trips": 1_370_000, "clean_trips": 1_369_765, "lake_trips": 1_369_765, "warehouse_trips": 1_369_765}


def _history(color: str, month: str, standing: PartitionStatus, **more: object) -> MonthStatus:
    rows = more.get("rows", LOADED)
    assert isinstance(rows, dict)
    return MonthStatus(
        TripMonth(color, month), standing, rows, "run", str(more.get("failed_at", "")), str(more.get("error", ""))
    )


MONTHS = [
    _history("fhv", "2021-01", PartitionStatus.partly, rows={"raw_trips": 7, "clean_trips": 7}),
    _history("yellow", "2020-12", PartitionStatus.loaded),
    _history("yellow", "2021-01", PartitionStatus.stale),
    _history("yellow", "2021-02", PartitionStatus.failed, failed_at="lake_trips", error="no room left\nmore"),
    _history("yellow", "2021-03", PartitionStatus.failed, rows={}),
]


def test_each_month_has_its_rows_and_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A loaded month is a number alone; others have their word, a failed one also the rows that it has from before."""
    print_status(MONTHS, "materialize")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["month", "yellow", "fhv"]
    grid = {line[:7]: line[7:].split() for line in lines[2:6]}
    assert grid == {
        "2020-12": ["1,369,765"],
        "2021-01": ["1,369,765", "stale", "partly"],
        "2021-02": ["1,369,765", "failed"],
        "2021-03": ["failed"],
    }
    assert len({line.index("1,369,765") for line in lines[2:5]}) == 1
    assert max(map(len, lines[:8])) < 80


def test_what_is_no_partition_any_more_is_not_to_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that would be refused is not proposed."""
    print_status([replace(MONTHS[2], is_partition=False), MONTHS[3]], "materialize")
    said = capsys.readouterr().out
    assert "taxi materialize --color yellow --months 2021-02" in said
    assert "--months 2021-01" not in said


def test_totals_follow_the_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of each color are added up, and the months of each standing counted."""
    print_status(MONTHS, "materialize")
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines() if line.startswith("rows")] == [["rows", "4,109,295", "0"]]
    assert "5 months: 1 loaded, 1 stale, 1 partly, 2 failed" in said


def test_what_is_not_loaded_says_why_and_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure has its asset and the first line of its reason; each color's months are one command."""
    print_status(MONTHS, "materialize")
    said = capsys.readouterr().out
    assert "yellow 2021-02 failed at lake_trips: no room left\n" in said
    assert "fhv 2021-01 partly: only raw_trips, clean_trips" in said
    assert "taxi materialize --color yellow --months 2021-02..2021-03 " in said
    assert "taxi materialize --color yellow --months 2021-01 " in said
    assert "taxi materialize --color fhv --months 2021-01 " in said


def test_a_deployment_is_asked_by_backfill(capsys: pytest.CaptureFixture[str]) -> None:
    """Where `taxi materialize` refuses, nothing proposes it, nor what would run months in this process."""
    print_status(MONTHS, "backfill")
    print_status([], "backfill")
    said = capsys.readouterr().out
    assert "taxi backfill --color yellow --months 2021-02..2021-03 " in said
    assert "Nothing is loaded yet: taxi backfill takes real ones" in said
    assert "materialize" not in said
    assert "demo" not in said


def test_all_loaded_needs_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """Where everything is loaded, the totals are the last line."""
    print_status([MONTHS[1]], "materialize")
    assert capsys.readouterr().out.splitlines()[-1] == "1 month: 1 loaded"


def test_many_failures_are_not_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Of thirty failures the first few are told, and how many are not."""
    print_status(
        [
            _history("green", f"20{year}-{month:02d}", PartitionStatus.failed)
            for year in (19, 20)
            for month in range(1, 13)
        ],
        "materialize",
    )
    said = capsys.readouterr().out
    assert said.count("green 20") == 8
    assert "and 16 more failed" in said
    assert "--months 2019-01..2020-12" in said


def test_machines_get_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has each month with its standing, its rows by asset, its run, and of a failure where and why."""
    print_status_json(MONTHS)
    listed = json.loads(capsys.readouterr().out)
    assert listed[3] == {
        "color": "yellow",
        "month": "2021-02",
        "standing": "failed",
        "rows": LOADED,
        "run": "run",
        "failed_at": "lake_trips",
        "error": "no room left\nmore",
    }
