"""Lanes: processes that try one trial after another at the same time, each with installations of its own."""

import multiprocessing
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, Protocol

import psutil
from breaks import BREAKS
from disks import unmount_below
from disturbed import Disturbing
from forks import ChildFailed, stop
from installation import Installation, installed
from killed import Killing
from long_use import LongUse
from outcomes import Outcome
from together import Together


@dataclass(frozen=True)
class Task:
    """A trial to be tried: its option, such as `kill`, the value of the option, and the name of a fault, if any."""

    option: str
    value: str
    fault: str = ""

    @property
    def kind(self) -> str:
        """The row of the table for the trial."""
        return _KINDS[self.option].kind(self.value)

    @property
    def options(self) -> tuple[str, ...]:
        """The options that repeat the trial."""
        return (f"--{self.option}", self.value, *(("--break", self.fault) if self.fault else ()))


class _Trials(Protocol):
    has_disks: bool = False
    """Whether TAXI_HOME and the data of PostgreSQL are on disks of their own, if possible."""

    def __init__(self, installation: Installation) -> None: ...

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        ...

    def trial(self, value: str) -> Outcome:
        """Try once."""
        ...


_KINDS: dict[str, type[_Trials]] = {"kill": Killing, "together": Together, "months": LongUse, "disturb": Disturbing}


@contextmanager
def running(tasks: Iterator[Task], folder: Path, lanes: int) -> Iterator[Iterator[tuple[Task, Outcome]]]:
    """Start lanes that try tasks. The value yields their outcomes until there are no more tasks."""
    context = multiprocessing.get_context("fork")
    started: dict[Connection, BaseProcess] = {}
    try:
        for number in range(lanes):
            ours, theirs = context.Pipe()
            started[ours] = context.Process(target=_serve, args=(theirs, [*started, ours], folder / f"lane-{number}"))
            started[ours].start()
            theirs.close()
        yield _outcomes(tasks, started)
    except BaseException:
        for process in started.values():
            process.terminate()
        raise
    finally:
        # An idle lane ends when its connection is closed. SIGTERM could interrupt it while it stops its servers.
        for connection in started:
            connection.close()
        for process in started.values():
            process.join()
        unmount_below(folder)  # by now, only disks of a lane that was killed


def _outcomes(tasks: Iterator[Task], started: Mapping[Connection, BaseProcess]) -> Iterator[tuple[Task, Outcome]]:
    """Give each lane a task whenever it is idle. Raises ChildFailed if a lane dies."""
    idle, busy = list(started), dict[Connection, Task]()
    while True:
        while idle and (task := next(tasks, None)):
            lane = idle.pop()
            lane.send(task)
            busy[lane] = task
        if not busy:
            return
        ready = wait([*busy, *(started[lane].sentinel for lane in busy)])
        for lane in list(busy):
            if lane in ready:
                yield busy.pop(lane), lane.recv()
                idle.append(lane)
            elif not started[lane].is_alive():
                raise ChildFailed(f"a lane ended with {started[lane].exitcode} during {shlex.join(busy[lane].options)}")


def _stop_lane(*_: object) -> NoReturn:
    """Stop what the lane has started, which would write to its folders while they are deleted, and exit."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    stop()


def _serve(connection: Connection, others: Sequence[Connection], folder: Path) -> None:
    """Try tasks until the parent closes the connection or stops this process."""
    for other in others:
        other.close()
    signal.signal(signal.SIGTERM, _stop_lane)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C must reach only the parent, which stops its lanes
    with ExitStack() as everything:
        rooms: dict[tuple[str, str], tuple[_Trials, ExitStack]] = {}
        while True:
            try:
                task: Task = connection.recv()
            except EOFError:
                return
            key = (task.option, task.fault)
            room = everything.enter_context(ExitStack()) if key not in rooms else rooms[key][1]
            try:
                if key not in rooms:
                    fault, trials = BREAKS.get(task.fault), _KINDS[task.option]
                    here = installed(folder / "-".join(key), fault, has_disks=trials.has_disks)
                    rooms[key] = (trials(room.enter_context(here)), room)
                outcome = rooms[key][0].trial(task.value)
            except ChildFailed as error:
                outcome = Outcome(task.kind, task.value, (str(error),))
            if outcome.broken:
                # What the trial left is unknown, so that the next one gets a new installation.
                rooms.pop(key, None)
                room.close()
            connection.send(outcome)
