"""Fixtures of the tests that run `taxi` in this process."""

import gc
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taxi_assets import settings


@pytest.fixture
def command_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A TAXI_HOME that does not exist yet, and no `.env`. At the end, it undoes what commands change in the process."""
    monkeypatch.setattr(settings, "DOTENV", tmp_path / ".env")
    # `taxi demo` sets every setting in the environment.
    before = dict(os.environ)
    monkeypatch.setenv("TAXI_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)
    gc.enable()


class _Screen(io.StringIO):
    """A terminal that keeps its output."""

    def isatty(self) -> bool:
        return True


Terminal = Callable[[int, int], io.StringIO]
"""Replaces standard output by a terminal of a width and a height, and returns it."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replace standard output by a terminal without colors, of a width and a height."""

    def replace(width: int, height: int) -> io.StringIO:
        screen = _Screen()
        monkeypatch.setattr("sys.stdout", screen)
        for name, value in {"COLUMNS": str(width), "LINES": str(height), "TERM": "dumb", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        return screen

    return replace
