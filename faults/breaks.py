"""Faults put into the program on purpose, to see that the trials find them."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from points import replace


@dataclass(frozen=True)
class Break:
    """A fault: the function `target`, what replaces it, and the trial that must find it."""

    what: str
    target: str
    make: Callable[[Callable[..., Any]], Callable[..., Any]]
    trial: tuple[str, str]

    def apply(self) -> None:
        """Break this process."""
        replace(self.target, self.make)


def _copy_in_place(_original: Callable[..., Any]) -> Callable[..., Any]:
    def publish(staged: Any, target: Any = None) -> Any:
        target, half = target or staged.target, staged.path.stat().st_size // 2
        with staged.path.open("rb") as source, target.open("wb") as file:
            file.write(source.read(half))
            file.flush()
            staged.sync()
            shutil.copyfileobj(source, file)
        staged.discard()
        return target

    return publish


def _commit_after(original: Callable[..., Any]) -> Callable[..., Any]:
    def drop(cursor: Any, *arguments: Any) -> None:
        original(cursor, *arguments)
        cursor.connection.commit()

    return drop


def _commit_between(original: Callable[..., Any]) -> Callable[..., Any]:
    def delete(database: Any, *arguments: Any) -> None:
        original(database, *arguments)
        database.commit()
        database.begin()

    return delete


def _start_thread(original: Callable[..., Any]) -> Callable[..., Any]:
    def publish(*arguments: Any) -> Any:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return original(*arguments)

    return publish


def _do_nothing(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_: None


BREAKS = {
    "in-place": Break(
        "files are overwritten instead of renamed",
        "taxi_assets.stores.files.staging:StagedFile.publish",
        _copy_in_place,
        ("kill", "raw: flushed, not renamed"),
    ),
    "litter": Break(
        "files of killed runs are not deleted",
        "taxi_assets.stores.files.staging:_delete_abandoned",
        _do_nothing,
        ("kill", "clean: written, not verified"),
    ),
    "postgres-commit": Break(
        "the old month is dropped in a transaction of its own",
        "taxi_assets.stores.postgres.store:_drop",
        _commit_after,
        ("kill", "postgres: old month dropped, new one not attached"),
    ),
    "duckdb-commit": Break(
        "the old month is deleted in a transaction of its own",
        "taxi_assets.stores.duckdb:_delete",
        _commit_between,
        ("kill", "warehouse: old month deleted, not committed"),
    ),
    "readers": Break(
        "the old month is dropped in a transaction of its own, while there are readers",
        "taxi_assets.stores.postgres.store:_drop",
        _commit_after,
        ("together", "2"),
    ),
    "downloads": Break(
        "a file that has not changed is downloaded again",
        "taxi_assets.defs.assets:reusable_fetch",
        _do_nothing,
        ("months", "3"),
    ),
    "open-files": Break(
        "a published file is not closed",
        "taxi_assets.stores.files.staging:StagedFile._release",
        _do_nothing,
        ("months", "12"),
    ),
    "threads": Break(
        "a thread for each clean file never ends",
        "taxi_assets.stores.files.home:Home.publish_clean",
        _start_thread,
        ("months", "12"),
    ),
    "os-errors": Break(
        "errors of the operating system are not recognized in what DuckDB reports",
        "taxi_assets.stores.duckdb:_os_error",
        _do_nothing,
        ("disturb", "folder at warehouse: not opened"),
    ),
    "lost-connections": Break(
        "a lost connection is not retried",
        "taxi_assets.stores.postgres.store:PostgresStore._is_connection_lost",
        _do_nothing,
        ("disturb", "terminated at postgres: COPY is half done"),
    ),
}
