"""Once a day, remove what ended runs left: containers after a week, logs after three months, history after a year.

It runs as a service of its own, since it needs the Docker engine and no run should have that.
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

CLEANED = Path("/tmp/cleaned")  # noqa: S108  # in a container of its own
"""Touched after each round, for the health check."""


def remove_containers(label: str, days: float) -> None:
    """Remove the stopped containers with a label that were made so many days ago."""
    until = f"{int(time.time() - days * DAY_S)}"
    removed = docker.from_env().containers.prune(filters={"label": [label], "until": until})
    print(f"containers of runs removed: {len(removed['ContainersDeleted'] or [])}")


def remove_logs(storage: Path, days: float) -> None:
    """Remove the folders of runs' logs in which nothing was written for so many days."""
    oldest = time.time() - days * DAY_S
    folders = {log.parent.parent for log in storage.glob("*/compute_logs/*")}
    old = [folder for folder in folders if max(file.stat().st_mtime for file in folder.rglob("*")) < oldest]
    for folder in old:
        shutil.rmtree(folder)
    print(f"logs of runs removed: {len(old)}")


def remove_runs(days: float) -> None:
    """Remove the runs that ended so many days ago from the history, but for those that it rests on."""
    with open_instance(Path(os.environ["TAXI_HOME"])) as instance:
        removed = remove_old_runs(instance, datetime.now(UTC) - timedelta(days=days))
    print(f"runs removed from the history: {removed}")


if __name__ == "__main__":
    while True:
        remove_containers(os.environ["RUN_LABEL"], float(os.environ["KEEP_CONTAINERS_DAYS"]))
        remove_logs(Path(os.environ["DAGSTER_HOME"]) / "storage", float(os.environ["KEEP_LOGS_DAYS"]))
        remove_runs(float(os.environ["KEEP_RUNS_DAYS"]))
        CLEANED.touch()
        time.sleep(DAY_S)
