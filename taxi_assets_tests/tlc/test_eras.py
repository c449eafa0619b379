"""A file of another color or another time is told for what it is by its header, and refused."""

import pytest

from taxi_assets.errors import BadHeader
from taxi_assets.tlc.eras import ERAS, plain
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.schema import LAYOUTS

HEADERS = {
    "yellow's columns of 2009": (
        (
            "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,"
            "Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt"
        ),
    ),
    "yellow's columns of 2010 to 2014": (
        (
            "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
            "rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,"
            "tip_amount,tolls_amount,total_amount"
        ),
        (
            "vendor_id, pickup_datetime, dropoff_datetime, passenger_count, trip_distance, pickup_longitude,"
            " pickup_latitude, rate_code, store_and_fwd_flag, dropoff_longitude, dropoff_latitude, payment_type,"
            " fare_amount, surcharge, mta_tax, tip_amount, tolls_amount, total_amount"
        ),
    ),
    "yellow's columns of 2015 to 2016-06": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
            "pickup_latitude,RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,"
            "extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount"
        ),
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
            "pickup_latitude,RatecodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,"
            "extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount"
        ),
    ),
    "yellow's columns of 2016-07 to 2018": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount"
        ),
    ),
    "yellow's columns since 2019": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge"
        ),
    ),
    "yellow's columns in the files published since 2022-05": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge,airport_fee"
        ),
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge,Airport_fee"
        ),
    ),
    "yellow's columns since 2025": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge,Airport_fee,cbd_congestion_fee"
        ),
    ),
    "green's columns of 2013-08 to 2014": (
        (
            "VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,"
            "Pickup_latitude,Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,"
            "Tip_amount,Tolls_amount,Ehail_fee,Total_amount,Payment_type,Trip_type "
        ),
    ),
    "green's columns of 2015 to 2016-06": (
        (
            "VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,"
            "Pickup_latitude,Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,"
            "Tip_amount,Tolls_amount,Ehail_fee,improvement_surcharge,Total_amount,Payment_type,Trip_type "
        ),
    ),
    "green's columns of 2016-07 to 2018": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type"
        ),
    ),
    "green's columns since 2019": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge"
        ),
    ),
    "green's columns since 2025": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge,cbd_congestion_fee"
        ),
    ),
    "fhv's columns of 2015 and 2016": ("Dispatching_base_num,Pickup_date,locationID",),
    "fhv's columns of 2017-01 to 2017-06": (
        "Dispatching_base_num,Pickup_DateTime,DropOff_datetime,PUlocationID,DOlocationID",
    ),
    "fhv's columns of 2017-07 to 2017-12, and of 2019 to 2020-06 as first published": (
        '"Dispatching_base_num","Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID","SR_Flag"',
        "dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag",
    ),
    "fhv's columns of 2018": (
        (
            '"Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID","SR_Flag","Dispatching_base_number",'
            '"Dispatching_base_num"'
        ),
    ),
    "fhv's columns since 2019": (
        (
            "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
            "Affiliated_base_number"
        ),
    ),
    "fhvhv's columns of 2019-02 to 2020-06 as first published": (
        "hvfhs_license_num,dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag",
    ),
    "fhvhv's columns in the files published since 2022-05": (
        (
            '"hvfhs_license_num","dispatching_base_num","originating_base_num","request_datetime","on_scene_datetime",'
            '"pickup_datetime","dropoff_datetime","PULocationID","DOLocationID","trip_miles","trip_time",'
            '"base_passenger_fare","tolls","bcf","sales_tax","congestion_surcharge","airport_fee","tips","driver_pay",'
            '"shared_request_flag","shared_match_flag","access_a_ride_flag","wav_request_flag","wav_match_flag"'
        ),
    ),
    "fhvhv's columns since 2025": (
        (
            "hvfhs_license_num,dispatching_base_num,originating_base_num,request_datetime,on_scene_datetime,"
            "pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,trip_miles,trip_time,base_passenger_fare,tolls,"
            "bcf,sales_tax,congestion_surcharge,airport_fee,tips,driver_pay,shared_request_flag,shared_match_flag,"
            "access_a_ride_flag,wav_request_flag,wav_match_flag,cbd_congestion_fee"
        ),
    ),
}
"""Every header of the TLC's files, spelled as it is there, and what is said of it."""

WRITTEN = [(whose, header) for whose, headers in HEADERS.items() for header in headers]


@pytest.mark.parametrize(("whose", "header"), WRITTEN, ids=[f"{at}" for at in range(len(WRITTEN))])
@pytest.mark.parametrize("color", LAYOUTS)
@pytest.mark.parametrize("end", ["", "\r"])
def test_header_of_the_tlc_is_recognised(color: str, whose: str, header: str, end: str) -> None:
    """Whatever color was asked for, the error says whose columns these are, since when, and what to do."""
    if whose == f"{color}'s columns since 2019":
        assert LAYOUTS[color].map_header(header.split(",")) == LAYOUTS[color].names
        return
    with pytest.raises(BadHeader) as refused:
        LineParser(LAYOUTS[color], (header + end).encode())
    said = str(refused.value)
    assert said.startswith(f"the header is not that of a {color} month since 2019: these are {whose}. ")
    assert "missing: " in said or "unknown: " in said
    assert said.endswith(
        "This project reads files since 2019 as its default source, the mirror, has them. "
        "Check the color, the month and the source's address"
    )


def test_every_era_is_one_that_files_were_seen_of() -> None:
    """No era is without a header here, and none has the columns of another or of a layout."""
    assert {str(era) for era in ERAS} == {whose for whose in HEADERS if "since 2019" not in whose}
    every = [*(era.names for era in ERAS), *(layout.names for layout in LAYOUTS.values())]
    names = [tuple(sorted(plain(one))) for one in every]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("color", LAYOUTS)
def test_order_and_spelling_do_not_hide_an_era(color: str) -> None:
    """Columns of another era are theirs in any order, case and quotes; with one more or one twice they are nobody's."""
    header = HEADERS["fhvhv's columns since 2025"][0].upper().split(",")[::-1]
    with pytest.raises(BadHeader, match="these are fhvhv's columns since 2025"):
        LAYOUTS[color].map_header([f' "{name} "' for name in header])
    for more in ("weather", "tips"):
        with pytest.raises(BadHeader, match=rf"not that of a {color} month since 2019\. missing") as refused:
            LAYOUTS[color].map_header([*header, more])
        assert "the mirror" not in str(refused.value)


@pytest.mark.parametrize("header", ["locationid,borough,zone,service_zone", "a,b,c", "vendor_id,pickup_datetime", ""])
@pytest.mark.parametrize("color", LAYOUTS)
def test_header_that_is_nobodys_is_refused_as_such(color: str, header: str) -> None:
    """What the TLC never published as trips is not said to be anyone's."""
    with pytest.raises(BadHeader, match=rf"^the header is not that of a {color} month since 2019\. missing: "):
        LAYOUTS[color].map_header(header.split(","))
