"""The program `python -m taxi_assets.webserver.dev URL dev`: Dagster's `dagster dev` with the protected webserver.

URL is the address of the UI. The program prints it when the UI and the daemon have started.
"""

import runpy
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import click
import dagster as dg

from taxi_assets.instance._dagster import dagster_dev

_POLL_S = 0.3
_DAEMON_S = 60.0
"""How long to wait for the daemon after the UI responds, in seconds. Without a daemon, the UI still works."""


def main() -> None:
    """Run `dagster` with the arguments of this process, and let `dagster dev` start the protected webserver.

    Dagster has no option for another webserver.
    """
    address = sys.argv.pop(1)
    Thread(target=announce, args=(address, time.time()), daemon=True).start()
    dev = dagster_dev()
    start = dev.open_ipc_subprocess

    def start_protected(command: Sequence[str], **options: Any) -> Any:  # noqa: ANN401  # as Dagster declares it
        return start(["taxi_assets.webserver" if word == "dagster_webserver" else word for word in command], **options)

    dev.open_ipc_subprocess = start_protected  # type: ignore[attr-defined]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def announce(address: str, started: float) -> None:
    """Print the address of the UI once it accepts connections and the daemon runs, so that it is Dagster's last line.

    `started` is the time (seconds since the epoch) after which the daemon's first heartbeat is expected.
    """
    _wait_until(lambda: _accepts_connections(address))
    # The daemon logs its start before its first heartbeat.
    with dg.DagsterInstance.get() as instance:
        _wait_until(lambda: _has_heartbeat(instance, started), _DAEMON_S)
    click.secho(f"The UI is at {address}. Stop it with Ctrl-C.", err=True, bold=True)


def _wait_until(condition: Callable[[], bool], timeout_s: float = float("inf")) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _accepts_connections(address: str) -> bool:
    parts = urlsplit(address)
    # The name of this machine, which stands for all addresses, does not always resolve.
    for name in (parts.hostname, "localhost"):
        with suppress(OSError):
            socket.create_connection((name or "", parts.port or 80), timeout=1).close()
            return True
    return False


def _has_heartbeat(instance: dg.DagsterInstance, started: float) -> bool:
    return any(beat.timestamp > started for beat in instance.get_daemon_heartbeats().values())


if __name__ == "__main__":
    main()
