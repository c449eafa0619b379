"""`taxi backfill`: months handed to the daemon."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from taxi_assets.commands.materialize import print_end
from taxi_assets.commands.options import each_month, fresh_option, select_option
from taxi_assets.console.board import Board, watch
from taxi_assets.news import RunNews
from taxi_assets.settings import Settings
from taxi_assets.tlc.trips import COLORS


@click.command()
@click.option("--color", "colors", multiple=True, type=click.Choice(COLORS), help="A color; repeat it for several.")
@click.option("--months", default="", metavar="MONTHS", help="Months and ranges, such as 2020-03..2020-07,2020-12.")
@click.option("--missing", is_flag=True, help="Only months that are not loaded at all stations.")
@click.option("--failed", is_flag=True, help="Only months whose newest run failed.")
@select_option
@fresh_option
@click.option("--dry-run", is_flag=True, help="Say what it would ask for, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON object with partitions and left_out.")
@click.option("--wait", is_flag=True, help="Show how it goes until it is over.")
@click.option("--cancel", default="", metavar="ID", help="Cancel a backfill, with its runs; alone.")
def backfill(**words: Any) -> None:  # noqa: ANN401  # click gives them by name
    """Hand months to the daemon, which runs them one after another, the newest first.

    It is one backfill that the UI shows and can cancel; the daemon is that of `taxi dev`, or of a deployment. How many
    months run at once is the run queue's setting. Months that the source has not published are left out, and so are
    those whose run is under way. One that was cancelled, or in which months failed, goes on with the same words and
    --missing, or --failed.

    \b
    Examples:
      taxi backfill --color yellow --color green --months 2019-01..2020-12 --dry-run
      taxi backfill --color yellow --color green --months 2019-01..2020-12 --missing --wait
      taxi backfill --color green --months 2020-01..2020-12 --failed
      taxi backfill --cancel ID

    Exit status: 0 it is submitted, or there is nothing to do; with --wait 1 if some months failed or were cancelled; 2
    wrong arguments.
    """
    asked = _AskedBackfill(**words)
    asked.require_sense()
    settings = Settings.load()
    if asked.cancel:
        _cancel(settings, asked.cancel)
    else:
        _backfill(settings, asked)


@dataclass(frozen=True)
class _AskedBackfill:
    """The words of a `taxi backfill`."""

    colors: tuple[str, ...]
    months: str
    select: str
    cancel: str
    missing: bool
    failed: bool
    fresh: bool
    dry_run: bool
    as_json: bool
    wait: bool

    def require_sense(self) -> None:
        """Raise UsageError where a word is missing, or two do not go together."""
        for given, option in ((self.colors, "--color"), (self.months, "--months")):
            if not given and not self.cancel:
                raise click.UsageError(f"Missing option '{option}'.")
        for one, other, both in (
            ("--missing", "--failed", self.missing and self.failed),
            ("--wait", "--json", self.wait and self.as_json),
            ("--cancel", "--color", self.cancel and self.colors),
        ):
            if both:
                raise click.UsageError(f"{one} and {other} do not go together: choose one.")

    @property
    def which(self) -> str:
        """Which of the months are asked for, a value of `defs.backfills.Which`."""
        return "missing" if self.missing else "failed" if self.failed else "all"


def _backfill(settings: Settings, asked: _AskedBackfill) -> None:
    """Plan, say what is planned, submit, and wait, as far as is wanted."""
    from taxi_assets.console.backfill import print_plan, print_plan_json
    from taxi_assets.defs import backfills
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.jobs import LOAD_TRIPS
    from taxi_assets.defs.partitions import partition_key
    from taxi_assets.defs.runs import Order, select_stations

    order = Order(select_stations(build_definitions(settings), asked.select), asked.fresh)
    months = each_month(asked.colors, asked.months)
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        plan = backfills.plan_backfill(settings, instance, months, order.stations, backfills.Which(asked.which))
        if not asked.as_json:
            print_plan(plan, LOAD_TRIPS)
        backfill_id = ""
        if plan.wanted and not asked.dry_run:
            title = f"taxi {shlex.join(sys.argv[1:])}"
            backfill_id = backfills.submit_backfill(instance, list(plan.wanted), order, title)
        if asked.as_json:
            print_plan_json(plan, {month: str(partition_key(month)) for month in months}, backfill_id)
        elif backfill_id:
            click.echo(f"Backfill {backfill_id} is submitted: {settings.ui_url}/runs/b/{backfill_id}")
        if backfill_id and not backfills.is_daemon_alive(instance):
            click.echo("No daemon was heard of lately: the backfill begins when `taxi dev` runs.", err=True)
        if backfill_id and asked.wait:
            board = Board(list(plan.wanted), order.stations)
            _wait(board, backfills.follow_backfill(instance, backfill_id, settings), backfill_id, asked.select)
            if board.failed:
                sys.exit(1)


def _wait(board: Board, told: Iterator["RunNews"], backfill_id: str, select: str) -> None:
    """Show what is told of a backfill until it is over. Ctrl-C stops the waiting, and nothing else."""
    from taxi_assets.console.backfill import draw_grid

    try:
        with watch(board, draw_grid) as watcher:
            for news in told:
                watcher.hear(news)
    except KeyboardInterrupt:
        click.echo(f"The backfill goes on. To cancel it: taxi backfill --cancel {backfill_id}", err=True)
        raise
    print_end(board, "backfill", select)


def _cancel(settings: Settings, backfill_id: str) -> None:
    from taxi_assets.defs.backfills import cancel_backfill
    from taxi_assets.defs.instance import open_instance

    with open_instance(settings.home) as instance:
        under_way = cancel_backfill(instance, backfill_id)
    click.echo(f"Backfill {backfill_id} " + ("will be cancelled by the daemon" if under_way else "was over already"))
