"""`make test-faults` kills loads at functions of the program."""

import subprocess
import sys

from taxi_assets_tests.docs.pages import PROJECT


def test_points_exist() -> None:
    """Each point at which a load is killed, and each fault that is put in, is a function of the program."""
    words = [sys.executable, str(PROJECT / "faults" / "faults.py"), "--list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert steps == {"raw", "clean", "lake", "warehouse", "postgres", "event"}
