"""Worker processes that run months one after another, each warm after its first.

Processes, not threads: Dagster captures the output of a process as a whole. So only the parent may draw.
Not here: what a run is (`runs`).
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from taxi_assets.defs.instance import dagster_home, fail_dead_runs, history_told, open_instance, said_end
from taxi_assets.defs.runs import Order, run_month
from taxi_assets.errors import StoreError
from taxi_assets.news import ENDS, News, RunNews
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth

_LONG_LOG = 10 << 20
"""Bytes from which on a worker's log of earlier commands is begun anew."""

_GOODBYE_S = 10.0
"""How long an idle worker may take to leave, in seconds, before it is killed."""


def run_months(
    settings: Settings, months: Sequence[TripMonth], order: Order, workers: int
) -> Generator[RunNews, None, None]:
    """Run what is ordered of each month in at most `workers` processes, and tell what happens, until all are done.

    A month that fails, or whose process dies, fails alone: the others go on. When the iterator is closed early, months
    under way are stopped and their runs marked as failed.
    """
    waiting = deque(months)
    crew = [_Worker(number, settings, order) for number in range(min(workers, len(months)))]
    try:
        for worker in crew:
            worker.give(waiting.popleft())
        while busy := [worker for worker in crew if worker.month]:
            for ready in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is ready)
                yield worker.hear()
                if worker.month is None and waiting:
                    worker.give(waiting.popleft())
    finally:
        for worker in crew:
            worker.dismiss()
        with open_instance(settings.home) as instance:
            fail_dead_runs(instance)


class _Worker:
    """A process that runs one month at a time, and is replaced when it dies."""

    def __init__(self, number: int, settings: Settings, order: Order) -> None:
        self._log = dagster_home(settings.home) / f"worker-{number}.log"
        self._order = order
        # The process that workers are forked from may have been started in another environment.
        self._environment = {**os.environ, **settings.places()}
        if self._log.exists() and self._log.stat().st_size > _LONG_LOG:
            self._log.unlink()
        self.month: TripMonth | None = None
        self._pauses = False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self._log, self._order, self._environment), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, month: TripMonth) -> None:
        """Let the worker run a month; a dead one is replaced first."""
        if not self._process.is_alive():
            self._start()
        self.month = month
        # One that died meanwhile is heard of next.
        with suppress(BrokenPipeError):
            self.connection.send(month)

    def hear(self) -> RunNews:
        """The next news; a month whose process died has failed."""
        try:
            news: RunNews = self.connection.recv()
        except (EOFError, ConnectionResetError):
            news = self._death()
        self._pauses = news.what is News.pause
        if news.what in ENDS:
            self.month = None
        return news

    def _death(self) -> RunNews:
        self._process.join()
        assert self.month  # noqa: S101  # only a worker with a month is listened to
        how = said_end(self._process.exitcode)
        return RunNews(self.month, News.failed, error=f"its process {how}.\nWhat it said is in {self._log}")

    def dismiss(self) -> None:
        """Let an idle worker leave; stop one that has a month, or does not leave."""
        self.connection.close()
        if self.month and self._pauses:
            self._process.kill()  # Dagster sleeps between two tries, whatever signal comes, and nothing is under way
        elif self.month:
            self._process.terminate()
        self._process.join(_GOODBYE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(connection: Connection, log: Path, order: Order, environment: Mapping[str, str]) -> None:
    """What a worker process does: months come in, news go out, until the parent hangs up."""
    _say_to(log)
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C is for the parent, which stops its workers.
    os.setsid()
    from taxi_assets.defs.build import build_definitions

    settings = Settings.load()
    definitions = build_definitions(settings)
    with open_instance(settings.home) as instance:
        while True:
            try:
                month: TripMonth = connection.recv()
            except EOFError:
                return
            try:
                with history_told(settings.home):
                    run_month(definitions, instance, month, order, connection.send)
            except StoreError as error:
                connection.send(RunNews(month, News.failed, error=str(error)))


def _say_to(log: Path) -> None:
    """Send what this process prints, Dagster's log included, to a file: the terminal is the parent's."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
