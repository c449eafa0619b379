"""The program `python -m taxi_assets.webserver.dev`: Dagster's `dagster dev` with the protected webserver."""

import runpy
from collections.abc import Sequence
from typing import Any

from taxi_assets.instance._dagster import dagster_dev


def main() -> None:
    """Run `dagster` with the arguments of this process, and let `dagster dev` start the protected webserver.

    Dagster has no option for another webserver.
    """
    dev = dagster_dev()
    start = dev.open_ipc_subprocess

    def start_protected(command: Sequence[str], **options: Any) -> Any:  # noqa: ANN401  # as Dagster declares it
        return start(["taxi_assets.webserver" if word == "dagster_webserver" else word for word in command], **options)

    dev.open_ipc_subprocess = start_protected  # type: ignore[attr-defined]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
