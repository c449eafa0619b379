"""The marts: the tables of figures that are computed from the trips of a month, and the zones that name them.

Here are their names, their columns, and the rules for implausible values. Every color has the same columns; those that
a color does not report are missing. Not here: the SQL that computes them (`stores.mart_sql`), and the zones (`zones`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_assets.tlc.schema import DOLLARS, FILE_MONTH, MILES, PASSENGERS, Column, Kind, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Mart:
    """A table of figures for each color, in which a month is replaced as a whole.

    `rows` says in full sentences what a row is. `columns` ends with `file_month`. Increase `code_version` when the same
    trips produce different rows.
    """

    name: str
    rows: str
    columns: tuple[Column, ...]
    code_version: str = "1"

    def meaning(self, color: str) -> str:
        """Return what the table of a color contains, which databases show as a comment on it."""
        return f"{self.rows} Computed from the {color} trips."

    def table(self, color: str) -> str:
        """Return the name of a color's table, such as `green_daily_trips`."""
        return f"{color}_{self.name}"

    def arrow_schema(self) -> "pa.Schema":
        """Return the Arrow schema of the columns."""
        return arrow_schema(self.columns)

    def arrange(self, table: "pa.Table") -> "pa.Table":
        """Return the rows of a table in the order of the first column, missing values last, with the declared types."""
        ordered = table.sort_by([(FILE_MONTH.name, "ascending"), (self.columns[0].name, "ascending")])
        return ordered.select([column.name for column in self.columns]).cast(self.arrow_schema())


@dataclass(frozen=True)
class Rule:
    """A rule for trips with an implausible value: the name of the column that counts them, and its meaning.

    No rule removes a trip from a sum. `left_out_of` is the figure, `minutes` or `miles`, whose percentiles leave these
    trips out; empty if the trips are only counted.
    """

    name: str
    meaning: str
    left_out_of: str = ""


RULES = (
    Rule("negative_total", "Trips with a total charge below 0 US dollars, such as refunds. They are part of all sums."),
    Rule(
        "ended_before_start",
        "Trips that end before they start. The percentiles of the duration leave them out.",
        left_out_of="minutes",
    ),
    Rule(
        "over_24_hours",
        "Trips that last longer than 24 hours. The percentiles of the duration leave them out.",
        left_out_of="minutes",
    ),
    Rule(
        "zero_miles_with_fare",
        "Trips of 0 miles or less with a fare above 0 US dollars. The percentiles of the distance leave them out.",
        left_out_of="miles",
    ),
)
"""The rules, in the order of their columns."""

CARD, NO_METER_DATA = 1, 0
"""The payment types of a card, and of trips without data of the meter. In CSVs, the latter have no payment type."""

PERCENTILES = (("median", 50), ("p95", 95))
"""The percentiles of durations and distances: the prefix of the column, and the percentage."""


MINUTES, TRIPS, SHARE = "minutes", "trips", "share from 0 to 1"

_TRIPS = Column("trips", Kind.integer, "Number of trips.", unit=TRIPS)
_PASSENGERS = Column(
    "passengers",
    Kind.integer,
    "Sum of the passengers that the trips report. Missing for fhv and fhvhv trips.",
    unit=PASSENGERS,
)
_MILES = Column("miles", Kind.decimal, "Sum of the trip distances, in miles. Missing for fhv trips.", unit=MILES)
_FARE = Column(
    "fare",
    Kind.decimal,
    "Sum of the fares, in US dollars: for time and distance, or the base fare of fhvhv trips. Missing for fhv trips.",
    unit=DOLLARS,
)
_TIPS = Column(
    "tips",
    Kind.decimal,
    "Sum of the tips, in US dollars. Cash tips of taxi trips are not reported. Missing for fhv trips.",
    unit=DOLLARS,
)
_TOTAL = Column(
    "total",
    Kind.decimal,
    "Sum of what the passengers paid, in US dollars, including negative amounts. For fhvhv trips, it is the sum of the "
    "fare, tolls, taxes, fees and tips. Missing for fhv trips.",
    unit=DOLLARS,
)

DAILY_TRIPS = Mart(
    "daily_trips",
    "One row for each day of the month of the file. If trips start outside the month (stray pickups), they have one "
    "more row, without a day.",
    (
        Column("pickup_date", Kind.date, "Day of the pickup in New York. Missing in the row of stray pickups."),
        *(_TRIPS, _PASSENGERS, _MILES, _FARE, _TIPS, _TOTAL),
        Column("median_minutes", Kind.decimal, "Median duration of plausible trips, in minutes.", unit=MINUTES),
        Column(
            "p95_minutes",
            Kind.decimal,
            "95th percentile of the duration of plausible trips, in minutes.",
            unit=MINUTES,
        ),
        Column(
            "median_miles",
            Kind.decimal,
            "Median distance of plausible trips, in miles. Missing for fhv trips.",
            unit=MILES,
        ),
        Column(
            "p95_miles",
            Kind.decimal,
            "95th percentile of the distance of plausible trips, in miles. Missing for fhv trips.",
            unit=MILES,
        ),
        Column(
            "card_trips",
            Kind.integer,
            "Number of trips paid by card. Missing for fhv and fhvhv trips.",
            unit=TRIPS,
        ),
        Column(
            "card_share",
            Kind.decimal,
            "Share of trips paid by card, from 0 to 1, among the trips with a payment type other than Flex Fare. "
            "Missing if there are no such trips, and for fhv and fhvhv trips.",
            unit=SHARE,
        ),
        *(Column(rule.name, Kind.integer, rule.meaning, unit=TRIPS) for rule in RULES),
        FILE_MONTH,
    ),
)

MONTHLY_ZONE_REVENUE = Mart(
    "monthly_zone_revenue",
    "One row for each taxi zone in which trips of the file start, and one row without a zone for trips whose pickup "
    "zone is missing.",
    (
        Column("zone_id", Kind.integer, "Taxi zone of the pickup. Missing in the row of trips without one."),
        *(_TRIPS, _PASSENGERS, _MILES, _FARE, _TIPS),
        Column("tolls", Kind.decimal, "Sum of the tolls, in US dollars. Missing for fhv trips.", unit=DOLLARS),
        Column(
            "other_charges",
            Kind.decimal,
            "Sum of the taxes, fees and surcharges, in US dollars: the total without fares, tips and tolls. "
            "Missing for fhv trips.",
            unit=DOLLARS,
        ),
        _TOTAL,
        Column(
            "driver_pay",
            Kind.decimal,
            "Sum of the pay of the drivers without tolls and tips, in US dollars. Only for fhvhv trips.",
            unit=DOLLARS,
        ),
        Column(
            "average_miles",
            Kind.decimal,
            "Average distance of a trip, in miles. Missing for fhv trips.",
            unit=MILES,
        ),
        Column(
            "average_fare",
            Kind.decimal,
            "Average fare of a trip, in US dollars. Missing for fhv trips.",
            unit=DOLLARS,
        ),
        Column(
            "average_total",
            Kind.decimal,
            "Average total charge of a trip, in US dollars. Missing for fhv trips.",
            unit=DOLLARS,
        ),
        FILE_MONTH,
    ),
)

MARTS = (DAILY_TRIPS, MONTHLY_ZONE_REVENUE)

ZONES_TABLE = "taxi_zones"
"""The name of the asset and table of taxi zones, which has no months and no color."""

ZONES_MEANING = "The taxi zones of the TLC. A row is a zone."
"""What the table of taxi zones contains, which databases show as a comment on it."""

ZONE_COLUMNS = (
    Column("LocationID", Kind.integer, "ID of the taxi zone, from 1 to 265."),
    Column("Borough", Kind.text, "Borough of the zone, or EWR, Unknown or N/A for zones outside the boroughs."),
    Column("Zone", Kind.text, "Name of the zone. Some zones share a name."),
    Column(
        "service_zone",
        Kind.text,
        "Which taxis serve the zone: Yellow Zone, Boro Zone, Airports, EWR or N/A.",
    ),
)
"""The columns of the table of taxi zones, named as in the TLC's file."""
