"""The SQLite files in which Dagster stores the history of runs on a single machine.

Not here: what the events in them mean (`events`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import dagster as dg

_TIMEOUT_S = 60
"""The time to wait for a process that repairs a file after another one was killed, in seconds."""


@contextmanager
def kept_open(instance: dg.DagsterInstance, *run_ids: str) -> Iterator[None]:
    """Keep the files of the events of runs, and the index of all events, open. Storing an event is then faster.

    Dagster opens and closes the file of the run and the index for each event. Whoever is the last to close a file
    copies SQLite's log into it, deletes the log, and waits for the disk each time. While the file is open elsewhere,
    only the event itself is written to the disk. If the history is not in SQLite, nothing happens.
    """
    from taxi_assets.instance._dagster import INDEX_SHARD_NAME, SqliteEventLogStorage

    storage = instance.event_log_storage
    with ExitStack() as stack:
        if isinstance(storage, SqliteEventLogStorage):
            import sqlite3

            for name in (INDEX_SHARD_NAME, *run_ids):
                path = storage.path_for_shard(name)
                connection = stack.enter_context(closing(sqlite3.connect(path, timeout=_TIMEOUT_S)))
                # A connection opens the file when it first reads.
                connection.execute("PRAGMA schema_version").fetchall()
        yield
