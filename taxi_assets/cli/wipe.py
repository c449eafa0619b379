"""`taxi wipe`: delete months from stores."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.activity import activity, while_waiting
from taxi_assets.cli.options import colors_option, each_month, load_settings, months_option
from taxi_assets.graph import STORES
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

    It lists the stored items, asks for confirmation, and deletes them. Then `taxi status` no longer shows the months as
    loaded. If a store fails, the other stores are still processed. Run the same command again to delete the rest.

    \b
    Stores:
      raw        the downloaded files
      clean      the Parquet files and the rejected lines
      lake       the objects in the folder or the bucket
      warehouse  the months' rows in DuckDB or BigQuery, of trips and of marts
      postgres   the months' partitions in Postgres

    \b
    Examples:
      taxi wipe --color green --months 2020-03
      taxi wipe --color yellow,green --months 2019 --store raw --store clean
      taxi wipe --color fhv --months 2021-01 --yes

    Exit codes: 0 success, also if there is nothing to delete; 1 something was not deleted, or you answered no; 2
    invalid arguments, or no terminal to confirm on and no --yes.
    """
    settings = load_settings()
    with ExitStack() as stack:
        with activity("Starting Dagster"):
            from taxi_assets.instance.processes import end_dead_runs
            from taxi_assets.operations.adoption import open_upgraded
            from taxi_assets.operations.wipe import Wiper

            listed = each_month(colors, months, settings)
            instance = stack.enter_context(open_upgraded(settings))
            end_dead_runs(instance)
        if not _wipe(Wiper(settings, instance), listed, stores or STORES, yes=yes):
            sys.exit(1)


def _wipe(wiper: "Wiper", months: list[TripMonth], stores: Sequence[str], *, yes: bool) -> bool:
    """List what exists, ask for confirmation, and delete it. Return whether everything was deleted."""
    from taxi_assets.cli.wipe_view import print_stored

    stored = print_stored(while_waiting("Looking for the months", wiper.find(months, stores)))
    found = {entry.month for entry in stored if entry.items or entry.error}
    for month in months:
        if month not in found:
            click.echo(f"{month}  not stored")
    if any(entry.items for entry in stored):
        for month in wiper.in_progress(months):
            click.echo(f"{month}  a run is in progress and may store the month again")
        if not _confirm(yes=yes):
            click.echo("Nothing was deleted.")
            return False
    removed = print_stored(while_waiting("Deleting", wiper.remove(stored)), done="deleted  ")
    return not any(entry.error for entry in (*stored, *removed))


def _confirm(*, yes: bool) -> bool:
    """Return whether to delete what is listed: confirmed with --yes, or by the user at the terminal."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "Nothing was deleted, because there is no terminal to confirm on. Add --yes to delete what is listed."
        )
    return yes or click.confirm("Delete all of this?")
