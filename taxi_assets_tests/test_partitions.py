"""The partitions of each color are the months that its source has, or can have published by now."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import NotAPartition, UnknownMonth
from taxi_assets.graph import MART_ASSETS, SOURCE_TRIPS, TRIP_ASSETS
from taxi_assets.keys import asset_key, is_color_asset
from taxi_assets.partitions import (
    bounds,
    month_of,
    month_partitions,
    partition_keys,
    recent_months,
    source_colors,
    why_not_a_partition,
)
from taxi_assets.settings import Settings
from taxi_assets.stores.source.known import MIRROR_URL
from taxi_assets.tlc.trips import COLORS, TripMonth

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2024, 5, 15, 12, tzinfo=NEW_YORK)


def _keys(settings: Settings, color: str = "green", now: datetime = NOON) -> list[str]:
    return list(month_partitions(settings, color).get_partition_keys(current_time=now))


FIRSTS = {"yellow": "2009-01", "green": "2013-08", "fhv": "2015-01", "fhvhv": "2019-02"}
"""The first months that the TLC has published."""

MIRROR_COLORS = ("yellow", "green", "fhv")


@pytest.mark.parametrize("color", MIRROR_COLORS)
def test_mirror_has_fixed_partitions(color: str) -> None:
    """The mirror no longer changes, so its partitions are 2019-01 to 2021-07 at any time."""
    keys = _keys(Settings(source_url=MIRROR_URL), color)
    assert (keys[0], keys[-1], len(keys)) == ("2019-01", "2021-07", 31)


@pytest.mark.parametrize(
    "source", ["tlc", "TLC", "https://trips.example.org", "/srv/trips", "https://example.org/{color}-{month}.parquet"]
)
@pytest.mark.parametrize("color", COLORS)
def test_another_source_starts_with_the_tlc_and_follows_the_calendar(color: str, source: str) -> None:
    """The first partition is the TLC's first month. The TLC publishes a month after the next one ends."""
    keys = _keys(Settings(source_url=source), color)
    assert (keys[0], keys[-1]) == (FIRSTS[color], "2024-03")


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2024, 4, 30, 23, 59, tzinfo=NEW_YORK), "2024-02"),
        (datetime(2024, 5, 1, tzinfo=NEW_YORK), "2024-03"),
        (datetime(2024, 5, 1, 3, tzinfo=ZoneInfo("UTC")), "2024-02"),
        (datetime(2024, 1, 1, tzinfo=NEW_YORK), "2023-11"),
    ],
)
def test_new_partition_starts_at_midnight_in_new_york(now: datetime, last: str) -> None:
    """On the first day of a month in New York, the month before last becomes a partition."""
    assert _keys(Settings(source_url="https://trips.example.org"), now=now)[-1] == last


@pytest.mark.parametrize("source", [MIRROR_URL, "https://trips.example.org"])
def test_settings_limit_the_partitions(source: str) -> None:
    """TAXI_FIRST_MONTH and TAXI_LAST_MONTH are the first and the last partition, both inclusive."""
    settings = Settings(source_url=source, first_month="2020-03", last_month="2020-05")
    assert _keys(settings) == ["2020-03", "2020-04", "2020-05"]
    assert bounds(settings, "green") == ("2020-03", "2020-05")


def test_first_and_last_month_can_be_the_same() -> None:
    """The first and the last partition may be the same month."""
    assert _keys(Settings(first_month="2020-12", last_month="2020-12")) == ["2020-12"]


def test_last_month_in_the_future_is_limited_to_complete_months() -> None:
    """With TAXI_LAST_MONTH in the future, the last partition is the month that has just ended."""
    settings = Settings(source_url="https://trips.example.org", last_month="2030-12")
    assert _keys(settings)[-1] == "2024-04"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(first_month="2999-01"),
        Settings(first_month="2021-08", source_url=MIRROR_URL),
        Settings(last_month="2018-12"),
        Settings(first_month="2020-05", last_month="2020-03"),
    ],
)
def test_reject_settings_without_partitions(settings: Settings) -> None:
    """If the settings leave no partition, the error shows both bounds, and its remedy shows the settings."""
    assert _keys(settings) == []
    with pytest.raises(NotAPartition) as error:
        bounds(settings, "green")
    assert error.value.facts["color"] == "green"
    assert error.value.facts["first"] == (settings.first_month or "2019-01")
    assert settings.last_month in {None, error.value.facts["last"]}
    for fact in error.value.facts.values():
        assert str(fact) in str(error.value)
    assert "TAXI_FIRST_MONTH" in error.value.explain()
    assert "TAXI_LAST_MONTH" in error.value.explain()


@pytest.mark.parametrize(("source", "colors"), [("mirror", MIRROR_COLORS), ("tlc", COLORS), ("/srv/trips", COLORS)])
def test_the_colors_of_a_source(source: str, colors: tuple[str, ...]) -> None:
    """The mirror has no fhvhv: the color has no partition there, and its months are not published."""
    settings = Settings(source_url=source)
    assert source_colors(settings) == colors
    for color in COLORS:
        assert bool(partition_keys(settings, color)) == (color in colors)
        why = why_not_a_partition(settings, TripMonth(color, "2020-01"))
        assert why == ("" if color in colors else "not published")
        if color not in colors:
            with pytest.raises(NotAPartition, match=f"The source has no {color} trips"):
                bounds(settings, color)


@pytest.mark.parametrize("source", ["mirror", "tlc"])
def test_all_assets_of_a_color_have_the_same_partitions(source: str, tmp_path: Path) -> None:
    """All assets of a color that the source has, including the source, have the same monthly partitions."""
    settings = Settings(home=tmp_path, first_month="2020-03", source_url=source)
    graph = build_definitions(settings).resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys() if is_color_asset(key)} == set(source_colors(settings))
    for color in source_colors(settings):
        for name in (SOURCE_TRIPS, *TRIP_ASSETS, *MART_ASSETS):
            assert graph.get(asset_key(color, name)).partitions_def == month_partitions(settings, color)


def test_convert_a_partition_to_a_month() -> None:
    """The color comes from the asset key and the month from the partition key."""
    settings = Settings(source_url="tlc")
    for color in COLORS:
        for key in _keys(settings, color):
            month = month_of(asset_key(color, "raw_trips"), key)
            assert month == TripMonth(color, key)
            assert why_not_a_partition(settings, month) == ""


@pytest.mark.parametrize(("asset", "key"), [("green", "2020-4"), ("green", "green|2020-04"), ("purple", "2020-04")])
def test_reject_an_invalid_partition_key(asset: str, key: str) -> None:
    """The partition key of another kind of partitions, and the asset key of another project, are errors."""
    with pytest.raises(UnknownMonth):
        month_of(dg.AssetKey([asset, "raw_trips"]), key)


def test_recent_months_are_the_last_partitions() -> None:
    """Return the last TAXI_LOOKBACK_MONTHS partitions that exist at a time, or fewer if there are fewer."""
    settings = Settings(source_url="https://trips.example.org", first_month="2024-01", lookback_months=2)
    assert recent_months(settings, "fhv", NOON) == (TripMonth("fhv", "2024-02"), TripMonth("fhv", "2024-03"))
    early = datetime(2024, 3, 5, tzinfo=NEW_YORK)
    assert recent_months(settings, "fhv", early) == (TripMonth("fhv", "2024-01"),)
    assert recent_months(settings, "fhv", datetime(2024, 2, 28, tzinfo=NEW_YORK)) == ()


@pytest.mark.parametrize(
    ("settings", "month", "why"),
    [
        (Settings(), "2019-01", ""),
        (Settings(), "2021-07", ""),
        (Settings(), "2021-08", "not published"),
        (Settings(), "2018-12", "not a partition"),
        (Settings(source_url="tlc"), "2009-01", ""),
        (Settings(source_url="tlc"), "2018-12", ""),
        (Settings(source_url="tlc"), "2008-12", "not a partition"),
        (Settings(source_url="https://trips.example.org"), "2999-01", "not published"),
        (Settings(first_month="2020-03", last_month="2020-05"), "2020-02", "not a partition"),
        (Settings(first_month="2020-03", last_month="2020-05"), "2020-06", "not a partition"),
        (Settings(source_url="https://trips.example.org", last_month="2999-12"), "2999-11", "not published"),
    ],
)
def test_reason_why_a_month_cannot_be_loaded(settings: Settings, month: str, why: str) -> None:
    """A month after the source's last one is not published. A month that the settings exclude is not a partition."""
    reason = why_not_a_partition(settings, TripMonth("yellow", month))
    assert reason.startswith(why)
    assert bool(reason) == bool(why)
    if why == "not a partition":
        first, last = bounds(settings, "yellow")
        for fact in ("yellow", first, "TAXI_FIRST_MONTH", last, "TAXI_LAST_MONTH"):
            assert fact in reason
