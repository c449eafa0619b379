"""The page of `taxi report`: one HTML file with all charts and styles in it, which loads nothing.

The template is `report.html.jinja`. Not here: where the figures come from (`operations.report`).
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_assets.charts.quality import draw_quality
from taxi_assets.charts.style import LABELS, to_png, to_svg
from taxi_assets.charts.trips import draw_days, draw_hours, draw_months, draw_typical_trips
from taxi_assets.charts.zones import draw_boroughs, draw_map, draw_top_zones, name_zone, sum_zones
from taxi_assets.graph import ASSETS
from taxi_assets.instance.month_records import CheckResult
from taxi_assets.operations.report import ColorFigures, MonthRecord, Report
from taxi_assets.stores.sizes import format_size
from taxi_assets.tlc.marts import RULES
from taxi_assets.tlc.schema import LAYOUTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LONG = 36
"""Maximum number of rows of a table that is shown open."""

_TOP_ZONES = 25
"""Number of zones in the table of zones."""

_FEW = 1
"""Number of months up to which there is nothing to see over months."""

_QUALITY: Mapping[str, str] = {
    "rejected": "Rejected rows",
    "stray": "Stray pickups",
    "negative_total": "Negative total",
    "ended_before_start": "Ended before start",
    "over_24_hours": "Longer than 24 hours",
    "zero_miles_with_fare": "0 miles with a fare",
}
"""The figures of the quality of a month, and their titles."""


@dataclass(frozen=True)
class Table:
    """A table of the page. The first `labels` columns are text, and the others numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1
    note: str = ""
    is_detail: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the rows are shown at first. Those of long tables, and of details, are shown after a click."""
        return len(self.rows) <= _LONG and not self.is_detail

    @property
    def wraps(self) -> bool:
        """Whether the last column is text, which may take several lines."""
        return self.labels == len(self.headings)


@dataclass(frozen=True)
class Chart:
    """A chart: an `<svg>` or `<img>` element, and the text that describes it."""

    image: str
    alt: str


@dataclass(frozen=True)
class ColorView:
    """What the page shows of a color. `reasons` are those of rejected rows, and `empty` the columns without values."""

    color: str
    trips: str
    charts: Sequence[Chart]
    tables: Sequence[Table]
    quality_charts: Sequence[Chart]
    quality_tables: Sequence[Table]
    empty: Sequence[str]
    sql: Mapping[str, str]


def render_report(report: Report, progress: Callable[[str], None] = lambda _: None) -> str:
    """Return the report as HTML. `progress` is called with what is done next."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    colors = []
    for figures in report.colors:
        progress(f"Drawing the charts of {figures.color}")
        colors.append(_color_view(report, figures))
    environment = Environment(
        loader=PackageLoader("taxi_assets.cli", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        title=f"New York taxi trips: {_months_text(report)}",
        report=report,
        span=_months_text(report),
        colors=colors,
        tiles=_tiles(report),
        loaded=_loaded_tables(report.months),
        checks=_checks_table(report.months),
        not_passed=_not_passed_table(report.months),
        sources=_sources_table(report.months),
        rules=RULES,
        quality=_QUALITY,
        labels=LABELS,
    )


def _months_text(report: Report) -> str:
    months = sorted({month for figures in report.colors for month in figures.months})
    return months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"


def _tiles(report: Report) -> dict[str, str]:
    """Return the most important figures of the report, by their names."""
    trips = sum(figures.daily["trips"].sum() for figures in report.colors)
    revenue = sum(figures.daily["total"].sum() for figures in report.colors)
    rejected = sum(sum(record.cleaning.rejected.values()) for record in report.months if record.cleaning)
    checks = Counter(_outcome(check) for record in report.months for check in record.checks)
    bad = ", ".join(f"{checks[kind]:,} {kind}" for kind in ("warning", "failed") if checks[kind])
    return {
        "trips": _whole(trips),
        "revenue": f"${revenue:,.0f}",
        "months loaded": _whole(sum(len(figures.months) for figures in report.colors)),
        "rows rejected": _whole(rejected),
        "checks": f"{checks['passed']:,} passed" + (f", {bad}" if bad else ""),
    }


def _color_view(report: Report, figures: ColorFigures) -> ColorView:
    color, records = figures.color, [record for record in report.months if record.month.color == figures.color]
    monthly, quality = _monthly(figures), _quality(figures, records)
    shown = {name: title for name, title in _QUALITY.items() if not quality[name].isna().all()}
    quality_charts = []
    if len(figures.months) > _FEW:
        quality_charts = [
            _svg(
                draw_quality(_shares(quality, shown), color, shown),
                f"{color}-quality",
                f"Shares of {color} rows in each month: {', '.join(shown.values()).lower()}",
            )
        ]
    return ColorView(
        color,
        LAYOUTS[color].trips,
        list(_charts(report, figures, monthly)),
        [_monthly_table(monthly), _zones_table(report, figures)],
        quality_charts,
        [_quality_table(quality, shown), *_reason_tables(records), *_null_tables(records)],
        _empty_columns(records),
        figures.sql,
    )


def _charts(report: Report, figures: ColorFigures, monthly: "pd.DataFrame") -> Iterator[Chart]:
    color = figures.color
    money = "" if figures.daily["total"].isna().all() else " and revenue"
    yield _svg(draw_days(figures.daily, color), f"{color}-days", f"{color} trips{money} of each day")
    if len(figures.months) > _FEW:
        yield _svg(draw_months(monthly, color), f"{color}-months", f"{color} trips{money} of each month")
    yield _svg(draw_hours(figures.hours, color), f"{color}-hours", f"average {color} trips of each hour of the week")
    yield _svg(
        draw_typical_trips(figures.daily, color),
        f"{color}-typical",
        f"median and 95th percentile of {color} trips, by day",
    )
    yield _svg(draw_boroughs(figures.zones, color, report.zones), f"{color}-boroughs", f"{color} trips of each borough")
    yield _svg(
        draw_top_zones(figures.zones, color, report.zones),
        f"{color}-zones",
        f"zones with the most {color} trips, as in the table of zones",
    )
    if report.shapes:
        image = b64encode(to_png(draw_map(figures.zones, color, report.shapes))).decode()
        alt = f"map of {color} trips by zone of the pickup"
        yield Chart(f'<img src="data:image/png;base64,{image}" alt="{alt}">', alt)


def _svg(figure: "Figure", name: str, alt: str) -> Chart:
    return Chart(to_svg(figure, name).replace("<svg", f'<svg role="img" aria-label="{alt}"', 1), alt)


def _monthly(figures: ColorFigures) -> "pd.DataFrame":
    """Return the sums of each month. A sum is missing if the color does not report the values."""
    sums = ["trips", "passengers", "miles", "fare", "tips", "total", "card_trips"]
    return figures.daily.groupby("file_month")[sums].sum(min_count=1).reset_index()


def _quality(figures: ColorFigures, records: Iterable[MonthRecord]) -> "pd.DataFrame":
    """Return the counts of `_QUALITY` of each month, with its trips and its raw rows."""
    import pandas as pd

    counts = figures.daily.groupby("file_month")[["trips", *(rule.name for rule in RULES)]].sum(min_count=1)
    stray = figures.daily[figures.daily["pickup_date"].isna()].groupby("file_month")["trips"].sum()
    cleanings = {pd.Timestamp(record.month.first_day): record.cleaning for record in records if record.cleaning}
    counts["stray"] = stray.reindex(counts.index, fill_value=0)
    counts["rejected"] = pd.Series({day: float(sum(found.rejected.values())) for day, found in cleanings.items()})
    counts["raw_rows"] = pd.Series({day: float(found.raw_rows) for day, found in cleanings.items()})
    return counts.reset_index()


def _shares(quality: "pd.DataFrame", names: Iterable[str]) -> "pd.DataFrame":
    """Return the counts as shares: rejected rows of the raw rows, and all others of the trips."""
    shares = quality[["file_month"]].copy()
    for name in names:
        shares[name] = quality[name] / quality["raw_rows" if name == "rejected" else "trips"]
    return shares


def _monthly_table(monthly: "pd.DataFrame") -> Table:
    units = {
        "trips": _whole,
        "passengers": _whole,
        "miles": _whole,
        "fare": _dollars,
        "tips": _dollars,
        "total": _dollars,
        "card_trips": _whole,
    }
    shown = [name for name in units if not monthly[name].isna().all()]
    rows = [
        [f"{row['file_month']:%Y-%m}", *(units[name](row[name]) for name in shown)] for _, row in monthly.iterrows()
    ]
    if len(rows) > _FEW:
        rows.append(["all", *(units[name](monthly[name].sum()) for name in shown)])
    headings = ["month of the file", *(_HEADINGS.get(name, name) for name in shown)]
    return Table("Trips and revenue by month", headings, rows)


_HEADINGS = {"card_trips": "paid by card", "fare": "fare ($)", "tips": "tips ($)", "total": "total ($)"}


def _zones_table(report: Report, figures: ColorFigures) -> Table:
    zones = sum_zones(figures.zones)
    has_money = not zones["total"].isna().all()
    all_trips = float(zones["trips"].sum())
    rows = []
    for _, row in zones.head(_TOP_ZONES).iterrows():
        zone = None if row["zone_id"] != row["zone_id"] else int(row["zone_id"])
        place = report.zones.get(zone) if zone else None
        figure = [_whole(row["trips"]), _percent(row["trips"] / all_trips)]
        money = [_dollars(row["total"]), f"{row['total'] / row['trips']:,.2f}"] if has_money else []
        name = name_zone(zone, report.zones) if zone else ""
        rows.append([str(zone or "no zone"), name, place.borough if place else "", *figure, *money])
    money_headings = ["total ($)", "average ($)"] if has_money else []
    return Table(
        "Zones with the most pickups",
        ["ID", "zone", "borough", "trips", "share", *money_headings],
        rows,
        labels=3,
        is_detail=True,
        note=f"The first {_TOP_ZONES} of {len(zones)} zones." if len(zones) > _TOP_ZONES else "",
    )


def _quality_table(quality: "pd.DataFrame", shown: Mapping[str, str]) -> Table:
    rows = []
    for _, row in quality.iterrows():
        counts = (
            f"{_whole(row[name])} ({_percent(row[name] / row['raw_rows' if name == 'rejected' else 'trips'])})"
            if row[name] == row[name]
            else "not known"
            for name in shown
        )
        rows.append([f"{row['file_month']:%Y-%m}", _whole(row["trips"]), *counts])
    return Table("Rows by month", ["month of the file", "trips", *(title.lower() for title in shown.values())], rows)


def _reason_tables(records: Iterable[MonthRecord]) -> list[Table]:
    rows = [
        [record.month.month, reason, f"{count:,}"]
        for record in records
        if record.cleaning
        for reason, count in sorted(record.cleaning.rejected.items(), key=lambda item: -item[1])
    ]
    return [Table("Reasons for rejected rows", ["month of the file", "reason", "rows"], rows, labels=2)] if rows else []


def _null_tables(records: Iterable[MonthRecord]) -> list[Table]:
    """Return the table of missing values, without columns that are always or never empty; none if nothing is left."""
    known = [record for record in records if record.cleaning]
    empty = set(_empty_columns(known))
    found = {name for record in known if record.cleaning for name in record.cleaning.nulls}
    columns = [name for name in LAYOUTS[known[0].month.color].names if name in found - empty] if known else []
    if not columns:
        return []
    rows = [[record.month.month, *(_percent(_null_share(record, name)) for name in columns)] for record in known]
    return [Table("Missing values by column", ["month of the file", *columns], rows)]


def _empty_columns(records: Iterable[MonthRecord]) -> list[str]:
    """Return the columns that are empty in all months."""
    known = [record for record in records if record.cleaning]
    names = LAYOUTS[known[0].month.color].names if known else ()
    return [name for name in names if all(_null_share(record, name) == 1 for record in known)]


def _null_share(record: MonthRecord, column: str) -> float:
    """Return the share of rows of the clean file without a value of a column."""
    rows = record.status.rows.get("clean_trips", 0)
    return record.cleaning.nulls.get(column, 0) / rows if record.cleaning and rows else 0.0


def _loaded_tables(records: Sequence[MonthRecord]) -> list[Table]:
    """Return the table of the rows of each color at each store, and that of each month."""
    colors = dict.fromkeys(record.month.color for record in records)
    by_color = {color: [record for record in records if record.month.color == color] for color in colors}
    stores = [*(asset.store for asset in ASSETS), "rejected", "checks"]
    return [
        Table(
            "Rows of each color at each store",
            ["color", "months", *stores],
            [[color, _statuses(these), *_store_cells(these)] for color, these in by_color.items()],
            labels=2,
        ),
        Table(
            "Rows of each month at each store",
            ["month", "status", *stores],
            [[str(record.month), str(record.status.status), *_store_cells([record])] for record in records],
            labels=2,
        ),
    ]


def _statuses(records: Iterable[MonthRecord]) -> str:
    counts = Counter(str(record.status.status) for record in records)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _store_cells(records: Sequence[MonthRecord]) -> list[str]:
    """Return the rows of months at each store, the rejected rows, and the results of the checks."""
    cells = []
    for asset in ASSETS:
        counts = [record.status.rows[asset.name] for record in records if asset.name in record.status.rows]
        cells.append(f"{sum(counts):,}" if counts else "")
    rejected = [sum(record.cleaning.rejected.values()) for record in records if record.cleaning]
    checks = Counter(_outcome(check) for record in records for check in record.checks)
    return [
        *cells,
        f"{sum(rejected):,}" if rejected else "not known",
        ", ".join(f"{checks[kind]:,} {kind}" for kind in _OUTCOMES if checks[kind]),
    ]


_OUTCOMES = ("passed", "warning", "failed")


def _checks_table(records: Iterable[MonthRecord]) -> Table:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        for check in record.checks:
            counts.setdefault((check.asset, check.name), Counter())[_outcome(check)] += 1
    order = [asset.name for asset in ASSETS]
    rows = [
        [asset, name, *(f"{found[kind]:,}" for kind in _OUTCOMES)]
        for (asset, name), found in sorted(counts.items(), key=lambda item: _place(item[0][0], order))
    ]
    return Table(
        "Months by result of each check",
        ["asset", "check", *_OUTCOMES],
        rows,
        labels=2,
        is_detail=True,
    )


def _place(asset: str, order: Sequence[str]) -> int:
    return order.index(asset) if asset in order else len(order)


def _not_passed_table(records: Iterable[MonthRecord]) -> Table:
    rows = [
        [str(record.month), f"{check.asset}: {check.name}", _outcome(check), _figures_text(check.figures)]
        for record in records
        for check in record.checks
        if not check.passed
    ]
    return Table("Checks that did not pass", ["month", "check", "result", "figures"], rows, labels=4)


def _figures_text(figures: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:,.4g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value:,}"
        if isinstance(value, int)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in figures.items()
    )


def _outcome(check: CheckResult) -> str:
    return "passed" if check.passed else "warning" if check.only_warns else "failed"


def _sources_table(records: Iterable[MonthRecord]) -> Table:
    rows = [
        [
            str(record.month),
            record.fetch.address,
            format_size(record.fetch.bytes),
            f"{record.fetch.at:%Y-%m-%d %H:%M}",
            record.fetch.version,
            record.fetch.sha256,
        ]
        if record.fetch
        else [str(record.month), record.status.source or "not known", "", "", "", ""]
        for record in records
    ]
    headings = ["month", "file", "size", "fetched (UTC)", "version at the source", "SHA-256"]
    return Table("Source of each month", headings, rows, labels=len(headings))


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"{value:,.2f}"


def _percent(share: float) -> str:
    """Format a share in percent. A share that is not 0 is not shown as 0."""
    return "0%" if share == 0 else "<0.01%" if share < _SMALLEST else f"{share:.2%}"


_SMALLEST = 0.0001
