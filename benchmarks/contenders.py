"""What a contender is, and those that convert one file or load it into one database. `pipelines` has all others."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ours
import peers
from place import Place
from samples import create_table_sql, empty_postgres

HERE = Path(__file__).parent


class Size(StrEnum):
    """The sizes of the month."""

    small = "small"
    month = "month"
    large = "large"


ALL_SIZES = (Size.small, Size.month, Size.large)


class Subject(StrEnum):
    """What contenders do. Those with the same subject are compared with each other."""

    csv = "CSV.gz to Parquet"
    parquet = "Parquet to Parquet"
    postgres = "Rows into PostgreSQL"
    duckdb = "Rows into a DuckDB table"
    pipeline = "All five steps of one month, and each step alone"
    months = "Many small months"
    start = "Start-up"


REFERENCES: Mapping[Subject, str] = {
    Subject.csv: "duckdb_csv",
    Subject.parquet: "duckdb_parquet",
    Subject.postgres: "psql_copy",
    Subject.duckdb: "duckdb_table",
    Subject.pipeline: "pandas_csv",
    Subject.months: "months_two_workers",
    Subject.start: "import_dagster",
}
"""The contender whose time is 1 in the column of ratios of each subject."""


@dataclass(frozen=True)
class Contender:
    """A program that a benchmark runs and times as a whole process.

    `sizes` are the months on which it runs. `settings` returns the environment variables of the run. `around` prepares
    a run, and cleans up after it; its time does not count. `figures` returns further seconds that the run recorded.
    `needs` are modules that must be installed. Something that takes minutes runs `once`, and the repetitions of
    something short are multiplied by `more`. `months` is the number of months that it loads; `reads_month` is whether
    the rows of the sample month are its input, so that there are rows a second.
    """

    name: str
    subject: Subject
    title: str
    argv: Callable[[Place], Sequence[str]]
    sizes: tuple[Size, ...] = (Size.small, Size.month)
    settings: Callable[[Place], Mapping[str, str]] = lambda _: {}
    around: Callable[[Place], AbstractContextManager[None]] = lambda _: nullcontext()
    figures: Callable[[Place], Mapping[str, float]] = lambda _: {}
    needs: tuple[str, ...] = ()
    once: bool = False
    more: int = 1
    months: int = 1
    reads_month: bool = True

    @property
    def needs_postgres(self) -> bool:
        """Whether it loads a PostgreSQL server."""
        return self.subject in (Subject.postgres, Subject.pipeline, Subject.months, Subject.start)

    def why_skipped(self) -> str:
        """Return why this contender cannot run here, or an empty string."""
        missing = [module for module in self.needs if find_spec(module) is None]
        return f"{', '.join(missing)} is not installed" if missing else ""


def function(called: Callable[[Place], None], subject: Subject, **options: Any) -> Contender:
    """Return the contender of a function of `peers` or `ours`, which runs in a process of its own."""
    argv = [sys.executable, str(HERE / f"{called.__module__}.py"), called.__name__]
    title = (called.__doc__ or "").partition("\n")[0].removesuffix(".")
    return Contender(called.__name__, subject, title, lambda _: argv, **options)


def file_contenders() -> list[Contender]:
    """Return what converts a month to Parquet, or loads it into DuckDB."""
    csv, parquet = Subject.csv, Subject.parquet
    gunzip = "gunzip: decompress the CSV and discard it"
    return [
        function(peers.pandas_csv, csv),
        function(peers.duckdb_csv, csv, sizes=ALL_SIZES),
        function(peers.pyarrow_csv, csv),
        function(peers.polars_csv, csv, needs=("polars",)),
        function(ours.clean_csv, csv, sizes=ALL_SIZES),
        Contender("gunzip", csv, gunzip, lambda place: ["gunzip", "-c", str(place.csv)]),
        function(peers.isal_gunzip, csv),
        function(peers.copy_bytes, csv),
        function(peers.duckdb_parquet, parquet, sizes=ALL_SIZES),
        function(peers.polars_parquet, parquet, needs=("polars",)),
        function(ours.clean_parquet, parquet, sizes=ALL_SIZES),
        function(peers.duckdb_table, Subject.duckdb),
        function(peers.duckdb_insert, Subject.duckdb),
        function(peers.dlt_duckdb, Subject.duckdb, needs=("dlt",)),
    ]


@contextmanager
def _empty_postgres(place: Place) -> Iterator[None]:
    empty_postgres(place.postgres)
    yield


@contextmanager
def _binary_rows(place: Place) -> Iterator[None]:
    """The clean rows as a file in PostgreSQL's binary format. PostgreSQL is empty."""
    empty_postgres(place.postgres)
    if not _binary(place).exists():
        subprocess.run(_psql(place), check=True)
        copy = rf"\copy public.peer_trips TO '{_binary(place)}' (FORMAT binary)"
        subprocess.run(_psql_commands(place, [copy]), check=True)
        empty_postgres(place.postgres)
    yield


def _binary(place: Place) -> Path:
    return place.text.with_suffix(".pgcopy")


def postgres_contenders() -> list[Contender]:
    """Return what loads a month into PostgreSQL. All but the course's script load the clean rows."""
    subject, around = Subject.postgres, _empty_postgres
    return [
        Contender(
            "psql_copy", subject, r"psql: CREATE TABLE and `\copy` of the clean rows as plain CSV", _psql, around=around
        ),
        Contender(
            "psql_copy_freeze",
            subject,
            "psql: the same with FREEZE in one transaction, which saves the server most of its log",
            _psql_freeze,
            around=around,
        ),
        Contender(
            "psql_copy_binary",
            subject,
            "psql: the same in PostgreSQL's binary format, which it has written before",
            _psql_binary,
            around=_binary_rows,
        ),
        function(peers.adbc_postgres, subject, around=around, needs=("adbc_driver_postgresql",)),
        function(peers.dlt_postgres, subject, around=around, needs=("dlt",)),
        function(peers.pandas_to_sql, subject, around=around, once=True),
    ]


def _psql(place: Place) -> list[str]:
    return _psql_load(place, place.text, "FORMAT csv")


def _psql_freeze(place: Place) -> list[str]:
    return _psql_load(place, place.text, "FORMAT csv, FREEZE", "--single-transaction")


def _psql_binary(place: Place) -> list[str]:
    return _psql_load(place, _binary(place), "FORMAT binary, FREEZE", "--single-transaction")


def _psql_load(place: Place, file: Path, copy_options: str, *options: str) -> list[str]:
    copy = rf"\copy public.peer_trips FROM '{file}' ({copy_options})"
    return _psql_commands(place, [create_table_sql(), copy], *options)


def _psql_commands(place: Place, commands: Sequence[str], *options: str) -> list[str]:
    from taxi_assets.stores.postgres.embedded import psql_line

    program, url = shlex.split(psql_line(place.postgres))
    given = (f"--command={command}" for command in commands)
    return [program, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *options, *given, url]
