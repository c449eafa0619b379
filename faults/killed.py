"""Killed anywhere: a load is killed at a point or at a time, and one clean run must repair everything.

All trials use the same installation, one after another, so a trial also finds what earlier ones have left behind.
"""

import random
import signal
import time
from dataclasses import dataclass

from forks import Child
from installation import MONTH, Installation
from outcomes import Outcome
from points import POINTS, Point, arm
from undisturbed import LONGEST_RUN_S, Undisturbed, use_small_blocks


@dataclass(frozen=True)
class Kill:
    """When a load is killed: at a point, or after a share of the seconds that a load takes."""

    point: Point | None = None
    share: float = 0.0

    @property
    def step(self) -> str:
        """The step of the point, or when the load is killed."""
        return self.point.step if self.point else "at a random time"

    @property
    def name(self) -> str:
        """The point in its step, or the share."""
        return self.point.name.partition(": ")[2] if self.point else f"after {self.share:.1%} of the seconds of a load"


def find_kill(value: str) -> Kill:
    """Return the kill that an option names: a point, or a share such as 0.25. Raises KeyError for any other."""
    if value.replace(".", "", 1).isdigit():
        return Kill(share=float(value))
    return Kill({point.name: point for point in POINTS}[value])


def kill_values(chance: random.Random, times: int) -> list[str]:
    """Return all points, and some random shares."""
    return [*(point.name for point in POINTS), *(f"{chance.random():.3f}" for _ in range(times))]


class Killing:
    """An installation with a month loaded, whose loads are killed."""

    has_disks = False

    def __init__(self, installation: Installation) -> None:
        self._undisturbed = Undisturbed(installation)
        self._installation = installation
        self._seconds = self._measure()

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        return f"killed anywhere: {find_kill(value).step}"

    def _measure(self) -> float:
        """Return the seconds of a load that is not killed."""
        started = time.monotonic()
        self._start(Kill()).wait()
        return time.monotonic() - started

    def _start(self, kill: Kill) -> Child:
        return self._installation.start("killed", _load, kill.point)

    def trial(self, value: str) -> Outcome:
        """Load the other version of the month, kill the load, look at the stores, load again, and look again."""
        kill, started = find_kill(value), time.monotonic()
        self._undisturbed.publish_other()
        child = self._start(kill)
        if kill.point is None:
            child.process.join(kill.share * self._seconds)
            child.process.kill()
        code = child.wait(LONGEST_RUN_S)
        was_killed = code == -signal.SIGKILL
        if not was_killed:  # the first load took longer than this one
            self._seconds = min(self._seconds, time.monotonic() - started)
        broken = [f"after the kill, {what}" for what in self._undisturbed.look(kill.step)]
        broken += self._undisturbed.look_after_the_repair()
        if kill.point and not was_killed:
            how = f"waited for {LONGEST_RUN_S:.0f} s" if code is None else f"ended with {code}"
            broken.append(f"the load was not killed there: it {how}. {child.output[-500:]}")
        kills = {"kills": int(was_killed)}
        return Outcome(self.kind(value), kill.name, tuple(broken), kills, time.monotonic() - started)


def _load(point: Point | None) -> None:
    """Load the month as a worker of `taxi materialize` does, until the process kills itself. Call it in a child."""
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.runs import RunSpec, run_month
    from taxi_assets.settings import Settings

    use_small_blocks()
    if point:
        arm(point)
    settings = Settings.load()
    with open_instance(settings.home) as instance:
        run_month(build_definitions(settings), instance, MONTH, RunSpec(), print)
