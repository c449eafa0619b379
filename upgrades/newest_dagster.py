"""Try the newest Dagster, which the constraints do not allow yet, and show what breaks. Run by `make test-newest`.

The options are in NEWEST. It installs this checkout and the newest packages of Dagster into an environment in the
temporary folder, and deletes it at the end. Its exit code is 1 if anything breaks.

If some packages of Dagster do not have a newest version yet, they are tried together although they do not fit, because
this shows early what a change of Dagster itself breaks.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

_CHECKOUT = Path(__file__).parent.parent

_PRIVATE = (
    _CHECKOUT / "taxi_assets" / "instance" / "_dagster.py",
    _CHECKOUT / "taxi_assets_tests" / "defs" / "dagster_internals.py",
)
"""The files that import Dagster's private names."""

_CONTRACTS = ("taxi_assets_tests/instance/test_dagster.py",)

_PYTEST = ("-q", "-W", "ignore:Found version mismatch:UserWarning")
"""Tests treat warnings as errors. Dagster warns if its packages do not fit, which the report shows once."""

_SUITE = ("-n", str(os.cpu_count() or 1), "--dist", "loadscope", "-m", "not integration")


def main() -> int:
    """Install the newest Dagster and run the tests with it. Return 1 if anything breaks."""
    options = _options()
    if options.names:
        print(json.dumps(_missing_names()))
        return 0
    pinned = _pinned()
    newer = {name: version for name, version in _newest_versions().items() if version != pinned[name]}
    if not newer:
        print(f"The constraints have the newest Dagster: {_listed(pinned)}")
        return 0
    print(f"Trying {_listed(newer)}\ninstead of {_listed({name: pinned[name] for name in newer})}", flush=True)
    with _folder(options.keep) as folder:
        python = folder / "venv" / "bin" / "python"
        if not (folder / "installed").exists():
            _install(folder)
        misfits = _misfits(python)
        broken = _try(python, folder, contracts_only=options.contracts)
    print("\n".join(["", *misfits]))
    print("\n".join(["| contract | what broke |", "|---|---|", *broken] if broken else ["Nothing broke."]))
    return 1 if broken else 0


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Yield a folder for the environment: one that is kept, or a temporary one."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="taxi-newest-") as temporary:
            Path(temporary).chmod(0o755)  # some tests run programs as another user
            yield Path(temporary)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contracts", action="store_true", help="run only the contract tests of the private names")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the environment in a folder, to use it again")
    parser.add_argument("--list", action="store_true", help="list the requirements and the private names, and stop")
    parser.add_argument("--names", action="store_true", help=argparse.SUPPRESS)  # called in the new environment
    options = parser.parse_args()
    if options.list:
        print("\n".join([*_requirements(), "", *(f"{module}.{name}" for module, name in _private_names())]))
        sys.exit()
    return options


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _requirements() -> list[str]:
    """Return what development needs, without upper limits for the packages of Dagster."""
    project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *_of_extra(project, "dev")]
    return [re.sub(",<[^,;]*", "", text) if _is_dagster(text) else text for text in needed]


def _of_extra(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    """Yield the requirements of an extra of the project, which can include other extras."""
    for text in project["optional-dependencies"][extra]:
        if included := re.fullmatch(rf"{project['name']}\[(.*)\]", text):
            for name in included[1].split(","):
                yield from _of_extra(project, name)
        else:
            yield text


def _is_dagster(name: str) -> bool:
    return name.startswith("dagster")


def _constraints() -> list[str]:
    return (_CHECKOUT / "constraints.txt").read_text().splitlines()


def _pinned() -> dict[str, str]:
    """Return the versions of Dagster's packages in the constraints."""
    pins = (line.partition("==") for line in _constraints() if _is_dagster(line))
    return {name: version for name, _, version in pins}


def _newest_versions() -> dict[str, str]:
    """Return the newest version of each required package of Dagster that the package index has."""
    wanted = [text for text in _requirements() if _is_dagster(text)]
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--report", "-")
    report = _output(*_pip(sys.executable), *options, *wanted)
    return {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in json.loads(report)["install"]}


def _output(*words: str | Path) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def _pip(python: str | Path) -> list[str | Path]:
    return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _install(folder: Path) -> None:
    """Create an environment in a folder, and install everything."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (folder / "requirements.txt").write_text("\n".join(_requirements()))
    (folder / "constraints.txt").write_text("\n".join(line for line in _constraints() if not _is_dagster(line)))
    files = ("--constraint", str(folder / "constraints.txt"), "--requirement", str(folder / "requirements.txt"))
    subprocess.run([*_pip(python), *files], check=True)
    # Its own requirements have the limit.
    subprocess.run([*_pip(python), "--no-deps", "--editable", _CHECKOUT], check=True)
    installed = json.loads(_output(python, "-m", "pip", "list", "--format", "json"))
    of_dagster = [each["name"] for each in installed if _is_dagster(each["name"])]
    subprocess.run([*_pip(python), "--no-deps", "--upgrade", *of_dagster], check=True)
    (folder / "installed").touch()


def _misfits(python: Path) -> list[str]:
    """Return a line for each package of Dagster that requires another version of one."""
    check = subprocess.run([python, "-m", "pip", "check"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return [line for line in check.splitlines() if _is_dagster(line)]


def _try(python: Path, folder: Path, *, contracts_only: bool) -> list[str]:
    """Return a line for each private name and each test that breaks."""
    names = json.loads(_output(python, __file__, "--names"))
    broken = [f"| `{name}` | {error} |" for name, error in names.items()]
    broken += _run_tests(python, folder / "contracts.xml", _CONTRACTS)
    # Without a private name, no test could be imported.
    return broken if names or contracts_only else broken + _run_tests(python, folder / "suite.xml", _SUITE)


def _private_names() -> list[tuple[str, str]]:
    """Return the module and the name of each import from Dagster in the files with its private names."""
    return [
        (node.module, alias.name)
        for path in _PRIVATE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and _is_dagster(node.module)
        for alias in node.names
    ]


def _missing_names() -> dict[str, str]:
    """Return the error for each private name that the Dagster of this environment does not have."""
    missing = {}
    for module, name in _private_names():
        try:
            if not hasattr(import_module(module), name):
                import_module(f"{module}.{name}")
        except ImportError as error:
            missing[f"{module}.{name}"] = str(error)
    return missing


def _run_tests(python: Path, report: Path, options: Sequence[str]) -> list[str]:
    """Run pytest, which shows its progress, and return a line for each test that fails."""
    done = subprocess.run(
        [python, "-m", "pytest", *_PYTEST, "--junit-xml", report, *options], cwd=_CHECKOUT, check=False
    ).returncode
    if not report.exists():
        return [f"| pytest {' '.join(options)} | exit code {done} |"]
    cases = ET.parse(report).iter("testcase")  # noqa: S314  # pytest wrote it
    failed = ((case, each) for case in cases for each in case if each.tag in ("failure", "error"))
    lines = (f"| `{case.get('classname')}::{case.get('name')}` | {_reason(each)} |" for case, each in failed)
    return list(dict.fromkeys(lines))  # each process reports a module that cannot be imported


def _reason(failure: ET.Element) -> str:
    """Return the first line of the error. If a module cannot be imported, it is only in the text."""
    errors = re.findall("(?m)^E +(.+)", failure.text or "")
    message = failure.get("message", "")
    line = errors[-1] if message == "collection failure" and errors else message.strip().partition("\n")[0]
    return line.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
