"""Charts of the marts in the metadata of their partitions, which the UI shows after a click on `Show Markdown`.

Not here: how a chart looks (`charts`).
"""

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from taxi_assets.charts.shapes import FILE_NAME, Shapes, read_shapes, shapes_file
from taxi_assets.charts.style import LABELS, PLAIN_DPI, to_png
from taxi_assets.charts.trips import draw_days
from taxi_assets.charts.zones import draw_map, draw_top_zones, read_names
from taxi_assets.instance._dagster import RawMetadataValue
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.marts import DAILY_TRIPS, Mart
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure


def chart_metadata(mart: Mart, month: TripMonth, figures: "pa.Table", home: Path) -> dict[str, RawMetadataValue]:
    """Return the charts of a month of a mart, as images in Markdown.

    `figures` are the rows of the month. `daily_trips` has a chart of the trips and revenue of each day,
    `monthly_zone_revenue` one of its top zones and, if the shapes of the zones are in TAXI_HOME (`home`), a map.
    """
    frame = figures.to_pandas()
    if mart == DAILY_TRIPS:
        return {
            "chart": _markdown(draw_days(frame, month.color), f"{LABELS[month.color]} of each day of {month.month}")
        }
    pickups = f"pickups of {LABELS[month.color].lower()} in {month.month}"
    charts = {"chart": _markdown(draw_top_zones(frame, month.color, read_names()), f"Zones with the most {pickups}")}
    if (shapes := shapes_file(home)).exists():
        charts["map"] = _markdown(draw_map(frame, month.color, read_shapes(shapes)), f"Map of {pickups}")
    return dict(charts)


def find_shapes(source: Source, home: Path) -> Shapes | None:
    """Return the shapes of the zones, or None if the source does not have them. The file is kept in TAXI_HOME (`home`).

    Raises BadShapes for another file, and StoreError if the source does not respond.
    """
    kept = shapes_file(home)
    if not kept.exists():
        source.require_host()
        found = source.misc(FILE_NAME)
        if found is None:
            return None
        with StagedFile(kept) as staged:
            staged.path.write_bytes(found.content)
            read_shapes(staged.path)
            staged.publish()
    return read_shapes(kept)


def _markdown(figure: "Figure", alt: str) -> dg.MarkdownMetadataValue:
    """Return a figure as an image in Markdown. The image is part of the text, so that the UI needs no other server."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{b64encode(to_png(figure, PLAIN_DPI)).decode()})")
