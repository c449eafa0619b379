"""Break the program on purpose, and show what holds. Run by `make test-faults`; the options are in FAULTS.

Without options, this takes less than four minutes: every point at which a load is killed, and some of everything else.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with threads cannot be copied

import argparse
import gc
import json
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from breaks import BREAKS
from disks import may_mount, memory_folder
from disturbances import DISTURBANCES, EACH_STEP, EVERYWHERE, feasible
from forks import PRELOADED, stop
from killed import find_kill, kill_values
from lanes import Task, running
from outcomes import Outcome, table
from points import POINTS, owner

_LANES = 2


def main() -> int:
    """Run the trials. Return 1 if anything did not hold."""
    options = _options()
    # Servers are stopped also if this process is stopped, and a job in the background ignores Ctrl-C by default.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # otherwise, a search for garbage in a child would copy all shared memory
    tried: list[tuple[Task, Outcome]] = []
    with (
        tempfile.TemporaryDirectory(prefix="taxi-faults-", dir=memory_folder()) as work,
        running(_tasks(options, tried), Path(work), _LANES) as outcomes,
    ):
        for task, outcome in outcomes:
            tried.append((task, outcome))
            print(f"{'BROKEN' if outcome.broken else 'held':7}{outcome.kind}: {outcome.name}", flush=True)
    return _report(tried, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the random times and of the order (default: 1)")
    parser.add_argument("--minutes", type=float, help="repeat random trials for this long")
    parser.add_argument(
        "--kills", type=int, default=0, metavar="N", help="and go on with kills until there are this many"
    )
    parser.add_argument("--sample", action="store_true", help="only one random trial of each row of the table")
    parser.add_argument("--kill", metavar="POINT", help="kill a load once, at a point or after a share of its seconds")
    parser.add_argument(
        "--disturb", metavar="WHAT", help='disturb a load, such as "full at lake: written, not verified"'
    )
    parser.add_argument("--together", metavar="N", help="load with this many processes at once, and read meanwhile")
    parser.add_argument("--months", metavar="N", help="load this many months twice in one process")
    parser.add_argument("--break", dest="fault", choices=BREAKS, default="", help="put a fault into the program first")
    parser.add_argument("--prove", action="store_true", help="put each fault in, one by one: the trials must find it")
    parser.add_argument("--list", action="store_true", help="list the points, which must exist in the program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes to a file")
    options = parser.parse_args()
    if options.list:
        _list()
        sys.exit()
    if options.kill:
        try:
            find_kill(options.kill)
        except KeyError:
            parser.error(f'"{options.kill}" is not a point. Expected one of --list, or a share such as 0.25.')
    if options.disturb:
        try:
            is_feasible = bool(feasible([options.disturb]))
        except KeyError:
            names = ", ".join(DISTURBANCES)
            parser.error(
                f'"{options.disturb}" is invalid. Expected "NAME at POINT". Names: {names}. Points: see --list.'
            )
        if not is_feasible:
            parser.error(f'"{options.disturb}" needs a user who may mount disks, such as root.')
    return options


def _list() -> None:
    """Print the points.

    Raises AttributeError or ImportError if the function of one, or of a fault, does not exist, and KeyError if a trial
    is at a point that does not exist.
    """
    for target in (*(point.target for point in POINTS), *(fault.target for fault in BREAKS.values())):
        getattr(*owner(target))
    for trial in (*(fault.trial for fault in BREAKS.values()), *(("disturb", value) for value in EACH_STEP)):
        _ = Task(*trial).kind
    print("\n".join(point.name for point in POINTS))


def _tasks(options: argparse.Namespace, tried: Sequence[tuple[Task, Outcome]]) -> Iterator[Task]:
    """Yield what the options select. `tried` has the outcomes so far."""
    chance = random.Random(options.seed)
    chosen = [Task(name, value, options.fault) for name in _SINGLE if (value := getattr(options, name))]
    if chosen:
        yield from chosen
    elif options.prove:
        for name, fault in BREAKS.items():
            yield Task(*fault.trial, name)
    elif options.minutes:
        end = time.monotonic() + options.minutes * 60
        for task in _long(chance):
            kills = sum(outcome.counts.get("kills", 0) for _, outcome in tried)
            is_over = time.monotonic() > end
            if is_over and kills >= options.kills:
                return
            if task.option == "kill" or not is_over:
                yield task
    elif options.sample:
        kinds: dict[str, list[Task]] = {}
        for task in _short(chance, months=3, processes=2):
            kinds.setdefault(task.kind, []).append(task)
        yield from map(chance.choice, kinds.values())
    else:
        yield from _short(chance)


def _short(chance: random.Random, months: int = 12, processes: int = 4) -> Iterator[Task]:
    """Yield the slowest tasks first, so that no lane waits at the end, then the others in random order."""
    yield Task("months", str(months))
    yield Task("together", str(processes))
    yield from _mixed(chance, [Task("kill", name) for name in kill_values(chance, 5)], EACH_STEP)


def _mixed(chance: random.Random, kills: Sequence[Task], disturbances: Sequence[str]) -> list[Task]:
    """Return kills, and the disturbances that this user may cause, in random order."""
    found = [*kills, *(Task("disturb", value) for value in feasible(disturbances))]
    chance.shuffle(found)
    return found


_SINGLE = ("kill", "disturb", "together", "months")


def _long(chance: random.Random) -> Iterator[Task]:
    """Yield tasks without end: first many months, then the others over and over."""
    yield Task("months", "500")
    while True:
        kills = [Task("kill", name) for name in kill_values(chance, len(POINTS))]
        yield from (Task("together", str(processes)) for processes in (2, 4, 8))
        yield from _mixed(chance, kills, chance.sample(EVERYWHERE, len(POINTS)))


def _report(tried: list[tuple[Task, Outcome]], options: argparse.Namespace) -> int:
    """Print the table and what did not hold, and return the exit code."""
    if options.prove:
        return _report_proof(tried)
    print()
    print("\n".join(table(outcome for _, outcome in tried)))
    for task, outcome in tried:
        for what in outcome.broken:
            print(f"\n{outcome.kind}: {outcome.name}: {what}")
        if outcome.broken:
            print(f"To repeat it: make test-faults FAULTS={shlex.quote(shlex.join(task.options))}")
    if not may_mount():
        print("\nskipped: full and read-only disks, because this user may not mount disks")
    broken = sum(bool(outcome.broken) for _, outcome in tried)
    print(f"\n{len(tried)} trials, {len(tried) - broken} held. Seed {options.seed}.")
    if options.json:
        trials = [{"options": task.options, **asdict(outcome)} for task, outcome in tried]
        options.json.write_text(json.dumps({"seed": options.seed, "trials": trials}, indent=1) + "\n")
    return 1 if broken or not tried else 0


def _report_proof(tried: list[tuple[Task, Outcome]]) -> int:
    for task, outcome in tried:
        print(f"\n{task.fault}: {BREAKS[task.fault].what}\n  " + ("\n  ".join(outcome.broken[:2]) or "NOT FOUND"))
    missed = sum(not outcome.broken for _, outcome in tried)
    print(f"\n{len(tried)} faults, {len(tried) - missed} found.")
    return 1 if missed or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
