"""The deployment on a real Docker engine: the image, the services, runs in containers, and recovery from killed ones.

The tests need Docker with compose. They use real months if REAL_TRIPS names a folder of them, otherwise sample months.
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
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.months import publish

pytestmark = pytest.mark.deployment

CHECKOUT = Path(__file__).parent.parent.parent
PROJECT, SECOND = "taxi-test", "taxi-second"
IMAGE = "taxi-assets:test"
LABEL = f"taxi.deployment={PROJECT}"
LOCATION = "taxi_assets.definitions"

THREE = (("green", "2020-03"), ("green", "2020-04"), ("yellow", "2020-04"))
SIX = [f"2019-{month:02d}" for month in range(3, 9)]
KILLED, CANCELED, QUEUED = ("green", "2020-05"), ("green", "2020-06"), ("green", "2020-07")

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
    """A run, as the GraphQL API returns it."""

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
    """A running deployment, accessed with docker compose and with the GraphQL API of the webserver."""

    files: list[Path]
    environment: dict[str, str] = field(repr=False)
    project: str = PROJECT

    @property
    def password(self) -> str:
        """The password of Postgres."""
        return self.environment["POSTGRES_PASSWORD"]

    def compose(self, *words: str) -> str:
        """Run docker compose, which must succeed, and return what it prints."""
        files = [word for file in self.files for word in ("--file", str(file))]
        return _run(["docker", "compose", "--project-name", self.project, *files, *words], self.environment)

    def query(self, text: str, **variables: object) -> Any:
        """Send a GraphQL query or mutation and return its only result."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.environment['UI_PORT']}/graphql"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # loopback
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            result = json.load(response)
        assert "errors" not in result, result
        [data] = result["data"].values()
        return data

    def launch(self, color: str, month: str) -> str:
        """Launch a run of a color's job for a month, as the UI does. Return the run ID."""
        launched = self.query(
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
        """Launch a backfill of a color's job."""
        selector = {"partitionSetName": f"load_{color}_partition_set", "repositorySelector": _REPOSITORY}
        launched = self.query(BACKFILL, backfill={"selector": selector, "partitionNames": months})
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return [
            Run(
                run["runId"],
                run["jobName"],
                run["status"],
                run["parentRunId"],
                {tag["key"]: tag["value"] for tag in run["tags"]},
            )
            for run in self.query(RUNS)["results"]
        ]

    def run(self, run_id: str) -> Run:
        """One run."""
        return next(run for run in self.runs() if run.id == run_id)

    def wait_for(self, run_id: str, status: str) -> Run:
        """Wait until a run has a status, and return the run."""
        _until(lambda: self.run(run_id).status == status, f"{run_id} to be {status}")
        return self.run(run_id)

    def statuses(self, *months: tuple[str, str]) -> list[str]:
        """The statuses of all runs of these months, sorted."""
        return sorted(run.status for run in self.runs() if run.month in months)

    def rows(self, color: str) -> dict[str, int]:
        """The row count of each month in a color's table in Postgres."""
        lines = self.psql(f"SELECT to_char(file_month, 'YYYY-MM'), count(*) FROM {color}_taxi_trips GROUP BY 1")
        return {line.split(",")[0]: int(line.split(",")[1]) for line in lines}

    def psql(self, sql: str) -> list[str]:
        """The rows of a query as CSV lines, from psql in the container of Postgres."""
        words = ["psql", "--username=taxi", "--dbname=ny_taxi", "--csv", "--tuples-only", f"--command={sql}"]
        return self.compose("exec", "--no-TTY", "postgres", *words).splitlines()

    @contextmanager
    def locked_clean_files(self, color: str) -> Iterator[None]:
        """Lock the clean files of a color, so that its runs wait before they publish one."""
        script = (
            "import fcntl, pathlib, sys\n"
            f"lock = pathlib.Path('/taxi_home/clean/{color}/.publish.lock')\n"
            "lock.parent.mkdir(parents=True, exist_ok=True)\n"
            "file = lock.open('a'); fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
        )
        container = self.compose("ps", "--quiet", "code").strip()
        words = ["docker", "exec", "--interactive", container, "python", "-c", script]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "locked\n"
            try:
                yield
            finally:
                process.stdin.close()


_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}


def _run(words: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command, which must succeed, and return what it prints."""
    done = subprocess.run(
        words, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _until(condition: Callable[[], bool], waiting_for: str, timeout_s: float = 180) -> None:
    """Wait until a condition is true. Raise AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {waiting_for}"
        time.sleep(0.5)


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def _existing(kind: str, project: str = PROJECT) -> list[str]:
    """The IDs or names of a deployment's containers, containers of runs, networks or volumes."""
    listed = {
        "container": ["docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}"],
        "run": ["docker", "ps", "--all", "--quiet", "--filter", f"label=taxi.deployment={project}"],
        "network": ["docker", "network", "ls", "--quiet", "--filter", f"name=^{project}"],
        "volume": ["docker", "volume", "ls", "--quiet", "--filter", f"name=^{project}"],
    }
    return _run(listed[kind]).split()


def _rows_with_passengers(source: Path, color: str, month: str) -> int:
    """Count the rows of a raw file that do not have 0 passengers, with Python's csv and gzip modules."""
    with gzip.open(source / color / f"{color}_tripdata_{month}.csv.gz", "rt", newline="") as file:
        return sum(1 for row in csv.DictReader(file) if float(row["passenger_count"] or 1) != 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real or sample months."""
    if not os.environ.get("TEST_STACK"):
        pytest.skip("TEST_STACK is not set: make test-stack builds the image and starts the deployment")
    if named := os.environ.get("REAL_TRIPS"):
        return Path(named).resolve(strict=True)
    folder = tmp_path_factory.mktemp("source")
    for color, month in (*THREE, KILLED, CANCELED, QUEUED, *(("yellow", month) for month in SIX)):
        publish(folder, TripMonth(color, month), 10_000)
    # The user of the containers must be able to read the files.
    for path in (folder, *folder.rglob("*"), *folder.parents[:2]):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def deployment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment with its own project name, ports, volumes and image. It is deleted at the end."""
    mounts = [f"{PROJECT}_home:/taxi_home", f"{source}:/source:ro"]
    run_containers = {"volumes": mounts, "labels": dict([LABEL.split("=")])}
    override = tmp_path_factory.mktemp("deployment") / "override.json"
    override.write_text(
        json.dumps(
            {
                "services": {
                    "code": {
                        "environment": {
                            "DAGSTER_CONTAINER_CONTEXT": json.dumps({"docker": {"container_kwargs": run_containers}})
                        },
                        "volumes": mounts[1:],
                    }
                }
            }
        )
    )
    deployment = Deployment([CHECKOUT / "docker-compose.yml", override], _environment("/source"))
    # Tests that were killed left these, with another password of Postgres.
    for left in (deployment, _second(deployment)):
        _delete(left)
    try:
        deployment.compose("build")
        deployment.compose("up", "--detach", "--wait")
        yield deployment
    finally:
        _delete(deployment)


def _second(deployment: Deployment) -> Deployment:
    """Another deployment on the same host, with the files of this repository as they are."""
    environment = {**_environment("/taxi_home/months"), "COMPOSE_PROJECT_NAME": SECOND}
    return Deployment([deployment.files[0]], environment, SECOND)


def _environment(source: str) -> dict[str, str]:
    """The settings of a deployment with free ports and a new password."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TAXI_")},
        "TAXI_IMAGE": IMAGE,
        "TAXI_SOURCE_URL": source,
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
        "UI_PORT": _free_port(),
        "POSTGRES_PORT": _free_port(),
        "REVISION": "tested",
    }


def _delete(deployment: Deployment) -> None:
    """Delete the containers, networks and volumes of a deployment, if there are any."""
    deployment.compose("stop", "daemon")
    if runs := _existing("run", deployment.project):
        _run(["docker", "rm", "--force", *runs])
    deployment.compose("down", "--volumes", "--remove-orphans")


def test_the_image_has_no_secrets_and_does_not_run_as_root(deployment: Deployment) -> None:
    """No layer, command or variable of the image has the password, and its user is not root."""
    description = _run(["docker", "history", "--no-trunc", IMAGE]) + _run(["docker", "image", "inspect", IMAGE])
    assert deployment.password not in description
    assert "PASSWORD" not in description
    [user] = (json.loads(_run(["docker", "image", "inspect", "--format", "{{json .Config.User}}", IMAGE]).split()[0]),)
    assert user == "1000:1000"
    files = _run(["docker", "run", "--rm", "--entrypoint", "find", IMAGE, "/opt/taxi", "/taxi_home", "-name", ".*"])
    assert files.split() == []


@pytest.mark.usefixtures("deployment")
def test_all_ports_are_on_the_loopback_interface() -> None:
    """Every published port listens only on 127.0.0.1."""
    published = _run(
        ["docker", "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Ports}}"]
    )
    addresses = {address for line in published.split() if "->" in line for address in [line.rpartition(":")[0]]}
    assert addresses == {"127.0.0.1"}


def test_the_webserver_refuses_requests_of_other_pages(deployment: Deployment) -> None:
    """The webserver accepts mutations only by POST, from its own pages, for its own names."""
    port = int(deployment.environment["UI_PORT"])

    def status(method: str, **headers: str) -> int:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, "/graphql?query=mutation%20%7B%20__typename%20%7D", headers=headers)
            with connection.getresponse() as response:
                return response.status

    assert status("POST") == 200
    assert status("POST", Origin=f"http://127.0.0.1:{port}") == 200
    assert status("POST", Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
    assert status("POST", Host="webserver:3000") == 200
    assert status("GET") == 403
    assert status("POST", Origin="http://other.example") == 403
    assert status("POST", Host=f"other.example:{port}", Origin=f"http://other.example:{port}") == 403


def test_postgres_has_few_privileges(deployment: Deployment) -> None:
    """The user that loads the trips is not a superuser, and the server has no Linux capability."""
    sql = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert deployment.psql(sql) == ["f,f,f"]
    status = deployment.compose("exec", "--no-TTY", "postgres", "cat", "/proc/1/status")
    capabilities = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Cap")}
    assert int(capabilities["CapEff"], 16) == 0
    assert int(capabilities["CapBnd"], 16).bit_count() == 5


def test_each_run_has_its_own_container(deployment: Deployment, source: Path) -> None:
    """Each run is a container of the image with a read-only root file system, and its rows are in Postgres."""
    ids = [deployment.launch(*month) for month in THREE]
    runs = [deployment.wait_for(run_id, "SUCCESS") for run_id in ids]
    assert len({run.container for run in runs}) == len(THREE)
    assert {run.tags["taxi/revision"] for run in runs} == {"tested"}
    assert [(run.tags["taxi/color"], run.tags["dagster/partition"]) for run in runs] == list(THREE)
    for run in runs:
        [container] = json.loads(_run(["docker", "inspect", run.container]))
        assert container["Config"]["Image"] == IMAGE
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["State"]["ExitCode"] == 0
    loaded = {(color, month): rows for color in ("green", "yellow") for month, rows in deployment.rows(color).items()}
    assert loaded == {month: _rows_with_passengers(source, *month) for month in THREE}


def test_a_run_whose_container_is_killed_is_retried(deployment: Deployment) -> None:
    """A run whose container is killed fails. The daemon retries it in another container, which loads the month."""
    run_id = deployment.launch(*KILLED)
    with deployment.locked_clean_files("green"):
        run = deployment.wait_for(run_id, "STARTED")
        _run(["docker", "kill", run.container])
        deployment.wait_for(run_id, "FAILURE")
    _until(lambda: deployment.statuses(KILLED) == ["FAILURE", "SUCCESS"], "the retry of the run")
    [retry] = [run for run in deployment.runs() if run.parent == run_id]
    assert retry.container != run.container
    assert KILLED[1] in deployment.rows("green")


def test_a_canceled_run_stops_its_container_and_frees_its_place(deployment: Deployment) -> None:
    """The third run of a color is queued. After a cancellation, the container stops and the queued run starts."""
    with deployment.locked_clean_files("green"):
        running = [deployment.launch(*CANCELED), deployment.launch(*CANCELED)]
        started = [deployment.wait_for(run_id, "STARTED") for run_id in running]
        queued = deployment.launch(*QUEUED)
        deployment.wait_for(queued, "QUEUED")
        time.sleep(5)
        assert deployment.run(queued).status == "QUEUED"
        for run_id in running:
            deployment.query(CANCEL, run=run_id)
            deployment.wait_for(run_id, "CANCELED")
        deployment.wait_for(queued, "STARTED")
    for run in started:
        assert _run(["docker", "inspect", "--format", "{{.State.Running}}", run.container]).strip() == "false"
    deployment.wait_for(queued, "SUCCESS")
    assert CANCELED[1] not in deployment.rows("green")


def test_a_backfill_continues_after_a_restart_of_the_daemon(deployment: Deployment) -> None:
    """A backfill of six months runs two at a time, and loads all of them although the daemon restarts.

    A run whose container is killed is retried.
    """
    months = [("yellow", month) for month in SIX]
    with deployment.locked_clean_files("yellow"):
        deployment.backfill("yellow", SIX)
        _until(lambda: deployment.statuses(*months) == ["QUEUED"] * 4 + ["STARTED"] * 2, "two started runs of six")
        deployment.compose("restart", "daemon")
        assert deployment.statuses(*months) == ["QUEUED"] * 4 + ["STARTED"] * 2
        killed = next(run for run in deployment.runs() if run.month in months and run.status == "STARTED")
        _run(["docker", "kill", killed.container])
        deployment.wait_for(killed.id, "FAILURE")
    _until(lambda: deployment.statuses(*months) == ["FAILURE", *["SUCCESS"] * 6], "six months", timeout_s=300)
    assert set(SIX) <= deployment.rows("yellow").keys()


def test_commands_in_a_container_use_the_same_history(deployment: Deployment) -> None:
    """`taxi status` shows the months that containers loaded, and `taxi doctor` finds no error and shows the image."""
    months = json.loads(deployment.compose("exec", "--no-TTY", "code", "taxi", "status", "--json"))
    assert {(month["color"], month["month"]) for month in months if month["status"] == "loaded"} >= set(THREE)
    findings = json.loads(deployment.compose("exec", "--no-TTY", "code", "taxi", "doctor", "--json"))
    seen = {finding["system"]: finding["seen"] for finding in findings}
    assert f"image {IMAGE} of revision tested" in seen["versions"]
    assert "postgres" in seen["history"]
    assert deployment.password not in str(findings)


def test_materialize_fails_in_a_deployment(deployment: Deployment) -> None:
    """`taxi materialize` in a container fails, because the daemon would treat its run as dead."""
    words = ["docker", "exec", deployment.compose("ps", "--quiet", "code").strip(), "taxi", "materialize"]
    done = subprocess.run(
        [*words, "--color", "green", "--months", "2020-03"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "[runs-elsewhere]" in done.stderr


def test_the_clean_up_keeps_logs(deployment: Deployment) -> None:
    """The clean-up deletes the containers of finished runs. The UI still shows their output."""
    assert _existing("run")
    _clean_up(deployment, f"remove_containers('{LABEL}', 0)")
    assert not _existing("run")
    run = next(run for run in deployment.runs() if run.status == "SUCCESS")
    [key] = [event["fileKey"] for event in deployment.query(EVENTS, run=run.id)["events"] if event]
    log = deployment.query(LOGS, key=[run.id, "compute_logs", key])["stderrLocation"]
    deployment.compose("exec", "--no-TTY", "code", "test", "-f", log)


def test_the_clean_up_keeps_the_status_of_months(deployment: Deployment) -> None:
    """The clean-up deletes runs that newer runs replaced. The output of `taxi status` stays the same."""
    month = THREE[0]
    deployment.wait_for(deployment.launch(*month), "SUCCESS")
    assert deployment.statuses(month) == ["SUCCESS", "SUCCESS"]
    words = ["exec", "--no-TTY", "code", "taxi", "status", "--json"]
    before = deployment.compose(*words)
    _clean_up(deployment, "remove_runs(0)")
    assert deployment.statuses(month) == ["SUCCESS"]
    assert deployment.compose(*words) == before


def _clean_up(deployment: Deployment, call: str) -> None:
    """Call a function of the clean-up now."""
    script = f"import sys; sys.path.append('/opt/taxi'); import clean_up; clean_up.{call}"
    deployment.compose("exec", "--no-TTY", "clean-up", "python", "-c", script)


@pytest.fixture
def second(deployment: Deployment) -> Iterator[Deployment]:
    """Another deployment on the same host, with the files of this repository as they are."""
    opened = _second(deployment)
    try:
        opened.compose("up", "--detach", "--wait", "--no-build")
        yield opened
    finally:
        _delete(opened)


def test_two_deployments_share_nothing(deployment: Deployment, second: Deployment) -> None:
    """Each has its own runs, volumes, label and clean-up, and `make down` stops only one of them."""
    color, month = THREE[0]
    words = ["--color", color, "--months", month, "--rows", "1000"]
    second.compose("exec", "--no-TTY", "code", "taxi", "sample", "/taxi_home/months", *words)
    loaded = deployment.rows(color)
    run = second.wait_for(second.launch(color, month), "SUCCESS")
    assert second.rows(color).keys() == {month}
    assert deployment.rows(color) == loaded
    assert run.id not in {known.id for known in deployment.runs()}
    [container] = json.loads(_run(["docker", "inspect", run.container]))
    assert [mount["Name"] for mount in container["Mounts"]] == [f"{SECOND}_home"]
    assert container["NetworkSettings"]["Networks"].keys() == {SECOND}
    _clean_up(deployment, f"remove_containers('{LABEL}', 0)")
    assert len(_existing("run", SECOND)) == 1
    services = deployment.compose("ps", "--services")
    _run(["make", "down"], second.environment)
    assert (_existing("run", SECOND), _existing("container", SECOND)) == ([], [])
    assert deployment.compose("ps", "--services") == services


def test_a_deleted_deployment_leaves_nothing(deployment: Deployment) -> None:
    """After the deployment is deleted with its volumes, it has no container, network or volume."""
    assert all(_existing(kind) for kind in ("container", "network", "volume"))
    _delete(deployment)
    assert {kind: _existing(kind) for kind in ("container", "run", "network", "volume")} == {
        kind: [] for kind in ("container", "run", "network", "volume")
    }
