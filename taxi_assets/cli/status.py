"""`taxi status`: the status of each month."""

import click

from taxi_assets.cli.activity import activity
from taxi_assets.settings import Settings


@click.command()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list with an object for each month, with its row counts by asset.",
)
def status(*, as_json: bool) -> None:
    """Show which months are loaded, stale or failed, with row counts.

    The table has a row for each month and a column for each color, with the row count in the warehouse. A month that is
    loaded completely shows only its row count. For other months, the status follows:

    \b
      stale     an asset upstream changed, the source published the month
                again, or the code has a new version
      failed    the newest run failed; the row count is that of an earlier run
      partial   some assets are not materialized
      running   a run is in progress
      queued    a run is queued, or a backfill will create it

    Below the table are the totals, the reasons for failures, and the commands that load these months again.

    \b
    Examples:
      taxi status
      taxi status --json
    """
    with activity("Reading the history of runs"):
        from taxi_assets.cli.status_view import print_status, print_status_json
        from taxi_assets.instance.opening import may_run_here
        from taxi_assets.instance.partition_status import read_history
        from taxi_assets.instance.processes import fail_dead_runs
        from taxi_assets.operations.adoption import open_upgraded

        settings = Settings.load()
        with open_upgraded(settings) as instance:
            fail_dead_runs(instance)
            months = read_history(instance, settings)
            here = may_run_here(instance)
    if as_json:
        print_status_json(months)
    else:
        print_status(months, "materialize" if here else "backfill")
