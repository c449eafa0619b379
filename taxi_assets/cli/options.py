"""Options that several commands share, and the parsing of their values."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taxi_assets.tlc.trips import COLORS, TripMonth, parse_colors, parse_months

if TYPE_CHECKING:
    from taxi_assets.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def _months_option(*, required: bool) -> "Callable[[Command], Command]":
    return click.option(
        "--months",
        multiple=True,
        required=required,
        callback=lambda _context, _option, values: ",".join(values),
        metavar="MONTHS",
        help="Months, years and ranges, such as 2020-03..2020-07,2020-12, 2019..2020 or 2021-03..",
    )


def _colors_option(*, required: bool) -> "Callable[[Command], Command]":
    return click.option(
        "--color",
        "colors",
        multiple=True,
        required=required,
        callback=lambda _context, _option, values: parse_colors(values),
        metavar="COLOR",
        help=f"Colors, such as {COLORS[0]} or {','.join(COLORS[:2])}, or all.",
    )


months_option, optional_months_option = _months_option(required=True), _months_option(required=False)
colors_option, optional_colors_option = _colors_option(required=True), _colors_option(required=False)


select_option = click.option(
    "--select",
    multiple=True,
    callback=lambda _context, _option, values: ",".join(values),
    metavar="ASSETS",
    help="Assets to run, separated by commas. A + adds all upstream or downstream assets: lake_trips+.  [default: all]",
)


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace objects in the lake that another program wrote."
)


fresh_option = click.option("--fresh", is_flag=True, help="Download raw files even if the source has not changed.")


def program() -> str:
    """The name or path of the `taxi` command, to print commands that can be pasted."""
    called = sys.argv[0]
    if called.endswith("taxi_assets/cli/__main__.py"):
        return "python -m taxi_assets.cli"
    if not called.endswith("/taxi") or shutil.which("taxi"):
        return "taxi"
    return os.path.relpath(called)


def each_month(colors: tuple[str, ...], months: str, settings: "Settings | None" = None) -> list[TripMonth]:
    """All unique combinations of colors and months. An open-ended range extends to the color's first or last partition.

    Without `settings`, partitions are not known, so ranges must have both ends. Raises UnknownMonth.
    """
    from taxi_assets.partitions import bounds

    return [
        TripMonth(color, month)
        for color in colors
        for month in parse_months(months, *(bounds(settings, color) if settings and ".." in months else ()))
    ]
