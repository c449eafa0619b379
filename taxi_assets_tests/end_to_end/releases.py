"""Earlier releases, each installed from this repository into an environment of its own, for the tests of upgrades."""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from taxi_assets_tests.docs.pages import PROJECT

COMMITS: Mapping[str, str] = MappingProxyType(
    {
        "0.1.0": "2bc9e680b36d7e77add04a8fe91ee195b4360375",
        "0.2.0.dev": "98f23b647e642fc910f342bcd1a3ad9e5114441c",
    }
)
"""The last commit of each release whose homes this release must be able to open. Add each new release here.

0.2.0.dev was not released. It is the first state with assets for each color, before it could read Parquet files.
"""

_FOLDER = PROJECT / "build" / "releases"


@dataclass(frozen=True)
class Release:
    """The version of an installed release, and the folder of its code, which contains its environment `.venv`."""

    version: str
    folder: Path

    @property
    def taxi(self) -> Path:
        """The program `taxi` of this release."""
        return self.folder / ".venv" / "bin" / "taxi"


def unpack(version: str) -> Path:
    """Return the folder of `build` with the code of a release, and unpack the code if it is not there.

    Skips the test if the history of this checkout does not have the commit.
    """
    folder = _FOLDER / version
    unpacked = folder / ".unpacked"
    if not unpacked.exists() or unpacked.read_text() != COMMITS[version]:
        _unpack(COMMITS[version], folder)
        unpacked.write_text(COMMITS[version])
    return folder


def install(version: str) -> Release:
    """Install a release with the constraints of its commit into the folder of its code, unless it is installed already.

    Skips the test if the code is not available, or if the packages cannot be installed.
    """
    folder = unpack(version)
    installed = folder / ".venv" / "installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=folder, check=True, capture_output=True)
        pip = (".venv/bin/pip", "install", "--quiet", "--disable-pip-version-check")
        done = subprocess.run(
            [*pip, "--constraint", "constraints.txt", "--editable", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"the packages of {version} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        installed.touch()
    return Release(version, folder)


def _unpack(commit: str, folder: Path) -> None:
    """Replace a folder with the files of a commit. Skips the test if there is no history with this commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed, and the code of earlier releases is in the history")
    done = subprocess.run(["git", "archive", commit], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the history does not contain the commit {commit}. To fetch it, run: git fetch --unshallow")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
