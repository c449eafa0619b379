"""Opens the Dagster instance in TAXI_HOME/dagster: its configuration, its history of runs, and errors in reading them.

Not here: running months (`operations.runs`), and runs whose process no longer exists (`processes`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
import yaml

from taxi_assets.errors import StoreError
from taxi_assets.instance._dagster import SqlRunStorage
from taxi_assets.stores.files import StagedFile, locked
from taxi_assets.stores.os_errors import describe_free_space, translate_os_errors
from taxi_assets.tlc.trips import COLORS

_MADE_HERE = "# Made by taxi"

_CONFIG = f"""\
{_MADE_HERE}, and made again when taxi changes. To change it by hand, remove this line.
# The history lies in this folder, the same that the checkout's dagster.yaml names.
telemetry:
  enabled: false
nux:
  enabled: false
# What the stores log, such as how far a download is, is among the events of its run.
python_logs:
  managed_python_loggers: [taxi_assets]
  python_log_level: INFO
# How many runs go at once, in all and of each color; others wait in the queue. A run is a process of about 500 MB.
concurrency:
  runs:
    max_concurrent_runs: 4
  pools:  # each color's assets are a pool of their own
    granularity: run
    default_limit: 2
# A run that does not start, or that somebody stops and does not end, is given up.
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 180
  poll_interval_seconds: 60
retention:
  schedule:
    purge_after_days: 365
  sensor:
    purge_after_days:
      skipped: 7
      failure: 90
      success: 90
"""


def dagster_home(home: Path) -> Path:
    """Return the instance's folder. Writes its `dagster.yaml` if that is missing or from another version of taxi.

    A `dagster.yaml` without the first line that taxi writes is left unchanged. Raises StoreError if the file cannot be
    read or written.
    """
    folder = home / "dagster"
    config = folder / "dagster.yaml"
    with translate_os_errors(config):
        found = config.read_text(errors="replace") if config.exists() else _MADE_HERE
    if found.startswith(_MADE_HERE) and found != _CONFIG:
        with StagedFile(config) as staged:
            staged.path.write_text(_CONFIG)
            staged.publish()
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance in TAXI_HOME. Raises StoreError if its configuration or history cannot be used.

    A lock protects the creation of its tables, which fails if two processes create them at the same time.
    """
    folder = dagster_home(home)
    with locked(folder / ".instance.lock", waiting_for="Dagster's instance"), translate_history_errors(home):
        instance = _read_instance(folder)
        instance.get_runs_count()
        instance.all_asset_keys()
        _limit_colors(instance)
        return instance


def _limit_colors(instance: dg.DagsterInstance) -> None:
    """Create each color's pool with the configured limit.

    Otherwise the daemon creates the pool when it first sees a queued run of the color, and ignores the limit that time.
    """
    if instance.global_op_concurrency_default_limit is not None:
        for color in set(COLORS) - instance.event_log_storage.get_concurrency_keys():
            instance.event_log_storage.initialize_concurrency_limit_to_default(color)


def _read_instance(folder: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(str(folder))
    except (yaml.YAMLError, dg.DagsterInvalidConfigError) as error:
        raise StoreError(
            f"{folder / 'dagster.yaml'} cannot be read: {str(error).replace(chr(10), ' ')}. Mend it, or move it away: "
            "it is made again"
        ) from error


def history_place(instance: dg.DagsterInstance, home: Path) -> str:
    """Return where the history of runs is stored: a folder, or the URL of a database server without its password."""
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        with storage.connect() as connection:
            url = connection.engine.url
            if url.host:
                return url.render_as_string()
    return str(dagster_home(home))


def may_run_here(instance: dg.DagsterInstance) -> bool:
    """Return whether processes on this machine may execute runs. In a deployment, the daemon starts them elsewhere."""
    # Read the configuration: importing the launcher would also import gRPC, a tenth of the time of `taxi status`.
    launcher = instance.get_ref().run_launcher_data
    return launcher is None or launcher.class_name == "DefaultRunLauncher"


def require_runs_here(instance: dg.DagsterInstance) -> None:
    """Raise StoreError if a deployment's daemon starts the runs: it would treat a run in this process as dead."""
    if not may_run_here(instance):
        raise StoreError(
            f"the runs of this deployment are started by its daemon ({type(instance.run_launcher).__name__}), which "
            "would take a run in this process for dead. Ask that one for the months: taxi backfill"
        )


@contextmanager
def translate_history_errors(home: Path) -> Iterator[None]:
    """Raise StoreError, with what to do, if the history of runs cannot be read or written."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, _postgres_given_up()) as error:
        raise _unusable(dagster_home(home), error) from error


def _postgres_given_up() -> type[Exception]:
    """Return the exception that Dagster raises after its retries of a Postgres connection.

    It is only imported when an error occurs.
    """
    from dagster_postgres.utils import DagsterPostgresException

    return DagsterPostgresException


def _unusable(folder: Path, error: Exception) -> StoreError:
    """Return the StoreError for a history of runs that cannot be used."""
    from psycopg2 import Error as PostgresError

    # Dagster's error only contains the number of attempts. The reason is in its cause.
    met = error.__cause__ if isinstance(error, _postgres_given_up()) else error
    said = met.orig if isinstance(met, sa.exc.DBAPIError) else met
    if isinstance(said, PostgresError):
        return StoreError(
            f"the history of runs in Postgres cannot be used: {str(said).partition(chr(10))[0]}. See that the server "
            f"runs which {folder / 'dagster.yaml'} names, and takes its user and password; the months are not concerned"
        )
    return StoreError(
        f"the history of runs in {folder} cannot be used: {said}; {describe_free_space(folder)}. Make room if there is "
        "little, and let this user write there; else it is damaged: move it away, which forgets the runs and keeps "
        "the months"
    )
