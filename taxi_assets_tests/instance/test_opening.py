"""The instance of one machine: its configuration, and runs that know their process and are not under way without it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import PoolGranularity

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import StoreError
from taxi_assets.graph import TRIP_ASSETS, asset_key, job_name
from taxi_assets.instance.opening import dagster_home, open_instance
from taxi_assets.instance.processes import PROCESS_TAG, fail_dead_runs, process_tags
from taxi_assets.operations.runs import Order, run_month
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.months import publish

PROJECT = Path(__file__).parent.parent.parent
MONTH = TripMonth("fhv", "2021-01")
RAW = [asset_key("fhv", "raw_trips"), asset_key("fhv", "clean_trips")]

PLACES = {"storage", "compute_logs", "local_artifact_storage"}
"""What the checkout's file says besides, since its folder is not where the history is."""

# A run as a daemon's: nobody said at its start which process it is in.
RUN = """
from taxi_assets.defs.build import build_definitions
from taxi_assets.instance.opening import open_instance
from taxi_assets.settings import Settings
settings = Settings.load()
job = build_definitions(settings).resolve_job_def("load_fhv")
job.execute_in_process(partition_key="2021-01", instance=open_instance(settings.home))
"""


@pytest.fixture
def source(home: Path) -> Path:
    """The file of the one month that the home's source has."""
    return publish(home.parent / "source", MONTH, rows=100)


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The home's instance."""
    with open_instance(home) as opened:
        yield opened


def test_the_checkout_and_a_home_have_one_configuration(tmp_path: Path) -> None:
    """What Dagster's own commands find in the checkout is what `taxi` makes in a home, but for the places."""
    of_checkout = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert {name: value for name, value in of_checkout.items() if name not in PLACES} == yaml.safe_load(
        (dagster_home(tmp_path) / "dagster.yaml").read_text()
    )


def test_the_queue_has_limits_in_all_and_for_each_color(instance: dg.DagsterInstance) -> None:
    """The queue limits runs in all, and runs of each color by a pool with run granularity."""
    limits = instance.get_concurrency_config()
    assert limits.run_queue_config
    assert limits.run_queue_config.max_concurrent_runs == 4
    assert limits.run_queue_config.should_block_op_concurrency_limited_runs
    assert limits.run_queue_config.op_concurrency_slot_buffer == 0
    assert limits.pool_config.pool_granularity is PoolGranularity.RUN
    assert limits.pool_config.default_pool_limit == 2
    assert instance.run_monitoring_enabled


def test_every_asset_is_in_the_pool_of_its_color() -> None:
    """Every asset of a color is in the color's pool, so that the limit holds for any selection of assets."""
    graph = build_definitions(Settings.load()).resolve_asset_graph()
    pools = {key: graph.get(key).pools for key in graph.materializable_asset_keys}
    assert pools == {asset_key(color, name): {color} for color in COLORS for name in TRIP_ASSETS}


def test_the_limits_of_colors_are_there_before_any_run(home: Path, instance: dg.DagsterInstance) -> None:
    """Pools are created with the instance, because the daemon does not limit a pool when it first sees it."""
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == dict.fromkeys(COLORS, 2)
    instance.event_log_storage.set_concurrency_slots("green", 5)
    with open_instance(home) as again:
        limits = {pool.name: pool.limit for pool in again.event_log_storage.get_pool_limits()}
    assert limits == {**dict.fromkeys(COLORS, 2), "green": 5}


def test_a_configuration_that_taxi_made_is_made_again(tmp_path: Path) -> None:
    """A home of an older version gets what this one makes; a file that somebody made his own stays."""
    config = dagster_home(tmp_path) / "dagster.yaml"
    made = config.read_text()
    config.write_text("# Made by taxi. All defaults: ...\ntelemetry:\n  enabled: false\n")
    dagster_home(tmp_path)
    assert config.read_text() == made
    own = "".join(made.splitlines(keepends=True)[1:]).replace("max_concurrent_runs: 4", "max_concurrent_runs: 1")
    config.write_text(own)
    with open_instance(tmp_path) as opened:
        queue = opened.get_concurrency_config().run_queue_config
    assert queue
    assert queue.max_concurrent_runs == 1
    assert config.read_text() == own


def test_a_history_in_postgres_that_is_away(
    home: Path, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the history is on a server, what is told is the server, and what it said; nothing of this disk."""
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda *_, **__: 0)
    config = dagster_home(home) / "dagster.yaml"
    config.write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_url": dead_postgres_url}}}))
    with pytest.raises(StoreError) as caught:
        open_instance(home)
    said = str(caught.value)
    assert said.startswith("the history of runs in Postgres cannot be used: connection to server at")
    assert "Connection refused" in said
    assert "free there" not in said


def test_a_run_that_is_killed_is_no_longer_under_way(source: Path, instance: dg.DagsterInstance) -> None:
    """A run that nobody tagged, as a daemon's, says itself where it is: it is failed once that process is gone."""
    source.unlink()
    os.mkfifo(source)  # whoever opens it waits
    with subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while process.pid not in [_process_of(run) for run in instance.get_runs()]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert fail_dead_runs(instance) == []
        finally:
            process.kill()
    [dead] = fail_dead_runs(instance)
    [run] = instance.get_runs()
    assert (run.run_id, run.status) == (dead.run_id, dg.DagsterRunStatus.FAILURE)
    assert process.returncode == -signal.SIGKILL


def _process_of(run: dg.DagsterRun) -> int | None:
    """The process id that a run is tagged with."""
    found: int | None = json.loads(run.tags.get(PROCESS_TAG, "{}")).get("pid")
    return found


@pytest.mark.usefixtures("source")
def test_a_run_says_once_which_process_it_is_in(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a process, or with its parent's, is tagged with its own, once; one of `taxi materialize` has it."""
    tagged: list[str] = []
    add_run_tags = instance.add_run_tags

    def count(run_id: str, tags: dict[str, str]) -> None:
        tagged.append(run_id)
        add_run_tags(run_id, tags)

    monkeypatch.setattr(instance, "add_run_tags", count)
    definitions = build_definitions(Settings.load())
    job = definitions.resolve_job_def(job_name(MONTH.color))
    for tags in ({}, process_tags("its parent")):
        done = job.execute_in_process(partition_key=MONTH.month, instance=instance, asset_selection=RAW, tags=tags)
        run = instance.get_run_by_id(done.run_id)
        assert run
        assert process_tags(done.run_id).items() <= run.tags.items()
        assert tagged == [done.run_id]
        tagged.clear()
    run_month(definitions, instance, MONTH, Order(("raw_trips", "clean_trips")), lambda _: None)
    assert tagged == []
