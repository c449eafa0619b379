"""The troubleshooting page quotes the messages of the program, and all of them."""

import ast
import re

from taxi_assets import errors
from taxi_assets_tests.docs.pages import PROJECT

GAP = "\0"
"""Stands for a placeholder in a message. No quotation matches it."""

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}

ROWS = re.findall(r"^\| (`.+?) \|", (PROJECT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
QUOTED = sorted({quoted for row in ROWS for quoted in re.findall(r"`([^`]+)`", row)})

SOURCES = {
    path.relative_to(PROJECT).as_posix(): list(ast.walk(ast.parse(path.read_text())))
    for path in sorted((PROJECT / "taxi_assets").rglob("*.py"))
}
"""The syntax nodes of every source file."""


def _text(node: ast.AST) -> str:
    """The text of a string node, with gaps for its placeholders; empty for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or GAP for part in node.values)
    return ""


def _messages() -> dict[str, str]:
    """The text of each error message by its place in the source, except those that consist only of other texts."""
    made = {
        f"{path}:{node.lineno}": _text(node.args[0])
        for path, nodes in SOURCES.items()
        for node in nodes
        if isinstance(node, ast.Call) and node.args and _called(node) in ERRORS
    }
    return {place: text for place, text in made.items() if any(len(part) > 5 for part in text.split(GAP))}


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_quotations_are_current() -> None:
    """Every quotation is part of a text in the program, outside its placeholders."""
    said = [text for nodes in SOURCES.values() for node in nodes if (text := _text(node))]
    gone = [quoted for quoted in QUOTED if not any(quoted in text for text in said)]
    assert not gone, "docs/troubleshooting.md quotes messages that no longer exist:\n" + "\n".join(gone)


def test_every_message_is_explained() -> None:
    """The page quotes a part of every error message, so that a search finds it."""
    said = _messages().items()
    missing = [f"{place}: {text}" for place, text in said if not any(quoted in text for quoted in QUOTED)]
    assert not missing, "add to docs/troubleshooting.md:\n" + "\n".join(missing).replace(GAP, "...")


def test_messages_and_quotations_are_found() -> None:
    """The tests above find messages in every folder, with and without placeholders."""
    messages = _messages()
    assert len(messages) > 40
    assert len(QUOTED) > 40
    assert {place.split("/")[1] for place in messages} >= {"tlc", "stores", "defs"}
    assert any(GAP in text for text in messages.values())
