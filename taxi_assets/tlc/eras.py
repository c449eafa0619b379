"""Headers of TLC files from other years, used to identify a file of the wrong month or color.

Not here: the columns that this project reads (`schema`).
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Era:
    """The columns of a color's files in a period, such as `from 2010 to 2014`."""

    color: str
    period: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.color} trips {self.period}"


def strip_quotes(name: str) -> str:
    """Strip surrounding spaces and quotes from a name."""
    return name.strip().strip('"').strip()


def normalize(names: Iterable[str]) -> tuple[str, ...]:
    """Normalize names for comparison: lowercase, without surrounding spaces and quotes."""
    return tuple(strip_quotes(name).lower() for name in names)


def _era(color: str, period: str, names: str) -> Era:
    return Era(color, period, tuple(names.split()))


_PLACES = "pickup_longitude pickup_latitude"
_ZONES = "RatecodeID store_and_fwd_flag PULocationID DOLocationID"
_SUMS = "fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge total_amount"
_TPEP = "VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance"
_YELLOW_ZONES = f"{_TPEP} {_ZONES} payment_type {_SUMS}"
_LPEP = "VendorID lpep_pickup_datetime lpep_dropoff_datetime store_and_fwd_flag RatecodeID"
_LPEP_PLACES = f"{_LPEP} {_PLACES} dropoff_longitude dropoff_latitude passenger_count trip_distance"
_GREEN_SUMS = "fare_amount extra mta_tax tip_amount tolls_amount ehail_fee"
_GREEN_ZONES = (
    f"{_LPEP} PULocationID DOLocationID passenger_count trip_distance {_GREEN_SUMS} "
    "improvement_surcharge total_amount payment_type trip_type"
)
_FHV_ZONES = "dispatching_base_num pickup_datetime dropoff_datetime PULocationID DOLocationID"
_FHVHV = (
    "hvfhs_license_num dispatching_base_num originating_base_num request_datetime on_scene_datetime pickup_datetime "
    "dropoff_datetime PULocationID DOLocationID trip_miles trip_time base_passenger_fare tolls bcf sales_tax "
    "congestion_surcharge airport_fee tips driver_pay shared_request_flag shared_match_flag access_a_ride_flag "
    "wav_request_flag wav_match_flag"
)

ERAS = (
    _era(
        "yellow",
        "in 2009",
        "vendor_name Trip_Pickup_DateTime Trip_Dropoff_DateTime Passenger_Count Trip_Distance Start_Lon Start_Lat "
        "Rate_Code store_and_forward End_Lon End_Lat Payment_Type Fare_Amt surcharge mta_tax Tip_Amt Tolls_Amt "
        "Total_Amt",
    ),
    _era(
        "yellow",
        "from 2010 to 2014",
        f"vendor_id pickup_datetime dropoff_datetime passenger_count trip_distance {_PLACES} rate_code "
        "store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type fare_amount surcharge mta_tax tip_amount "
        "tolls_amount total_amount",
    ),
    _era(
        "yellow",
        "from 2015 to 2016-06",
        f"{_TPEP} {_PLACES} RatecodeID store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type {_SUMS}",
    ),
    # Until 2016-12, rows have two more values than the header has names.
    _era("yellow", "from 2016-07 to 2018", _YELLOW_ZONES),
    _era("yellow", "in files published since 2022-05", f"{_YELLOW_ZONES} congestion_surcharge airport_fee"),
    _era("yellow", "since 2025", f"{_YELLOW_ZONES} congestion_surcharge airport_fee cbd_congestion_fee"),
    # In 2013-08 to 2015-06 and 2016-07 to 2016-12, rows have two more values than the header has names.
    _era("green", "from 2013-08 to 2014", f"{_LPEP_PLACES} {_GREEN_SUMS} total_amount payment_type trip_type"),
    _era(
        "green",
        "from 2015 to 2016-06",
        f"{_LPEP_PLACES} {_GREEN_SUMS} improvement_surcharge total_amount payment_type trip_type",
    ),
    _era("green", "from 2016-07 to 2018", _GREEN_ZONES),
    _era("green", "since 2025", f"{_GREEN_ZONES} congestion_surcharge cbd_congestion_fee"),
    _era("fhv", "in 2015 and 2016", "dispatching_base_num pickup_date locationID"),
    _era("fhv", "from 2017-01 to 2017-06", _FHV_ZONES),
    _era("fhv", "from 2017-07 to 2017-12, and from 2019 to 2020-06 as first published", f"{_FHV_ZONES} SR_Flag"),
    _era("fhv", "in 2018", f"{_FHV_ZONES} SR_Flag dispatching_base_number"),
    _era(
        "fhvhv",
        "from 2019-02 to 2020-06 as first published",
        "hvfhs_license_num dispatching_base_num pickup_datetime dropoff_datetime PULocationID DOLocationID SR_Flag",
    ),
    _era("fhvhv", "in files published since 2022-05", _FHVHV),
    _era("fhvhv", "since 2025", f"{_FHVHV} cbd_congestion_fee"),
)
"""Every header of TLC files since 2009 that does not match a layout in `schema`. Column order does not matter."""
