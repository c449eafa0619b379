"""The files of deployments agree with each other, with the program's settings and names, and with Dagster's schemas."""

import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_docker.utils import DOCKER_CONFIG_SCHEMA

from taxi_assets.instance.opening import _MADE_HERE
from taxi_assets.operations.runs import _MODULE
from taxi_assets.settings import setting_names

CHECKOUT = Path(__file__).parent.parent.parent
DOCKER = CHECKOUT / "deploy" / "docker"
FIXED = {"TAXI_HOME", "TAXI_REVISION", "TAXI_POSTGRES_PORT"}
"""Settings of which a deployment's are the image's, or that are of the server that it does not use."""


def _yaml(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(path.read_text()))


COMPOSE = _yaml(CHECKOUT / "docker-compose.yml")
INSTANCE = _yaml(DOCKER / "dagster.yaml")
OF_RUNS = INSTANCE["run_launcher"]["config"]


def test_services_get_every_setting() -> None:
    """Each setting that can differ is passed on to the services, whether it is set or not."""
    passed = COMPOSE["x-dagster"]["environment"].keys()
    assert {name for name in passed if name.startswith("TAXI_")} == set(setting_names()) - FIXED


def test_runs_get_what_the_services_get() -> None:
    """The daemon copies every setting to the runs, and has them all: it cannot launch with one that is not set."""
    copied = set(OF_RUNS["env_vars"])
    assert copied - {"TAXI_HOME"} <= COMPOSE["x-dagster"]["environment"].keys()
    assert {name for name in copied if name.startswith("TAXI_")} == set(setting_names()) - FIXED | {"TAXI_HOME"}
    assert "PGPASSWORD" in copied


def test_the_instance_is_one_that_dagster_takes() -> None:
    """Every key of the instance's file is one that Dagster knows, and every key of the launcher one that it knows."""
    told = process_config(dagster_instance_config_schema(), INSTANCE)
    assert told.success, told.errors
    config = {**OF_RUNS, "image": "image", "network": "network"}
    launcher = process_config(DOCKER_CONFIG_SCHEMA, config)
    assert launcher.success, launcher.errors


def test_taxi_leaves_the_instance_s_file_alone() -> None:
    """The file does not begin with the words by which `taxi` knows, and renews, a file of its own."""
    assert not (DOCKER / "dagster.yaml").read_text().startswith(_MADE_HERE)


def test_names_that_compose_and_runs_share_are_the_same() -> None:
    """Runs join the network and mount the volume that compose makes, and carry the label that it cleans up by."""
    project = COMPOSE["name"]
    named = {key: value.replace("${COMPOSE_PROJECT_NAME:-taxi}", project) for key, value in _names().items()}
    assert OF_RUNS["container_kwargs"]["volumes"] == [f"{named['volume']}:/taxi_home"]
    assert named["network"] == named["run network"] == project
    assert OF_RUNS["container_kwargs"]["labels"] == dict([named["label"].split("=")])
    assert f"label={named['label']}" in (CHECKOUT / "Makefile").read_text()


def _names() -> dict[str, str]:
    return {
        "volume": COMPOSE["volumes"]["home"]["name"],
        "network": COMPOSE["networks"]["taxi"]["name"],
        "run network": COMPOSE["x-dagster"]["environment"]["RUN_NETWORK"],
        "label": COMPOSE["services"]["clean-up"]["environment"]["RUN_LABEL"],
    }


def test_the_code_has_the_name_that_it_has_on_one_machine() -> None:
    """Runs and backfills name the code location; its name is the same in the image, in its workspace and in `taxi`."""
    [location] = _yaml(DOCKER / "workspace.yaml")["load_from"]
    assert location["grpc_server"]["location_name"] == _MODULE
    assert f'"--location-name", "{_MODULE}"' in (CHECKOUT / "Dockerfile").read_text()


def test_the_example_names_what_compose_asks_for() -> None:
    """`.env.example` has a line for each variable of docker-compose.yml that people set."""
    asked = set(re.findall(r"\$\{(\w+)", (CHECKOUT / "docker-compose.yml").read_text()))
    example = re.findall(r"^# (\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)
    assert asked - {"COMPOSE_PROJECT_NAME", "REVISION"} <= set(example)


def test_the_clean_up_is_told_how_long_to_keep() -> None:
    """It gets each variable that it asks for and no other setting; the days are those that are documented."""
    asked = set(re.findall(r'os\.environ\["(\w+)"\]', (DOCKER / "clean_up.py").read_text()))
    given = COMPOSE["services"]["clean-up"]["environment"]
    of_image = {"TAXI_HOME", "DAGSTER_HOME"}
    # The last is libpq's own.
    assert given.keys() - of_image == asked - of_image | {"PGPASSWORD"}
    days = {name: re.fullmatch(rf"\$\{{{name}:-(\d+)\}}", given[name]) for name in given if name.startswith("KEEP_")}
    defaults = {name: found[1] for name, found in days.items() if found}
    assert defaults.keys() == days.keys()
    row = f"| `{'`, `'.join(defaults)}` | {', '.join(defaults.values())} |"
    assert row in (CHECKOUT / "docs" / "deployment.md").read_text()
    example = (CHECKOUT / ".env.example").read_text()
    assert all(f"# {name}={default}\n" in example for name, default in defaults.items())


def test_everything_of_the_image_is_pinned() -> None:
    """Every package of the image has one version, that of the constraints where these name it."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (DOCKER / "requirements.txt").read_text(), re.MULTILINE))
    lines = [line for line in (DOCKER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(pins) == len(lines) > 80
    constrained = re.findall(r"^([\w.-]+)==(\S+)$", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    assert {name: pins[name] for name, _ in constrained if name in pins} == {
        name: version for name, version in constrained if name in pins
    }
    assert pins.keys() >= {"dagster", "dagster-docker", "dagster-postgres", "dagster-webserver"}


def test_nothing_that_git_ignores_reaches_the_builder() -> None:
    """The builder gets what the image is made of, and nothing else: no `.env`, no history, no data."""
    first, *others = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {line for line in others if line.startswith("!")} == {
        *("!pyproject.toml", "!README.md", "!LICENSE", "!taxi_assets", "!deploy/docker"),
    }


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "DOCKER_GID"])
def test_the_first_start_makes_what_is_missing(missing: str, tmp_path: Path) -> None:
    """`make` keeps a long password and the engine's group in `.env`, for nobody else to read, and then leaves them."""
    (tmp_path / "Makefile").write_text((CHECKOUT / "Makefile").read_text())
    words = ["make", "--silent", "deployment-env"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    made = (tmp_path / ".env").read_text()
    assert re.search(rf"^{missing}=\w+$", made, re.MULTILINE)
    assert len(re.findall(r"POSTGRES_PASSWORD=([0-9a-f]*)", made)[0]) == 48
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == made
