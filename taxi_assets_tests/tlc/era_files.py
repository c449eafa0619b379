"""Generate files of every period with the names, types and line endings that the TLC used.

A column is written as `name:type`, or as `name:type>column` if the column of the color has another name. The type is
that of the Parquet files. `~` is a space, and the column `-` is ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from taxi_assets.tlc.schema import LAYOUTS, Kind
from taxi_assets.tlc.trips import TripMonth

ROWS = 60
"""Rows of each file."""

YELLOW_2009 = (
    "vendor_name:string Trip_Pickup_DateTime:string>tpep_pickup_datetime "
    "Trip_Dropoff_DateTime:string>tpep_dropoff_datetime Passenger_Count:int64>passenger_count "
    "Trip_Distance:double>trip_distance Start_Lon:double>pickup_longitude Start_Lat:double>pickup_latitude "
    "Rate_Code:double>RatecodeID store_and_forward:double>store_and_fwd_flag End_Lon:double>dropoff_longitude "
    "End_Lat:double>dropoff_latitude Payment_Type:string>payment_type Fare_Amt:double>fare_amount "
    "surcharge:double>extra mta_tax:double Tip_Amt:double>tip_amount Tolls_Amt:double>tolls_amount "
    "Total_Amt:double>total_amount"
)
YELLOW_2010 = (
    "vendor_id:string>vendor_name pickup_datetime:us>tpep_pickup_datetime dropoff_datetime:us>tpep_dropoff_datetime "
    "passenger_count:int64 trip_distance:double pickup_longitude:double pickup_latitude:double "
    "rate_code:string>RatecodeID store_and_fwd_flag:string dropoff_longitude:double dropoff_latitude:double "
    "payment_type:string fare_amount:double surcharge:double>extra mta_tax:double tip_amount:double "
    "tolls_amount:double total_amount:double"
)
YELLOW_2015 = (
    "VendorID:int64 tpep_pickup_datetime:us tpep_dropoff_datetime:us passenger_count:int64 trip_distance:double "
    "pickup_longitude:double pickup_latitude:double RateCodeID:int64>RatecodeID store_and_fwd_flag:string "
    "dropoff_longitude:double dropoff_latitude:double payment_type:int64 fare_amount:double extra:double "
    "mta_tax:double tip_amount:double tolls_amount:double improvement_surcharge:double total_amount:double"
)
YELLOW_2017 = (
    "VendorID:int64 tpep_pickup_datetime:us tpep_dropoff_datetime:us passenger_count:int64 trip_distance:double "
    "RatecodeID:int64 store_and_fwd_flag:string PULocationID:int64 DOLocationID:int64 payment_type:int64 "
    "fare_amount:double extra:double mta_tax:double tip_amount:double tolls_amount:double "
    "improvement_surcharge:double total_amount:double"
)
YELLOW_2011 = f"{YELLOW_2017} congestion_surcharge:null airport_fee:null>Airport_fee"
YELLOW_2023 = (
    "VendorID:int32 tpep_pickup_datetime:us tpep_dropoff_datetime:us passenger_count:int64 trip_distance:double "
    "RatecodeID:int64 store_and_fwd_flag:large_string PULocationID:int32 DOLocationID:int32 payment_type:int64 "
    "fare_amount:double extra:double mta_tax:double tip_amount:double tolls_amount:double "
    "improvement_surcharge:double total_amount:double congestion_surcharge:double Airport_fee:double"
)
GREEN_2013 = (
    "VendorID:int64 lpep_pickup_datetime:us Lpep_dropoff_datetime:us>lpep_dropoff_datetime "
    "Store_and_fwd_flag:string>store_and_fwd_flag RateCodeID:int64>RatecodeID Pickup_longitude:double>pickup_longitude "
    "Pickup_latitude:double>pickup_latitude Dropoff_longitude:double>dropoff_longitude "
    "Dropoff_latitude:double>dropoff_latitude Passenger_count:int64>passenger_count "
    "Trip_distance:double>trip_distance Fare_amount:double>fare_amount Extra:double>extra MTA_tax:double>mta_tax "
    "Tip_amount:double>tip_amount Tolls_amount:double>tolls_amount Ehail_fee:double>ehail_fee "
    "Total_amount:double>total_amount Payment_type:int64>payment_type Trip_type~:int64>trip_type"
)
GREEN_2015 = GREEN_2013.replace(" Total_amount", " improvement_surcharge:double Total_amount")
GREEN_2016 = (
    "VendorID:int64 lpep_pickup_datetime:us lpep_dropoff_datetime:us store_and_fwd_flag:string RatecodeID:int64 "
    "PULocationID:int64 DOLocationID:int64 passenger_count:int64 trip_distance:double fare_amount:double extra:double "
    "mta_tax:double tip_amount:double tolls_amount:double ehail_fee:null improvement_surcharge:double "
    "total_amount:double payment_type:int64 trip_type:double"
)
GREEN_2023 = (
    "VendorID:int32 lpep_pickup_datetime:us lpep_dropoff_datetime:us store_and_fwd_flag:large_string RatecodeID:int64 "
    "PULocationID:int32 DOLocationID:int32 passenger_count:int64 trip_distance:double fare_amount:double extra:double "
    "mta_tax:double tip_amount:double tolls_amount:double ehail_fee:double improvement_surcharge:double "
    "total_amount:double payment_type:int64 trip_type:int64 congestion_surcharge:double"
)
FHV_2015 = (
    "Dispatching_base_num:string>dispatching_base_num Pickup_date:us>pickup_datetime locationID:int64>PUlocationID"
)
FHV_2017 = (
    "Dispatching_base_num:string>dispatching_base_num Pickup_DateTime:us>pickup_datetime "
    "DropOff_datetime:us>dropOff_datetime PUlocationID:double DOlocationID:double"
)
FHV_2019 = (
    "dispatching_base_num:string pickup_datetime:us dropoff_datetime:us>dropOff_datetime "
    "PULocationID:double>PUlocationID DOLocationID:double>DOlocationID SR_Flag:null"
)
FHV_PARQUET = (
    "dispatching_base_num:string pickup_datetime:us dropOff_datetime:us PUlocationID:double DOlocationID:double "
    "SR_Flag:null Affiliated_base_number:string"
)
FHVHV_CSV = (
    "hvfhs_license_num:string dispatching_base_num:string pickup_datetime:us dropoff_datetime:us PULocationID:int64 "
    "DOLocationID:int64 SR_Flag:int64"
)
FHVHV_2019 = (
    "hvfhs_license_num:string dispatching_base_num:string originating_base_num:string request_datetime:us "
    "on_scene_datetime:us pickup_datetime:us dropoff_datetime:us PULocationID:int64 DOLocationID:int64 "
    "trip_miles:double trip_time:int64 base_passenger_fare:double tolls:double bcf:double sales_tax:double "
    "congestion_surcharge:double airport_fee:double tips:double driver_pay:double shared_request_flag:string "
    "shared_match_flag:string access_a_ride_flag:string wav_request_flag:string wav_match_flag:string"
)
FHVHV_2023 = (
    FHVHV_2019.replace("_num:string", "_num:large_string")
    .replace("_flag:string", "_flag:large_string")
    .replace("LocationID:int64", "LocationID:int32")
)


class Field(NamedTuple):
    """A column of a file: its name in the file, its type in Parquet, and the column of the color; empty if ignored."""

    name: str
    type: str
    column: str


@dataclass(frozen=True)
class EraFile:
    """The format of a month.

    For a CSV, `header_end` is the line ending of the header and any blank lines after it, `quote` is around its names,
    and `padding` is the number of empty fields in each row after those of the header.
    """

    color: str
    month: str
    fields: tuple[Field, ...]
    header_end: str = ""
    quote: str = ""
    padding: int = 0

    def __str__(self) -> str:
        return f"{self.color}-{self.month}"

    @property
    def trip_month(self) -> TripMonth:
        """The color and the month."""
        return TripMonth(self.color, self.month)

    @property
    def raw_names(self) -> Mapping[str, str]:
        """The name in the file of each column of the color."""
        return {field.column: field.name for field in self.fields if field.column}

    @property
    def has_text_codes(self) -> bool:
        """Whether the file has text instead of the numeric codes of the data dictionaries."""
        return "vendor_name" in self.raw_names


def _field(written: str) -> Field:
    name, _, rest = written.partition(":")
    type_, _, column = rest.partition(">")
    return Field(name.replace("~", " "), type_, (column or name).strip("~-"))


def _csv(color: str, month: str, fields: str, end: str = "\r\n", **options: Any) -> EraFile:
    return EraFile(color, month, tuple(map(_field, fields.split())), end, **options)


def _parquet(color: str, month: str, fields: str, **types: str) -> EraFile:
    """Return a format with other types for some columns."""
    parsed = (field._replace(type=types.get(field.name, field.type)) for field in map(_field, fields.split()))
    return EraFile(color, month, tuple(parsed))


BLANK_LINE = "\n\r\n"
"""The header of many CSVs ends with a line feed, and an empty line follows. All rows end with CRLF."""

CSVS = (
    _csv("yellow", "2009-01", YELLOW_2009, BLANK_LINE),
    _csv("yellow", "2010-02", YELLOW_2010, BLANK_LINE),
    _csv("yellow", "2014-01", " ".join(YELLOW_2010.split()).replace(" ", " ~"), BLANK_LINE),
    _csv("yellow", "2015-01", YELLOW_2015),
    _csv("yellow", "2016-01", YELLOW_2015.replace("RateCodeID", "RatecodeID")),
    _csv("yellow", "2016-07", YELLOW_2017, padding=2),
    _csv("yellow", "2018-07", YELLOW_2017, BLANK_LINE),
    _csv("yellow", "2019-01", f"{YELLOW_2017} congestion_surcharge:double"),
    _csv("yellow", "2025-01", f"{YELLOW_2023} cbd_congestion_fee:double"),
    _csv("green", "2013-08", GREEN_2013, BLANK_LINE, padding=2),
    _csv("green", "2014-01", GREEN_2013, f"{BLANK_LINE}\r\n"),
    _csv("green", "2015-01", GREEN_2015, padding=2),
    _csv("green", "2015-07", GREEN_2015),
    _csv("green", "2016-01", GREEN_2015, BLANK_LINE),
    _csv("green", "2016-07", GREEN_2016, BLANK_LINE, padding=2),
    _csv("green", "2017-01", GREEN_2016, BLANK_LINE),
    _csv("green", "2019-01", f"{GREEN_2016} congestion_surcharge:double"),
    _csv("green", "2025-01", f"{GREEN_2023} cbd_congestion_fee:double"),
    _csv("fhv", "2015-01", FHV_2015),
    _csv("fhv", "2017-01", FHV_2017),
    _csv("fhv", "2017-07", f"{FHV_2017} SR_Flag:double", quote='"'),
    _csv("fhv", "2019-01", FHV_2019),
    _csv("fhv", "2019-02", FHV_PARQUET, "\n", quote='"'),
    _csv("fhvhv", "2019-02", FHVHV_CSV),
    _csv("fhvhv", "2021-01", FHVHV_2019, "\n"),
    _csv("fhvhv", "2025-01", f"{FHVHV_2023} cbd_congestion_fee:double", "\n", quote='"'),
)
"""CSVs of each period: as first published until 2020-06, and the mirror's and exported ones since."""

_AS_DOUBLE = dict.fromkeys(("passenger_count", "RatecodeID"), "double")

PARQUETS = (
    _parquet("yellow", "2009-01", YELLOW_2009),
    _parquet("yellow", "2010-02", f"{YELLOW_2010} __index_level_0__:int64>-"),
    _parquet("yellow", "2010-05", YELLOW_2010, rate_code="int64", vendor_id="large_string", pickup_datetime="string"),
    _parquet("yellow", "2011-06", YELLOW_2011),
    _parquet("yellow", "2014-08", YELLOW_2011, improvement_surcharge="null"),
    _parquet("yellow", "2018-07", YELLOW_2011, congestion_surcharge="double", **_AS_DOUBLE),
    _parquet(
        "yellow", "2019-03", YELLOW_2011, **dict.fromkeys(("tpep_pickup_datetime", "tpep_dropoff_datetime"), "ns")
    ),
    _parquet("yellow", "2021-01", YELLOW_2011, congestion_surcharge="double", airport_fee="double", **_AS_DOUBLE),
    _parquet("yellow", "2023-02", YELLOW_2023),
    _parquet("yellow", "2025-01", f"{YELLOW_2023} cbd_congestion_fee:double"),
    _parquet(
        "yellow", "2025-02", f"{YELLOW_2023} cbd_congestion_fee:double", store_and_fwd_flag="string", **_AS_DOUBLE
    ),
    _parquet("green", "2014-01", f"{GREEN_2016} congestion_surcharge:null", improvement_surcharge="null"),
    _parquet("green", "2015-06", f"{GREEN_2016} congestion_surcharge:null"),
    _parquet("green", "2016-07", f"{GREEN_2016} congestion_surcharge:null"),
    _parquet("green", "2019-01", f"{GREEN_2016} congestion_surcharge:double", payment_type="double", **_AS_DOUBLE),
    _parquet("green", "2023-02", GREEN_2023),
    _parquet("green", "2025-01", f"{GREEN_2023} cbd_congestion_fee:double"),
    _parquet("fhv", "2015-01", FHV_PARQUET, PUlocationID="int64", DOlocationID="null"),
    _parquet("fhv", "2017-07", FHV_PARQUET, SR_Flag="double", Affiliated_base_number="null"),
    _parquet("fhv", "2018-12", FHV_PARQUET, SR_Flag="int64"),
    _parquet("fhv", "2019-02", FHV_PARQUET),
    _parquet("fhv", "2024-01", FHV_PARQUET, SR_Flag="int32", dispatching_base_num="large_string"),
    _parquet("fhvhv", "2019-02", FHVHV_2019, airport_fee="null", wav_match_flag="null"),
    _parquet("fhvhv", "2021-06", FHVHV_2019),
    _parquet("fhvhv", "2023-02", FHVHV_2023),
    _parquet("fhvhv", "2025-01", f"{FHVHV_2023} cbd_congestion_fee:double", trip_time="double"),
)
"""Parquet files as published since 2022-05, with the types that drift from month to month."""

_NUMBERS: Mapping[str, list[Any]] = {
    "double": [1.0, None, 0.0, float("nan"), 265.0],
    "int": [1, None, 0, 265],
    "string": ["1", None, "0", "2.0", " 6"],
    "csv": ["1", "", "0", "1.0", "265", "2.0"],
}
"""Values of integer columns, by their type in the file."""

_DECIMALS: Mapping[str, list[Any]] = {
    "double": [0.5, -2.75, None, 12.0, 205654.12, float("nan"), -73.991957],
    "csv": [".58", "-2.75", "", "12", "205654.12", "0.30", "-73.991957"],
}
"""Values of decimal columns, by their type in the file."""

_TEXTS: Mapping[str, list[str]] = {
    "vendor_name": ["CMT", "VTS", "DDS", "vts", "", "CMT"],
    "payment_type": [
        *("CASH", "Credit", "No Charge", "Dispute", "Unknown", "Cas", "CRE", "No", "Dis", "CSH", "CRD", "NOC", "DIS"),
        *("UNK", "cash ", "4", ""),
    ],
    "store_and_fwd_flag": ["N", "Y", "", " ", "0", "1", "0.0", "1.0", "*"],
    "dispatching_base_num": ["B00021", "b00021", " B02512  ", "", "B3"],
    "Affiliated_base_number": ["B00022         ", "", "b00022"],
    "hvfhs_license_num": ["HV0003", "hv0005", "HV0002 ", "", "HV0004"],
    "originating_base_num": ["B02764", "", " b02764"],
}
"""Values of text columns, and of columns that are text in some periods. Empty ones are missing."""


def _values(era: EraFile, field: Field, type_: str) -> list[Any]:
    """Return the values of a column of the file in the type of Python that corresponds to its type."""
    kinds = {column.name: column.kind for column in LAYOUTS[era.color].columns}
    kind = kinds.get(field.column, Kind.integer)
    is_csv = type_ == "csv"
    if type_ == "null":
        return [None]
    if kind is Kind.timestamp:
        return _times(era, field, type_)
    if kind is Kind.text and type_ == "double":
        return [0.0, 1.0, None, float("nan")]
    if kind is Kind.text or (field.column == "payment_type" and era.has_text_codes):
        is_flag = field.column.endswith("_flag") and not era.has_text_codes
        codes = ["N", "Y", "", " "] if is_flag else _TEXTS[field.column]
        return [text if text or is_csv else None for text in codes]
    if kind is Kind.decimal:
        return _DECIMALS["csv" if is_csv else "double"]
    return _NUMBERS["int" if type_.startswith("int") else type_]


def _times(era: EraFile, field: Field, type_: str) -> list[Any]:
    """Return times in the month, a few outside it, and missing dropoffs; in nanoseconds, only years until 2262."""
    start = datetime.combine(era.trip_month.first_day, datetime.min.time())
    times = [start + timedelta(hours=7 * number, seconds=number) for number in range(30)]
    times += [datetime.fromisoformat(time) for time in ("2008-12-31 23:59:59", "2041-08-17 16:24:00")]
    written: list[Any] = [*times, times[0].replace(microsecond=500_000), times[0].replace(microsecond=1)]
    if field.column != LAYOUTS[era.color].pickup:
        far = ["3019-02-03 17:30:00"] * (type_ != "ns")
        written += [*map(datetime.fromisoformat, far), None]
    if type_ in ("csv", "string"):
        return [str(time) if time else "" if type_ == "csv" else None for time in written]
    return written


def write_csv(era: EraFile, path: Path) -> None:
    """Write a CSV with `ROWS` rows, all of them valid."""
    columns = [_values(era, field, "csv") for field in era.fields]
    # Each column starts with another value, so that their missing values are in different rows.
    rows = [
        ",".join(values[(row + at) % len(values)] for at, values in enumerate(columns)) + "," * era.padding
        for row in range(ROWS)
    ]
    header = ",".join(f"{era.quote}{field.name}{era.quote}" for field in era.fields)
    path.write_bytes((header + era.header_end + "".join(f"{row}\r\n" for row in rows)).encode())


def write_parquet(era: EraFile, path: Path) -> None:
    """Write a Parquet file with `ROWS` rows in several row groups, all of them valid."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "null": pa.null(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "string": pa.string(),
        "large_string": pa.large_string(),
        "us": pa.timestamp("us"),
        "ns": pa.timestamp("ns"),
    }
    columns = {}
    for at, field in enumerate(era.fields):
        values = _values(era, field, field.type)
        cycled = [values[(row + at) % len(values)] for row in range(ROWS)]
        columns[field.name] = pa.array(cycled, types[field.type], from_pandas=False)
    pq.write_table(pa.table(columns), path, row_group_size=25)
