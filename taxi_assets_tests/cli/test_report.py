"""`taxi report`: its figures, and what the file is like."""

import gzip
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from taxi_assets.connections import open_warehouse
from taxi_assets.settings import Settings
from taxi_assets.stores.report_sql import hours_sql
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import run_here as run
from taxi_assets_tests.zone_shapes import write_shapes

MONTHS = (TripMonth("green", "2021-01"), TripMonth("green", "2021-02"), TripMonth("fhv", "2021-01"))
ASSETS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips")
BAD_LINE = "2," + "not a time," * 2 + ",".join(["1"] * 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_history: Path) -> Path:
    """A folder with a TAXI_HOME, `home`, and its source.

    The warehouse has two months of green, one of them with a rejected row, and one of fhv.
    """
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(empty_history, folder / "home" / "dagster")
    for month in MONTHS:
        publish(folder / "source", month, 400)
    path = folder / "source" / "green" / f"{MONTHS[0].stem}.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + BAD_LINE.encode() + b"\r\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_HOME", str(folder / "home"))
        patch.setenv("TAXI_SOURCE_URL", str(folder / "source"))
        patch.setenv("TAXI_FIRST_MONTH", "2021-01")
        with closing(Installation()) as installation:
            for month in MONTHS:
                installation.run(month, *ASSETS)
    return folder


@pytest.fixture
def loaded(folder: Path, command_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, whose TAXI_HOME and source are in the environment."""
    assert not command_home.exists()
    monkeypatch.setenv("TAXI_HOME", str(folder / "home"))
    monkeypatch.setenv("TAXI_SOURCE_URL", str(folder / "source"))
    return folder


def _rows(page: str) -> list[list[str]]:
    """The texts of the cells of each row of a page's tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)] for row in rows]


def test_the_report_has_the_figures_of_the_warehouse(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are those of plain SQL over the trips. The file is complete: it loads nothing and has no scripts."""
    shapes = write_shapes(loaded / "taxi_zones.zip", range(1, 264))
    output = loaded / "report.html"
    assert run(monkeypatch, "report", "-o", str(output), "--shapes", str(shapes)) == 0
    page = output.read_text()
    rows = _rows(page)

    query = open_warehouse(Settings.load()).query
    for month, trips, total in query(
        "SELECT strftime(file_month, '%Y-%m'), count(*), sum(total_amount) FROM green_taxi_trips GROUP BY 1"
    ).rows:
        assert any(row[:2] == [month, f"{trips:,}"] and f"{total:,.2f}" in row for row in rows)
    [(zone, trips)] = query(
        'SELECT "PULocationID", count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1'
    ).rows
    assert any(row[0] == str(zone) and row[3] == str(trips) for row in rows)
    pickup = "lpep_pickup_datetime"
    hours = query(
        f"SELECT strftime({pickup}, '%u')::INT, strftime({pickup}, '%H')::INT, count(*) FROM green_taxi_trips "
        f"WHERE strftime({pickup}, '%Y-%m') = strftime(file_month, '%Y-%m') GROUP BY 1, 2"
    ).rows
    assert set(map(tuple, query(hours_sql(LAYOUTS["green"], ["2021-01", "2021-02"])).rows)) == set(map(tuple, hours))
    [(revenue,)] = query("SELECT sum(total_amount) FROM green_taxi_trips").rows
    assert "<dd>1,200</dd>" in page
    assert f"<dd>${revenue:,.0f}</dd>" in page
    assert ["green", "2 partial", "801", "800", "800", "800", "", "1"] in [row[:8] for row in rows]
    assert any(row[0] == "2021-01" and "lpep_pickup_datetime" in row[1] and row[2] == "1" for row in rows)

    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    } | {str(found) for found in re.findall(r"<td>(https?://.*?)</td>", page)}
    assert all(link.startswith(("#", "data:")) for link in re.findall(r"""(?:src|href)=["'](.*?)["']""", page))
    assert "<script" not in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    ids = re.findall(r'\sid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("<img") == len({month.color for month in MONTHS})
    assert len(page) < 3_000_000


def test_what_cannot_be_reported_is_an_error(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The errors: no month is loaded, the folder is a file, or the file has no shapes. No file is left behind."""
    (reports := loaded / "reports").mkdir()
    (text := loaded / "text.zip").write_text("no shapes")
    for words, slug in {
        ("--months", "2019", "-o", str(reports / "report.html")): "nothing-loaded",
        ("--color", "green", "-o", str(text / "report.html")): "wrong-file-type",
        ("--shapes", str(text), "-o", str(reports / "report.html")): "bad-zone-shapes",
    }.items():
        assert run(monkeypatch, "report", *words) == 1
        assert f"[{slug}]" in capsys.readouterr().err
    assert list(reports.iterdir()) == []
