"""`taxi backfill` submits, lists, cancels and resumes backfills. No daemon runs, so they stay requested."""

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from taxi_assets_tests.program import run_here as run

SUBMIT = "backfill --color green --months 2020-01..2020-03 --select clean_trips"
"""Without raw_trips, the source is not requested."""

MONTHS = ["2020-03", "2020-02", "2020-01"]


@pytest.fixture(autouse=True)
def _history(command_home: Path, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TAXI_HOME with an empty history. A cancellation does not wait for a daemon that may undo it."""
    shutil.copytree(empty_history, command_home / "dagster")
    monkeypatch.setattr(time, "sleep", lambda _: None)


def _json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str) -> Any:
    """Run a command with --json, which must succeed, and return its output."""
    capsys.readouterr()
    assert run(monkeypatch, *arguments.split(), "--json") == 0
    return json.loads(capsys.readouterr().out)


def _submit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Submit a backfill and return its ID."""
    [backfill_id] = _json(monkeypatch, capsys, SUBMIT)["backfills"]
    return str(backfill_id)


def test_submit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A submitted backfill is shown with its plan, its ID and its page in the UI, and that no daemon runs."""
    assert run(monkeypatch, *SUBMIT.split()) == 0
    printed = capsys.readouterr()
    [listed] = _json(monkeypatch, capsys, "backfill list")
    assert "3 partitions, 3 runs" in printed.out
    assert f"/runs/b/{listed['backfill_id']}" in printed.out
    assert "taxi dev" in printed.err


def test_a_dry_run_submits_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--dry-run`, the plan is shown, and no backfill is created."""
    assert run(monkeypatch, *SUBMIT.split(), "--dry-run") == 0
    assert "3 partitions, 3 runs" in capsys.readouterr().out
    assert _json(monkeypatch, capsys, "backfill list") == []


ALL = "backfill --color green --select clean_trips"


@pytest.fixture
def _few_months(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the months of SUBMIT are partitions, of all colors of the mirror."""
    monkeypatch.setenv("TAXI_FIRST_MONTH", MONTHS[-1])
    monkeypatch.setenv("TAXI_LAST_MONTH", MONTHS[0])


def _at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Let standard input be a terminal at which a user answers."""

    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Keyboard(f"{answer}\n"))


@pytest.mark.usefixtures("_few_months")
@pytest.mark.parametrize(("answer", "submitted", "code"), [("y", 1, 0), ("n", 0, 1), ("", 0, 1)])
def test_all_missing_months_are_confirmed(
    answer: str, submitted: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--months`, the plan has all missing months of the color, and the user confirms it."""
    _at_a_terminal(monkeypatch, answer)
    assert run(monkeypatch, *ALL.split()) == code
    printed = capsys.readouterr()
    assert "3 partitions, 3 runs" in printed.out
    assert "Submit these 3 partitions?" in printed.out + printed.err
    listed = _json(monkeypatch, capsys, "backfill list")
    assert [entry["months"] for entry in listed] == [MONTHS] * submitted


@pytest.mark.usefixtures("_few_months")
def test_all_missing_months_need_yes_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If there is no terminal, the plan is shown, nothing is submitted, and `--yes` submits it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(monkeypatch, *ALL.split()) == 2
    printed = capsys.readouterr()
    assert "3 partitions, 3 runs" in printed.out
    assert "--yes" in printed.err
    assert run(monkeypatch, *ALL.split(), "--json") == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["partitions"] == [f"green {month}" for month in MONTHS]
    assert "--yes" in printed.err
    assert _json(monkeypatch, capsys, "backfill list") == []
    assert len(_json(monkeypatch, capsys, f"{ALL} --yes")["backfills"]) == 1
    assert [entry["months"] for entry in _json(monkeypatch, capsys, "backfill list")] == [MONTHS]


@pytest.mark.usefixtures("_few_months")
@pytest.mark.parametrize(
    ("options", "count"),
    [("--color green", 3), ("--color green --missing", 3), ("", 9), ("--color all", 9), ("--failed", 0)],
)
def test_a_dry_run_of_all_missing_months_asks_nothing(
    options: str, count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--color`, the plan has all colors of the source. A plan without months needs no confirmation."""
    plan = _json(monkeypatch, capsys, f"backfill --select clean_trips --dry-run {options}")
    assert len(plan["partitions"]) == count
    if not count:
        assert run(monkeypatch, *f"backfill --select clean_trips {options}".split()) == 0
    assert _json(monkeypatch, capsys, "backfill list") == []


def test_all_months_of_a_color_that_the_source_does_not_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mirror has no fhvhv, so there is nothing to plan."""
    assert run(monkeypatch, "backfill", "--color", "fhvhv") == 2
    assert "no fhvhv trips" in capsys.readouterr().err


def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`taxi backfill list` shows the newest backfills first, as a table or as JSON; `--limit` is their number."""
    first = _submit(monkeypatch, capsys)
    assert run(monkeypatch, "backfill", "cancel", first) == 0
    second = _submit(monkeypatch, capsys)
    listed = _json(monkeypatch, capsys, "backfill list")
    assert [(entry["backfill_id"], entry["status"]) for entry in listed] == [
        (second, "in progress"),
        (first, "canceling"),
    ]
    assert {(entry["color"], *entry["months"], entry["loaded"]) for entry in listed} == {("green", *MONTHS, 0)}
    assert [entry["backfill_id"] for entry in _json(monkeypatch, capsys, "backfill list --limit 1")] == [second]
    assert run(monkeypatch, "backfill", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [second, first]
    assert all("2020-01..2020-03" in line for line in lines[2:])


def test_cancel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`taxi backfill cancel` requests the cancellation of each backfill; the daemon does the rest."""
    ids = [_submit(monkeypatch, capsys)]
    [of_fhv] = _json(monkeypatch, capsys, SUBMIT.replace("green", "fhv"))["backfills"]
    ids.append(of_fhv)
    assert run(monkeypatch, "backfill", "cancel", *ids) == 0
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()] == ids
    assert "taxi dev" in printed.err
    listed = _json(monkeypatch, capsys, "backfill list")
    assert {entry["backfill_id"]: entry["status"] for entry in listed} == dict.fromkeys(ids, "canceling")


def test_resume(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`taxi backfill resume` submits a new backfill of the months that are not loaded; a dry run only shows it."""
    backfill_id = _submit(monkeypatch, capsys)
    assert run(monkeypatch, "backfill", "cancel", backfill_id) == 0
    plan = _json(monkeypatch, capsys, f"backfill resume {backfill_id} --dry-run")
    assert (plan["partitions"], plan["backfills"]) == ([f"green {month}" for month in MONTHS], [])
    [resumed] = _json(monkeypatch, capsys, f"backfill resume {backfill_id}")["backfills"]
    listed = _json(monkeypatch, capsys, "backfill list")
    assert [(entry["backfill_id"], entry["months"]) for entry in listed] == [(resumed, MONTHS), (backfill_id, MONTHS)]


def test_the_option_resume_is_deprecated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--resume` still works, and prints the command that replaced it."""
    backfill_id = _submit(monkeypatch, capsys)
    assert run(monkeypatch, "backfill", "cancel", backfill_id) == 0
    capsys.readouterr()
    assert run(monkeypatch, "backfill", "--resume", backfill_id, "--json") == 0
    printed = capsys.readouterr()
    assert f"taxi backfill resume {backfill_id}" in printed.err
    assert json.loads(printed.out)["partitions"] == [f"green {month}" for month in MONTHS]
    assert len(_json(monkeypatch, capsys, "backfill list")) == 2


def test_the_option_cancel_is_deprecated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--cancel` still works, also repeated, and prints the command that replaced it."""
    backfill_id = _submit(monkeypatch, capsys)
    assert run(monkeypatch, "backfill", "--cancel", backfill_id, "--cancel", backfill_id) == 0
    assert f"taxi backfill cancel {backfill_id} {backfill_id}" in capsys.readouterr().err
    [listed] = _json(monkeypatch, capsys, "backfill list")
    assert listed["status"] == "canceling"


@pytest.mark.parametrize("command", ["resume", "cancel"])
def test_an_unknown_backfill_exits_with_2(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ID that does not exist is an error with the ID and the command that lists the backfills."""
    assert run(monkeypatch, "backfill", command, "unknown") == 2
    message = capsys.readouterr().err
    expected = ('"unknown"', "taxi backfill list", "[unknown-backfill]")
    assert [part for part in expected if part not in message] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--months 2020-01 --overwrite", ["--overwrite", "--color"]),
        ("--color green --months 2020-01 --missing --failed", ["--missing", "--failed"]),
        ("--color green --months 2020-01 --wait --json", ["--wait", "--json"]),
        ("resume x --wait --json", ["--wait", "--json"]),
        ("resume", ["Missing argument"]),
        ("cancel", ["Missing argument"]),
        ("cancel x --dry-run", ["--dry-run"]),
        ("resume x --missing", ["--missing"]),
        ("--dry-run cancel x", ["--dry-run", "cancel"]),
        ("--color green resume x", ["--color", "resume"]),
        ("--cancel x --dry-run", ["--cancel", "--dry-run"]),
        ("--cancel x --months 2020-01", ["--cancel", "--months"]),
        ("--resume x --missing", ["--resume", "--missing"]),
        ("--resume x --resume y --color green", ["--resume", "--color"]),
        ("--resume x --cancel y", ["--cancel", "--resume"]),
    ],
)
def test_arguments_that_exclude_each_other(
    arguments: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments that are missing or contradict each other exit with 2, before anything is submitted or canceled."""
    assert run(monkeypatch, "backfill", *arguments.split()) == 2
    message = capsys.readouterr().err
    assert [part for part in expected if part not in message] == []
    assert _json(monkeypatch, capsys, "backfill list") == []
