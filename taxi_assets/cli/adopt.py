"""`taxi adopt`: recognize months that stores already hold."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

from typing import TYPE_CHECKING

import click

from taxi_assets.cli.options import optional_colors_option
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taxi_assets.operations.adoption import Adopted


@click.command()
@optional_colors_option
@click.option(
    "--previous-release", is_flag=True, help="Only what the previous release loaded, and only if not yet done."
)
def adopt(colors: tuple[str, ...], *, previous_release: bool) -> None:
    """Recognize months that stores already hold, without loading them again.

    It looks for months in files, lake, warehouse and Postgres that Dagster does not know, because another installation
    or an earlier release loaded them, and reports them as materializations with their rows. The stores do not change.
    From then on, `taxi status` and the UI show the months. A month is stale if its assets do not fit together.

    You do not need this after an upgrade: the first command recognizes the months that the previous release loaded.

    \b
    Examples:
      taxi adopt
      taxi adopt --color green

    Exit codes: 0 success, also if there is nothing to recognize; 1 a store could not be asked; 2 invalid arguments or
    settings.
    """
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.adoption import adopt as adopt_months
    from taxi_assets.operations.adoption import adopt_previous_release

    if colors and previous_release:
        raise click.UsageError("--previous-release is for all colors. Leave out --color.")
    settings = Settings.load()
    with open_instance(settings.home) as instance:
        if previous_release:
            print_adopted(adopt_previous_release(settings, instance))
        elif not print_adopted(adopt_months(settings, instance, colors or COLORS)):
            click.echo("Nothing to recognize: Dagster knows every month that the stores hold.")


def print_adopted(adopted: "Iterable[Adopted]") -> int:
    """Print a line for each month, with its rows in each asset; gives the number of months."""
    number = 0
    for number, found in enumerate(adopted, start=1):  # noqa: B007  # the last one is the count
        rows = ", ".join(f"{asset} {count:,}" for asset, count in found.rows.items())
        click.echo(f"recognized {found.month}: {rows} rows")
    return number
