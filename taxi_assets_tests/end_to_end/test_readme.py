"""The README's session prints what it says, and its commands exist."""

from pathlib import Path

from taxi_assets_tests.docs.pages import README, session_of, type_session


def test_the_session_prints_what_it_says(tmp_path: Path) -> None:
    """Typed in order, each command of the session succeeds with the output that the README shows."""
    steps = session_of(README)
    assert len(steps) > 5
    type_session(steps, tmp_path)


def test_the_two_commands_are_alone_on_a_line() -> None:
    """A newcomer can copy both commands as they stand."""
    assert {"make demo", "make test"} <= set(README.read_text().splitlines())
