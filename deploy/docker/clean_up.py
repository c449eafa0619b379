"""Once a day, remove what ended runs left: their containers after a week, their logs on the volume after three months.

It runs as a service of its own, since it needs the Docker engine and no run should have that.
"""

import os
import shutil
import time
from pathlib import Path

import docker

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


if __name__ == "__main__":
    while True:
        remove_containers(os.environ["RUN_LABEL"], float(os.environ["KEEP_CONTAINERS_DAYS"]))
        remove_logs(Path(os.environ["DAGSTER_HOME"]) / "storage", float(os.environ["KEEP_LOGS_DAYS"]))
        CLEANED.touch()
        time.sleep(DAY_S)
