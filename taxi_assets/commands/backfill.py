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
@click.option("--resume", default="", metavar="ID", help="Ask for what a backfill has not loaded, as it did.")
@click.option("--cancel", default="", metavar="ID", help="Cancel a backfill, with its runs.")
def backfill(**words: Any) -> None:  # noqa: ANN401  # click gives them by name
    """Hand months to the daemon, which puts them into its queue, the newest first.

    It is one backfill that the UI shows and can cancel; the daemon is that of `taxi dev`, or of a deployment. How many
    months run at once is the run queue's setting. Months that the source has not published are left out, and so are
    those that run already, or wait for it. One that was cancelled, or in which months failed, is taken up by its id.

    \b
    Examples:
      taxi backfill --color yellow --color green --months 2019-01..2020-12 --dry-run
      taxi backfill --color yellow --color green --months 2019-01..2020-12 --missing --wait
      taxi backfill --color green --months 2020-01..2020-12 --failed
      taxi backfill --resume ID
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
    resume: str
    cancel: str
    missing: bool
    failed: bool
    fresh: bool
    dry_run: bool
    as_json: bool
    wait: bool

    def require_sense(self) -> None:
        """Raise UsageError where a word is missing, or some do not go together."""
        alone = "--cancel" if self.cancel else "--resume" if self.resume else ""
        for option, given in (("--color", self.colors), ("--months", self.months)):
            if not given and not alone:
                raise click.UsageError(f"Missing option '{option}'.")
        _require_one("--missing", "--failed", both=self.missing and self.failed)
        _require_one("--wait", "--json", both=self.wait and self.as_json)
        for option, said in self._what().items():
            _require_one(alone, option, both=bool(alone and said))
        for option, said in self._how().items():
            _require_one("--cancel", option, both=bool(self.cancel and said))

    def _what(self) -> dict[str, object]:
        """The words that say which months are asked for, and for what."""
        months = {"--color": self.colors, "--months": self.months, "--missing": self.missing, "--failed": self.failed}
        return {**months, "--select": self.select, "--fresh": self.fresh}

    def _how(self) -> dict[str, object]:
        """The other words."""
        return {"--resume": self.resume, "--dry-run": self.dry_run, "--json": self.as_json, "--wait": self.wait}

    @property
    def which(self) -> str:
        """Which of the months are asked for, a value of `defs.backfills.Which`."""
        return "missing" if self.missing else "failed" if self.failed else "all"


def _require_one(one: str, other: str, *, both: bool) -> None:
    if both:
        raise click.UsageError(f"{one} and {other} do not go together: choose one.")


def _backfill(settings: Settings, asked: _AskedBackfill) -> None:
    """Plan, say what is planned, submit, and wait, as far as is wanted."""
    from taxi_assets.console.backfill import print_plan, print_plan_json
    from taxi_assets.defs import backfills
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.jobs import LOAD_TRIPS
    from taxi_assets.defs.partitions import partition_key
    from taxi_assets.defs.runs import Order, select_stations

    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        if asked.resume:
            months, order = backfills.left_of_backfill(instance, asked.resume, settings)
        else:
            months = each_month(asked.colors, asked.months)
            order = Order(select_stations(build_definitions(settings), asked.select), asked.fresh)
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
        if backfill_id:
            _warn_without_daemon(alive=backfills.is_daemon_alive(instance))
        if backfill_id and asked.wait:
            board = Board(list(plan.wanted), order.stations)
            _wait(board, backfills.follow_backfill(instance, backfill_id, settings), backfill_id)
            if board.failed:
                sys.exit(1)


def _warn_without_daemon(*, alive: bool) -> None:
    if not alive:
        click.echo("No daemon was heard of lately: nothing happens until `taxi dev` runs.", err=True)


def _wait(board: Board, told: Iterator["RunNews"], backfill_id: str) -> None:
    """Show what is told of a backfill until it is over. Ctrl-C stops the waiting, and nothing else."""
    from taxi_assets.console.backfill import draw_grid

    try:
        with watch(board, draw_grid) as watcher:
            for news in told:
                watcher.hear(news)
    except KeyboardInterrupt:
        click.echo(f"The backfill goes on. To cancel it: taxi backfill --cancel {backfill_id}", err=True)
        raise
    print_end(board, [f"taxi backfill --resume {backfill_id}"])


def _cancel(settings: Settings, backfill_id: str) -> None:
    from taxi_assets.defs.backfills import cancel_backfill, is_daemon_alive
    from taxi_assets.defs.instance import open_instance

    with open_instance(settings.home) as instance:
        under_way = cancel_backfill(instance, backfill_id)
        click.echo(f"Backfill {backfill_id} {'will be cancelled by the daemon' if under_way else 'was over already'}")
        if under_way:
            _warn_without_daemon(alive=is_daemon_alive(instance))
