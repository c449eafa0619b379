"""The README's session prints what it shows, and its two commands can be copied."""

from pathlib import Path

from taxi_assets_tests.docs.pages import README, session_of, type_session


def test_the_session_prints_what_the_page_shows(tmp_path: Path) -> None:
    """Run in order, each command of the session succeeds with the output that the README shows."""
    steps = session_of(README)
    assert len(steps) > 5
    type_session(steps, tmp_path)


def test_the_two_commands_are_alone_on_a_line() -> None:
    """Each of the two commands has a line of its own, to copy."""
    assert {"make demo", "make test"} <= set(README.read_text().splitlines())
