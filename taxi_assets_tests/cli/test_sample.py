"""`taxi sample --format`: CSVs like those of the mirror, or Parquet files like those of the TLC."""

from pathlib import Path

import pytest
from pyarrow.parquet import read_metadata

from taxi_assets.tlc.trips import COLORS
from taxi_assets_tests.program import run_here as run

pytestmark = pytest.mark.usefixtures("command_home")

TEMPLATE = "{color}/{color}_tripdata_{month}.parquet"


def test_samples_are_parquet_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--format parquet`, the month of each color is a Parquet file with the given rows, and no other file."""
    source = tmp_path / "source"
    assert run(monkeypatch, "sample", str(source), "--months", "2025-01", "--rows", "50", "--format", "parquet") == 0
    rows = {path.relative_to(source).as_posix(): read_metadata(path).num_rows for path in source.rglob("*.*")}
    assert rows == {TEMPLATE.format(color=color, month="2025-01"): 50 for color in COLORS}
    assert capsys.readouterr().out.count("50 rows in") == len(COLORS)


@pytest.mark.parametrize("color", COLORS)
def test_parquet_samples_load_as_the_help_says(
    color: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The template that the help names, with the folder in it, reads the samples of every color."""
    assert run(monkeypatch, "sample", "--help") == 0
    assert f"FOLDER/{TEMPLATE}" in "".join(capsys.readouterr().out.split())
    month = ["--color", color, "--months", "2025-01"]
    assert run(monkeypatch, "sample", str(tmp_path), *month, "--rows", "50", "--format", "Parquet") == 0
    monkeypatch.setenv("TAXI_SOURCE_URL", f"{tmp_path}/{TEMPLATE}")
    assert run(monkeypatch, "materialize", *month, "--select", "raw,clean") == 0
    assert f"{color} 2025-01 done 50 rows" in capsys.readouterr().out


def test_samples_are_csvs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--format`, samples are CSVs, compressed with gzip."""
    for arguments in ([], ["--format", "csv"]):
        folder = tmp_path / str(len(arguments))
        words = ["--color", "fhvhv", "--months", "2020-03", "--rows", "1", *arguments]
        assert run(monkeypatch, "sample", str(folder), *words) == 0
        assert [path.name for path in folder.rglob("*.*")] == ["fhvhv_tripdata_2020-03.csv.gz"]


def test_other_formats_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another format is an error that lists the formats, and nothing is written."""
    words = ["--color", "green", "--months", "2020-03", "--format", "json"]
    assert run(monkeypatch, "sample", str(tmp_path / "source"), *words) == 2
    message = capsys.readouterr().err
    assert "'csv', 'parquet'" in message
    assert not (tmp_path / "source").exists()
