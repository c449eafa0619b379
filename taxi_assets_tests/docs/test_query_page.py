"""The steps of the page about queries work on the trips of `taxi demo`: SQL, Python, and a client with a port."""

import re
import socket
from pathlib import Path

from taxi_assets_tests.docs.pages import QUERY, Step, run_session, session_of

TEXT = QUERY.read_text()


def test_every_step_gives_what_the_page_shows(tmp_path: Path) -> None:
    """The queries, the Python cells, and the connection with the values of the table give the results on the page."""
    port = _free_port()
    values = dict(re.findall(r"^\| (\w+) \| `([^`]+)` \|$", TEXT, re.MULTILINE))
    assert values.keys() == {"host", "port", "database", "user"}
    [shown] = re.findall(r"^ *(ok    pgadmin .*)$", TEXT, re.MULTILINE)
    client = " ".join(
        [
            "import psycopg2;",
            f"connection = psycopg2.connect(host='{values['host']}', port={port}, dbname='{values['database']}',",
            f"user='{values['user']}');",
            "cursor = connection.cursor();",
            "cursor.execute('SELECT count(*) FROM public.green_taxi_trips_202101');",
            "print(cursor.fetchone()[0])",
        ]
    )
    run_session(
        [
            ("taxi demo", "..."),
            *session_of(QUERY),
            *_cells(tmp_path),
            ("taxi stop", "Postgres is stopped"),
            (f"export TAXI_POSTGRES_PORT={port}", ""),
            ('taxi query --postgres --csv "SELECT count(*) AS trips FROM green_taxi_trips"', "trips\n19730"),
            (f'python -c "{client}"', "19730"),
            ("taxi doctor | grep pgadmin", shown.replace(values["port"], str(port))),
        ],
        tmp_path,
    )


def _cells(folder: Path) -> list[Step]:
    """The Python cells with their outputs. Each also runs the cells before it, as a notebook does."""
    cells = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert len(cells) == len(re.findall(r"^```python", TEXT, re.MULTILINE))
    script = folder / "cells.py"
    script.write_text("\n".join(code for code, _ in cells))
    return [("python cells.py", "".join(output for _, output in cells))]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
