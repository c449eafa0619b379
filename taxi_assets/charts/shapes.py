"""The shapes of the taxi zones, from the TLC's `taxi_zones.zip`: a shapefile with coordinates in feet (EPSG:2263).

Maps show the coordinates as they are: feet in the plane of New York need no projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from taxi_assets.errors import BadShapes

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

FILE_NAME = "taxi_zones.zip"
"""The name of the TLC's file."""

_ID = "LocationID"

_SAME_SHAPE: Mapping[int, int] = MappingProxyType({57: 56, 104: 103, 105: 103})
"""Zones of the lookup table that share the shape of another zone: Corona, and the islands in the harbor."""


@dataclass(frozen=True)
class Shapes:
    """The outline of each zone that has one, by zone ID. An outline has all polygons of a zone, with their holes."""

    paths: Mapping[int, "Outline"]

    def join(self, counts: Mapping[int, int]) -> dict[int, int]:
        """Add up counts by zone ID to counts by shape. Zones without a shape are left out."""
        joined: dict[int, int] = {}
        for zone, count in counts.items():
            shape = zone if zone in self.paths else _SAME_SHAPE.get(zone, zone)
            if shape in self.paths:
                joined[shape] = joined.get(shape, 0) + count
        return joined


def shapes_file(home: Path) -> Path:
    """Return where the downloaded shapes are, below TAXI_HOME."""
    return home / "zones" / FILE_NAME


def read_shapes(path: Path) -> Shapes:
    """Read the shapes from a ZIP file. Raises BadShapes if it does not contain a shapefile of taxi zones."""
    import shapefile
    from matplotlib.path import Path as Outline

    try:
        with ZipFile(path) as archive, shapefile.Reader(**_members(archive)) as reader:
            found = [(record.record[_ID], record.shape) for record in reader.iterShapeRecords(fields=[_ID])]
    except (shapefile.ShapefileException, BadZipFile, ValueError, KeyError, IndexError) as error:
        raise BadShapes(
            f'The shapes of the zones cannot be read from "{path}": {error}. Expected a ZIP file with a shapefile, '
            f"whose records have the field {_ID}.",
            path=str(path),
        ) from error
    outlines: dict[int, list[Outline]] = {}
    for zone, shape in found:
        starts = [*shape.parts, len(shape.points)]
        rings = (shape.points[start:end] for start, end in pairwise(starts))
        outlines.setdefault(int(zone), []).extend(Outline([point[:2] for point in ring], closed=True) for ring in rings)
    return Shapes({zone: Outline.make_compound_path(*rings) for zone, rings in outlines.items()})


def _members(archive: ZipFile) -> dict[str, BytesIO]:
    """Return the parts of the shapefile in an archive, in any folder. Raises KeyError if one is missing."""
    names = {name.lower()[-4:]: name for name in archive.namelist()}
    return {suffix[1:]: BytesIO(archive.read(names[suffix])) for suffix in (".shp", ".dbf")}
