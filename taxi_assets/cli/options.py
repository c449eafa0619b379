"""Options that several commands share, and the parsing of their values."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from taxi_assets.tlc.trips import COLORS, TripMonth, in_years, parse_colors, parse_months

if TYPE_CHECKING:
    from taxi_assets.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def _months_option(*, required: bool) -> "Callable[[Command], Command]":
    """Add the options for months. The command gets them as one value for `parse_months`, "" if none is given."""
    months_option = click.option(
        "--months",
        "--month",
        multiple=True,
        callback=_join,
        metavar="MONTHS",
        help="Months, years and ranges, such as 2020-03..2020-07,2020-12, 2019..2020 or 2021-03..",
    )
    year_option = click.option(
        "--year",
        "years",
        multiple=True,
        callback=_join,
        metavar="YEAR",
        help="Years, such as 2020 or 2019,2020. The months are then numbers: --year 2020 --month 4.",
    )

    def add(command: Command) -> Command:
        @wraps(command)
        def with_months(*arguments: Any, months: str, years: str, **options: Any) -> Any:  # noqa: ANN401
            if years:
                months = in_years(years, months)
            if required and not months:
                raise missing_months()
            return command(*arguments, months=months, **options)

        return cast("Command", months_option(year_option(with_months)))

    return add


def load_settings() -> "Settings":
    """Load the settings. They are imported here, because checking them takes longer than showing the help."""
    from taxi_assets.settings import Settings

    return Settings.load()


def _join(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> str:
    """Join the values of an option that can be given several times."""
    return ",".join(values)


def missing_months() -> click.UsageError:
    """The error of a command without months, with the examples of its help."""
    context = click.get_current_context()
    examples = re.findall(rf"^\s*(taxi {context.command.name} .*)", context.command.help or "", re.MULTILINE)
    lines = "\n".join(f"  {example}" for example in examples[:_EXAMPLES])
    return click.UsageError(f"Which months? Add --months. For example:\n{lines}")


_EXAMPLES = 3


def _colors_option(*, required: bool) -> "Callable[[Command], Command]":
    default = "" if required else "  [default: all]"
    return click.option(
        "--color",
        "colors",
        multiple=True,
        required=required,
        callback=lambda _context, _option, values: parse_colors(values),
        metavar="COLOR",
        help=f"Colors, such as {COLORS[0]} or {','.join(COLORS[:2])}, or all.{default}",
    )


months_option, optional_months_option = _months_option(required=True), _months_option(required=False)

colors_option, optional_colors_option = _colors_option(required=True), _colors_option(required=False)
"""The optional one is for commands that lose nothing with all colors. They use `colors or COLORS`."""


select_option = click.option(
    "--select",
    multiple=True,
    callback=_join,
    metavar="ASSETS",
    help="Assets to run, such as lake or raw,clean. A + adds all upstream or downstream assets: +lake, lake+. Marts "
    "are only run by their names, or with marts.  [default: all except marts]",
)


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace objects in the lake that another program wrote."
)


def require_colors_to_overwrite(colors: tuple[str, ...], *, overwrite: bool) -> None:
    """Raise UsageError for --overwrite without --color: it must not replace objects of colors that are not named."""
    if overwrite and not colors:
        raise click.UsageError(
            "Which colors? --overwrite replaces objects, so add --color, such as --color green or --color all."
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

    All colors are those that the source has. Without `settings`, the source and the partitions are not known, so ranges
    must have both ends. Raises UnknownMonth.
    """
    if not settings:
        return [TripMonth(color, month) for color in colors for month in parse_months(months)]
    from taxi_assets.partitions import bounds

    colors = _at_source(colors, settings)
    if ".." not in months:
        return [TripMonth(color, month) for color in colors for month in parse_months(months)]
    return [TripMonth(color, month) for color in colors for month in parse_months(months, *bounds(settings, color))]


def every_month(colors: tuple[str, ...], settings: "Settings") -> list[TripMonth]:
    """All partitions of colors, by default of all colors that the source has.

    Raises NotAPartition for a color without partitions.
    """
    from taxi_assets.partitions import bounds

    spans = {color: bounds(settings, color) for color in _at_source(colors or COLORS, settings)}
    return [TripMonth(color, month) for color, span in spans.items() for month in parse_months("..".join(span))]


def _at_source(colors: tuple[str, ...], settings: "Settings") -> tuple[str, ...]:
    """Return the colors, or those that the source has if they are all colors."""
    from taxi_assets.partitions import source_colors

    return source_colors(settings) if set(colors) == set(COLORS) else colors


def select_statuses(colors: tuple[str, ...], months: str, settings: "Settings") -> Callable[[TripMonth], bool]:
    """Return whether --color and --months select a month. Without an option, every month. Raises UnknownMonth."""
    if not months:
        return lambda month: not colors or month.color in colors
    listed = frozenset(each_month(colors or COLORS, months, settings))
    return lambda month: month in listed
