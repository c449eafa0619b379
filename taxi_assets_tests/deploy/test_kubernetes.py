"""The values for Dagster's Helm chart are valid for Dagster's Kubernetes launcher and match the code."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_user_defined_k8s_config
from dagster_k8s.models import k8s_snake_case_dict
from kubernetes import client

from taxi_assets.defs.build import build_definitions
from taxi_assets.graph import job_name
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS
from taxi_assets_tests.deploy.schemas import require_valid

VALUES = yaml.safe_load((Path(__file__).parent.parent.parent / "deploy" / "kubernetes" / "values.yaml").read_text())
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
[CODE] = VALUES["dagster-user-deployments"]["deployments"]
SETTINGS = {entry["name"]: entry["value"] for entry in CODE["env"]}


def _launcher_config(launcher: dict[str, Any]) -> dict[str, Any]:
    """The config of the run launcher in `dagster.yaml` that the chart renders from these values."""
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


def _require_valid(launcher: dict[str, Any]) -> None:
    """Raise DagsterInvalidConfigError if the launcher rejects these values."""
    require_valid(K8sRunLauncher.config_type(), _launcher_config(launcher))  # type: ignore[no-untyped-call]


def test_the_launcher_accepts_its_values() -> None:
    """The values match the schema of Dagster's Kubernetes launcher and the models of the Kubernetes API."""
    _require_valid(LAUNCHER)
    raw = LAUNCHER["runK8sConfig"]
    assert k8s_snake_case_dict(client.V1Container, {"name": "run", **raw["containerConfig"]})
    assert k8s_snake_case_dict(client.V1PodSpec, {"containers": [], **raw["podSpecConfig"]})
    assert k8s_snake_case_dict(client.V1JobSpec, {"template": {}, **raw["jobSpecConfig"]})
    assert all(k8s_snake_case_dict(client.V1Volume, volume) for volume in LAUNCHER["volumes"])


@pytest.mark.parametrize("wrong", [{"volumes": [{"nam": "x"}]}, {"resources": {"limit": {}}}], ids=str)
def test_the_launcher_rejects_unknown_keys(wrong: dict[str, Any]) -> None:
    """The same schema rejects a volume or resources with an unknown key."""
    with pytest.raises(dg.DagsterInvalidConfigError):
        _require_valid(LAUNCHER | wrong)


def _queue_config() -> dict[str, Any]:
    """The config of the queue in `dagster.yaml` that the chart renders. The chart's own schema rejects unknown keys."""
    coordinator, limits = VALUES["dagsterDaemon"]["runCoordinator"], VALUES["concurrency"]
    assert limits.keys() == {"enabled", "pools", "runs"}
    assert limits["enabled"]
    assert limits["pools"].keys() <= {"granularity", "defaultLimit", "opGranularityRunBuffer"}
    assert limits["runs"].keys() <= {"maxConcurrentRuns", "tagConcurrencyLimits"}
    # With `concurrency` enabled, the chart renders no limits for the coordinator.
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
    """Convert the keys of values to snake case, as the chart does."""
    return {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", key): value for key, value in values.items()}


def test_the_queue_limits_runs_in_total_and_per_color(tmp_path: Path) -> None:
    """Dagster accepts one limit for all runs, and one for the runs in each color's pool."""
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(_queue_config()))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        limits = instance.get_concurrency_config()
    assert limits.run_queue_config
    assert limits.run_queue_config.max_concurrent_runs == 12
    assert limits.run_queue_config.should_block_op_concurrency_limited_runs
    assert not limits.run_queue_config.tag_concurrency_limits
    assert limits.pool_config.pool_granularity
    assert limits.pool_config.pool_granularity.value == "run"
    assert limits.pool_config.default_pool_limit == 6


def test_runs_write_only_to_scratch_volumes() -> None:
    """The root file system of a run is read-only. TAXI_HOME, the Dagster home and /tmp are volumes of the run."""
    assert {mount["mountPath"] for mount in LAUNCHER["volumeMounts"]} == {
        *(SETTINGS["TAXI_HOME"], VALUES["global"]["dagsterHome"], "/tmp"),  # noqa: S108
    }
    assert LAUNCHER["runK8sConfig"]["containerConfig"]["securityContext"]["readOnlyRootFilesystem"]
    assert VALUES["global"]["dagsterHome"] == f"{SETTINGS['TAXI_HOME']}/dagster"


LOCAL = {"TAXI_LAKE_URL": "", "TAXI_WAREHOUSE_URL": "", "TAXI_SOURCE_URL": "tlc"}
"""Settings without stores in the cloud, and with a source that has all colors."""


def test_runs_get_the_resources_of_their_color(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The launcher reads the resources of large colors from the tags of runs. Green runs use the default resources."""
    for name, value in (SETTINGS | LOCAL | {"TAXI_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    definitions = build_definitions(Settings.load())
    tags = {color: definitions.resolve_job_def(job_name(color)).run_tags for color in COLORS}
    for color in set(COLORS) - {"green"}:
        config = get_user_defined_k8s_config(tags[color])
        assert config.container_config["resources"] == {
            "requests": {"cpu": "2", "memory": "2Gi"},
            "limits": {"memory": "4Gi"},
        }
    assert "dagster-k8s/config" not in tags["green"]


def test_the_values_contain_no_secrets() -> None:
    """The values refer to secrets by name, and no value is a password or a key."""
    assert CODE["envSecrets"] == [{"name": "taxi-assets"}]
    assert not {"TAXI_POSTGRES_URL", "TAXI_GCP_CREDENTIALS"} & SETTINGS.keys()
    assert "postgresqlPassword" not in json.dumps(VALUES)


def test_the_webserver_knows_the_address_of_the_ui() -> None:
    """The webserver accepts requests for the host of TAXI_UI_URL, and the links in notifications start with it."""
    webserver = {entry["name"]: entry["value"] for entry in VALUES["dagsterWebserver"]["env"]}
    assert webserver == {"TAXI_UI_URL": SETTINGS["TAXI_UI_URL"]}


def test_the_code_location_has_the_same_name_as_on_one_machine() -> None:
    """The workspace has the service of the code, under the name that runs and backfills refer to."""
    [server] = VALUES["dagsterWebserver"]["workspace"]["servers"]
    assert server == {"host": CODE["name"], "port": CODE["port"], "name": ORIGIN.code_location_origin.location_name}
