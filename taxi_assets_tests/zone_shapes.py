"""A file with the shapes of a few invented zones, in the format of the TLC's file."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile


def write_shapes(path: Path, zones: Iterable[int], field: str = "LocationID") -> Path:
    """Write a ZIP file with a square for each zone, which has a hole, and return its path."""
    import shapefile

    parts = {suffix: BytesIO() for suffix in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts) as writer:
        writer.field(field, "N")
        for number, zone in enumerate(zones):
            left = number * 1000
            outer = [[left, 0], [left, 900], [left + 900, 900], [left + 900, 0], [left, 0]]
            hole = [[left + 300, 300], [left + 600, 300], [left + 600, 600], [left + 300, 600], [left + 300, 300]]
            writer.poly([outer, hole])
            writer.record(zone)
    with ZipFile(path, "w") as archive:
        for suffix, part in parts.items():
            archive.writestr(f"taxi_zones/taxi_zones.{suffix}", part.getvalue())
    return path
