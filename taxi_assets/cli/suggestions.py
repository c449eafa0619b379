"""What to suggest for commands and options that do not exist: names of other programs, as data, and typing errors.

Not here: how the errors are shown (`main`).
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click

from taxi_assets.tlc.trips import COLORS

_OPTIONS = {
    "--color": "--colour --colours --colors --taxi --taxis --taxi-type --type --service --dataset -c",
    "--months": "--date --dates --period --periods --partition --partitions --range --when -m",
    "--months 2020-03..2020-07": "--from --to --start --end --since --until --first --last --start-date --end-date "
    "--from-date --to-date --start-month --end-month --first-month --last-month",
    "--year": "--years",
    "--select": "--asset --assets --step --steps --task --tasks --only --target --models -s",
    "--fresh": "--force --refresh --reload --redownload --no-cache -f",
    "--overwrite": "--force --replace -f",
    "--workers": "--parallel --parallelism --jobs --n-jobs --concurrency --threads --processes --max-workers -j -w",
    "--dry-run": "--plan --preview --simulate --what-if --noop --no-op -n",
    "--json": "--output --output-format --format --out -o",
    "--csv": "--output --output-format --format --out -o",
    "--failed": "--only-failed --retry-failed --failures --errors",
    "--missing": "--only-missing --gaps --new",
    "--wait": "--watch --follow --block --progress",
    "--yes": "--force --no-input --no-confirm --confirm --assume-yes -y -f",
    "--store": "--stores --from",
    "--postgres": "--postgresql --pg --database --db",
    "--rows": "--size --count --trips --number -n",
    "--limit": "--size --count --number --max -n",
    "--port": "-p",
    "--host": "--bind --address --ip --listen",
    "--strict": "--fail --fail-fast --exit-code",
    "--verbose": "--details --detail --long --all -v -l",
}
"""What to type, and the options that do not exist for which it is suggested, if the command has the option."""

_COMMANDS = {
    "materialize": "materialise load run ingest download fetch etl extract start-run launch",
    "backfill": "submit enqueue queue",
    "status": "ls list show state months progress",
    "query": "sql select psql duckdb",
    "dev": "ui web webserver serve server start up dashboard",
    "doctor": "check health diagnose test ping config",
    "stop": "down kill shutdown halt",
    "sample": "generate fake mock samples",
    "wipe": "delete remove rm clean drop purge reset clear",
    "adopt": "import register recognize discover sync",
    "--help": "help",
    "--version": "version",
}
"""Commands, and names of other programs for them."""

_TYPING_ERROR = 0.75
"""How similar two names must be, from 0 to 1, for one to be a typing error of the other."""


def suggest_command(name: str, commands: Iterable[str]) -> str:
    """Return a sentence for a command that does not exist: what was probably meant, or all commands."""
    commands = list(commands)
    meant = _synonyms(_COMMANDS, name) or get_close_matches(name, commands, n=1)
    return f"Did you mean {meant[0]}?" if meant else f"The commands are {', '.join(commands)}."


def suggest_option(error: click.NoSuchOption) -> click.UsageError:
    """Return an error like `error`, with what was probably meant, or with all options of the command."""
    name, context = error.option_name, error.ctx
    if context is None:
        return error
    main, options = context.find_root(), _options(context.command)
    words = context.command_path.partition(" ")[2] or "COMMAND"
    if name in _options(main.command) and context is not main:
        hint = f"Put it before the command: taxi {name} {words}"
    elif meant := [text for text in _synonyms(_OPTIONS, name) if text.partition(" ")[0] in options]:
        hint = f"Did you mean {' or '.join(meant)}?"
    elif name in _TRACES.split():
        hint = f"To see the cause of an error, put --debug before the command: taxi --debug {words}"
    elif meant := get_close_matches(name, options, 1, _TYPING_ERROR):
        hint = f"Did you mean {meant[0]}?"
    else:
        hint = f"The options are {', '.join([*options, '--help'])}."
    return click.UsageError(f"No such option: {name}. {hint}", context)


_TRACES = "--verbose -v --trace --traceback --log-level"


def suggest_for_words(error: click.UsageError) -> click.UsageError:
    """Return an error like `error`, with the options that colors and months without their option belong to."""
    words = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message)
    if not words or error.ctx is None or "--months" not in _options(error.ctx.command):
        return error
    found = words[1].replace(",", " ").split()
    colors = [word for word in found if word.lower() in (*COLORS, "all")]
    months = [word for word in found if re.fullmatch(r"[0-9][0-9.-]*", word)]
    if len(colors) + len(months) < len(found):
        return error
    given = error.ctx.params
    options = {
        "--color": [*given.get("colors", ()), *colors],
        "--months": [*filter(None, [given.get("months")]), *months],
    }
    meant = " ".join(f"{option} {','.join(values)}" for option, values in options.items() if values)
    return click.UsageError(f"{error.message}. Did you mean {meant}?", error.ctx)


def _synonyms(table: dict[str, str], name: str) -> list[str]:
    return [meant for meant, names in table.items() if name in names.split()]


def _options(command: click.Command) -> list[str]:
    """The names of a command's options, without short and hidden ones."""
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    return [name for option in options for name in option.opts if name.startswith("--")]
