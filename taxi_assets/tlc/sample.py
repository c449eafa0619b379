"""Made-up months that look like the TLC's CSVs of 2019 to 2021, of any size and without a network.

What differs between colors is the data in `_LOOKS`, taken from real months. The quirks of real months are here (missing
meter data, strays, refunds, absurd distances); rows that do not parse are not. Nor is where a month's file goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Numbers: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

# Rows that are drawn and written at a time, so that memory does not grow with the month.
_BLOCK = 50_000


def write_sample(month: TripMonth, rows: int, path: Path, seed: int = 0) -> None:
    """Write a made-up month of `rows` trips to `path`, a gzip CSV as the TLC's mirror has it.

    The same month, rows and seed give the same bytes, with the same releases of numpy and isal; another month or seed
    gives other trips. `rows` and `seed` are 0 or more.

    As in real months, rows go by the hour of their pickup, and those without meter data come last.
    """
    import numpy as np
    from isal import igzip_threaded

    look = _LOOKS[month.color]
    rng = np.random.default_rng([seed, *str(month).encode()])
    header = ",".join(f"{look.quote}{name}{look.quote}" for name in LAYOUTS[month.color].names)
    with igzip_threaded.open(path, "wb", threads=1) as file:  # type: ignore[no-untyped-call]
        file.write(f"{header}{look.line_end}".encode())
        for start in range(0, rows, _BLOCK):
            places = np.arange(start, min(start + _BLOCK, rows))
            file.write(_lines(month, places, rows, rng))
            file.write(look.line_end.encode())


_Choices: TypeAlias = Mapping[int, int] | Mapping[str, int]  # what to choose from, each with its weight


@dataclass(frozen=True)
class _Look:
    """How a color's file is written, and how its trips are spread."""

    quote: str  # around names and text
    line_end: str
    clock: str  # the finest unit that times are written with
    unmetered: float  # share of rows that lack what only a meter tells
    hours: tuple[int, ...]  # pickups by hour of the day, as weights
    choices: Mapping[str, _Choices]  # columns whose values depend on nothing else; amounts in cents
    missing: Mapping[str, float] = field(default_factory=dict)  # share of missing values by column


def _zones(*busy: int) -> dict[int, int]:
    """All zones, and those that are busy, the busiest first, the more often."""
    return dict.fromkeys(range(1, 266), 1) | {zone: 4 * rank for rank, zone in enumerate(reversed(busy), start=2)}


_UNMETERED_LACK = frozenset(
    {
        *("VendorID", "store_and_fwd_flag", "RatecodeID", "passenger_count"),
        *("payment_type", "trip_type", "congestion_surcharge"),
    }
)
_SURCHARGES = ("mta_tax", "tolls_amount", "improvement_surcharge", "congestion_surcharge")

_METER: Mapping[str, _Choices] = {
    "VendorID": {1: 33, 2: 67},
    "passenger_count": {0: 2, 1: 71, 2: 15, 3: 4, 4: 2, 5: 4, 6: 2},
    "RatecodeID": {1: 960, 2: 25, 3: 2, 4: 1, 5: 11, 99: 1},
    "store_and_fwd_flag": {"N": 99, "Y": 1},
    "payment_type": {1: 690, 2: 300, 3: 6, 4: 4},
    "mta_tax": {50: 99, 0: 1},
    "tolls_amount": {0: 940, 612: 50, 576: 4, 1224: 3, 280: 3},
    "improvement_surcharge": {30: 1},
}
_MANHATTAN = _zones(
    *(237, 161, 236, 162, 186, 230, 48, 132, 142, 170, 234, 239, 163, 79, 141, 138, 68, 107, 164, 238, 140, 100, 263),
    *(229, 249, 90, 246, 231, 43, 137, 113, 233, 262, 148, 143, 114, 75, 151, 158, 144),
)
_UPTOWN_AND_BOROUGHS = _zones(
    *(74, 75, 41, 42, 244, 166, 97, 82, 95, 65, 7, 116, 130, 129, 61, 25, 33, 43, 159, 181, 188, 260, 76, 152, 66, 17),
)
_BASES = {f"B{number:05d}": 3 for number in range(7, 3200, 11)} | {"B02517         ": 12}

_LOOKS: Mapping[str, _Look] = MappingProxyType(
    {
        "yellow": _Look(
            quote="",
            line_end="\r\n",
            clock="s",
            unmetered=0.07,
            hours=(40, 27, 19, 13, 10, 13, 31, 54, 65, 66, 67, 69, 76, 76, 82, 80, 76, 84, 92, 85, 78, 74, 68, 55),
            choices={
                **_METER,
                "PULocationID": _MANHATTAN,
                "DOLocationID": _MANHATTAN,
                "congestion_surcharge": {250: 91, 0: 9},
            },
        ),
        "green": _Look(
            quote="",
            line_end="\r\n",
            clock="s",
            unmetered=0.35,
            hours=(8, 6, 4, 5, 6, 6, 11, 19, 26, 28, 28, 27, 28, 27, 28, 30, 31, 29, 27, 23, 18, 14, 12, 12),
            choices={
                **_METER,
                "PULocationID": _UPTOWN_AND_BOROUGHS,
                "DOLocationID": _UPTOWN_AND_BOROUGHS,
                "congestion_surcharge": {0: 83, 275: 17},
                "trip_type": {1: 97, 2: 3},
                "ehail_fee": {0: 1},
            },
            missing={"ehail_fee": 1.0},
        ),
        "fhv": _Look(
            quote='"',
            line_end="\n",
            clock="us",
            unmetered=0.0,
            hours=(18, 12, 9, 10, 19, 30, 51, 61, 90, 75, 66, 65, 60, 60, 52, 50, 45, 44, 35, 34, 33, 30, 28, 24),
            choices={
                "dispatching_base_num": _BASES,
                "PUlocationID": _zones(264),
                "DOlocationID": _zones(265),
                "SR_Flag": {1: 1},
                "Affiliated_base_number": _BASES,
            },
            missing={"PUlocationID": 0.8, "DOlocationID": 0.6, "SR_Flag": 0.95, "Affiliated_base_number": 0.006},
        ),
    }
)

_WEEKDAYS = (19, 20, 21, 22, 22, 19, 17)  # trips from Monday to Sunday, as weights

# Every shift leaves the month, whatever its day and length.
_STRAY_DAYS = {-31: 1, 31: 1, -4400: 1, 7500: 1}
_STRAYS = 0.0005

# The distance, in hundredths of a mile, that this share of trips stays within.
_SHARES = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
_MILES = (0, 0, 46, 60, 98, 164, 309, 696, 1113, 1912, 2760, 8390)
_ABSURD_MILES = 0.0003

_CARD, _NO_CHARGE = 1, 3  # payment types; those after "no charge" are disputes and the like
_REFUNDS = 0.4  # share of what was not charged or disputed
_EXTRA_BY_HOUR = (*[50] * 6, *[0] * 10, *[100] * 4, *[50] * 4)  # cents: overnight, by day, rush hour, overnight


def _lines(month: TripMonth, places: "Numbers", rows: int, rng: "np.random.Generator") -> "pa.Buffer":
    """The lines at these places of a file of so many rows, without the last line's end."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    look, layout = _LOOKS[month.color], LAYOUTS[month.color]
    metered = rows - round(rows * look.unmetered)
    unmetered = places >= metered
    # How far into the month a row is: both the metered and the unmetered run through it.
    progress = np.where(unmetered, (places - metered) / max(rows - metered, 1), places / metered)
    values = _values(month, progress, unmetered, rng)
    texts = [
        _texts(column, values[column.name], _missing(column.name, unmetered, look, rng), look)
        for column in layout.columns
    ]
    lines = pc.binary_join_element_wise(*texts, ",", null_handling="replace")
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return pc.binary_join(whole, look.line_end)[0].as_buffer()


def _values(
    month: TripMonth, progress: "npt.NDArray[np.float64]", unmetered: "Flags", rng: "np.random.Generator"
) -> dict[str, Any]:
    """Trips, column by column: times in seconds since 1970, distances and amounts in hundredths."""
    import numpy as np

    look, layout = _LOOKS[month.color], LAYOUTS[month.color]
    values = {name: _draw(choices, len(progress), rng) for name, choices in look.choices.items()}
    pickup = _pickups(month, progress, rng)
    miles = np.interp(rng.random(len(progress)), _SHARES, _MILES).astype(np.int64)
    seconds = rng.integers(30, 150, len(miles)) + miles * rng.integers(200, 600, len(miles)) // 100
    values |= zip((c.name for c in layout.columns if c.kind is Kind.timestamp), (pickup, pickup + seconds), strict=True)
    if "trip_distance" in layout.names:
        slipped = rng.random(len(miles)) < _ABSURD_MILES
        values["trip_distance"] = np.where(slipped, miles * 9_973, miles)
        fare = 250 + 50 * (miles // 20 + seconds // 112)
        # Agreed on beforehand, not counted by a meter in steps of 50 cents.
        fare += unmetered * rng.integers(0, 1000, len(fare))
        values |= _charges(fare, pickup, values, rng)
    return values


def _pickups(month: TripMonth, progress: "npt.NDArray[np.float64]", rng: "np.random.Generator") -> "Numbers":
    """When trips start: in the order of the hours, at random within an hour, and a few outside the month."""
    import numpy as np

    days = (month.end - month.first_day).days
    by_day = [_WEEKDAYS[(month.first_day.weekday() + day) % 7] for day in range(days)]
    by_hour = np.cumsum(np.outer(by_day, _LOOKS[month.color].hours))
    hours = np.searchsorted(by_hour, progress * by_hour[-1])
    start = np.datetime64(month.first_day, "s").astype(np.int64)
    strays = rng.random(len(hours)) < _STRAYS
    days_off = strays * _draw(_STRAY_DAYS, len(hours), rng)
    pickups: Numbers = start + 86_400 * days_off + 3_600 * hours + rng.integers(0, 3_600, len(hours))
    return pickups


def _charges(
    fare: "Numbers", pickup: "Numbers", values: Mapping[str, Any], rng: "np.random.Generator"
) -> dict[str, "Numbers"]:
    """The charges of metered trips in cents, and their sum; all negative where a charge was taken back."""
    import numpy as np

    charges = {
        "fare_amount": fare,
        "extra": np.take(_EXTRA_BY_HOUR, pickup // 3_600 % 24),
        "tip_amount": (values["payment_type"] == _CARD) * (fare * rng.integers(0, 36, len(fare)) // 100),
        **{name: values[name] for name in _SURCHARGES},
    }
    charges["total_amount"] = np.sum(list(charges.values()), axis=0)
    refunded = (values["payment_type"] >= _NO_CHARGE) & (rng.random(len(fare)) < _REFUNDS)
    return {name: np.where(refunded, -cents, cents) for name, cents in charges.items()}


def _draw(choices: _Choices, rows: int, rng: "np.random.Generator") -> "npt.NDArray[Any]":
    import numpy as np

    wheel = np.repeat(list(choices), list(choices.values()))
    return wheel[rng.integers(0, len(wheel), rows)]


def _missing(name: str, unmetered: "Flags", look: _Look, rng: "np.random.Generator") -> "Flags | None":
    if name in _UNMETERED_LACK:
        return unmetered
    if name in look.missing:
        return rng.random(len(unmetered)) < look.missing[name]
    return None


def _texts(column: Column, values: "npt.NDArray[Any]", missing: "Flags | None", look: _Look) -> "pa.Array":
    """The values as the color's file spells them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind is Kind.timestamp:
        return pa.array(values.astype("datetime64[s]")).cast(pa.timestamp(look.clock)).cast(pa.string())
    found = pa.array(values, mask=missing)
    if column.kind is Kind.decimal:
        spell = _spell_miles if column.name == "trip_distance" else _spell_dollars
        found = found.dictionary_encode()
        return pa.array(map(spell, found.dictionary.to_pylist()), pa.string()).take(found.indices)
    if column.kind is Kind.text:
        return pc.binary_join_element_wise(look.quote, found, look.quote, "")
    return found.cast(pa.string())


def _spell_miles(hundredths: int) -> str:
    """Two decimals, and no zero before the point: 58 is .58, 340 is 3.40."""
    return f"{hundredths / 100:.2f}".removeprefix("0")


def _spell_dollars(cents: int) -> str:
    """As few decimals as will do: 50 is 0.5, 800 is 8."""
    return str(cents / 100).removesuffix(".0")
