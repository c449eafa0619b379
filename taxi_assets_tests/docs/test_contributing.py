"""The pages for people who change the code name files and code that exist."""

import re
from pathlib import Path

import pytest

from taxi_assets_tests.docs.pages import CONTRIBUTING, PROJECT, name_of

PAGES = [CONTRIBUTING, PROJECT / "docs" / "developers.md"]
MODULES = [*PROJECT.glob("taxi_assets/**/*.py"), *PROJECT.glob("taxi_assets_tests/**/*.py")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_exist(page: Path) -> None:
    """Every folder and file of the checkout that the page names exists."""
    text = page.read_text()
    paths = re.findall(r"`((?:taxi_assets|taxi_assets_tests|docs|deploy)/[^` ]*)`", text)
    assert paths
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    names = {path.name for path in [*MODULES, *PROJECT.iterdir()]}
    assert set(re.findall(r"`([\w.-]+\.(?:py|toml|yml))`", text)) <= names


def test_names_exist() -> None:
    """Every class, function and constant that the page for contributors names is in the code."""
    code = "\n".join(path.read_text() for path in MODULES)
    names = re.findall(r"`([A-Za-z_]\w+(?:\.[a-z_]+)?)`", CONTRIBUTING.read_text())
    assert {"Layout", "ERAS", "NotPublished"} <= set(names)
    assert [name for name in names if not re.search(rf"\b{name.rpartition('.')[2]}\b", code)] == []
