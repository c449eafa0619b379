"""What must hold for any bytes that a source may send as the file of a month.

They end in an error of taxi_assets, or in clean rows and rejects that an independent reader counts too. Any other
exception is a fault.
"""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from taxi_assets.errors import TaxiAssetsError
from taxi_assets.tlc.clean import CleanLimits, CleanReport, clean_month, inspect_raw
from taxi_assets.tlc.schema import LAYOUTS, Column, Kind
from taxi_assets.tlc.trips import TripMonth

SUFFIXES = {"csv": ".csv", "gz": ".csv.gz", "parquet": ".parquet"}
"""The kinds of files, and how their names end."""

_MONTHS = {
    b"tpep_": TripMonth("yellow", "2021-01"),
    b"lpep_": TripMonth("green", "2021-01"),
    b"hvfhs": TripMonth("fhvhv", "2021-01"),
    b"trip_dropoff": TripMonth("yellow", "2009-01"),
    b"dispatching": TripMonth("fhv", "2021-01"),
}
"""The months, by a part of a column name in their files. Files without any of them are read as those of yellow."""

_ANY = CleanLimits(rejected=1, outside=1)

_MISSING = {"", "\\N", "NULL", "N/A"}

_FORMAT = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)")


class Broken(AssertionError):
    """What must hold does not."""


def month_of(text: bytes) -> TripMonth:
    """Return the month for which a file with these bytes is read."""
    lower = text.lower()
    return next((month for part, month in _MONTHS.items() if part in lower), TripMonth("yellow", "2021-01"))


def _unpack(content: bytes) -> bytes:
    """Return gzip data as Python's gzip module reads it, or nothing if it cannot."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return b""


def read(kind: str, content: bytes, folder: Path) -> str:
    """Read bytes as a file of a kind. Return the slug of the error, or "" if there are clean rows.

    `folder` is for the files. Raises Broken, or any exception that is not an error of taxi_assets.
    """
    text = _unpack(content) if kind == "gz" else content
    month = month_of(text)
    raw = folder / f"{month.color}_tripdata_{month.month}{SUFFIXES[kind]}"
    raw.write_bytes(content)
    try:
        refused = _inspect(month, raw)
        report = _clean(month, raw, folder, _ANY)
        if isinstance(report, str):
            if not refused:
                raise Broken(f"a file that passed the inspection was refused with {report}")
            return report
        if refused not in ("", "empty-file"):
            raise Broken(f"a file that the inspection refused with {refused} was cleaned")
        rejects = _rejected(folder)
        if kind == "parquet":
            _count_parquet(month, raw, report)
        else:
            _compare_csv(month, text, rejects, folder)
        _add_up(report, folder, rejects)
        if report.rejected_rows:
            _clean(month, raw, folder, CleanLimits())
    finally:
        for path in folder.iterdir():
            path.unlink()
    return ""


def _explained(error: TaxiAssetsError) -> str:
    """Return the slug of an error. Raises Broken if it has none, or if it cannot be explained."""
    text = error.explain()
    if not error.slug or not text.endswith(f"[{error.slug}]"):
        raise Broken(f"an error without a slug: {text}")
    text.encode()  # raises UnicodeEncodeError for what no terminal can show
    return error.slug


def _inspect(month: TripMonth, raw: Path) -> str:
    try:
        inspect_raw(month, raw, raw.name)
    except TaxiAssetsError as error:
        return _explained(error)
    return ""


def _clean(month: TripMonth, raw: Path, folder: Path, limits: CleanLimits) -> CleanReport | str:
    rejected = folder / "rejected.parquet"
    rejected.unlink(missing_ok=True)
    try:
        return clean_month(month, raw, folder / "clean.parquet", rejected, limits)
    except TaxiAssetsError as error:
        return _explained(error)


def _rejected(folder: Path) -> list[dict[str, Any]]:
    path = folder / "rejected.parquet"
    return pq.read_table(path, use_threads=False).to_pylist() if path.exists() else []


def _add_up(report: CleanReport, folder: Path, rejects: Sequence[dict[str, Any]]) -> None:
    rows = pq.read_table(folder / "clean.parquet", use_threads=False).num_rows
    found, said = (rows, len(rejects)), (report.rows, report.rejected_rows)
    if found != said or report.raw_rows != sum(said):
        raise Broken(f"the report has {report.raw_rows} = {said}, but the files have {found}")


def _count_parquet(month: TripMonth, raw: Path, report: CleanReport) -> None:
    """Raise Broken if another way to read the file finds other rows.

    Only the pickups are read, because a file may have columns that are ignored, and these can be damaged.
    """
    layout = LAYOUTS[month.color]
    with pq.ParquetFile(raw) as file:
        names = file.schema_arrow.names
        pickup = names[layout.match_header(names).names.index(layout.pickup)]
        groups = range(file.num_row_groups)
        rows = sum(file.read_row_group(number, [pickup], use_threads=False).num_rows for number in groups)
    if rows != report.raw_rows:
        raise Broken(f"the file has {rows} rows, but the report has {report.raw_rows}")


def _compare_csv(month: TripMonth, text: bytes, rejects: Sequence[dict[str, Any]], folder: Path) -> None:
    """Raise Broken if Python's csv module does not find the same rows and values."""
    records = list(_records(text))
    if not records:
        raise Broken("a file without a header was cleaned")
    header = records.pop(0)[1].decode("utf-8-sig", errors="replace").split(",")
    lines = {number for number, _ in records}
    refused = {reject["line"] for reject in rejects}
    if not refused <= lines or len(refused) != len(rejects):
        raise Broken(f"the rejected lines {sorted(refused - lines)} are not records, or were rejected twice")
    kept = [line for number, line in records if number not in refused]
    rows = pq.read_table(folder / "clean.parquet", use_threads=False).to_pylist()
    if len(rows) != len(kept):
        raise Broken(f"{len(kept)} records were not rejected, but there are {len(rows)} clean rows")
    matched = LAYOUTS[month.color].match_header(header)
    columns = {column.name: column for column in LAYOUTS[month.color].columns if not matched.era.codes.get(column.name)}
    for line, row in zip(kept, rows, strict=True):
        if b'"' in line or not line.isascii():
            continue
        [fields] = csv.reader([line.decode()])
        for name, field in zip(matched.names, fields, strict=False):
            if name in columns and not _fits(columns[name], field, row[name]):
                raise Broken(f"{name} is {row[name]!r} in the clean rows, and {field!r} in the file")


def _records(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers."""
    for number, line in enumerate(text.split(b"\n"), 1):
        record = line.removesuffix(b"\r")
        if b"\r" in record or record.count(b'"') % 2 or any(next(csv.reader([record.decode("latin-1")]), [])):
            yield number, record


def _fits(column: Column, field: str, value: object) -> bool:
    """Whether a value is that of a field, as Python reads it."""
    if value is None:
        return field.strip() in _MISSING
    if column.kind is Kind.timestamp:
        return not (written := _FORMAT.fullmatch(field)) or str(value).partition(".")[0] == written[0]
    if column.kind is Kind.text:
        return bool(column.is_license or column.codes or value == field)
    return isinstance(value, int | float) and math.isclose(float(field), value, rel_tol=0, abs_tol=0)
