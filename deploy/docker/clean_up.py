"""Once a day, delete containers, logs and history of old runs. The environment sets how many days to keep each.

This is a separate service because it needs the Docker socket, which runs must not have.
"""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker

from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.retention import remove_old_runs

DAY_S = 86_400

CLEANED = Path("/tmp/cleaned")  # noqa: S108  # the container has its own /tmp
"""Touched after each clean-up, for the health check."""


def remove_containers(label: str, days: float) -> None:
    """Delete stopped containers with this label that were created more than `days` days ago."""
    until = f"{int(time.time() - days * DAY_S)}"
    removed = docker.from_env().containers.prune(filters={"label": [label], "until": until})
    print(f"deleted containers of runs: {len(removed['ContainersDeleted'] or [])}")


def remove_logs(storage: Path, days: float) -> None:
    """Delete log folders of runs whose files have not changed for more than `days` days."""
    oldest = time.time() - days * DAY_S
    folders = {log.parent.parent for log in storage.glob("*/compute_logs/*")}
    old = [folder for folder in folders if max(file.stat().st_mtime for file in folder.rglob("*")) < oldest]
    for folder in old:
        shutil.rmtree(folder)
    print(f"deleted logs of runs: {len(old)}")


def remove_runs(days: float) -> None:
    """Delete runs from the history that ended more than `days` days ago and are no longer needed."""
    with open_instance(Path(os.environ["TAXI_HOME"])) as instance:
        removed = remove_old_runs(instance, datetime.now(UTC) - timedelta(days=days))
    print(f"deleted runs from the history: {removed}")


if __name__ == "__main__":
    while True:
        remove_containers(os.environ["RUN_LABEL"], float(os.environ["KEEP_CONTAINERS_DAYS"]))
        remove_logs(Path(os.environ["DAGSTER_HOME"]) / "storage", float(os.environ["KEEP_LOGS_DAYS"]))
        remove_runs(float(os.environ["KEEP_RUNS_DAYS"]))
        CLEANED.touch()
        time.sleep(DAY_S)
