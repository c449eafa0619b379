"""Killed anywhere: a load is killed at a point or at a time, and one clean run must repair everything.

All trials use the same installation, one after another, so a trial also finds what earlier ones have left behind. Each
loads the version of the month that is not loaded, which shows whether a store has the old month or the new one.
"""

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contents import Leftovers, compare, impossible, look_around, misplaced, read_versions, take_snapshot
from forks import Child, ChildFailed
from installation import MONTH, NEW, OLD, Installation, write_both_versions
from outcomes import Outcome
from points import POINTS, Point, arm

_BLOCK_BYTES = 64 << 10
"""The bytes of a block: a month has several although it is small."""

_LONGEST_RUN_S = 120.0

_STATUSES = ("loaded", "failed", "stale")
"""What the status of a month may be after a kill. It must not be that of a run in progress."""


@dataclass(frozen=True)
class Reference:
    """What an undisturbed load of a version leaves: its snapshot, the names of the files and tables, its status."""

    snapshot: Path
    leftovers: Leftovers
    status: dict[str, Any]


@dataclass(frozen=True)
class Kill:
    """When a load is killed: at a point, or after a share of the seconds that a load takes."""

    point: Point | None = None
    share: float = 0.0

    @property
    def step(self) -> str:
        """The step of the point, or when the load is killed."""
        return self.point.name.partition(":")[0] if self.point else "at a random time"

    @property
    def name(self) -> str:
        """The point in its step, or the share."""
        return self.point.name.partition(": ")[2] if self.point else f"after {self.share:.1%} of the seconds of a load"


def find_kill(value: str) -> Kill:
    """Return the kill that an option names: a point, or a share such as 0.25. Raises KeyError for any other."""
    if value.replace(".", "", 1).isdigit():
        return Kill(share=float(value))
    return Kill({point.name: point for point in POINTS}[value])


def shuffled(chance: random.Random, times: int) -> list[str]:
    """Return all points, and some random shares, in random order."""
    values = [*(point.name for point in POINTS), *(f"{chance.random():.3f}" for _ in range(times))]
    chance.shuffle(values)
    return values


class Killing:
    """An installation with a month loaded, and the undisturbed loads of both of its versions."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._seen = installation.folder / "seen"
        installation.ask("versions", write_both_versions, installation)
        self._references = {version: self._undisturbed(version) for version in (NEW, OLD)}
        self._snapshots = {version: reference.snapshot for version, reference in self._references.items()}
        self._loaded = OLD
        self._seconds = self._measure()

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        return f"killed anywhere: {find_kill(value).step}"

    def _undisturbed(self, version: str) -> Reference:
        """Load a version into an empty installation. Raises ChildFailed."""
        there = self._installation
        there.empty()
        there.publish(version)
        child = there.materialize()
        if child.process.exitcode:
            raise ChildFailed(f"the undisturbed load failed: {child.output}")
        snapshot = there.folder / f"reference-{version}"
        there.ask("snapshot", take_snapshot, there, snapshot)
        [status] = there.status()
        return Reference(snapshot, there.ask("look", look_around, there), status)

    def _measure(self) -> float:
        """Return the seconds of a load that is not killed."""
        started = time.monotonic()
        self._start(Kill()).wait()
        return time.monotonic() - started

    def _start(self, kill: Kill) -> Child:
        return self._installation.start("killed", _load, kill.point)

    def trial(self, value: str) -> Outcome:
        """Load the other version of the month, kill the load, look at the stores, load again, and look again."""
        kill, started, new = find_kill(value), time.monotonic(), OLD if self._loaded == NEW else NEW
        self._installation.publish(new)
        child = self._start(kill)
        if kill.point is None:
            child.process.join(kill.share * self._seconds)
            child.process.kill()
        code = child.wait(_LONGEST_RUN_S)
        was_killed = code == -signal.SIGKILL
        broken = [*self._look_after_the_kill(kill, new), *self._look_after_the_repair(new)]
        if kill.point and not was_killed:
            how = f"waited for {_LONGEST_RUN_S:.0f} s" if code is None else f"ended with {code}"
            broken.append(f"the load was not killed there: it {how}. {child.output[-500:]}")
        self._loaded = new
        kills = {"kills": int(was_killed)}
        return Outcome(self.kind(value), kill.name, tuple(broken), kills, time.monotonic() - started)

    def _look_after_the_kill(self, kill: Kill, new: str) -> list[str]:
        """Readers see either version of each store, and no run is in progress."""
        there = self._installation
        found = there.ask("seen", read_versions, there, self._seen, self._snapshots)
        broken = [*impossible(found, self._snapshots, new), *misplaced(found, kill.step, new)]
        statuses = [month["status"] for month in there.status()]
        broken += [f"the status is {status}" for status in statuses if status not in _STATUSES]
        return [f"after the kill, {what}" for what in broken]

    def _look_after_the_repair(self, new: str) -> list[str]:
        """After a clean run, everything is as after an undisturbed load."""
        there, expected = self._installation, self._references[new]
        child = there.materialize()
        if child.process.exitcode:
            return [f"the clean run ended with {child.process.exitcode}: {child.output[-1500:]}"]
        broken = there.ask("compare", compare, there, self._seen, expected.snapshot, expected.leftovers)
        [status] = there.status()
        if {**status, "run": ""} != {**expected.status, "run": ""}:
            broken.append(f"the status is {status}. Expected {expected.status}")
        return [f"after the clean run, {what}" for what in broken]


def _load(point: Point | None) -> None:
    """Load the month as a worker of `taxi materialize` does, until the process kills itself. Call it in a child."""
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.runs import RunSpec, run_month
    from taxi_assets.settings import Settings
    from taxi_assets.tlc.raw import read_blocks

    read_blocks.__defaults__ = (_BLOCK_BYTES, "")
    if point:
        arm(point)
    settings = Settings.load()
    with open_instance(settings.home) as instance:
        run_month(build_definitions(settings), instance, MONTH, RunSpec(), print)
