"""What `taxi` suggests for commands, options and words that do not exist."""

import pytest

from taxi_assets_tests.program import run_here as run

pytestmark = pytest.mark.usefixtures("command_home")


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("materialize --colour green", "Did you mean --color?"),
        ("materialize --service green", "Did you mean --color?"),
        ("sample folder --taxi green", "Did you mean --color?"),
        ("materialize --date 2020-04", "Did you mean --months?"),
        ("backfill --mnths 2020-04", "Did you mean --months?"),
        ("wipe --years 2020", "Did you mean --year?"),
        ("materialize --from 2020-03 --to 2020-07", "Did you mean --months 2020-03..2020-07?"),
        ("backfill --end=2020-07", "Did you mean --months 2020-03..2020-07?"),
        ("materialize --force", "Did you mean --fresh or --overwrite?"),
        ("wipe --force", "Did you mean --yes?"),
        ("wipe -y", "Did you mean --yes?"),
        ("materialize -j 3", "Did you mean --workers?"),
        ("materialize --parallel 3", "Did you mean --workers?"),
        ("backfill --assets lake", "Did you mean --select?"),
        ("materialize --preview", "Did you mean --dry-run?"),
        ("query --format json x", "Did you mean --json or --csv?"),
        ("status --output json", "Did you mean --json?"),
        ("backfill list --output json", "Did you mean --json?"),
        ("materialize --debug", "taxi --debug materialize"),
        ("backfill list --debug", "taxi --debug backfill list"),
        ("stop --verbose", "taxi --debug stop"),
        ("--verbose status", "taxi --debug COMMAND"),
        ("dev --frobnicate", "The options are --host, --port, --help."),
        ("stop --frobnicate", "The options are --help."),
        ("load", "Did you mean materialize?"),
        ("ui", "Did you mean dev?"),
        ("help", "Did you mean --help?"),
        ("materialize green 2020-04", "Did you mean --color green --months 2020-04?"),
        ("materialize Green, yellow 2020", "Did you mean --color Green,yellow --months 2020?"),
        ("materialize --months 2020-04 2020-05", "Did you mean --months 2020-04,2020-05?"),
        ("wipe --color green yellow --months 2020", "Did you mean --color green,yellow --months 2020?"),
    ],
)
def test_suggest_what_was_probably_meant(
    arguments: str, suggestion: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name of another program is mapped to the one that the command has; others by similarity. It exits with 2."""
    assert run(monkeypatch, *arguments.split()) == 2
    message = capsys.readouterr().err
    assert suggestion in message
    assert "Usage: taxi" in message


@pytest.mark.parametrize("arguments", ["materialize folder", "stop green", "materialize --months 2020 green.csv"])
def test_suggest_nothing_for_other_words(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word that is neither a color nor a month is an error without a suggestion."""
    assert run(monkeypatch, *arguments.split()) == 2
    message = capsys.readouterr().err
    assert "unexpected extra argument" in message
    assert "Did you mean" not in message
