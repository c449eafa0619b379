"""Contract tests of Dagster's messages about runs whose process or container ended without reporting an error.

The messages come from the installed versions of Dagster and dagster-docker, so an upgrade that changes one fails here.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster_docker import DockerRunLauncher
from docker.models.containers import Container

from taxi_assets.instance._dagster import SerializableErrorInfo
from taxi_assets.instance.failures import Failure, explain, read_failures
from taxi_assets.instance.opening import open_instance
from taxi_assets_tests.defs.dagster_internals import DagsterApiServer, get_run_crash_explanation

CONTAINER_TAG = "docker/container_id"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of the fixture `home`."""
    with open_instance(home) as opened:
        yield opened


def _start(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Add a run that has started in the container 7."""
    run = dg.DagsterRun("load_fhv", status=dg.DagsterRunStatus.STARTED, tags={CONTAINER_TAG: "7"})
    return instance.add_run(run)


def _error(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the error that is displayed for a run."""
    return read_failures(instance, [run])[run.run_id].error


def test_the_prefix_of_the_code_server() -> None:
    """The code server reports the end of a process with the prefix of the other tests, and then fails the run."""
    source = inspect.getsource(DagsterApiServer)
    prefix = 'prefix=f"Run execution process for {run.run_id}"'
    assert prefix in source
    reported = source.partition(prefix)[2]
    assert reported.index("instance.report_engine_event(message, run") < reported.index(
        "instance.report_run_failed(run)"
    )


@pytest.mark.parametrize(
    ("exit_code", "facts"),
    [
        (-9, ["signal 9", "memory"]),
        (-15, ["signal 15"]),
        (-11, ["signal 11"]),
        (1, ["status 1"]),
        (120, ["status 120"]),
        (137, ["signal 9", "memory"]),
    ],
)
def test_a_process_that_ended(exit_code: int, facts: list[str], instance: dg.DagsterInstance) -> None:
    """The error of a run that its code server marks as failed is how its process ended."""
    run = _start(instance)
    instance.report_engine_event(get_run_crash_explanation(f"Run execution process for {run.run_id}", exit_code), run)
    instance.report_run_failed(run)
    error = _error(instance, run)
    assert [fact for fact in ("process", *facts) if fact not in error] == []
    assert "outside the execution context" not in error


def test_a_run_without_memory() -> None:
    """An error outside of a step is also explained if the cause is that memory ran out."""
    for kind, text in (("MemoryError", ""), ("RuntimeError", "can't start new thread")):
        inner = SerializableErrorInfo(f"{kind}: {text}\n", [], kind)
        explained = explain(SerializableErrorInfo("Error", [], "DagsterResourceFunctionError", inner))
        assert text in explained
        assert "[out-of-memory]" in explained
    assert explain(SerializableErrorInfo("RuntimeError: no\n", [], "RuntimeError")) == "RuntimeError: no"


def test_a_run_that_was_marked_as_failed(instance: dg.DagsterInstance) -> None:
    """Dagster's default message for a run that was marked as failed is replaced, and any other message is shown."""
    run, other = _start(instance), _start(instance)
    instance.report_run_failed(run)
    assert "outside the execution context" not in _error(instance, run)
    instance.report_run_failed(other, "Stopped by Ann.")
    assert _error(instance, other) == "Stopped by Ann."


def test_a_run_that_was_canceled_while_it_started(instance: dg.DagsterInstance) -> None:
    """If its process ends before the first step, the code server fails it. Its error is that it was canceled."""
    run = _start(instance)
    instance.report_run_canceling(run)
    instance.report_engine_event(get_run_crash_explanation(f"Run execution process for {run.run_id}", 0), run)
    instance.report_run_failed(run)
    assert read_failures(instance, [run]) == {run.run_id: Failure(error="The run was canceled.", is_canceled=True)}


@pytest.mark.parametrize(
    ("exit_code", "facts"),
    [(137, ["signal 9", "memory"]), (143, ["signal 15"]), (1, ["status 1"]), (0, ["status 0"])],
)
def test_a_container_that_ended(
    exit_code: int, facts: list[str], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a run whose container ended is its exit code, from the state in dagster-docker's message."""
    state = {
        "Status": "exited",
        "Running": False,
        "OOMKilled": exit_code == 137,
        "Pid": 0,
        "ExitCode": exit_code,
        "Error": "",
        "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 99, "Output": "down"}]},
    }
    containers = SimpleNamespace(get=lambda _: Container(attrs={"Id": "7", "State": state}))
    monkeypatch.setattr("docker.client.from_env", lambda: SimpleNamespace(containers=containers))
    run = _start(instance)
    health = DockerRunLauncher(image="taxi").check_run_worker_health(run)
    # As Dagster's monitoring daemon does.
    instance.report_run_failed(run, f"Detected run worker status {health}. Marking run {run.run_id} as failed.")
    error = _error(instance, run)
    assert [fact for fact in ("container", *facts) if fact not in error] == []
    assert "OOMKilled" not in error
