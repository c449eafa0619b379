"""The taxi zones: the TLC's lookup file, and a copy of its contents for sources that do not have the file.

Names such as `NA` and `N/A` are text, never missing values. Their wording differs between versions of the file, and
some zones share a name, so only the ID identifies a zone. Not here: where a source has the file (`stores.source`).
"""

import csv
from importlib.resources import files
from typing import TYPE_CHECKING

from taxi_assets.errors import InvalidZones
from taxi_assets.tlc.eras import normalize
from taxi_assets.tlc.marts import ZONE_COLUMNS
from taxi_assets.tlc.schema import ZONES, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

FILE_NAME = "taxi_zone_lookup.csv"
"""The name of the TLC's file."""

BUILT_IN = "built-in copy"
"""Stands for the address of the file where the built-in copy is used."""

_NAMES = tuple(column.name for column in ZONE_COLUMNS)


def parse_zones(content: bytes, address: str) -> "pa.Table":
    """Return the zones in a lookup file, in the order of their IDs, with the columns `ZONE_COLUMNS`.

    The letter case and the order of the columns do not matter. Raises InvalidZones if the file, which came from
    `address`, does not have these columns, or does not have each of the IDs 1 to 265 once.
    """
    import pyarrow as pa

    rows = _read(content, address)
    columns = {name: [row[number] for row in rows] for number, name in enumerate(_NAMES)}
    return pa.table({**columns, _NAMES[0]: [int(row[0]) for row in rows]}, schema=arrow_schema(ZONE_COLUMNS))


def built_in_zones() -> "pa.Table":
    """Return the zones as the TLC published them in 2025."""
    return parse_zones((files("taxi_assets.tlc") / "taxi_zones.csv").read_bytes(), BUILT_IN)


def _read(content: bytes, address: str) -> list[list[str]]:
    """Return the values of `ZONE_COLUMNS` of each zone, in the order of the IDs. Raises InvalidZones."""
    try:
        lines = [line for line in csv.reader(content.decode("utf-8-sig").splitlines()) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _invalid(address, f"is not a CSV in UTF-8: {error}") from error
    header = normalize(lines[0] if lines else ())
    if sorted(header) != sorted(normalize(_NAMES)):
        seen = ",".join(lines[0] if lines else ())[:_SHOWN]
        raise _invalid(address, f'has the columns "{seen}". Expected {",".join(_NAMES)}')
    order = [header.index(name) for name in normalize(_NAMES)]
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header) or not all(value.strip() for value in line):
            raise _invalid(address, f"has row {number} with {len(line)} values, or with an empty one")
    rows = [[line[place].strip() for place in order] for line in lines[1:]]
    ids = [row[0] for row in rows]
    if sorted(ids) != sorted(map(str, ZONES)):
        missing = ", ".join([zone for zone in map(str, ZONES) if zone not in ids][:_LISTED]) or "none"
        raise _invalid(
            address,
            f"has {len(ids)} rows. Expected one row for each ID from {ZONES[0]} to {ZONES[-1]}. Missing IDs: {missing}",
        )
    return sorted(rows, key=lambda row: int(row[0]))


_SHOWN, _LISTED = 200, 5
"""The maximum length of a header, and the maximum number of IDs, in a message."""


def _invalid(address: str, problem: str) -> InvalidZones:
    return InvalidZones(f"The file of taxi zones {address} {problem.rstrip('.')}.", address=address)
