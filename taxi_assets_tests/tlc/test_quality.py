"""The quality rules: which colors they apply to, and when a month passes."""

import pytest

from taxi_assets.tlc.quality import (
    CODES_IN_DICTIONARY,
    DUPLICATES,
    NEGATIVE_MONEY,
    ROWS_LIKE_NEIGHBORS,
    RULES,
    QualityFinding,
    Rule,
    compare_with_neighbors,
    judge,
    rules_of,
)
from taxi_assets.tlc.schema import LAYOUTS, Layout

EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def test_rules_have_unique_names_and_descriptions() -> None:
    """The name of a rule identifies its check, and its description is in sentences."""
    names = [*(rule.name for rule in RULES), ROWS_LIKE_NEIGHBORS.name]
    assert len(set(names)) == len(names)
    assert all(rule.description.endswith(".") for rule in RULES)
    assert ROWS_LIKE_NEIGHBORS.description.endswith(".")


@pytest.mark.parametrize("color", ["yellow", "green"])
def test_all_rules_apply_to_metered_colors(color: str) -> None:
    """Yellow and green trips have codes and charges, so all rules apply."""
    assert rules_of(LAYOUTS[color]) == RULES


@pytest.mark.parametrize(
    ("color", "missing"), [("fhv", {CODES_IN_DICTIONARY, NEGATIVE_MONEY}), ("fhvhv", {NEGATIVE_MONEY})]
)
def test_rules_of_for_hire_vehicles(color: str, missing: set[Rule]) -> None:
    """For-hire trips have no total, and fhv trips have no codes, so the rules about them do not apply."""
    assert rules_of(LAYOUTS[color]) == tuple(rule for rule in RULES if rule not in missing)


@EVERY_LAYOUT
def test_rules_read_columns_of_the_layout(layout: Layout) -> None:
    """Rules read columns of the file. Duplicates are rows that are equal in all of them."""
    for rule in rules_of(layout):
        assert set(rule.columns(layout)) <= set(layout.names)
    assert DUPLICATES.columns(layout) == layout.names


@EVERY_RULE
def test_pass_up_to_the_limit(rule: Rule) -> None:
    """A month passes if the share equals the limit, and fails with one more row."""
    at_limit = round(100_000 * rule.limit)
    assert 0 < at_limit < 100_000
    assert judge(rule, QualityFinding(100_000, 0)).passed
    assert judge(rule, QualityFinding(100_000, at_limit)).passed
    assert not judge(rule, QualityFinding(100_000, at_limit + 1)).passed
    assert not judge(rule, QualityFinding(100_000, 100_000)).passed


def test_verdict_has_the_figures() -> None:
    """The verdict has the row counts, the share, the limit and the details of the finding."""
    verdict = judge(CODES_IN_DICTIONARY, QualityFinding(200, 50, {"VendorID": "4 (50 rows)"}))
    limit = CODES_IN_DICTIONARY.limit
    assert verdict.figures == {
        "rows": 200,
        "offending": 50,
        "share": 0.25,
        "limit": limit,
        "VendorID": "4 (50 rows)",
    }


@EVERY_RULE
def test_pass_without_rows(rule: Rule) -> None:
    """Without rows, the share is 0."""
    verdict = judge(rule, QualityFinding(0, 0))
    assert verdict.passed
    assert verdict.figures["share"] == 0


@pytest.mark.parametrize(
    ("rows", "neighbors", "passed"),
    [
        pytest.param(50, {"2021-01": 100}, True, id="half of the month before"),
        pytest.param(49, {"2021-01": 100}, False, id="less than half of the month before"),
        pytest.param(200, {"2021-01": 100}, True, id="twice the month before"),
        pytest.param(201, {"2021-01": 100}, False, id="more than twice the month before"),
        pytest.param(100, {"2021-03": 150}, True, id="like the month after"),
        pytest.param(100, {"2021-03": 300}, False, id="unlike the month after"),
        pytest.param(100, {"2021-03": 100, "2021-01": 300}, False, id="unlike the month before, like the one after"),
        pytest.param(100, {"2021-03": 300, "2021-01": 100}, True, id="like the month before, unlike the one after"),
        pytest.param(100, {"2020-12": 100, "2021-02": 300}, True, id="the month before is of another year"),
        pytest.param(100, {"2021-01": 0, "2021-03": 300}, False, id="the month before is empty"),
        pytest.param(0, {"2021-01": 100}, False, id="no rows"),
        pytest.param(398_632, {"2020-01": 447_770, "2020-03": 223_406}, True, id="real green 2020-02"),
        pytest.param(223_406, {"2020-02": 398_632, "2020-04": 35_612}, True, id="real green 2020-03"),
        pytest.param(35_612, {"2020-03": 223_406, "2020-05": 57_360}, False, id="real green 2020-04, the pandemic"),
        pytest.param(57_360, {"2020-04": 35_612, "2020-06": 63_109}, True, id="real green 2020-05"),
    ],
)
def test_compare_the_row_count_with_a_neighbor(rows: int, neighbors: dict[str, int], *, passed: bool) -> None:
    """A month passes with half to twice the rows of the month before, or of the month after if only that is known."""
    assert compare_with_neighbors(rows, neighbors).passed is passed


@pytest.mark.parametrize("neighbors", [{}, {"2021-01": 0}])
def test_pass_without_known_neighbors(neighbors: dict[str, int]) -> None:
    """The first loaded month has no neighbors. A neighbor without rows is ignored."""
    verdict = compare_with_neighbors(100, neighbors)
    assert verdict.passed
    assert verdict.figures == {"rows": 100}


def test_comparison_has_the_figures_of_the_neighbor() -> None:
    """The verdict has the compared month, its rows, the ratio and the limits."""
    verdict = compare_with_neighbors(75, {"2021-03": 80, "2021-01": 100})
    assert verdict.figures == {
        "rows": 75,
        "compared_with": "2021-01",
        "compared_rows": 100,
        "ratio": 0.75,
        "lowest_ratio": 0.5,
        "highest_ratio": 2.0,
    }
