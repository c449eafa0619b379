"""`taxi demo` without any settings, with the embedded Postgres server."""

import json
from collections.abc import Iterator

import pytest

from taxi_assets.cli.demo import DEMO_MONTHS, DEMO_ROWS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end.conftest import Checkout, create_checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with the embedded Postgres server, which is stopped at the end."""
    checkout = create_checkout(tmp_path_factory.mktemp("checkout"), postgres_url="")
    yield checkout
    checkout.taxi("stop")


def test_the_demo_loads_its_months(checkout: Checkout) -> None:
    """`taxi demo` loads every sample month into both databases, computes the marts, and writes a report."""
    sql = "SELECT file_month, count(*) AS trips FROM {}_taxi_trips GROUP BY 1 ORDER BY 1"
    output = checkout.taxi("demo")
    assert all(str(month) in output for month in DEMO_MONTHS)
    assert "taxi_home/lake" in output
    assert "taxi_home/report.html" in output
    assert f"<dd>{DEMO_ROWS * len(DEMO_MONTHS):,}</dd>" in (checkout.folder / "taxi_home/report.html").read_text()
    yellow = checkout.taxi("query", "--csv", sql.format("yellow"))
    assert yellow == f"file_month,trips\n2021-01-01,{DEMO_ROWS}\n2021-02-01,{DEMO_ROWS}\n"
    fhv = checkout.taxi("query", "--postgres", "--csv", sql.format("fhv"))
    assert fhv == f"file_month,trips\n2021-01-01,{DEMO_ROWS}\n"
    assert checkout.taxi("query", "--csv", "SELECT count(*) FROM taxi_zones") == "count_star()\n265\n"
    listed = json.loads(checkout.taxi("status", "--json"))
    statuses = {(month["color"], month["month"]): month["status"] for month in listed}
    assert {statuses[month.color, month.month] for month in DEMO_MONTHS} == {"loaded"}


def test_the_demo_does_not_replace_real_months(checkout: Checkout) -> None:
    """If a month of the demo is already loaded from another source, the demo fails and the month stays."""
    month = TripMonth("fhv", "2021-01")
    checkout.publish(70, month)
    checkout.load(month)
    checkout.taxi("demo", status=1)
    assert ("2021-01", 70) in checkout.count("fhv")
