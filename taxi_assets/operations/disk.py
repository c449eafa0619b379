"""Estimate the disk that months need at each store, from the sizes of their files at the source.

Not here: what is stored already, and how much disk is free.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from taxi_assets.tlc.trips import TripMonth

# Measured by loading real months of green into an empty TAXI_HOME, and adding up the files of raw, clean, lake and
# DuckDB, and the sizes of the Postgres tables with their indexes:
# - .csv.gz: five months of 2020 (8.1 MB, 451,744 rows)
# - .csv: two of them, decompressed (10.8 MB, 120,469 rows)
# - .parquet: seven months of 2020 to 2025 (8.8 MB)
# Small months have a larger share of DuckDB than large ones, because its file grows in blocks.
_RATIOS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        ".csv.gz": {
            "raw_trips": 1.0,
            "clean_trips": 0.88,
            "lake_trips": 0.88,
            "warehouse_trips": 1.52,
            "postgres_trips": 10.3,
        },
        ".csv": {
            "raw_trips": 1.0,
            "clean_trips": 0.18,
            "lake_trips": 0.18,
            "warehouse_trips": 0.46,
            "postgres_trips": 2.0,
        },
        ".parquet": {
            "raw_trips": 1.0,
            "clean_trips": 0.77,
            "lake_trips": 0.77,
            "warehouse_trips": 2.35,
            "postgres_trips": 9.0,
        },
    }
)
"""Bytes at each store for each byte of a file at the source, by the suffix of the file."""


def estimate_disk(sizes: Mapping[TripMonth, int | None], suffix: str, assets: Iterable[str]) -> dict[str, int]:
    """Return the bytes that months will need at the store of each of these assets, such as `raw`, in pipeline order.

    `sizes` are the bytes of the files at the source. Months of unknown size are not counted. If no size is known, the
    result is empty.
    """
    total = sum(size or 0 for size in sizes.values())
    chosen = frozenset(assets)
    ratios = _RATIOS[suffix] if total else {}
    return {name.removesuffix("_trips"): round(total * ratio) for name, ratio in ratios.items() if name in chosen}
