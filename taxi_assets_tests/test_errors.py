"""Kinds of errors: each has a slug, a meaning and a remedy, and each place that raises one gives the facts it needs."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pytest

from taxi_assets import errors
from taxi_assets.cli.main import taxi
from taxi_assets.errors import BUG, TaxiAssetsError, printable
from taxi_assets_tests.docs.pages import PROJECT

PACKAGE = PROJECT / "taxi_assets"

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, TaxiAssetsError) and kind.__module__ == errors.__name__
}
KINDS = [kind for kind in CLASSES.values() if kind.slug]
GROUPS = {name for name, kind in CLASSES.items() if not kind.slug}
"""Classes that only group others."""


@dataclass(frozen=True)
class Use:
    """A place in the source that creates an error, or names its class in order to create it later.

    `facts` are the names of its keyword arguments, or None if they cannot be read from the source.
    """

    place: str
    name: str
    facts: frozenset[str] | None = None
    is_call: bool = True


def uses_in(path: Path, text: str) -> Iterator[Use]:
    """Yield each use of an error class in a source file, except those that only catch or compare errors."""
    tree = ast.parse(text)
    literals = {
        target.id: node.value
        for node in ast.walk(tree)
        for target in _targets(node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict)
    }
    called: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _class_name(node.func)):
            called.add(node.func)
            yield Use(f"{path}:{node.lineno}", name, _facts(node, literals))
    for node in _values(tree):
        if node not in called and (name := _class_name(node)):
            yield Use(f"{path}:{node.lineno}", name, is_call=False)


def _targets(node: ast.AST) -> list[ast.Name]:
    found = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target for target in found if isinstance(target, ast.Name)]


def _class_name(node: ast.AST) -> str:
    """The name of the error class that an expression names; empty for any other expression."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name if name in CLASSES else ""


def _facts(call: ast.Call, literals: dict[str, ast.Dict]) -> frozenset[str] | None:
    """The names of the facts of a call, or None if they cannot be read."""
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    for keyword in call.keywords:
        if keyword.arg is None:
            more = _spread(keyword.value, literals)
            if more is None:
                return None
            names |= more
    return frozenset(names)


def _spread(value: ast.expr, literals: dict[str, ast.Dict]) -> set[str] | None:
    """The names in `**value`: the facts of a month, or a dictionary that is assigned in the file."""
    if isinstance(value, ast.Attribute) and value.attr == "facts" and ast.unparse(value.value).endswith("month"):
        return {"color", "month"}
    if not (isinstance(value, ast.Name) and value.id in literals):
        return None
    names: set[str] = set()
    for key, entry in zip(literals[value.id].keys, literals[value.id].values, strict=True):
        if isinstance(key, ast.Constant):
            names.add(str(key.value))
        elif key is not None or (more := _spread(entry, {})) is None:
            return None
        else:
            names |= more
    return names


def _values(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions below a node, without annotations, `except` clauses, `isinstance`, comparisons and unions.

    A tuple that contains nothing but error classes is left out, too: it is there to catch them.
    """
    skipped: list[ast.AST | None] = []
    match node:
        case ast.ExceptHandler():
            skipped = [node.type]
        case ast.AnnAssign() | ast.arg():
            skipped = [node.annotation]
        case ast.FunctionDef():
            skipped = [node.returns]
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "suppress")):
            skipped = [*node.args]
        case ast.Compare() | ast.BinOp():
            return
        case ast.Tuple() if all(map(_class_name, node.elts)):
            return
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            if isinstance(child, ast.expr):
                yield child
            yield from _values(child)


USES = [
    use
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "errors.py"
    for use in uses_in(path.relative_to(PROJECT), path.read_text())
]


def placeholders(kind: type[TaxiAssetsError]) -> set[str]:
    """The facts that a remedy shows."""
    return {name for _, name, _, _ in Formatter().parse(kind.remedy) if name}


def test_slugs_are_unique_and_short() -> None:
    """Every slug is unique, also among other errors, and consists of lowercase letters, digits and hyphens."""
    slugs = [*(kind.slug for kind in KINDS), BUG]
    assert len(slugs) == len(set(slugs))
    assert [slug for slug in slugs if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)] == []


def test_only_kinds_with_a_slug_are_raised() -> None:
    """No code creates an error of a class that only groups others."""
    assert [use for use in USES if use.name in GROUPS] == []


def test_every_kind_is_raised() -> None:
    """Every kind is used in the code, except base classes of other kinds."""
    bases = {base.__name__ for kind in KINDS for base in kind.__mro__[1:]}
    unused = CLASSES.keys() - {use.name for use in USES} - bases
    assert unused == set()


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_class_has_a_meaning(kind: type[TaxiAssetsError]) -> None:
    """The docstring of a class, which the troubleshooting page shows, consists of full sentences."""
    meaning = inspect.cleandoc(vars(kind)["__doc__"])
    assert meaning[0].isupper() or meaning[0] == "`"
    assert meaning.endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug)
def test_every_kind_has_a_group(kind: type[TaxiAssetsError]) -> None:
    """Every kind belongs to a section of the troubleshooting page."""
    assert kind.group


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug)
def test_an_explanation_ends_with_the_slug(kind: type[TaxiAssetsError]) -> None:
    """The complete text is the message, then the remedy with its facts, then the slug in brackets."""
    facts = {name: f"value-of-{name}" for name in placeholders(kind)}
    text = kind("This was seen.", **facts).explain()
    assert text.startswith("This was seen. ")
    assert text.endswith(f" [{kind.slug}]")
    assert [value for value in facts.values() if value not in text] == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if placeholders(kind)], ids=lambda kind: kind.slug)
def test_a_missing_fact_is_shown_in_capitals(kind: type[TaxiAssetsError]) -> None:
    """A remedy without the value of a fact shows the name of the fact in capitals."""
    text = kind("This was seen.").explain()
    for name in placeholders(kind):
        assert name.upper() in text
        assert f"{{{name}}}" not in text


def test_explanations_of_several_lines() -> None:
    """If the message has several lines, the remedy starts on a new line; otherwise it follows a period."""
    [last] = errors.EmbeddedPostgresError("The log:\none").explain().splitlines()[2:]
    assert last.endswith("[embedded-postgres]")
    assert errors.GoogleError("No period").explain().startswith("No period. ")
    assert errors.StoreError("A question?").explain() == "A question? [store-error]"


CONTROL_CHARACTERS = {
    "an escape sequence": ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
    "a title": ("\x1b]0;owned\x07", "?]0;owned?"),
    "NUL and DEL": ("a\0b\x7f", "a?b?"),
    "a carriage return": ("visible\rhidden", "visible?hidden"),
    "a backspace": ("ab\b\b", "ab??"),
    "a C1 character": ("\x9b31m\x85", "?31m?"),
    "text from right to left": ("\u202egnp\u202c", "?gnp?"),
    "a byte that is not UTF-8": ("caf\udce9", "caf?"),
    "a separator of lines": ("a\u2028b\u2029", "a?b?"),
}
"""Text that a terminal interprets, and what is shown instead."""


@pytest.mark.parametrize(("text", "shown"), CONTROL_CHARACTERS.values(), ids=CONTROL_CHARACTERS)
def test_control_characters_are_replaced(text: str, shown: str) -> None:
    """Messages, remedies and facts show "?" instead of characters that a terminal interprets."""
    error = errors.NotACsv(f"Seen: {text}.", address=f"/data/{text}", size=3)
    assert str(error) == f"Seen: {shown}."
    assert error.facts == {"address": f"/data/{shown}", "size": 3}
    assert error.explain() == errors.NotACsv(f"Seen: {shown}.", address=f"/data/{shown}").explain()
    inside = error.within(f"green {text}")
    assert str(inside) == f"green {shown}: Seen: {shown}."
    assert inside.facts == error.facts


@pytest.mark.parametrize("text", ["two\nlines", "a\ttab", "Café 出租車 🚕 €", "مرحبا", "C:\\x07", '"?"', ""])
def test_other_characters_stay(text: str) -> None:
    """Line breaks, tabs, and printable characters of all scripts stay."""
    assert printable(text) == text
    assert str(errors.StoreError(text)) == text


def test_within_keeps_the_kind_and_the_facts() -> None:
    """An error with a context is of the same kind, with the same facts."""
    error = errors.SourceRejected("The server responded with 403.", address="http://example.org/x", status=403)
    inside = error.within("green 2020-04 was not fetched")
    assert type(inside) is errors.SourceRejected
    assert inside.facts == error.facts
    assert str(inside) == f"green 2020-04 was not fetched: {error}"


READ = [use for use in USES if use.is_call and use.facts is not None and placeholders(CLASSES[use.name])]


@pytest.mark.parametrize("use", READ, ids=lambda use: f"{use.place}-{use.name}")
def test_every_place_gives_the_facts_of_the_remedy(use: Use) -> None:
    """Where the facts can be read from the source, they include every placeholder of the remedy."""
    assert placeholders(CLASSES[use.name]) - (use.facts or frozenset()) == set()


SOURCE = """
from taxi_assets.errors import BadFile, BadInput, DiskFull, MissingUpstream, PortInUse, StoreBusy
from taxi_assets import errors

CAUGHT = (BadFile, StoreBusy)
KINDS: dict[int, type[BadInput]] = {1: DiskFull}
given = {"free_port": 1}

def load(month, facts) -> BadInput:
    try:
        raise errors.MissingUpstream("No.", **month.facts, asset="raw_trips")
    except BadInput as error:
        assert not isinstance(error, BadInput)
    read = {**month.facts, "path": "x"}
    raise PortInUse("No.", **given) if facts else StoreBusy("No.", **facts)
    raise BadFile("No.", **read)
    return DiskFull if month is DiskFull else BadFile
"""


def test_uses_are_found() -> None:
    """The tests above find calls with their facts, and classes that are named to be used later."""
    found = {(use.name, use.facts, use.is_call) for use in uses_in(Path("x.py"), SOURCE)}
    assert found == {
        ("MissingUpstream", frozenset({"color", "month", "asset"}), True),
        ("PortInUse", frozenset({"free_port"}), True),
        ("StoreBusy", None, True),
        ("BadFile", frozenset({"color", "month", "path"}), True),
        ("DiskFull", None, False),
        ("BadFile", None, False),
    }
    assert {use.place.split("/")[1] for use in USES} >= {"tlc", "stores", "defs", "operations", "instance"}
    assert len(READ) > 10


@pytest.mark.parametrize("folder", ["stores", "tlc"])
def test_stores_name_no_setting_and_no_command(folder: str) -> None:
    """Messages of stores and of the data's rules have no setting and no command: these are in the remedies."""
    words = re.compile(rf"TAXI_|\btaxi ({'|'.join(taxi.commands)})\b")
    sources = {path: path.read_text() for path in (PACKAGE / folder).rglob("*.py")}
    assert sources
    assert {path.name: found[0] for path, text in sources.items() if (found := words.search(text))} == {}


def test_every_slug_is_a_heading() -> None:
    """The troubleshooting page has a heading for every slug, and shows the slug of unexpected errors."""
    page = (PROJECT / "docs" / "troubleshooting.md").read_text()
    assert set(re.findall(r"^### (\S+)$", page, re.MULTILINE)) == {kind.slug for kind in KINDS}
    assert f"[{BUG}]" in page
