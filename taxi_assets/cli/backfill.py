"""`taxi backfill`: submit, resume, cancel and list backfills, which the Dagster daemon runs."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from taxi_assets.cli.activity import activity
from taxi_assets.cli.board import Board, watch
from taxi_assets.cli.materialize import print_end
from taxi_assets.cli.options import (
    each_month,
    every_month,
    fresh_option,
    load_settings,
    optional_colors_option,
    optional_months_option,
    overwrite_option,
    program,
    require_colors_to_overwrite,
    select_option,
)
from taxi_assets.operations.progress import ProgressEvent
from taxi_assets.tlc.trips import COLORS

if TYPE_CHECKING:
    from taxi_assets.operations.plan import Plan
    from taxi_assets.operations.runs import RunSpec
    from taxi_assets.settings import Settings
    from taxi_assets.tlc.trips import TripMonth

dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be submitted, and submit nothing.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the plan and the backfill IDs as a JSON object."
)
wait_option = click.option("--wait", is_flag=True, help="Show progress until the backfills finish.")


@dataclass(frozen=True)
class _Output:
    """How a submission is reported: not submitted at all, as JSON, or with progress until it finishes.

    `confirm` is whether the user confirms the plan before it is submitted.
    """

    dry_run: bool
    as_json: bool
    wait: bool
    confirm: bool = False

    def __post_init__(self) -> None:
        if self.wait and self.as_json:
            raise click.UsageError("--wait and --json exclude each other. Choose one.")


@click.group(invoke_without_command=True)
@optional_colors_option
@optional_months_option
@click.option("--missing", is_flag=True, help="Only months that are missing from at least one selected asset.")
@click.option("--failed", is_flag=True, help="Only months whose newest run failed.")
@click.option("--yes", is_flag=True, help="Without --months, submit the plan without asking for confirmation.")
@select_option
@fresh_option
@overwrite_option
@dry_run_option
@json_option
@wait_option
@click.option("--resume", "resumed", multiple=True, hidden=True)
@click.option("--cancel", "canceled", multiple=True, hidden=True)
@click.pass_context
def backfill(  # noqa: PLR0913  # one for each option
    context: click.Context,
    colors: tuple[str, ...],
    months: str,
    select: str,
    *,
    resumed: tuple[str, ...],
    canceled: tuple[str, ...],
    missing: bool,
    failed: bool,
    yes: bool,
    fresh: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    wait: bool,
) -> None:
    """Submit a backfill to the Dagster daemon, newest month first.

    Each color becomes a backfill of its own, which the UI shows. The daemon runs in `taxi dev` or in a deployment, and
    the limits of its run queue decide how many months run at once. Months that the source has not published, and months
    that are queued or running, are left out.

    Without --months, the backfill has all months of the source that are not loaded yet, or with --failed all that
    failed. It shows the plan with the bytes to download and the estimated disk, and asks for confirmation.

    \b
    Examples:
      taxi backfill --color green
      taxi backfill --months 2020 --dry-run
      taxi backfill --color yellow,green --months 2019-01..2020-12 --missing --wait
      taxi backfill --color green --months 2020 --failed
      taxi backfill list
      taxi backfill resume ID
      taxi backfill cancel ID

    Exit codes: 0 submitted, or nothing to do; 1 not confirmed, or with --wait if at least one month failed or was
    canceled; 2 invalid arguments or settings, or no terminal to confirm on and no --yes.
    """
    given = _given_options(context)
    if context.invoked_subcommand:
        if given:
            command = context.invoked_subcommand
            raise click.UsageError(f"{given[0]} is before {command}. Put the options of {command} after it.")
        return
    output = _Output(dry_run, as_json, wait)
    if resumed or canceled:
        _run_replaced_option(resumed, canceled, output, given)
        return
    require_colors_to_overwrite(colors, overwrite=overwrite)
    if missing and failed:
        raise click.UsageError("--missing and --failed exclude each other. Choose one.")

    def choose(settings: "Settings", _: object) -> "tuple[Sequence[TripMonth], RunSpec]":
        from taxi_assets.defs.build import build_definitions
        from taxi_assets.operations.runs import RunSpec, select_assets

        listed = each_month(colors or COLORS, months, settings) if months else every_month(colors, settings)
        return listed, RunSpec(select_assets(build_definitions(settings), select, marts=False), fresh, overwrite)

    output = replace(output, confirm=not (months or yes))
    _submit(choose, output, "failed" if failed else "missing" if missing or not months else "all")


def _given_options(context: click.Context) -> list[str]:
    """The options of a command that are on the command line."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]


def _run_replaced_option(
    resumed: Sequence[str], canceled: Sequence[str], output: _Output, given: Sequence[str]
) -> None:
    """Run what the options --resume and --cancel did before they became commands. `given` are all options."""
    option, ids = ("cancel", canceled) if canceled else ("resume", resumed)
    allowed = {"--cancel"} if canceled else {"--resume", "--dry-run", "--json", "--wait"}
    if excluded := [name for name in given if name not in allowed]:
        raise click.UsageError(f"--{option} and {excluded[0]} exclude each other. Choose one.")
    click.echo(f"--{option} is deprecated. Use: taxi backfill {option} {' '.join(ids)}", err=True)
    if canceled:
        _cancel(canceled)
    else:
        _resume(resumed, output)


@backfill.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@dry_run_option
@json_option
@wait_option
def resume(ids: tuple[str, ...], *, dry_run: bool, as_json: bool, wait: bool) -> None:
    """Resubmit the partitions that backfills did not load.

    The new backfills load the same assets. To find an ID, run `taxi backfill list`.

    \b
    Examples:
      taxi backfill resume abcdefgh
      taxi backfill resume abcdefgh --wait
    """
    _resume(ids, _Output(dry_run, as_json, wait))


@backfill.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def cancel(ids: tuple[str, ...]) -> None:
    """Cancel backfills and their queued and active runs.

    Months that are already loaded stay loaded.

    \b
    Example:
      taxi backfill cancel abcdefgh
    """
    _cancel(ids)


@backfill.command("list")
@click.option(
    "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(1), help="Number of backfills to list."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def list_(*, limit: int, as_json: bool) -> None:
    """List the newest backfills, with their status and the number of loaded months.

    \b
    Examples:
      taxi backfill list
      taxi backfill list --limit 100 --json
    """
    with activity("Reading the history of backfills"):
        from taxi_assets.cli.backfill_view import print_backfills, print_backfills_json
        from taxi_assets.operations.adoption import open_upgraded
        from taxi_assets.operations.backfills import list_backfills

        with open_upgraded(load_settings()) as instance:
            backfills = list_backfills(instance, limit)
    (print_backfills_json if as_json else print_backfills)(backfills)


def _submit(choose: "Callable[..., tuple[Sequence[TripMonth], RunSpec]]", output: _Output, which: str = "all") -> None:
    """Print the plan and, unless it is a dry run or not confirmed, submit it and wait for it if requested.

    `choose` gets the settings and the Dagster instance, and returns the months and what to run for each of them.
    """
    settings = load_settings()
    with ExitStack() as stack:
        with activity("Starting Dagster") as show:
            from taxi_assets.cli.backfill_view import print_plan, print_plan_json
            from taxi_assets.instance.processes import end_dead_runs
            from taxi_assets.operations import backfills
            from taxi_assets.operations.adoption import open_upgraded
            from taxi_assets.operations.plan import Which, plan_backfill

            instance = stack.enter_context(open_upgraded(settings))
            end_dead_runs(instance)
            months, spec = choose(settings, instance)
            show("Checking which months to load")
            plan = plan_backfill(settings, instance, months, spec.assets, Which(which))
        submits = bool(plan.wanted) and not output.dry_run
        if not output.as_json:
            print_plan(plan)
        elif submits and output.confirm:
            print_plan_json(plan, [])
        if submits and output.confirm and not _confirm(plan, as_json=output.as_json):
            sys.exit(1)
        ids: list[str] = []
        if submits:
            title = f"taxi {shlex.join(sys.argv[1:])}"
            with activity("Submitting the backfill"):
                ids = backfills.submit_backfills(instance, list(plan.wanted), spec, title)
        if output.as_json:
            print_plan_json(plan, ids)
        else:
            for backfill_id in ids:
                click.echo(f"Submitted backfill {backfill_id}: {settings.ui_url}/runs/b/{backfill_id}")
        if ids:
            _warn_without_daemon(alive=backfills.is_daemon_alive(instance))
        if ids and output.wait:
            board = Board(list(plan.wanted), spec.assets)
            _wait(board, backfills.follow_backfills(instance, ids), ids)
            if board.failed:
                sys.exit(1)


def _confirm(plan: "Plan", *, as_json: bool) -> bool:
    """Ask the user at the terminal whether to submit a plan. Raises UsageError if there is no terminal."""
    if as_json or not sys.stdin.isatty():
        where = "--json prints the plan" if as_json else "there is no terminal to confirm on"
        raise click.UsageError(f"Nothing was submitted, because {where}. Add --yes to submit this plan.")
    partitions = "this partition" if len(plan.wanted) == 1 else f"these {len(plan.wanted):,} partitions"
    return click.confirm(f"Submit {partitions}?")


def _resume(ids: Sequence[str], output: _Output) -> None:
    with activity("Starting Dagster"):
        from taxi_assets.operations.backfills import unloaded_months

    _submit(lambda _, instance: unloaded_months(instance, ids), output)


def _warn_without_daemon(*, alive: bool) -> None:
    if not alive:
        click.echo("No Dagster daemon is running, so nothing happens yet. Start one: taxi dev", err=True)


def _wait(board: Board, events: Iterator[ProgressEvent], ids: Sequence[str]) -> None:
    """Show the progress of backfills until they finish. Ctrl-C only stops the waiting."""
    from taxi_assets.cli.backfill_view import draw_grid

    try:
        with watch(board, draw_grid) as watcher:
            for event in events:
                watcher.update(event)
    except KeyboardInterrupt:
        click.echo(f"The backfill continues. To cancel it: {program()} backfill cancel {' '.join(ids)}", err=True)
        raise
    print_end(board, [f"{program()} backfill resume {' '.join(ids)}"])


def _cancel(ids: Sequence[str]) -> None:
    with ExitStack() as stack:
        with activity("Starting Dagster"):
            from taxi_assets.operations.adoption import open_upgraded
            from taxi_assets.operations.backfills import cancel_backfill, is_daemon_alive

            instance = stack.enter_context(open_upgraded(load_settings()))
        in_progress = False
        for backfill_id in ids:
            requested = cancel_backfill(instance, backfill_id)
            outcome = "is being canceled by the daemon" if requested else "has already finished"
            click.echo(f"Backfill {backfill_id} {outcome}.")
            in_progress |= requested
        if in_progress:
            _warn_without_daemon(alive=is_daemon_alive(instance))
