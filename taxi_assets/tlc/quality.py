"""Quality rules for a published month, and the evaluation of a month's counts against them.

A rule does not reject rows, because they are the data that the TLC publishes. It limits the share of rows that may
break it, so that an unusual month is noticed. The limits come from real months. The comment at each limit states the
highest share found in:

- the mirror's CSVs: green 2020-03 to 2020-07 (whole), yellow 2019-02 to 2020-04 and 2021-01 (samples of 10,000 and
  22,793 rows), fhv 2018-12 and 2020-04 (samples of 4,018 and 1,000 rows),
- the TLC's Parquet: green 2020-04, 2023-02 and each January from 2021 to 2025 (whole), yellow 2025-02 (a sample of
  5,000 rows).

The fhv limits are based on few rows. Not here: counting the rows (`stores.profile`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from taxi_assets.tlc.schema import ZONES, Layout

Figures: TypeAlias = Mapping[str, int | float | str]
"""Named values to show with a result."""


@dataclass(frozen=True)
class Rule:
    """A rule that a limited share of a month's rows may break.

    `limit` is the highest allowed share, 0 to 1. `columns` returns the columns of a layout that the rule reads; the
    result is empty for a color that the rule does not apply to.
    """

    name: str
    description: str
    limit: float
    columns: Callable[[Layout], tuple[str, ...]]


@dataclass(frozen=True)
class QualityFinding:
    """The counts of one rule in one month: the rows that it read and the rows that break it.

    `details` are extra figures to show, such as the values that are not in the data dictionary.
    """

    rows: int
    offending: int
    details: Figures = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of rows that break the rule, 0 to 1; 0 in a month without rows."""
        return self.offending / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class QualityVerdict:
    """Whether a month passes a rule, with the figures that decided it."""

    passed: bool
    figures: Figures


ZONES_KNOWN = Rule(
    name="zones_known",
    description=f"Pickup and dropoff zones are {ZONES[0]} to {ZONES[-1]}, the IDs of the TLC's zone lookup, so that "
    "a join with it keeps every trip. A missing zone is allowed.",
    limit=0.001,  # measured: none
    columns=lambda layout: layout.zones,
)

CODES_IN_DICTIONARY = Rule(
    name="codes_in_dictionary",
    description="Coded columns, such as payment_type, have only values that the TLC's data dictionary defines. A "
    "missing value is allowed. VendorID 4, which appears in yellow months of 2019, is not defined.",
    # Measured: 0.0086, yellow 2019-02. All of these are VendorID 4, which appears in yellow months up to 2019-08 but in
    # no data dictionary: the limit allows for it. No other column or month has undefined values.
    limit=0.02,
    columns=lambda layout: tuple(column.name for column in layout.coded),
)

DROPOFF_NOT_BEFORE_PICKUP = Rule(
    name="dropoff_not_before_pickup",
    description="Trips do not end before they start. A few do in real months: wrong meter clocks, and the hour that "
    "repeats in November, when daylight saving time ends.",
    limit=0.005,  # measured: 0.00034, green 2020-04 (Parquet); 0.00005 in CSVs, green 2020-03
    columns=lambda layout: (layout.pickup, layout.dropoff),
)

NEGATIVE_MONEY = Rule(
    name="negative_money",
    description="Few trips have a negative total_amount, such as refunds and disputes. Sums of money include them.",
    limit=0.05,  # measured: 0.0184, yellow 2025-02; 0.0087 in CSVs, yellow 2021-01
    columns=lambda layout: (layout.total,) if layout.total else (),
)

PICKUPS_IN_MONTH = Rule(
    name="pickups_in_month",
    description="Pickups are in the file's month. A few are not in real months, because meter clocks are wrong or "
    "records arrive late.",
    limit=0.005,  # measured: 0.00089, green 2025-01; 0.00017 in CSVs, green 2020-04
    columns=lambda layout: (layout.pickup,),
)

DUPLICATES = Rule(
    name="duplicates",
    description="No row repeats another row of the month in every column. Duplicates inflate every count and sum.",
    # Measured: 0.00075, fhv 2018-12, where trips have few columns that can differ; none in whole green months. A
    # sample of a yellow month cannot show how often rows repeat in the whole month.
    limit=0.005,
    columns=lambda layout: layout.names,
)

RULES: tuple[Rule, ...] = (
    ZONES_KNOWN,
    CODES_IN_DICTIONARY,
    DROPOFF_NOT_BEFORE_PICKUP,
    NEGATIVE_MONEY,
    PICKUPS_IN_MONTH,
    DUPLICATES,
)
"""The rules that limit a share of rows. `ROWS_LIKE_NEIGHBORS` compares whole months."""


def rules_of(layout: Layout) -> tuple[Rule, ...]:
    """The rules that apply to a color, that is, whose columns its layout has."""
    return tuple(rule for rule in RULES if rule.columns(layout))


def judge(rule: Rule, finding: QualityFinding) -> QualityVerdict:
    """Evaluate a rule: it passes if the share of rows that break it is at most its limit.

    The figures are `rows`, `offending`, `share` and `limit` (both 0 to 1), then the finding's details.
    """
    figures = {"rows": finding.rows, "offending": finding.offending, "share": finding.share, "limit": rule.limit}
    return QualityVerdict(finding.share <= rule.limit, MappingProxyType({**figures, **finding.details}))


@dataclass(frozen=True)
class NeighborRule:
    """A rule that compares the row counts of two months: neither may exceed `factor` times the other."""

    name: str
    description: str
    factor: float


ROWS_LIKE_NEIGHBORS = NeighborRule(
    name="rows_like_neighbors",
    description="The month has at least half and at most twice the rows of the month before it, or of the month after "
    "it if the month before is not known. A month outside these limits may be incomplete or duplicated.",
    # Measured on the row counts of all 487 TLC Parquet files from 2009-01 to 2024-05, each compared with the month
    # before. Only these are outside the limits: 2020-04 in all four colors (ratios of 0.08 to 0.39) and yellow 2020-03
    # (0.48), because of the pandemic, and fhv 2019-02 (0.07), when high-volume trips moved to separate files. All
    # others are within 0.56 to 1.61. A comparison with the more similar neighbor would pass 2020-04, because 2020-05
    # has a similar row count.
    factor=2.0,
)


def compare_with_neighbors(rows: int, neighbors: Mapping[str, int]) -> QualityVerdict:
    """Evaluate `ROWS_LIKE_NEIGHBORS` for a month with `rows` rows.

    `neighbors` maps the month before and the month after (`YYYY-MM`), if known, to their row counts. The earlier one
    is used, because the month before shows the trend of a real month. Neighbors without rows are ignored. A month
    without known neighbors passes.

    The figures are `rows` and, if a neighbor is known, `compared_with` (its month), `compared_rows`, `ratio` (rows of
    this month divided by rows of the neighbor), `lowest_ratio` and `highest_ratio` (the limits).
    """
    known = {month: count for month, count in neighbors.items() if count > 0}
    if not known:
        return QualityVerdict(passed=True, figures=MappingProxyType({"rows": rows}))
    month = min(known)
    ratio, highest = rows / known[month], ROWS_LIKE_NEIGHBORS.factor
    figures: Figures = {
        "rows": rows,
        "compared_with": month,
        "compared_rows": known[month],
        "ratio": ratio,
        "lowest_ratio": 1 / highest,
        "highest_ratio": highest,
    }
    return QualityVerdict(1 / highest <= ratio <= highest, MappingProxyType(figures))
