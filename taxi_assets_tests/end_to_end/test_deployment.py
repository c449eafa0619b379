"""The deployment, for real: its image is built, all of it is started, runs are containers, some of those are killed.

It needs a Docker engine with compose. The months are real where REAL_TRIPS names a folder that has them, else made up.
"""

import csv
import gzip
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.trips import TripMonth

pytestmark = pytest.mark.deployment

CHECKOUT = Path(__file__).parent.parent.parent
PROJECT = "taxi-test"
IMAGE = "taxi-assets:test"
LABEL = f"taxi.deployment={PROJECT}"
LOCATION = "taxi_assets.definitions"

THREE = (("green", "2020-03"), ("green", "2020-04"), ("yellow", "2020-04"))
SIX = [f"2019-{month:02d}" for month in range(3, 9)]
KILLED, CANCELLED, WAITING = ("green", "2020-05"), ("green", "2020-06"), ("green", "2020-07")

LAUNCH = """
mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }
"""
BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $backfill) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
} }
"""
CANCEL = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status parentRunId tags { key value } } } } }"
EVENTS = """
query ($run: ID!) { logsForRun(runId: $run) {
  ... on EventConnection { events { ... on LogsCapturedEvent { fileKey } } }
} }
"""
LOGS = "query ($key: [String!]!) { capturedLogsMetadata(logKey: $key) { stderrLocation } }"


@dataclass(frozen=True)
class Run:
    """A run, as the web API tells it."""

    id: str
    job: str
    status: str
    parent: str | None
    tags: dict[str, str]

    @property
    def month(self) -> tuple[str, str]:
        """Its color and month."""
        return self.job.removeprefix("load_"), self.tags["dagster/partition"]

    @property
    def container(self) -> str:
        """The container that it ran in."""
        return self.tags["docker/container_id"]


@dataclass
class Deployment:
    """A deployment that is up, asked as people ask it: by compose, by the engine, by the web API."""

    files: list[Path]
    environment: dict[str, str]
    password: str = field(repr=False)

    def compose(self, *words: str) -> str:
        """What a command of compose prints, when it succeeds."""
        files = [word for file in self.files for word in ("--file", str(file))]
        return _done(["docker", "compose", "--project-name", PROJECT, *files, *words], self.environment)

    def ask(self, query: str, **variables: object) -> Any:
        """The one answer of a query or a mutation of the web API."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.environment['UI_PORT']}/graphql"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # loopback
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer = json.load(response)
        assert "errors" not in answer, answer
        [data] = answer["data"].values()
        return data

    def launch(self, color: str, month: str) -> str:
        """Ask for a run of a color's job with the tag that the UI gives it; its id."""
        launched = self.ask(
            LAUNCH,
            run={
                "selector": {**_REPOSITORY, "jobName": f"load_{color}"},
                "mode": "default",
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": month}]},
            },
        )
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, color: str, months: list[str]) -> None:
        """Ask for a backfill of a color's job."""
        selector = {"partitionSetName": f"load_{color}_partition_set", "repositorySelector": _REPOSITORY}
        launched = self.ask(BACKFILL, backfill={"selector": selector, "partitionNames": months})
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        return [
            Run(
                told["runId"],
                told["jobName"],
                told["status"],
                told["parentRunId"],
                {tag["key"]: tag["value"] for tag in told["tags"]},
            )
            for told in self.ask(RUNS)["results"]
        ]

    def run(self, run_id: str) -> Run:
        """One run."""
        return next(run for run in self.runs() if run.id == run_id)

    def wait_for(self, run_id: str, status: str) -> Run:
        """A run, once it has a status."""
        _until(lambda: self.run(run_id).status == status, f"{run_id} to be {status}")
        return self.run(run_id)

    def statuses(self, *months: tuple[str, str]) -> list[str]:
        """The statuses of all runs of some months, sorted."""
        return sorted(run.status for run in self.runs() if run.month in months)

    def rows(self, color: str) -> dict[str, int]:
        """The rows by month of a color's table in Postgres."""
        sql = f"SELECT to_char(file_month, 'YYYY-MM'), count(*) FROM {color}_taxi_trips GROUP BY 1"
        words = ["psql", "--username=taxi", "--dbname=ny_taxi", "--csv", "--tuples-only", f"--command={sql}"]
        lines = self.compose("exec", "--no-TTY", "postgres", *words).split()
        return {line.split(",")[0]: int(line.split(",")[1]) for line in lines}

    @contextmanager
    def held(self, color: str) -> Iterator[None]:
        """Let runs of a color come as far as their clean file, and wait there."""
        holder = (
            "import fcntl, pathlib, sys\n"
            f"lock = pathlib.Path('/taxi_home/clean/{color}/.publish.lock')\n"
            "lock.parent.mkdir(parents=True, exist_ok=True)\n"
            "file = lock.open('a'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
        )
        container = self.compose("ps", "--quiet", "code").strip()
        words = ["docker", "exec", "--interactive", container, "python", "-c", holder]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            try:
                yield
            finally:
                process.stdin.close()


_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}


def _done(words: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _until(true: Callable[[], bool], waiting_for: str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {waiting_for}"
        time.sleep(0.5)


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def _left(kind: str) -> list[str]:
    """What is there of the deployment: containers, networks or volumes."""
    listed = {
        "container": ["docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"],
        "run": ["docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}"],
        "network": ["docker", "network", "ls", "--quiet", "--filter", f"name=^{PROJECT}"],
        "volume": ["docker", "volume", "ls", "--quiet", "--filter", f"name=^{PROJECT}"],
    }
    return _done(listed[kind]).split()


def _rows_with_passengers(source: Path, color: str, month: str) -> int:
    """The rows of a raw file that do not report 0 passengers, as Python's own csv and gzip see them."""
    with gzip.open(source / color / f"{color}_tripdata_{month}.csv.gz", "rt", newline="") as file:
        return sum(1 for row in csv.DictReader(file) if float(row["passenger_count"] or 1) != 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of months."""
    if not os.environ.get("TEST_STACK"):
        pytest.skip("TEST_STACK is not set: make test-stack builds the image and starts the deployment")
    if named := os.environ.get("REAL_TRIPS"):
        return Path(named).resolve(strict=True)
    folder = tmp_path_factory.mktemp("source")
    for color, month in (*THREE, KILLED, CANCELLED, WAITING, *(("yellow", month) for month in SIX)):
        made = TripMonth(color, month)
        (folder / color).mkdir(exist_ok=True)
        write_sample(made, 10_000, folder / color / f"{made.stem}.csv.gz")
    # The containers' user is another one.
    for path in (folder, *folder.rglob("*"), *folder.parents[:2]):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def deployment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment on the months, with a name, ports, volumes and an image of its own; nothing stays of it."""
    password = secrets.token_hex(24)
    mounts = [f"{PROJECT}_home:/taxi_home", f"{source}:/source:ro"]
    of_runs = {"volumes": mounts, "labels": dict([LABEL.split("=")])}
    override = tmp_path_factory.mktemp("deployment") / "override.json"
    override.write_text(
        json.dumps(
            {
                "services": {
                    "code": {
                        "environment": {
                            "DAGSTER_CONTAINER_CONTEXT": json.dumps({"docker": {"container_kwargs": of_runs}})
                        },
                        "volumes": mounts[1:],
                    }
                }
            }
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAXI_")}
    environment |= {
        "TAXI_IMAGE": IMAGE,
        "TAXI_SOURCE_URL": "/source",
        "POSTGRES_PASSWORD": password,
        "DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
        "UI_PORT": _free_port(),
        "POSTGRES_PORT": _free_port(),
        "REVISION": "tested",
    }
    made = Deployment([CHECKOUT / "docker-compose.yml", override], environment, password)
    try:
        made.compose("build")
        made.compose("up", "--detach", "--wait")
        yield made
    finally:
        _take_down(made)


def _take_down(deployment: Deployment) -> None:
    deployment.compose("stop", "daemon")
    if runs := _left("run"):
        _done(["docker", "rm", "--force", *runs])
    deployment.compose("down", "--volumes", "--remove-orphans")


def test_the_image_holds_no_secret_and_no_root(deployment: Deployment) -> None:
    """No layer, command or variable of the image has the password, and its user is not root."""
    told = _done(["docker", "history", "--no-trunc", IMAGE]) + _done(["docker", "image", "inspect", IMAGE])
    assert deployment.password not in told
    assert "PASSWORD" not in told
    [user] = (json.loads(_done(["docker", "image", "inspect", "--format", "{{json .Config.User}}", IMAGE]).split()[0]),)
    assert user == "1000:1000"
    files = _done(["docker", "run", "--rm", "--entrypoint", "find", IMAGE, "/opt/taxi", "/taxi_home", "-name", ".*"])
    assert files.split() == []


@pytest.mark.usefixtures("deployment")
def test_nothing_listens_beyond_this_machine() -> None:
    """Every port that is published is on loopback."""
    published = _done(
        ["docker", "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Ports}}"]
    )
    addresses = {address for line in published.split() if "->" in line for address in [line.rpartition(":")[0]]}
    assert addresses == {"127.0.0.1"}


def test_months_are_loaded_each_in_a_container(deployment: Deployment, source: Path) -> None:
    """A run of the web API is a container of the image, read-only, and its rows are in Postgres."""
    runs = [deployment.launch(*month) for month in THREE]
    done = [deployment.wait_for(run, "SUCCESS") for run in runs]
    assert len({run.container for run in done}) == len(THREE)
    assert {run.tags["taxi/revision"] for run in done} == {"tested"}
    assert [(run.tags["taxi/color"], run.tags["dagster/partition"]) for run in done] == list(THREE)
    for run in done:
        [told] = json.loads(_done(["docker", "inspect", run.container]))
        assert told["Config"]["Image"] == IMAGE
        assert told["HostConfig"]["ReadonlyRootfs"]
        assert told["State"]["ExitCode"] == 0
    loaded = {(color, month): rows for color in ("green", "yellow") for month, rows in deployment.rows(color).items()}
    assert loaded == {month: _rows_with_passengers(source, *month) for month in THREE}


def test_a_killed_container_is_a_failed_run_that_is_run_again(deployment: Deployment) -> None:
    """A run whose container is killed fails, and another takes its place and loads the month."""
    run_id = deployment.launch(*KILLED)
    with deployment.held("green"):
        run = deployment.wait_for(run_id, "STARTED")
        _done(["docker", "kill", run.container])
        deployment.wait_for(run_id, "FAILURE")
    _until(lambda: deployment.statuses(KILLED) == ["FAILURE", "SUCCESS"], "the run that takes its place")
    [again] = [run for run in deployment.runs() if run.parent == run_id]
    assert again.container != run.container
    assert KILLED[1] in deployment.rows("green")


def test_a_cancelled_run_stops_its_container_and_leaves_the_queue(deployment: Deployment) -> None:
    """Of three runs of a color the third waits; when one is cancelled, its container stops, and the third starts."""
    with deployment.held("green"):
        running = [deployment.launch(*CANCELLED), deployment.launch(*CANCELLED)]
        started = [deployment.wait_for(run, "STARTED") for run in running]
        waiting = deployment.launch(*WAITING)
        deployment.wait_for(waiting, "QUEUED")
        time.sleep(5)
        assert deployment.run(waiting).status == "QUEUED"
        for run in running:
            deployment.ask(CANCEL, run=run)
            deployment.wait_for(run, "CANCELED")
        deployment.wait_for(waiting, "STARTED")
    for cancelled in started:
        assert _done(["docker", "inspect", "--format", "{{.State.Running}}", cancelled.container]).strip() == "false"
    deployment.wait_for(waiting, "SUCCESS")
    assert CANCELLED[1] not in deployment.rows("green")


def test_a_backfill_goes_on_when_the_daemon_is_restarted(deployment: Deployment) -> None:
    """Of a backfill of six months of a color two run at once; all are loaded, though the daemon is restarted meanwhile.

    One that is killed is run again.
    """
    months = [("yellow", month) for month in SIX]
    with deployment.held("yellow"):
        deployment.backfill("yellow", SIX)
        _until(lambda: deployment.statuses(*months) == ["QUEUED"] * 4 + ["STARTED"] * 2, "two of six to be started")
        deployment.compose("restart", "daemon")
        assert deployment.statuses(*months) == ["QUEUED"] * 4 + ["STARTED"] * 2
        killed = next(run for run in deployment.runs() if run.month in months and run.status == "STARTED")
        _done(["docker", "kill", killed.container])
        deployment.wait_for(killed.id, "FAILURE")
    _until(lambda: deployment.statuses(*months) == ["FAILURE", *["SUCCESS"] * 6], "six months", timeout_s=300)
    assert set(SIX) <= deployment.rows("yellow").keys()


def test_commands_in_a_container_are_of_the_same_history(deployment: Deployment) -> None:
    """`taxi status` knows the months that containers loaded; `taxi doctor` has nothing to mend, and says the image."""
    months = json.loads(deployment.compose("exec", "--no-TTY", "code", "taxi", "status", "--json"))
    assert {(month["color"], month["month"]) for month in months if month["standing"] == "loaded"} >= set(THREE)
    findings = json.loads(deployment.compose("exec", "--no-TTY", "code", "taxi", "doctor", "--json"))
    seen = {finding["system"]: finding["seen"] for finding in findings}
    assert f"image {IMAGE} of revision tested" in seen["versions"]
    assert "postgres" in seen["history"]
    assert deployment.password not in str(findings)


def test_a_month_is_not_loaded_beside_the_queue(deployment: Deployment) -> None:
    """`taxi materialize` in a container refuses: the daemon would take its run for dead."""
    words = ["docker", "exec", deployment.compose("ps", "--quiet", "code").strip(), "taxi", "materialize"]
    done = subprocess.run(
        [*words, "--color", "green", "--months", "2020-03"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "are started by its daemon" in done.stderr


def test_the_clean_up_leaves_the_logs(deployment: Deployment) -> None:
    """The clean-up removes the containers of ended runs; what these said is still shown."""
    assert _left("run")
    _clean_up(deployment, f"remove_containers('{LABEL}', 0)")
    assert not _left("run")
    run = next(run for run in deployment.runs() if run.status == "SUCCESS")
    [key] = [event["fileKey"] for event in deployment.ask(EVENTS, run=run.id)["events"] if event]
    log = deployment.ask(LOGS, key=[run.id, "compute_logs", key])["stderrLocation"]
    deployment.compose("exec", "--no-TTY", "code", "test", "-f", log)


def test_the_clean_up_leaves_what_is_told(deployment: Deployment) -> None:
    """The clean-up removes runs that others took the place of; the months are told as before."""
    month = THREE[0]
    deployment.wait_for(deployment.launch(*month), "SUCCESS")
    assert deployment.statuses(month) == ["SUCCESS", "SUCCESS"]
    words = ["exec", "--no-TTY", "code", "taxi", "status", "--json"]
    told = deployment.compose(*words)
    _clean_up(deployment, "remove_runs(0)")
    assert deployment.statuses(month) == ["SUCCESS"]
    assert deployment.compose(*words) == told


def _clean_up(deployment: Deployment, call: str) -> None:
    """Let the clean-up do one of its works now."""
    script = f"import sys; sys.path.append('/opt/taxi'); import clean_up; clean_up.{call}"
    deployment.compose("exec", "--no-TTY", "clean-up", "python", "-c", script)


def test_nothing_stays_of_it(deployment: Deployment) -> None:
    """Taken down with its volumes, it leaves no container, network or volume."""
    assert all(_left(kind) for kind in ("container", "network", "volume"))
    _take_down(deployment)
    assert {kind: _left(kind) for kind in ("container", "run", "network", "volume")} == {
        kind: [] for kind in ("container", "run", "network", "volume")
    }
