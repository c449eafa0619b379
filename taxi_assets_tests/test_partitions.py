"""The partitions of each color: the months that its source has, or can have by now."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from taxi_assets.defs.build import build_definitions
from taxi_assets.errors import UnknownMonth
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, asset_key
from taxi_assets.partitions import (
    bounds,
    month_of,
    month_partitions,
    recent_months,
    why_not_a_partition,
)
from taxi_assets.settings import Settings
from taxi_assets.stores.source import MIRROR_URL
from taxi_assets.tlc.trips import COLORS, TripMonth

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2024, 5, 15, 12, tzinfo=NEW_YORK)


def _keys(settings: Settings, color: str = "green", now: datetime = NOON) -> list[str]:
    return list(month_partitions(settings, color).get_partition_keys(current_time=now))


@pytest.mark.parametrize("color", COLORS)
def test_partitions_of_the_mirror_end_with_it(color: str) -> None:
    """The mirror is frozen: its partitions are 2019-01 to 2021-07 whatever the day, so that 100 % can be reached."""
    keys = _keys(Settings(source_url=MIRROR_URL), color)
    assert (keys[0], keys[-1], len(keys)) == ("2019-01", "2021-07", 31)


@pytest.mark.parametrize(
    "source", ["https://trips.example.org", "/srv/trips", "https://example.org/{color}-{month}.csv"]
)
@pytest.mark.parametrize("color", COLORS)
def test_partitions_of_another_source_end_with_what_it_can_have(color: str, source: str) -> None:
    """The TLC publishes a month no earlier than when the next one is over: March is the last partition in May."""
    keys = _keys(Settings(source_url=source), color)
    assert (keys[0], keys[-1]) == ("2019-01", "2024-03")


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2024, 4, 30, 23, 59, tzinfo=NEW_YORK), "2024-02"),
        (datetime(2024, 5, 1, tzinfo=NEW_YORK), "2024-03"),
        (datetime(2024, 5, 1, 3, tzinfo=ZoneInfo("UTC")), "2024-02"),
        (datetime(2024, 1, 1, tzinfo=NEW_YORK), "2023-11"),
    ],
)
def test_a_month_becomes_a_partition_at_midnight_in_new_york(now: datetime, last: str) -> None:
    """The last partition is the last month but one, by New York's clock."""
    assert _keys(Settings(source_url="https://trips.example.org"), now=now)[-1] == last


@pytest.mark.parametrize("source", [MIRROR_URL, "https://trips.example.org"])
def test_settings_set_other_bounds(source: str) -> None:
    """TAXI_FIRST_MONTH and TAXI_LAST_MONTH are the first and the last partition, both inclusive."""
    settings = Settings(source_url=source, first_month="2020-03", last_month="2020-05")
    assert _keys(settings) == ["2020-03", "2020-04", "2020-05"]
    assert bounds(settings, "green") == ("2020-03", "2020-05")


def test_a_single_month_can_be_both_bounds() -> None:
    """The first and the last partition may be the same month."""
    assert _keys(Settings(first_month="2020-12", last_month="2020-12")) == ["2020-12"]


def test_a_last_month_in_the_future_ends_with_the_last_whole_month() -> None:
    """TAXI_LAST_MONTH allows the month that has just ended, and none that has not."""
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
def test_bounds_without_a_month_between_them_are_refused(settings: Settings) -> None:
    """Where the settings leave no month, the error names them and what they are set to."""
    assert _keys(settings) == []
    named = {"TAXI_FIRST_MONTH": settings.first_month, "TAXI_LAST_MONTH": settings.last_month}
    with pytest.raises(UnknownMonth) as caught:
        bounds(settings, "green")
    for name, value in named.items():
        assert name in str(caught.value)
        assert value is None or value in str(caught.value)


def test_every_asset_of_a_color_has_the_same_partitions(tmp_path: Path) -> None:
    """All assets of a color, the source included, are partitioned by the same months, under keys such as 2021-01."""
    settings = Settings(home=tmp_path, first_month="2020-03")
    graph = build_definitions(settings).resolve_asset_graph()
    for color in COLORS:
        for name in (SOURCE_TRIPS, *TRIP_ASSETS):
            assert graph.get(asset_key(color, name)).partitions_def == month_partitions(settings, color)


def test_a_key_and_its_asset_give_the_month() -> None:
    """Every key, with the color of its asset, stands for the month of that name."""
    for color in COLORS:
        for key in _keys(Settings(), color):
            month = month_of(asset_key(color, "raw_trips"), key)
            assert month == TripMonth(color, key)
            assert why_not_a_partition(Settings(), month) == ""


@pytest.mark.parametrize(("asset", "key"), [("green", "2020-4"), ("green", "green|2020-04"), ("purple", "2020-04")])
def test_a_key_that_is_no_month_is_refused(asset: str, key: str) -> None:
    """A key of other partitions, or of another project's asset, is an error, not a guess."""
    with pytest.raises(UnknownMonth):
        month_of(dg.AssetKey([asset, "raw_trips"]), key)


def test_recent_months_are_the_last_partitions() -> None:
    """Of the recent partitions there are TAXI_LOOKBACK_MONTHS, or as many as exist, up to a time."""
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
        (Settings(source_url="https://trips.example.org"), "2999-01", "not published"),
        (Settings(first_month="2020-03", last_month="2020-05"), "2020-02", "not a partition"),
        (Settings(first_month="2020-03", last_month="2020-05"), "2020-06", "not a partition"),
        (Settings(source_url="https://trips.example.org", last_month="2999-12"), "2999-11", "not published"),
    ],
)
def test_a_month_outside_the_partitions_has_a_reason(settings: Settings, month: str, why: str) -> None:
    """A month after the source's last one is not published; one that the settings leave out is not a partition."""
    reason = why_not_a_partition(settings, TripMonth("yellow", month))
    assert reason.startswith(why)
    assert bool(reason) == bool(why)
    if why == "not a partition":
        first, last = bounds(settings, "yellow")
        for fact in ("yellow", first, "TAXI_FIRST_MONTH", last, "TAXI_LAST_MONTH"):
            assert fact in reason
