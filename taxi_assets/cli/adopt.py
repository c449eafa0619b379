"""`taxi adopt`: recognize months that stores already contain."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.activity import activity, while_waiting
from taxi_assets.cli.options import load_settings, optional_colors_option
from taxi_assets.tlc.trips import COLORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taxi_assets.operations.adoption import Adopted


@click.command()
@optional_colors_option
@click.option(
    "--previous-release",
    is_flag=True,
    help="Only months that the previous release loaded, unless they are already recognized.",
)
def adopt(colors: tuple[str, ...], *, previous_release: bool) -> None:
    """Recognize months that stores already contain, without loading them again.

    It finds months in the files, the lake, the warehouse and Postgres that Dagster does not know, because another
    installation or an earlier release loaded them, and reports them as materializations with their row counts. The
    stores do not change. Then `taxi status` and the UI show the months. A month is stale if its assets do not match.

    You don't need this after an upgrade: the first command recognizes the months that the previous release loaded.

    \b
    Examples:
      taxi adopt
      taxi adopt --color green

    Exit codes: 0 success, also if there is nothing to recognize; 1 a store could not be read; 2 invalid arguments or
    settings.
    """
    if colors and previous_release:
        raise click.UsageError("--previous-release applies to all colors. Omit --color.")
    settings = load_settings()
    with ExitStack() as stack:
        with activity("Starting Dagster"):
            from taxi_assets.instance.opening import open_instance
            from taxi_assets.operations.adoption import adopt as adopt_months
            from taxi_assets.operations.adoption import adopt_previous_release

            instance = stack.enter_context(open_instance(settings.home))
        if previous_release:
            print_adopted(adopt_previous_release(settings, instance))
        elif not print_adopted(adopt_months(settings, instance, colors or COLORS)):
            click.echo("Nothing to recognize: Dagster knows every month in the stores.")


def print_adopted(adopted: "Iterable[Adopted]") -> int:
    """Print a line for each month with its row count in each asset. Return the number of months."""
    number = 0
    for number, found in enumerate(while_waiting("Looking for months", adopted), start=1):  # noqa: B007  # the last one is the count
        rows = ", ".join(f"{asset} {count:,}" for asset, count in found.rows.items())
        click.echo(f"recognized {found.month}: {rows} rows")
    return number
