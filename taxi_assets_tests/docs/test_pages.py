"""What the pages show is there: their links, pictures, commands and settings; their sessions print what they say."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from taxi_assets.cli import taxi
from taxi_assets.settings import setting_names
from taxi_assets_tests.docs.pages import PAGES, PROJECT, README, name_of, session_of, type_session

WITH_SESSIONS = [page for page in PAGES if page != README and session_of(page)]
PICTURES = sorted((PROJECT / "docs" / "images").glob("*.png"))

PICTURE_BYTES = 200_000
"""A picture comes along with every clone, in each of its versions."""


def test_the_pages_that_the_program_tells_are_current() -> None:
    """The pages of commands and settings are what `make docs` would write."""
    words = [sys.executable, str(PROJECT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_told_with_what_to_run(tmp_path: Path) -> None:
    """Where the pages are not those of the program, `--check` fails and names them and `make docs`."""
    (tmp_path / "generate.py").write_text((PROJECT / "docs" / "generate.py").read_text())
    (tmp_path / "settings.md").write_text("# Settings\n")
    words = [sys.executable, str(tmp_path / "generate.py")]
    done = subprocess.run([*words, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "commands.md, settings.md" in done.stderr
    assert "make docs" in done.stderr
    subprocess.run(words, check=True, capture_output=True)
    assert (tmp_path / "settings.md").read_text() == (PROJECT / "docs" / "settings.md").read_text()


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=name_of)
def test_the_sessions_print_what_they_say(page: Path, tmp_path: Path, postgres_url: str) -> None:
    """Typed in order, each command of a page's sessions succeeds with the output that the page shows."""
    type_session(session_of(page), tmp_path, postgres_url)


@pytest.mark.parametrize(("command", "output"), [("echo two", "one\n"), ("echo one; false", "one\n")])
def test_a_session_that_goes_otherwise_is_noticed(command: str, output: str, tmp_path: Path) -> None:
    """A command that prints something else than is said, or fails, fails the session's test."""
    type_session([("echo one", "one\n"), ("echo 1 month in 2.3 s", "1 ... in 1.0 s\n")], tmp_path, "not asked")
    with pytest.raises(AssertionError, match="echo"):
        type_session([(command, output)], tmp_path, "not asked")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link into the checkout leads to a file, and to a heading where it names one; so does every picture."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        assert not heading or heading in _anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_shown_exist(page: Path) -> None:
    """Every `taxi` command in code names a command and options that the program has."""
    for line in _code(page):
        for shown in re.findall(r"(?:^|[ ])taxi ([a-z][^|;&#]*)", line):
            words = _words(shown)
            command = taxi.commands.get(words[0])
            assert command, line
            options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_are_shown_exist(page: Path) -> None:
    """Every `TAXI_` name is a setting."""
    assert set(re.findall(r"\bTAXI_[A-Z_]*[A-Z]\b", page.read_text())) <= set(setting_names())


@pytest.mark.parametrize(
    "target",
    ["demo", "test", "check", "docs", "screenshots", "help", "image", "up", "down", "logs", "lock", "test-stack"],
)
def test_targets_of_make_exist(target: str) -> None:
    """What the pages tell people to make can be made, and `make help` says what it is."""
    assert re.search(rf"^{target}:.*## \S", (PROJECT / "Makefile").read_text(), re.MULTILINE)


def test_every_page_is_in_the_list() -> None:
    """The list of pages names all of them."""
    listed = (PROJECT / "docs" / "README.md").read_text()
    assert all(f"({page.name})" in listed for page in PAGES if page.parent.name == "docs" and page.stem != "README")


def test_every_picture_is_shown_and_small() -> None:
    """No picture lies about unseen, is taken by nothing, or is larger than a page should be."""
    shown = (PROJECT / "docs" / "ui.md").read_text()
    taken = (PROJECT / "docs" / "screenshots.py").read_text()
    assert PICTURES
    for picture in PICTURES:
        assert f'"{picture.stem}": (' in taken
        assert f"(images/{picture.name})" in shown
        assert picture.stat().st_size < PICTURE_BYTES, picture


def test_no_page_names_a_machine() -> None:
    """No page holds the path of the checkout that it was written in, or of somebody's home."""
    for page in PAGES:
        assert not re.search(rf"{re.escape(str(PROJECT))}\b|/home/\w|/Users/\w|/root/", page.read_text()), page


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(page: Path) -> list[str]:
    """What people type: in sessions, in blocks for a shell, in sentences."""
    text = page.read_text()
    # In a numbered list, blocks are indented.
    fence = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    typed = [line for language, block in fence.findall(text) if language == "sh" for line in block.splitlines()]
    sentences = re.findall(r"`([^`]+)`", fence.sub("", text))
    return [command for command, _ in session_of(page)] + typed + [" ".join(code.split()) for code in sentences]


def _words(shown: str) -> list[str]:
    try:
        return shlex.split(shown)
    except ValueError:  # a quote that ends elsewhere
        return shown.split()
