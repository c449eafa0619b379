"""The display of a backfill: its plan, then a live grid of months and colors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from taxi_assets.cli.board import CHROME_LINES, STYLES, Board, Line, State, draw_tally, select_rows
from taxi_assets.cli.tables import open_console, plain_table, print_rows
from taxi_assets.operations.plan import Plan
from taxi_assets.tlc.trips import COLORS, TripMonth, format_months, months_by_color

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from taxi_assets.operations.backfills import BackfillSummary


def print_plan(plan: Plan, order: str = ", newest month first") -> None:
    """Print the number of partitions, runs and bytes, the months to load, and the skipped months with reasons.

    The estimated disk at each store follows the months, if the size of a month is known.

    `order` says in which order the months are loaded.
    """
    console = open_console()
    if plan.wanted:
        partitions, runs = (_counted(len(plan.wanted), what) for what in ("partition", "run"))
        console.print(f"{partitions}, {runs}, {_total_size(plan.wanted)}{order}:")
        for color, months in months_by_color(plan.wanted).items():
            console.print(f"  {color} {format_months(months)}", soft_wrap=True)
        if plan.disk:
            console.print(_disk(plan), soft_wrap=True)
    else:
        console.print("Nothing to run.")
    if plan.left_out:
        console.print("Left out:")
        for why, these in by_reason(plan.left_out):
            for color, months in months_by_color(these).items():
                console.print(f"  {color} {format_months(months)}: {why}", soft_wrap=True, markup=False)
    for hint in plan.hints:
        console.print(hint, soft_wrap=True, markup=False, highlight=False)


def print_plan_json(plan: Plan, backfill_ids: Sequence[str]) -> None:
    """Print the plan as a JSON object.

    `partitions` and `left_out` are ordered lists of months such as `green 2020-03`. `reasons` maps each skipped month
    to the reason, `bytes` is the total of the known sizes, `disk` maps each store to its estimated bytes, and
    `backfills` lists the backfill IDs, one for each color.
    """
    listed = {
        "partitions": [str(month) for month in plan.wanted],
        "left_out": [str(month) for month in plan.left_out],
        "reasons": {str(month): why for month, why in plan.left_out.items()},
        "bytes": sum(size or 0 for size in plan.wanted.values()),
        "disk": plan.disk,
        "backfills": list(backfill_ids),
    }
    print(json.dumps(listed, indent=1))


def print_backfills(backfills: Sequence["BackfillSummary"]) -> None:
    """Print backfills as a table: ID, status, time of submission, color, months, and number of loaded months."""
    if not backfills:
        print("There are no backfills.")
        return
    print_rows(
        ("backfill", "status", "created (UTC)", "color", "months", "loaded"),
        [
            (
                backfill.backfill_id,
                backfill.status,
                f"{backfill.created:%Y-%m-%d %H:%M}",
                backfill.color or "assets",
                format_months(backfill.months),
                f"{backfill.loaded} of {len(backfill.months)}" if backfill.months else f"{backfill.loaded}",
            )
            for backfill in backfills
        ],
    )


def print_backfills_json(backfills: Sequence["BackfillSummary"]) -> None:
    """Print backfills as a JSON list of objects."""
    listed = [{**asdict(backfill), "created": backfill.created.isoformat()} for backfill in backfills]
    print(json.dumps(listed, indent=1))


def draw_grid(board: Board, console: "Console") -> "RenderableType":
    """A grid with a row for each month and a column for each color: the current step, the row count, or the state."""
    from rich.console import Group

    lines = sorted(board.lines.values(), key=lambda line: line.month.month, reverse=True)
    rows = [list(these) for _, these in groupby(lines, key=lambda line: line.month.month)]
    shown, hidden = select_rows(rows, console.height - CHROME_LINES)
    colors = [color for color in COLORS if any(line.month.color == color for line in lines)]
    table = plain_table("month")
    for color in colors:
        table.add_column(color, min_width=_CELL_WIDTH, no_wrap=True, overflow="ellipsis")
    for row in shown:
        by_color = {line.month.color: line for line in row}
        table.add_row(row[0].month.month, *(_cell(by_color.get(color)) for color in colors))
    return Group(table, draw_tally(board, hidden))


_CELL_WIDTH = len("failed at warehouse")
"""Minimum width of a column, so that the other columns do not move."""


def _cell(line: Line | None) -> "Text":
    from rich.text import Text

    if line is None:
        return Text("")
    asset = line.asset.removesuffix("_trips")
    match line.state:
        case State.running:
            text = asset or "starting"
        case State.done:
            text = f"{max(line.rows.values(), default=0):,} rows"
        case State.failed if asset:
            text = f"failed at {asset}"
        case _:
            text = line.state
    return Text(text, STYLES[line.state])


def by_reason(left_out: Mapping[TripMonth, str]) -> list[tuple[str, Sequence[TripMonth]]]:
    """Group skipped months by the reason, in their order."""
    by_reason: dict[str, list[TripMonth]] = {}
    for month, why in left_out.items():
        by_reason.setdefault(why, []).append(month)
    return list(by_reason.items())


def _total_size(wanted: Mapping[TripMonth, int | None]) -> str:
    known = [size for size in wanted.values() if size is not None]
    if not known:
        return "size not known"
    unknown = len(wanted) - len(known)
    return _shown_size(sum(known)) + (f" and {unknown} of unknown size" if unknown else "")


def _disk(plan: Plan) -> str:
    """The estimated disk at each store. It is a lower limit if the size of a month is not known."""
    least = "at least " if None in plan.wanted.values() else ""
    return f"Estimated disk: {least}{', '.join(f'{store} {_shown_size(size)}' for store, size in plan.disk.items())}"


def _shown_size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= _GIGABYTE else f"{size / 1e6:,.1f} MB"


_GIGABYTE = 10**9


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
