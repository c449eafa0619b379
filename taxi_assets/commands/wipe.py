"""`taxi wipe`: months removed."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from taxi_assets.commands.options import colors_option, each_month, months_option
from taxi_assets.settings import Settings
from taxi_assets.stores.holdings import STORES
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from taxi_assets.defs.wipe import Wiper


@click.command()
@colors_option
@months_option
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Choice(STORES),
    help="A store to remove them from; repeat it for several.  [default: all]",
)
@click.option("--yes", is_flag=True, help="Remove without asking, as scripts need.")
def wipe(colors: tuple[str, ...], months: str, stores: tuple[str, ...], *, yes: bool) -> None:
    """Remove months from files, lake, warehouse and Postgres.

    It lists what is there, asks, then tells what it removed, a line each. `taxi status` does not call the months loaded
    any more. A store that fails leaves the others to be done; the same command again does the rest.

    \b
    Stores:
      raw        the source's files, as they were fetched
      clean      the Parquet files, and the lines that were rejected
      lake       the objects in the folder or the bucket
      warehouse  the months' rows in DuckDB or BigQuery
      postgres   the months' partitions in Postgres

    \b
    Examples:
      taxi wipe --color green --months 2020-03
      taxi wipe --color yellow --color green --months 2019-01..2019-12 --store raw --store clean
      taxi wipe --color fhv --months 2021-01 --yes

    Exit status: 0 also where nothing is there, 1 something was not removed, or you said no, 2 there is no terminal to
    ask on, and no --yes.
    """
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.wipe import Wiper

    settings = Settings.load()
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        if not _wipe(Wiper(settings, instance), each_month(colors, months), stores or STORES, yes=yes):
            sys.exit(1)


def _wipe(wiper: "Wiper", months: list[TripMonth], stores: Sequence[str], *, yes: bool) -> bool:
    """List, ask, remove; whether all of it went."""
    from taxi_assets.console.wipe import print_lots

    lots = print_lots(wiper.look(months, stores))
    found = {lot.month for lot in lots if lot.held or lot.error}
    for month in months:
        if month not in found:
            click.echo(f"{month}  nothing is there")
    if any(lot.held for lot in lots):
        for month in wiper.under_way(months):
            click.echo(f"{month}  a run of it is under way: what that stores later will be there again")
        if not _may_remove(yes=yes):
            click.echo("nothing was removed")
            return False
    removed = print_lots(wiper.remove(lots), done="removed  ")
    return not any(lot.error for lot in (*lots, *removed))


def _may_remove(*, yes: bool) -> bool:
    """Whether what is listed may go: the words said so, or the person at the terminal does."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on, so nothing was removed: add --yes to remove what is listed"
        )
    return yes or click.confirm("Remove all of this?")
