"""The `taxi` command's words: its help, its mistakes, its exit status. What it does is tried in `end_to_end`."""

import gc
import gzip
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taxi_assets import settings as settings_module
from taxi_assets.cli.main import taxi
from taxi_assets_tests.program import run_here as run


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own, no `.env`; and a process that outlives its command, which some commands do not expect."""
    monkeypatch.setattr(settings_module, "DOTENV", tmp_path / ".env")
    # `taxi demo` sets every setting, for a process that ends with it.
    before = dict(os.environ)
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))
    yield
    os.environ.clear()
    os.environ.update(before)
    gc.enable()


@pytest.mark.parametrize("command", sorted(taxi.commands))
def test_every_command_has_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says what it does in a line, gives examples, and says what each of its options means."""
    assert run(monkeypatch, command, "--help") == 0
    said = capsys.readouterr().out
    assert f"Usage: taxi {command}" in said
    help_text = taxi.commands[command].help or ""
    assert help_text.partition("\n")[0].endswith(".")
    options = [parameter for parameter in taxi.commands[command].params if isinstance(parameter, click.Option)]
    assert all(option.help for option in options)
    # The lines of examples are not run together.
    assert not options or f"\n    taxi {command}" in said
    assert "\b" not in said


def test_the_help_of_all_leads_from_first_steps_to_rare_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taxi --help` lists the commands in the order that people meet them, and says where settings are told."""
    assert run(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    listed = said.partition("Commands:\n")[2]
    places = [listed.index(f"\n  {name} ") if name != "demo" else listed.index("  demo ") for name in _ORDER]
    assert places == sorted(places)
    assert "docs/settings.md" in said
    assert "Exit status" in said


_ORDER = ("demo", "materialize", "status", "query", "dev", "stop", "sample")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--color", "purple", "--months", "2021-01"], '"purple" is not a color of taxi trips. Use yellow, green, fhv'),
        (["--color", "yelow", "--months", "2021-01"], "Did you mean yellow?"),
        (["--color", "", "--months", "2021-01"], "names no color. Use yellow, green, fhv or all"),
        (["--color", "green", "--months", "2021-13"], '"2021-13" is not a valid month. Months are 01 to 12'),
        (["--color", "green", "--months", "January"], "Use YYYY-MM, for example 2021-01."),
        (["--color", "green", "--months", ""], "names no month"),
        (["--color", "green", "--months", "2021-03..2021-01"], "Use 2021-01..2021-03"),
        (["--color", "green", "--months", "2021-09.."], "The first is 2019-01, the last 2021-07"),
        (["--color", "green", "--months", ".."], "is not a range of months"),
        (["--color", "green", "--months", "2018-12"], "The partitions of green go from 2019-01"),
        (["--color", "green", "--months", "2021-01", "--select", "nothing"], "the selection 'nothing'"),
        (["--color", "green"], "Missing option '--months'"),
        (["--color", "green", "--months", "2021-01", "--workers", "0"], "0 is not in the range x>=1"),
        (["--color", "green", "--months", "2021-01", "--rows", "7"], "No such option"),
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


@pytest.mark.parametrize(
    ("command", "said"),
    [("statsu", "Did you mean status?"), ("frobnicate", "The commands are demo, materialize, backfill, status")],
)
def test_an_unknown_command_names_those_that_are(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that does not exist ends with status 2 and the one that was meant, or all of them."""
    assert run(monkeypatch, command) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "months"),
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
    ],
)
def test_typed_months_and_colors(
    words: str, months: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colors in any letter case, by commas or options; months as years and ranges; `--months` twice adds up."""
    # Without raw_trips the source is not asked.
    assert run(monkeypatch, *f"backfill {words} --select clean_trips --dry-run --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["partitions"] == months


def test_a_year_ends_with_the_last_partition(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a year that the source does not have to its end, the months after are not published."""
    words = "backfill --color green --months 2021 --select clean_trips --dry-run --json"
    assert run(monkeypatch, *words.split()) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["partitions"] == [f"green 2021-{month:02d}" for month in range(7, 0, -1)]
    assert plan["reasons"] == {f"green 2021-{month:02d}": "not published" for month in range(8, 13)}


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--strict"], 1)])
def test_months_after_the_last_of_the_source_are_not_published(
    flags: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Months that the source can never have are left out in one line, without asking it."""
    words = "materialize --color yellow,fhv --months 2021-08..2021-10,2999-01"
    assert run(monkeypatch, *words.split(), *flags) == status
    printed = capsys.readouterr()
    assert printed.out == "not published: yellow 2021-08..2021-10,2999-01, fhv 2021-08..2021-10,2999-01\n"
    assert printed.err == ""


def _break_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage a bug in `taxi status`."""

    def broken(*_: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("taxi_assets.cli.status_view.print_status", broken)


def test_a_bug_is_called_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What the project does not raise on purpose ends with status 1, its class, and how to see where; no traceback."""
    _break_status(monkeypatch)
    assert run(monkeypatch, "status") == 1
    said = capsys.readouterr().err
    assert "error: KeyError: 'no such thing'" in said
    assert "a bug of taxi, or a fault of the machine. To see where: taxi --debug status" in said
    assert "Traceback" not in said


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With --debug the traceback comes before the message, of bugs and of the project's own errors alike."""
    _break_status(monkeypatch)
    assert run(monkeypatch, "--debug", "status") == 1
    said = capsys.readouterr().err
    assert said.index("Traceback") < said.index("in broken") < said.index("error: KeyError")
    assert run(monkeypatch, "--debug", "materialize", "--color", "green", "--months", "2021-13") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_setting_ends_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be used stops every command before it does anything."""
    monkeypatch.setenv("TAXI_REJECT_LIMIT", "lots")
    assert run(monkeypatch, "status") == 2
    assert "TAXI_REJECT_LIMIT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("TAXI_LAKE_URL=s3://bucket", "TAXI_LAKE_URL"),
        ("TAXI_WAREHOUSE_URL=sqlite:///x", "TAXI_WAREHOUSE_URL"),
        ("TAXI_SOURCE_URL=ftp://x", "the source's address"),
    ],
)
def test_a_place_that_is_none_is_said_before_anything_runs(
    setting: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A URL of a system that is not known is a wrong setting, found before a month is fetched."""
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    for words in ("materialize --color fhv --months 2021-01", "doctor"):
        assert run(monkeypatch, *words.split()) == 2
        message = capsys.readouterr().err
        assert message.startswith(f"error: {said}")
        assert value.partition(":")[0] in message
    assert not (tmp_path / "home" / "raw").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("TAXI_FIRST_MONTH=2999-01", "2999-01 (TAXI_FIRST_MONTH)"),
        ("TAXI_LAST_MONTH=2018-06", "2018-06 (TAXI_LAST_MONTH)"),
    ],
)
def test_bounds_that_leave_no_month_are_named(
    setting: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the first month is not over, or the last one is before it, the error has the setting and its value.

    What is loaded is shown all the same.
    """
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 2
    assert said in capsys.readouterr().err
    assert run(monkeypatch, "status") == 0


@pytest.mark.parametrize("words", ["materialize --color fhv --months 2020-02", "status", "demo"])
def test_a_home_that_cannot_be_made_is_said(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the home should be is named by every command that needs a home."""
    (tmp_path / "home").touch()
    assert run(monkeypatch, *words.split()) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert f"{tmp_path / 'home'} is a file" in message
    assert "Traceback" not in message
    assert "bug" not in message


def test_in_a_deployment_months_are_the_daemons(
    tmp_path: Path, empty_history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where runs are containers, `taxi materialize` refuses, and both it and `taxi status` name the command to use."""
    shutil.copytree(empty_history, tmp_path / "home" / "dagster")
    (tmp_path / "home" / "dagster" / "dagster.yaml").write_text(
        "run_launcher: {module: dagster_docker, class: DockerRunLauncher}\ntelemetry: {enabled: false}\n"
    )
    assert run(monkeypatch, "materialize", "--color", "fhv", "--months", "2021-01") == 1
    assert "started by its daemon (DockerRunLauncher)" in capsys.readouterr().err
    assert run(monkeypatch, "status") == 0
    assert capsys.readouterr().out == "Nothing is loaded yet: taxi backfill takes real ones\n"


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


def test_a_sample_has_no_first_and_last_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made-up months have no partitions, so that a range needs both ends."""
    words = ["sample", str(tmp_path / "made"), "--color", "green", "--months", "2021-06.."]
    assert run(monkeypatch, *words) == 2
    assert "Use START..END" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "urls", "said"),
    [
        ("materialize --color fhv --months 2021-01 --alert", "", "TAXI_ALERT_URLS is not set"),
        ("materialize --color fhv --months 2021-01 --alert", "slack://s3cr3t", "cannot be read as slack"),
        ("dev", "slack://s3cr3t", "cannot be read as slack"),
    ],
    ids=["unset", "unreadable", "unreadable by the daemon"],
)
def test_alerts_that_have_nowhere_to_go_are_a_wrong_setting(
    words: str, urls: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything runs, channels that cannot be read are told, without showing them; `--alert` needs some."""
    monkeypatch.setenv("TAXI_ALERT_URLS", urls)
    assert run(monkeypatch, *words.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "s3cr3t" not in told


@pytest.mark.parametrize(
    ("host", "set_to", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:{port}"),
        ("127.0.0.1", "https://ui.example.org", "https://ui.example.org"),
        ("localhost", "", "http://localhost:{port}"),
        ("0.0.0.0", "", f"http://{socket.gethostname()}:{{port}}"),  # noqa: S104  # as people do
        ("::", "", f"http://{socket.gethostname()}:{{port}}"),
        ("::1", "", "http://[::1]:{port}"),
    ],
)
def test_links_in_alerts_lead_to_the_ui_that_is_started(
    host: str, set_to: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`taxi dev` tells the daemon where people find the UI, unless TAXI_UI_URL does.

    One that listens on all addresses is found by the machine's name.
    """
    started: list[dict[str, str]] = []
    monkeypatch.setattr("os.execve", lambda _program, _words, environment: started.append(environment))
    monkeypatch.setenv("TAXI_UI_URL", set_to)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr("taxi_assets.stores.ports.require_free_port", lambda *_, **__: None)  # not all have IPv6
    run(monkeypatch, "dev", "--host", host, "--port", str(port))
    assert started[0]["TAXI_UI_URL"] == url.format(port=port)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("backfill --color green", "Missing option '--months'."),
        ("backfill --months 2020-01", "Missing option '--color'."),
        ("backfill --color green --months 2020-01 --missing --failed", "--missing and --failed do not go together"),
        ("backfill --color green --months 2020-01 --wait --json", "--wait and --json do not go together"),
        ("backfill --cancel x --dry-run", "--cancel and --dry-run do not go together"),
        ("backfill --cancel x --months 2020-01", "--cancel and --months do not go together"),
        ("backfill --resume x --missing", "--resume and --missing do not go together"),
        ("backfill --resume x --resume y --color green", "--resume and --color do not go together"),
        ("backfill --resume x --cancel y", "--cancel and --resume do not go together"),
    ],
)
def test_words_of_a_backfill_that_make_no_sense(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backfill whose words are missing, or contradict each other, is refused before anything is asked."""
    assert run(monkeypatch, *words.split()) == 2
    assert said in capsys.readouterr().err
