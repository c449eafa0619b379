"""`taxi demo` as people type it first: nothing is set, and the Postgres server of its home runs."""

import json
from collections.abc import Iterator

import pytest

from taxi_assets.cli.demo import DEMO_MONTHS, DEMO_ROWS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end.conftest import Checkout, make_checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of its own, whose Postgres is stopped at the end."""
    made = make_checkout(tmp_path_factory.mktemp("checkout"), postgres_url="")
    yield made
    made.taxi("stop")


def test_the_demo_loads_its_months_once(checkout: Checkout) -> None:
    """`taxi demo` ends with every made-up month in both databases, and a second one doubles nothing."""
    asked = "SELECT file_month, count(*) AS trips FROM {}_taxi_trips GROUP BY 1 ORDER BY 1"
    for _ in range(2):
        said = checkout.taxi("demo")
        assert all(str(month) in said for month in DEMO_MONTHS)
        assert "taxi_home/lake" in said
        yellow = checkout.taxi("query", "--csv", asked.format("yellow"))
        assert yellow == f"file_month,trips\n2021-01-01,{DEMO_ROWS}\n2021-02-01,{DEMO_ROWS}\n"
        fhv = checkout.taxi("query", "--postgres", "--csv", asked.format("fhv"))
        assert fhv == f"file_month,trips\n2021-01-01,{DEMO_ROWS}\n"
    listed = json.loads(checkout.taxi("status", "--json"))
    standings = {(month["color"], month["month"]): month["standing"] for month in listed}
    assert {standings[month.color, month.month] for month in DEMO_MONTHS} == {"loaded"}


def test_the_demo_replaces_no_real_months(checkout: Checkout) -> None:
    """A month of the demo that came from elsewhere stays, and the demo says how to have a home of its own."""
    month = TripMonth("fhv", "2021-01")
    checkout.publish(70, month)
    checkout.load(month)
    checkout.taxi("demo", status=1)
    assert ("2021-01", 70) in checkout.count("fhv")
