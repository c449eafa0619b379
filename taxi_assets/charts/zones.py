"""Charts of places: the zones and boroughs where most trips start, and a map of the zones."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from taxi_assets.charts.shapes import Shapes
from taxi_assets.charts.style import INKS, LABELS, SEQUENCE, drawing, set_wide_title
from taxi_assets.tlc.zones import built_in_zones

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP = 10
"""Number of zones in a chart."""

_LONGEST = 30
"""Maximum number of characters of a name in a chart."""

_BOROUGHS = {"EWR": "Newark Airport", "N/A": "outside the city"}
"""What to call the TLC's names of places that are not in a borough."""

_NO_TRIPS = "#f2f2f2"


@dataclass(frozen=True)
class ZoneName:
    """The borough and the name of a taxi zone."""

    borough: str
    zone: str


def read_names() -> dict[int, ZoneName]:
    """Return the names of the zones, from the built-in copy of the TLC's lookup table."""
    columns = built_in_zones().to_pydict()
    rows = zip(columns["LocationID"], columns["Borough"], columns["Zone"], strict=True)
    return {zone: ZoneName(borough, name) for zone, borough, name in rows}


def sum_zones(revenue: "pd.DataFrame") -> "pd.DataFrame":
    """Add up the trips and the revenue of each zone over all months, most trips first.

    `revenue` has the columns of `MONTHLY_ZONE_REVENUE`. In the result, the columns are `zone_id`, `trips` and `total`.
    The zone is missing in the row of trips without one, and the total of colors that do not report money.
    """
    summed = revenue.groupby("zone_id", dropna=False)[["trips", "total"]].sum(min_count=1).reset_index()
    return summed.sort_values(["trips", "zone_id"], ascending=[False, True], ignore_index=True)


def sum_boroughs(revenue: "pd.DataFrame", names: Mapping[int, ZoneName]) -> "pd.DataFrame":
    """Add up the trips and the revenue of each borough over all months, most trips first.

    The columns are `borough`, `trips` and `total`. Trips without a zone, or with one that `names` does not have, are
    in the borough `Unknown`.
    """
    zones = sum_zones(revenue)
    known = {float(zone): name.borough for zone, name in names.items()}
    zones["borough"] = zones["zone_id"].astype(float).map(known).fillna("Unknown")
    summed = zones.groupby("borough")[["trips", "total"]].sum(min_count=1).reset_index()
    return summed.sort_values(["trips", "borough"], ascending=[False, True], ignore_index=True)


def draw_top_zones(revenue: "pd.DataFrame", color: str, names: Mapping[int, ZoneName]) -> "Figure":
    """Draw the zones where most trips start, with their trips and revenue.

    `revenue` has the columns of `MONTHLY_ZONE_REVENUE`. A zone that `names` does not have is shown as its ID. Trips
    without a zone are left out.
    """
    zones = sum_zones(revenue).dropna(subset="zone_id").head(TOP)
    labels = [_label(int(zone), names) for zone in zones["zone_id"]]
    with drawing(0.55 + 0.24 * max(len(zones), 3)) as (figure, [axes]):
        _draw_bars(axes, labels, zones, INKS[color])
        set_wide_title(figure, f"Zones with the most {color} pickups: {_legend(zones)}")
    return figure


def draw_boroughs(revenue: "pd.DataFrame", color: str, names: Mapping[int, ZoneName]) -> "Figure":
    """Draw the trips and the revenue of each borough, by the zone of the pickup. See `sum_boroughs`."""
    boroughs = sum_boroughs(revenue, names)
    with drawing(0.55 + 0.24 * max(len(boroughs), 3)) as (figure, [axes]):
        labels = [_BOROUGHS.get(name, name) for name in boroughs["borough"]]
        _draw_bars(axes, labels, boroughs, INKS[color])
        set_wide_title(figure, f"{color.capitalize()} pickups by borough: {_legend(boroughs)}")
    return figure


def draw_map(revenue: "pd.DataFrame", color: str, shapes: Shapes) -> "Figure":
    """Draw a map of the zones, colored by the number of trips that start in them, on a logarithmic scale.

    `revenue` has the columns of `MONTHLY_ZONE_REVENUE`. Zones without trips are gray. Zones without a shape, such as
    those outside the city, are not on the map.
    """
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.patches import PathPatch
    from matplotlib.ticker import NullFormatter

    zones = sum_zones(revenue).dropna(subset="zone_id")
    trips = shapes.join(dict(zip(zones["zone_id"].astype(int), zones["trips"].astype(int), strict=True)))
    scale = ScalarMappable(LogNorm(1, max(2, *trips.values()) if trips else 2), SEQUENCE)
    faces = dict(zip(trips, scale.to_rgba(np.array([*trips.values()], dtype=float)), strict=True))
    with drawing(4.6) as (figure, [axes]):
        for zone, path in shapes.paths.items():
            axes.add_patch(PathPatch(path, facecolor=faces.get(zone, _NO_TRIPS), edgecolor="#777777", linewidth=0.25))
        axes.autoscale_view()
        axes.set_aspect("equal")
        axes.set_axis_off()
        set_wide_title(figure, f"{LABELS[color]} by zone of the pickup, logarithmic scale")
        bar = figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.01, label="trips")
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _draw_bars(axes: "Axes", labels: list[str], figures: "pd.DataFrame", ink: str) -> None:
    """Draw a horizontal bar for each label, with its trips and, if they are reported, its dollars."""
    positions = range(len(labels))
    bars = axes.barh(positions, figures["trips"].astype(float), color=ink, height=0.72)
    texts = [
        f"{trips:,.0f}" + ("" if isnan(total) else f" · ${total:,.0f}")
        for trips, total in zip(figures["trips"], figures["total"].astype(float), strict=True)
    ]
    axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_yticks(positions, labels)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlim(0, max(1.0, float(figures["trips"].max() or 0)) * 1.55)
    axes.xaxis.set_visible(False)


def _legend(figures: "pd.DataFrame") -> str:
    return "trips" if figures["total"].isna().all() else "trips · revenue"


def name_zone(zone: int, names: Mapping[int, ZoneName]) -> str:
    """Return the name of a zone, or its ID if `names` does not have it. The TLC has no names for the last two."""
    named = names[zone].zone if zone in names else f"zone {zone}"
    return _NO_PLACES.get(zone, named)


_NO_PLACES = {264: "unknown", 265: "outside the city"}


def _label(zone: int, names: Mapping[int, ZoneName]) -> str:
    """Return the name of a zone, cut if it is long."""
    name = name_zone(zone, names)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1].rstrip()}…"
