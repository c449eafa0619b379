"""The project's own programs, run as people run them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from taxi_assets.cli.main import main

BIN = Path(sys.executable).parent


def run(*words: str, settings: Mapping[str, str], folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A program of this environment, ended; `settings` come to those of this process, `folder` is where it runs."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def run_here(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `taxi` with these words, run in this process."""
    monkeypatch.setattr(sys, "argv", ["taxi", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run_well(*words: str, settings: Mapping[str, str], folder: Path | None = None) -> str:
    """What a program prints, when it succeeds."""
    done = run(*words, settings=settings, folder=folder)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout
