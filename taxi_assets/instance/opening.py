"""Opens the Dagster instance in TAXI_HOME/dagster: its configuration, its history of runs, and errors in reading them.

Not here: running months (`operations.runs`), and runs whose process no longer exists (`processes`).
"""

import json
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
import yaml

from taxi_assets.errors import DamagedHistory, HistoryError, HistoryServerError, InvalidInstanceConfig, RunsElsewhere
from taxi_assets.instance._dagster import DeserializationError
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.files.os_errors import describe_free_space, translate_os_errors
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.postgres.store import without_secrets
from taxi_assets.tlc.trips import COLORS

_HEADER = "# Written by taxi, and replaced when taxi changes. To edit this file, delete this line."

_HEADERS = ("# Written by taxi", "# Made by taxi")
"""How a file starts that taxi wrote, in this release and in earlier ones."""

_PLACES = ("# The Dagster instance", "storage:", "compute_logs:", "local_artifact_storage:")
"""The sections of the configuration that do not apply to TAXI_HOME/dagster, where Dagster's default places are used."""


def _config() -> str:
    sections = files("taxi_assets.instance").joinpath("dagster.yaml").read_text().split("\n\n")
    return "\n\n".join([_HEADER, *(section for section in sections if not section.startswith(_PLACES))])


def dagster_home(home: Path) -> Path:
    """Return the instance's folder. Writes its `dagster.yaml` if that is missing or from another version of taxi.

    A `dagster.yaml` without the first line that taxi writes is left unchanged. Raises StoreError if the file cannot be
    read or written.
    """
    folder = home / "dagster"
    config = folder / "dagster.yaml"
    with translate_os_errors(config):
        found = config.read_text(errors="replace") if config.exists() else _HEADER
    if found.startswith(_HEADERS) and found != (current := _config()):
        with StagedFile(config) as staged:
            staged.path.write_text(current)
            staged.publish()
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance in TAXI_HOME. Raises HistoryError if its configuration or history cannot be used.

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
        raise InvalidInstanceConfig(
            f"{folder / 'dagster.yaml'} is invalid: {str(error).replace(chr(10), ' ')}", path=str(folder)
        ) from error


def history_place(instance: dg.DagsterInstance, home: Path) -> str:
    """Return where the history of runs is stored: a folder, or the URL of a database server without passwords."""
    from taxi_assets.instance._dagster import SqlRunStorage

    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        with storage.connect() as connection:
            url = connection.engine.url
            if url.get_backend_name() == "postgresql":
                return without_secrets(url).render_as_string()
    return str(dagster_home(home))


def may_run_here(instance: dg.DagsterInstance) -> bool:
    """Return whether processes on this machine may execute runs. In a deployment, the daemon starts them elsewhere."""
    # Read the configuration: importing the launcher would also import gRPC, a tenth of the time of `taxi status`.
    launcher = instance.get_ref().run_launcher_data
    return launcher is None or launcher.class_name == "DefaultRunLauncher"


def require_runs_here(instance: dg.DagsterInstance) -> None:
    """Raise RunsElsewhere if a deployment's daemon starts the runs: it would treat a run in this process as dead."""
    if not may_run_here(instance):
        raise RunsElsewhere(
            f"The daemon of this deployment starts all runs, with {type(instance.run_launcher).__name__}. It would "
            "treat a run in this process as dead."
        )


@contextmanager
def translate_history_errors(home: Path) -> Iterator[None]:
    """Raise HistoryError if the history of runs cannot be read or written."""
    try:
        yield
    except _history_errors() as error:
        raise _unusable(dagster_home(home), error) from error


def history_error(home: Path, error: Exception) -> Exception:
    """Return the HistoryError for an error of a database of Dagster, and any other error as it is.

    Dagster reads its databases wherever it needs them, and any of them can be damaged in any place.
    """
    return _unusable(dagster_home(home), error) if isinstance(error, _history_errors()) else error


def _history_errors() -> tuple[type[Exception], ...]:
    return (sa.exc.SQLAlchemyError, sqlite3.Error, *_DAMAGED_TEXT, _postgres_exception())


def _postgres_exception() -> type[Exception]:
    """Return the exception that Dagster raises after its retries of a Postgres connection.

    It is only imported when an error occurs.
    """
    from dagster_postgres.utils import DagsterPostgresException

    return DagsterPostgresException


_DAMAGED_TEXT = (DeserializationError, json.JSONDecodeError)
"""The errors of a run or an event that Dagster cannot parse any more."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_PRIMARY_CODE = 0xFF
"""The bits of an SQLite error code that a more specific code, such as SQLITE_CORRUPT_INDEX, has in common with it."""


def _unusable(folder: Path, error: Exception) -> HistoryError:
    """Return the error for a history of runs that cannot be used."""
    from psycopg2 import Error as PostgresError

    # Dagster's error only contains the number of attempts. The reason is in its cause.
    cause = error.__cause__ if isinstance(error, _postgres_exception()) else error
    reason = cause.orig if isinstance(cause, sa.exc.DBAPIError) else cause
    if isinstance(reason, PostgresError):
        return HistoryServerError(
            f"The history of runs in Postgres is not available: {str(reason).partition(chr(10))[0]}",
            config=str(folder / "dagster.yaml"),
        )
    kind = DamagedHistory if _is_damage(reason) else HistoryError
    return kind(
        f"The history of runs in {folder} cannot be used: {_first_line(reason)}; {describe_free_space(folder)}.",
        path=str(folder),
    )


def _is_damage(reason: BaseException | None) -> bool:
    """Return whether an error means that a database is damaged, or a text in it."""
    if isinstance(reason, sqlite3.OperationalError) and not hasattr(reason, "sqlite_errorcode"):
        return True  # Python's own error for a text that is not UTF-8
    return isinstance(reason, _DAMAGED_TEXT) or getattr(reason, "sqlite_errorcode", 0) & _PRIMARY_CODE in _DAMAGED


def _first_line(reason: BaseException | None) -> str:
    """Return the start of a message, which can contain the whole text of an event."""
    return textwrap.shorten(str(reason).partition("\n")[0], 200, placeholder=" ...")
