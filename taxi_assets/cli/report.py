"""`taxi report`: one HTML file with charts and figures of what is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import load_settings, optional_colors_option, optional_months_option, select_statuses

if TYPE_CHECKING:
    from taxi_assets.settings import Settings


@click.command()
@optional_colors_option
@optional_months_option
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--shapes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The TLC's taxi_zones.zip, for maps.  [default: that of the source, if it has one]",
)
def report(colors: tuple[str, ...], months: str, output: Path, shapes: Path | None) -> None:
    """Write a report of what is loaded as one HTML file.

    The report shows the rows at each store, rejected rows and checks; trips and revenue over time, by hour of the week,
    zone and borough; the quality of the data; the source of each month; and how each figure is computed. Without
    options, it covers all months that are loaded.

    The file contains its charts and loads nothing, so you can send it to others, open it offline, and print it.

    \b
    Examples:
      taxi report
      taxi report --color green --months 2020-03..2020-07 -o green.html
      taxi report --months 2020 --shapes taxi_zones.zip

    Exit codes: 0 success, 1 none of these months is loaded, or the file cannot be written.
    """
    settings = load_settings()
    size = write_report(settings, output, colors, months, shapes)
    click.echo(f"Wrote {output} ({size / 1e6:,.1f} MB). Open it in a browser.")


def write_report(
    settings: "Settings", output: Path, colors: tuple[str, ...] = (), months: str = "", shapes: Path | None = None
) -> int:
    """Write the report of months, by default of all, and return its size in bytes. It replaces the file atomically."""
    with activity("Reading the history of runs") as show:
        from taxi_assets.cli.report_view import render_report
        from taxi_assets.instance.partition_status import read_history
        from taxi_assets.operations.adoption import open_upgraded
        from taxi_assets.operations.report import gather_report
        from taxi_assets.stores.files.staging import StagedFile

        is_selected = select_statuses(colors, months, settings)
        with open_upgraded(settings) as instance, StagedFile(output) as staged:
            history = read_history(instance, settings)
            selected = [status for status in history if is_selected(status.month)]
            gathered = gather_report(instance, settings, selected, shapes, show)
            page = render_report(gathered, show).encode()
            staged.path.write_bytes(page)
            staged.publish()
    return len(page)
