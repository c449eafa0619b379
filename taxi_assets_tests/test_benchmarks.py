"""`make bench` compares contenders, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from taxi_assets_tests.docs.pages import PROJECT


def test_bench_compares_contenders(tmp_path: Path) -> None:
    """A benchmark of two contenders has the time, rows and memory of both, and their ratio. It cleans up."""
    only = ("--quick", "--rows", "1000", "--only", "duckdb_csv", "clean_csv")
    files = (
        "--work",
        str(tmp_path / "work"),
        "--json",
        str(tmp_path / "all.json"),
        "--results",
        str(tmp_path / "all.md"),
    )
    words = [sys.executable, str(PROJECT / "benchmarks" / "bench.py"), *only, *files]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "all.json").read_text())
    for result in figures["results"]:
        assert result["rows"] == 1000
        assert 0 < result["medians"]["work"] < result["medians"]["seconds"], result
        assert result["medians"].get("peak_mb", 10) >= 10
    work = {result["contender"]: result["medians"]["work"] for result in figures["results"]}
    ratios = {target["what"]: target["ratio"] for target in figures["targets"] if target["ratio"]}
    assert list(ratios.values()) == [work["clean_csv"] / work["duckdb_csv"]]
    page = (tmp_path / "all.md").read_text()
    assert all(f"| {name} | " in page for name in work)
    assert "![" in page
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["samples"]
