"""The grid of `taxi status` shows the status of each month, its rows, and the commands that load it again."""

import json
from dataclasses import replace

import pytest

from taxi_assets.cli.status_view import print_status, print_status_json
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import TripMonth

LOADED = {"raw_trips": 1_370_000, "clean_trips": 1_369_765, "lake_trips": 1_369_765, "warehouse_trips": 1_369_765}


def _month(color: str, month: str, status: PartitionStatus, **more: object) -> MonthStatus:
    rows = more.get("rows", LOADED)
    assert isinstance(rows, dict)
    return MonthStatus(
        TripMonth(color, month), status, rows, "run", str(more.get("failed_at", "")), str(more.get("error", ""))
    )


MONTHS = [
    _month("fhv", "2021-01", PartitionStatus.partial, rows={"raw_trips": 7, "clean_trips": 7}),
    _month("yellow", "2020-12", PartitionStatus.loaded),
    _month("yellow", "2021-01", PartitionStatus.stale),
    _month("yellow", "2021-02", PartitionStatus.failed, failed_at="lake_trips", error="disk full\nmore"),
    _month("yellow", "2021-03", PartitionStatus.failed, rows={}),
]


def test_each_month_has_its_rows_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    """A loaded month is only a number. Others have a status, and a failed month also the rows of an earlier run."""
    print_status(MONTHS, "materialize")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["month", "yellow", "fhv"]
    grid = {line[:7]: line[7:].split() for line in lines[2:6]}
    assert grid == {
        "2020-12": ["1,369,765"],
        "2021-01": ["1,369,765", "stale", "partial"],
        "2021-02": ["1,369,765", "failed"],
        "2021-03": ["failed"],
    }
    assert len({line.index("1,369,765") for line in lines[2:5]}) == 1
    assert max(map(len, lines[:8])) < 80


def test_no_command_for_a_month_that_is_no_longer_a_partition(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands leave out months that they would reject."""
    print_status([replace(MONTHS[2], is_partition=False), MONTHS[3]], "materialize")
    printed = capsys.readouterr().out
    assert "taxi materialize --color yellow --months 2021-02" in printed
    assert "--months 2021-01" not in printed


def test_totals_follow_the_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the grid are the total rows of each color and the number of months with each status."""
    print_status(MONTHS, "materialize")
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines() if line.startswith("rows")] == [["rows", "4,109,295", "0"]]
    assert "5 months: 1 loaded, 1 stale, 1 partial, 2 failed" in printed


def test_unfinished_months_have_a_reason_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure shows its step and the first line of its error. The months of a color and status are one command."""
    print_status(MONTHS, "materialize")
    printed = capsys.readouterr().out
    assert "yellow 2021-02 failed at lake_trips: disk full\n" in printed
    assert "fhv 2021-01 partial: only raw_trips, clean_trips" in printed
    assert "taxi materialize --color yellow --months 2021-02..2021-03 " in printed
    assert "taxi materialize --color yellow --months 2021-01 " in printed
    assert "taxi materialize --color fhv --months 2021-01 " in printed


def test_commands_in_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    """In a deployment, the commands are `taxi backfill`, and no command runs months in this process."""
    print_status(MONTHS, "backfill")
    print_status([], "backfill")
    printed = capsys.readouterr().out
    assert "taxi backfill --color yellow --months 2021-02..2021-03 " in printed
    assert "taxi backfill --color green --months 2020-04" in printed
    assert "materialize" not in printed
    assert "demo" not in printed


def test_nothing_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any month, the output is the commands that load sample months and a real one."""
    print_status([], "materialize")
    printed = capsys.readouterr().out
    assert "taxi demo" in printed
    assert "taxi materialize --color green --months 2020-04" in printed


def test_loaded_months_need_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """If every month is loaded, the totals are the last line."""
    print_status([MONTHS[1]], "materialize")
    assert capsys.readouterr().out.splitlines()[-1] == "1 month: 1 loaded"


def test_only_the_first_of_many_failures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of 24 failures, the first 8 are listed, followed by the number of the others."""
    print_status(
        [
            _month("green", f"20{year}-{month:02d}", PartitionStatus.failed)
            for year in (19, 20)
            for month in range(1, 13)
        ],
        "materialize",
    )
    printed = capsys.readouterr().out
    assert printed.count("green 20") == 8
    assert "and 16 more failed" in printed
    assert "--months 2019-01..2020-12" in printed


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has each month with its status, its rows by asset, its run, and the step and error of a failure."""
    print_status_json(MONTHS)
    listed = json.loads(capsys.readouterr().out)
    assert listed[3] == {
        "color": "yellow",
        "month": "2021-02",
        "status": "failed",
        "standing": "failed",
        "rows": LOADED,
        "run": "run",
        "failed_at": "lake_trips",
        "error": "disk full\nmore",
    }


@pytest.mark.parametrize("status", PartitionStatus)
def test_json_has_the_status_in_the_words_of_the_previous_release(
    status: PartitionStatus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside `status`, the deprecated `standing` has the previous release's word, so that scripts still work."""
    print_status_json([_month("green", "2020-01", status)])
    [listed] = json.loads(capsys.readouterr().out)
    assert listed["status"] == status
    assert listed["standing"] == {"partial": "partly", "queued": "waiting"}.get(status, status)
