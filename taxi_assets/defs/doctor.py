"""Every system that the settings name, tried as a run would use it.

Each is tried whatever became of the others. What was only a try does not stay; the server that comes along is started,
and the history of runs is made, as by any command.
Not here: how a system is tried (`stores`), and how that looks (`console`).
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

from taxi_assets.defs.instance import dagster_home, history_place, history_told, open_instance
from taxi_assets.defs.partitions import bounds
from taxi_assets.errors import NotPublished, TaxiAssetsError
from taxi_assets.news import Finding, Verdict
from taxi_assets.settings import Settings
from taxi_assets.stores.alerts import Message
from taxi_assets.stores.embedded_postgres import psql_line
from taxi_assets.stores.home import Home
from taxi_assets.stores.postgres import PostgresStore
from taxi_assets.stores.refusals import free_bytes
from taxi_assets.systems import open_channels, open_lake, open_postgres, open_source, open_warehouse
from taxi_assets.tlc.trips import COLORS, TripMonth

ENOUGH_BYTES = 5 * 10**9
"""Room for one of the largest months: about two gigabytes, with Postgres' copy twice while it replaces one."""

_PACKAGES = ("taxi-assets", "dagster", "duckdb", "pyarrow")

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Where Dagster keeps its history by default, which `taxi` makes it use."""


def examine(settings: Settings, *, alert: bool = False) -> Iterator[Finding]:
    """What is found of each system, as soon as it is; with `alert`, also whether a test message gets through.

    Raises SettingsError where a setting names no system at all.
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
    """What a probe saw, or why it failed; `otherwise` is what to do where that cannot be mended."""
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
    """The store of the server that the settings name, which is not asked yet; None for the one that comes along."""
    if settings.postgres_url is None:
        return None
    store = open_postgres(settings)
    store.engine()
    return store


def _found_postgres(settings: Settings, given: PostgresStore | None) -> Iterator[Finding]:
    """What is found of Postgres, and how to look into it by other means."""

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
    """Try to write to Dagster's databases, and leave nothing; what was seen. Raises StoreError."""
    with history_told(home):
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
    """How many channels alerts have, and of which kinds. Raises SettingsError."""
    if settings.alert_urls is None:
        return "none: set TAXI_ALERT_URLS to be told of failed runs and finished backfills"
    kinds = open_channels(settings).kinds
    return f"channels: {len(kinds)} ({', '.join(kinds)}); taxi doctor --alert sends them a test message"


def _try_channels(settings: Settings) -> str:
    """Send a test message; what came of it. Raises SettingsError, StoreError."""
    channels = open_channels(settings)
    channels.send(
        Message("test alert of taxi", f"Alerts arrive here. Their links begin with {settings.ui_url}", good=True)
    )
    return f"{', '.join(channels.kinds)} took it: look there whether it arrived"
