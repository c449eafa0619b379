"""`make test-faults` kills loads at functions of the program, and files that `make test-fuzz` found stay harmless."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from taxi_assets_tests.docs.pages import PROJECT


def test_points_exist() -> None:
    """Each point at which a load is killed, and each fault that is put in, is a function of the program."""
    words = [sys.executable, str(PROJECT / "faults" / "faults.py"), "--list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert steps == {"raw", "clean", "lake", "warehouse", "postgres", "event"}


def test_every_file_of_the_corpus_is_cleaned_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is an error, or is cleaned to rows that an independent reader finds too. The seeds are cleaned."""
    monkeypatch.syspath_prepend(PROJECT / "faults")
    read = import_module("reader").read
    paths = sorted((PROJECT / "faults" / "corpus").glob("*/*"))
    refused = {path.name: slug for path in paths if (slug := read(path.parent.name, path.read_bytes(), tmp_path))}
    assert len(paths) > len(refused)
    assert not [name for name in refused if name.startswith("seed-")]
