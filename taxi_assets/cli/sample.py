"""`taxi sample`: generate sample months."""

from pathlib import Path

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import each_month, months_option, optional_colors_option
from taxi_assets.tlc.trips import COLORS, TripMonth


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@optional_colors_option
@months_option
@click.option(
    "--rows", default=100_000, show_default=True, metavar="N", type=click.IntRange(0), help="Rows in each month."
)
@click.option(
    "--format",
    "format_",
    default="csv",
    show_default=True,
    type=click.Choice(["csv", "parquet"], case_sensitive=False),
    help="CSVs like those of the mirror, or Parquet files like those of the TLC.",
)
@click.option(
    "--seed", default=0, show_default=True, metavar="N", type=click.IntRange(0), help="Seed of the random generator."
)
def sample(  # noqa: PLR0913  # one for each option
    folder: Path, *, colors: tuple[str, ...], months: str, rows: int, format_: str, seed: int
) -> None:
    """Generate sample months in FOLDER.

    The same seed gives the same bytes. To load CSVs, set TAXI_SOURCE_URL to FOLDER. To load Parquet files, set it to
    FOLDER/{color}/{color}_tripdata_{month}.parquet, with the braces.

    \b
    Examples:
      taxi sample samples --color yellow --months 2021-01 --rows 1000000
      taxi sample samples --months 2020-11..2021-02
      taxi sample samples --color fhvhv --months 2025-01 --format parquet
      TAXI_SOURCE_URL=samples taxi materialize --color yellow --months 2021-01
    """
    for month in each_month(colors or COLORS, months):
        with activity(f"Generating {month}"):
            path = publish_sample(folder, month, rows, seed, _SUFFIXES[format_])
        click.echo(f"{month}: {rows:,} rows in {path}")


_SUFFIXES = {"csv": ".csv.gz", "parquet": ".parquet"}


def publish_sample(folder: Path, month: TripMonth, rows: int, seed: int, suffix: str = ".csv.gz") -> Path:
    """Generate a sample month in a folder with the layout of a source, and return its path.

    `suffix` says the format of the file.
    """
    from taxi_assets.stores.files.staging import StagedFile
    from taxi_assets.tlc.sample import write_sample

    with StagedFile(folder / month.color / f"{month.stem}{suffix}") as staged:
        write_sample(month, rows, staged.path, seed)
        return staged.publish()
