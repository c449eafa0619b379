"""`taxi materialize`: load months now."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.board import Board, Line, watch
from taxi_assets.cli.options import colors_option, each_month, fresh_option, months_option, select_option
from taxi_assets.news import Progress, ProgressEvent
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth, format_by_color, format_months, months_by_color

if TYPE_CHECKING:
    from taxi_assets.stores.alerts import Channels


@click.command()
@colors_option
@months_option
@select_option
@click.option(
    "--workers", default=1, show_default=True, metavar="N", type=click.IntRange(1), help="How many months at once."
)
@fresh_option
@click.option("--strict", is_flag=True, help="Exit with 1 if a month is not published.")
@click.option("--alert", is_flag=True, help="Notify TAXI_ALERT_URLS of each month that failed.")
def materialize(  # noqa: PLR0913  # one an option
    colors: tuple[str, ...], months: str, select: str, workers: int, *, fresh: bool, strict: bool, alert: bool
) -> None:
    """Load months now, in this process.

    Each month is a Dagster run, which `taxi dev` shows. A month that fails does not affect the others; previously
    loaded data stays in place. Months that the source has not published are left out.

    \b
    Assets of a color: raw_trips > clean_trips > lake_trips > warehouse_trips
                                               > postgres_trips

    \b
    Examples:
      taxi materialize --color green --months 2020-04
      taxi materialize --color yellow,green --months 2020-03..2020-07,2020-12
      taxi materialize --color all --months 2020 --workers 2
      taxi materialize --color green --months 2020-04 --select lake_trips+
      taxi materialize --color green --months 2020-04 --alert

    Exit codes: 0 success, 1 at least one month failed, or with --strict was not published, 2 invalid arguments or
    settings.
    """
    from taxi_assets.systems import open_channels

    settings = Settings.load()
    channels = open_channels(settings) if alert else None
    listed = each_month(colors, months, settings)
    board = run_and_show(settings, listed, select, workers, fresh=fresh, channels=channels)
    if board.failed or (strict and len(board.loaded) < len(listed)):
        sys.exit(1)


def _tell(settings: Settings, channels: "Channels", line: Line) -> list[str]:
    """Tell people of a month that failed; what did not get through, which changes nothing."""
    from taxi_assets.defs.failed_runs import tell_failed_month

    failed = ProgressEvent(line.month, Progress.failed, line.asset, error=line.error, run_id=line.run_id)
    return tell_failed_month(settings, channels, failed)


def run_and_show(  # noqa: PLR0913  # as materialize
    settings: Settings,
    months: list[TripMonth],
    select: str = "",
    workers: int = 1,
    *,
    fresh: bool = False,
    channels: "Channels | None" = None,
) -> Board:
    """Load the months that are published, show them, and notify these channels of each that fails; the board."""
    _warm_up()
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.opening import require_runs_here
    from taxi_assets.instance.processes import fail_dead_runs, process_name
    from taxi_assets.operations.adoption import open_upgraded
    from taxi_assets.operations.plan import plan_months
    from taxi_assets.operations.runs import Order, select_assets
    from taxi_assets.operations.workers import run_months

    assets = select_assets(build_definitions(settings), select)
    # Whether runs can be here is known before the source is asked, which takes longer.
    with open_upgraded(settings) as instance:
        require_runs_here(instance)
        fail_dead_runs(instance)
    plan = plan_months(settings, months, assets)
    if plan.left_out:
        click.echo(f"not published: {format_by_color(plan.left_out)}")
    months = list(plan.wanted)
    board, order = Board(months, assets), Order(assets, fresh, process_name() if channels else "")
    troubles: list[str] = []
    if not months:
        return board
    try:
        with watch(board) as watcher, closing(run_months(settings, months, order, workers)) as told:
            for news in told:
                watcher.hear(news)
                if channels and news.what is Progress.failed:
                    troubles += _tell(settings, channels, board.lines[news.month])
    finally:
        board.stop()
        print_end(board, list(_again(board, select)))
        for trouble in troubles:
            click.echo(trouble, err=True)
    return board


def _again(board: Board, select: str) -> Iterator[str]:
    """The commands that run again what failed, one a color."""
    for color, months in months_by_color(line.month for line in board.failed).items():
        words = ["taxi", "materialize", "--color", color, "--months", format_months(months)]
        yield shlex.join([*words, *(["--select", select] if select else [])])


def print_end(board: Board, again: Sequence[str]) -> None:
    """The summary of a board, with the commands that run again what failed."""
    from taxi_assets.cli.tables import print_summary

    print_summary(board, again, traces=click.get_current_context().find_root().params["debug"])


def _warm_up() -> None:
    """Let the process that workers are forked from import Dagster while this one does."""
    import multiprocessing.forkserver

    multiprocessing.set_forkserver_preload(["taxi_assets.operations.workers", "taxi_assets.defs.build"])
    # It would else say, at Ctrl-C, where in its imports it was.
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.forkserver.ensure_running()
    signal.signal(signal.SIGINT, ours)
