"""The program `python -m taxi_assets.webserver.child MODULE ...`: a process of Dagster that ends with its `taxi dev`.

`taxi dev` starts the webserver, the daemon and the code servers with it. MODULE is what Dagster would have started.
"""

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taxi_assets.instance._dagster import modules_that_start_processes
from taxi_assets.instance.dev_processes import PROCESSES_LOCK, end_with_dev
from taxi_assets.stores.files.locks import share_for_life

_OWN_MODULES = {"dagster_webserver": "taxi_assets.webserver"}
"""The modules that replace a module of Dagster, which has no option for that."""


def main() -> None:
    """Run the module named by the first argument as Dagster would run it, until it or its `taxi dev` ends."""
    module = sys.argv.pop(1)
    # First the lock, then a look at `taxi dev`: a process that starts too late then ends before it does anything.
    share_for_life(Path(os.environ["DAGSTER_HOME"]) / PROCESSES_LOCK)
    end_with_dev()
    start_children()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def start_children() -> None:
    """Let Dagster's code in this process start other processes by this program."""
    for module in modules_that_start_processes():
        start = module.open_ipc_subprocess

        def start_child(command: Sequence[str], start: Any = start, **options: Any) -> Any:  # noqa: ANN401  # as Dagster declares it
            return start(child_command(command), **options)

        module.open_ipc_subprocess = start_child  # type: ignore[attr-defined]


def child_command(command: Sequence[str]) -> list[str]:
    """Return the command that runs Dagster's `python -m MODULE ...` by this program."""
    python, option, module, *arguments = command
    return [python, option, __spec__.name, _OWN_MODULES.get(module, module), *arguments]


if __name__ == "__main__":
    main()
