"""Tests of the instance of a single machine: its configuration, its history, and the processes of its runs."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import DamagedHistory, HistoryError, HistoryServerError, InvalidInstanceConfig
from taxi_assets.graph import MART_ASSETS, TRIP_ASSETS, job_name
from taxi_assets.instance.opening import dagster_home, history_place, open_instance, translate_history_errors
from taxi_assets.instance.processes import PROCESS_TAG, end_dead_runs, process_tags
from taxi_assets.instance.read_only import open_readable
from taxi_assets.keys import asset_key
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.dagster_internals import PoolGranularity
from taxi_assets_tests.machine import closed
from taxi_assets_tests.months import publish

PROJECT = Path(__file__).parent.parent.parent
MONTH = TripMonth("fhv", "2021-01")
RAW = [asset_key("fhv", "raw_trips"), asset_key("fhv", "clean_trips")]

PLACES = {"storage", "compute_logs", "local_artifact_storage"}
"""The sections that only the file of the repository has, because its folder does not contain the history."""

# Like a run of the daemon, this run is created without the tag of its process.
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
    """Publish a month at the source. Return the path of its file."""
    return publish(home.parent / "source", MONTH, rows=100)


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of the fixture `home`."""
    with open_instance(home) as opened:
        yield opened


def test_the_configuration_of_a_home_is_that_of_the_repository(tmp_path: Path) -> None:
    """The file in TAXI_HOME/dagster is the repository's `dagster.yaml`, without the sections of its places."""
    packaged = files("taxi_assets.instance").joinpath("dagster.yaml")
    assert (PROJECT / "dagster.yaml").resolve() == Path(str(packaged)).resolve()
    repository = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert repository.keys() >= PLACES
    written = (dagster_home(tmp_path) / "dagster.yaml").read_text()
    assert yaml.safe_load(written) == {name: value for name, value in repository.items() if name not in PLACES}
    sections = (PROJECT / "dagster.yaml").read_text().rstrip().split("\n\n")
    header, *others = written.rstrip().split("\n\n")
    assert header.startswith("# Written by taxi")
    assert [section for section in sections if section in others] == others


def test_limits_of_the_run_queue(instance: dg.DagsterInstance) -> None:
    """The queue limits the runs in total, and those of each color by a pool with run granularity."""
    limits = instance.get_concurrency_config()
    assert limits.run_queue_config
    assert limits.run_queue_config.max_concurrent_runs == 4
    assert limits.run_queue_config.should_block_op_concurrency_limited_runs
    assert limits.run_queue_config.op_concurrency_slot_buffer == 0
    assert limits.pool_config.pool_granularity is PoolGranularity.RUN
    assert limits.pool_config.default_pool_limit == 2
    assert instance.run_monitoring_enabled


def test_assets_are_in_the_pool_of_their_color() -> None:
    """Each asset is in the pool of its color, so the limit applies to any selection of assets."""
    graph = build_definitions(Settings(source_url="tlc")).resolve_asset_graph()
    pools = {key: graph.get(key).pools for key in graph.materializable_asset_keys}
    of_colors = {asset_key(color, name): {color} for color in COLORS for name in (*TRIP_ASSETS, *MART_ASSETS)}
    assert {key: pool for key, pool in pools.items() if pool} == of_colors


def test_pools_exist_before_the_first_run(home: Path, instance: dg.DagsterInstance) -> None:
    """The pools are created with the instance. A limit that was changed in the UI is kept."""
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == dict.fromkeys(COLORS, 2)
    instance.event_log_storage.set_concurrency_slots("green", 5)
    with open_instance(home) as reopened:
        limits = {pool.name: pool.limit for pool in reopened.event_log_storage.get_pool_limits()}
    assert limits == {**dict.fromkeys(COLORS, 2), "green": 5}


@pytest.mark.parametrize("header", ["# Made by taxi. All defaults: ...", "# Written by taxi, before this release."])
def test_a_file_of_an_earlier_release_is_replaced(header: str, tmp_path: Path) -> None:
    """A `dagster.yaml` that starts with the header of an earlier release is replaced by the current one."""
    config = dagster_home(tmp_path) / "dagster.yaml"
    written = config.read_text()
    config.write_text(f"{header}\ntelemetry:\n  enabled: false\n")
    dagster_home(tmp_path)
    assert config.read_text() == written


def test_a_file_without_the_header_is_not_changed(tmp_path: Path) -> None:
    """A `dagster.yaml` without the header belongs to the user: it is used and not replaced."""
    config = dagster_home(tmp_path) / "dagster.yaml"
    own = config.read_text().partition("\n")[2].replace("max_concurrent_runs: 4", "max_concurrent_runs: 1")
    config.write_text(own)
    with open_instance(tmp_path) as opened:
        queue = opened.get_concurrency_config().run_queue_config
    assert queue
    assert queue.max_concurrent_runs == 1
    assert config.read_text() == own


@pytest.mark.parametrize("content", ["telemetry: [", "no_such_section: 1"], ids=["invalid YAML", "an unknown section"])
def test_an_invalid_configuration(content: str, tmp_path: Path) -> None:
    """A `dagster.yaml` that Dagster does not accept is an error with its path."""
    config = dagster_home(tmp_path) / "dagster.yaml"
    config.write_text(content)
    with pytest.raises(InvalidInstanceConfig) as caught:
        open_instance(tmp_path)
    assert str(config) in str(caught.value)


def test_a_history_server_that_is_not_available(
    home: Path, dead_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the history is on a server that is not available, the error contains the server's address and the file."""
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda *_, **__: 0)
    config = dagster_home(home) / "dagster.yaml"
    config.write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_url": dead_postgres_url}}}))
    with pytest.raises(HistoryServerError) as caught:
        open_instance(home)
    assert caught.value.facts == {"config": str(config)}
    port = dead_postgres_url.rpartition(":")[2].partition("/")[0]
    for fact in ("127.0.0.1", port, "Connection refused"):
        assert fact in str(caught.value)


def test_the_place_of_a_history_on_a_server(home: Path, postgres_url: str) -> None:
    """The place of a history on a server is its URL without the password, also if that is a parameter of the URL."""
    secret = f"{postgres_url}&password=a%40s3cr3t&passfile=/s3cr3t&sslpassword=s3cr3t"
    storage = {"postgres": {"postgres_url": secret}}
    (dagster_home(home) / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage}))
    with open_instance(home) as opened:
        place = history_place(opened, home)
    assert place.startswith("postgresql://taxi@/ny_taxi?")
    assert not re.search("s3cr3t|pass", place)


def test_the_place_of_a_history_in_a_folder(home: Path, instance: dg.DagsterInstance) -> None:
    """The place of a history on this machine is its folder."""
    assert history_place(instance, home) == str(home / "dagster")


def test_a_history_that_this_user_cannot_write(home: Path) -> None:
    """Its copy has what is not in the database itself yet, can be written, and is deleted afterwards."""
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM runs")  # keeps what is written now in the write-ahead log
        with open_instance(home) as instance:
            instance.daemon_cursor_storage.set_cursor_values({"mine": "1"})
        with closed(home / "dagster"), open_readable(home) as copy:
            folder = Path(copy.root_directory)
            assert copy.daemon_cursor_storage.get_cursor_values({"mine"}) == {"mine": "1"}
            copy.daemon_cursor_storage.set_cursor_values({"mine": "2"})
    assert not folder.exists()
    (home / "dagster" / "history" / "runs.db").write_text("not a database, but long enough to be taken for one" * 99)
    with closed(home / "dagster"), pytest.raises(DamagedHistory, match=str(home)), open_readable(home):
        pass


def test_a_history_that_this_user_can_write(home: Path) -> None:
    """It is not copied."""
    with open_readable(home) as instance:
        assert instance.root_directory == str(home / "dagster")


def _flip(path: Path, *positions: int) -> None:
    """Invert all bits of some bytes of a file."""
    content = bytearray(path.read_bytes())
    for position in positions:
        content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
@pytest.mark.parametrize("damage", ["text", "header", "truncated", "page"])
def test_a_damaged_history(damage: str, name: str, home: Path) -> None:
    """The error for a database that is damaged, or is not one, has the folder, and the advice to move it away."""
    path = home / "dagster" / name
    match damage:
        case "text":
            path.write_bytes(b"no database" * 1000)
        case "header":
            _flip(path, 0, 1)
        case "truncated":
            path.write_bytes(path.read_bytes()[:6000])
        case "page":
            _flip(path, *range(100, 4096))
    with pytest.raises(DamagedHistory) as caught, open_instance(home) as opened, translate_history_errors(home):
        opened.all_instigator_state()
    assert caught.value.facts == {"path": str(home / "dagster")}
    explained = caught.value.explain()
    for fact in (str(home / "dagster"), "Move the folder away", "taxi adopt", "[damaged-history]"):
        assert fact in explained


def _write(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE mine AS SELECT zeroblob(1000000) AS x")


def _is_busy(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with closing(sqlite3.connect(path, timeout=0)) as database:
            _write(database)


def _is_read_only(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        _write(database)


def _is_full(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA max_page_count = 10")
        _write(database)


def _is_missing(path: Path) -> None:
    with closing(sqlite3.connect(path.parent / "nothing" / path.name)) as database:
        _write(database)


@pytest.mark.parametrize("use", [_is_busy, _is_read_only, _is_full, _is_missing])
def test_a_history_that_cannot_be_used(use: Callable[[Path], None], tmp_path: Path) -> None:
    """A history that is busy, read-only, full or missing is not damaged: there is no advice to move it away."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE runs (x)")
    with pytest.raises(HistoryError) as caught, translate_history_errors(tmp_path):
        use(path)
    assert caught.type is HistoryError
    assert caught.value.facts == {"path": str(tmp_path / "dagster")}
    assert not re.search("(?i)move|damaged", caught.value.explain())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_CORRUPT, DamagedHistory),
        (sqlite3.SQLITE_CORRUPT_VTAB, DamagedHistory),
        (sqlite3.SQLITE_CORRUPT_INDEX, DamagedHistory),
        (sqlite3.SQLITE_CORRUPT_SEQUENCE, DamagedHistory),
        (sqlite3.SQLITE_NOTADB, DamagedHistory),
        (sqlite3.SQLITE_BUSY, HistoryError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, HistoryError),
        (sqlite3.SQLITE_LOCKED, HistoryError),
        (sqlite3.SQLITE_READONLY, HistoryError),
        (sqlite3.SQLITE_READONLY_DBMOVED, HistoryError),
        (sqlite3.SQLITE_FULL, HistoryError),
        (sqlite3.SQLITE_CANTOPEN, HistoryError),
        (sqlite3.SQLITE_IOERR_READ, HistoryError),
        (sqlite3.SQLITE_NOMEM, HistoryError),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["SQLite", "SQLAlchemy"])
def test_codes_of_sqlite(code: int, kind: type[HistoryError], wrapped: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Only SQLite's codes for a damaged file, and the more specific ones, mean that a history is damaged."""
    error = sqlite3.DatabaseError("the reason")
    error.sqlite_errorcode = code
    with pytest.raises(HistoryError) as caught, translate_history_errors(tmp_path):
        raise sa.exc.DatabaseError("SELECT 1", {}, error) if wrapped else error
    assert caught.type is kind
    assert "the reason" in str(caught.value)


def test_a_killed_run_is_marked_as_failed(source: Path, instance: dg.DagsterInstance) -> None:
    """A run claims its process with a tag. Once that process no longer exists, the run is marked as failed."""
    source.unlink()
    os.mkfifo(source)  # opening it blocks
    with subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while process.pid not in [_process_of(run) for run in instance.get_runs()]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert end_dead_runs(instance) == []
        finally:
            process.kill()
    [dead] = end_dead_runs(instance)
    [run] = instance.get_runs()
    assert (run.run_id, run.status) == (dead.run_id, dg.DagsterRunStatus.FAILURE)
    assert process.returncode == -signal.SIGKILL


def _process_of(run: dg.DagsterRun) -> int | None:
    """Return the process ID in the tags of a run."""
    found: int | None = json.loads(run.tags.get(PROCESS_TAG, "{}")).get("pid")
    return found


@pytest.mark.usefixtures("source")
def test_a_run_claims_its_process_once(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without the tag of its process, or with that of its parent, is tagged once. `taxi materialize` sets it."""
    tagged: list[str] = []
    add_run_tags = instance.add_run_tags

    def count(run_id: str, tags: dict[str, str]) -> None:
        tagged.append(run_id)
        add_run_tags(run_id, tags)

    monkeypatch.setattr(instance, "add_run_tags", count)
    definitions = build_definitions(Settings.load())
    job = definitions.resolve_job_def(job_name(MONTH.color))
    for tags in ({}, process_tags("parent run")):
        done = job.execute_in_process(partition_key=MONTH.month, instance=instance, asset_selection=RAW, tags=tags)
        run = instance.get_run_by_id(done.run_id)
        assert run
        assert process_tags(done.run_id).items() <= run.tags.items()
        assert tagged == [done.run_id]
        tagged.clear()
    run_month(definitions, instance, MONTH, RunSpec(("raw_trips", "clean_trips")), lambda _: None)
    assert tagged == []
