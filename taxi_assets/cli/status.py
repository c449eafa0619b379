"""`taxi status`: how months stand."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import gc

import click

from taxi_assets.settings import Settings


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list with an object for each month and its rows by asset."
)
def status(*, as_json: bool) -> None:
    """Show what is loaded, stale or failed, with rows.

    The table has a row for each month and a column for each color, with the rows in the warehouse. A month that is
    loaded completely shows only its rows. For other months, the status follows:

    \b
      stale     an asset upstream changed, the source published the month
                again, or the code has a new version
      failed    the newest run failed; rows are those of an earlier run
      partly    some assets are not materialized
      running   a run is in progress
      waiting   a run is queued or part of a backfill

    Below the table are the totals, why months failed, and the commands that load them again.

    \b
    Examples:
      taxi status
      taxi status --json
    """
    from taxi_assets.cli.status_view import print_status, print_status_json
    from taxi_assets.instance.opening import may_run_here
    from taxi_assets.instance.partition_status import read_history
    from taxi_assets.instance.processes import fail_dead_runs
    from taxi_assets.operations.adoption import open_upgraded

    # What is imported stays: to look for garbage among it is a sixth of this command's time.
    gc.disable()
    settings = Settings.load()
    with open_upgraded(settings) as instance:
        fail_dead_runs(instance)
        months = read_history(instance, settings)
        here = may_run_here(instance)
    if as_json:
        print_status_json(months)
    else:
        print_status(months, "materialize" if here else "backfill")
