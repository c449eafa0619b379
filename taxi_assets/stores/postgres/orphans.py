"""Deletes the files of tables that a killed PostgreSQL server was creating: it never deletes them itself.

A load fills a new table, so each kill during a load would leave up to a whole month in the data folder.

A file is deleted only if all of this holds, so that it cannot belong to data:
- It existed before the server started, when no transaction was active. PostgreSQL does not use the name of an existing
  file for a new table, so the file cannot be of a table that another connection has just created.
- After the server's recovery, no table, index or TOAST table of the database has the file's number. If another
  connection has dropped or rewritten that table since, PostgreSQL was about to delete the file itself.
- It is not empty. The empty file of a dropped table reserves its number until the next checkpoint.
- Its number is not of PostgreSQL's own tables.
Only transactions that survive a restart (PREPARE TRANSACTION) could still need such a file. They are off by default; if
they are on, nothing is deleted.
"""

import re
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

_RELATION_FILE = re.compile(r"(\d+)(_fsm|_vm|_init)?(\.\d+)?")
"""The name of a file in a database's folder: the number of a table or an index, what is in it, and its segment."""

_FIRST_NUMBER = 16384
"""The first number that PostgreSQL gives to what users create."""

_NUMBERS = """
SELECT (SELECT oid FROM pg_database WHERE datname = current_database()),
       current_setting('max_prepared_transactions')::int,
       (SELECT array_agg(relfilenode) FROM pg_class),
       (SELECT array_agg(pg_relation_filenode(oid)) FROM pg_class)
"""


def relation_files(data: Path) -> dict[str, list[Path]]:
    """Return the files of tables and indexes in a data folder, by the name of their database's folder, an OID.

    Without the files of PostgreSQL's own tables. The server must not be running.
    """
    files: dict[str, list[Path]] = {}
    for file in data.glob("base/*/*"):
        if _number(file) >= _FIRST_NUMBER:
            files.setdefault(file.parent.name, []).append(file)
    return files


def delete_orphans(url: str, files: Mapping[str, list[Path]]) -> None:
    """Delete those of the files from before the start of the server that belong to no table of the database at `url`.

    The user of `url` must be a superuser. If the server does not answer, nothing is deleted.
    """
    if not files:
        return
    import psycopg2

    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_NUMBERS)
            oid, prepared, *numbers = cursor.fetchone()
            used = {number for group in numbers for number in group}
            orphans = [file for file in files.get(str(oid), []) if _number(file) not in used and _size(file)]
            if orphans and not prepared:
                # Otherwise the server might still have to sync one of the files, and stop because it is missing.
                cursor.execute("CHECKPOINT")
                for file in orphans:
                    file.unlink(missing_ok=True)


def _number(file: Path) -> int:
    matched = _RELATION_FILE.fullmatch(file.name)
    return int(matched[1]) if matched else 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
