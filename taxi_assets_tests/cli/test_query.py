"""`taxi query`: formats, exit codes, and what a query may do in the warehouse and in Postgres."""

import csv
import io
import json
import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from taxi_assets_tests.end_to_end.terminal import read_rest
from taxi_assets_tests.program import BIN
from taxi_assets_tests.program import run_here as run

Output = pytest.CaptureFixture[str]


@pytest.fixture
def home(command_home: Path) -> Path:
    """A TAXI_HOME whose warehouse has the table `numbers` with 3 rows. A CSV file is in it, and one is beside it."""
    import duckdb

    command_home.mkdir()
    with duckdb.connect(command_home / "warehouse.duckdb") as database:
        database.execute("CREATE TABLE numbers AS SELECT range AS x FROM range(3)")
    for path in (command_home / "inside.csv", command_home.parent / "outside.csv"):
        path.write_text("a,b\n1,2\n")
    return command_home


def test_formats(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A result is printed as a table, as CSV, or as a line of JSON for each row."""
    assert home.exists()
    sql = "SELECT x, 'a' || x AS name FROM numbers ORDER BY 1"
    assert run(monkeypatch, "query", sql) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line and line[0] in "012x"] == [
        ["x", "name"],
        ["0", "a0"],
        ["1", "a1"],
        ["2", "a2"],
    ]
    assert run(monkeypatch, "query", "--csv", sql) == 0
    assert capsys.readouterr().out == "x,name\n0,a0\n1,a1\n2,a2\n"
    assert run(monkeypatch, "query", "--json", sql) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"x": number, "name": f"a{number}"} for number in range(3)]


_TYPES = """
    SELECT CAST(n AS int) AS i, CAST(n AS bigint) AS l, n > 1 AS b, CAST(n AS numeric(12, 2)) AS d,
        CAST('2021-01-31' AS date) AS day, CAST('2021-01-31 12:30:00.5' AS timestamp) AS t, 'a' || n AS s,
        CASE WHEN n > 1 THEN CAST(n AS double precision) / 4 END AS f
    FROM generate_series(1, {rows}) AS g(n)
"""


@pytest.mark.parametrize("options", [(), ("--postgres",)], ids=["DuckDB", "Postgres"])
def test_parquet(
    options: tuple[str, ...], home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """`--parquet` writes all rows with their types, also of an empty result, and replaces the file only if all is well.

    With a result of more than one batch, the values are those of the same query in DuckDB's own Parquet file.
    """
    import duckdb
    from pyarrow.parquet import ParquetFile

    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    file, expected = home / "new" / "result.parquet", home / "expected.parquet"
    for rows in (0, 150_000):
        sql = _TYPES.format(rows=rows)
        assert run(monkeypatch, "query", *options, "--parquet", str(file), sql) == 0
        assert f"{file}: {rows:,} rows, " in capsys.readouterr().out
        duckdb.execute(f"COPY ({sql}) TO '{expected}' (FORMAT parquet)")
        found = ParquetFile(file)
        assert found.read().equals(ParquetFile(expected).read().cast(found.schema_arrow))
        assert found.schema_arrow.types == ParquetFile(expected).schema_arrow.types
    assert {found.metadata.row_group(0).column(number).compression for number in range(8)} == {"ZSTD"}
    before = file.read_bytes()
    for bad in (
        "SELECT 1 / CAST(CASE WHEN n = 140000 THEN 'zero' ELSE '1' END AS int) FROM generate_series(1, 150000) AS g(n)",
        "SELECT 1 AS a, 2 AS a",
        "SELECT FROM",
    ):
        assert run(monkeypatch, "query", *options, "--parquet", str(file), bad) == 1
        assert "[bad-query]" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert run(monkeypatch, "query", *options, "--parquet", str(file), "--csv", "SELECT 1") == 2


@pytest.mark.parametrize(
    ("options", "sql", "line"),
    [
        ("--csv", "SELECT range AS n FROM range(10000000000)", "n"),
        ("--postgres --json", "SELECT generate_series(0, 10000000000) AS n", '{"n": 0}'),
    ],
    ids=["DuckDB", "Postgres"],
)
def test_a_reader_that_stops(options: str, sql: str, line: str, home: Path, postgres_url: str) -> None:
    """The first rows of a result that never fits in memory appear at once. `| head` ends the query without an error."""
    settings = {"TAXI_HOME": str(home), "TAXI_POSTGRES_URL": postgres_url}
    command = f"{BIN / 'taxi'} query {options} '{sql}' | head -n 2"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **settings}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[0] == line
    assert done.stderr == ""


def test_a_reader_that_stalls(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """If nobody reads the output for too long, the query ends with an error, and others can use the warehouse."""
    assert home.exists()
    monkeypatch.setattr("taxi_assets.cli.query.STALL_S", 0.2)
    reader, writer = os.pipe()
    with monkeypatch.context() as patched, suppress(BrokenPipeError), os.fdopen(writer, "w") as output:
        patched.setattr("sys.stdout", output)
        assert run(monkeypatch, "query", "--csv", "SELECT range FROM range(100000000)") == 1
        os.close(reader)
    assert "[output-stalled]" in capsys.readouterr().err
    assert run(monkeypatch, "query", "--csv", "SELECT 1 AS x") == 0


@pytest.mark.parametrize("form", ["--csv", "--json"])
@pytest.mark.usefixtures("command_home")
def test_an_error_after_the_first_rows(
    form: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """If a later row cannot be computed, the batches before it are printed, and the exit code is 1."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    sql = "SELECT 7 / (15000 - n) * 0 + 7 AS n FROM generate_series(1, 20000) AS g(n)"
    assert run(monkeypatch, "query", "--postgres", form, sql) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("n\n7\n" if form == "--csv" else '{"n": 7}\n')
    assert "[bad-query]" in printed.err


def test_a_query_that_needs_memory(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A query whose values do not fit into the memory of a stream still has a result."""
    assert home.exists()
    sql = "SELECT len(list(repeat('x', 1000) || range)) AS n FROM range(500000)"
    assert run(monkeypatch, "query", "--csv", sql) == 0
    assert capsys.readouterr().out == "n\n500000\n"


@pytest.mark.parametrize("options", [(), ("--postgres",)], ids=["DuckDB", "Postgres"])
def test_a_terminal(options: tuple[str, ...], home: Path, postgres_url: str) -> None:
    """On a terminal, at most 1,000 rows are shown, in its width, followed by the number of all rows and the time."""
    settings = {
        "TAXI_HOME": str(home),
        "TAXI_POSTGRES_URL": postgres_url,
        "TERM": "dumb",
        "COLUMNS": "60",
        "LINES": "24",
    }
    sql = "SELECT x, 'name ' || x AS name, repeat('y', 200) AS y FROM generate_series(1, 1200) AS n(x)"
    lines = _run_on_a_terminal(settings, "query", *options, sql)
    assert max(map(len, lines)) <= 60
    assert [line.split()[:3] for line in lines[2:1002]] == [
        [f"{number:,}" if number > 999 else f"{number}", "name", f"{number}"] for number in range(1, 1001)
    ]
    footer = " ".join(lines[1002:])
    assert re.match(r"The first 1,000 of 1,200 rows in [0-9.]+ s\. For all: --csv, --json, --parquet\.", footer)
    assert footer.endswith("Long values are cut. To see all of them: --vertical or --csv.")
    lines = _run_on_a_terminal(settings, "query", *options, "--csv", sql)
    assert len(lines) == 1201


def _run_on_a_terminal(settings: dict[str, str], *words: str) -> list[str]:
    """Run `taxi` on a pseudoterminal and return the lines that it prints, without spaces at their ends."""
    controller, terminal = pty.openpty()
    command = [str(BIN / "taxi"), *words]
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=terminal, stderr=subprocess.PIPE) as ran:
        os.close(terminal)
        printed = read_rest(controller)
        _, errors = ran.communicate()
    os.close(controller)
    assert ran.returncode == 0, errors
    return [line.rstrip() for line in printed.decode().splitlines()]


def test_vertical(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """`--vertical` prints each value on a line of its own, also in a pipe."""
    assert home.exists()
    assert run(monkeypatch, "query", "--vertical", "SELECT x, NULL AS y FROM numbers ORDER BY 1 LIMIT 1") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["x", "0"], ["y", "NULL"]]


@pytest.mark.parametrize("options", [(), ("--postgres",)], ids=["DuckDB", "Postgres"])
def test_a_table_that_does_not_exist(
    options: tuple[str, ...], home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """An unknown table is an error with those that exist; for a color without months, with the command to load one."""
    assert home.exists()
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    assert run(monkeypatch, "query", *options, "SELECT * FROM nowhere") == 1
    assert "[unknown-table]" in capsys.readouterr().err
    assert run(monkeypatch, "query", *options, "SELECT * FROM fhv_taxi_trips") == 1
    printed = capsys.readouterr().err
    assert "taxi materialize --color fhv --months 2021-01 [nothing-loaded]" in printed
    assert ("Existing tables: numbers." in printed) == (not options)


ESCAPES = "SELECT 'a' || chr(27) || '[31mred' AS x, 'b' || chr(7) || 'c' AS y"


@pytest.mark.parametrize("options", [(), ("--postgres",)], ids=["DuckDB", "Postgres"])
def test_control_characters(
    options: tuple[str, ...], home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A table has no control characters of the values, CSV has them as they are, and JSON has their escapes."""
    assert home.exists()
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    values = ["a\x1b[31mred", "b\x07c"]
    assert run(monkeypatch, "query", *options, ESCAPES) == 0
    printed = capsys.readouterr().out
    assert "[31mred" in printed
    assert not {"\x1b", "\x07"} & {*printed}
    assert run(monkeypatch, "query", *options, "--csv", ESCAPES) == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["x", "y"], values]
    assert run(monkeypatch, "query", *options, "--json", ESCAPES) == 0
    printed = capsys.readouterr().out
    assert "\\u001b" in printed
    assert not {"\x1b", "\x07"} & {*printed}
    assert json.loads(printed) == dict(zip("xy", values, strict=True))


def test_control_characters_in_an_error(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """An error that contains a part of the query has no control characters."""
    assert home.exists()
    assert run(monkeypatch, "query", 'SELECT "\x1b[31mnope" FROM numbers') == 1
    printed = capsys.readouterr().err
    assert "[31mnope" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize(
    ("sql", "exit_code"),
    [
        ("FROM '{home}/inside.csv'", 0),
        ("FROM '{home}/../outside.csv'", 1),
        ("COPY numbers TO '{home}/new.csv'", 1),
        ("ATTACH '{home}/new.duckdb'", 1),
        ("SET threads = 1", 1),
        ("SELECT 1; SELECT 2", 1),
        ("DELETE FROM numbers", 1),
        ("EXPLAIN SELECT 1", 0),
        ("SUMMARIZE numbers", 0),
    ],
)
def test_limits_of_a_query(
    sql: str, exit_code: int, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A query is one statement that reads the warehouse and the files in its folder. Anything else exits with 1."""
    before = sorted(path.name for path in home.iterdir())
    assert run(monkeypatch, "query", sql.format(home=home)) == exit_code
    assert ("[bad-query]" in capsys.readouterr().err) == (exit_code == 1)
    assert {path.name for path in home.iterdir()} - {"warehouse.duckdb.lock"} == {*before}


def test_unsafe(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """With `--unsafe`, a query reads and writes other files, but does not change the warehouse."""
    outside = home.parent / "outside.csv"
    assert run(monkeypatch, "query", "--csv", f"FROM '{outside}'") == 1
    assert "--unsafe" in capsys.readouterr().err
    assert run(monkeypatch, "query", "--unsafe", "--csv", f"FROM '{outside}'") == 0
    assert capsys.readouterr().out == "a,b\n1,2\n"
    assert run(monkeypatch, "query", "--unsafe", f"COPY numbers TO '{home.parent}/new.csv'") == 0
    assert (home.parent / "new.csv").read_text() == "x\n0\n1\n2\n"
    for sql in ("DELETE FROM numbers", "CREATE TABLE mine (x INTEGER)", "DROP TABLE numbers"):
        assert run(monkeypatch, "query", "--unsafe", sql) == 1
        assert "[bad-query]" in capsys.readouterr().err
    assert run(monkeypatch, "query", "--csv", "SELECT count(*) AS n FROM numbers") == 0
    assert capsys.readouterr().out == "n\n3\n"


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE mine (x int)", "SELECT 1; COMMIT; CREATE TABLE mine (x int)", "SET work_mem = '8MB'", "COMMIT"],
)
@pytest.mark.usefixtures("command_home")
def test_limits_of_a_postgres_query(
    sql: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A query of Postgres cannot change anything, with or without `--unsafe`."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", postgres_url)
    for options in ([], ["--unsafe"]):
        assert run(monkeypatch, "query", "--postgres", *options, sql) == 1
        assert "[bad-query]" in capsys.readouterr().err
    assert run(monkeypatch, "query", "--postgres", "--csv", "SELECT to_regclass('mine') IS NULL AS unchanged") == 0
    assert capsys.readouterr().out == "unchanged\nTrue\n"


@pytest.mark.parametrize("sql", ["SELECT '\udcff'", "\udc80", "SELECT '\u20ac\udce9'"])
@pytest.mark.usefixtures("command_home")
def test_sql_that_is_not_utf_8(sql: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """SQL in another encoding than UTF-8 is an invalid argument."""
    assert run(monkeypatch, "query", sql) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_nothing_loaded(command_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A query before the first load exits with 1 and creates no warehouse."""
    assert run(monkeypatch, "query", "SELECT 1") == 1
    assert "[nothing-loaded]" in capsys.readouterr().err
    assert not (command_home / "warehouse.duckdb").exists()


def test_damaged_warehouse(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """Only the error of a damaged warehouse advises to move it away."""
    assert run(monkeypatch, "query", f"FROM '{home}/mistyped.csv'") == 1
    printed = capsys.readouterr().err
    assert "mistyped.csv" in printed
    assert "[duckdb-error]" in printed
    assert "warehouse_trips" not in printed
    (home / "warehouse.duckdb").write_bytes(b"no database")
    assert run(monkeypatch, "query", "SELECT 1") == 1
    printed = capsys.readouterr().err
    for fact in (f"{home}/warehouse.duckdb.wal", "--select warehouse_trips", "[damaged-warehouse]"):
        assert fact in printed
