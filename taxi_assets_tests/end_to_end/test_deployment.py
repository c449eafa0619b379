"""The deployment on a real Docker engine: the image, the services, runs in containers, and recovery from killed ones.

The tests need Docker with compose. They use real months if REAL_TRIPS names a folder of them, otherwise sample months.
"""

import csv
import gzip
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.end_to_end.deployment import (
    CHECKOUT,
    Deployment,
    delete,
    existing,
    let_containers_read,
    new_settings,
    run_command,
    until,
    write_override,
)
from taxi_assets_tests.end_to_end.image import files_of
from taxi_assets_tests.months import publish
from taxi_assets_tests.planted import Secrets

pytestmark = pytest.mark.deployment

PROJECT, SECOND = "taxi-test", "taxi-second"
IMAGE = "taxi-assets:test"
LABEL = f"taxi.deployment={PROJECT}"

THREE = (("green", "2020-03"), ("green", "2020-04"), ("yellow", "2020-04"))
FOUR = [f"2019-{month:02d}" for month in range(3, 7)]
KILLED, CANCELED, QUEUED = ("green", "2020-05"), ("green", "2020-06"), ("green", "2020-07")

CANCEL = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
EVENTS = """
query ($run: ID!) { logsForRun(runId: $run) {
  ... on EventConnection { events { ... on LogsCapturedEvent { fileKey } } }
} }
"""
LOGS = "query ($key: [String!]!) { capturedLogsMetadata(logKey: $key) { stderrLocation } }"


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
    for color, month in (*THREE, KILLED, CANCELED, QUEUED, *(("yellow", month) for month in FOUR)):
        publish(folder, TripMonth(color, month), 10_000)
    let_containers_read(folder)
    return folder


@pytest.fixture(scope="module")
def planted() -> Secrets:
    """The secrets that `deployment` plants where its image is built."""
    return Secrets()


@pytest.fixture(scope="module")
def deployment(source: Path, planted: Secrets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment with its own project name, ports, volumes and image. It is deleted at the end."""
    folder = tmp_path_factory.mktemp("deployment")
    password = planted.plant("password of Postgres", between=f"-{secrets.token_hex(24)}-")
    files = [CHECKOUT / "docker-compose.yml", write_override(folder / "override.json", PROJECT, source)]
    settings = {**new_settings("/source", IMAGE), "POSTGRES_PASSWORD": password}
    deployment = Deployment(files, PROJECT, settings)
    # Tests that were killed left these, with another password of Postgres.
    for left in (deployment, _second(deployment)):
        delete(left)
    try:
        _build(deployment, folder / "checkout", planted)
        deployment.compose("up", "--detach", "--wait")
        yield deployment
    finally:
        delete(deployment)


def _build(deployment: Deployment, checkout: Path, planted: Secrets) -> None:
    """Build the image from a copy of this checkout, with secrets in the environment and in files that Git ignores."""
    for name in ("taxi_assets", "deploy"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docker-compose.yml", "Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, checkout)
    # None of these files is part of the image, and most must not even be sent to the builder.
    for name in (
        *("credentials.json", "taxi_assets/credentials.json", "deploy/docker/credentials.json"),
        *("taxi_home/dagster/storage/run.db", ".git/config"),
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(planted.plant(name))
    (checkout / ".env").write_text(f"TAXI_ALERT_URLS=json://ann:{planted.plant('.env', between='-')}@127.0.0.1\n")
    credentials = planted.plant("TAXI_GCP_CREDENTIALS")
    environment = {**deployment.environment, "TAXI_GCP_CREDENTIALS": credentials}
    replace(deployment, files=[checkout / "docker-compose.yml"], environment=environment).compose("build")


def _second(deployment: Deployment) -> Deployment:
    """Another deployment on the same host, with the files of this repository as they are."""
    settings = {**new_settings("/taxi_home/months", IMAGE), "COMPOSE_PROJECT_NAME": SECOND}
    return Deployment([deployment.files[0]], SECOND, settings)


def test_the_image_has_no_secrets_and_does_not_run_as_root(deployment: Deployment, planted: Secrets) -> None:
    """No layer, command or variable of the image has a secret that was there when it was built. Its user is not root.

    The files of all layers are searched, also those that a later layer deletes.
    """
    described = run_command(["docker", "history", "--no-trunc", IMAGE]) + run_command(
        ["docker", "image", "inspect", IMAGE]
    )
    assert deployment.password not in described
    assert "PASSWORD" not in described
    [user] = (json.loads(run_command(["docker", "image", "inspect", "--format", "{{json .Config.User}}", IMAGE])),)
    assert user == "1000:1000"
    leaks, paths = {}, set()
    for path, content in files_of(IMAGE):
        paths.add(path)
        if places := planted.found(content) | planted.found(path.encode()):
            leaks[path] = places
    assert leaks == {}
    assert {"opt/taxi/dagster.yaml", "etc/debian_version"} <= paths
    ours = [path for path in paths if path.startswith(("opt/taxi/", "taxi_home/"))]
    assert [path for path in ours if "/." in path] == []


@pytest.mark.usefixtures("deployment")
def test_all_ports_are_on_the_loopback_interface() -> None:
    """Every published port listens only on 127.0.0.1."""
    published = run_command(
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
        [container] = json.loads(run_command(["docker", "inspect", run.container]))
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
        run_command(["docker", "kill", run.container])
        deployment.wait_for(run_id, "FAILURE")
    until(lambda: deployment.statuses(KILLED) == ["FAILURE", "SUCCESS"], "the retry of the run")
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
        assert run_command(["docker", "inspect", "--format", "{{.State.Running}}", run.container]).strip() == "false"
    deployment.wait_for(queued, "SUCCESS")
    assert CANCELED[1] not in deployment.rows("green")


def test_a_backfill_continues_after_a_restart_of_the_daemon(deployment: Deployment) -> None:
    """A backfill of four months runs two at a time, and loads all of them although the daemon restarts.

    A run whose container is killed is retried.
    """
    months = [("yellow", month) for month in FOUR]
    with deployment.locked_clean_files("yellow"):
        deployment.backfill("yellow", FOUR)
        until(lambda: deployment.statuses(*months) == ["QUEUED"] * 2 + ["STARTED"] * 2, "two started runs of four")
        deployment.compose("restart", "daemon")
        assert deployment.statuses(*months) == ["QUEUED"] * 2 + ["STARTED"] * 2
        killed = next(run for run in deployment.runs() if run.month in months and run.status == "STARTED")
        run_command(["docker", "kill", killed.container])
        deployment.wait_for(killed.id, "FAILURE")
    until(lambda: deployment.statuses(*months) == ["FAILURE", *["SUCCESS"] * 4], "four months", timeout_s=300)
    assert set(FOUR) <= deployment.rows("yellow").keys()


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
    assert existing("run", PROJECT)
    _clean_up(deployment, f"remove_containers('{LABEL}', 0)")
    assert not existing("run", PROJECT)
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
        delete(opened)


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
    [container] = json.loads(run_command(["docker", "inspect", run.container]))
    assert [mount["Name"] for mount in container["Mounts"]] == [f"{SECOND}_home"]
    assert container["NetworkSettings"]["Networks"].keys() == {SECOND}
    _clean_up(deployment, f"remove_containers('{LABEL}', 0)")
    assert len(existing("run", SECOND)) == 1
    services = deployment.compose("ps", "--services")
    run_command(["make", "down"], second.environment)
    assert (existing("run", SECOND), existing("container", SECOND)) == ([], [])
    assert deployment.compose("ps", "--services") == services


def test_a_deleted_deployment_leaves_nothing(deployment: Deployment) -> None:
    """After the deployment is deleted with its volumes, it has no container, network or volume."""
    assert all(existing(kind, PROJECT) for kind in ("container", "network", "volume"))
    delete(deployment)
    assert {kind: existing(kind, PROJECT) for kind in ("container", "run", "network", "volume")} == {
        kind: [] for kind in ("container", "run", "network", "volume")
    }
