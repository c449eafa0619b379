"""Disturbed: the disk or PostgreSQL fails while a month is loaded. The load is retried, or ends in an error in words.

As with kills, all trials use the same installation, and one clean run must repair everything.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from disturbances import PROXY_PID, Disturbance, find_disturbance
from forks import Child, taxi
from installation import MONTH, Installation
from outcomes import Outcome
from points import Point, arm
from proxy import serve_proxy
from undisturbed import LONGEST_RUN_S, Undisturbed, use_small_blocks

_ENDING_S = 5.0

_SLUG = re.compile(r"\[([a-z][a-z-]+)\]$", re.MULTILINE)
"""The code at the end of an error."""

_NO_ERROR = ("Traceback", "unexpected-error")
"""What the output must not have: errors that the program does not know."""


class Disturbing:
    """An installation with a month loaded, whose loads are disturbed."""

    has_disks = True

    def __init__(self, installation: Installation) -> None:
        self._undisturbed = Undisturbed(installation)
        self._installation = installation

    @staticmethod
    def kind(value: str) -> str:
        """The row of the table for a trial."""
        return find_disturbance(value)[0].kind

    def trial(self, value: str) -> Outcome:
        """Load the other version of the month, disturb the load, look at the stores, load again, and look again."""
        (disturbance, point), started, there = find_disturbance(value), time.monotonic(), self._installation
        self._undisturbed.publish_other()
        struck = there.folder / "struck"
        struck.unlink(missing_ok=True)
        with _proxy(there, disturbance) as url:
            child = there.start("disturbed", _load, there, disturbance, point, TAXI_POSTGRES_URL=url)
            code = child.wait(LONGEST_RUN_S)
        if not struck.exists():
            broken = [f"the load was not disturbed: it ended with {code}. {child.output[-500:]}"]
            return Outcome(disturbance.kind, point.name, tuple(broken))
        there.ask("undo", disturbance.undo, there, point)
        broken = [*_mistakes(child, code, disturbance)]
        broken += [f"after that, {what}" for what in self._undisturbed.look(point.step, is_loaded=code == 0)]
        broken += self._undisturbed.look_after_the_repair()
        counts = {"loads after a retry": 1} if code == 0 else dict.fromkeys(sorted(_slugs(child)), 1)
        return Outcome(disturbance.kind, point.name, tuple(broken), counts, time.monotonic() - started)


def _slugs(child: Child) -> set[str]:
    return set(_SLUG.findall(child.output))


def _mistakes(child: Child, code: int | None, disturbance: Disturbance) -> list[str]:
    """Return what is wrong with how a disturbed load has ended."""
    output, slugs = child.output, _slugs(child)
    if code is None:
        return [f"the load waited for {LONGEST_RUN_S:.0f} s: {output[-1500:]}"]
    if code == 0 or not disturbance.errors:
        return [] if code == 0 else [f"the load was not retried, but ended with {code}: {output[-1500:]}"]
    unknown = [word for word in _NO_ERROR if word in output]
    if code != 1 or unknown or not slugs or not slugs <= disturbance.errors:
        expected = " or ".join(sorted(disturbance.errors))
        return [f"the load ended with {code} and without an error that ends in {expected}: {output[-1500:]}"]
    return []


def _load(there: Installation, disturbance: Disturbance, point: Point) -> None:
    """Run `taxi materialize`, whose worker is a copy of this process, and disturb it at a point. Call it in a child."""
    from taxi_assets.operations import workers

    def strike() -> None:
        (there.folder / "struck").touch()
        disturbance.strike(there, point)

    use_small_blocks()
    # With a thread that is still ending, the worker would be a new program, which is not disturbed.
    workers.THREADS_END_S = _ENDING_S
    arm(point, strike)
    taxi("materialize", "--color", MONTH.color, "--months", MONTH.month)


@contextmanager
def _proxy(there: Installation, disturbance: Disturbance) -> Iterator[str]:
    """Start a proxy in front of PostgreSQL if the disturbance has one. The value is the URL that the load uses."""
    if not disturbance.has_proxy:
        yield there.postgres
        return
    port = there.folder / "proxy.port"
    port.unlink(missing_ok=True)
    proxy = there.start("proxy", serve_proxy, there.postgres, there.folder / PROXY_PID, port)
    try:
        while not port.exists():
            time.sleep(0.01)
        yield f"postgresql://taxi@127.0.0.1:{port.read_text()}/ny_taxi"
    finally:
        proxy.kill()
