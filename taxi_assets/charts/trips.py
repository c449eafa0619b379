"""Charts of trips and revenue over time: by day, by month, and by hour of the week."""

from typing import TYPE_CHECKING

from taxi_assets.charts.style import INKS, SEQUENCE, drawing, separate_thousands, show_dates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_FEW_DAYS = 62
"""Maximum number of days for which weekends are shaded."""

_FIGURES = {"trips": "Trips", "total": "Revenue in US dollars"}
"""The columns of a chart over time, and their titles."""


def draw_days(daily: "pd.DataFrame", color: str) -> "Figure":
    """Draw the trips and the revenue of each day. `daily` has the columns of `DAILY_TRIPS`.

    Stray pickups, whose day is missing, are left out. A color that does not report money has trips only.
    """
    days, dates = _days(daily)
    shown = _reported(days)
    with drawing(1.55 * len(shown), len(shown)) as (figure, panels):
        for axes, column in zip(panels, shown, strict=True):
            values = days[column].astype(float)
            axes.fill_between(dates, values, color=INKS[color], alpha=0.18, linewidth=0)
            axes.plot(dates, values, color=INKS[color], linewidth=1.4 if len(days) <= _FEW_DAYS else 0.9)
            _finish(axes, f"{_FIGURES[column]} by pickup day")
            if len(days) <= _FEW_DAYS:
                _shade_weekends(axes, dates)
    return figure


def draw_months(monthly: "pd.DataFrame", color: str) -> "Figure":
    """Draw the trips and the revenue of each month. `monthly` has the columns `file_month`, `trips` and `total`."""
    import pandas as pd

    months = monthly.sort_values("file_month")
    dates = pd.to_datetime(months["file_month"])
    shown = _reported(months)
    with drawing(1.55 * len(shown), len(shown)) as (figure, panels):
        for axes, column in zip(panels, shown, strict=True):
            axes.bar(dates, months[column].astype(float), width=24, align="center", color=INKS[color])
            _finish(axes, f"{_FIGURES[column]} by file month")
    return figure


def draw_typical_trips(daily: "pd.DataFrame", color: str) -> "Figure":
    """Draw the median and the 95th percentile of the duration and distance of the trips of each day.

    `daily` has the columns of `DAILY_TRIPS`. A color that does not report distances has durations only.
    """
    days, dates = _days(daily)
    shown = [unit for unit in _LENGTHS if not days[f"median_{unit}"].isna().all()]
    with drawing(1.55 * max(len(shown), 1), max(len(shown), 1)) as (figure, panels):
        for axes, unit in zip(panels, shown, strict=False):
            for prefix, name, style in (("p95", "95th percentile", ":"), ("median", "median", "-")):
                axes.plot(
                    dates, days[f"{prefix}_{unit}"].astype(float), style, color=INKS[color], linewidth=1, label=name
                )
            axes.legend(loc="upper right", ncols=2, fontsize=8, frameon=False, borderaxespad=0)
            _finish(axes, _LENGTHS[unit])
            axes.set_ylim(top=axes.get_ylim()[1] * 1.2)
    return figure


_LENGTHS = {"minutes": "Trip duration in minutes", "miles": "Trip distance in miles"}
"""The units of the lengths of trips, and their titles."""


def draw_hours(hours: "pd.DataFrame", color: str) -> "Figure":
    """Draw the average trips of each hour of the week.

    `hours` has the columns `weekday` (1 is Monday), `hour` (0 to 23) and `average`. An hour without a row had no trips.
    """
    import numpy as np

    grid = np.zeros((len(_DAYS), 24))
    for weekday, hour, average in hours[["weekday", "hour", "average"]].itertuples(index=False):
        grid[int(weekday) - 1, int(hour)] = average
    with drawing(2.5) as (figure, [axes]):
        mesh = axes.pcolormesh(
            np.arange(25), np.arange(8), grid, cmap=SEQUENCE, vmin=0, edgecolor="white", linewidth=0.4
        )
        axes.set_yticks(np.arange(7) + 0.5, _DAYS)
        axes.set_xticks(range(0, 25, 3))
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("hour of the pickup, New York time")
        axes.set_title(f"Average {color} trips per hour")
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05)
        bar.outline.set_visible(False)
        separate_thousands(bar.ax)
    return figure


def _days(daily: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.Series[pd.Timestamp]]":
    """Return the rows of days in order, without stray pickups, and their dates."""
    import pandas as pd

    days = daily.dropna(subset="pickup_date").sort_values("pickup_date")
    return days, pd.to_datetime(days["pickup_date"])


def _reported(figures: "pd.DataFrame") -> list[str]:
    return [column for column in _FIGURES if not figures[column].isna().all()]


def _finish(axes: "Axes", title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.margins(x=0.01)
    separate_thousands(axes)
    show_dates(axes)


def _shade_weekends(axes: "Axes", dates: "pd.Series[pd.Timestamp]") -> None:
    """Shade Saturdays and Sundays, each around its point."""
    from matplotlib.dates import date2num

    for date in dates[dates.dt.dayofweek >= _SATURDAY]:
        day = float(date2num(date))  # type: ignore[no-untyped-call]
        axes.axvspan(day - 0.5, day + 0.5, color="#000000", alpha=0.05, linewidth=0)


_SATURDAY = 5
