"""Tests of the SQLite files of the history."""

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg

from taxi_assets.instance.opening import open_instance
from taxi_assets.instance.sqlite import kept_open


def test_files_that_are_kept_open_keep_their_log(home: Path) -> None:
    """Another process sees each event at once, although SQLite's logs are only copied into the files at the end."""
    logs = ("index.db-wal", "1.db-wal")
    folder = home / "dagster" / "history" / "runs"
    with open_instance(home) as instance:
        run = instance.add_run(dg.DagsterRun("load_fhv", "1"))
        instance.report_engine_event("first", run)
        assert not [name for name in logs if (folder / name).exists()]
        with kept_open(instance, run.run_id):
            instance.report_engine_event("second", run)
            assert [name for name in logs if (folder / name).exists()] == list(logs)
            with closing(sqlite3.connect(folder / "1.db")) as database:
                assert database.execute("SELECT count(*) FROM event_logs").fetchone() == (2,)
        assert not [name for name in logs if (folder / name).exists()]
        assert len(instance.all_logs(run.run_id)) == 2


def test_a_history_in_memory_has_no_files() -> None:
    """A history that is not in SQLite is used as it is."""
    with dg.DagsterInstance.ephemeral() as instance, kept_open(instance, "1"):
        assert instance.get_runs() == []
