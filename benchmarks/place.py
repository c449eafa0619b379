"""The files that the contenders read and write, and how a contender's own process measures its work."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

MONTH = "2021-01"
"""The month of the sample files, which is yellow."""

_PLACE, _WORK = "BENCH_PLACE", "BENCH_WORK"


@dataclass(frozen=True)
class Place:
    """The files of a month of one size.

    `source` is the folder with the month as `csv` and as `parquet`, with the same rows. `clean` has the rows that
    `postgres_trips` loads, as Parquet, and `text` has them as an uncompressed CSV. `months` is a source of small
    months. Contenders write to `out`, and `home` is the TAXI_HOME of taxi_assets. `postgres` is the URL of the server.
    """

    rows: int
    source: Path
    clean: Path
    text: Path
    months: Path
    out: Path
    home: Path
    postgres: str

    @property
    def csv(self) -> Path:
        """The month as a gzip CSV, as in the mirror."""
        return self.source / "yellow" / f"yellow_tripdata_{MONTH}.csv.gz"

    @property
    def parquet(self) -> Path:
        """The month as Parquet, as the TLC publishes it."""
        return self.source / "yellow" / f"yellow_tripdata_{MONTH}.parquet"

    @property
    def parquet_source(self) -> str:
        """The TAXI_SOURCE_URL of the month as Parquet."""
        return f"{self.source}/{{color}}/{{color}}_tripdata_{{month}}.parquet"

    @property
    def work_file(self) -> Path:
        """The file to which a contender's process writes the seconds of its work."""
        return self.out / "work-seconds"

    def environment(self) -> dict[str, str]:
        """The environment variables with which a contender's process finds the files."""
        return {_PLACE: json.dumps(asdict(self), default=str), _WORK: str(self.work_file)}


def _read_place() -> Place:
    fields = json.loads(os.environ[_PLACE])
    paths = {name: Path(fields[name]) for name in ("source", "clean", "text", "months", "out", "home")}
    return Place(**{**fields, **paths})


@contextmanager
def work() -> Iterator[None]:
    """Measure the block as the work of this process, without its start and its imports."""
    started = perf_counter()
    yield
    Path(os.environ[_WORK]).write_text(str(perf_counter() - started))


def main(functions: Sequence[Callable[[Place], None]]) -> None:
    """Run the function that the command line names."""
    named = {function.__name__: function for function in functions}
    named[sys.argv[1]](_read_place())
