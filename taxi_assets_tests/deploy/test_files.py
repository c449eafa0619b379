"""The files of the deployment match each other, the settings and names in the code, and Dagster's config schemas."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from dagster_docker.utils import DOCKER_CONFIG_SCHEMA
from dagster_postgres import DagsterPostgresStorage

from taxi_assets.instance.opening import dagster_home
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.settings import setting_names
from taxi_assets_tests.deploy.schemas import require_valid
from taxi_assets_tests.program import BIN

CHECKOUT = Path(__file__).parent.parent.parent
DOCKER = CHECKOUT / "deploy" / "docker"
FIXED = {"TAXI_HOME", "TAXI_REVISION", "TAXI_POSTGRES_PORT"}
"""Settings that the image sets, and the port of the embedded Postgres server, which a deployment does not use."""


def _yaml(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(path.read_text()))


COMPOSE = _yaml(CHECKOUT / "docker-compose.yml")
INSTANCE = _yaml(DOCKER / "dagster.yaml")
LAUNCHER = INSTANCE["run_launcher"]["config"]
CODE_LOCATION = ORIGIN.code_location_origin.location_name


def test_compose_passes_every_setting_to_the_services() -> None:
    """The services receive each setting that a deployment can change, even if it is empty."""
    passed = COMPOSE["x-dagster"]["environment"].keys()
    assert {name for name in passed if name.startswith("TAXI_")} == set(setting_names()) - FIXED


def test_the_launcher_passes_every_setting_to_the_runs() -> None:
    """Runs receive each setting that the services receive, because the launcher fails on a variable that is not set."""
    copied = set(LAUNCHER["env_vars"])
    assert copied - {"TAXI_HOME"} <= COMPOSE["x-dagster"]["environment"].keys()
    assert {name for name in copied if name.startswith("TAXI_")} == set(setting_names()) - FIXED | {"TAXI_HOME"}
    assert "PGPASSWORD" in copied


def test_dagster_accepts_the_instance_file(tmp_path: Path) -> None:
    """Dagster knows every key of `dagster.yaml`, of the storage in Postgres and of the Docker launcher."""
    instance = yaml.safe_load((DOCKER / "dagster.yaml").read_text().replace("/taxi_home", str(tmp_path)))
    require_valid(DagsterPostgresStorage.config_type(), instance.pop("storage")["postgres"])
    launcher = {**instance["run_launcher"]["config"], "image": "image", "network": "network"}
    require_valid(DOCKER_CONFIG_SCHEMA, launcher)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        assert opened.run_monitoring_enabled
        assert opened.run_retries_enabled


def test_dagster_rejects_unknown_keys(tmp_path: Path) -> None:
    """The validation above fails for a key that Dagster does not know."""
    with pytest.raises(dg.DagsterInvalidConfigError, match="netwrk"):
        require_valid(DOCKER_CONFIG_SCHEMA, {"netwrk": "network"})
    (tmp_path / "dagster.yaml").write_text("telemetri: {enabled: false}\n")
    with pytest.raises(dg.DagsterInvalidConfigError, match="telemetri"):
        dg.DagsterInstance.from_config(str(tmp_path))


def test_taxi_does_not_replace_the_instance_file(tmp_path: Path) -> None:
    """`taxi` replaces only a `dagster.yaml` that it wrote itself."""
    text = (DOCKER / "dagster.yaml").read_text()
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(text)
    dagster_home(tmp_path)
    assert (tmp_path / "dagster" / "dagster.yaml").read_text() == text


def test_compose_and_runs_use_the_same_names() -> None:
    """Runs join the network and mount the volume of `docker-compose.yml`, and have the label of the clean-up."""
    project = COMPOSE["name"]
    named = {key: value.replace("${COMPOSE_PROJECT_NAME:-taxi}", project) for key, value in _names().items()}
    assert named["network"] == named["run network"] == project
    default = {key: LAUNCHER["container_kwargs"][key] for key in ("volumes", "labels")}
    assert default == {"volumes": [f"{named['volume']}:/taxi_home"], "labels": dict([named["label"].split("=")])}
    assert json.loads(named["context"])["docker"]["container_kwargs"] == default


def _names() -> dict[str, str]:
    return {
        "volume": COMPOSE["volumes"]["home"]["name"],
        "network": COMPOSE["networks"]["taxi"]["name"],
        "run network": COMPOSE["x-dagster"]["environment"]["RUN_NETWORK"],
        "context": COMPOSE["x-dagster"]["environment"]["DAGSTER_CONTAINER_CONTEXT"],
        "label": COMPOSE["services"]["clean-up"]["environment"]["RUN_LABEL"],
    }


def test_the_code_location_has_the_same_name_everywhere() -> None:
    """The image, its workspace and `taxi` use one name, because runs and backfills refer to the code location by it."""
    [location] = _yaml(DOCKER / "workspace.yaml")["load_from"]
    assert location["grpc_server"]["location_name"] == CODE_LOCATION
    assert f'"--location-name", "{CODE_LOCATION}"' in (CHECKOUT / "Dockerfile").read_text()


def test_the_example_has_the_variables_of_compose() -> None:
    """`.env.example` has a line for each variable of `docker-compose.yml` that a user can set."""
    variables = set(re.findall(r"\$\{(\w+)", (CHECKOUT / "docker-compose.yml").read_text()))
    example = re.findall(r"^# (\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)
    assert variables - {"COMPOSE_PROJECT_NAME", "REVISION"} <= set(example)


def test_compose_passes_the_retention_days_to_the_clean_up() -> None:
    """The clean-up receives each variable that it reads, and no other. The default days are those on the page."""
    read = set(re.findall(r'os\.environ\["(\w+)"\]', (DOCKER / "clean_up.py").read_text()))
    passed = COMPOSE["services"]["clean-up"]["environment"]
    of_image = {"TAXI_HOME", "DAGSTER_HOME"}
    # libpq reads PGPASSWORD.
    assert passed.keys() - of_image == read - of_image | {"PGPASSWORD"}
    days = {name: re.fullmatch(rf"\$\{{{name}:-(\d+)\}}", passed[name]) for name in passed if name.startswith("KEEP_")}
    defaults = {name: found[1] for name, found in days.items() if found}
    assert defaults.keys() == days.keys()
    row = f"| `{'`, `'.join(defaults)}` | {', '.join(defaults.values())} |"
    assert row in (CHECKOUT / "docs" / "deployment.md").read_text()
    example = (CHECKOUT / ".env.example").read_text()
    assert all(f"# {name}={default}\n" in example for name, default in defaults.items())


def test_the_image_has_the_protected_webserver() -> None:
    """The image has its own `dagster-webserver` instead of Dagster's, and compose starts it."""
    steps = (CHECKOUT / "Dockerfile").read_text()
    dagsters, own = "COPY --from=packages /opt/taxi/venv /opt/taxi/venv\n", "COPY --chmod=755 deploy/docker/{} {}\n"
    assert steps.index(dagsters) < steps.index(own.format("dagster-webserver", "/opt/taxi/venv/bin/"))
    assert COMPOSE["services"]["webserver"]["command"][0] == "dagster-webserver"
    script = DOCKER / "dagster-webserver"
    assert "python -m taxi_assets.webserver " in script.read_text()
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([script, "--version"], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("dagster-webserver, version")


def test_every_package_of_the_image_is_pinned() -> None:
    """Every package of the image has one version, the same as in `constraints.txt` if that file has the package."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (DOCKER / "requirements.txt").read_text(), re.MULTILINE))
    lines = [line for line in (DOCKER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(pins) == len(lines) > 80
    constrained = re.findall(r"^([\w.-]+)==(\S+)$", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    assert {name: pins[name] for name, _ in constrained if name in pins} == {
        name: version for name, version in constrained if name in pins
    }
    assert pins.keys() >= {"dagster", "dagster-docker", "dagster-postgres", "dagster-webserver"}


def test_the_build_context_has_only_the_files_of_the_image() -> None:
    """The build context contains the sources of the image, and no `.env`, history or data."""
    first, *others = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {line for line in others if line.startswith("!")} == {
        *("!pyproject.toml", "!README.md", "!LICENSE", "!taxi_assets", "!deploy/docker"),
    }


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "DOCKER_GID"])
def test_the_first_start_writes_missing_variables(missing: str, tmp_path: Path) -> None:
    """`make` writes a long password and the group of the Docker socket to a private `.env`, and never replaces them."""
    (tmp_path / "Makefile").write_text((CHECKOUT / "Makefile").read_text())
    words = ["make", "--silent", "deployment-env"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    written = (tmp_path / ".env").read_text()
    assert re.search(rf"^{missing}=\w+$", written, re.MULTILINE)
    assert len(re.findall(r"POSTGRES_PASSWORD=([0-9a-f]*)", written)[0]) == 48
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == written
