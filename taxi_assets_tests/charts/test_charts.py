"""The charts of figures, as PNG and SVG."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from taxi_assets.charts.quality import draw_quality
from taxi_assets.charts.shapes import read_shapes
from taxi_assets.charts.style import to_png, to_svg
from taxi_assets.charts.trips import draw_days, draw_hours, draw_months, draw_typical_trips
from taxi_assets.charts.zones import ZoneName, draw_boroughs, draw_map, draw_top_zones
from taxi_assets.errors import BadShapes
from taxi_assets_tests.zone_shapes import write_shapes

DAYS = pd.date_range("2021-01-01", "2021-01-31")
DAILY = pd.DataFrame({"pickup_date": [*DAYS, None], "trips": 1_200.0, "total": 20_000.5, "file_month": DAYS[0]}).assign(
    median_minutes=12.5, p95_minutes=40.0, median_miles=float("nan"), p95_miles=float("nan")
)
ZONES = pd.DataFrame({"zone_id": [74, 57, 56, 1, None], "trips": [1_500, 7, 8, 3, 90], "total": 45.5})
NAMES = {74: ZoneName("Manhattan", "East Harlem North"), 57: ZoneName("Queens", "Corona")}
REVENUE = "Revenue in US dollars"
MAX_BYTES = 100_000

HOURS = pd.DataFrame({"weekday": [1, 7], "hour": [0, 23], "average": [2.5, 1_000.0]})
SHARES = pd.DataFrame({"file_month": DAYS[:2], "stray": [0.0, 0.01], "rejected": 0.0})


def _without_money(figures: pd.DataFrame) -> pd.DataFrame:
    return figures.assign(total=float("nan"))


def _texts(figure: Figure) -> set[str]:
    """The texts of a figure's SVG."""
    return set(re.findall(r"<text[^>]*>(.*?)</text>", to_svg(figure, "name")))


@pytest.mark.parametrize(
    ("draw", "expected", "unexpected"),
    [
        (lambda: draw_days(DAILY, "green"), {"Trips by pickup day", f"{REVENUE} by pickup day"}, "1200"),
        (lambda: draw_days(_without_money(DAILY), "fhv"), {"Trips by pickup day"}, f"{REVENUE} by pickup day"),
        (
            lambda: draw_typical_trips(DAILY, "fhv"),
            {"Trip duration in minutes", "median", "95th percentile"},
            "Trip distance in miles",
        ),
        (lambda: draw_months(DAILY, "yellow"), {f"{REVENUE} by file month", "20,000"}, "20000"),
        (lambda: draw_hours(HOURS, "fhvhv"), {"Monday", "hour of the pickup, New York time", "1,000"}, "1000"),
        (lambda: draw_top_zones(ZONES, "green", NAMES), {"East Harlem North", "1,500 · $46", "zone 1"}, "90 · $46"),
        (lambda: draw_top_zones(_without_money(ZONES), "fhv", {}), {"zone 74", "1,500"}, "90"),
        (lambda: draw_boroughs(ZONES, "green", NAMES), {"Manhattan", "Unknown", "101 · $136"}, "nan"),
        (lambda: draw_quality(SHARES, "green", {"stray": "Stray pickups"}), {"Stray pickups", "0.8%"}, "0.01"),
    ],
)
def test_a_chart_has_its_titles_and_numbers(draw: Callable[[], Figure], expected: set[str], unexpected: str) -> None:
    """A chart shows its units, and numbers with thousands separators. It is an opaque PNG of less than 100 kB."""
    figure = draw()
    texts = _texts(figure)
    assert expected <= texts
    assert unexpected not in texts
    image = to_png(figure)
    assert len(image) < MAX_BYTES
    with Image.open(BytesIO(image)) as picture:
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_a_map_colors_the_shapes_of_zones(tmp_path: Path) -> None:
    """Each shape has the color of its trips. Corona's two zones share a shape. A shape without trips is gray."""
    shapes = read_shapes(write_shapes(tmp_path / "taxi_zones.zip", (56, 74, 2)))
    assert shapes.join({56: 8, 57: 7, 74: 1_500, 264: 5}) == {56: 15, 74: 1_500}
    figure = draw_map(ZONES, "green", shapes)
    corona, harlem, empty = (to_rgba(patch.get_facecolor()) for patch in figure.axes[0].patches)
    assert sum(harlem[:3]) < sum(corona[:3]) < sum(empty[:3])
    assert empty[0] == empty[1] == empty[2]
    assert "Green taxi trips by zone of the pickup, logarithmic scale" in _texts(figure)
    assert len(to_png(figure)) < MAX_BYTES


def test_other_files_are_not_shapes_of_zones(tmp_path: Path) -> None:
    """A file that is not a ZIP file, an empty one, and shapes without zone IDs are errors that name the file."""
    (text := tmp_path / "text.zip").write_text("no shapes")
    for path in (text, write_shapes(tmp_path / "other.zip", (1,), field="Borough")):
        with pytest.raises(BadShapes, match=path.name):
            read_shapes(path)
