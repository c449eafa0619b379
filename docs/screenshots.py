#!/usr/bin/env python
"""Takes the pictures of `docs/ui.md`: a demo in a home of its own, a month that fails, `taxi dev`, headless Chromium.

Run by `make screenshots`. Look at each picture before it is committed: nothing here can tell a spinner from a table.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

IMAGES = Path(__file__).parent / "images"
TAXI = str(Path(sys.executable).with_name("taxi"))
# The pictures show this path, so that it is the same for all who take them.
HOME = Path("/tmp/taxi_home")  # noqa: S108
FAILING = ("--color", "green", "--months", "2021-02")
WIDTH = 1280
START_TIMEOUT_S, SHOT_TIMEOUT_S = 120, 90

LOCATION = "/locations/__repository__@taxi_assets.definitions"
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"


def main() -> None:
    """Make the months, start the UI, take every picture, stop and remove everything."""
    if HOME.exists():
        sys.exit(f"{HOME} exists: the pictures are of a home of their own. Remove it, then run this again")
    # A job that a shell runs in the background ignores Ctrl-C, and so would the `taxi dev` that is to end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chromium = find_chromium()
    settings = {"TAXI_HOME": str(HOME), "TAXI_SOURCE_URL": str(HOME / "sample")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TAXI_", "DAGSTER_"))}
    environment |= settings
    try:
        run_months(environment)
        with ui(environment) as url:
            backfill(environment)
            for name, (path, width, height) in pages(runs_by_partition(url)).items():
                picture = IMAGES / f"{name}.png"
                take(chromium, f"{url}{path}", picture, width, height)
                print(f"{picture} {picture.stat().st_size:,} bytes")  # noqa: T201
    finally:
        subprocess.run([TAXI, "stop"], env=environment, check=False)  # noqa: S603
        shutil.rmtree(HOME, ignore_errors=True)


def find_chromium() -> str:
    """The program that takes the pictures."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    sys.exit("no Chromium: install chromium, chromium-browser or google-chrome, then run this again")


def run_months(environment: Mapping[str, str]) -> None:
    """A month that its source does not have, then the demo's, so that the latest run is one that went well."""
    failed = subprocess.run([TAXI, "materialize", *FAILING], env=environment, check=False)  # noqa: S603
    if failed.returncode != 1:
        sys.exit(f"{' '.join(FAILING)} ended with status {failed.returncode}, expected 1: it has no file")
    subprocess.run([TAXI, "demo"], env=environment, check=True)  # noqa: S603


def backfill(environment: Mapping[str, str]) -> None:
    """Two backfills that the UI's daemon runs."""
    words = [TAXI, "backfill", "--wait", "--color", "yellow", "--months", "2021-01..2021-02"]
    subprocess.run(words, env=environment, check=True)  # noqa: S603
    words = [TAXI, "backfill", "--wait", "--color", "fhv", "--months", "2021-01", "--select", "lake_trips+"]
    subprocess.run(words, env=environment, check=True)  # noqa: S603


@contextmanager
def ui(environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a `taxi dev` that answers; it and all that it started end with the block."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (HOME / "dev.log").open("w") as log:
        dev = subprocess.Popen(  # noqa: S603
            [TAXI, "dev", "--port", str(port)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(url):
            if dev.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"taxi dev does not answer at {url}. It said:\n{(HOME / 'dev.log').read_text()}")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(dev.pid, signal.SIGINT)
        try:
            dev.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(dev.pid, signal.SIGKILL)
            dev.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the UI is up and has loaded the definitions."""
    try:
        loaded = ask(url, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    except OSError:
        return False
    return bool(loaded["repositoriesOrError"].get("nodes"))


def ask(url: str, query: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    """What the UI's GraphQL answers."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # loopback
        data: dict[str, dict[str, list[dict[str, object]]]] = json.load(response)["data"]
        return data


def runs_by_partition(url: str) -> dict[str, str]:
    """The id of each partition's run."""
    runs: dict[str, str] = {}
    for run in ask(url, RUNS)["runsOrError"]["results"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}  # type: ignore[attr-defined]
        runs[tags["dagster/partition"]] = str(run["runId"])
    return runs


def pages(runs: Mapping[str, str]) -> dict[str, tuple[str, int, int]]:
    """The path of each picture's page, and the width and height in pixels that show it."""
    return {
        "lineage": (f"{LOCATION}/asset-groups/trips/lineage", 1700, 700),
        "asset": ("/assets/postgres_trips?view=overview", WIDTH, 860),
        "partition": ("/assets/clean_trips?view=partitions&partition=fhv%7C2021-01", WIDTH, 1440),
        "checks": ("/assets/clean_trips?view=checks", WIDTH, 860),
        "run": (f"/runs/{runs['fhv|2021-01']}", WIDTH, 860),
        "failed": ("/assets/raw_trips?view=partitions&partition=green%7C2021-02", WIDTH, 680),
        "launchpad": (f"{LOCATION}/jobs/load_trips/playground", WIDTH, 860),
        "backfills": ("/runs?view=backfills", WIDTH, 420),
        "automation": ("/automation", WIDTH, 560),
    }


def take(chromium: str, url: str, picture: Path, width: int, height: int) -> None:
    """A picture of a page once its clock, which runs ahead, says that 15 seconds have passed."""
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603
            [
                chromium,
                "--headless",
                *as_root,
                *quiet,
                "--disable-gpu",
                "--disable-quic",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "--virtual-time-budget=15000",
                f"--screenshot={picture}",
                url,
            ],
            check=True,
            capture_output=True,
            timeout=SHOT_TIMEOUT_S,
        )


if __name__ == "__main__":
    main()
