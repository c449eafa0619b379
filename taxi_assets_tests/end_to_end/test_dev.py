"""The UI of `taxi dev` shows what `taxi materialize` did, and can do it again."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.processes import PROCESS_TAG
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run, run_well

MONTH = TripMonth("fhv", "2020-02")

Ask = Callable[..., dict[str, Any]]

RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
PARTITION = """
{ assetNodeOrError(assetKey: {path: ["fhv", "clean_trips"]}) { ... on AssetNode {
  groupName
  partitionKeys
  assetMaterializations(partitions: ["2020-02"]) { metadataEntries { label } }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
} } }
"""
AGAIN = """
mutation ($run: String!) { launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
  __typename ... on LaunchRunSuccess { run { runId } }
} }
"""


class Dev(NamedTuple):
    """A `taxi dev`: the folder that its home is in, and its port."""

    folder: Path
    port: int


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A `taxi dev` in a home where one month is loaded."""
    folder = tmp_path_factory.mktemp("dev")
    publish(folder / "source", MONTH, 100)
    settings = {"TAXI_HOME": "home", "TAXI_SOURCE_URL": "source"}
    words = ("materialize", "--color", MONTH.color, "--months", MONTH.month, "--select", "raw_trips,clean_trips")
    run_well("taxi", *words, settings=settings, folder=folder)
    port = _free_port()
    with (folder / "dev.log").open("w") as log:
        running = subprocess.Popen(
            [str(BIN / "taxi"), "dev", "--port", str(port)],
            cwd=folder,
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    yield Dev(folder, port)
    os.killpg(running.pid, signal.SIGINT)
    running.wait(timeout=30)


@pytest.fixture(scope="module")
def ask(dev: Dev) -> Ask:
    """GraphQL of the `taxi dev`, which answers."""
    url = f"http://127.0.0.1:{dev.port}/graphql"

    def post(query: str, **variables: str) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            data: dict[str, Any] = json.load(response)["data"]
            return data

    _until(lambda: bool(post("{ version }")), "an answer of the UI")
    return post


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until(true: Callable[[], bool], waiting_for: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except OSError:  # the server does not listen yet
            pass
        time.sleep(0.2)
    raise AssertionError(f"waited {timeout_s} s for {waiting_for}")


@pytest.mark.usefixtures("ask")
def test_a_home_has_one_daemon(dev: Dev) -> None:
    """A second `taxi dev` on the same home, with another port, says where the first is, and starts nothing."""
    done = run("taxi", "dev", "--port", str(_free_port()), settings={"TAXI_HOME": "home"}, folder=dev.folder)
    assert done.returncode == 1
    assert f"taxi dev runs already on {dev.folder / 'home'}, at http://127.0.0.1:{dev.port}: two daemons" in done.stderr


def test_the_ui_shows_the_partition_with_metadata_and_checks(ask: Ask) -> None:
    """A month that the command loaded is a partition of its color's asset, with its metadata and its checks."""
    node = ask(PARTITION)["assetNodeOrError"]
    assert node["groupName"] == "fhv"
    assert node["partitionKeys"][0] == "2019-01"
    assert "2020-02" in node["partitionKeys"]
    [materialization] = node["assetMaterializations"]
    assert {"raw_rows", "preview", "nulls_by_column"} <= {
        entry["label"] for entry in materialization["metadataEntries"]
    }
    checks = node["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} >= {"verified", "pickups_in_month", "rows_like_neighbors"}
    assert all(check["executionForLatestMaterialization"]["status"] == "SUCCEEDED" for check in checks)


def test_a_run_of_the_command_can_be_run_again_from_the_ui(dev: Dev, ask: Ask) -> None:
    """The UI finds the job of a run that the command made; its re-execution succeeds, and says where it was."""
    [first] = ask(RUNS)["runsOrError"]["results"]
    launched = ask(AGAIN, run=first["runId"])["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess"

    def statuses() -> list[str]:
        return [run["status"] for run in ask(RUNS)["runsOrError"]["results"]]

    _until(lambda: statuses() == ["SUCCESS", "SUCCESS"], "the second run")
    second, first = ask(RUNS)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in (first, second)]
    assert {of_run["dagster/partition"] for of_run in tags} == {MONTH.month}
    assert {of_run["taxi/color"] for of_run in tags} == {MONTH.color}
    # What the project keeps books with is not among the tags that the UI lists.
    assert not [name for of_run in tags for name in of_run if "process" in name or "alert" in name]
    with open_instance(dev.folder / "home") as instance:
        newest_first = [json.loads(run.tags[PROCESS_TAG]) for run in instance.get_runs()]
    assert [process["run"] for process in newest_first] == [second["runId"], first["runId"]]
    assert newest_first[0]["pid"] != newest_first[1]["pid"]
