"""One partition set, color x month, and the way from its keys to months."""

import dagster as dg
import pytest

from taxi_assets.defs.partitions import partition_key, require_partitions, trip_month, trip_partitions
from taxi_assets.errors import UnknownMonth
from taxi_assets.tlc.trips import TripMonth

PARTITIONS = trip_partitions("2019-01")


@pytest.mark.parametrize("color", ["yellow", "green", "fhv"])
def test_keys_name_color_then_month(color: str) -> None:
    """A key reads `yellow|2021-01`, from the first month on."""
    keys = [str(key) for key in PARTITIONS.get_partition_keys()]
    assert f"{color}|2019-01" in keys
    assert f"{color}|2018-12" not in keys


def test_a_key_and_its_month_lead_to_each_other() -> None:
    """Every key becomes a month whose key it is."""
    for key in PARTITIONS.get_partition_keys():
        assert partition_key(trip_month(key, PARTITIONS)) == key


def test_a_key_may_be_a_plain_string() -> None:
    """Commands hand keys over as strings, the UI as keys of two dimensions: both mean the same month."""
    assert trip_month("green|2020-04", PARTITIONS) == TripMonth("green", "2020-04")


def test_a_key_of_other_partitions_is_refused() -> None:
    """A key that is not of color x month is an error, not a guess."""
    with pytest.raises(TypeError, match="2020-04"):
        trip_month("2020-04", dg.StaticPartitionsDefinition(["2020-04"]))


@pytest.mark.parametrize("month", ["2018-12", "2999-01"])
def test_a_month_outside_is_refused_with_the_bounds(month: str) -> None:
    """A month that is too early, or not over, is named together with the first and the last that may be asked for."""
    with pytest.raises(UnknownMonth, match=rf"yellow {month}.*2019-01.*the last whole one"):
        require_partitions([TripMonth("yellow", month), TripMonth("yellow", "2019-01")], "2019-01")
