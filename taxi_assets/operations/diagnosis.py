"""Check every configured system in the way that a run uses it.

A failed check does not stop the others. Checks leave no test data behind. As with any command, the embedded Postgres
server is started, and the run history is created if it does not exist.
Not here: how a system is checked (`stores`), and how results are displayed (`cli`).
"""

import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from taxi_assets.connections import open_channels, open_lake, open_postgres, open_source, open_warehouse
from taxi_assets.errors import TaxiAssetsError
from taxi_assets.instance.opening import dagster_home, history_place, open_instance, translate_history_errors
from taxi_assets.notifications import Message
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.files.os_errors import free_bytes
from taxi_assets.stores.files.staging import probe_folder, require_writable
from taxi_assets.stores.postgres.embedded import psql_line
from taxi_assets.stores.postgres.store import PostgresStore, target

ENOUGH_BYTES = 5 * 10**9
"""Free bytes recommended for a large month: it needs about 2 GB, including two copies in Postgres during a reload."""

_PACKAGES = ("taxi-assets", "dagster", "duckdb", "pyarrow")

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Default paths of the Dagster databases, which `taxi` also uses."""


class Verdict(StrEnum):
    """The result of a system check: ready, ready with a warning, or in need of a fix before a run."""

    ok = "ok"
    warn = "warn"
    error = "error"


@dataclass(frozen=True)
class Finding:
    """What a system check found and, if something is wrong, how to fix it and the slug of the error."""

    system: str
    verdict: Verdict
    seen: str
    remedy: str = ""
    error: str = ""


def examine(settings: Settings, *, alert: bool = False) -> Iterator[Finding]:
    """Check each system and yield each finding immediately. With `alert`, also send a test message.

    Raises SettingsError if a setting does not identify a system.
    """
    source, lake, warehouse = open_source(settings), open_lake(settings), open_warehouse(settings)
    postgres = _open_configured(settings)
    home = settings.home
    yield Finding("versions", Verdict.ok, _versions(settings))
    yield _check_home(Home(home, source.suffix))
    yield _check("source", lambda: f"{settings.source_url}: {source.probe()}", "set TAXI_SOURCE_URL to another source")
    yield _check("lake", lake.probe, "set TAXI_LAKE_URL to another lake")
    yield _check("warehouse", warehouse.probe, "set TAXI_WAREHOUSE_URL to another warehouse")
    yield from _check_postgres(settings, postgres)
    yield _check(
        "history", partial(_check_history, home), "store the history elsewhere, with TAXI_HOME or its dagster.yaml"
    )
    yield _check("alerts", partial(_describe_channels, settings), "unset TAXI_ALERT_URLS")
    if alert:
        otherwise = "remove that URL from TAXI_ALERT_URLS" if settings.alert_urls else "omit --alert"
        yield _check("test alert", partial(_send_test, settings), otherwise)


def _check(system: str, probe: Callable[[], str], otherwise: str) -> Finding:
    """Run a probe and return its finding. `otherwise` is the alternative if the problem cannot be fixed."""
    try:
        return Finding(system, Verdict.ok, probe())
    except TaxiAssetsError as error:
        return Finding(system, Verdict.error, error.explain(), f"Or {otherwise}.", error.slug)
    except OSError as error:
        return Finding(system, Verdict.error, str(error), f"Fix the cause, or {otherwise}.")


def _versions(settings: Settings) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    image = f", image {settings.image} of revision {settings.revision}" if settings.revision else ""
    return f"python {platform.python_version()}, {packages}{image}"


def _check_home(home: Home) -> Finding:
    finding = _check("home", home.probe, "set TAXI_HOME to another folder")
    if finding.verdict is Verdict.ok and free_bytes(home.folder) < ENOUGH_BYTES:
        remedy = (
            f"Free at least {ENOUGH_BYTES / 1e9:.0f} GB before you load large months, or set TAXI_HOME to another disk."
        )
        return replace(finding, verdict=Verdict.warn, remedy=remedy)
    return finding


def _open_configured(settings: Settings) -> PostgresStore | None:
    """Open the configured Postgres server without connecting to it; None if the embedded server is used."""
    if settings.postgres_url is None:
        return None
    store = open_postgres(settings)
    store.engine()
    return store


def _check_postgres(settings: Settings, given: PostgresStore | None) -> Iterator[Finding]:
    """Check Postgres, and show how to connect to it with psql and pgAdmin."""

    def opened() -> PostgresStore:
        return given or open_postgres(settings)

    finding = _check("postgres", lambda: opened().probe(), "set TAXI_POSTGRES_URL to another server")
    yield finding
    if finding.verdict is Verdict.ok:
        url = opened().shown_url()
        yield Finding("psql", Verdict.ok, psql_line(url.render_as_string()))
        tcp = url.difference_update_query(["host", "port"]).set(host="127.0.0.1", port=settings.postgres_port)
        yield _pgadmin_finding(url if given else tcp, given)


def _pgadmin_finding(url: sa.URL, given: PostgresStore | None) -> Finding:
    if given is None and url.port is None:
        return Finding(
            "pgadmin",
            Verdict.ok,
            "needs a port, and the embedded server has none",
            "Set TAXI_POSTGRES_PORT=5433 or another free port, then run taxi stop and taxi doctor.",
        )
    password = "the password of TAXI_POSTGRES_URL" if given else "no password"
    host, port, user, database = target(url)
    place = f"host {host or 'localhost'}, port {port or 5432}"
    return Finding("pgadmin", Verdict.ok, f"{place}, database {database or user}, user {user}, {password}")


def _check_history(home: Path) -> str:
    """Verify that Dagster's databases are readable and writable, without locking them. Raises StoreError.

    Returns the finding.
    """
    with translate_history_errors(home):
        with open_instance(home) as instance:
            runs, place = instance.get_runs_count(), history_place(instance, home)
        for name in _DATABASES:
            path = dagster_home(home) / name
            if path.exists():
                probe_folder(path.parent)  # SQLite also creates files next to a database
                require_writable(path)
                with closing(sqlite3.connect(path)) as database:
                    database.execute("SELECT count(*) FROM sqlite_master")
    return f"{place} is writable; runs: {runs:,}"


def _describe_channels(settings: Settings) -> str:
    """Describe the number and kinds of alert channels. Raises SettingsError."""
    if settings.alert_urls is None:
        return "none; set TAXI_ALERT_URLS to be notified about failed runs and finished backfills"
    kinds = open_channels(settings).kinds
    return f"channels: {len(kinds)} ({', '.join(kinds)}); taxi doctor --alert sends a test message"


def _send_test(settings: Settings) -> str:
    """Send a test message and describe the result. Raises SettingsError and StoreError."""
    channels = open_channels(settings)
    channels.send(
        Message(
            "Test notification from taxi", f"Notifications arrive here. Links start with {settings.ui_url}", good=True
        )
    )
    return f"accepted by {', '.join(channels.kinds)}; check that it arrived"
