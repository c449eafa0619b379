"""The README's session prints what it shows, and its two commands can be copied."""

from pathlib import Path

from taxi_assets_tests.docs.pages import README, run_session, session_of


def test_the_session_prints_what_the_page_shows(tmp_path: Path) -> None:
    """Run in order, each command of the session succeeds with the output that the README shows."""
    steps = session_of(README)
    assert len(steps) > 5
    run_session(steps, tmp_path)


def test_each_of_the_two_commands_has_its_own_line() -> None:
    """`make demo` and `make test` have lines of their own, so that they can be copied."""
    assert {"make demo", "make test"} <= set(README.read_text().splitlines())
