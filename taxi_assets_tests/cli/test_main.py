"""The `taxi` command line: help, invalid arguments, errors and exit codes. `end_to_end` tests what the commands do."""

import gzip
import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click
import dagster as dg
import pytest

from taxi_assets import errors
from taxi_assets.cli.main import taxi
from taxi_assets.instance.opening import open_instance
from taxi_assets.operations.progress import ProgressEvent
from taxi_assets.operations.runs import RunSpec
from taxi_assets.stores.source.download import Version
from taxi_assets.stores.source.months import SourceVersion
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months
from taxi_assets_tests.months import publish
from taxi_assets_tests.network import fail_to_resolve
from taxi_assets_tests.program import run_here as run

pytestmark = pytest.mark.usefixtures("command_home")


def _commands(group: click.Group, name: str = "") -> dict[str, click.Command]:
    """All commands of a group and of its groups, by name."""
    found: dict[str, click.Command] = {}
    for word, command in group.commands.items():
        found[f"{name} {word}".strip()] = command
        if isinstance(command, click.Group):
            found |= _commands(command, f"{name} {word}".strip())
    return found


COMMANDS = _commands(taxi)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a summary of one line, examples, and a description of each option."""
    assert run(monkeypatch, *name.split(), "--help") == 0
    printed = capsys.readouterr().out
    command = COMMANDS[name]
    assert f"Usage: taxi {name}" in printed
    assert (command.help or "").partition("\n")[0].endswith(".")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help and not option.hidden] == []
    # Click must not join the lines of examples.
    assert not command.params or f"\n    taxi {name}" in printed
    assert "\b" not in printed


def test_the_help_lists_commands_in_the_order_of_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi --help` lists first steps first, and names the page of settings and the exit codes."""
    assert run(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    listed = [line.split()[0] for line in printed.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert [name for name in listed if name in _ORDER] == [*_ORDER]
    assert "docs/settings.md" in printed
    assert "Exit codes:" in printed


_ORDER = ("demo", "materialize", "status", "query", "dev", "stop", "sample")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--color", "purple", "--months", "2021-01"], ['"purple"', "yellow, green, fhv, fhvhv", "[unknown-color]"]),
        (["--color", "yelow", "--months", "2021-01"], ["Did you mean yellow?", "[unknown-color]"]),
        (["--color", "", "--months", "2021-01"], ["[unknown-color]"]),
        (["--color", "green", "--months", "2021-13"], ['"2021-13"', "01 to 12", "[unknown-month]"]),
        (["--color", "green", "--months", "January"], ['"January"', "YYYY-MM", "[unknown-month]"]),
        (["--color", "green", "--months", ","], ["[unknown-month]"]),
        (["--color", "green", "--months", "4"], ['"4"', "no year", "[unknown-month]"]),
        (["--color", "green", "--year", "2021", "--month", "13"], ["01 to 12", "[unknown-month]"]),
        (["--color", "green", "--year", "2021", "--month", "2021-04"], ['"2021-04"', "1 to 12", "[unknown-month]"]),
        (["--color", "green", "--year", "21", "--month", "4"], ['"21"', "not a year", "[unknown-month]"]),
        (["--color", "green", "--year", ",", "--month", "4"], ["[unknown-month]"]),
        (["--color", "green", "--year", "2021-04"], ['"2021-04"', "not a year", "[unknown-month]"]),
        (["--color", "green", "--months", "2021-03..2021-01"], ["2021-03..2021-01", "[unknown-month]"]),
        (["--color", "green", "--months", "2021-09.."], ["2019-01", "2021-07", "[unknown-month]"]),
        (["--color", "green", "--months", ".."], ['".."', "[unknown-month]"]),
        (["--color", "green", "--months", "2018-12"], ["green 2018-12", "2019-01", "[not-a-partition]"]),
        (["--color", "green", "--months", "2021-01", "--select", "nothing"], ['"nothing"', "[invalid-selection]"]),
        (["--color", "green"], ["Add --months", "  taxi materialize --color green --months 2020-04\n"]),
        (["--color", "green", "--months", ""], ["Add --months"]),
        (["--months", "2021-01", "--overwrite"], ["--overwrite", "--color green"]),
        (["--color", "green", "--months", "2021-01", "--workers", "0"], ["0 is not in the range x>=1"]),
        (["--color", "green", "--months", "2021-01", "--rows", "7"], ["No such option"]),
    ],
)
def test_invalid_arguments_exit_with_2(
    arguments: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Invalid arguments are one message with the value and what is valid, and nothing runs."""
    assert run(monkeypatch, "materialize", *arguments) == 2
    message = capsys.readouterr().err
    assert [part for part in expected if part not in message] == []
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("command", "expected"),
    [("statsu", "Did you mean status?"), ("frobnicate", "demo, materialize, backfill, status")],
)
def test_an_unknown_command_shows_the_commands(
    command: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that does not exist exits with 2, and shows the most similar command or all of them."""
    assert run(monkeypatch, command) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "months"),
    [
        ("--color green --months 2020-4", ["green 2020-04"]),
        ("--color green --months 2020", [f"green 2020-{month:02d}" for month in range(12, 0, -1)]),
        ("--color green --months 2020-04..06", ["green 2020-06", "green 2020-05", "green 2020-04"]),
        ("--color green --months 2021-06..", ["green 2021-07", "green 2021-06"]),
        ("--color green --months ..2019-02", ["green 2019-02", "green 2019-01"]),
        ("--color green --months 2020-04 --months 2020-06,2020-4", ["green 2020-06", "green 2020-04"]),
        ("--color Green,YELLOW --months 2020-04", ["green 2020-04", "yellow 2020-04"]),
        ("--color green --color FHV --months 2020-04", ["green 2020-04", "fhv 2020-04"]),
        ("--color all --months 2020-04", ["yellow 2020-04", "green 2020-04", "fhv 2020-04"]),
        ("--color all --color green --months 2020-04", ["yellow 2020-04", "green 2020-04", "fhv 2020-04"]),
        ("--months 2020-04", ["yellow 2020-04", "green 2020-04", "fhv 2020-04"]),
        ("--color green --month 2020-04", ["green 2020-04"]),
        ("--color green --year 2020 --month 4", ["green 2020-04"]),
        ("--color green --year 2020 --months 04", ["green 2020-04"]),
        ("--color green --year 2020 --month 4,6", ["green 2020-06", "green 2020-04"]),
        ("--color green --year 2020 --month 4 --month 6", ["green 2020-06", "green 2020-04"]),
        ("--color green --year 2020 --month 4..6", ["green 2020-06", "green 2020-05", "green 2020-04"]),
        ("--color green --year 2019,2020 --month 4", ["green 2020-04", "green 2019-04"]),
        ("--color green --year 2019..2021 --month 4", ["green 2021-04", "green 2020-04", "green 2019-04"]),
        ("--color green --year 2020", [f"green 2020-{month:02d}" for month in range(12, 0, -1)]),
    ],
)
def test_months_and_colors_are_parsed(
    arguments: str, months: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colors have any letter case, with commas or repeated options. Months are also years and ranges."""
    # Without raw_trips, the source is not requested.
    assert run(monkeypatch, *f"backfill {arguments} --select clean_trips --dry-run --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["partitions"] == months


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Sequence[str]]]:
    """The months and assets that `taxi materialize` and `taxi backfill` request. Nothing runs."""
    seen: list[tuple[list[str], Sequence[str]]] = []

    @contextmanager
    def started_months(
        _: object, months: Sequence[TripMonth], spec: RunSpec, workers: int
    ) -> Iterator[Iterator[ProgressEvent]]:
        assert workers
        seen.append(([str(month) for month in months], spec.assets))
        yield iter(())

    def submit_backfills(_: object, months: Sequence[TripMonth], spec: RunSpec, command: str) -> list[str]:
        assert command
        seen.append(([str(month) for month in months], spec.assets))
        return []

    monkeypatch.setattr("taxi_assets.operations.workers.started_months", started_months)
    monkeypatch.setattr("taxi_assets.operations.backfills.submit_backfills", submit_backfills)
    return seen


REPEATED_MONTHS = [
    (["--months", "2020-03", "--months", "2020-05"], {"green 2020-03", "green 2020-05"}),
    (["--months=2020-05", "--months=2020-03,2020-04"], {"green 2020-03", "green 2020-04", "green 2020-05"}),
    (["--months", "2020-03..2020-04", "--months", "2020-04..2020-05"], {f"green 2020-0{n}" for n in (3, 4, 5)}),
    (["--months", "2020-03", "--months", "2020-3", "--months", "2021-01"], {"green 2020-03", "green 2021-01"}),
    (["--months", "2020-03, 2020-05"], {"green 2020-03", "green 2020-05"}),
    (["--month", "2020-03", "--months", "2020-5"], {"green 2020-03", "green 2020-05"}),
    (["--year", "2020", "--month", "3", "--month", "05"], {"green 2020-03", "green 2020-05"}),
    (["--year", "2019..2020", "--month", "3"], {"green 2019-03", "green 2020-03"}),
    (["--year", "2019", "--year", "2020"], {f"green {month}" for month in parse_months("2019..2020")}),
]


@pytest.mark.parametrize("command", ["materialize", "backfill"])
@pytest.mark.parametrize(("arguments", "months"), REPEATED_MONTHS)
def test_repeated_months_add_up(
    command: str,
    arguments: list[str],
    months: set[str],
    requested: list[tuple[list[str], Sequence[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several `--months` are one list, in which each month is once."""
    assert run(monkeypatch, command, "--color", "green", "--select", "clean_trips", *arguments) == 0
    [(listed, assets)] = requested
    assert (set(listed), len(listed), assets) == (months, len(months), ("clean_trips",))


@pytest.mark.parametrize(("arguments", "months"), REPEATED_MONTHS)
def test_repeated_months_add_up_in_wipe_and_sample(
    arguments: list[str],
    months: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`taxi sample` generates the months of each `--months`, and `taxi wipe` looks for them."""
    source = tmp_path / "source"
    assert run(monkeypatch, "sample", str(source), "--color", "green", "--rows", "1", *arguments) == 0
    assert {path.name for path in source.rglob("*.csv.gz")} == {
        f"green_tripdata_{month.removeprefix('green ')}.csv.gz" for month in months
    }
    capsys.readouterr()
    assert run(monkeypatch, "wipe", "--color", "green", "--yes", *arguments) == 0
    assert set(capsys.readouterr().out.splitlines()) == {f"{month}  not stored" for month in months}


@pytest.mark.parametrize("command", ["materialize", "backfill"])
def test_all_colors_are_loaded_where_none_is_given(
    command: str, requested: list[tuple[list[str], Sequence[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--color`, a month of each color that the source has is loaded."""
    for source, colors in (("mirror", ("yellow", "green", "fhv")), ("tlc", COLORS)):
        monkeypatch.setenv("TAXI_SOURCE_URL", source)
        assert run(monkeypatch, command, "--months", "2020-03", "--select", "clean") == 0
        listed, _ = requested.pop()
        assert listed == [f"{color} 2020-03" for color in colors]


def test_sample_generates_all_colors_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--color`, a month of each color is generated."""
    assert run(monkeypatch, "sample", str(tmp_path / "source"), "--months", "2020-03", "--rows", "1") == 0
    assert {path.parent.name for path in (tmp_path / "source").rglob("*.csv.gz")} == set(COLORS)


def test_wipe_needs_a_color(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--color`, nothing is deleted."""
    assert run(monkeypatch, "wipe", "--months", "2020-03", "--yes") == 2
    assert "--color" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["materialize", "backfill"])
@pytest.mark.parametrize(
    ("selections", "assets"),
    [
        (["clean_trips", "lake_trips"], ("clean_trips", "lake_trips")),
        (["postgres", "clean"], ("clean_trips", "postgres_trips")),
        (["lake_trips+", "clean_trips"], ("clean_trips", "lake_trips", "warehouse_trips")),
        (["clean_trips,lake_trips", "lake_trips", "postgres_trips"], ("clean_trips", "lake_trips", "postgres_trips")),
        (["kind:duckdb", 'key:"green/lake_trips"'], ("lake_trips", "warehouse_trips")),
    ],
)
def test_repeated_selections_add_up(
    command: str,
    selections: list[str],
    assets: tuple[str, ...],
    requested: list[tuple[list[str], Sequence[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several `--select` are one selection."""
    options = [word for selection in selections for word in ("--select", selection)]
    assert run(monkeypatch, command, "--color", "green", "--months", "2020-03", *options) == 0
    assert requested == [(["green 2020-03"], assets)]


@pytest.mark.parametrize("command", ["materialize", "backfill"])
@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["--months", "2020-03", "--select", "nothing", "--select", "clean_trips"], "invalid-selection"),
        (["--months", "2020-03", "--select", "clean_trips", "--select", "nothing"], "invalid-selection"),
        (["--months", "2020-03", "--select", "", "--select", "clean_trips"], "invalid-selection"),
        (["--months", "2020-13", "--months", "2020-03"], "unknown-month"),
        (["--months", "2020-03", "--months", "2020-13"], "unknown-month"),
    ],
)
def test_every_repeated_option_is_checked(  # noqa: PLR0913  # what a command needs
    command: str,
    arguments: list[str],
    slug: str,
    requested: list[tuple[list[str], Sequence[str]]],
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An invalid value is an error, wherever it is."""
    assert run(monkeypatch, command, "--color", "green", *arguments) == 2
    assert f"[{slug}]" in capsys.readouterr().err
    assert requested == []


def test_a_year_ends_with_the_last_partition(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a year that the source has only in part, the later months are not published."""
    arguments = "backfill --color green --months 2021 --select clean_trips --dry-run --json"
    assert run(monkeypatch, *arguments.split()) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["partitions"] == [f"green 2021-{month:02d}" for month in range(7, 0, -1)]
    assert plan["reasons"] == {f"green 2021-{month:02d}": "not published" for month in range(8, 13)}


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 1)])
def test_months_after_the_last_of_the_source_are_not_published(
    flags: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Months that the source can never have are left out in one line, without a request to the source."""
    arguments = "materialize --color yellow,fhv --months 2021-08..2021-10,2999-01"
    assert run(monkeypatch, *arguments.split(), *flags) == code
    printed = capsys.readouterr()
    assert printed.out == "not published: yellow 2021-08..2021-10,2999-01, fhv 2021-08..2021-10,2999-01\n"
    assert printed.err == ""


def test_materialize_alert_has_no_effect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`taxi materialize --alert` prints that the option has no effect, and does the same as without it."""
    assert run(monkeypatch, *["materialize", "--color", "fhv", "--months", "2999-01", "--alert"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("--alert has no effect")
    assert printed.out == "not published: fhv 2999-01\n"


def _break_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a bug to `taxi status`."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("taxi_assets.cli.status_view.print_status", broken)


def test_an_unexpected_error_is_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Any other exception exits with 1, and shows its class, its slug and the command to debug it; no traceback."""
    _break_status(monkeypatch)
    assert run(monkeypatch, "status") == 1
    message = capsys.readouterr().err
    assert message.startswith("error: KeyError: 'no such thing'\n")
    assert "bug" in message
    assert message.endswith("taxi --debug status [unexpected-error]\n")
    assert "Traceback" not in message


@pytest.mark.parametrize("damage", ["text", "page", "event"])
def test_damage_inside_the_history(
    damage: str, command_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damage that Dagster finds only after it has opened its databases has the error of a damaged history."""
    with open_instance(command_home) as opened:
        opened.add_run(dg.DagsterRun("load_fhv", status=dg.DagsterRunStatus.STARTED))
        opened.report_runless_asset_event(dg.AssetMaterialization(["fhv", "raw_trips"], partition="2021-01"))
    if damage == "event":  # its JSON is valid, but is not an event
        with closing(sqlite3.connect(command_home / "dagster/history/runs/index.db")) as database, database:
            database.execute("UPDATE event_logs SET event = '{\"dagster_event\": []}'")
    path = command_home / "dagster/history/runs.db"
    with closing(sqlite3.connect(path)) as database, database:
        if damage == "text":
            database.execute("UPDATE runs SET run_body = '{'")
        [[page]] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'kvs'")
    if damage == "page":
        with path.open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"damage" * 500)
    assert run(monkeypatch, "status") == 1
    message = capsys.readouterr().err
    assert str(command_home / "dagster") in message
    assert message.endswith("[damaged-history]\n")


def test_debug_shows_the_traceback_of_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--debug`, the traceback is above the message, and the command in the message has `--debug` once."""
    _break_status(monkeypatch)
    assert run(monkeypatch, "--debug", "status") == 1
    message = capsys.readouterr().err
    assert message.index("Traceback") < message.index("in broken") < message.index("error: KeyError")
    assert message.endswith("taxi --debug status [unexpected-error]\n")


def test_debug_shows_the_facts_of_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--debug`, an error of this project also shows its traceback, its slug and its facts."""
    arguments = ("materialize", "--color", "green", "--months", "2021-13")
    assert run(monkeypatch, "--debug", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert {"error: unknown-month", "seen: 2021-13"} <= set(lines)
    assert lines[-1].endswith("[unknown-month]")
    assert run(monkeypatch, *arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_invalid_setting_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid setting stops every command before it does anything."""
    monkeypatch.setenv("TAXI_REJECT_LIMIT", "many")
    assert run(monkeypatch, "status") == 2
    message = capsys.readouterr().err
    assert "TAXI_REJECT_LIMIT" in message
    assert "[invalid-setting]" in message


def test_an_unknown_setting(
    command_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A `TAXI_` name that is not a setting is a warning in the environment, and stops every command in `.env`."""
    arguments = ("materialize", "--color", "fhv", "--months", "2999-01")
    monkeypatch.setenv("TAXI_UNKNOWN_IN_A_COMMAND", "x")
    assert run(monkeypatch, *arguments) == 0
    assert "2999-01" in capsys.readouterr().out
    assert caplog.text.count("TAXI_UNKNOWN_IN_A_COMMAND") == 1
    (command_home.parent / ".env").write_text("TAXI_REJECT_LIMT=0.1\n")
    assert run(monkeypatch, *arguments) == 2
    message = capsys.readouterr().err
    assert [
        part for part in ("TAXI_REJECT_LIMT", "TAXI_REJECT_LIMIT", "[unknown-setting]") if part not in message
    ] == []


@pytest.mark.parametrize(
    ("setting", "slug"),
    [
        ("TAXI_LAKE_URL=s3://bucket", "invalid-lake-url"),
        ("TAXI_WAREHOUSE_URL=sqlite:///x", "invalid-warehouse-url"),
        ("TAXI_SOURCE_URL=ftp://x", "invalid-source-url"),
    ],
)
def test_a_url_of_an_unknown_system_is_invalid(
    setting: str,
    slug: str,
    command_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A URL of a system that is not supported is an error, before a month is downloaded."""
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    for arguments in ("materialize --color fhv --months 2021-01", "doctor"):
        assert run(monkeypatch, *arguments.split()) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert name in message
        assert value.partition(":")[0] in message
        assert f"[{slug}]" in message
    assert not (command_home / "raw").exists()


@pytest.mark.parametrize("setting", ["TAXI_FIRST_MONTH=2999-01", "TAXI_LAST_MONTH=2018-06"])
def test_bounds_without_a_month_are_an_error(
    setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the bounds leave no partition, the error shows the setting and its value. `taxi status` still works."""
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 2
    message = capsys.readouterr().err
    assert [part for part in (name, value, "[not-a-partition]") if part not in message] == []
    assert run(monkeypatch, "status") == 0


@pytest.mark.parametrize("arguments", ["materialize --color fhv --months 2020-02", "status", "demo"])
def test_a_home_that_is_a_file_is_an_error(
    arguments: str, command_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If TAXI_HOME is a file, every command that needs it shows its path."""
    command_home.touch()
    assert run(monkeypatch, *arguments.split()) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert re.search(rf"{command_home}(?![/\w])", message)
    assert f"[{errors.WrongFileType.slug}]" in message
    assert "Traceback" not in message


def test_a_deployment_runs_months_with_its_daemon(
    command_home: Path, empty_history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If runs are containers, `taxi materialize` is an error, and it and `taxi status` show `taxi backfill`."""
    shutil.copytree(empty_history, command_home / "dagster")
    (command_home / "dagster" / "dagster.yaml").write_text(
        "run_launcher: {module: dagster_docker, class: DockerRunLauncher}\ntelemetry: {enabled: false}\n"
    )
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 1
    message = capsys.readouterr().err
    assert [part for part in ("DockerRunLauncher", "taxi backfill", "[runs-elsewhere]") if part not in message] == []
    assert run(monkeypatch, "status") == 0
    printed = capsys.readouterr().out
    assert "taxi backfill" in printed
    assert "taxi materialize" not in printed


@pytest.mark.parametrize("text", ["[/x]", "[bold]x[/bold]", "[red]"])
def test_query_results_keep_brackets(
    text: str, command_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets in a result are shown in a table, in CSV and in JSON: they are not markup."""
    import duckdb

    command_home.mkdir()
    duckdb.connect(command_home / "warehouse.duckdb").close()
    for flags in ([], ["--csv"], ["--json"]):
        assert run(monkeypatch, "query", *flags, f"SELECT '{text}' AS \"[b]\"") == 0
        printed = capsys.readouterr().out
        assert text in printed
        assert "[b]" in printed


def test_a_query_without_a_warehouse_shows_how_to_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A query before the first load is an error with the command that loads a month."""
    assert run(monkeypatch, "query", "SELECT 1") == 1
    message = capsys.readouterr().err
    assert "taxi materialize" in message
    assert "[nothing-loaded]" in message


def test_samples_have_the_layout_of_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi sample` writes the files that a source has, with the given number of rows."""
    arguments = ["--color", "green", "--color", "fhv", "--months", "2021-01..2021-02", "--rows", "50"]
    assert run(monkeypatch, "sample", str(tmp_path / "source"), *arguments) == 0
    source = tmp_path / "source"
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.csv.gz"))
    assert files == [f"{color}/{color}_tripdata_2021-0{month}.csv.gz" for color in ("fhv", "green") for month in (1, 2)]
    with gzip.open(source / files[0], "rt") as file:
        assert len(file.readlines()) == 51
    assert capsys.readouterr().out.count("50 rows") == 4


def test_samples_need_a_range_with_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sample months have no first and last partition, so a range needs a start and an end."""
    arguments = ["sample", str(tmp_path / "source"), "--color", "green", "--months", "2021-06.."]
    assert run(monkeypatch, *arguments) == 2
    message = capsys.readouterr().err
    assert '"2021-06.."' in message
    assert "[unknown-month]" in message
    assert not (tmp_path / "source").exists()


def test_dev_rejects_an_invalid_notification_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi dev` does not start with a URL that Apprise cannot parse, and does not show the URL."""
    monkeypatch.setenv("TAXI_ALERT_URLS", "slack://s3cr3t")
    assert run(monkeypatch, "dev") == 2
    message = capsys.readouterr().err
    assert "[invalid-notification-url]" in message
    assert "s3cr3t" not in message


@pytest.mark.parametrize(
    ("host", "configured", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:{port}"),
        ("127.0.0.1", "https://ui.example.org", "https://ui.example.org"),
        ("localhost", "", "http://localhost:{port}"),
        ("0.0.0.0", "", f"http://{socket.gethostname()}:{{port}}"),  # noqa: S104  # what users may choose
        ("::", "", f"http://{socket.gethostname()}:{{port}}"),
        ("::1", "", "http://[::1]:{port}"),
    ],
)
def test_links_in_notifications_lead_to_the_ui(
    host: str, configured: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`taxi dev` passes the address of its UI to the daemon, unless TAXI_UI_URL is set.

    For a UI that listens on all interfaces, it is the name of the machine.
    """
    started: list[dict[str, str]] = []
    monkeypatch.setattr("os.execve", lambda _program, _arguments, environment: started.append(environment))
    monkeypatch.setenv("TAXI_UI_URL", configured)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr("taxi_assets.stores.ports.require_free_port", lambda *_, **__: None)  # not all have IPv6
    run(monkeypatch, "dev", "--host", host, "--port", str(port))
    assert started[0]["TAXI_UI_URL"] == url.format(port=port)


@pytest.mark.parametrize(
    "command",
    [
        "materialize --months 2020",
        "materialize --months 2020 --dry-run",
        "backfill --months 2020",
        "backfill --months 2020 --dry-run --json",
    ],
)
def test_a_source_whose_host_has_no_address_is_one_quick_error(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host is looked up once, before any request and any run, and the error has its name."""
    names = fail_to_resolve(monkeypatch)
    monkeypatch.setenv("TAXI_SOURCE_URL", "https://nowhere.invalid/files")
    assert run(monkeypatch, *command.split()) == 1
    message = capsys.readouterr().err
    assert '"nowhere.invalid"' in message
    assert "[source-host-not-found]" in message
    assert names == ["nowhere.invalid"]


def test_a_dry_run_of_materialize_loads_nothing(
    command_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi materialize --dry-run` shows the months that would be loaded, and the others with the reason."""
    publish(tmp_path / "source", TripMonth("green", "2020-01"), 5)
    publish(tmp_path / "source", TripMonth("fhv", "2020-02"), 5)
    monkeypatch.setenv("TAXI_SOURCE_URL", str(tmp_path / "source"))
    assert (
        run(monkeypatch, *["materialize", "--color", "green,fhv", "--year", "2020", "--month", "1,2", "--dry-run"]) == 0
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("2 partitions, 2 runs, ")
    assert printed[0].endswith(" MB:")
    assert printed[1:3] == ["  green 2020-01", "  fhv 2020-02"]
    assert "not published" in " ".join(printed[3:])
    assert not (command_home / "raw").exists()
    assert run(monkeypatch, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_dry_run_of_an_invalid_selection_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options of a dry run are checked like those of a load."""
    assert run(monkeypatch, *["materialize", "--months", "2020-01", "--select", "nothing", "--dry-run"]) == 2
    assert "[invalid-selection]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["raw", "clean", "lake", "warehouse", "postgres"])
@pytest.mark.parametrize("command", ["materialize", "backfill"])
def test_assets_have_short_names(
    command: str,
    name: str,
    requested: list[tuple[list[str], Sequence[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--select lake` is `--select lake_trips`, for each asset."""
    if name == "raw":
        monkeypatch.setattr("taxi_assets.stores.source.months.Source.look_up", lambda *_: _VERSION)
        monkeypatch.setattr("taxi_assets.stores.source.months.Source.require_host", lambda _: None)
    assert run(monkeypatch, command, "--color", "green", "--months", "2020-03", "--select", name) == 0
    assert requested == [(["green 2020-03"], (f"{name}_trips",))]


_VERSION = SourceVersion(Version('"v1"'), 7)
