"""`taxi wipe`: months removed."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.options import colors_option, each_month, months_option
from taxi_assets.settings import Settings
from taxi_assets.stores.inventory import STORES
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from taxi_assets.operations.wipe import Wiper


@click.command()
@colors_option
@months_option
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Choice(STORES),
    help="Store to delete from; repeatable.  [default: all]",
)
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
def wipe(colors: tuple[str, ...], months: str, stores: tuple[str, ...], *, yes: bool) -> None:
    """Delete months from files, lake, warehouse and Postgres.

    It lists what is there, asks for confirmation, and deletes. `taxi status` then no longer shows the months as loaded.
    If a store fails, the others are still done; run the same command again for the rest.

    \b
    Stores:
      raw        the downloaded files
      clean      the Parquet files and the rejected lines
      lake       the objects in the folder or the bucket
      warehouse  the months' rows in DuckDB or BigQuery
      postgres   the months' partitions in Postgres

    \b
    Examples:
      taxi wipe --color green --months 2020-03
      taxi wipe --color yellow,green --months 2019 --store raw --store clean
      taxi wipe --color fhv --months 2021-01 --yes

    Exit codes: 0 success, also if there is nothing to delete, 1 something was not deleted or you answered no, 2 invalid
    arguments, or no terminal to ask on without --yes.
    """
    from taxi_assets.instance.processes import fail_dead_runs
    from taxi_assets.operations.adoption import open_upgraded
    from taxi_assets.operations.wipe import Wiper

    settings = Settings.load()
    with open_upgraded(settings) as instance:
        fail_dead_runs(instance)
        if not _wipe(Wiper(settings, instance), each_month(colors, months, settings), stores or STORES, yes=yes):
            sys.exit(1)


def _wipe(wiper: "Wiper", months: list[TripMonth], stores: Sequence[str], *, yes: bool) -> bool:
    """List, ask, remove; whether all of it went."""
    from taxi_assets.cli.wipe_view import print_lots

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
