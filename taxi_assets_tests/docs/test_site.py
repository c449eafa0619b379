"""The documentation site: `make site` builds every page, and fails if a link is broken."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from taxi_assets_tests.docs.pages import PAGES, PROJECT, README

pytestmark = pytest.mark.skipif(find_spec("zensical") is None, reason="make site has not installed Zensical")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the documentation."""
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", ".env.example"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def _build(checkout: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(checkout / "docs" / "site.py")]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_every_page_is_on_the_site(checkout: Path) -> None:
    """Every page is in the navigation and in the search, and no page loads anything from another server."""
    done = _build(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    site = checkout / "build" / "docs" / "site"
    front = (site / "index.html").read_text()
    names = {f"{page.stem.lower()}.html" for page in PAGES if page not in (README, PROJECT / "docs" / "README.md")}
    assert {name for name in names if f'href="./{name}"' not in front} == set()
    found = {item["location"].partition("#")[0] for item in json.loads((site / "search.json").read_text())["items"]}
    assert names <= found
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert loaded == [], page


@pytest.mark.parametrize("target", ["no-such-page.md", "assets.md#no-such-heading", "../CHANGELOG.md#no-such-heading"])
def test_a_broken_link_fails_the_build(target: str, checkout: Path) -> None:
    """The build fails and names the page if a link leads to no page or no heading."""
    page = checkout / "docs" / "tutorial.md"
    page.write_text(f"{page.read_text()}\n[broken]({target})\n")
    done = _build(checkout)
    assert done.returncode != 0
    assert "tutorial.md" in done.stdout + done.stderr


def test_a_page_that_is_not_listed_is_not_in_the_navigation(checkout: Path) -> None:
    """The navigation is the list on the front page of the documentation."""
    front = checkout / "docs" / "README.md"
    front.write_text(re.sub(r"^- \[Architecture\].*\n", "", front.read_text(), flags=re.MULTILINE))
    assert _build(checkout).returncode == 0
    assert 'href="./architecture.html"' not in (checkout / "build" / "docs" / "site" / "index.html").read_text()
