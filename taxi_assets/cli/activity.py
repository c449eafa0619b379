"""The line on a terminal that says what a command is doing while it has nothing else to show.

It appears before the imports that take seconds. It is on stderr and is erased, so it is never part of the output.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import click

Item = TypeVar("Item")


@contextmanager
def activity(text: str) -> Iterator[Callable[[str], None]]:
    """Show what the command is doing until the block ends, which must not print to stdout.

    The function that it yields replaces the text. If stderr is not a terminal, nothing is shown.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    if os.environ.get("TERM", "dumb") == "dumb":
        click.echo(f"{text} ...", err=True)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots", f"{text} ...")
    # Output to stdout must not go to the console of this line.
    with Live(spinner, console=Console(stderr=True), transient=True, refresh_per_second=12.5, redirect_stdout=False):
        yield lambda text: spinner.update(text=f"{text} ...")


def while_waiting(text: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of an iterable, and show `text` whenever it takes time to get the next one."""
    iterator = iter(items)
    while True:
        with activity(text):
            found = list(islice(iterator, 1))
        if not found:
            return
        yield found[0]
