"""Time commands, ticks and pages of the UI with a long history of runs, in SQLite and in PostgreSQL.

The history has four colors. CPU time is less affected by what else the machine does than wall time.

With `--browser`, pages are also timed in Chromium.

Usage: python benchmarks/scale.py [--months N] [--loads N] [--stores sqlite,postgres] [--browser]
"""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from histories import LongHistory
from samples import BIN

ASSET = '{path: ["yellow", "clean_trips"]}'
REPETITIONS = 5
_WAIT_S = 120

PAGES: Mapping[str, str] = {
    "assets and their graph": """{ assetNodes {
        assetKey { path } hasMaterializePermission staleStatus
        partitionStats { numMaterialized numMaterializing numPartitions numFailed }
        assetMaterializations(limit: 1) { timestamp runId } } }""",
    "asset, overview": f"""{{ assetOrError(assetKey: {ASSET}) {{ ... on Asset {{
        assetMaterializations(limit: 100) {{ runId timestamp partition metadataEntries {{ label }} }} }} }} }}""",
    "asset, partitions": f"""{{ assetNodeOrError(assetKey: {ASSET}) {{ ... on AssetNode {{
        partitionKeysByDimension {{ name partitionKeys }} assetPartitionStatuses {{
            ... on TimePartitionStatuses {{ ranges {{ status startKey endKey }} }} }} }} }} }}""",
    "asset, one partition": f"""{{ assetNodeOrError(assetKey: {ASSET}) {{ ... on AssetNode {{
        latestMaterializationByPartition(partitions: ["2000-01"]) {{ runId metadataEntries {{ label }} }}
        staleStatus(partition: "2000-01") }} }} }}""",
    "asset, checks": f"""{{ assetNodeOrError(assetKey: {ASSET}) {{ ... on AssetNode {{
        assetChecksOrError {{ ... on AssetChecks {{ checks {{
            name executionForLatestMaterialization {{ status timestamp }} }} }} }} }} }} }}""",
    "runs": """{ runsOrError(limit: 26) { ... on Runs { count results {
        id status jobName startTime endTime tags { key value } assetSelection { path } } } } }""",
    "automation": """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
        ... on RepositoryLocation { repositories {
            schedules { name scheduleState { status ticks(limit: 1) { timestamp } } }
            sensors { name sensorState { status } } } } } } } } }""",
    "backfills": "{ partitionBackfillsOrError(limit: 25) { ... on PartitionBackfills { results { id status } } } }",
}
"""The largest GraphQL queries of pages in Dagster's UI."""

PATHS: Mapping[str, tuple[str, str]] = {
    "overview of runs": ("/overview/activity/timeline", "load_yellow"),
    "assets": ("/assets", "clean_trips"),
    "graph of a color": ("/locations/taxi_assets.definitions/asset-groups/yellow/lineage", "clean_trips"),
    "asset, overview": ("/assets/yellow/clean_trips?view=overview", "Latest materialization"),
    "asset, checks": ("/assets/yellow/clean_trips?view=checks", "rows_like_neighbors"),
    "runs": ("/runs", "load_yellow"),
    "automation": ("/automation", "load_yellow"),
}
"""The paths of pages in Dagster's UI, and a text that each shows when it has its data."""


def main() -> None:
    """Print the times for each place of the history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=500, metavar="N", help="months of each color (500)")
    parser.add_argument("--loads", type=int, default=3, metavar="N", help="runs of each month (3)")
    parser.add_argument("--stores", default="sqlite,postgres", help="where the history is: sqlite, postgres, or both")
    parser.add_argument("--browser", action="store_true", help="also open pages in Chromium, which must be installed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Dagster itself uses functions that are in beta
    for store in arguments.stores.split(","):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), store, arguments)


def _measure(folder: Path, store: str, arguments: argparse.Namespace) -> None:
    from taxi_assets.stores.postgres.embedded import EmbeddedPostgres
    from taxi_assets.tlc.trips import parse_months

    number, loads = arguments.months, arguments.loads
    months = parse_months("1985-01..2100-12")[:number]
    server = EmbeddedPostgres(folder / "server")
    try:
        url = server.ensure_running()
        os.environ.update(
            TAXI_HOME=str(folder / "home"),
            TAXI_SOURCE_URL=str(folder / "source"),
            TAXI_FIRST_MONTH=months[0],
            TAXI_LAST_MONTH=months[-1],
            TAXI_POSTGRES_URL=url,
            DAGSTER_HOME=str(folder / "home" / "dagster"),
            PYTHONWARNINGS="ignore",
        )
        print(f"{store}: generating {number} months of four colors, each loaded {loads} times", flush=True)
        # The newest months are not loaded, so that a backfill has something to do.
        history = LongHistory(folder / "home", url if store == "postgres" else "", months[: -max(number // 40, 1)])
        _taxi("sample", str(folder / "source"), "--months", months[0], "--rows", "100")
        _taxi("materialize", "--months", months[0])
        runs = history.copy_runs(loads)
        print(
            f"{store}: {runs:,} runs, {history.size_bytes() / 1e6:,.0f} MB, "
            f"and {history.run_bytes() / 1e3:.0f} KB in a file for each run, which was not copied",
            flush=True,
        )
        _time_commands(store, f"{months[0]}..{months[-1]}")
        _time_ticks(store)
        _time_pages(store)
        if arguments.browser:
            _time_in_browser(store)
    finally:
        server.stop()


def _show(what: str, times: "_Times") -> None:
    print(f"{what:45}{times.cpu:7.2f} s of CPU, {times.wall:.2f} s, first time {times.first:.2f} s", flush=True)


def _taxi(*words: str) -> None:
    subprocess.run([str(BIN / "taxi"), *words], check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class _Times:
    """Seconds of something that was repeated: medians of CPU time and of wall time, and the wall time of the first."""

    cpu: float
    wall: float
    first: float


def _timed(call: Callable[[], object], cpu_seconds: Callable[[], float]) -> _Times:
    """Call something several times. `cpu_seconds` returns the CPU time so far of the processes that do it."""
    walls, cpus = [], []
    for _ in range(REPETITIONS):
        started, before = time.perf_counter(), cpu_seconds()
        call()
        walls.append(time.perf_counter() - started)
        cpus.append(cpu_seconds() - before)
    return _Times(median(cpus[1:]), median(walls[1:]), walls[0])


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of_tree(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _time_commands(store: str, months: str) -> None:
    commands = {
        "import dagster": [sys.executable, "-c", "import dagster"],
        "taxi status": [str(BIN / "taxi"), "status"],
        "taxi backfill --missing --dry-run": [
            *(str(BIN / "taxi"), "backfill", "--months", months),
            *("--missing", "--dry-run"),
        ],
    }
    for name, command in commands.items():
        run = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        _show(f"{store}: {name}", _timed(run, _cpu_of_children))


def _time_ticks(store: str) -> None:
    """Time one tick of a schedule and of each sensor, in this process."""
    import dagster as dg

    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.settings import Settings

    settings = Settings.load()
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    schedule = definitions.resolve_schedule_def("load_yellow")
    now = datetime.now(UTC)
    with open_instance(settings.home) as instance:

        def resources(keys: Iterable[str]) -> dict[str, object]:
            return {name: (definitions.resources or {})[name] for name in keys}

        def tick(sensor: dg.SensorDefinition) -> object:
            needed = resources(sensor.required_resource_keys)
            return sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository, resources=needed))

        needed = resources(schedule.required_resource_keys)

        _show(
            f"{store}: tick of load_yellow",
            _timed(lambda: schedule.evaluate_tick(dg.build_schedule_context(instance, now, needed)), time.process_time),
        )
        for sensor in repository.sensor_defs:
            if not isinstance(sensor, dg.AutomationConditionSensorDefinition):
                _show(f"{store}: tick of {sensor.name}", _timed(partial(tick, sensor), time.process_time))
        evaluate = partial(dg.evaluate_automation_conditions, definitions, instance)
        _show(f"{store}: tick of the conditions of marts", _timed(evaluate, time.process_time))


def _time_pages(store: str) -> None:
    with _webserver() as (url, server):
        for page, query in PAGES.items():
            call = partial(_request, f"{url}/graphql", query)
            _show(f"{store}: page of {page}", _timed(call, partial(_cpu_of_tree, server)))


def _time_in_browser(store: str) -> None:
    """Time pages until they show their data."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    # Without the last option, Chromium looks for updates.
    flags = ("--no-sandbox", "--disable-background-networking")
    with _webserver() as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)

        def seconds(path: str, text: str) -> float:
            page, started = browser.new_page(), time.perf_counter()
            page.goto(f"{url}{path}", timeout=_WAIT_S * 1000)
            page.get_by_text(text).first.wait_for(timeout=_WAIT_S * 1000)
            took = time.perf_counter() - started
            page.close()
            return took

        for name, (path, text) in PATHS.items():
            walls = [seconds(path, text) for _ in range(REPETITIONS)]
            print(f"{store}: browser, {name:30}{median(walls[1:]):.2f} s, first time {walls[0]:.2f} s", flush=True)
        browser.close()


@contextmanager
def _webserver() -> Iterator[tuple[str, psutil.Process]]:
    """Start Dagster's webserver on a free port of loopback. Yields its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "dagster-webserver"), "-m", "taxi_assets.definitions", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                _request(f"{url}/graphql", "{ version }")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def _request(url: str, query: str) -> None:
    """Send a GraphQL query. Raises RuntimeError if the answer has errors."""
    request = urllib.request.Request(  # noqa: S310  # on loopback
        url, json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_WAIT_S) as response:
        answer = json.load(response)
    if "errors" in answer:
        raise RuntimeError(f"{query}: {json.dumps(answer['errors'])[:1000]}")


if __name__ == "__main__":
    main()
