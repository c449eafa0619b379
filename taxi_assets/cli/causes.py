"""Groups failed months by cause, so that an error that many months share is shown once.

Not here: how the groups are displayed (`tables`, `status_view`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from taxi_assets.tlc.trips import TripMonth, format_months, months_by_color


@dataclass(frozen=True)
class Failed:
    """A failed month: the asset at which it failed, and the error. Both are empty if they are not known."""

    month: TripMonth
    asset: str = ""
    error: str = ""


@dataclass(frozen=True)
class Cause:
    """The months that failed at the same asset with the same error. `first` is the one that failed first."""

    failed: list[Failed]

    @property
    def first(self) -> Failed:
        """The first month, whose error stands for those of the others."""
        return self.failed[0]

    @property
    def title(self) -> str:
        """The months as ranges and the asset, such as `green 2020-03..2020-05 failed at raw_trips`."""
        at = f" at {self.first.asset}" if self.first.asset else ""
        return f"{format_selections(failed.month for failed in self.failed)} failed{at}"

    @property
    def text(self) -> str:
        """The error. If the other months have other values in it, such as a file name, it says whose error it is."""
        error = self.first.error.strip()
        if all(failed.error.strip() == error for failed in self.failed):
            return error
        return f"For example, {self.first.month}: {error}"


def selections(months: Iterable[TripMonth]) -> list[tuple[str, str]]:
    """Return the values of --color and --months that select these months: colors with the same months share a pair."""
    colors: dict[str, list[str]] = {}
    for color, these in months_by_color(months).items():
        colors.setdefault(format_months(these), []).append(color)
    return [(",".join(names), these) for these, names in colors.items()]


def format_selections(months: Iterable[TripMonth]) -> str:
    """Format months of several colors, such as `yellow,green 2021-08..2021-10, fhv 2020-01`."""
    return ", ".join(f"{colors} {these}" for colors, these in selections(months))


def by_cause(failed: Iterable[Failed]) -> list[Cause]:
    """Group failed months by cause, in order. Months that somebody stopped or canceled come last."""
    causes: dict[tuple[str, str], list[Failed]] = {}
    for one in failed:
        causes.setdefault((one.asset, _without_values(one)), []).append(one)
    return sorted(map(Cause, causes.values()), key=lambda cause: bool(_STOPPED.fullmatch(cause.first.error)))


_STOPPED = re.compile(r"The (command|run) was (stopped|canceled)\.")


def _without_values(failed: Failed) -> str:
    """Return the error without what differs between months of one cause: the color, and numbers such as the month.

    The slug at its end stays, so errors of two kinds are never the same cause.
    """
    return _NUMBER.sub("0", re.sub(rf"(?<![a-z]){failed.month.color}(?![a-z])", "COLOR", failed.error))


_NUMBER = re.compile(r"[0-9][0-9.,:-]*")
