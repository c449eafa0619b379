"""`make test-newest` tries the newest Dagster."""

import subprocess
import sys

from taxi_assets.instance import _dagster
from taxi_assets_tests.docs.pages import PROJECT


def test_what_is_tried() -> None:
    """Only the packages of Dagster have no upper limit, and each private name of Dagster is looked up."""
    words = [sys.executable, str(PROJECT / "upgrades" / "newest_dagster.py"), "--list"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    requirements, names = (part.splitlines() for part in done.stdout.split("\n\n"))
    assert {"dagster>=1.13.27", "dagster-k8s>=0.29.27", "sqlalchemy>=2.0,<2.1"} <= set(requirements)
    assert [line for line in requirements if line.startswith(("dagster", "taxi-assets")) and "<" in line] == []
    assert "apprise" in done.stdout  # it is in an extra of an extra
    functions_of_this_project = {"modules_that_start_processes", "without_wiped"}
    assert {name.rpartition(".")[2] for name in names} >= set(_dagster.__all__) - functions_of_this_project
