"""Worker processes that run months one after another and stay warm after the first month.

Workers are processes, not threads, because Dagster captures the output of a whole process. Only the parent process
writes to the terminal. Not here: what a run does (`runs`).
"""

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from taxi_assets.errors import OutOfMemory, TaxiAssetsError
from taxi_assets.instance.opening import dagster_home, open_instance, translate_history_errors
from taxi_assets.instance.processes import describe_exit, end_dead_runs
from taxi_assets.operations.progress import ENDS, Progress, ProgressEvent
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.settings import Settings
from taxi_assets.stores.memory import mentions_memory
from taxi_assets.tlc.trips import TripMonth

_NEW_PROCESS = multiprocessing.get_context("spawn")
"""How to start a worker that cannot be a copy. A fork server would leave its socket if the command is killed."""

_LONG_LOG = 10 << 20
"""Maximum bytes of a worker log. A new worker deletes a larger log from earlier commands."""

_END_OF_LOG = 1 << 16
"""Maximum bytes to search for the reason why a worker died."""

THREADS_END_S = 0.1
"""How long to wait for threads that end, in seconds. The system counts a thread for a moment after it has ended."""

EXIT_TIMEOUT_S = 10.0
"""Seconds to wait for a worker to exit before killing it."""


@contextmanager
def started_months(
    settings: Settings, months: Sequence[TripMonth], spec: RunSpec, workers: int
) -> Iterator[Iterator[ProgressEvent]]:
    """Start at most `workers` processes that run months. The value yields progress events until all months finish.

    A month that fails, or whose process dies, does not affect the others. Active runs are stopped at the end of the
    context, and marked as failed.
    """
    queue = deque(months)
    pool: list[_Worker] = []
    try:
        for number in range(min(workers, len(months))):
            pool.append(_Worker(number, settings, spec, [worker.connection for worker in pool]))
        yield _events(pool, queue)
    finally:
        for worker in pool:
            worker.stop()
        with open_instance(settings.home) as instance:
            end_dead_runs(instance)


def _events(pool: "Sequence[_Worker]", queue: deque[TripMonth]) -> Iterator[ProgressEvent]:
    for worker in pool:
        worker.assign(queue.popleft())
    while busy := [worker for worker in pool if worker.month]:
        for ready in wait([worker.connection for worker in busy]):
            worker = next(worker for worker in busy if worker.connection is ready)
            yield worker.receive()
            if worker.month is None and queue:
                worker.assign(queue.popleft())


class _Worker:
    """A process that runs one month at a time. It is replaced if it dies.

    `others` are the connections to the workers that were started before.
    """

    def __init__(self, number: int, settings: Settings, spec: RunSpec, others: Sequence[Connection]) -> None:
        self._log = dagster_home(settings.home) / f"worker-{number}.log"
        self._spec = spec
        self._environment = {**os.environ, **settings.places()}
        if self._log.exists() and self._log.stat().st_size > _LONG_LOG:
            self._log.unlink()
        self.month: TripMonth | None = None
        self._waits_for_retry = False
        self._start(others)

    def _start(self, others: Sequence[Connection] = ()) -> None:
        """Start the process: as a copy of this one if possible, so that both share the memory of what is imported."""
        # A copy of a process with threads may wait forever for a lock that one of them held.
        is_copy = sys.platform == "linux" and _has_one_thread()
        context = multiprocessing.get_context("fork") if is_copy else _NEW_PROCESS
        self.connection, theirs = context.Pipe()
        # Otherwise a collection of garbage in either process would copy all shared pages.
        gc.freeze()
        # With a copy of a parent's end, a worker would not notice that the parent is gone.
        inherited = (*others, self.connection) if is_copy else ()
        process = context.Process(
            target=_run_worker, args=(theirs, inherited, self._log, self._spec, self._environment), daemon=True
        )
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        process.start()
        self._process = process  # only now, because `stop` cannot join a process that could not be started
        theirs.close()

    def assign(self, month: TripMonth) -> None:
        """Send a month to the worker. If its process is dead, start a new one first."""
        if not self._process.is_alive():
            self._start()
        self.month = month
        # If the process died in the meantime, the next `receive` reports it.
        with suppress(BrokenPipeError):
            self.connection.send(month)

    def receive(self) -> ProgressEvent:
        """Receive the next progress event. If the process died, it is a failed event."""
        try:
            event: ProgressEvent = self.connection.recv()
        except (EOFError, ConnectionResetError):
            event = self._exit_event()
        self._waits_for_retry = event.what is Progress.retry_scheduled
        if event.what in ENDS:
            self.month = None
        return event

    def _exit_event(self) -> ProgressEvent:
        self._process.join()
        assert self.month  # noqa: S101  # called only for a worker with a month
        error = f"The process of the run {describe_exit(self._process.exitcode)}. Its output is in {self._log}."
        said = next((line for line in self._output() if mentions_memory(line)), None)
        if said is not None or self._process.exitcode == -signal.SIGKILL:
            error = OutOfMemory(f"{error} {said or ''}".strip()).explain()
        return ProgressEvent(self.month, Progress.failed, error=error)

    def _output(self) -> list[str]:
        """Return the last lines that the process has printed."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            log.seek(max(self._log_start, self._log.stat().st_size - _END_OF_LOG))
            return log.read().decode(errors="replace").splitlines()

    def stop(self) -> None:
        """Close the connection so that an idle worker exits. Stop a worker that has a month or does not exit."""
        self.connection.close()
        if self.month and self._waits_for_retry:
            self._process.kill()  # Dagster ignores signals while it waits for a retry, and no step is active
        elif self.month:
            self._process.terminate()
        self._process.join(EXIT_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _has_one_thread() -> bool:
    """Return whether this process has no other thread. Waits for threads that end just now."""
    deadline = time.monotonic() + THREADS_END_S
    while psutil.Process().num_threads() > 1:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _run_worker(
    connection: Connection, inherited: Sequence[Connection], log: Path, spec: RunSpec, environment: Mapping[str, str]
) -> None:
    """Run a worker process: receive months and send progress events until the parent closes the connection."""
    for copy in inherited:
        copy.close()
    _redirect_output(log)
    os.environ.clear()
    os.environ.update(environment)
    # The objects of the parent are frozen, so searching the others for garbage is fast.
    gc.set_threshold(700, 10, 10)
    # Ctrl-C must reach only the parent, which stops its workers.
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
                with translate_history_errors(settings.home):
                    run_month(definitions, instance, month, spec, connection.send)
            except TaxiAssetsError as error:
                connection.send(ProgressEvent(month, Progress.failed, error=error.explain()))


def _redirect_output(log: Path) -> None:
    """Redirect the output of this process, including Dagster's log, to a file: only the parent uses the terminal."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
