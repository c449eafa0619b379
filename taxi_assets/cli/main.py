"""The `taxi` command group and its error handling.

Exit codes: 0 success, 1 at least one failure, 2 invalid arguments or settings, 130 stopped with Ctrl-C.
"""

import atexit
import gc
import os
import shlex
import sys
import traceback

import click

from taxi_assets.cli.adopt import adopt
from taxi_assets.cli.backfill import backfill
from taxi_assets.cli.demo import demo
from taxi_assets.cli.dev import dev
from taxi_assets.cli.doctor import doctor
from taxi_assets.cli.materialize import materialize
from taxi_assets.cli.options import load_settings
from taxi_assets.cli.query import query
from taxi_assets.cli.report import report
from taxi_assets.cli.sample import sample
from taxi_assets.cli.schema import schema
from taxi_assets.cli.status import status
from taxi_assets.cli.stop import stop
from taxi_assets.cli.suggestions import suggest_command, suggest_for_words, suggest_option
from taxi_assets.cli.wipe import wipe
from taxi_assets.errors import (
    BUG,
    BadSelection,
    OutOfMemory,
    SettingsError,
    TaxiAssetsError,
    UnknownBackfill,
    UnknownMonth,
)
from taxi_assets.stores.memory import find_memory_error

_spare_memory = [bytes(1 << 20)]
"""Memory that is freed when a command fails, so that the lack of it can be reported."""

_NO_MEMORY = f"error: {OutOfMemory('The process ran out of memory.').explain()}\n".encode()

_WRONG_ARGUMENTS = (BadSelection, SettingsError, UnknownBackfill, UnknownMonth)


def main() -> None:
    """Run the command line. Errors are printed to stderr as messages, with a traceback only if --debug is set."""
    # Otherwise, Python searches the objects of all modules for garbage before it exits, which takes 0.2 s.
    atexit.register(gc.freeze)
    try:
        sys.exit(taxi.main(prog_name="taxi", standalone_mode=False))
    except click.ClickException as error:
        _with_suggestion(error).show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except MemoryError:  # there is not even enough for a message with the cause
        os.write(sys.stderr.fileno(), _NO_MEMORY)
        sys.exit(1)


class _Commands(click.Group):
    """A command group that lists commands in the order of typical use and prints errors as messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. {suggest_command(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as raised:  # noqa: BLE001  # the last handler before the process exits
            _spare_memory.clear()
            error = find_memory_error(raised) or _translated(raised)
            if ctx.params["debug"]:
                traceback.print_exception(raised)
                _print_facts(error)
            click.secho(f"error: {_describe(error)}", err=True, fg="red")
            ctx.exit(2 if isinstance(error, _WRONG_ARGUMENTS) else 1)


def _translated(error: Exception) -> Exception:
    """Return the error of a damaged history of runs for an error of its databases, and any other error as it is."""
    if isinstance(error, TaxiAssetsError) or "dagster" not in sys.modules:
        return error
    from taxi_assets.instance.opening import history_error

    return history_error(load_settings().home, error)


def _with_suggestion(error: click.ClickException) -> click.ClickException:
    """Return an error with what to type instead, if it is about an option or a word that the command does not have."""
    match error:
        case click.NoSuchOption():
            return suggest_option(error)
        case click.UsageError():
            return suggest_for_words(error)
        case _:
            return error


def _describe(error: Exception) -> str:
    """Format an error as a message. An error that this project does not raise on purpose is reported as a bug."""
    if isinstance(error, TaxiAssetsError):
        return error.explain()
    if isinstance(error, OSError):
        return str(error)
    command = f"taxi --debug {shlex.join(sys.argv[1:])}".replace("--debug --debug", "--debug")
    return (
        f"{type(error).__name__}: {error}\n"
        f"This is a bug in taxi or a fault of the machine. For a bug report, include the output of: {command} [{BUG}]"
    )


def _print_facts(error: Exception) -> None:
    """Print the slug of an error and the facts that caused it."""
    if isinstance(error, TaxiAssetsError):
        for name, value in {"error": error.slug, **error.facts}.items():
            click.echo(f"{name}: {value}", err=True)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Settings are environment variables that start with TAXI_, such as TAXI_HOME, or
lines in the file .env next to pyproject.toml. docs/settings.md lists them.

\b
Exit codes: 0 success, 1 at least one failure, 2 invalid arguments or settings,
130 stopped with Ctrl-C.""",
)
@click.version_option(package_name="taxi-assets", help="Show the version.")
@click.option("--debug", is_flag=True, help="Show the traceback and the facts of an error. Put it before the command.")
def taxi(*, debug: bool) -> None:
    """Load New York's taxi trips by color and month into files, a lake, a warehouse and Postgres.

    \b
    Try it with sample trips:      taxi demo
    Load a real month:             taxi materialize --color green --months 2020-04
    See what is loaded:            taxi status
    """


for _command in (
    demo,
    materialize,
    backfill,
    status,
    query,
    report,
    schema,
    dev,
    doctor,
    stop,
    sample,
    wipe,
    adopt,
):
    taxi.add_command(_command)


if __name__ == "__main__":
    main()
