"""The charts in the metadata of the marts, and the shapes of the zones for them."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
from PIL import Image

from taxi_assets.charts.shapes import shapes_file
from taxi_assets.defs.mart_charts import chart_metadata, find_shapes
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.marts import DAILY_TRIPS, MONTHLY_ZONE_REVENUE
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.zone_shapes import write_shapes

MONTH = TripMonth("green", "2021-01")
DAYS = pd.DataFrame({"pickup_date": [*pd.date_range("2021-01-01", "2021-01-31").date, None], "trips": 7, "total": 9.5})
ZONES = pd.DataFrame({"zone_id": [74, 75, None], "trips": [5, 3, 1], "total": 9.5})
MAX_BYTES = 100_000


def _size(chart: object) -> tuple[int, int]:
    """The size of the image of a chart in pixels. The image is part of its Markdown."""
    assert isinstance(chart, dg.MarkdownMetadataValue)
    found = re.fullmatch(r"!\[[^\]]+\]\(data:image/png;base64,([^)]+)\)", chart.md_str or "")
    assert found
    image = b64decode(found[1])
    assert len(image) < MAX_BYTES
    with Image.open(BytesIO(image)) as picture:
        return picture.size


def test_marts_have_charts(tmp_path: Path) -> None:
    """Each mart has a chart as an image. With the shapes of the source, the zones also have a map."""
    zones = pa.Table.from_pandas(ZONES)
    days = chart_metadata(DAILY_TRIPS, MONTH, pa.Table.from_pandas(DAYS), tmp_path)
    assert _size(days["chart"])[0] > _size(days["chart"])[1]
    assert set(chart_metadata(MONTHLY_ZONE_REVENUE, MONTH, zones, tmp_path)) == {"chart"}

    source = Source(str(tmp_path / "source"))
    (tmp_path / "source" / "misc").mkdir(parents=True)
    assert find_shapes(source, tmp_path) is None
    write_shapes(tmp_path / "source" / "misc" / "taxi_zones.zip", (74, 75))
    shapes = find_shapes(source, tmp_path)
    assert shapes
    assert set(shapes.paths) == {74, 75}
    assert shapes_file(tmp_path).exists()
    charts = chart_metadata(MONTHLY_ZONE_REVENUE, MONTH, zones, tmp_path)
    assert set(map(_size, charts.values()))
    assert set(charts) == {"chart", "map"}
