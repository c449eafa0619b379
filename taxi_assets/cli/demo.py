"""`taxi demo`: generate sample months and load them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.materialize import run_and_show
from taxi_assets.cli.options import load_settings, program
from taxi_assets.cli.report import write_report
from taxi_assets.cli.sample import publish_sample
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    from taxi_assets.settings import Settings

DEMO_MONTHS = (
    TripMonth("yellow", "2021-01"),
    TripMonth("yellow", "2021-02"),
    TripMonth("green", "2021-01"),
    TripMonth("fhv", "2021-01"),
)

DEMO_ROWS = 20_000


@click.command()
def demo() -> None:
    """Generate sample months, load them, compute the marts, and write a report.

    It needs no network and no account. Everything stays in TAXI_HOME; other settings are ignored. If TAXI_HOME has real
    months that the demo would replace, it stops and shows how to use another TAXI_HOME.

    \b
    Examples:
      taxi demo
      TAXI_HOME=demo_home taxi demo
    """
    settings = _demo_settings()
    with activity("Starting Dagster"):
        _require_no_real_months(settings)
    click.echo(f"Generating {len(DEMO_MONTHS)} sample months of {DEMO_ROWS:,} rows in {settings.source_url}")
    for month in DEMO_MONTHS:
        with activity(f"Generating {month}"):
            publish_sample(Path(settings.source_url), month, DEMO_ROWS, seed=0)
    click.echo("Loading them through the whole pipeline")
    board = run_and_show(settings, list(DEMO_MONTHS))
    if board.failed:
        sys.exit(1)
    click.echo("Computing the marts: daily trips, and revenue by zone")
    if run_and_show(settings, list(DEMO_MONTHS), "marts").failed:
        sys.exit(1)
    _print_places(settings)
    write_report(settings, settings.home / "report.html")
    _print_next_steps(settings.home / "report.html")


def _demo_settings() -> "Settings":
    """The settings of a demo: sample months, and only TAXI_HOME, whatever the environment sets."""
    from taxi_assets.settings import setting_names

    home = load_settings().home
    os.environ.update(dict.fromkeys(setting_names(), ""))
    os.environ.update(TAXI_HOME=str(home), TAXI_SOURCE_URL=str(home / "sample"))
    return load_settings()


def _require_no_real_months(settings: "Settings") -> None:
    """Raise ClickException if the demo would replace real trips with sample trips."""
    from taxi_assets.instance.downloads import last_fetch
    from taxi_assets.instance.opening import open_instance

    with open_instance(settings.home) as instance:
        fetches = [(month, last_fetch(instance, month)) for month in DEMO_MONTHS]
    for month, fetched in fetches:
        if fetched and not Path(fetched.address).is_relative_to(settings.source_url):
            raise click.ClickException(
                f"{month} in {settings.home} came from {fetched.address}: the demo would replace it with sample "
                "trips. Use a separate home: TAXI_HOME=demo_home taxi demo"
            )


def _print_places(settings: "Settings") -> None:
    """Print where each asset stores its months."""
    from taxi_assets.cli.tables import print_rows

    print_rows(
        ("asset", "location"),
        [
            ("raw", f"{settings.home / 'raw'}"),
            ("clean", f"{settings.home / 'clean'}"),
            ("lake", settings.lake_url),
            ("warehouse", settings.warehouse_url),
            ("postgres", f"{settings.home / 'postgres'}, database ny_taxi"),
        ],
    )


def _print_next_steps(report: Path) -> None:
    taxi = program()
    click.echo(f"""\
The trips are generated, not real. A report with charts of them is in {report}. Next steps:
  {taxi} dev                 start the UI, http://127.0.0.1:3000
  {taxi} status              show what is loaded
  {taxi} query "SELECT count(*), avg(total_amount) FROM yellow_taxi_trips"
  {taxi} query "SELECT borough, sum(trips) AS trips FROM monthly_zone_revenue GROUP BY borough ORDER BY trips DESC"
  {taxi} query --postgres "SELECT count(*) FROM green_taxi_trips"
  {taxi} materialize --color green --months 2020-04   load a real month from the mirror
  {taxi} stop                stop the Postgres server, which keeps running""")
