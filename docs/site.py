#!/usr/bin/env python
"""Build the documentation site in `build/docs/site` with Zensical. Run by `make site`.

The site has the pages of `docs/`, in the order of the lists in `docs/README.md`, and the files outside of `docs/` that
they link to. A broken link or a missing heading fails the build.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
STAGED = PROJECT / "build" / "docs"
"""What Zensical reads. It accepts no page outside of its folder, so everything is copied there."""

OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", ".env.example": "env-example.txt"}
"""The files outside of `docs/` that pages link to, and their names on the site."""


def main() -> None:
    """Stage the pages and build the site. The exit code is that of Zensical."""
    stage(STAGED)
    zensical = Path(sys.executable).with_name("zensical")
    words = [str(zensical), "build", "--clean", "--strict", "--config-file", str(STAGED / "zensical.toml")]
    if code := subprocess.run(words, check=False).returncode:  # noqa: S603
        sys.exit(code)
    site = (STAGED / "site").relative_to(PROJECT)
    # Browsers do not let pages that are opened as files search.
    print(f"To read the site at http://127.0.0.1:8000:\n  .venv/bin/python -m http.server --bind 127.0.0.1 -d {site}")  # noqa: T201


def stage(folder: Path) -> None:
    """Write the pages, pictures and configuration of the site to `folder`, replacing what it contains."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(DOCS / "images", pages / "images")
    for page in DOCS.glob("*.md"):
        (pages / page.name).write_text(inside(page.read_text(encoding="utf-8"), "../"), encoding="utf-8")
    for name, staged in OUTSIDE.items():
        text = (PROJECT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        (pages / staged).write_text(inside(text, ""), encoding="utf-8")
    config = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    listed = navigation((pages / "README.md").read_text(encoding="utf-8"))
    config = config.replace("[project]\n", f"[project]\nnav = {listed}\n", 1)
    (folder / "zensical.toml").write_text(config, encoding="utf-8")


def inside(text: str, prefix: str) -> str:
    """The text of a page with links to the copies of the files outside of `docs/`, to which `prefix` leads."""
    for name, staged in OUTSIDE.items():
        text = text.replace(f"]({prefix}{name}", f"]({staged}")
    return text


def navigation(front: str) -> str:
    """The navigation in TOML: the front page, then a section for each heading of the front page that has a list."""
    home = '{ "Home" = "README.md" }'
    return f"[{', '.join([home, *sections(front)])}]"


def sections(front: str) -> Iterator[str]:
    """The section of each heading with its pages, in TOML. Only list items that start with a link are pages."""
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", front, re.DOTALL | re.MULTILINE):
        pages = re.findall(r"^- \[([^\]]+)\]\(([\w-]+\.md)\)", body, re.MULTILINE)
        listed = ", ".join(f"{{ {json.dumps(title)} = {json.dumps(path)} }}" for title, path in pages)
        if listed:
            yield f"{{ {json.dumps(heading)} = [{listed}] }}"


if __name__ == "__main__":
    main()
