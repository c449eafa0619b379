"""The `taxi` command: a thin face over the rest. Exit status: 0 all done, 1 something failed, 2 wrong arguments."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import difflib
import gc
import os
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taxi_assets.console.board import Board, Line, watch
from taxi_assets.errors import BadSelection, SettingsError, TaxiAssetsError, UnknownBackfill, UnknownMonth
from taxi_assets.news import News, RunNews
from taxi_assets.settings import Settings, setting_names
from taxi_assets.stores.holdings import STORES
from taxi_assets.tlc.trips import COLORS, TripMonth, parse_months

if TYPE_CHECKING:
    from taxi_assets.defs.wipe import Wiper
    from taxi_assets.stores.alerts import Channels

_WRONG_ARGUMENTS = (BadSelection, SettingsError, UnknownBackfill, UnknownMonth)

DEMO_MONTHS = (
    TripMonth("yellow", "2021-01"),
    TripMonth("yellow", "2021-02"),
    TripMonth("green", "2021-01"),
    TripMonth("fhv", "2021-01"),
)
DEMO_ROWS = 20_000


def main() -> None:
    """Run the command line. What goes wrong is a message on stderr, a traceback only with --debug."""
    try:
        sys.exit(taxi.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)


class _Commands(click.Group):
    """Commands in the order that people meet them, whose errors end in a message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The commands are {', '.join(self.commands)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001  # nobody else would say what went wrong
            if ctx.params["debug"]:
                traceback.print_exception(error)
            click.secho(f"error: {_say(error)}", err=True, fg="red")
            ctx.exit(2 if isinstance(error, _WRONG_ARGUMENTS) else 1)


def _say(error: Exception) -> str:
    """What went wrong, for people; what this project does not raise on purpose is said to be a bug."""
    if isinstance(error, (TaxiAssetsError, OSError)):
        return str(error)
    again = f"taxi --debug {shlex.join(sys.argv[1:])}"
    return (
        f"{type(error).__name__}: {error}\n"
        f"This is a bug of taxi, or a fault of the machine. To see where: {again.replace('--debug --debug', '--debug')}"
    )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Settings are environment variables, TAXI_HOME and others that begin with TAXI_,
or lines of a file .env beside pyproject.toml; docs/settings.md tells them all.

\b
Exit status: 0 all is done; 1 something failed, and is told; 2 wrong arguments
or settings; 130 stopped with Ctrl-C.""",
)
@click.version_option(package_name="taxi-assets", help="Show the version.")
@click.option("--debug", is_flag=True, help="Show the tracebacks of what goes wrong; before the command.")
def taxi(*, debug: bool) -> None:
    """New York's taxi trips, a color and a month at a time: files, a lake, a warehouse and Postgres.

    \b
    Try it, with made-up trips:    taxi demo
    Load a real month:             taxi materialize --color green --months 2020-04
    See what is loaded:            taxi status
    """


months_option = click.option(
    "--months", required=True, metavar="MONTHS", help="Months and ranges, such as 2020-03..2020-07,2020-12."
)
colors_option = click.option(
    "--color",
    "colors",
    multiple=True,
    required=True,
    type=click.Choice(COLORS),
    help="A color; repeat it for several.",
)

select_option = click.option(
    "--select",
    default="",
    metavar="STATIONS",
    help="Which stations: names and commas; + takes all that come after too: lake_trips+.  [default: all]",
)
fresh_option = click.option("--fresh", is_flag=True, help="Fetch the raw files even where the source has not changed.")


@taxi.command()
def demo() -> None:
    """Make a few months up and take them through all five stations.

    It needs no network and no account. Everything stays in TAXI_HOME, whatever other places are set. Real months there
    are not replaced: the demo then says how to give it a home of its own.

    \b
    Examples:
      taxi demo
      TAXI_HOME=demo_home taxi demo
    """
    settings = _demo_settings()
    _require_no_real_months(settings)
    click.echo(f"Making up {len(DEMO_MONTHS)} months of {DEMO_ROWS:,} rows in {settings.source_url}")
    for month in DEMO_MONTHS:
        _publish_sample(Path(settings.source_url), month, DEMO_ROWS, seed=0)
    click.echo("Taking them through the stations")
    board = _run(settings, list(DEMO_MONTHS))
    if board.failed:
        sys.exit(1)
    _print_places(settings)
    _print_next_steps()


@taxi.command()
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
    board = _run(settings, _each_month(colors, months), select, workers, fresh=fresh, alert=alert)
    if board.failed:
        if channels:
            _tell(settings, channels, board.failed)
        sys.exit(1)


def _tell(settings: Settings, channels: "Channels", failed: Sequence[Line]) -> None:
    """Tell people of months that failed. A channel that does not take it is told here, and changes nothing."""
    from taxi_assets.defs.alerts import tell_failed_months

    ended = [RunNews(line.month, News.failed, line.station, error=line.error, run_id=line.run_id) for line in failed]
    for trouble in tell_failed_months(settings, channels, ended):
        click.echo(trouble, err=True)


@taxi.command()
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


@taxi.command()
@click.option(
    "--json", "as_json", is_flag=True, help="For machines: a JSON list, a month an object, with rows by station."
)
def status(*, as_json: bool) -> None:
    """Show what is loaded, stale or failed, with rows.

    A line for each month and a column for each color, with the rows in the warehouse. A month that is simply loaded has
    no word beside its rows; others have one:

    \b
      stale     a station ran again, and one after it has not; or the source
                has published the month again
      failed    its newest run failed; rows beside it are those of before
      partly    it did not pass all stations
      running   a run is under way
      waiting   a run is in the queue

    Below are the totals, why months failed, and the commands that run them again.

    \b
    Examples:
      taxi status
      taxi status --json
    """
    from taxi_assets.console.status import print_status, print_status_json
    from taxi_assets.defs.history import read_history
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.partitions import trip_partitions

    # What is imported stays: to look for garbage among it is a sixth of this command's time.
    gc.disable()
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
    """Ask the warehouse in SQL, and print the answer.

    The tables are yellow_taxi_trips, green_taxi_trips and fhv_taxi_trips; file_month is the first day of a row's month.

    \b
    Examples:
      taxi query "SELECT file_month, count(*) FROM green_taxi_trips GROUP BY 1 ORDER BY 1"
      taxi query --postgres "SELECT avg(total_amount) FROM yellow_taxi_trips"
      taxi query --csv "SELECT * FROM fhv_taxi_trips LIMIT 100" > some.csv

    Exit status: 1 where the SQL is wrong or nothing is loaded yet.
    """
    from taxi_assets.console.tables import print_answer, print_csv, print_json
    from taxi_assets.systems import open_postgres, open_warehouse

    settings = Settings.load()
    store = open_postgres(settings) if postgres else open_warehouse(settings)
    answer = store.query(sql)
    (print_csv if as_csv else print_json if as_json else print_answer)(answer)


@taxi.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address that the UI listens on."
)
@click.option(
    "--port", default=3000, show_default=True, metavar="PORT", type=click.IntRange(1, 65535), help="Port of the UI."
)
def dev(host: str, port: int) -> None:
    """Start Dagster's UI and daemon on the history in TAXI_HOME.

    Ctrl-C stops both.

    \b
    Examples:
      taxi dev
      taxi dev --port 3001
      taxi dev --host 0.0.0.0      for other machines too: there is no password
    """
    from taxi_assets.defs.instance import dagster_home, fail_dead_runs, open_instance
    from taxi_assets.stores.ports import require_free_port
    from taxi_assets.systems import open_channels

    settings = Settings.load()
    if settings.alert_urls:
        open_channels(settings)
    require_free_port(host, port, choose="choose another: taxi dev --port {port}")
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
    folder = dagster_home(settings.home)
    environment = {**os.environ, **settings.places(), "DAGSTER_HOME": str(folder)}
    if "ui_url" not in settings.model_fields_set:
        environment["TAXI_UI_URL"] = f"http://{host}:{port}"
    quiet = ["-W", "ignore:Function `dev_command` is superseded"]
    words = ["-m", "dagster", "dev", "-m", "taxi_assets.definitions", "--host", host, "--port", str(port)]
    # Elsewhere Dagster warns of a dagster.yaml that it does not use.
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, *quiet, *words], environment)  # noqa: S606  # it takes this one's place


@taxi.command()
@click.option(
    "--json", "as_json", is_flag=True, help="For machines: a JSON list, a finding an object, with its verdict."
)
@click.option("--alert", is_flag=True, help="Send a test message to the channels of TAXI_ALERT_URLS.")
def doctor(*, as_json: bool, alert: bool) -> None:
    """Try every system that the settings name, and say what to mend.

    A line for each: TAXI_HOME and its room, the source, the lake, the warehouse, Postgres, Dagster's history, the
    channels of alerts; and the versions at work, how psql and pgAdmin reach Postgres. What is written as a try is
    removed. The Postgres server of TAXI_HOME is started, as by any command.

    \b
    Each line begins with a word:
      ok        a run can use it
      warn      a run can use it, perhaps not for long
      mend      a run would fail: what was seen, and what to do

    \b
    Examples:
      taxi doctor
      taxi doctor --json
      taxi doctor --alert

    Exit status: 1 where something is to be mended.
    """
    from taxi_assets.console.doctor import print_finding, print_findings_json
    from taxi_assets.defs.doctor import examine
    from taxi_assets.news import Verdict

    findings = []
    try:
        for finding in examine(Settings.load(), alert=alert):
            findings.append(finding)
            if not as_json:
                print_finding(finding)
    finally:
        if as_json:
            print_findings_json(findings)
    if any(finding.verdict is Verdict.mend for finding in findings):
        sys.exit(1)


@taxi.command()
def stop() -> None:
    """Stop the Postgres server of TAXI_HOME.

    It stays up after the command that started it, so that the next need not wait for it; the next command that needs it
    starts it again. A server of TAXI_POSTGRES_URL is left alone.
    """
    from taxi_assets.stores.embedded_postgres import EmbeddedPostgres

    stopped = EmbeddedPostgres(Settings.load().home / "postgres", None).stop()
    click.echo("Postgres is stopped" if stopped else "Postgres was not running")


@taxi.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@colors_option
@months_option
@click.option(
    "--rows", default=100_000, show_default=True, metavar="N", type=click.IntRange(0), help="Rows of each month."
)
@click.option(
    "--seed", default=0, show_default=True, metavar="N", type=click.IntRange(0), help="Another seed, other trips."
)
def sample(folder: Path, colors: tuple[str, ...], months: str, rows: int, seed: int) -> None:
    """Make months of trips up in FOLDER.

    They are laid out as the source is, so that TAXI_SOURCE_URL can name the folder; the same bytes for the same seed.

    \b
    Examples:
      taxi sample made_up --color yellow --months 2021-01 --rows 1000000
      TAXI_SOURCE_URL=made_up taxi materialize --color yellow --months 2021-01
    """
    for month in _each_month(colors, months):
        click.echo(f"{month}: {rows:,} rows in {_publish_sample(folder, month, rows, seed)}")


@taxi.command()
@colors_option
@months_option
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Choice(STORES),
    help="A store to remove them from; repeat it for several.  [default: all]",
)
@click.option("--yes", is_flag=True, help="Remove without asking, as scripts need.")
def wipe(colors: tuple[str, ...], months: str, stores: tuple[str, ...], *, yes: bool) -> None:
    """Remove months from files, lake, warehouse and Postgres.

    It lists what is there, asks, then tells what it removed, a line each. `taxi status` does not call the months loaded
    any more. A store that fails leaves the others to be done; the same command again does the rest.

    \b
    Stores:
      raw        the source's files, as they were fetched
      clean      the Parquet files, and the lines that were rejected
      lake       the objects in the folder or the bucket
      warehouse  the months' rows in DuckDB or BigQuery
      postgres   the months' partitions in Postgres

    \b
    Examples:
      taxi wipe --color green --months 2020-03
      taxi wipe --color yellow --color green --months 2019-01..2019-12 --store raw --store clean
      taxi wipe --color fhv --months 2021-01 --yes

    Exit status: 0 also where nothing is there, 1 something was not removed, or you said no, 2 there is no terminal to
    ask on, and no --yes.
    """
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.wipe import Wiper

    settings = Settings.load()
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
        if not _wipe(Wiper(settings, instance), _each_month(colors, months), stores or STORES, yes=yes):
            sys.exit(1)


def _wipe(wiper: "Wiper", months: list[TripMonth], stores: Sequence[str], *, yes: bool) -> bool:
    """List, ask, remove; whether all of it went."""
    from taxi_assets.console.wipe import print_lots

    lots = print_lots(wiper.look(months, stores))
    found = {lot.month for lot in lots if lot.held or lot.error}
    for month in months:
        if month not in found:
            click.echo(f"{month}  nothing is there")
    if any(lot.held for lot in lots):
        for month in wiper.under_way(months):
            click.echo(f"{month}  a run of it is under way: what that stores later will be there again")
        if not _may_remove(yes=yes):
            click.echo("nothing was removed")
            return False
    removed = print_lots(wiper.remove(lots), done="removed  ")
    return not any(lot.error for lot in (*lots, *removed))


def _may_remove(*, yes: bool) -> bool:
    """Whether what is listed may go: the words said so, or the person at the terminal does."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on, so nothing was removed: add --yes to remove what is listed"
        )
    return yes or click.confirm("Remove all of this?")


def _each_month(colors: tuple[str, ...], months: str) -> list[TripMonth]:
    """Every color with every month, each once."""
    return [TripMonth(color, month) for color in dict.fromkeys(colors) for month in parse_months(months)]


def _run(  # noqa: PLR0913  # as materialize
    settings: Settings,
    months: list[TripMonth],
    select: str = "",
    workers: int = 1,
    *,
    fresh: bool = False,
    alert: bool = False,
) -> Board:
    """Run months and show them; the board at the end."""
    _warm_up()
    from taxi_assets.defs.build import build_definitions
    from taxi_assets.defs.instance import fail_dead_runs, open_instance
    from taxi_assets.defs.partitions import require_partitions
    from taxi_assets.defs.runs import Order, select_stations
    from taxi_assets.defs.workers import run_months

    require_partitions(months, settings.first_month)
    stations = select_stations(build_definitions(settings), select)
    with open_instance(settings.home) as instance:
        fail_dead_runs(instance)
    board, order = Board(months, stations), Order(stations, fresh, alert)
    try:
        with watch(board) as watcher, closing(run_months(settings, months, order, workers)) as told:
            for news in told:
                watcher.hear(news)
    finally:
        board.stop()
        _print_end(board, "materialize", select)
    return board


def _print_end(board: Board, command: str, select: str) -> None:
    """The summary of a board, with the command that runs again what failed."""
    from taxi_assets.console.tables import print_summary

    again = ["taxi", command, *(["--select", select] if select else [])]
    print_summary(board, again, traces=click.get_current_context().find_root().params["debug"])


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
    months = _each_month(asked.colors, asked.months)
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
            click.echo(f"Backfill {backfill_id} is submitted.")
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
    _print_end(board, "backfill", select)


def _cancel(settings: Settings, backfill_id: str) -> None:
    from taxi_assets.defs.backfills import cancel_backfill
    from taxi_assets.defs.instance import open_instance

    with open_instance(settings.home) as instance:
        under_way = cancel_backfill(instance, backfill_id)
    click.echo(f"Backfill {backfill_id} " + ("will be cancelled by the daemon" if under_way else "was over already"))


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
    from taxi_assets.defs.fetches import remembered
    from taxi_assets.defs.instance import open_instance

    with open_instance(settings.home) as instance:
        fetches = [(month, remembered(instance, month)) for month in DEMO_MONTHS]
    for month, fetched in fetches:
        if fetched and not Path(fetched.address).is_relative_to(settings.source_url):
            raise click.ClickException(
                f"{month} in {settings.home} came from {fetched.address}: a demo would replace it with made-up trips. "
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
