"""What happens to the disk and to PostgreSQL while a month is loaded, and the errors that the load may end in."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from disks import empty, fill, forbid_writing, may_mount, unmount
from installation import MONTH, Installation, cursor_of, start_postgres
from points import POINTS, Point

PROXY_PID = "proxy.pid"
"""The file in the folder of an installation with the process ID of the proxy."""


@dataclass(frozen=True)
class Disturbance:
    """Something that happens at a point of a load, and what undoes it before the clean run.

    `strike` is called in the process of the load, and `undo` after it. `errors` are the slugs of the errors that the
    load may end in; none if it must succeed, with a retry. It can happen at the points whose names start with `where`.
    """

    kind: str
    strike: Callable[[Installation, Point], object]
    undo: Callable[[Installation, Point], object]
    errors: frozenset[str] = frozenset()
    where: tuple[str, ...] = ("",)
    needs_disks: bool = False
    has_proxy: bool = False

    @property
    def points(self) -> list[Point]:
        """The points at which this can happen."""
        return [point for point in POINTS if point.name.startswith(self.where)]


def _nothing(_there: Installation, _point: Point) -> None:
    """There is nothing to undo."""


def _file_of(there: Installation, point: Point) -> Path:
    """Return the file that the step of a point replaces."""
    home = there.home
    return {
        "raw": home / "raw" / MONTH.color / f"{MONTH.stem}.csv.gz",
        "clean": home / "clean" / MONTH.color / f"{MONTH.stem}.parquet",
        "lake": home / "lake" / MONTH.object_name,
        "warehouse": home / "warehouse.duckdb",
    }[point.step]


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.aside")


def _put_folder(there: Installation, point: Point) -> None:
    path = _file_of(there, point)
    path.rename(_aside(path))
    path.mkdir()


def _put_file_back(there: Installation, point: Point) -> None:
    path = _file_of(there, point)
    path.rmdir()  # fails if anything was written into it
    _aside(path).rename(path)


def _put_home_back(there: Installation, _point: Point) -> None:
    shutil.rmtree(there.home, ignore_errors=True)
    _aside(there.home).rename(there.home)


def _restart(there: Installation, _point: Point) -> None:
    """Stop the server as `pg_ctl stop -m immediate` does, and start it again."""
    lines = (there.postgres_folder / "data" / "postmaster.pid").read_text().splitlines()
    with suppress(ProcessLookupError):
        os.kill(int(lines[0]), signal.SIGQUIT)
    while _is_listening(there):
        time.sleep(0.02)
    start_postgres(there.postgres_folder)


def _empty_server(there: Installation, _point: Point) -> None:
    empty(there.postgres_folder)
    start_postgres(there.postgres_folder)


def _is_listening(there: Installation) -> bool:
    import psycopg2

    try:
        psycopg2.connect(there.postgres).close()
    except psycopg2.OperationalError:
        return False
    return True


def _terminate(there: Installation, _point: Point) -> None:
    with cursor_of(there.postgres) as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )


def _signal_proxy(number: signal.Signals) -> Callable[[Installation, Point], None]:
    return lambda there, _point: os.kill(int((there.folder / PROXY_PID).read_text()), number)


_HISTORY = "history-unusable"
"""The error if Dagster cannot write its history, which is on the same disk."""

_COPY = ("postgres: ",)

DISTURBANCES = {
    "full": Disturbance(
        "disk: full",
        lambda there, _point: fill(there.disk),
        lambda there, _point: empty(there.disk),
        frozenset({"disk-full", _HISTORY}),
        needs_disks=True,
    ),
    "read-only": Disturbance(
        "disk: read-only",
        lambda there, _point: forbid_writing(there.disk),
        lambda there, _point: unmount(there.disk),
        frozenset({"read-only-disk", _HISTORY}),
        needs_disks=True,
    ),
    "vanished": Disturbance(
        "disk: TAXI_HOME vanishes",
        lambda there, _point: there.home.rename(_aside(there.home)),
        _put_home_back,
        frozenset({_HISTORY}),
    ),
    "folder": Disturbance(
        "disk: a file is replaced by a folder",
        _put_folder,
        _put_file_back,
        frozenset({"wrong-file-type"}),
        (*(f"{step}: verified, not published" for step in ("raw", "clean", "lake")), "warehouse: not opened"),
    ),
    "restarted": Disturbance("PostgreSQL: restarted", _restart, _nothing, where=_COPY),
    "terminated": Disturbance("PostgreSQL: connections are ended by it", _terminate, _nothing, where=_COPY),
    "cut": Disturbance(
        "PostgreSQL: connections are reset by a proxy",
        _signal_proxy(signal.SIGUSR1),
        _nothing,
        where=_COPY,
        has_proxy=True,
    ),
    "unreachable": Disturbance(
        "PostgreSQL: unreachable from now on",
        _signal_proxy(signal.SIGKILL),
        _nothing,
        frozenset({"postgres-unreachable", "postgres-connection-lost"}),
        _COPY,
        has_proxy=True,
    ),
    "server-full": Disturbance(
        "PostgreSQL: its disk is full",
        lambda there, _point: fill(there.postgres_folder),
        _empty_server,
        frozenset({"postgres-disk-full", "postgres-connection-lost", "postgres-unreachable"}),
        _COPY,
        needs_disks=True,
    ),
}
"""By the name that the option uses."""

EACH_STEP = (
    "full at raw: some bytes are written",
    "full at clean: second row group is written",
    "full at lake: written, not verified",
    "full at warehouse: not opened",
    "full at warehouse: old month deleted, not committed",
    "full at event: 1 of 5 materializations recorded",
    "read-only at raw: first bytes arrive",
    "read-only at clean: verified, not published",
    "read-only at warehouse: not opened",
    "vanished at raw: some bytes are written",
    "vanished at clean: verified, not published",
    "vanished at warehouse: not opened",
    "folder at raw: verified, not published",
    "folder at clean: verified, not published",
    "folder at lake: verified, not published",
    "folder at warehouse: not opened",
    "restarted at postgres: COPY is half done",
    "terminated at postgres: COPY is half done",
    "cut at postgres: COPY is half done",
    "unreachable at postgres: COPY is half done",
    "server-full at postgres: COPY has begun",
)
"""The disturbances of the short form, in the steps that handle them differently."""

EVERYWHERE = tuple(f"{name} at {point.name}" for name, found in DISTURBANCES.items() for point in found.points)
"""All disturbances at all their points."""


def find_disturbance(value: str) -> tuple[Disturbance, Point]:
    """Return what an option such as `full at lake: written, not verified` names. Raises KeyError for any other."""
    name, _, at = value.partition(" at ")
    points = {point.name: point for point in DISTURBANCES[name].points}
    return DISTURBANCES[name], points[at]


def feasible(values: Sequence[str]) -> list[str]:
    """Return the disturbances that this user may cause: only those who may mount have disks that can be full."""
    mounts = may_mount()
    return [value for value in values if not find_disturbance(value)[0].needs_disks or mounts]
