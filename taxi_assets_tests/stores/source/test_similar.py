"""Find files of months under other names, and the template that reads them."""

from pathlib import Path

import pytest

from taxi_assets.stores.source import similar
from taxi_assets.stores.source.known import MIRROR_URL, TLC_URL
from taxi_assets.stores.source.months import Source
from taxi_assets.stores.source.similar import find_similar, source_of
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("green", "2020-04")


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("Green/green_tripdata_2020-04.csv.gz", "{Color}/{color}_tripdata_{month}.csv.gz"),
        ("GREEN/2020-04.csv", "{COLOR}/{month}.csv"),
        ("green_tripdata_2020-04.csv.gz", "{color}_tripdata_{month}.csv.gz"),
        ("green/green_tripdata_2020-04.csv", "{color}/{color}_tripdata_{month}.csv"),
        ("GREEN_TRIPDATA_2020-04.CSV.GZ", "{COLOR}_TRIPDATA_{month}.CSV.GZ"),
        ("green_2020-04.csv", "{color}_{month}.csv"),
        ("2020-04-green.csv.gz", "{month}-{color}.csv.gz"),
        ("2020/04/green.csv", "{year}/{month:02}/{color}.csv"),
        ("2020/4/green.csv", "{year}/{month:d}/{color}.csv"),
        ("green/2020/green_tripdata_2020-04.csv.gz", "{color}/{year}/{color}_tripdata_{month}.csv.gz"),
        ("2020/04/green_tripdata_2020-04.csv.gz", "{year}/{month:02}/{color}_tripdata_{month}.csv.gz"),
        ("green/2020/04.csv", "{color}/{year}/{month:02}.csv"),
        ("2020/green_04.csv.gz", "{year}/{color}_{month:02}.csv.gz"),
        ("year=2020/month=4/green.csv", "year={year}/month={month:d}/{color}.csv"),
        ("color=green/year=2020/month=04/0.csv", "color={color}/year={year}/month={month:02}/0.csv"),
        ("green202004.csv", "{color}{year}{month:02}.csv"),
        ("green_2020_04.csv", "{color}_{year}_{month:02}.csv"),
        ("green_04-2020.csv", "{color}_{month:02}-{year}.csv"),
        ("Green 2020-4.csv", "{Color} {year}-{month:d}.csv"),
        ("a/b/c/green_2020-04 (1).csv", "a/b/c/{color}_{month} (1).csv"),
        ("green_tripdata_2020-04.parquet", "{color}_tripdata_{month}.parquet"),
        ("2020/Green/04.PARQUET", "{year}/{Color}/{month:02}.PARQUET"),
    ],
)
def test_template_of_a_similar_file(tmp_path: Path, name: str, template: str) -> None:
    """The template replaces the color and the month in the path, and a source with it has that file."""
    folder = tmp_path / "my files [1]"
    path = _write(folder / name)
    found = find_similar(folder)
    assert {month: (file.path, file.template) for month, file in found.items()} == {
        MONTH: (path, f"{folder}/{template}")
    }
    assert Source(found[MONTH].template).probe() == "1 green months"


@pytest.mark.parametrize(
    ("folder", "name", "template"),
    [
        ("green", "green_tripdata_2020-04.csv.gz", ""),
        ("Green", "2020-04.csv", "/{Color}/{month}.csv"),
        ("2020", "green_04.csv", "/{year}/{color}_{month:02}.csv"),
        ("source", "green/green_tripdata_2020-04.csv.gz", "/source"),
    ],
)
def test_template_of_a_folder_of_a_color(tmp_path: Path, folder: str, name: str, template: str) -> None:
    """If the source is the folder of a color or a year, the template begins above it."""
    path = _write(tmp_path / folder / name)
    found = find_similar(tmp_path / folder)[MONTH]
    assert (found.path, found.template) == (path, f"{tmp_path}{template}")
    assert Source(found.template).probe() == "1 green months"


@pytest.mark.parametrize(
    "name",
    [
        *("notes.md", "green.csv", "2020-04.csv", "green_2020.csv", "greenwich_2020-04.csv", "hvfhv_2020-04.csv"),
        *("green_2020-13.csv", "green_2020-04-01.csv", "green_20200401.csv", "2020/04/green_2020-04-15.csv"),
        *("green_2020-01_2020-03.csv", "green_yellow_2020-04.csv", ".green_2020-04.csv", "{x}/green_2020-04.csv"),
        *("a/b/c/d/e/green_2020-04.csv", "gReen_2020-04.csv", "green_2020-04.csv.part", "green_2020-04.csv/x"),
    ],
)
def test_other_files(tmp_path: Path, name: str) -> None:
    """A file without exactly one color and one month, and one that is hidden or deep in folders, is not similar."""
    _write(tmp_path / name)
    assert find_similar(tmp_path) == {}


@pytest.mark.parametrize("suffix", [".parquet.gz", ".zip", ".csv.bz2", ".xlsx", ".gz", ".tar.gz"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    """A file in a format that is not read has no template, and a file that is read wins."""
    path = _write(tmp_path / f"green_2020-04{suffix}")
    assert [(file.path, file.template) for file in find_similar(tmp_path).values()] == [(path, "")]
    _write(tmp_path / "sub" / "green_2020-04.csv")
    assert find_similar(tmp_path)[MONTH].template == f"{tmp_path}/sub/{{color}}_{{month}}.csv"


def test_each_month_is_found_once(tmp_path: Path) -> None:
    """All months of all colors are found."""
    names = ["Yellow/2020-04.csv", "Yellow/2020-05.csv", "Fhv/2020-04.csv", "b/green_2020-04.csv", "green_2020-04.csv"]
    for name in (*names, "fhvhv_tripdata_2020-04.parquet"):
        _write(tmp_path / name)
    assert sorted(map(str, find_similar(tmp_path))) == [
        "fhv 2020-04",
        "fhvhv 2020-04",
        "green 2020-04",
        "yellow 2020-04",
        "yellow 2020-05",
    ]
    assert find_similar(tmp_path)[MONTH].path == tmp_path / "green_2020-04.csv"


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends after a number of entries, and after a time."""
    monkeypatch.setattr(similar, "ENTRIES", 20)
    for number in range(100):
        _write(tmp_path / f"green_20{number // 12:02}-{number % 12 + 1:02}.csv")
    assert len(find_similar(tmp_path)) == 20
    monkeypatch.setattr(similar, "SECONDS", -1.0)
    assert find_similar(tmp_path) == {}


def test_links_and_unreadable_folders(tmp_path: Path) -> None:
    """A link that leads to its own parent does not matter, and neither does a link that leads nowhere."""
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    path = _write(tmp_path / "green_2020-04.csv")
    assert find_similar(tmp_path)[MONTH].path == path
    assert find_similar(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (f"{MIRROR_URL}/green/green_tripdata_2020-04.csv.gz", "mirror"),
        (TLC_URL.format(color="green", month="2020-04"), "tlc"),
        ("https://host/a/green/green_tripdata_2020-04.csv.gz", "https://host/a"),
        ("/data/green/green_tripdata_2020-04.csv.gz", "/data"),
        ("/green/green_tripdata_2020-04.csv.gz", "/"),
        ("/data/green/green_tripdata_2020-04.parquet", "/data/{color}/{color}_tripdata_{month}.parquet"),
        ("https://host/2020/04/green.csv", "https://host/{year}/{month:02}/{color}.csv"),
        ("/data/yellow/green_2020-04.csv", "/data/yellow/green_2020-04.csv"),
        ("/data/green_2020-05.csv", "/data/green_2020-05.csv"),
    ],
)
def test_source_of_an_address(address: str, source: str) -> None:
    """The source of a file is a public source by name, or a folder, URL or template; or the address if it has none."""
    assert source_of(address, MONTH) == source
    if source != address:
        assert Source(source).address(MONTH) == address
