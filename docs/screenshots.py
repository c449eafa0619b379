#!/usr/bin/env python
"""Take the pictures of the README and `docs/ui.md` with headless Chromium: a report of months, and the UI.

The UI shows months, one that is not published, and backfills. `make screenshots` runs this script. With `--report`, it
takes only the picture of the report. It does not notice a page that is still loading, so look at each picture before
you commit it.
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

from PIL import Image

IMAGES = Path(__file__).parent / "images"
TAXI = str(Path(sys.executable).with_name("taxi"))
DAGSTER = str(Path(sys.executable).with_name("dagster"))
# The pictures show this path, so it is the same on every machine.
HOME = Path("/tmp/taxi_home")  # noqa: S108
FIRST, LAST, NOT_PUBLISHED = "2020-03", "2020-07", "2020-06"
"""The first and last partition in the pictures, and a month of fhv that the source does not have."""
FAILED = "2020-03"
"""The month of green whose first run fails, because a web page is in the place of its file."""

SAMPLES = {"green": "2020-03..2020-07", "yellow": "2020-03..2020-04", "fhv": "2020-04"}
"""The sample months to generate if REAL_TRIPS does not name a folder of real months."""
WIDTH = 1280
REPORT_HEIGHT = 1030
START_TIMEOUT_S, SHOT_TIMEOUT_S = 120, 90

LOCATION = "/locations/taxi_assets.definitions"
RUNS = "{ runsOrError { ... on Runs { results { runId jobName tags { key value } } } } }"


def main() -> None:
    """Load the months, write a report, start the UI, take every picture, then stop and delete everything.

    The months are real if REAL_TRIPS names their folder, laid out like the mirror.
    """
    if HOME.exists():
        sys.exit(f"{HOME} exists. The pictures need a new TAXI_HOME. Delete the folder and run the script again.")
    # A shell lets background jobs ignore Ctrl-C, which `taxi dev` would inherit. The script stops it with that signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chromium = find_chromium()
    settings = {
        "TAXI_HOME": str(HOME),
        "TAXI_SOURCE_URL": os.environ.get("REAL_TRIPS", str(HOME / "sample")),
        "TAXI_FIRST_MONTH": FIRST,
        "TAXI_LAST_MONTH": LAST,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TAXI_", "DAGSTER_"))}
    environment |= settings
    try:
        if "REAL_TRIPS" not in os.environ:
            generate_months(environment)
        if sys.argv[1:] == ["--report"]:
            load_months("green", environment)
            take_report(chromium, environment)
            return
        run_months(environment)
        take_report(chromium, environment)
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
    """The path of Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    sys.exit("Chromium was not found. Install chromium, chromium-browser or google-chrome and run the script again.")


def generate_months(environment: Mapping[str, str]) -> None:
    """Generate sample months."""
    for color, months in SAMPLES.items():
        words = [TAXI, "sample", str(HOME / "sample"), "--color", color, "--months", months, "--rows", "20000"]
        subprocess.run(words, env=environment, check=True)  # noqa: S603


def run_months(environment: Mapping[str, str]) -> None:
    """Run a job for a month that the source does not have, and one that fails, then load all other months.

    `taxi materialize` leaves out months
    that are not published, so Dagster's own command runs the jobs.
    """
    subprocess.run([TAXI, "status"], env=environment, check=True)  # noqa: S603  # creates the instance
    run_job("load_fhv", NOT_PUBLISHED, environment)
    page = HOME / "broken" / "green" / f"green_tripdata_{FAILED}.csv.gz"
    page.parent.mkdir(parents=True)
    page.write_text("<!DOCTYPE html><title>Sign in</title>")
    run_job("load_green", FAILED, {**environment, "TAXI_SOURCE_URL": str(HOME / "broken")})
    load_months("all", environment)


def load_months(color: str, environment: Mapping[str, str]) -> None:
    """Load all months of a color, or of all colors."""
    words = [TAXI, "materialize", "--color", color, "--months", f"{FIRST}..{LAST}"]
    subprocess.run(words, env=environment, check=True)  # noqa: S603


def take_report(chromium: str, environment: Mapping[str, str]) -> None:
    """Take the picture of a report of green trips, without its first tables. It has few colors, so that it is small."""
    page, picture = HOME / "report.html", IMAGES / "report.png"
    words = [TAXI, "report", "--color", "green", "--output", str(page)]
    subprocess.run(words, env=environment, check=True)  # noqa: S603
    page.write_text(page.read_text().replace("</style>", "#loaded { display: none; }</style>"))
    take(chromium, page.as_uri(), picture, WIDTH, REPORT_HEIGHT)
    with Image.open(picture) as taken:
        taken.convert("RGB").quantize(128).save(picture, optimize=True)
    print(f"{picture} {picture.stat().st_size:,} bytes")  # noqa: T201


def run_job(job: str, month: str, environment: Mapping[str, str]) -> None:
    """Run a job for a month with Dagster's own command, which fails if the run does."""
    tags = json.dumps({"dagster/partition": month})
    words = [DAGSTER, "job", "execute", "-m", "taxi_assets.definitions", "-j", job, "--tags", tags]
    subprocess.run(words, env={**environment, "DAGSTER_HOME": str(HOME / "dagster")}, check=False)  # noqa: S603


def backfill(environment: Mapping[str, str]) -> None:
    """Submit two backfills to the daemon of `taxi dev` and wait for them."""
    words = [TAXI, "backfill", "--wait", "--color", "yellow", "--months", "2020-03..2020-04"]
    subprocess.run(words, env=environment, check=True)  # noqa: S603
    words = [TAXI, "backfill", "--wait", "--color", "fhv", "--months", "2020-04", "--select", "lake_trips+"]
    subprocess.run(words, env=environment, check=True)  # noqa: S603


@contextmanager
def ui(environment: Mapping[str, str]) -> Iterator[str]:
    """Start `taxi dev` and yield its URL once it responds; stop it and its child processes at the end."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (HOME / "dev.log").open("w") as log:
        dev = subprocess.Popen(  # noqa: S603
            [TAXI, "dev", "--port", str(port)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not responds(url):
            if dev.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"taxi dev does not respond at {url}. Its output:\n{(HOME / 'dev.log').read_text()}")
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
    """A free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def responds(url: str) -> bool:
    """Whether the UI runs and has loaded the definitions."""
    try:
        loaded = query(url, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    except OSError:
        return False
    return bool(loaded["repositoriesOrError"].get("nodes"))


def query(url: str, text: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The data of a GraphQL query."""
    body = json.dumps({"query": text}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # loopback
        data: dict[str, dict[str, list[dict[str, object]]]] = json.load(response)["data"]
        return data


def runs_by_partition(url: str) -> dict[tuple[str, str], str]:
    """The id of the first run of each job and partition."""
    runs: dict[tuple[str, str], str] = {}
    # The newest run comes first.
    for run in query(url, RUNS)["runsOrError"]["results"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}  # type: ignore[attr-defined]
        runs[str(run["jobName"]), tags["dagster/partition"]] = str(run["runId"])
    return runs


def pages(runs: Mapping[tuple[str, str], str]) -> dict[str, tuple[str, int, int]]:
    """For each picture, the path of the page and the width and height of the window in pixels."""
    return {
        "lineage": (f"{LOCATION}/asset-groups/green/lineage", 1700, 700),
        "asset": ("/assets/green/postgres_trips?view=overview", WIDTH, 860),
        "partition": ("/assets/green/clean_trips?view=partitions&partition=2020-04", WIDTH, 1440),
        "checks": ("/assets/green/clean_trips?view=checks&checkDetail=rows_like_neighbors", WIDTH, 1180),
        "run": (f"/runs/{runs['load_green', '2020-04']}", WIDTH, 860),
        "failed": (f"/runs/{runs['load_green', FAILED]}?logs=type%3ASTEP_FAILURE", WIDTH, 800),
        "not-published": ("/runs?q%5B0%5D=tag%3Ataxi%2Fresult%3Dnot_published", WIDTH, 420),
        "launchpad": (f"{LOCATION}/jobs/load_green/playground", WIDTH, 860),
        "backfills": ("/runs?view=backfills", WIDTH, 420),
        "automation": ("/automation", WIDTH, 560),
    }


def take(chromium: str, url: str, picture: Path, width: int, height: int) -> None:
    """Take a picture of a page after 15 seconds of virtual time, which Chromium fast-forwards."""
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
