"""Options that several commands have, and what they are read as."""

import click

from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

months_option = click.option(
    "--months", required=True, metavar="MONTHS", help="Months and ranges, such as 2020-03..2020-07,2020-12."
)


colors_option = click.option(
    "--color",
    "colors",
    multiple=True,
    required=True,
    type=click.Choice(COLORS),
    help="A color; repeat it for several.",
)


select_option = click.option(
    "--select",
    default="",
    metavar="STATIONS",
    help="Which stations: names and commas; + takes all that come after, or before, too: lake_trips+.  [default: all]",
)


fresh_option = click.option("--fresh", is_flag=True, help="Fetch the raw files even where the source has not changed.")


def each_month(colors: tuple[str, ...], months: str) -> list[TripMonth]:
    """Every color with every month, each once."""
    return [TripMonth(color, month) for color in dict.fromkeys(colors) for month in parse_months(months)]
