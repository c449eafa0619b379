"""`taxi status`: how months stand."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import gc

import click

from taxi_assets.settings import Settings


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="For machines: a JSON list, a month an object, with rows by station."
)
def status(*, as_json: bool) -> None:
    """Show what is loaded, stale or failed, with rows.

    A line for each month and a column for each color, with the rows in the warehouse. A month that is simply loaded has
    no word beside its rows; others have one:

    \b
      stale     a station ran again, and one after it has not; or the source
                has published the month again
      failed    its newest run failed; rows beside it are those of before
      partly    it did not pass all stations
      running   a run is under way
      waiting   a run is in the queue, or a backfill asks for one

    Below are the totals, why months failed, and the commands that run them again.

    \b
    Examples:
      taxi status
      taxi status --json
    """
    from taxi_assets.console.status import print_status, print_status_json
    from taxi_assets.defs.history import read_history
    from taxi_assets.defs.instance import fail_dead_runs, may_run_here, open_instance
    from taxi_assets.defs.partitions import trip_partitions

    # What is imported stays: to look for garbage among it is a sixth of this command's time.
    gc.disable()
    settings = Settings.load()
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        months = read_history(instance, trip_partitions(settings.first_month))
        here = may_run_here(instance)
    if as_json:
        print_status_json(months)
    else:
        print_status(months, "materialize" if here else "backfill")
