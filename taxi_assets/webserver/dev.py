"""The program `python -m taxi_assets.webserver.dev URL dev`: Dagster's `dagster dev` with the protected webserver.

URL is the address of the UI. The program prints it when the UI and the daemon have started.
"""

import atexit
import hashlib
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import click
import dagster as dg

from taxi_assets.instance.dev_processes import dev_variables
from taxi_assets.webserver.child import start_children

_POLL_S = 0.3
_DAEMON_S = 60.0
"""How long to wait for the daemon after the UI responds, in seconds. Without a daemon, the UI still works."""


def main() -> None:
    """Run `dagster` with the arguments of this process, and let `dagster dev` start its processes as `child` does."""
    address = sys.argv.pop(1)
    # The shell lets a script's background processes ignore SIGINT, with which Dagster stops its processes. It would
    # then ignore SIGTERM too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(dev_variables())
    tempfile.tempdir = _temporary_folder()
    Thread(target=announce, args=(address, time.time()), daemon=True).start()
    start_children()
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def _temporary_folder() -> str:
    """Return an empty folder for this process's temporary files, after deleting those of a `taxi dev` that was killed.

    Each DAGSTER_HOME has one, in the system's temporary folder, because a socket's path must be short. If another user
    has created a folder of this name, the system's folder is used itself.
    """
    shared = tempfile.gettempdir()
    own = Path(shared) / f"taxi-dev-{hashlib.sha256(os.environ['DAGSTER_HOME'].encode()).hexdigest()[:16]}"
    shutil.rmtree(own, ignore_errors=True)
    try:
        own.mkdir(mode=0o700)
    except FileExistsError:
        return shared
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return str(own)


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
