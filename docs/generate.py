#!/usr/bin/env python
"""Writes the pages that the program itself can tell: `docs/commands.md` and `docs/settings.md`. Run by `make docs`.

With `--check` nothing is written; the exit status says whether the pages are current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from taxi_assets.cli import taxi
from taxi_assets.settings import PREFIX, Settings

DOCS = Path(__file__).parent
WIDTH = 88
NOTE = "<!-- Made by docs/generate.py: change the program, then run make docs. -->"

COMMANDS = """\
# Commands

What `taxi --help` and each command's `--help` say. A command ends with status 0 when everything was done, 1 when
something failed, 2 when the arguments or the settings are wrong; Ctrl-C gives 130.
"""

SETTINGS = """\
# Settings

A setting is read from the environment, or from a file `.env` beside `pyproject.toml`; the environment wins. `taxi` and
Dagster's own commands read both. [`.env.example`](../.env.example) has every setting to copy from. Nothing needs to be
set to run on one machine.

Relative paths are made absolute once, at the start, against the folder that the command runs in. An empty value is the
default. A `TAXI_` name that is none of these is an error that suggests the right one.
"""


def main() -> None:
    """Write the pages, or with `--check` name those that are stale."""
    made = {"commands.md": commands_page(), "settings.md": settings_page()}
    stale = [name for name, text in made.items() if not is_current(DOCS / name, text)]
    if sys.argv[1:] == ["--check"]:
        if stale:
            sys.exit(f"stale: {', '.join(stale)} in docs. Run: make docs")
        return
    for name in stale:
        (DOCS / name).write_text(made[name], encoding="utf-8")
        click.echo(f"docs/{name} is new")


def is_current(page: Path, text: str) -> bool:
    """Whether the page holds this text."""
    return page.exists() and page.read_text(encoding="utf-8") == text


def commands_page() -> str:
    """A heading, which is the anchor, and the help of each command, the group's first."""
    helps = dict(helps_of(taxi, None))
    contents = [f"- [`{name}`](#{name.replace(' ', '-')})" for name in helps]
    blocks = [f"## {name}\n\n```text\n{text}\n```" for name, text in helps.items()]
    return "\n\n".join([NOTE, COMMANDS.rstrip(), "\n".join(contents), *blocks]) + "\n"


def helps_of(command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """The full name and the help of a command and of all below it."""
    said = {**command.context_settings, "terminal_width": WIDTH, "color": False}
    context = click.Context(command, parent, info_name=command.name, **said)
    yield context.command_path, click.unstyle(context.get_help())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from helps_of(below, context)


def settings_page() -> str:
    """A table of every setting: its name, its default, its meaning."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {default_of(field)} | {escaped(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    table = ["| name | default | meaning |", "|---|---|---|", *rows]
    return "\n\n".join([NOTE, SETTINGS.rstrip(), "\n".join(table)]) + "\n"


def default_of(field: FieldInfo) -> str:
    """A setting's default as people would write it; nothing for one that the meaning tells."""
    default = field.default
    if default is None or default == "" or isinstance(default, SecretStr):
        return ""
    return f"`{escaped(str(default))}`"


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
