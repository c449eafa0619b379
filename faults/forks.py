"""Children of this process that share its imports: a trial then takes a fraction of the time of a new program.

The parent never uses Arrow, DuckDB or Dagster itself. Their threads would not exist in a copy of the process, so all
work, also every check, is done in a child.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = (
    "duckdb",
    "psycopg2",
    "pyarrow.parquet",
    "requests",
    "taxi_assets.cli.materialize",
    "taxi_assets.cli.status",
    "taxi_assets.cli.status_view",
    "taxi_assets.defs.build",
    "taxi_assets.operations.adoption",
    "taxi_assets.operations.plan",
    "taxi_assets.operations.workers",
)
"""What the children use."""

LONGEST_S = 300.0
"""Seconds after which a child counts as waiting forever."""


class ChildFailed(Exception):
    """A child ended without a result. The text is how it ended, and its output."""


@dataclass(frozen=True)
class Child:
    """A child, the connection to its result, and the file with its output."""

    process: BaseProcess
    connection: Connection
    log: Path

    def wait(self, timeout_s: float = LONGEST_S) -> int | None:
        """Wait until the child ends, and return its exit code. Kills it after the timeout and returns None."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.kill()
            return None
        return self.process.exitcode

    def kill(self) -> None:
        """Kill the child and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def result(self, timeout_s: float = LONGEST_S) -> Any:
        """Return the result of the child's function. Raises ChildFailed."""
        found: list[Any] = []
        if self.connection.poll(timeout_s):
            with suppress(EOFError):
                found.append(self.connection.recv())
        code = self.wait(timeout_s if found else 1)
        if not found:
            how = f"did not end in {timeout_s:.0f} s" if code is None else f"ended with {code}"
            raise ChildFailed(f"{self.log.stem} {how}: {self.output[-1500:]}")
        return found[0]

    @property
    def output(self) -> str:
        """What the child wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def start(environment: Mapping[str, str], log: Path, function: Callable[..., Any], *arguments: Any) -> Child:
    """Start a child that calls a function with these arguments, in this environment, and writes its output to `log`."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, environment, log, function, arguments))
    process.start()
    theirs.close()
    return Child(process, ours, log)


def _run(
    connection: Connection,
    environment: Mapping[str, str],
    log: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    tempfile.tempdir = None  # the environment names another one
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    connection.send(function(*arguments))


def stop(*_: object) -> NoReturn:
    """Exit so that servers are stopped: a handler of SIGTERM. A second SIGTERM, such as to the group, is ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def taxi(*words: str) -> None:
    """Run a command as the program `taxi` does, and exit as it does. Call it in a child."""
    from taxi_assets.cli.main import main

    sys.argv = ["taxi", *words]
    main()
