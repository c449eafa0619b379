"""Generate sample months of any size, without network access, that look like TLC files.

CSVs are in the format of the mirror of the TLC's files, and Parquet files in the TLC's current columns and types.

`_STYLES` contains the differences between colors, taken from real months. Samples include the quirks of real months:
missing meter data, pickups outside the month, refunds and implausible distances. All sample rows parse.
Not here: where a sample file is stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from taxi_assets.tlc.eras import CSV_ERAS, Era, parquet_era
from taxi_assets.tlc.published import SUFFIX as PARQUET
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Numbers: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

# Rows to generate and write at a time, so that memory use does not depend on the size of the month.
_BLOCK = 50_000


def write_sample(month: TripMonth, rows: int, path: Path, seed: int = 0) -> None:
    """Write a sample month with `rows` trips to `path`: as Parquet if that is its suffix, otherwise as a gzip CSV.

    The same month, rows and seed produce the same bytes with the same versions of NumPy, isal and pyarrow. A different
    month or seed produces different trips. `rows` and `seed` must be 0 or greater.

    As in real months, rows are sorted by the hour of the pickup, and rows without meter data come last.
    """
    if PARQUET in path.suffixes:
        _write_parquet(month, rows, path, seed)
    else:
        _write_csv(month, rows, path, seed)


def _write_csv(month: TripMonth, rows: int, path: Path, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from isal import igzip_threaded

    style, era = _STYLES[month.color], CSV_ERAS[month.color]
    header = ",".join(f"{style.quote}{name}{style.quote}" for name in era.names)
    with igzip_threaded.open(path, "wb", threads=1) as file:  # type: ignore[no-untyped-call]
        file.write(f"{header}{style.line_end}".encode())
        for block in _blocks(month, rows, seed, era):
            texts = [_texts(column, values, missing, style) for column, (values, missing) in block.items()]
            lines = pc.binary_join_element_wise(*texts, ",", null_handling="replace")
            whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
            file.write(pc.binary_join(whole, style.line_end)[0].as_buffer())
            file.write(style.line_end.encode())


def _write_parquet(month: TripMonth, rows: int, path: Path, seed: int) -> None:
    """Write one row group for each block: more than the TLC, but with the same memory for any number of rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    era = parquet_era(month.color, month.month)
    columns = {column.name: column for column in LAYOUTS[month.color].columns}
    schema = pa.schema([(name, _parquet_type(columns[name])) for name in era.names])
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for block in _blocks(month, rows, seed, era):
            arrays = [
                _array(column, values, missing, schema.field(column.name).type)
                for column, (values, missing) in block.items()
            ]
            writer.write_table(pa.table(arrays, schema))


def _parquet_type(column: Column) -> "pa.DataType":
    """Return the type that a column has in the TLC's files since 2023-02."""
    import pyarrow as pa

    if column.name in _INT32:
        return pa.int32()
    types = {
        Kind.integer: pa.int64(),
        Kind.decimal: pa.float64(),
        Kind.timestamp: pa.timestamp("us"),
        Kind.text: pa.large_string(),
    }
    return types[column.kind]


def _array(column: Column, values: "npt.NDArray[Any]", missing: "Flags | None", type_: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    if column.kind is Kind.timestamp:
        values = values.astype("datetime64[s]").astype("datetime64[us]")
    elif column.kind is Kind.decimal:
        values = values / 100
    return pa.array(values, mask=missing).cast(type_)


_INT32 = frozenset({"VendorID", "PULocationID", "DOLocationID"})


_Choices: TypeAlias = Mapping[int, int] | Mapping[str, int]  # values and their weights


@dataclass(frozen=True)
class _Style:
    """The file format of a color and the distribution of its trips."""

    quote: str  # around column names and text values
    line_end: str
    clock: str  # resolution of timestamps
    unmetered: float  # share of rows without meter data
    hours: tuple[int, ...]  # pickups by hour of the day, as weights
    choices: Mapping[str, _Choices]  # independent columns; amounts in cents
    missing: Mapping[str, float] = field(default_factory=dict)  # share of missing values, by column


def _zones(*busy: int) -> dict[int, int]:
    """Weights of all zones. The `busy` zones, listed busiest first, have higher weights."""
    return dict.fromkeys(range(1, 266), 1) | {zone: 4 * rank for rank, zone in enumerate(reversed(busy), start=2)}


_METER_COLUMNS = frozenset(
    {
        *("VendorID", "store_and_fwd_flag", "RatecodeID", "passenger_count"),
        *("payment_type", "trip_type", "congestion_surcharge"),
    }
)
_SURCHARGES = (
    *("mta_tax", "tolls_amount", "improvement_surcharge", "congestion_surcharge"),
    *("Airport_fee", "cbd_congestion_fee"),
)

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

_STYLES: Mapping[str, _Style] = MappingProxyType(
    {
        "yellow": _Style(
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
                "Airport_fee": {0: 92, 175: 8},
                "cbd_congestion_fee": {75: 72, 0: 28},
            },
        ),
        "green": _Style(
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
                "cbd_congestion_fee": {0: 90, 75: 10},
            },
            missing={"ehail_fee": 1.0},
        ),
        "fhv": _Style(
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
        "fhvhv": _Style(
            quote='"',
            line_end="\n",
            clock="us",
            unmetered=0.0,
            hours=(40, 28, 20, 15, 15, 18, 29, 43, 54, 50, 47, 48, 50, 52, 57, 59, 61, 67, 72, 71, 68, 66, 63, 54),
            choices={
                "hvfhs_license_num": {"HV0003": 73, "HV0005": 27},
                "dispatching_base_num": {"B03404": 73, "B03406": 27},
                "originating_base_num": {"B03404": 1},
                "PULocationID": _zones(132, 138, 61, 79, 37, 76, 42, 161, 231, 244),
                "DOLocationID": _zones(265, 132, 138, 61, 76, 37, 42, 79, 89, 231),
                "tolls": {0: 930, 694: 50, 1388: 20},
                "congestion_surcharge": {0: 62, 275: 38},
                "airport_fee": {0: 92, 250: 8},
                "shared_request_flag": {"N": 97, "Y": 3},
                "shared_match_flag": {"N": 99, "Y": 1},
                "access_a_ride_flag": {"N": 73, " ": 27},
                "wav_request_flag": {"N": 1},
                "wav_match_flag": {"N": 94, "Y": 6},
                "cbd_congestion_fee": {0: 62, 150: 38},
            },
            missing={"originating_base_num": 0.27, "on_scene_datetime": 0.27},
        ),
    }
)

_WEEKDAYS = (19, 20, 21, 22, 22, 19, 17)  # trips from Monday to Sunday, as weights

# Shifts in days with weights. Each moves any pickup out of its month.
_STRAY_DAYS = {-31: 1, 31: 1, -4400: 1, 7500: 1}
_STRAYS = 0.0005

# The distribution of distances: shares of trips, and the distance in hundredths of a mile at each share.
_SHARES = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
_MILES = (0, 0, 46, 60, 98, 164, 309, 696, 1113, 1912, 2760, 8390)
_IMPLAUSIBLE_MILES = 0.0003

_CARD, _NO_CHARGE = 1, 3  # payment types; the ones after "no charge" are disputes and similar
_REFUNDS = 0.4  # share of the trips with no charge or a dispute
_EXTRA_BY_HOUR = (*[50] * 6, *[0] * 10, *[100] * 4, *[50] * 4)  # cents: overnight, by day, rush hour, overnight


_Block: TypeAlias = "dict[Column, tuple[npt.NDArray[Any], Flags | None]]"
"""Values and missing values by column, in the order of a file."""


def _blocks(month: TripMonth, rows: int, seed: int, era: Era) -> "Iterator[_Block]":
    """Generate the trips of a month with the columns of an era, a block at a time."""
    import numpy as np

    style, rng = _STYLES[month.color], np.random.default_rng([seed, *str(month).encode()])
    columns = {column.name: column for column in LAYOUTS[month.color].columns}
    metered = rows - round(rows * style.unmetered)
    for start in range(0, rows, _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, rows))
        unmetered = positions >= metered
        # The position of a row in the month, 0 to 1. Metered and unmetered rows each cover the whole month.
        progress = np.where(unmetered, (positions - metered) / max(rows - metered, 1), positions / metered)
        values = _values(month, progress, unmetered, rng, era)
        yield {columns[name]: (values[name], _missing(name, unmetered, style, rng)) for name in era.names}


def _values(
    month: TripMonth,
    progress: "npt.NDArray[np.float64]",
    unmetered: "Flags",
    rng: "np.random.Generator",
    era: Era,
) -> dict[str, Any]:
    """Generate trips as columns: times in seconds since 1970, distances and amounts in hundredths."""
    import numpy as np

    style, layout = _STYLES[month.color], LAYOUTS[month.color]
    values = {name: _draw(choices, len(progress), rng) for name, choices in style.choices.items() if name in era.names}
    pickup = _pickups(month, progress, rng)
    miles = np.interp(rng.random(len(progress)), _SHARES, _MILES).astype(np.int64)
    seconds = rng.integers(30, 150, len(miles)) + miles * rng.integers(200, 600, len(miles)) // 100
    values |= {layout.pickup: pickup, layout.dropoff: pickup + seconds}
    # Unmetered fares are agreed in advance, so they are not multiples of 50 cents.
    fare = 250 + 50 * (miles // 20 + seconds // 112)
    if "trip_distance" in era.names:
        implausible = rng.random(len(miles)) < _IMPLAUSIBLE_MILES
        values["trip_distance"] = np.where(implausible, miles * 9_973, miles)
        values |= _charges(fare + unmetered * rng.integers(0, 1000, len(fare)), pickup, values, rng)
    elif "trip_miles" in era.names:
        values |= {"trip_miles": miles, "trip_time": seconds}
        values |= _requested(pickup, fare + rng.integers(0, 300, len(fare)), rng)
    return values


def _pickups(month: TripMonth, progress: "npt.NDArray[np.float64]", rng: "np.random.Generator") -> "Numbers":
    """Generate pickup times: sorted by hour, random within the hour, and a few outside the month."""
    import numpy as np

    days = (month.end - month.first_day).days
    by_day = [_WEEKDAYS[(month.first_day.weekday() + day) % 7] for day in range(days)]
    by_hour = np.cumsum(np.outer(by_day, _STYLES[month.color].hours))
    hours = np.searchsorted(by_hour, progress * by_hour[-1])
    start = np.datetime64(month.first_day, "s").astype(np.int64)
    strays = rng.random(len(hours)) < _STRAYS
    days_off = strays * _draw(_STRAY_DAYS, len(hours), rng)
    pickups: Numbers = start + 86_400 * days_off + 3_600 * hours + rng.integers(0, 3_600, len(hours))
    return pickups


def _charges(
    fare: "Numbers", pickup: "Numbers", values: Mapping[str, Any], rng: "np.random.Generator"
) -> dict[str, "Numbers"]:
    """Calculate the charges and the total of trips in cents. All are negative for a refund."""
    import numpy as np

    charges = {
        "fare_amount": fare,
        "extra": np.take(_EXTRA_BY_HOUR, pickup // 3_600 % 24),
        "tip_amount": (values["payment_type"] == _CARD) * (fare * rng.integers(0, 36, len(fare)) // 100),
        **{name: values[name] for name in _SURCHARGES if name in values},
    }
    charges["total_amount"] = np.sum(list(charges.values()), axis=0)
    refunded = (values["payment_type"] >= _NO_CHARGE) & (rng.random(len(fare)) < _REFUNDS)
    return {name: np.where(refunded, -cents, cents) for name, cents in charges.items()}


def _requested(pickup: "Numbers", fare: "Numbers", rng: "np.random.Generator") -> dict[str, "Numbers"]:
    """Calculate the times before the pickup and the amounts of trips that were requested with an app."""
    request = pickup - rng.integers(90, 900, len(pickup))
    return {
        "request_datetime": request,
        "on_scene_datetime": (request + pickup) // 2,
        "base_passenger_fare": fare,
        "bcf": fare * 3 // 100,
        "sales_tax": fare * 8875 // 100_000,
        "tips": (rng.random(len(fare)) < _TIPPED) * (fare * rng.integers(5, 31, len(fare)) // 100),
        "driver_pay": fare * rng.integers(65, 90, len(fare)) // 100,
    }


_TIPPED = 0.18


def _draw(choices: _Choices, rows: int, rng: "np.random.Generator") -> "npt.NDArray[Any]":
    import numpy as np

    pool = np.repeat(list(choices), list(choices.values()))
    return pool[rng.integers(0, len(pool), rows)]


def _missing(name: str, unmetered: "Flags", style: _Style, rng: "np.random.Generator") -> "Flags | None":
    if name in _METER_COLUMNS:
        return unmetered
    if name in style.missing:
        return rng.random(len(unmetered)) < style.missing[name]
    return None


def _texts(column: Column, values: "npt.NDArray[Any]", missing: "Flags | None", style: _Style) -> "pa.Array":
    """Format values as in the files of the color."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind is Kind.timestamp:
        return pa.array(values.astype("datetime64[s]"), mask=missing).cast(pa.timestamp(style.clock)).cast(pa.string())
    array = pa.array(values, mask=missing)
    if column.kind is Kind.decimal:
        formatter = _format_miles if column.name == "trip_distance" else _format_dollars
        array = array.dictionary_encode()
        return pa.array(map(formatter, array.dictionary.to_pylist()), pa.string()).take(array.indices)
    if column.kind is Kind.text:
        return pc.binary_join_element_wise(style.quote, array, style.quote, "")
    return array.cast(pa.string())


def _format_miles(hundredths: int) -> str:
    """Format with two decimals and no leading zero: 58 becomes .58, and 340 becomes 3.40."""
    return f"{hundredths / 100:.2f}".removeprefix("0")


def _format_dollars(cents: int) -> str:
    """Format with as few decimals as possible: 50 becomes 0.5, and 800 becomes 8."""
    return str(cents / 100).removesuffix(".0")
