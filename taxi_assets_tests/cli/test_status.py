"""`taxi status --color --months`: which months are shown."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.instance.opening import open_instance
from taxi_assets.keys import asset_key
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.program import run_here as run

Output = pytest.CaptureFixture[str]

MONTHS = [
    TripMonth("fhv", "2020-03"),
    TripMonth("green", "2020-03"),
    TripMonth("green", "2020-04"),
    TripMonth("green", "2021-01"),
]


@pytest.fixture(autouse=True)
def history(command_home: Path, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history in which the raw file of each month was reported."""
    monkeypatch.setenv("TAXI_SOURCE_URL", str(command_home / "source"))
    monkeypatch.setenv("TAXI_LAST_MONTH", "2021-12")
    shutil.copytree(empty_history, command_home / "dagster")
    with open_instance(command_home) as instance:
        for month in MONTHS:
            key = asset_key(month.color, "raw_trips")
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=month.month))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", MONTHS),
        ("--color green", MONTHS[1:]),
        ("--color GREEN,fhv", MONTHS),
        ("--months 2020-03", MONTHS[:2]),
        ("--months 2020", MONTHS[:3]),
        ("--months 2020-04..", MONTHS[2:]),
        ("--color green --months 2020-04,2021", MONTHS[2:]),
        ("--color yellow", []),
        ("--months 2019", []),
    ],
)
def test_months_are_selected(
    options: str, shown: list[TripMonth], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Only the given colors and months are shown, as a table and as JSON."""
    assert run(monkeypatch, "status", "--json", *options.split()) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [TripMonth(month["color"], month["month"]) for month in listed] == shown
    assert run(monkeypatch, "status", *options.split()) == 0
    printed = capsys.readouterr().out
    total = f"{len(shown)} months: {len(shown)} partial" if shown else "None of these months has been loaded."
    assert total in printed


def test_verbose(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """`--verbose` also shows a row for each month."""
    assert run(monkeypatch, "status", "--verbose", "--color", "green") == 0
    assert [line[:7] for line in capsys.readouterr().out.splitlines() if line.startswith("20")] == [
        "2020-03",
        "2020-04",
        "2021-01",
    ]


def test_a_wrong_month(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A value that is not a month is an invalid argument."""
    assert run(monkeypatch, "status", "--months", "2020-13") == 2
    assert "[unknown-month]" in capsys.readouterr().err
