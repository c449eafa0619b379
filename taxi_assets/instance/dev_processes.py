"""The processes that `taxi dev` starts, and their runs. They end when it ends, even if it was killed.

They look for its process, because only Linux has a signal for the death of a parent, and it is also sent when just the
thread of the parent ends that started the process. Not here: how they are started (`webserver.child`).
"""

import json
import os
import signal
import time
from functools import lru_cache
from pathlib import Path
from threading import Thread

from taxi_assets.instance.processes import Process, is_alive, this_process

PROCESSES_LOCK = ".dev-processes.lock"
"""The lock file in DAGSTER_HOME that the webserver, the daemon and the code servers share until they have ended."""

_VARIABLE = "_TAXI_DEV"
"""The environment variable with the process of `taxi dev`, as JSON."""

_POLL_S = 1.0
_GRACE_S = 10.0
"""How long a process may take to end before it is killed, in seconds."""

END_TIMEOUT_S = 3 * _GRACE_S
"""How long to wait for the processes of a `taxi dev` that was killed, in seconds."""


def dev_variables() -> dict[str, str]:
    """Return the environment variables by which other processes know that this one is their `taxi dev`."""
    return {_VARIABLE: json.dumps(this_process())}


@lru_cache(maxsize=1)
def end_with_dev() -> None:
    """Let this process end soon after its `taxi dev`. Does nothing if it does not belong to one.

    Raises SystemExit if `taxi dev` has already ended. May be called more than once.
    """
    if _VARIABLE not in os.environ:
        return
    dev = json.loads(os.environ[_VARIABLE])
    if not is_alive(dev):
        raise SystemExit(1)
    Thread(target=_end_with, args=(dev,), daemon=True).start()


def _end_with(dev: Process) -> None:
    while is_alive(dev):
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGINT)  # with which Dagster stops its processes
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def processes_with(lock: Path) -> list[int]:
    """Return the IDs of this user's processes that have a lock file open."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if any(file.path == os.path.realpath(lock) for file in process.open_files()):
                found.append(process.pid)
        except psutil.Error:  # it ended, or belongs to another user
            continue
    return found
