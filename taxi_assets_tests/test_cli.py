"""The `taxi` command's words: its help, its mistakes, its exit status. What it does is tried in `end_to_end`."""

import gzip
import sys
from pathlib import Path

import click
import pytest

from taxi_assets import settings as settings_module
from taxi_assets.cli import main, taxi


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, no `.env`."""
    monkeypatch.setattr(settings_module, "DOTENV", tmp_path / ".env")
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit status of `taxi` with these words."""
    monkeypatch.setattr(sys, "argv", ["taxi", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("command", sorted(taxi.commands))
def test_every_command_has_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says what it does, and what each of its options means."""
    assert run(monkeypatch, command, "--help") == 0
    assert taxi.commands[command].help
    for parameter in taxi.commands[command].params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
    assert "Usage: taxi" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--color", "purple", "--months", "2021-01"], "'yellow', 'green', 'fhv'"),
        (["--color", "green", "--months", "2021-13"], "month '2021-13' is no month: write it as YYYY-MM"),
        (["--color", "green", "--months", "2021-03..2021-01"], "write 2021-01..2021-03"),
        (["--color", "green", "--months", "2018-12"], "The months go from 2019-01"),
        (["--color", "green", "--months", "2999-01"], "the last whole one"),
        (["--color", "green", "--months", "2021-01", "--select", "nothing"], "the selection 'nothing'"),
        (["--color", "green"], "Missing option '--months'"),
    ],
)
def test_wrong_arguments_end_with_status_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be meant is said in one message, with what could be, and nothing is run."""
    assert run(monkeypatch, "materialize", *words) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_a_wrong_setting_ends_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be used stops every command before it does anything."""
    monkeypatch.setenv("TAXI_REJECT_LIMIT", "lots")
    assert run(monkeypatch, "status") == 2
    assert "TAXI_REJECT_LIMIT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("TAXI_LAKE_URL", "s3://bucket"), ("TAXI_WAREHOUSE_URL", "sqlite:///x"), ("TAXI_SOURCE_URL", "ftp://x")],
)
def test_a_place_that_is_none_is_said_before_anything_runs(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A URL of a system that is not known is a wrong setting, found before a month is fetched."""
    monkeypatch.setenv(name, value)
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 2
    assert value.partition(":")[0] in capsys.readouterr().err
    assert not (tmp_path / "home" / "raw").exists()


def test_a_first_month_to_come_leaves_no_month(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where even the first month is not over, that is what is said."""
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2999-01")
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 2
    assert "TAXI_FIRST_MONTH=2999-01 is not over yet" in capsys.readouterr().err


def test_a_home_that_cannot_be_made_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A home in the place of a file ends in a message with its path."""
    (tmp_path / "home").touch()
    assert run(monkeypatch, "status") == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert str(tmp_path / "home") in message


@pytest.mark.parametrize("text", ["[/x]", "[bold]x[/bold]", "[red]"])
def test_an_answer_is_shown_as_it_is(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets in an answer are brackets, in a table as in CSV and JSON."""
    import duckdb

    (tmp_path / "home").mkdir()
    duckdb.connect(tmp_path / "home" / "warehouse.duckdb").close()
    for flags in ([], ["--csv"], ["--json"]):
        assert run(monkeypatch, "query", *flags, f"SELECT '{text}' AS \"[b]\"") == 0
        printed = capsys.readouterr().out
        assert text in printed
        assert "[b]" in printed


def test_asking_an_empty_warehouse_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A question before anything is loaded is answered with the command that loads."""
    assert run(monkeypatch, "query", "SELECT 1") == 1
    assert "taxi materialize" in capsys.readouterr().err


def test_a_sample_is_laid_out_as_the_source_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi sample` makes the files that a source of that folder is asked for, with the rows asked for."""
    words = ["sample", str(tmp_path / "made"), "--color", "green", "--color", "fhv", "--months", "2021-01..2021-02"]
    assert run(monkeypatch, *words, "--rows", "50") == 0
    files = sorted(path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*.csv.gz"))
    assert files == [f"{color}/{color}_tripdata_2021-0{month}.csv.gz" for color in ("fhv", "green") for month in (1, 2)]
    with gzip.open(tmp_path / "made" / files[0], "rt") as file:
        assert len(file.readlines()) == 51
    assert capsys.readouterr().out.count("50 rows") == 4
