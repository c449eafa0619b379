"""Fixtures of the tests that run `taxi` in this process."""

import gc
import os
from collections.abc import Iterator
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
