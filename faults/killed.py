"""Killed anywhere: a load is killed at a point or at a time, and one clean run must repair everything.

All trials use one installation, one after another. Each loads the version of the month that is not loaded: the old
month and the new one can be told apart, and what one trial leaves behind, a later one finds.
"""

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contents import Leftovers, differences, impossible, look_around, take_snapshot, versions
from forks import Child
from installation import MONTH, NEW, OLD, Installation, write_both_versions
from outcomes import Outcome
from points import POINTS, Point, arm

KIND = "killed anywhere"

_BLOCK_BYTES = 64 << 10
"""The bytes of a block: a month has several although it is small."""

_LONGEST_RUN_S = 120.0


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
    def name(self) -> str:
        """The name of the point, or the share."""
        return self.point.name if self.point else f"{self.share:.3f}"

    @property
    def kind(self) -> str:
        """The row of the table."""
        if self.point is None:
            return f"{KIND}: at a random time"
        return f"{KIND}: {self.point.name.partition(':')[0]}"


def find_kill(name: str) -> Kill:
    """Return the kill with a name. Raises KeyError."""
    points = {point.name: point for point in POINTS}
    return Kill(share=float(name)) if name.replace(".", "", 1).isdigit() else Kill(points[name])


def shuffled(chance: random.Random, times: int) -> list[str]:
    """Return the names of all points, and some random times, in random order."""
    names = [*(point.name for point in POINTS), *(f"{chance.random():.3f}" for _ in range(times))]
    chance.shuffle(names)
    return names


class Killing:
    """An installation with a month loaded, and the undisturbed loads of both of its versions."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        installation.ask("versions", write_both_versions, installation)
        self._references = {version: self._undisturbed(version) for version in (NEW, OLD)}
        self._snapshots = {version: reference.snapshot for version, reference in self._references.items()}
        self._loaded = OLD
        self._seconds = self._measure()

    def _undisturbed(self, version: str) -> Reference:
        """Load a version into an empty installation."""
        there = self._installation
        there.empty()
        there.publish(version)
        child = there.materialize()
        if child.process.exitcode:
            raise RuntimeError(f"the undisturbed load failed: {child.output}")
        snapshot = there.folder / f"reference-{version}"
        there.ask("snapshot", take_snapshot, there, snapshot)
        [status] = there.status()
        return Reference(snapshot, there.ask("look", look_around, there), status)

    def _measure(self) -> float:
        """Return the seconds of a load that is not killed."""
        child = self._start(Kill(share=1))
        started = time.monotonic()
        child.wait()
        return time.monotonic() - started

    def _start(self, kill: Kill) -> Child:
        return self._installation.start("killed", _load, kill.point)

    def trial(self, value: str) -> Outcome:
        """Load the other version of the month, kill the load, look at the stores, load again, and look again."""
        kill, started, new = find_kill(value), time.monotonic(), OLD if self._loaded == NEW else NEW
        self._installation.publish(new)
        child, broken = self._start(kill), []
        if kill.point is None:
            child.process.join(kill.share * self._seconds)
            child.process.kill()
        code = child.wait(_LONGEST_RUN_S)
        if code is None:
            broken.append(f"the load did not end in {_LONGEST_RUN_S:.0f} s")
        elif kill.point and code != -signal.SIGKILL:
            broken.append(f"the load was not killed: it ended with {code}. {child.output[-500:]}")
        broken += self._look_after_the_kill(new)
        broken += self._look_after_the_repair(new)
        self._loaded = new
        return Outcome(
            kill.kind,
            kill.name,
            tuple(broken),
            {"kills": int(code == -signal.SIGKILL)},
            time.monotonic() - started,
        )

    def _look_after_the_kill(self, new: str) -> list[str]:
        there, seen = self._installation, self._installation.folder / "seen"
        there.ask("snapshot", take_snapshot, there, seen)
        found = there.ask("versions", versions, seen, self._snapshots)
        broken = [f"after the kill, {what}" for what in impossible(found, self._snapshots, new)]
        unfinished = [
            month["status"] for month in there.status() if month["status"] not in ("loaded", "failed", "stale")
        ]
        return broken + [f"after the kill, the status is {status}" for status in unfinished]

    def _look_after_the_repair(self, new: str) -> list[str]:
        there, seen, expected = self._installation, self._installation.folder / "seen", self._references[new]
        child = there.materialize()
        if child.process.exitcode:
            return [f"the clean run ended with {child.process.exitcode}: {child.output[-1500:]}"]
        there.ask("snapshot", take_snapshot, there, seen)
        found: dict[str, str] = there.ask("differences", differences, seen, expected.snapshot)
        broken = [f"after the clean run, {store}: {what}" for store, what in found.items()]
        leftovers: Leftovers = there.ask("look", look_around, there)
        broken += [f"after the clean run, {what}" for what in leftovers.beyond(expected.leftovers)]
        [status] = there.status()
        same = {name: value for name, value in status.items() if name != "run"}
        if same != {name: value for name, value in expected.status.items() if name != "run"}:
            broken.append(f"after the clean run, the status is {status}")
        return broken


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
