"""`taxi status`: the status of each month."""

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import load_settings, optional_colors_option, optional_months_option, select_statuses


@click.command()
@optional_colors_option
@optional_months_option
@click.option("--verbose", is_flag=True, help="Show each month on a line, and the whole error of each failed month.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list with an object for each month, with its row counts by asset.",
)
def status(colors: tuple[str, ...], months: str, *, verbose: bool, as_json: bool) -> None:
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

    More than 24 months are a table with a row for each year and a letter for each month: + for loaded, or the first
    letter of another status.

    Below the table are the totals, the sources of a color with more than one, the reasons for failures, and the
    commands that load these months again. A reason that several months share is shown once.

    \b
    Examples:
      taxi status
      taxi status --color green --months 2020
      taxi status --months 2020-03..2020-07 --verbose
      taxi status --json
    """
    with activity("Reading the history of runs"):
        from taxi_assets.cli.status_view import print_status, print_status_json
        from taxi_assets.instance.opening import may_run_here
        from taxi_assets.instance.partition_status import read_history
        from taxi_assets.instance.processes import end_dead_runs
        from taxi_assets.operations.adoption import open_upgraded

        settings = load_settings()
        is_selected = select_statuses(colors, months, settings)
        with open_upgraded(settings, reading=True) as instance:
            end_dead_runs(instance)
            history = read_history(instance, settings)
            here = may_run_here(instance)
    selected = [status for status in history if is_selected(status.month)]
    if as_json:
        print_status_json(selected)
    elif history and not selected:
        click.echo("None of these months has been loaded. To see the months that have been: taxi status")
    else:
        print_status(selected, "materialize" if here else "backfill", verbose=verbose)
