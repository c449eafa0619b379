"""Files of every period are recognized by their header. That of another color is an error that names it."""

import pytest

from taxi_assets.errors import BadHeader
from taxi_assets.tlc.eras import CSV_ERAS, ERAS, Era, normalize
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.schema import LAYOUTS

HEADERS = {
    "yellow trips in 2009": (
        (
            "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,"
            "Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt"
        ),
    ),
    "yellow trips from 2010 to 2014": (
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
    "yellow trips from 2015 to 2016-06": (
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
    "yellow trips from 2016-07 to 2018": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount"
        ),
    ),
    "yellow trips since 2019": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge"
        ),
    ),
    "yellow trips in files published since 2022-05": (
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
    "yellow trips since 2025": (
        (
            "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
            "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
            "improvement_surcharge,total_amount,congestion_surcharge,Airport_fee,cbd_congestion_fee"
        ),
    ),
    "green trips from 2013-08 to 2014": (
        (
            "VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,"
            "Pickup_latitude,Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,"
            "Tip_amount,Tolls_amount,Ehail_fee,Total_amount,Payment_type,Trip_type "
        ),
    ),
    "green trips from 2015 to 2016-06": (
        (
            "VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,"
            "Pickup_latitude,Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,"
            "Tip_amount,Tolls_amount,Ehail_fee,improvement_surcharge,Total_amount,Payment_type,Trip_type "
        ),
    ),
    "green trips from 2016-07 to 2018": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type"
        ),
    ),
    "green trips since 2019": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge"
        ),
    ),
    "green trips since 2025": (
        (
            "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
            "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
            "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge,cbd_congestion_fee"
        ),
    ),
    "fhv trips in 2015 and 2016": ("Dispatching_base_num,Pickup_date,locationID",),
    "fhv trips from 2017-01 to 2017-06": (
        "Dispatching_base_num,Pickup_DateTime,DropOff_datetime,PUlocationID,DOlocationID",
    ),
    "fhv trips from 2017-07 to 2017-12, and from 2019 to 2020-06 as first published": (
        '"Dispatching_base_num","Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID","SR_Flag"',
        "dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag",
    ),
    "fhv trips in 2018": (
        (
            '"Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID","SR_Flag","Dispatching_base_number",'
            '"Dispatching_base_num"'
        ),
    ),
    "fhv trips since 2019": (
        (
            "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,"
            "Affiliated_base_number"
        ),
    ),
    "fhvhv trips from 2019-02 to 2020-06 as first published": (
        "hvfhs_license_num,dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag",
    ),
    "fhvhv trips in files published since 2022-05": (
        (
            '"hvfhs_license_num","dispatching_base_num","originating_base_num","request_datetime","on_scene_datetime",'
            '"pickup_datetime","dropoff_datetime","PULocationID","DOLocationID","trip_miles","trip_time",'
            '"base_passenger_fare","tolls","bcf","sales_tax","congestion_surcharge","airport_fee","tips","driver_pay",'
            '"shared_request_flag","shared_match_flag","access_a_ride_flag","wav_request_flag","wav_match_flag"'
        ),
    ),
    "fhvhv trips since 2025": (
        (
            "hvfhs_license_num,dispatching_base_num,originating_base_num,request_datetime,on_scene_datetime,"
            "pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,trip_miles,trip_time,base_passenger_fare,tolls,"
            "bcf,sales_tax,congestion_surcharge,airport_fee,tips,driver_pay,shared_request_flag,shared_match_flag,"
            "access_a_ride_flag,wav_request_flag,wav_match_flag,cbd_congestion_fee"
        ),
    ),
}
"""Every header of TLC files in its original spelling, by the color and period that it belongs to."""

CASES = [(era, header) for era, headers in HEADERS.items() for header in headers]


REFUSED = {"fhv trips in 2018"}
"""The eras that are recognized, but not loaded."""


@pytest.mark.parametrize(("era", "header"), CASES, ids=[f"{number}" for number in range(len(CASES))])
@pytest.mark.parametrize("color", LAYOUTS)
@pytest.mark.parametrize("end", ["", "\r"])
def test_recognize_every_header_of_the_tlc(color: str, era: str, header: str, end: str) -> None:
    """A header of the requested color has its era. For any other color, the error names color and period of the era."""
    if era.startswith(f"{color} ") and era not in REFUSED:
        assert str(LAYOUTS[color].match_header((header + end).split(",")).era) == era
        return
    with pytest.raises(BadHeader) as error:
        LineParser(LAYOUTS[color], (header + end).encode())
    facts = error.value.facts
    assert (facts["color"], facts["era"]) == (color, era)
    assert bool(facts.keys() & {"missing", "unknown"}) == (not era.startswith(f"{color} "))
    for fact in (era, f"{color} trips ", str(facts["seen"])):
        assert fact in str(error.value)


@pytest.mark.parametrize("era", [era for era in ERAS if str(era) in REFUSED], ids=str)
def test_refused_eras_say_why(era: Era) -> None:
    """The error of an era that is not loaded has the reason."""
    with pytest.raises(BadHeader) as error:
        LAYOUTS[era.color].match_header(era.names)
    assert era.refused
    assert era.refused in str(error.value)
    assert error.value.explain().endswith("[bad-header]")


def test_every_era_has_a_header() -> None:
    """Every era has a header in this test, and no two eras have the same columns."""
    assert {str(era) for era in ERAS} == set(HEADERS)
    assert {str(era) for era in ERAS if era.refused} == REFUSED
    names = [tuple(sorted(normalize(era.names))) for era in ERAS]
    assert len(set(names)) == len(names)


def test_the_era_of_the_mirror() -> None:
    """The mirror's CSVs have the columns of 2019. It has no fhvhv, whose columns are those of the TLC's files."""
    periods = dict.fromkeys(LAYOUTS, "since 2019") | {"fhvhv": "in files published since 2022-05"}
    assert {color: era.period for color, era in CSV_ERAS.items()} == periods


@pytest.mark.parametrize("color", LAYOUTS)
def test_ignore_order_and_spelling_of_an_era(color: str) -> None:
    """Recognize an era in any column order, letter case and quotes, but not with an extra or duplicated column."""
    header = HEADERS["fhvhv trips since 2025"][0].upper().split(",")[::-1]
    spelled = [f' "{name} "' for name in header]
    if color == "fhvhv":
        assert str(LAYOUTS[color].match_header(spelled).era) == "fhvhv trips since 2025"
    else:
        with pytest.raises(BadHeader) as error:
            LAYOUTS[color].match_header(spelled)
        assert error.value.facts["era"] == "fhvhv trips since 2025"
    for extra in ("weather", "tips"):
        with pytest.raises(BadHeader) as error:
            LAYOUTS[color].match_header([*header, extra])
        assert "era" not in error.value.facts


@pytest.mark.parametrize("header", ["locationid,borough,zone,service_zone", "a,b,c", "vendor_id,pickup_datetime", ""])
@pytest.mark.parametrize("color", LAYOUTS)
def test_do_not_guess_the_era_of_an_unknown_header(color: str, header: str) -> None:
    """A header that the TLC never used for trips has no era."""
    with pytest.raises(BadHeader) as error:
        LAYOUTS[color].match_header(header.split(","))
    assert (error.value.facts["color"], error.value.facts["seen"]) == (color, header)
    assert error.value.facts["expected"] == ",".join(CSV_ERAS[color].names)
    assert "era" not in error.value.facts
