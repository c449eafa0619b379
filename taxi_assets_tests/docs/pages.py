"""The pages of the documentation, and a shell that runs their sessions, for the tests of the README and the docs."""

import doctest
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from taxi_assets_tests.program import BIN

PROJECT = Path(__file__).parent.parent.parent
README = PROJECT / "README.md"
CONTRIBUTING = PROJECT / "CONTRIBUTING.md"
QUERY = PROJECT / "docs" / "query.md"
EXTEND = PROJECT / "docs" / "extend.md"
PAGES = [README, CONTRIBUTING, *sorted((PROJECT / "docs").glob("*.md"))]

Step = tuple[str, str]
"""A command and its expected output."""


def name_of(page: Path) -> str:
    """The path of a page in the checkout."""
    return page.relative_to(PROJECT).as_posix()


def session_of(page: Path) -> list[Step]:
    """The commands of a page's sessions in order. A session is a block marked `console`."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (step.partition("\n") for step in steps)]


def run_session(steps: list[Step], folder: Path, postgres_url: str = "") -> None:
    """Run a session in a shell in `folder`. Without `postgres_url`, the embedded Postgres is used.

    Each command must succeed with its expected output. The lengths of lines, the seconds and what `...` stands for may
    differ.
    """
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TAXI_POSTGRES_URL": postgres_url}
    try:
        for command, output in steps:
            if command.startswith("export "):
                environment.update(re.findall(r"(\w+)=(\S+)", command))
            else:
                require_same(command, _run(command, folder, environment), output)
    finally:
        if not postgres_url:
            _run("taxi stop", folder, environment)


def _run(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def require_same(command: str, printed: str, expected: str) -> None:
    """Require that a command printed what a page shows, which may contain `...`."""
    same = doctest.OutputChecker().check_output(
        _without_figures(expected), _without_figures(printed), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert same, f"{command}\nprinted:\n{printed}\nexpected:\n{expected}"


def _without_figures(output: str) -> str:
    """Output without the lengths of lines and the seconds, which differ between runs."""
    return re.sub(r"\d+\.\d s\b|\b\d{1,4}\.\d[ ]*$|─+", "", output, flags=re.MULTILINE).strip()
