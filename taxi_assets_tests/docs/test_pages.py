"""The pages match the program: links, commands and settings exist, and sessions print what the pages show."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from taxi_assets.cli.main import taxi
from taxi_assets.settings import PREFIX, Settings, setting_names
from taxi_assets_tests.docs.pages import EXTEND, PAGES, PROJECT, QUERY, name_of, run_session, session_of

WITH_SESSIONS = [page for page in PAGES if page not in (EXTEND, QUERY) and session_of(page)]
"""The pages with sessions, except those that have tests of their own."""

PICTURES = sorted((PROJECT / "docs" / "images").glob("*.png"))

PICTURE_BYTES = 200_000
"""Size limit of a picture, because every clone contains all versions of every picture."""

GENERATED = ("data-dictionary.md", "commands.md", "settings.md", "troubleshooting.md")

TARGETS = re.findall(r"^([a-z-]+):.*## \S", (PROJECT / "Makefile").read_text(), re.MULTILINE)
"""The targets that `make help` describes."""


def test_generated_pages_are_current() -> None:
    """The pages of columns, commands, settings and troubleshooting are those that `make docs` writes."""
    words = [sys.executable, str(PROJECT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_check_reports_stale_pages(tmp_path: Path) -> None:
    """If generated pages are missing or not current, `--check` fails and names the pages and `make docs`."""
    (tmp_path / "generate.py").write_text((PROJECT / "docs" / "generate.py").read_text())
    (tmp_path / "settings.md").write_text("# Settings\n")
    words = [sys.executable, str(tmp_path / "generate.py")]
    done = subprocess.run([*words, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ", ".join(GENERATED) in done.stderr
    assert "make docs" in done.stderr
    assert (tmp_path / "settings.md").read_text() == "# Settings\n"
    subprocess.run(words, check=True, capture_output=True)
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (PROJECT / "docs" / name).read_text()


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=name_of)
def test_sessions_print_what_the_page_shows(page: Path, tmp_path: Path, postgres_url: str) -> None:
    """Run in order, each command of a page's sessions succeeds with the output that the page shows."""
    run_session(session_of(page), tmp_path, postgres_url)


@pytest.mark.parametrize(("command", "output"), [("echo two", "one\n"), ("echo one; false", "one\n")])
def test_sessions_with_other_output_fail(command: str, output: str, tmp_path: Path) -> None:
    """The test of a session fails if a command fails or prints something other than the page shows."""
    run_session([("echo one", "one\n"), ("echo 1 month in 2.3 s", "1 ... in 1.0 s\n")], tmp_path, "not used")
    with pytest.raises(AssertionError, match="echo"):
        run_session([(command, output)], tmp_path, "not used")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page: Path) -> None:
    """Every link into the checkout and every picture leads to a file, and to a heading if it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        assert not heading or heading in _anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    """Every `taxi` command on the page is a command of the program, with options that it has."""
    for line in _code(page):
        for shown in re.findall(r"(?:^|[ ])taxi ([a-z][^|;&#]*)", line):
            words = _words(shown)
            command = _find_command(words)
            assert command, line
            options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    """Every target in a `make` command on the page exists, and `make help` describes it."""
    assert {target for line in _code(page) for target in re.findall(r"\bmake ([a-z][a-z-]*)", line)} <= set(TARGETS)


def test_help_describes_every_target() -> None:
    """`make help` describes every target, except the one that others use to write `.env`."""
    phony = re.findall(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert {target for line in phony for target in line.split()} == {*TARGETS, "deployment-env"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_exist(page: Path) -> None:
    """Every `TAXI_` name on the page is a setting."""
    assert set(re.findall(r"\bTAXI_[A-Z_]*[A-Z]\b", page.read_text())) <= set(setting_names())


def test_the_example_describes_every_setting() -> None:
    """The comment above each setting in `.env.example` is the setting's description."""
    example = (PROJECT / ".env.example").read_text()
    blocks = re.findall(rf"((?:^# .*\n)+?)^# {PREFIX}(\w+)=.*$", example, re.MULTILINE)
    comments = {
        name.lower(): " ".join(line.removeprefix("# ") for line in block.splitlines()) for block, name in blocks
    }
    assert comments == {name: field.description for name, field in Settings.model_fields.items()}


def test_every_page_is_in_the_list() -> None:
    """`docs/README.md` links to every page."""
    listed = (PROJECT / "docs" / "README.md").read_text()
    assert all(f"({page.name})" in listed for page in PAGES if page.parent.name == "docs" and page.stem != "README")


def test_every_picture_is_shown_and_small() -> None:
    """Every picture is on a page, is taken by `docs/screenshots.py`, and is below the size limit."""
    shown = "".join((PROJECT / "docs" / name).read_text() for name in ("report.md", "ui.md"))
    taken = (PROJECT / "docs" / "screenshots.py").read_text()
    assert PICTURES
    for picture in PICTURES:
        assert f'"{picture.stem}": (' in taken or f'"{picture.name}"' in taken
        assert f"(images/{picture.name})" in shown
        assert picture.stat().st_size < PICTURE_BYTES, picture


def test_pages_have_no_local_paths() -> None:
    """No page contains the path of this checkout or of a home folder."""
    for page in PAGES:
        assert not re.search(rf"{re.escape(str(PROJECT))}\b|/home/\w|/Users/\w|/root/", page.read_text()), page


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub generates from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(page: Path) -> list[str]:
    """The commands on a page: in sessions, in shell blocks, in sentences."""
    text = page.read_text()
    # In a numbered list, blocks are indented.
    fence = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    typed = [line for language, block in fence.findall(text) if language == "sh" for line in block.splitlines()]
    sentences = re.findall(r"`([^`]+)`", fence.sub("", text))
    return [command for command, _ in session_of(page)] + typed + [" ".join(code.split()) for code in sentences]


def _find_command(words: list[str]) -> click.Command | None:
    """The command or subcommand that the words of a command line start with, or None if there is none."""
    command: click.Command | None = taxi.commands.get(words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        return command.commands.get(words[1], command)
    return command


def _words(shown: str) -> list[str]:
    try:
        return shlex.split(shown)
    except ValueError:  # a quote that ends elsewhere
        return shown.split()
