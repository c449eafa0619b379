"""The README starts with what the project is, and its commands can be copied."""

import re

from taxi_assets.cli.main import taxi
from taxi_assets_tests.docs.pages import PROJECT, README

TEXT = README.read_text()
LINES = TEXT.splitlines()
RECORDING = PROJECT / "docs" / "images" / "session.svg"

RECORDING_BYTES = 300_000
"""Size limit of the recording, because every clone contains all versions of it."""


def test_the_first_sentence_explains_the_name() -> None:
    """The text after the heading is one paragraph, which spells out the TLC."""
    paragraph = TEXT.split("\n\n")[1]
    assert " ".join(paragraph.split()).count("Taxi and Limousine Commission (TLC)") == 1


def test_each_command_has_its_own_line() -> None:
    """After cloning, two commands load sample trips and open the UI. Each has a line of its own and can be copied."""
    assert {"git clone URL taxi_assets", "cd taxi_assets", "make demo", ".venv/bin/taxi dev"} <= set(LINES)
    assert set(re.findall(r"\.venv/bin/taxi (\w+)", TEXT)) <= set(taxi.commands)


def test_the_recording_is_small_and_complete() -> None:
    """The README shows the recording, which is small and loads nothing from other servers."""
    assert f"({RECORDING.relative_to(PROJECT).as_posix()})" in TEXT
    assert RECORDING.stat().st_size < RECORDING_BYTES
    links = re.findall(r"""(?:href|src)=["']([^"']+)|url\(([^)]+)\)""", RECORDING.read_text())
    assert all(link.startswith("#") for pair in links for link in pair if link)
