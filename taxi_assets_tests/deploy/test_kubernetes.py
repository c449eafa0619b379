"""The values for Dagster's Helm chart, as its launcher will read them, are what that launcher takes."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._config.evaluate_value_result import EvaluateValueResult
from dagster._core.instance.config import PoolGranularity
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_user_defined_k8s_config
from dagster_k8s.models import k8s_snake_case_dict
from kubernetes import client

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import job_name
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS

VALUES = yaml.safe_load((Path(__file__).parent.parent.parent / "deploy" / "kubernetes" / "values.yaml").read_text())
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
[CODE] = VALUES["dagster-user-deployments"]["deployments"]
SETTINGS = {entry["name"]: entry["value"] for entry in CODE["env"]}


def _as_the_chart_writes_it(launcher: dict[str, Any]) -> dict[str, Any]:
    """The launcher's part of the instance's file, as the chart makes it of these values."""
    raw = launcher["runK8sConfig"]
    return {
        "load_incluster_config": True,
        "job_namespace": "taxi",
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": "dagster",
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": "dagster-postgresql-secret",
        "volumes": launcher["volumes"],
        "volume_mounts": launcher["volumeMounts"],
        "resources": launcher["resources"],
        "run_k8s_config": {
            "container_config": raw["containerConfig"],
            "pod_spec_config": raw["podSpecConfig"],
            "job_spec_config": raw["jobSpecConfig"],
        },
    }


def _judged(launcher: dict[str, Any]) -> EvaluateValueResult[Any]:
    """What the launcher's schema says of these values."""
    schema = K8sRunLauncher.config_type()  # type: ignore[no-untyped-call]
    return process_config(schema, _as_the_chart_writes_it(launcher))


def test_the_launcher_takes_its_configuration() -> None:
    """The schema of Dagster's Kubernetes launcher, which knows the API's own models, takes all of it."""
    told = _judged(LAUNCHER)
    assert told.success, told.errors
    raw = LAUNCHER["runK8sConfig"]
    assert k8s_snake_case_dict(client.V1Container, {"name": "run", **raw["containerConfig"]})
    assert k8s_snake_case_dict(client.V1PodSpec, {"containers": [], **raw["podSpecConfig"]})
    assert k8s_snake_case_dict(client.V1JobSpec, {"template": {}, **raw["jobSpecConfig"]})
    assert all(k8s_snake_case_dict(client.V1Volume, volume) for volume in LAUNCHER["volumes"])


def test_a_typing_error_is_refused() -> None:
    """A volume or a resource that is none is refused by the same schema."""
    wrongs: list[dict[str, Any]] = [{"volumes": [{"nam": "x"}]}, {"resources": {"limit": {}}}]
    for wrong in wrongs:
        assert not _judged(LAUNCHER | wrong).success, wrong


def _queue_as_the_chart_writes_it() -> dict[str, Any]:
    """The queue's part of dagster.yaml, as the chart renders it. The chart's schema refuses unknown keys."""
    coordinator, limits = VALUES["dagsterDaemon"]["runCoordinator"], VALUES["concurrency"]
    assert limits.keys() == {"enabled", "pools", "runs"}
    assert limits["enabled"]
    assert limits["pools"].keys() <= {"granularity", "defaultLimit", "opGranularityRunBuffer"}
    assert limits["runs"].keys() <= {"maxConcurrentRuns", "tagConcurrencyLimits"}
    # With `concurrency` enabled, the chart renders no limits of the coordinator itself.
    assert coordinator == {"enabled": True, "type": "QueuedRunCoordinator"}
    return {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": coordinator["type"],
            "config": {"dequeue_use_threads": True, "dequeue_num_workers": 4},
        },
        "concurrency": {part: _snake_case(limits[part]) for part in ("pools", "runs")},
    }


def _snake_case(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of values as the chart writes them into dagster.yaml."""
    return {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", key): value for key, value in values.items()}


def test_the_queue_has_limits_in_all_and_for_each_color(tmp_path: Path) -> None:
    """Dagster, which refuses limits in two places, accepts them: in all, and per color in pools that count runs."""
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(_queue_as_the_chart_writes_it()))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config()
    assert limits.run_queue_config
    assert limits.run_queue_config.max_concurrent_runs == 12
    assert limits.run_queue_config.should_block_op_concurrency_limited_runs
    assert not limits.run_queue_config.tag_concurrency_limits
    assert limits.pool_config.pool_granularity is PoolGranularity.RUN
    assert limits.pool_config.default_pool_limit == 6


def test_runs_write_to_scratch_space_only() -> None:
    """A run's root file system is read-only, and it has volumes of its own for TAXI_HOME and /tmp."""
    assert {mount["mountPath"] for mount in LAUNCHER["volumeMounts"]} == {
        *(SETTINGS["TAXI_HOME"], VALUES["global"]["dagsterHome"], "/tmp"),  # noqa: S108
    }
    assert LAUNCHER["runK8sConfig"]["containerConfig"]["securityContext"]["readOnlyRootFilesystem"]
    assert VALUES["global"]["dagsterHome"] == f"{SETTINGS['TAXI_HOME']}/dagster"


def test_each_color_gets_its_resources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tags that the settings give a color are on the runs of its months, in words that the launcher reads."""
    for name, value in (SETTINGS | {"TAXI_HOME": str(tmp_path), "TAXI_LAKE_URL": "", "TAXI_WAREHOUSE_URL": ""}).items():
        monkeypatch.setenv(name, value)
    definitions = build_definitions(Settings.load())
    asked = {color: definitions.resolve_job_def(job_name(color)).run_tags for color in COLORS}
    for color in ("yellow", "fhv"):
        config = get_user_defined_k8s_config(asked[color])
        assert config.container_config["resources"] == {
            "requests": {"cpu": "2", "memory": "2Gi"},
            "limits": {"memory": "4Gi"},
        }
    assert "dagster-k8s/config" not in asked["green"]


def test_no_secret_is_written_down() -> None:
    """Secrets are named, and nothing that would be one is among the values."""
    assert CODE["envSecrets"] == [{"name": "taxi-assets"}]
    assert not {"TAXI_POSTGRES_URL", "TAXI_GCP_CREDENTIALS"} & SETTINGS.keys()
    assert "postgresqlPassword" not in json.dumps(VALUES)


def test_the_code_has_the_name_that_it_has_on_one_machine() -> None:
    """The workspace finds the code's service, and calls it what runs and backfills call it."""
    [server] = VALUES["dagsterWebserver"]["workspace"]["servers"]
    assert server == {"host": CODE["name"], "port": CODE["port"], "name": "taxi_assets.definitions"}
