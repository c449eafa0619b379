"""Runs the project's programs as users do, or `taxi` in this process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from taxi_assets.cli.main import main

BIN = Path(sys.executable).parent
"""The folder of this environment's programs."""


def run(*words: str, settings: Mapping[str, str], folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a program of this environment in `folder` until it exits. `settings` are added to this environment."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def run_here(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run `taxi` with these arguments in this process, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["taxi", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run_well(*words: str, settings: Mapping[str, str], folder: Path | None = None) -> str:
    """Run a program that must succeed, and return its output."""
    done = run(*words, settings=settings, folder=folder)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout
