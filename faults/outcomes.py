"""What a trial found, and the table of all trials."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What a trial found. `kind` is the row of the table, and `name` the trial in it.

    `broken` has what did not hold. `counts` are figures such as the number of reads.
    """

    kind: str
    name: str
    broken: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each kind of trial: how many were tried, how many held, and their figures."""
    kinds: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.kind):
        kinds.setdefault(outcome.kind, []).append(outcome)
    rows = [("what was tried", "trials", "held", "seconds", "figures")]
    for kind, trials in kinds.items():
        held, seconds = sum(not trial.broken for trial in trials), sum(trial.seconds for trial in trials)
        rows.append((kind, str(len(trials)), str(held), f"{seconds:.0f}", _figures(trials)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _figures(trials: Sequence[Outcome]) -> str:
    names = dict.fromkeys(name for trial in trials for name in trial.counts)
    return ", ".join(f"{sum(trial.counts.get(name, 0) for trial in trials):,} {name}" for name in names)
