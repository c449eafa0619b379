"""Dagster's `dg` works in the checkout: it lists the definitions and launches runs. `make check` checks them."""

import json
import shutil
from pathlib import Path

from taxi_assets.graph import JOBS, LOAD_MARTS, LOAD_ZONES, MART_ASSETS, SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.docs.pages import PROJECT
from taxi_assets_tests.end_to_end.conftest import Checkout
from taxi_assets_tests.program import run_well

ROWS = 300


def test_every_asset_job_and_schedule_is_listed(tmp_path: Path) -> None:
    """`dg list defs` lists the assets, job and schedule of each color. Each asset has a description and kinds."""
    settings = {"TAXI_HOME": str(tmp_path), "TAXI_SOURCE_URL": "tlc"}
    listed = json.loads(run_well("dg", "list", "defs", "--json", settings=settings, folder=PROJECT))
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    names = (SOURCE_TRIPS, *TRIP_ASSETS, *MART_ASSETS)
    assert set(assets) == {"taxi_zones", *(f"{color}/{name}" for color in COLORS for name in names)}
    assert all(asset["description"] and asset["kinds"] for asset in assets.values())
    assert {job["name"] for job in listed["jobs"]} >= {*JOBS, LOAD_MARTS, LOAD_ZONES}
    assert {schedule["name"] for schedule in listed["schedules"]} == set(JOBS)


def test_launch_loads_a_month(checkout: Checkout) -> None:
    """`dg launch` with a job and a partition loads that month into all assets."""
    shutil.copy(PROJECT / "pyproject.toml", checkout.folder)
    month = TripMonth("green", "2020-03")
    checkout.publish(ROWS, month)
    checkout.run("dg", "launch", "--job", "load_green", "--partition", "2020-03")
    assert checkout.count("green") == [("2020-03", ROWS)]
    assert checkout.statuses() == {("green", "2020-03"): "loaded"}
