"""The page about assets describes the assets, checks and limits in the code."""

import re

import pytest

from taxi_assets.defs.checks import descriptions
from taxi_assets.graph import MART_ASSETS, NEWEST_MONTH_LOADED, SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.tlc.marts import RULES as RULES_OF_MARTS
from taxi_assets.tlc.quality import ROWS_LIKE_NEIGHBORS, RULES
from taxi_assets.tlc.trips import COLORS
from taxi_assets_tests.docs.pages import PROJECT

PAGE = (PROJECT / "docs" / "assets.md").read_text()


def test_every_asset_has_a_row() -> None:
    """The tables of a color's assets list the observed source, every trip asset and every mart in order."""
    assert re.findall(r"^\| `green/(\w+)` \|", PAGE, re.MULTILINE) == [SOURCE_TRIPS, *TRIP_ASSETS, *MART_ASSETS]


def test_every_rule_has_a_row() -> None:
    """The page lists the rules for implausible values, with the columns that leave these trips out."""
    found = dict(re.findall(r"^\| `(\w+)` \| .* \| (nothing|.*`\w+_m\w+`) \|$", PAGE, re.MULTILINE))
    assert list(found) == [rule.name for rule in RULES_OF_MARTS]
    assert all(rule.left_out_of in found[rule.name] for rule in RULES_OF_MARTS)


@pytest.mark.parametrize("color", COLORS)
def test_every_check_is_described(color: str) -> None:
    """The page names every check of a color's assets."""
    names = {name for asset in TRIP_ASSETS for name in descriptions(color, asset)} | {NEWEST_MONTH_LOADED}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_limits_are_those_of_the_rules() -> None:
    """The table of quality checks has each rule with its limit, and no other row."""
    limits = {rule.name: f"{100 * rule.limit:g}%" for rule in RULES}
    limits[ROWS_LIKE_NEIGHBORS.name] = f"factor {ROWS_LIKE_NEIGHBORS.factor:g}"
    [table] = [block for block in PAGE.split("\n\n") if f"\n| `{ROWS_LIKE_NEIGHBORS.name}` |" in block]
    assert dict(re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", table, re.MULTILINE)) == limits
