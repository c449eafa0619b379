"""The UI of `taxi dev` shows the months and runs of `taxi materialize`, and can re-execute the runs."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.processes import PROCESS_TAG
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN, run, run_well

MONTH = TripMonth("fhv", "2020-02")

Query = Callable[..., dict[str, Any]]

RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
PARTITION = """
{ assetNodeOrError(assetKey: {path: ["fhv", "clean_trips"]}) { ... on AssetNode {
  groupName
  partitionKeys
  assetMaterializations(partitions: ["2020-02"]) { metadataEntries { label } }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
} } }
"""
REEXECUTE = """
mutation ($run: String!) { launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
  __typename ... on LaunchRunSuccess { run { runId } }
} }
"""


class Dev(NamedTuple):
    """A running `taxi dev`: the folder that contains its TAXI_HOME, its port, and its process."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A running `taxi dev`, with one month in its history."""
    folder = tmp_path_factory.mktemp("dev")
    publish(folder / "source", MONTH, 100)
    settings = {"TAXI_HOME": "home", "TAXI_SOURCE_URL": "source"}
    words = ("materialize", "--color", MONTH.color, "--months", MONTH.month, "--select", "raw_trips,clean_trips")
    run_well("taxi", *words, settings=settings, folder=folder)
    port = _free_port()
    process = _start(folder, port)
    yield Dev(folder, port, process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)


def _start(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start `taxi dev` as a shell starts the background processes of a script: they ignore SIGINT."""
    with (folder / "dev.log").open("w") as log:
        return subprocess.Popen(
            ["sh", "-c", f"trap '' INT; exec {BIN / 'taxi'} dev --port {port}"],
            cwd=folder,
            env={**os.environ, "TAXI_HOME": "home", "TAXI_SOURCE_URL": "source", "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
        )


@pytest.fixture(scope="module")
def query(dev: Dev) -> Query:
    """A function that sends GraphQL queries to the UI, once the UI responds."""
    url = f"http://127.0.0.1:{dev.port}/graphql"

    def post(text: str, **variables: str) -> dict[str, Any]:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            data: dict[str, Any] = json.load(response)["data"]
            return data

    _until(lambda: bool(post("{ version }")), "a response of the UI")
    return post


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until(condition: Callable[[], bool], waiting_for: str, timeout_s: float = 60) -> None:
    """Wait until a condition is true. Raise AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        # Before the server listens, it refuses connections.
        with suppress(OSError):
            if condition():
                return
        time.sleep(0.2)
    raise AssertionError(f"waited {timeout_s} s for {waiting_for}")


@pytest.mark.usefixtures("query")
def test_a_home_has_one_daemon(dev: Dev) -> None:
    """A second `taxi dev` for the same TAXI_HOME starts nothing and reports the address of the first one."""
    done = run("taxi", "dev", "--port", str(_free_port()), settings={"TAXI_HOME": "home"}, folder=dev.folder)
    assert done.returncode == 1
    assert str(dev.folder / "home") in done.stderr
    assert f"http://127.0.0.1:{dev.port}" in done.stderr
    assert "[dev-already-running]" in done.stderr


def test_the_start_ends_with_the_address(dev: Dev) -> None:
    """When the UI and the daemon have started, the last line has the address of the UI and how to stop it."""

    def last_line() -> str:
        return (dev.folder / "dev.log").read_text().splitlines()[-1]

    _until(lambda: f"http://127.0.0.1:{dev.port}" in last_line() and "Ctrl-C" in last_line(), "the address")
    assert "Serving dagster-webserver" in (dev.folder / "dev.log").read_text()


def test_the_ui_shows_the_partition_with_metadata_and_checks(query: Query) -> None:
    """A month that `taxi materialize` loaded is a partition of its color's assets, with metadata and checks."""
    node = query(PARTITION)["assetNodeOrError"]
    assert node["groupName"] == "fhv"
    assert node["partitionKeys"][0] == "2015-01"
    assert "2020-02" in node["partitionKeys"]
    [materialization] = node["assetMaterializations"]
    assert {"raw_rows", "preview", "nulls_by_column"} <= {
        entry["label"] for entry in materialization["metadataEntries"]
    }
    checks = node["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} >= {"verified", "pickups_in_month", "rows_like_neighbors"}
    assert all(check["executionForLatestMaterialization"]["status"] == "SUCCEEDED" for check in checks)


def test_the_ui_can_reexecute_a_run_of_the_command(dev: Dev, query: Query) -> None:
    """The UI finds the job of a run that the command created. The re-execution succeeds and records its process."""
    [first] = query(RUNS)["runsOrError"]["results"]
    launched = query(REEXECUTE, run=first["runId"])["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess"

    def statuses() -> list[str]:
        return [run["status"] for run in query(RUNS)["runsOrError"]["results"]]

    _until(lambda: statuses() == ["SUCCESS", "SUCCESS"], "the second run")
    second, first = query(RUNS)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in (first, second)]
    assert {run_tags["dagster/partition"] for run_tags in tags} == {MONTH.month}
    assert {run_tags["taxi/color"] for run_tags in tags} == {MONTH.color}
    # The UI does not list the tags that only the project uses.
    assert not [name for run_tags in tags for name in run_tags if "process" in name or "alert" in name]
    with open_instance(dev.folder / "home") as instance:
        newest_first = [json.loads(run.tags[PROCESS_TAG]) for run in instance.get_runs()]
    assert [process["run"] for process in newest_first] == [second["runId"], first["runId"]]
    assert newest_first[0]["pid"] != newest_first[1]["pid"]


@pytest.mark.usefixtures("query")
def test_dev_that_was_killed(dev: Dev) -> None:
    """What a killed `taxi dev` started ends before a new one starts, which ends on SIGTERM. They leave no files."""
    started = psutil.Process(dev.process.pid).children(recursive=True)
    assert len(started) >= 4  # the webserver, the daemon, the code server and its proxy
    dev.process.kill()
    dev.process.wait()
    again = _start(dev.folder, dev.port)
    _until(lambda: "Launching" in (dev.folder / "dev.log").read_text(), "the start of the new processes")
    assert not [process.pid for process in started if _is_alive(process)]
    started = psutil.Process(again.pid).children(recursive=True)
    again.terminate()
    again.wait(timeout=30)
    _until(lambda: not any(_is_alive(process) for process in started), "the end of the new processes")
    assert not [path.name for path in dev.folder.iterdir() if path.name not in ("home", "source", "dev.log")]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
