"""Where a load is disturbed: before or after the nth call of a function in each step."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from itertools import count
from typing import Any, NoReturn


@dataclass(frozen=True)
class Point:
    """A moment of a load: `before` or `after` the nth call of `target`, which is `module:name` or `module:Class.name`.

    `match` is text that the arguments of a call must contain to count.
    """

    name: str
    target: str
    nth: int
    when: str
    match: str = ""

    @property
    def step(self) -> str:
        """The step that the point is in, or `event`."""
        return self.name.partition(":")[0]


_CLEAN, _ASSETS = "taxi_assets.tlc.clean", "taxi_assets.defs.assets"
_HOME, _STAGING = "taxi_assets.stores.files.home:Home", "taxi_assets.stores.files.staging"
_DUCKDB, _POSTGRES = "taxi_assets.stores.duckdb", "taxi_assets.stores.postgres.store"
_EVENT = "dagster:DagsterInstance.handle_new_event"
_MATERIALIZATION = "event_type_value='ASSET_MATERIALIZATION'"

POINTS = (
    Point("raw: first bytes arrive", "taxi_assets.stores.source.download:Download._store", 1, "before"),
    Point("raw: some bytes are written", "taxi_assets.stores.source.download:Download._store", 3, "after"),
    Point("raw: downloaded, not counted", f"{_CLEAN}:count_rows", 1, "before"),
    Point("raw: verified, not published", f"{_HOME}.publish_raw", 1, "before"),
    Point("raw: flushed, not renamed", f"{_STAGING}:StagedFile.sync", 1, "after"),
    Point("raw: renamed, folder not flushed", f"{_STAGING}:_sync_folder", 1, "before"),
    Point("raw: published, not recorded", f"{_HOME}.publish_raw", 1, "after"),
    Point("clean: second block is parsed", "taxi_assets.tlc.parse:LineParser.parse", 2, "before"),
    Point("clean: second row group is written", "pyarrow.parquet:ParquetWriter.write_table", 2, "before"),
    Point("clean: written, not verified", f"{_ASSETS}:verify_file", 1, "before"),
    Point("clean: verified, not published", f"{_HOME}.publish_clean", 1, "before"),
    Point("clean: only the rejected rows are published", f"{_STAGING}:StagedFile.publish", 2, "after"),
    Point("clean: old rejected rows are not deleted", f"{_STAGING}:StagedFile.publish", 3, "after"),
    Point("clean: published, not recorded", f"{_HOME}.publish_clean", 1, "after"),
    Point("lake: written, not verified", f"{_ASSETS}:verify_file", 2, "before"),
    Point("lake: verified, not published", f"{_STAGING}:StagedFile.publish", 4, "before"),
    Point("lake: published, not recorded", f"{_STAGING}:StagedFile.publish", 4, "after"),
    Point("warehouse: not opened", f"{_DUCKDB}:DuckDBWarehouse.replace_month", 1, "before"),
    Point("warehouse: old month deleted, not committed", f"{_DUCKDB}:_delete", 1, "after"),
    Point("warehouse: new month inserted, not committed", f"{_DUCKDB}:_insert", 1, "after"),
    Point("warehouse: counted, not committed", f"{_DUCKDB}:_count", 1, "after"),
    Point("warehouse: committed, not recorded", f"{_DUCKDB}:DuckDBWarehouse.replace_month", 1, "after"),
    Point("postgres: COPY has begun", f"{_POSTGRES}:_CopySource.read", 2, "after"),
    Point("postgres: COPY is half done", f"{_POSTGRES}:_CopySource.read", 6, "after"),
    Point("postgres: copied, not swapped", f"{_POSTGRES}:_swap", 1, "before"),
    Point("postgres: old month dropped, new one not attached", f"{_POSTGRES}:_drop", 1, "after"),
    Point("postgres: swapped, not committed", f"{_POSTGRES}:_swap", 1, "after"),
    Point("postgres: committed, not recorded", f"{_POSTGRES}:PostgresStore.replace_month", 1, "after"),
    Point("event: nothing recorded", _EVENT, 1, "before"),
    *(
        Point(f"event: {number} of 5 materializations recorded", _EVENT, number, "after", _MATERIALIZATION)
        for number in range(1, 6)
    ),
    Point("event: all done, success not recorded", _EVENT, 1, "before", "event_type_value='PIPELINE_SUCCESS'"),
    Point("event: success recorded", _EVENT, 1, "after", "event_type_value='PIPELINE_SUCCESS'"),
)


def owner(target: str) -> tuple[Any, str]:
    """Return the module or class that has the function `target`, and the name of the function."""
    module, _, path = target.partition(":")
    *classes, name = path.split(".")
    found: Any = import_module(module)
    for each in classes:
        found = getattr(found, each)
    return found, name


def replace(target: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function in this process with what `make` returns for it."""
    found, name = owner(target)
    original = getattr(found, name)
    setattr(found, name, wraps(original)(make(original)))


def arm(point: Point, action: Callable[[], object] | None = None) -> None:
    """Let this process kill itself at a point, or else do something there."""
    act = action or kill_this_process
    calls = count(1)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            matches = not point.match or point.match in repr(arguments)
            is_here = matches and next(calls) == point.nth
            if is_here and point.when == "before":
                act()
            result = original(*arguments, **named)
            if is_here and point.when == "after":
                act()
            return result

        return call

    replace(point.target, make)


def kill_this_process() -> NoReturn:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlived SIGKILL")
