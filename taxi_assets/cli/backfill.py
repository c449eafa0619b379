"""`taxi backfill`: load months through the daemon."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from taxi_assets.cli.board import Board, watch
from taxi_assets.cli.materialize import print_end
from taxi_assets.cli.options import (
    each_month,
    fresh_option,
    optional_colors_option,
    optional_months_option,
    select_option,
)
from taxi_assets.news import ProgressEvent
from taxi_assets.settings import Settings


@click.command()
@optional_colors_option
@optional_months_option
@click.option("--missing", is_flag=True, help="Only months that are not loaded in all assets.")
@click.option("--failed", is_flag=True, help="Only months whose newest run failed.")
@select_option
@fresh_option
@click.option("--dry-run", is_flag=True, help="Show what would be submitted, and submit nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with partitions and left_out.")
@click.option("--wait", is_flag=True, help="Show progress until the backfills finish.")
@click.option(
    "--resume", multiple=True, metavar="ID", help="Resubmit the partitions that a backfill did not load; repeatable."
)
@click.option("--cancel", multiple=True, metavar="ID", help="Cancel a backfill and its runs; repeatable.")
def backfill(**words: Any) -> None:  # noqa: ANN401  # click gives them by name
    """Submit a backfill to the Dagster daemon, newest month first.

    Each color is a backfill of its own, which the UI shows and can cancel; this command plans, follows and sums them up
    as one. The daemon is that of `taxi dev`, or of a deployment. The run queue's settings limit how many months run at
    once. Months that the source has not published are left out, and so are those that already run or are queued.

    \b
    Examples:
      taxi backfill --color yellow,green --months 2019..2020 --dry-run
      taxi backfill --color yellow,green --months 2019-01..2020-12 --missing --wait
      taxi backfill --color green --months 2020 --failed
      taxi backfill --resume ID
      taxi backfill --cancel ID

    Exit codes: 0 submitted, or nothing to do; 1 with --wait if some months failed or were cancelled; 2 invalid
    arguments or settings.
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
    resume: tuple[str, ...]
    cancel: tuple[str, ...]
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
        """Which of the months are asked for, a value of `defs.plan.Which`."""
        return "missing" if self.missing else "failed" if self.failed else "all"


def _require_one(one: str, other: str, *, both: bool) -> None:
    if both:
        raise click.UsageError(f"{one} and {other} do not go together: choose one.")


def _backfill(settings: Settings, asked: _AskedBackfill) -> None:
    """Plan, say what is planned, submit, and wait, as far as is wanted."""
    from taxi_assets.cli.backfill_view import print_plan, print_plan_json
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.instance.processes import fail_dead_runs
    from taxi_assets.operations import backfills
    from taxi_assets.operations.adoption import open_upgraded
    from taxi_assets.operations.plan import Which, plan_backfill
    from taxi_assets.operations.runs import Order, select_assets

    with open_upgraded(settings) as instance:
        fail_dead_runs(instance)
        if asked.resume:
            months, order = backfills.left_of_backfills(instance, asked.resume)
        else:
            months = each_month(asked.colors, asked.months, settings)
            order = Order(select_assets(build_definitions(settings), asked.select), asked.fresh)
        plan = plan_backfill(settings, instance, months, order.assets, Which(asked.which))
        if not asked.as_json:
            print_plan(plan)
        backfill_ids: list[str] = []
        if plan.wanted and not asked.dry_run:
            title = f"taxi {shlex.join(sys.argv[1:])}"
            backfill_ids = backfills.submit_backfills(instance, list(plan.wanted), order, title)
        if asked.as_json:
            print_plan_json(plan, backfill_ids)
        else:
            for backfill_id in backfill_ids:
                click.echo(f"Backfill {backfill_id} is submitted: {settings.ui_url}/runs/b/{backfill_id}")
        if backfill_ids:
            _warn_without_daemon(alive=backfills.is_daemon_alive(instance))
        if backfill_ids and asked.wait:
            board = Board(list(plan.wanted), order.assets)
            _wait(board, backfills.follow_backfills(instance, backfill_ids), backfill_ids)
            if board.failed:
                sys.exit(1)


def _warn_without_daemon(*, alive: bool) -> None:
    if not alive:
        click.echo("No daemon was heard of lately: nothing happens until `taxi dev` runs.", err=True)


def _wait(board: Board, told: Iterator["ProgressEvent"], backfill_ids: Sequence[str]) -> None:
    """Show what is told of backfills until they are over. Ctrl-C stops the waiting, and nothing else."""
    from taxi_assets.cli.backfill_view import draw_grid

    try:
        with watch(board, draw_grid) as watcher:
            for news in told:
                watcher.hear(news)
    except KeyboardInterrupt:
        click.echo(f"The backfill goes on. To cancel it: {_command('--cancel', backfill_ids)}", err=True)
        raise
    print_end(board, [_command("--resume", backfill_ids)])


def _command(option: str, backfill_ids: Sequence[str]) -> str:
    return " ".join(["taxi backfill", *(f"{option} {backfill_id}" for backfill_id in backfill_ids)])


def _cancel(settings: Settings, backfill_ids: Sequence[str]) -> None:
    from taxi_assets.operations.adoption import open_upgraded
    from taxi_assets.operations.backfills import cancel_backfill, is_daemon_alive

    with open_upgraded(settings) as instance:
        under_way = False
        for backfill_id in backfill_ids:
            cancelled = cancel_backfill(instance, backfill_id)
            click.echo(
                f"Backfill {backfill_id} {'will be cancelled by the daemon' if cancelled else 'was over already'}"
            )
            under_way |= cancelled
        if under_way:
            _warn_without_daemon(alive=is_daemon_alive(instance))
