"""A deployment that an earlier release created: this release continues it with the same volumes and settings.

The tests need Docker with compose, as the tests of the deployment do.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end import releases
from taxi_assets_tests.end_to_end.deployment import (
    CHECKOUT,
    REPOSITORY,
    Deployment,
    delete,
    existing,
    free_port,
    let_containers_read,
    run_command,
    without_settings,
    write_override,
)
from taxi_assets_tests.end_to_end.upgraded import (
    APRIL,
    FHV,
    FIRST,
    MARCH,
    MAY,
    OLD,
    ROWS,
    Taxi,
    old_rows,
    rows,
    statuses,
)
from taxi_assets_tests.months import publish

pytestmark = pytest.mark.upgrades

RELEASES = ("0.1.0",)
"""The releases with a deployment of their own, of those in `releases.COMMITS`."""

PROJECT = "taxi-upgrade"

SCHEDULE = {**REPOSITORY, "scheduleName": "load_green"}
START = "mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) { __typename } }"
STATE = """
query ($schedule: ScheduleSelector!) { scheduleOrError(scheduleSelector: $schedule) {
  ... on Schedule { scheduleState { status } }
} }
"""
PARTITIONS = """
query ($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
} } }
"""
DAEMONS = """
{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatErrors { message } } } } }
"""


@dataclass(frozen=True)
class Upgrade:
    """The deployments of an earlier release and of this one, with the same name, settings and volumes."""

    earlier: Deployment
    current: Deployment


@pytest.fixture(params=RELEASES)
def upgrade(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgrade]:
    """The deployments, with images but without containers. What they create is deleted at the end."""
    if not os.environ.get("TEST_UPGRADES"):
        pytest.skip("TEST_UPGRADES is not set: make test-upgrades starts deployments of earlier releases")
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("Docker is not running, and deployments need it")
    code = releases.unpack(request.param)
    for month in (FIRST, *OLD, MAY):
        publish(tmp_path / "source", month, ROWS)
    let_containers_read(tmp_path / "source")
    # Like docker-compose.override.yml and .env of an operator, both stay as they are.
    override = write_override(tmp_path / "override.json", PROJECT, tmp_path / "source")
    settings = _settings(code, tmp_path)
    earlier = Deployment(
        [code / "docker-compose.yml", override], PROJECT, {**settings, "TAXI_IMAGE": f"taxi-assets:{request.param}"}
    )
    current = Deployment([CHECKOUT / "docker-compose.yml", override], PROJECT, settings)
    delete(current)
    try:
        for deployment in (earlier, current):
            deployment.compose("build")
        yield Upgrade(earlier, current)
    finally:
        delete(current)


def _settings(code: Path, folder: Path) -> dict[str, str]:
    """The settings of the `.env` that the `make up` of a release writes, after an operator has added some."""
    run_command(["make", "--file", str(code / "Makefile"), "--directory", str(folder), "deployment-env"])
    with (folder / ".env").open("a") as file:
        file.write(
            f"COMPOSE_PROJECT_NAME={PROJECT}\nTAXI_IMAGE=taxi-assets:test\nTAXI_SOURCE_URL=/source\n"
            f"UI_PORT={free_port()}\nPOSTGRES_PORT={free_port()}\n"
        )
    return {**without_settings(), **{name: value or "" for name, value in dotenv_values(folder / ".env").items()}}


def _taxi(deployment: Deployment) -> Taxi:
    """Return what runs `taxi` in the container of the code server, as an operator does."""
    return partial(deployment.compose, "exec", "--no-TTY", "code", "taxi")


def _rows_in_postgres(status: dict[TripMonth, dict[str, Any]], color: str) -> int:
    """The number of rows of a color in Postgres according to a status."""
    return sum(each["rows"]["postgres_trips"] for month, each in status.items() if month.color == color)


def _stop(deployment: Deployment) -> None:
    """Stop a deployment as its `make down` does. That of 0.1.0 would also stop the runs of other deployments."""
    deployment.compose("stop", "daemon")
    if active := run_command(["docker", "ps", "--quiet", "--filter", f"label=taxi.deployment={PROJECT}"]).split():
        run_command(["docker", "stop", "--time", "60", *active])
    if runs := existing("run", PROJECT):
        run_command(["docker", "rm", *runs])
    deployment.compose("--profile", "pgadmin", "down")


def _start_upgraded(deployment: Deployment) -> None:
    """Start this release with the commands of the upgrade in `docs/deployment.md`."""
    deployment.compose("up", "--detach", "--wait", "postgres")
    deployment.compose("run", "--rm", "--no-deps", "daemon", "dagster", "instance", "migrate")
    deployment.compose("up", "--detach", "--wait")


def _unhealthy(deployment: Deployment) -> list[str]:
    """The services that are not healthy, and the daemons that are required but not healthy, or have errors."""
    containers = json.loads(run_command(["docker", "inspect", *deployment.compose("ps", "--all", "--quiet").split()]))
    services = [each["Name"] for each in containers if each["State"]["Health"]["Status"] != "healthy"]
    daemons = deployment.query(DAEMONS)["daemonHealth"]["allDaemonStatuses"]
    assert daemons
    wrong = [each for each in daemons if (each["required"] and not each["healthy"]) or each["lastHeartbeatErrors"]]
    return [*services, *map(str, wrong)]


def _months_in_the_ui(deployment: Deployment, color: str) -> dict[str, list[tuple[str, str, str]]]:
    """The ranges of partitions that the page of each asset of a color shows, with their status."""
    return {
        name: [
            (each["status"], each["startKey"], each["endKey"])
            for each in deployment.query(PARTITIONS, asset={"path": [color, name]})["assetPartitionStatuses"]["ranges"]
        ]
        for name in TRIP_ASSETS
    }


def _files(deployment: Deployment) -> list[str]:
    """The names of the files of months in the lake and of clean files, sorted."""
    words = ("find", "/taxi_home/lake", "/taxi_home/clean", "-type", "f", "-name", "[!.]*", "-printf", "%f\n")
    return sorted(deployment.compose("exec", "--no-TTY", "code", *words).split())


def _load(deployment: Deployment, color: str, months: str) -> None:
    """Load months with a backfill, and wait until the daemon has finished it."""
    _taxi(deployment)("backfill", "--color", color, "--months", months, "--wait")


def _check_months(deployment: Deployment, months: Sequence[TripMonth]) -> dict[TripMonth, dict[str, Any]]:
    """Check that `taxi status` and the UI show these months, and no others, as loaded. Return their status.

    Months that the earlier release loaded are stale if this release reads the same file differently.
    """
    shown = statuses(_taxi(deployment))
    assert shown.keys() == set(months)
    assert {each["status"] for each in shown.values()} <= {"loaded", "stale"}
    assert [each["run"] for each in shown.values() if each["error"]] == []
    for color in ("green", "fhv"):
        of_color = sorted(month.month for month in months if month.color == color)
        expected = [("MATERIALIZED", of_color[0], of_color[-1])]
        assert _months_in_the_ui(deployment, color) == dict.fromkeys(TRIP_ASSETS, expected)
    return shown


def test_upgrade_of_a_deployment(upgrade: Upgrade) -> None:
    """This release shows the months, runs and schedules of the earlier one, with the same rows in both stores.

    It loads an old month with a run, and an old and a new month with a backfill. Then every store has each month once,
    and the rows of the old months are the same as before. All services and daemons are healthy.
    """
    earlier, current = upgrade.earlier, upgrade.current
    earlier.compose("up", "--detach", "--wait")
    _load(earlier, "green", f"{MARCH.month}..{APRIL.month}")
    _load(earlier, "fhv", FHV.month)
    assert earlier.query(START, schedule=SCHEDULE)["__typename"] == "ScheduleStateResult"
    before, old = statuses(_taxi(earlier)), rows(_taxi(earlier))
    runs = [run.id for run in earlier.runs()]
    assert before.keys() == set(OLD)
    assert [len(lines) for lines in old.values()] == [2 * ROWS, _rows_in_postgres(before, "green"), ROWS, ROWS]
    _stop(earlier)

    _start_upgraded(current)
    assert _unhealthy(current) == []
    shown = _check_months(current, OLD)
    assert {month: each["rows"] for month, each in shown.items()} == {
        month: each["rows"] for month, each in before.items()
    }
    assert rows(_taxi(current)) == old
    assert [run.id for run in current.runs()] == runs
    assert current.query(STATE, schedule=SCHEDULE)["scheduleState"]["status"] == "RUNNING"

    current.wait_for(current.launch(MARCH.color, MARCH.month), "SUCCESS")
    _load(current, "green", f"{APRIL.month}..{MAY.month}")
    now = _check_months(current, (*OLD, MAY))
    assert [month for month, each in now.items() if each["status"] == "stale" and month.color == "green"] == []
    new = rows(_taxi(current))
    assert [len(lines) for lines in new.values()] == [3 * ROWS, _rows_in_postgres(now, "green"), ROWS, ROWS]
    assert old_rows(new) == old
    assert _files(current) == sorted(2 * [f"{month.stem}.parquet" for month in (*OLD, MAY)])
    assert {each["verdict"] for each in json.loads(_taxi(current)("doctor", "--json"))} == {"ok"}
    assert _unhealthy(current) == []
