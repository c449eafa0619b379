"""The figures of the marts, computed with pandas from the trips of a month, without the code of the project."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


@dataclass(frozen=True)
class Names:
    """The columns of a color's files. Those that the color does not report are empty."""

    pickup: str
    dropoff: str
    zone: str
    passengers: str = ""
    miles: str = ""
    fare: str = ""
    tips: str = ""
    tolls: str = ""
    payment: str = ""
    driver_pay: str = ""
    total: tuple[str, ...] = ()


_TAXI: dict[str, Any] = {
    "passengers": "passenger_count",
    "miles": "trip_distance",
    "fare": "fare_amount",
    "tips": "tip_amount",
    "tolls": "tolls_amount",
    "payment": "payment_type",
    "total": ("total_amount",),
}

NAMES = {
    "yellow": Names("tpep_pickup_datetime", "tpep_dropoff_datetime", "PULocationID", **_TAXI),
    "green": Names("lpep_pickup_datetime", "lpep_dropoff_datetime", "PULocationID", **_TAXI),
    "fhv": Names("pickup_datetime", "dropOff_datetime", "PUlocationID"),
    "fhvhv": Names(
        "pickup_datetime",
        "dropoff_datetime",
        "PULocationID",
        miles="trip_miles",
        fare="base_passenger_fare",
        tips="tips",
        tolls="tolls",
        driver_pay="driver_pay",
        total=(
            *("base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee", "tips"),
            "cbd_congestion_fee",
        ),
    ),
}


def _percentile(values: "pd.Series[float]", share: float) -> float | None:
    import numpy as np

    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else None


def _common(trips: "pd.DataFrame", color: str, month: str) -> "pd.DataFrame":
    """Return the trips under common names, with their duration in minutes and the day of a pickup in the month."""
    import pandas as pd

    names = NAMES[color]
    of = {name: trips[column] for name, column in vars(names).items() if isinstance(column, str) and column}
    of["pickup"], of["dropoff"] = pd.to_datetime(of["pickup"]), pd.to_datetime(of["dropoff"])
    common = pd.DataFrame(of)
    if names.total:
        common["total"] = trips[[column for column in names.total if column in trips]].fillna(0).sum(axis=1)
    common["minutes"] = (common["dropoff"] - common["pickup"]).dt.total_seconds() / 60
    common["day"] = common["pickup"].dt.date.where(common["pickup"].dt.strftime("%Y-%m") == month)
    return common


def daily_trips(trips: "pd.DataFrame", color: str, month: str) -> list[Row]:
    """Return the rows of `daily_trips`, with None where a value is missing, the stray pickups first."""
    import pandas as pd

    common = _common(trips, color, month)
    days = [day.date() for day in pd.date_range(f"{month}-01", periods=pd.Period(month).days_in_month)]
    strays = common[common["day"].isna()]
    each = [*([(None, strays)] if len(strays) else []), *((day, common[common["day"] == day]) for day in days)]
    return [{"pickup_date": day, **_figures(these)} for day, these in each]


def _figures(trips: "pd.DataFrame") -> Row:
    early, late = trips["minutes"] < 0, trips["minutes"] > 24 * 60
    plausible = trips["minutes"][~early & ~late].dropna()
    row: Row = {"trips": len(trips), "ended_before_start": early.sum(), "over_24_hours": late.sum()}
    row |= {"median_minutes": _percentile(plausible, 0.5), "p95_minutes": _percentile(plausible, 0.95)}
    for name in ("passengers", "miles", "fare", "tips", "total"):
        row[name] = trips[name].sum() if name in trips else None
    row["negative_total"] = (trips["total"] < 0).sum() if "total" in trips else None
    names = ("zero_miles_with_fare", "median_miles", "p95_miles", "card_trips", "card_share")
    row |= dict.fromkeys(names)
    if "miles" in trips:
        still = (trips["miles"] <= 0) & (trips["fare"] > 0)
        miles = trips["miles"][~still].dropna()
        row["zero_miles_with_fare"] = still.sum()
        row |= {"median_miles": _percentile(miles, 0.5), "p95_miles": _percentile(miles, 0.95)}
    if "payment" in trips:
        card, known = (trips["payment"] == 1).sum(), (trips["payment"].notna() & (trips["payment"] != 0)).sum()
        row |= {"card_trips": card, "card_share": card / known if known else None}
    return row


def monthly_zone_revenue(trips: "pd.DataFrame", color: str, month: str) -> list[Row]:
    """Return the rows of `monthly_zone_revenue`, with None where a value is missing, in the order of the zones.

    The row of trips without a zone is first.
    """
    import pandas as pd

    rows = []
    for zone, these in _common(trips, color, month).groupby("zone", dropna=False):
        row: Row = {"zone_id": None if pd.isna(zone) else int(str(zone).partition(".")[0]), "trips": len(these)}
        for name in ("passengers", "miles", "fare", "tips", "tolls", "total", "driver_pay"):
            row[name] = these[name].sum() if name in these else None
        for name in ("miles", "fare", "total"):
            row[f"average_{name}"] = these[name].mean() if name in these else None
        row["other_charges"] = (
            row["total"] - row["fare"] - row["tips"] - row["tolls"] if row["total"] is not None else None
        )
        rows.append(row)
    return sorted(rows, key=lambda row: row["zone_id"] or 0)


def differences(found: list[Row], expected: list[Row], tolerance: float = 0.0051) -> list[str]:
    """Return the values that differ by more than half a cent, as text. Both lists have the same order."""
    if len(found) != len(expected):
        return [f"{len(found)} rows, expected {len(expected)}"]
    return [
        f"{name} in row {number}: {one[name]}, expected {value}"
        for number, (one, other) in enumerate(zip(found, expected, strict=True))
        for name, value in other.items()
        if not _equal(one[name], value, tolerance)
    ]


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if one is None or other is None or not isinstance(other, float):
        return bool(one == other)
    return bool(abs(one - other) <= tolerance)
