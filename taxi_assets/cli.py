"""The `taxi` command: a thin face over the rest. Exit status: 0 all done, 1 something failed, 2 wrong arguments."""

import os
import shutil
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taxi_assets.console.board import Board, watch
from taxi_assets.errors import BadSelection, SettingsError, TaxiAssetsError, UnknownMonth
from taxi_assets.settings import Settings, setting_names
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

if TYPE_CHECKING:
    from taxi_assets.stores.postgres import PostgresStore

_WRONG_ARGUMENTS = (BadSelection, SettingsError, UnknownMonth)

DEMO_MONTHS = (
    TripMonth("yellow", "2021-01"),
    TripMonth("yellow", "2021-02"),
    TripMonth("green", "2021-01"),
    TripMonth("fhv", "2021-01"),
)
DEMO_ROWS = 20_000


def main() -> None:
    """Run the command line. What goes wrong on purpose is a line on stderr, not a traceback."""
    try:
        taxi.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except (TaxiAssetsError, OSError) as error:
        click.secho(f"error: {error}", err=True, fg="red")
        sys.exit(2 if isinstance(error, _WRONG_ARGUMENTS) else 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taxi-assets")
def taxi() -> None:
    """New York's taxi trips, a color and a month at a time: files, a lake, a warehouse and Postgres."""


months_option = click.option(
    "--months", required=True, metavar="MONTHS", help="Months and ranges, such as 2020-03..2020-07,2020-12."
)
colors_option = click.option(
    "--color", "colors", multiple=True, required=True, type=click.Choice(COLORS), help="A color; can repeat."
)


@taxi.command()
@colors_option
@months_option
@click.option(
    "--select", default="", metavar="STATIONS", help="Which stations, such as lake_trips+ ; default: all five."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="How many months at once.")
def materialize(colors: tuple[str, ...], months: str, select: str, workers: int) -> None:
    """Take months through the stations, now. Each is a Dagster run, which `taxi dev` shows."""
    settings = Settings.load()
    wanted = [TripMonth(color, month) for color in dict.fromkeys(colors) for month in parse_months(months)]
    board = _run(settings, wanted, select, workers)
    if board.failed:
        sys.exit(1)


@taxi.command()
def demo() -> None:
    """Make a few months up and take them through all five stations. No network, no account.

    Everything stays in TAXI_HOME, whatever other places are set. Real months there are not replaced.
    """
    settings = _demo_settings()
    _require_no_real_months(settings)
    click.echo(f"Making up {len(DEMO_MONTHS)} months of {DEMO_ROWS:,} rows in {settings.source_url}")
    for month in DEMO_MONTHS:
        _publish_sample(Path(settings.source_url), month, DEMO_ROWS, seed=0)
    click.echo("Taking them through the stations")
    board = _run(settings, list(DEMO_MONTHS), select="", workers=1)
    if board.failed:
        sys.exit(1)
    _print_places(settings)
    _print_next_steps()


@taxi.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@colors_option
@months_option
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(0), help="Rows of each month.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another seed, other trips.")
def sample(folder: Path, colors: tuple[str, ...], months: str, rows: int, seed: int) -> None:
    """Make months up in FOLDER.

    They are laid out as the source is, so that TAXI_SOURCE_URL can name the folder; the same bytes for the same seed.
    """
    for color in dict.fromkeys(colors):
        for month in parse_months(months):
            trips = TripMonth(color, month)
            click.echo(f"{trips}: {rows:,} rows in {_publish_sample(folder, trips, rows, seed)}")


@taxi.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(*, as_json: bool) -> None:
    """Show what is loaded, with rows.

    A line for each month, a column for each color. A month that did not pass all stations names those it did.
    """
    from taxi_assets.console.status import print_status, print_status_json
    from taxi_assets.defs.history import read_history
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.partitions import trip_partitions

    settings = Settings.load()
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        months = read_history(instance, trip_partitions(settings.first_month))
    (print_status_json if as_json else print_status)(months)


@taxi.command()
@click.argument("sql")
@click.option("--postgres", is_flag=True, help="Ask Postgres, not the warehouse.")
@click.option("--csv", "as_csv", is_flag=True, help="For machines: CSV.")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON list of objects.")
def query(sql: str, *, postgres: bool, as_csv: bool, as_json: bool) -> None:
    """Ask the warehouse in SQL, and print the answer."""
    from taxi_assets.console.tables import print_answer, print_csv, print_json
    from taxi_assets.stores.warehouse import open_warehouse

    settings = Settings.load()
    store = _postgres(settings) if postgres else open_warehouse(settings.warehouse_url)
    answer = store.query(sql)
    (print_csv if as_csv else print_json if as_json else print_answer)(answer)


@taxi.command()
def stop() -> None:
    """Stop the Postgres server of TAXI_HOME.

    The next command that needs it starts it again.
    """
    from taxi_assets.stores.embedded_postgres import EmbeddedPostgres

    stopped = EmbeddedPostgres(Settings.load().home / "postgres", None).stop()
    click.echo("Postgres is stopped" if stopped else "Postgres was not running")


@taxi.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port of the UI.")
def dev(host: str, port: int) -> None:
    """Start Dagster's UI and daemon on the history in TAXI_HOME."""
    from taxi_assets.defs.instance import dagster_home, fail_dead_runs, open_instance

    settings = Settings.load()
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
    folder = dagster_home(settings.home)
    environment = {**os.environ, **settings.places(), "DAGSTER_HOME": str(folder)}
    quiet = ["-W", "ignore:Function `dev_command` is superseded"]
    words = ["-m", "dagster", "dev", "-m", "taxi_assets.definitions", "--host", host, "--port", str(port)]
    # Elsewhere Dagster warns of a dagster.yaml that it does not use.
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, *quiet, *words], environment)  # noqa: S606  # it takes this one's place


def _run(settings: Settings, months: list[TripMonth], select: str, workers: int) -> Board:
    """Run months and show them; the board at the end."""
    _warm_up()
    from taxi_assets.console.tables import print_summary
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.partitions import require_partitions
    from taxi_assets.defs.runs import select_stations
    from taxi_assets.defs.workers import run_months

    require_partitions(months, settings.first_month)
    stations = select_stations(build_definitions(settings), select)
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
    board = Board(months, stations)
    try:
        with watch(board) as watcher, closing(run_months(settings, months, stations, workers)) as told:
            for news in told:
                watcher.hear(news)
    finally:
        board.stop()
        print_summary(board, select)
    return board


def _postgres(settings: Settings) -> "PostgresStore":
    from taxi_assets.stores.postgres import open_postgres

    url = settings.postgres_url.get_secret_value() if settings.postgres_url else ""
    return open_postgres(url, settings.home / "postgres", settings.postgres_port)


def _publish_sample(folder: Path, month: TripMonth, rows: int, seed: int) -> Path:
    """Make a month up in a folder that is laid out as the source is."""
    from taxi_assets.stores.files import StagedFile
    from taxi_assets.tlc.sample import write_sample

    with StagedFile(folder / month.color / f"{month.stem}.csv.gz") as staged:
        write_sample(month, rows, staged.path, seed)
        return staged.publish()


def _warm_up() -> None:
    """Let the process that workers are forked from import Dagster while this one does."""
    import multiprocessing.forkserver

    multiprocessing.set_forkserver_preload(["taxi_assets.defs.workers", "taxi_assets.defs.build"])
    # It would else say, at Ctrl-C, where in its imports it was.
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.forkserver.ensure_running()
    signal.signal(signal.SIGINT, ours)


def _demo_settings() -> Settings:
    """The settings of a demo: made-up months, and only what is in TAXI_HOME, whatever the environment names."""
    home = Settings.load().home
    os.environ.update(dict.fromkeys(setting_names(), ""))
    os.environ.update(TAXI_HOME=str(home), TAXI_SOURCE_URL=str(home / "sample"))
    return Settings.load()


def _require_no_real_months(settings: Settings) -> None:
    """Refuse to let made-up trips take the place of real ones."""
    from taxi_assets.defs.history import read_sources
    from taxi_assets.defs.instance import open_instance

    with open_instance(settings.home) as instance:
        sources = read_sources(instance, DEMO_MONTHS)
    for month, source in sources.items():
        if not Path(source).is_relative_to(settings.source_url):
            raise click.ClickException(
                f"{month} in {settings.home} came from {source}: a demo would replace it with made-up trips. "
                "Give the demo a home of its own: TAXI_HOME=demo_home taxi demo"
            )


def _print_places(settings: Settings) -> None:
    """Where each station keeps its months, so that people find them."""
    from taxi_assets.console.tables import print_rows

    print_rows(
        ("station", "where"),
        [
            ("raw", f"{settings.home / 'raw'}"),
            ("clean", f"{settings.home / 'clean'}"),
            ("lake", settings.lake_url),
            ("warehouse", settings.warehouse_url),
            ("postgres", f"{settings.home / 'postgres'}, database ny_taxi"),
        ],
    )


def _print_next_steps() -> None:
    program = "taxi" if shutil.which("taxi") else os.path.relpath(sys.argv[0])
    click.echo(f"""\
These trips are made up. Look further:
  {program} dev                 the UI, http://127.0.0.1:3000
  {program} status              what is loaded
  {program} query "SELECT count(*), avg(total_amount) FROM yellow_taxi_trips"
  {program} query --postgres "SELECT count(*) FROM green_taxi_trips"
  {program} materialize --color green --months 2020-04   a real month, from the mirror
  {program} stop                stop the Postgres server, which else stays up""")


if __name__ == "__main__":
    main()
