"""Deployments on a real Docker engine: what tests start, ask, and delete again."""

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

from taxi_assets_tests.docs import pages

CHECKOUT = pages.PROJECT

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "taxi_assets.definitions"}
"""Where the code server has its jobs and schedules, as the GraphQL API names it."""

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
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status parentRunId tags { key value } } } } }"


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
    project: str
    environment: dict[str, str] = field(repr=False)

    @property
    def password(self) -> str:
        """The password of Postgres."""
        return self.environment["POSTGRES_PASSWORD"]

    def compose(self, *words: str) -> str:
        """Run docker compose, which must succeed, and return what it prints."""
        files = [word for file in self.files for word in ("--file", str(file))]
        return run_command(["docker", "compose", "--project-name", self.project, *files, *words], self.environment)

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
                "selector": {**REPOSITORY, "jobName": f"load_{color}"},
                "mode": "default",
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": month}]},
            },
        )
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, color: str, months: list[str]) -> None:
        """Launch a backfill of a color's job."""
        selector = {"partitionSetName": f"load_{color}_partition_set", "repositorySelector": REPOSITORY}
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
        until(lambda: self.run(run_id).status == status, f"{run_id} to be {status}")
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


def run_command(words: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command, which must succeed, and return what it prints."""
    done = subprocess.run(
        words, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def until(condition: Callable[[], bool], waiting_for: str, timeout_s: float = 180) -> None:
    """Wait until a condition is true. Raise AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {waiting_for}"
        time.sleep(0.5)


def free_port() -> str:
    """Return a port on the loopback interface that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def existing(kind: str, project: str) -> list[str]:
    """The IDs or names of a deployment's containers, containers of runs, networks or volumes."""
    listed = {
        "container": ["docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}"],
        "run": ["docker", "ps", "--all", "--quiet", "--filter", f"label=taxi.deployment={project}"],
        "network": ["docker", "network", "ls", "--quiet", "--filter", f"name=^{project}"],
        "volume": ["docker", "volume", "ls", "--quiet", "--filter", f"name=^{project}"],
    }
    return run_command(listed[kind]).split()


def new_settings(source: str, image: str) -> dict[str, str]:
    """The environment of a new deployment, with free ports and a new password."""
    return {
        **without_settings(),
        "TAXI_IMAGE": image,
        "TAXI_SOURCE_URL": source,
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
        "UI_PORT": free_port(),
        "POSTGRES_PORT": free_port(),
        "REVISION": "tested",
    }


def without_settings() -> dict[str, str]:
    """The environment of this process without the settings of an installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TAXI_")}


def write_override(file: Path, project: str, source: Path) -> Path:
    """Write an override of `docker-compose.yml`, which mounts a folder in the code server and the runs as `/source`."""
    mounts = [f"{project}_home:/taxi_home", f"{source}:/source:ro"]
    runs = {"volumes": mounts, "labels": {"taxi.deployment": project}}
    context = {"DAGSTER_CONTAINER_CONTEXT": json.dumps({"docker": {"container_kwargs": runs}})}
    file.write_text(json.dumps({"services": {"code": {"environment": context, "volumes": mounts[1:]}}}))
    return file


def let_containers_read(folder: Path) -> None:
    """Let the user of the containers read the files of a temporary folder."""
    for path in (folder, *folder.rglob("*"), *folder.parents[:2]):
        path.chmod(0o755)


def delete(deployment: Deployment) -> None:
    """Delete the containers, networks and volumes of a deployment, if there are any."""
    deployment.compose("stop", "daemon")
    if runs := existing("run", deployment.project):
        run_command(["docker", "rm", "--force", *runs])
    deployment.compose("down", "--volumes", "--remove-orphans")
