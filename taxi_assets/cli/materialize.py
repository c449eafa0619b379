"""`taxi materialize`: load months now."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.board import Board, watch
from taxi_assets.cli.options import (
    each_month,
    fresh_option,
    load_settings,
    months_option,
    optional_colors_option,
    overwrite_option,
    program,
    require_colors_to_overwrite,
    select_option,
)
from taxi_assets.tlc.trips import COLORS, TripMonth, format_by_color, format_months, months_by_color

if TYPE_CHECKING:
    from taxi_assets.operations.plan import Plan
    from taxi_assets.settings import Settings


@click.command()
@optional_colors_option
@months_option
@select_option
@click.option(
    "--workers",
    default=1,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="Months to load at once.",
)
@fresh_option
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Show what would be loaded, and load nothing.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a month is not published.")
@click.option("--alert", is_flag=True, hidden=True)
def materialize(  # noqa: PLR0913  # one an option
    colors: tuple[str, ...],
    months: str,
    select: str,
    workers: int,
    *,
    fresh: bool,
    overwrite: bool,
    dry_run: bool,
    strict: bool,
    alert: bool,
) -> None:
    """Load months now, in this process.

    Each month is a Dagster run, which `taxi dev` shows. A month that fails does not affect the others; previously
    loaded data stays in place. Months that the source has not published are left out.

    \b
    Assets of a color: raw_trips > clean_trips > lake_trips > warehouse_trips
                                               > postgres_trips
    Marts, which are computed only if you select them: daily_trips, monthly_zone_revenue

    \b
    Examples:
      taxi materialize --color green --months 2020-04
      taxi materialize --color yellow,green --months 2020-03..2020-07,2020-12
      taxi materialize --months 2020 --workers 2
      taxi materialize --color green --year 2020 --month 4
      taxi materialize --color green --months 2020-04 --select lake+
      taxi materialize --color green --months 2020-04 --select marts
      taxi materialize --months 2021 --dry-run

    Exit codes: 0 success, 1 at least one month failed, or with --strict was not published, 2 invalid arguments or
    settings.
    """
    if alert:
        click.echo(
            "--alert has no effect and will be removed. While a daemon runs (taxi dev or a deployment), it sends a "
            "notification about each failed run; without one, use the exit code of this command.",
            err=True,
        )
    require_colors_to_overwrite(colors, overwrite=overwrite)
    settings = load_settings()
    with activity("Starting Dagster"):  # which an open range needs
        listed = each_month(colors or COLORS, months, settings)
    if dry_run:
        show_plan(settings, listed, select)
        return
    board = run_and_show(settings, listed, select, workers, fresh=fresh, overwrite=overwrite)
    if board.failed or (strict and len(board.loaded) < len(listed)):
        sys.exit(1)


def show_plan(settings: "Settings", months: list[TripMonth], select: str) -> None:
    """Print which of the months would be loaded, and which would not and why."""
    with activity("Starting Dagster") as show:
        plan, _ = plan_here(settings, months, select, show)
        from taxi_assets.cli.backfill_view import print_plan
    print_plan(plan, order="")


def run_and_show(  # noqa: PLR0913  # as the command
    settings: "Settings",
    months: list[TripMonth],
    select: str = "",
    workers: int = 1,
    *,
    fresh: bool = False,
    overwrite: bool = False,
) -> Board:
    """Load the published months among `months`, display their progress, and return the board."""
    with activity("Starting Dagster") as show:
        plan, assets = plan_here(settings, months, select, show)
        from taxi_assets.cli.backfill_view import by_reason
        from taxi_assets.operations.runs import RunSpec
        from taxi_assets.operations.workers import started_months
    for reason, left_out in by_reason(plan.left_out):
        click.echo(f"{reason}: {format_by_color(left_out)}")
    for hint in plan.hints:
        click.echo(hint)
    months = list(plan.wanted)
    board, spec = Board(months, assets), RunSpec(assets, fresh, overwrite)
    if not months:
        return board
    try:
        # The display has a thread, and a process with threads cannot share its memory with workers.
        with started_months(settings, months, spec, workers) as events, watch(board) as watcher:
            for event in events:
                watcher.update(event)
    finally:
        board.stop()
        print_end(board, list(commands(board, select, fresh=fresh, overwrite=overwrite)))
    if spec.is_marts:
        with activity("Loading the taxi zones"):
            _load_zones(settings)
    return board


def _load_zones(settings: "Settings") -> None:
    """Load the taxi zones, whose names the views show, unless they were loaded before. Raises ClickException."""
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.runs import load_zones_once

    with open_instance(settings.home) as instance:
        if error := load_zones_once(build_definitions(settings), instance):
            raise click.ClickException(error)


def plan_here(
    settings: "Settings", months: list[TripMonth], select: str, show: Callable[[str], None]
) -> "tuple[Plan, tuple[str, ...]]":
    """Return which of the months this process loads, and the selected assets. `show` shows what takes time."""
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import require_runs_here
    from taxi_assets.instance.processes import end_dead_runs
    from taxi_assets.operations.adoption import open_upgraded
    from taxi_assets.operations.plan import plan_months
    from taxi_assets.operations.runs import select_assets

    assets = select_assets(build_definitions(settings), select)
    show("Opening the history of runs")
    # Check this before the requests to the source, which take longer.
    with open_upgraded(settings) as instance:
        require_runs_here(instance)
        end_dead_runs(instance)
    show("Checking which months the source has")
    return plan_months(settings, months, assets), assets


def commands(board: Board, select: str = "", *, fresh: bool = False, overwrite: bool = False) -> Iterator[str]:
    """The commands that load the months that are not loaded, one for each color."""
    options = [*(["--select", select] if select else []), *(["--fresh"] if fresh else [])]
    options += ["--overwrite"] if overwrite else []
    for color, months in months_by_color(line.month for line in board.unfinished).items():
        command = [program(), "materialize", "--color", color, "--months", format_months(months)]
        yield shlex.join([*command, *options])


def print_end(board: Board, again: Sequence[str]) -> None:
    """Print the summary of a board, with the commands that rerun the failed months."""
    from taxi_assets.cli.tables import print_summary

    print_summary(board, again, traces=click.get_current_context().find_root().params["debug"])
