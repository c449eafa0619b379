"""`taxi dev`: Dagster's UI and daemon."""

import os
import sys
from pathlib import Path

import click

from taxi_assets.cli.activity import activity
from taxi_assets.cli.options import load_settings
from taxi_assets.errors import AlreadyRunning, DevStillEnding
from taxi_assets.stores.ports import name_of


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address that the UI listens on."
)
@click.option(
    "--port", default=3000, show_default=True, metavar="PORT", type=click.IntRange(1, 65535), help="Port of the UI."
)
def dev(host: str, port: int) -> None:
    """Start Dagster's UI and daemon on the history in TAXI_HOME.

    Ctrl-C stops both. Only one `taxi dev` can run for a TAXI_HOME at a time. If you choose another host or port, also
    set TAXI_UI_URL, because the links that other commands print start with it.

    The UI has no login. It refuses requests of other websites in your browser: see docs/security.md.

    \b
    Examples:
      taxi dev
      taxi dev --port 3001
      taxi dev --host 0.0.0.0      also for other machines, without a password
    """
    settings, address = load_settings(), _address(host, port)
    with activity("Starting Dagster"):
        from taxi_assets.connections import open_channels
        from taxi_assets.instance.opening import dagster_home
        from taxi_assets.instance.processes import end_dead_runs
        from taxi_assets.operations.adoption import open_upgraded
        from taxi_assets.stores.ports import require_free_port

        if settings.alert_urls:
            open_channels(settings)
        # First, because the other `taxi dev` may use the port. A new TAXI_HOME is not created for a port in use.
        if is_claimed := settings.home.exists():
            _claim(settings.home, address)
        require_free_port(host, port)
        with open_upgraded(settings) as instance:
            end_dead_runs(instance)
        if not is_claimed:
            _claim(settings.home, address)
    folder = dagster_home(settings.home)
    environment = {**os.environ, **settings.places(), "DAGSTER_HOME": str(folder)}
    if "ui_url" not in settings.model_fields_set:
        environment["TAXI_UI_URL"] = address
    click.echo("Starting the UI and the daemon ...", err=True)
    quiet = ["-W", "ignore:Function `dev_command` is superseded"]
    dagster_dev = ["-m", "taxi_assets.webserver.dev", address, "dev"]
    arguments = [*dagster_dev, "-m", "taxi_assets.definitions", "--host", host, "--port", str(port)]
    # In another folder, Dagster warns about a dagster.yaml that it does not use.
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, *quiet, *arguments], environment)  # noqa: S606  # it replaces this process


def _claim(home: Path, address: str) -> None:
    """Make this process the only `taxi dev` of a TAXI_HOME, also after it runs another program.

    Raises AlreadyRunning if there is another one, and DevStillEnding if processes of a killed one do not end.
    """
    from taxi_assets.instance.dev_processes import END_TIMEOUT_S, PROCESSES_LOCK, processes_with
    from taxi_assets.instance.opening import dagster_home
    from taxi_assets.stores.files.locks import hold_for_life, wait_for_sharers

    folder = dagster_home(home)
    if (other := hold_for_life(folder / ".dev.lock", f"{address} (process {os.getpid()})")) is not None:
        raise AlreadyRunning(f"taxi dev is already running for {home}, at {other}.", address=other)
    if not wait_for_sharers(folder / PROCESSES_LOCK, END_TIMEOUT_S):
        processes = " ".join(map(str, processes_with(folder / PROCESSES_LOCK)))
        raise DevStillEnding(
            f"Processes of an earlier taxi dev for {home} are still running: {processes}.", processes=processes
        )


def _address(host: str, port: int) -> str:
    """Return the URL of a UI that listens on this address."""
    name = name_of(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
