"""Tests of the executor: a run without a partition says how to start it with one."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.graph import NEWEST_MONTH_LOADED, SOURCE_TRIPS
from taxi_assets.instance._dagster import InMemoryJob, execute_run
from taxi_assets.instance.failures import Failure, read_failures
from taxi_assets.instance.partition_status import observed_versions
from taxi_assets.keys import asset_key
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import OLD, FolderInstallation
from taxi_assets_tests.program import run

GREEN = TripMonth("green", "2020-04")
EXECUTE = ("dagster", "job", "execute", "-m", "taxi_assets.definitions", "-j", "load_green")


@pytest.fixture
def installation(home: Path) -> Iterator[FolderInstallation]:
    """An installation whose source has a month of green."""
    with closing(FolderInstallation()) as created:
        assert created.settings.home == home
        created.publish(GREEN)
        yield created


def test_a_job_without_a_partition(installation: FolderInstallation) -> None:
    """`dagster job execute` without a partition fails with the words that start the run, and these words work."""
    settings = {"DAGSTER_HOME": str(installation.settings.home / "dagster")}
    assert run(*EXECUTE, settings=settings).returncode == 1
    [failed] = installation.instance.get_runs()
    failure = read_failures(installation.instance, [failed])[failed.run_id]
    assert failure == Failure(error=failure.error)
    assert failure.error.endswith("[no-partition]")
    tags = json.dumps({"dagster/partition": GREEN.month})
    assert f"--tags '{tags}'" in failure.error
    assert f"taxi materialize --color green --months {GREEN.month}" in failure.error
    done = run(*EXECUTE, "--tags", tags, settings=settings)
    assert done.returncode == 0, done.stderr
    assert installation.metadata("warehouse_trips", GREEN)["dagster/row_count"] == 10


def test_a_run_without_a_partition_is_not_retried(installation: FolderInstallation) -> None:
    """The run has Dagster's tag that turns off retries: the deployment retries runs that fail outside of a step."""
    job = installation.definitions.resolve_job_def("load_green")
    created = installation.instance.create_run_for_job(job, tags=job.run_tags)
    assert not execute_run(InMemoryJob(job), created, installation.instance).success
    [failed] = installation.instance.get_runs()
    assert failed.tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize("color", [OLD.color, "green"])
def test_what_has_no_partition_runs_without_one(color: str, installation: FolderInstallation) -> None:
    """The observation of a source, and the check of the newest month, do not need a partition."""
    check = dg.AssetCheckKey(asset_key(color, "warehouse_trips"), NEWEST_MONTH_LOADED)
    whole = installation.definitions.resolve_implicit_global_asset_job_def()
    for job in (
        whole.get_subset(asset_selection={asset_key(color, SOURCE_TRIPS)}),
        whole.get_subset(asset_selection=set(), asset_check_selection={check}),
    ):
        created = installation.instance.create_run_for_job(job)
        assert execute_run(InMemoryJob(job), created, installation.instance).success
    assert observed_versions(installation.instance, "green").keys() <= {GREEN.month}
