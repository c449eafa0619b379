"""Check every configured system in the way that a run uses it.

A failed check does not stop the others. Checks leave no test data behind. As with any command, the embedded Postgres
server is started, and the run history is created if it does not exist.
Not here: how a system is checked (`stores`), and how results are displayed (`cli`).
"""

import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from taxi_assets.errors import NotPublished, TaxiAssetsError
from taxi_assets.instance.opening import dagster_home, history_place, open_instance, translate_history_errors
from taxi_assets.news import Finding, Verdict
from taxi_assets.partitions import bounds
from taxi_assets.settings import Settings
from taxi_assets.stores.alerts import Message
from taxi_assets.stores.embedded_postgres import psql_line
from taxi_assets.stores.home import Home
from taxi_assets.stores.os_errors import free_bytes
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.systems import open_channels, open_lake, open_postgres, open_source, open_warehouse
from taxi_assets.tlc.trips import COLORS, TripMonth

ENOUGH_BYTES = 5 * 10**9
"""Free bytes recommended for a large month: it needs about 2 GB, including two copies in Postgres during a reload."""

_PACKAGES = ("taxi-assets", "dagster", "duckdb", "pyarrow")

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Default paths of the Dagster databases, which `taxi` also uses."""


def examine(settings: Settings, *, alert: bool = False) -> Iterator[Finding]:
    """Check each system and yield each finding immediately. With `alert`, also send a test message.

    Raises SettingsError if a setting does not identify a system.
    """
    source, lake, warehouse = open_source(settings), open_lake(settings), open_warehouse(settings)
    postgres = _open_given(settings)
    firsts = [TripMonth(color, bounds(settings, color)[0]) for color in COLORS]
    home = settings.home
    yield Finding("versions", Verdict.ok, _said_versions(settings))
    yield _found_home(Home(home, source.suffix))
    yield _found(
        "source", lambda: f"{settings.source_url}: {source.probe(firsts)}", "set TAXI_SOURCE_URL to another source"
    )
    yield _found("lake", lake.probe, "set TAXI_LAKE_URL to another lake")
    yield _found("warehouse", warehouse.probe, "set TAXI_WAREHOUSE_URL to another warehouse")
    yield from _found_postgres(settings, postgres)
    yield _found("history", partial(_try_history, home), "give it another place: TAXI_HOME, or its dagster.yaml")
    yield _found("alerts", partial(_said_channels, settings), "unset TAXI_ALERT_URLS")
    if alert:
        otherwise = "take that address out of TAXI_ALERT_URLS" if settings.alert_urls else "leave --alert out"
        yield _found("test alert", partial(_try_channels, settings), otherwise)


def _found(system: str, probe: Callable[[], str], otherwise: str) -> Finding:
    """Run a probe and return its finding. `otherwise` is the alternative if the problem cannot be fixed."""
    try:
        return Finding(system, Verdict.ok, probe())
    except NotPublished as error:
        return Finding(system, Verdict.warn, str(error), "see that it has the months that you want")
    except (TaxiAssetsError, OSError) as error:
        return Finding(system, Verdict.mend, str(error), f"mend that, or {otherwise}")


def _said_versions(settings: Settings) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    image = f", image {settings.image} of revision {settings.revision}" if settings.revision else ""
    return f"python {platform.python_version()}, {packages}{image}"


def _found_home(home: Home) -> Finding:
    finding = _found("home", home.probe, "set TAXI_HOME to another folder")
    if finding.verdict is Verdict.ok and free_bytes(home.folder) < ENOUGH_BYTES:
        remedy = (
            f"make room before large months: expected {ENOUGH_BYTES / 1e9:.0f} GB; or set TAXI_HOME to another disk"
        )
        return replace(finding, verdict=Verdict.warn, remedy=remedy)
    return finding


def _open_given(settings: Settings) -> PostgresStore | None:
    """Open the configured Postgres server without connecting to it; None if the embedded server is used."""
    if settings.postgres_url is None:
        return None
    store = open_postgres(settings)
    store.engine()
    return store


def _found_postgres(settings: Settings, given: PostgresStore | None) -> Iterator[Finding]:
    """Check Postgres, and show how to connect to it with psql and pgAdmin."""

    def opened() -> PostgresStore:
        return given or open_postgres(settings)

    finding = _found("postgres", lambda: opened().probe(), "set TAXI_POSTGRES_URL to another server")
    yield finding
    if finding.verdict is Verdict.ok:
        url = opened().shown_url()
        yield Finding("psql", Verdict.ok, psql_line(url.render_as_string()))
        yield _ways_for_pgadmin(url if given else url.set(host="127.0.0.1", port=settings.postgres_port), given)


def _ways_for_pgadmin(url: sa.URL, given: PostgresStore | None) -> Finding:
    if given is None and url.port is None:
        return Finding(
            "pgadmin",
            Verdict.ok,
            "it needs a port, and this server has none",
            "set TAXI_POSTGRES_PORT=5433, or another that is free; then taxi stop, and taxi doctor",
        )
    password = "the password of TAXI_POSTGRES_URL" if given else "no password"
    place = f"host {url.host or url.query.get('host') or 'localhost'}, port {url.port or 5432}"
    return Finding("pgadmin", Verdict.ok, f"{place}, database {url.database}, user {url.username}, {password}")


def _try_history(home: Path) -> str:
    """Verify that Dagster's databases are writable, and leave no data. Return the finding. Raises StoreError."""
    with translate_history_errors(home):
        with open_instance(home) as instance:
            runs, place = instance.get_runs_count(), history_place(instance, home)
        for name in _DATABASES:
            path = dagster_home(home) / name
            if path.exists():
                with closing(sqlite3.connect(path)) as database:
                    database.execute("BEGIN IMMEDIATE")
                    database.rollback()
    return f"{place} can be written to; runs: {runs:,}"


def _said_channels(settings: Settings) -> str:
    """Describe the number and kinds of alert channels. Raises SettingsError."""
    if settings.alert_urls is None:
        return "none: set TAXI_ALERT_URLS to be told of failed runs and finished backfills"
    kinds = open_channels(settings).kinds
    return f"channels: {len(kinds)} ({', '.join(kinds)}); taxi doctor --alert sends them a test message"


def _try_channels(settings: Settings) -> str:
    """Send a test message and describe the result. Raises SettingsError and StoreError."""
    channels = open_channels(settings)
    channels.send(
        Message("test alert of taxi", f"Alerts arrive here. Their links begin with {settings.ui_url}", good=True)
    )
    return f"{', '.join(channels.kinds)} took it: look there whether it arrived"
