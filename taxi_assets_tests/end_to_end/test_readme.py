"""The README's session prints what it says, and its commands exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
README = (PROJECT / "README.md").read_text()


def _session() -> list[tuple[str, str]]:
    """The commands of the session, each with the output that is said to follow."""
    [block] = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    steps = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (step.partition("\n") for step in steps)]


def _words(output: str) -> list[str]:
    """The words of an output, without the lengths of lines and the seconds, which differ."""
    return re.sub(r"\d+\.\d s\b|\d+\.\d$|─+", "", output, flags=re.MULTILINE).split()


def test_the_session_prints_what_it_says(tmp_path: Path) -> None:
    """Typed in order, each command of the session succeeds with the output that the README shows."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for command, output in _session():
        if command.startswith("export "):
            environment.update(re.findall(r"(\w+)=(\S+)", command))
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        assert _words(printed) == _words(output), command


def test_the_two_commands_are_alone_on_a_line() -> None:
    """A newcomer can copy both commands as they stand."""
    assert {"make demo", "make test"} <= set(README.splitlines())


def test_links_lead_to_files() -> None:
    """Every link into the checkout leads to a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / target).exists(), target
