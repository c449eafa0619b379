"""A chart of the quality of the data: shares of rows over months."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from taxi_assets.charts.style import INKS, drawing, show_dates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLUMNS = 2


def draw_quality(shares: "pd.DataFrame", color: str, titles: Mapping[str, str]) -> "Figure":
    """Draw a panel for each share, in percent of the rows of each month.

    `shares` has the column `file_month` and the columns that `titles` names, 0 to 1.
    """
    import pandas as pd
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    months = shares.sort_values("file_month")
    dates = pd.to_datetime(months["file_month"])
    with drawing(0.3 + 1.05 * -(-len(titles) // _COLUMNS), len(titles), _COLUMNS) as (figure, panels):
        for axes, (column, title) in zip(panels, titles.items(), strict=True):
            values = months[column].astype(float) * 100
            axes.plot(dates, values, color=INKS[color], marker="o", markersize=2.6, linewidth=1.1)
            axes.set_title(title, fontsize=8.5)
            axes.set_ylim(0, float(values.max()) * 1.15 or 1)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}%"))
            show_dates(axes)
            axes.tick_params(labelsize=7.5)
    return figure
