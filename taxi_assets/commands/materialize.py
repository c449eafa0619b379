"""`taxi materialize`: months through the stations, now."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from taxi_assets.commands.options import colors_option, each_month, fresh_option, months_option, select_option
from taxi_assets.console.board import Board, Line, watch
from taxi_assets.news import News, RunNews
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import TripMonth, format_months

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
@click.option("--alert", is_flag=True, help="Tell the channels of TAXI_ALERT_URLS of each month that failed.")
def materialize(  # noqa: PLR0913  # one an option
    colors: tuple[str, ...], months: str, select: str, workers: int, *, fresh: bool, alert: bool
) -> None:
    """Take months through the stations, now.

    Each month is a run of Dagster, which `taxi dev` shows. One that fails leaves the others, and what was loaded of it
    before, as they are; it can be run again any number of times.

    \b
    Stations: raw_trips > clean_trips > lake_trips > warehouse_trips
                                    > postgres_trips

    \b
    Examples:
      taxi materialize --color green --months 2020-04
      taxi materialize --color yellow --color green --months 2020-03..2020-07,2020-12
      taxi materialize --color fhv --months 2021-01..2021-06 --workers 2
      taxi materialize --color green --months 2020-04 --select lake_trips+
      taxi materialize --color green --months 2020-04 --alert

    Exit status: 0 all months are done, 1 some failed and the summary says why, 2 wrong arguments.
    """
    from taxi_assets.systems import open_channels

    settings = Settings.load()
    channels = open_channels(settings) if alert else None
    board = run_and_show(settings, each_month(colors, months), select, workers, fresh=fresh, channels=channels)
    if board.failed:
        sys.exit(1)


def _tell(settings: Settings, channels: "Channels", line: Line) -> list[str]:
    """Tell people of a month that failed; what did not get through, which changes nothing."""
    from taxi_assets.defs.alerts import tell_failed_month

    failed = RunNews(line.month, News.failed, line.station, error=line.error, run_id=line.run_id)
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
    """Run months and show them, and tell these channels of each that fails, at once; the board at the end."""
    _warm_up()
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.defs.instance import fail_dead_runs, open_instance, process_name, require_runs_here
    from taxi_assets.defs.partitions import require_partitions
    from taxi_assets.defs.runs import Order, select_stations
    from taxi_assets.defs.workers import run_months

    require_partitions(months, settings.first_month)
    stations = select_stations(build_definitions(settings), select)
    with open_instance(settings.home) as instance:
        require_runs_here(instance)
        fail_dead_runs(instance)
    board, order = Board(months, stations), Order(stations, fresh, process_name() if channels else "")
    troubles: list[str] = []
    try:
        with watch(board) as watcher, closing(run_months(settings, months, order, workers)) as told:
            for news in told:
                watcher.hear(news)
                if channels and news.what is News.failed:
                    troubles += _tell(settings, channels, board.lines[news.month])
    finally:
        board.stop()
        print_end(board, list(_again(board, select)))
        for trouble in troubles:
            click.echo(trouble, err=True)
    return board


def _again(board: Board, select: str) -> Iterator[str]:
    """The commands that run again what failed, one a color."""
    from taxi_assets.console.tables import months_by_color

    for color, months in months_by_color(line.month for line in board.failed).items():
        words = ["taxi", "materialize", "--color", color, "--months", format_months(months)]
        yield shlex.join([*words, *(["--select", select] if select else [])])


def print_end(board: Board, again: Sequence[str]) -> None:
    """The summary of a board, with the commands that run again what failed."""
    from taxi_assets.console.tables import print_summary

    print_summary(board, again, traces=click.get_current_context().find_root().params["debug"])


def _warm_up() -> None:
    """Let the process that workers are forked from import Dagster while this one does."""
    import multiprocessing.forkserver

    multiprocessing.set_forkserver_preload(["taxi_assets.defs.workers", "taxi_assets.defs.build"])
    # It would else say, at Ctrl-C, where in its imports it was.
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.forkserver.ensure_running()
    signal.signal(signal.SIGINT, ours)
