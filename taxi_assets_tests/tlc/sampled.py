"""Clean sample months, and summaries of raw files that do not use the code of the project."""

import csv
import gzip
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from taxi_assets.tlc.clean import CleanLimits, clean_month
from taxi_assets.tlc.sample import write_sample
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.summary import MonthSummary
from taxi_assets.tlc.trips import TripMonth

PICKUPS = {
    "yellow": "tpep_pickup_datetime",
    "green": "lpep_pickup_datetime",
    "fhv": "pickup_datetime",
    "fhvhv": "pickup_datetime",
}


def write_clean(month: TripMonth, rows: int, clean: Path, folder: Path, seed: int = 0) -> MonthSummary:
    """Write a clean sample month to `clean`, with its raw file in `folder`. Return the summary of the raw file."""
    raw = folder / f"{month.stem}_{rows}_{seed}.csv.gz"
    write_sample(month, rows, raw, seed)
    clean_month(month, raw, clean, folder / "rejected.parquet", CleanLimits(rejected=0))
    return summarize_csv(month.color, raw)


def summarize_csv(color: str, raw: Path) -> MonthSummary:
    """Summarize a raw month with Python's csv and decimal modules."""
    with gzip.open(raw, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    nulls = Counter(name for row in rows for name, text in row.items() if not text.strip())
    pickups = [datetime.fromisoformat(row[PICKUPS[color]]) for row in rows if row[PICKUPS[color]]]
    total = sum((Decimal(row["total_amount"] or 0) for row in rows), Decimal(0)) if "total_amount" in rows[0] else None
    return MonthSummary(
        rows=len(rows),
        total_amount=None if total is None else float(total),
        first_pickup=min(pickups, default=None),
        last_pickup=max(pickups, default=None),
        nulls=dict.fromkeys(LAYOUTS[color].names, len(rows)) | {name: nulls[name] for name in rows[0]},
    )
