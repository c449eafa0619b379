"""The columns of the TLC's files in each period, and how they map onto the columns of a color.

`ERAS` declares every period of every color since 2009, of the CSVs and of the Parquet files. Not here: types and
meanings of columns (`schema`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

Codes: TypeAlias = Mapping[str, int | str]
"""The codes of the TLC's data dictionaries, by the lowercase text that an era uses instead."""


@dataclass(frozen=True)
class Span:
    """Consecutive months (`YYYY-MM`) of files in a format, `CSV` or `Parquet`. `last` is empty while more appear."""

    format: str
    first: str
    last: str = ""


@dataclass(frozen=True)
class Era:
    """The columns of a color's files in a period, such as `from 2010 to 2014`.

    `names` are spelled as in the files; letter case does not matter. `renamed` maps their lowercase spelling to the
    column of the color, where that has another name. `codes` maps columns to the codes for their text: a value that is
    not among the codes stays as it is, and has to fit the column. `vendors` are the codes of `VendorID` for the text in
    `vendor_name`; the ID of another vendor is missing.

    `spans` are the months whose files have these columns: the CSVs until 2021-07, and the Parquet files that the TLC
    publishes today.

    `padding` is the number of empty fields that a CSV's rows may have after those in the header. `refused` is why files
    of the era are not loaded; empty if they are.
    """

    color: str
    period: str
    names: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    codes: Mapping[str, Codes] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    vendors: Codes | None = field(default=None, hash=False)
    padding: int = 0
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.color} trips {self.period}"

    @property
    def key(self) -> tuple[str, ...]:
        """The normalized names in alphabetical order, which identify the era."""
        return tuple(sorted(normalize(self.names)))


def strip_quotes(name: str) -> str:
    """Strip surrounding spaces and quotes from a name."""
    return name.strip().strip('"').strip()


def normalize(names: Iterable[str]) -> tuple[str, ...]:
    """Normalize names for comparison: lowercase, without surrounding spaces and quotes."""
    return tuple(strip_quotes(name).lower() for name in names)


def is_ignored(name: str) -> bool:
    """Whether a normalized column name is that of a pandas index, such as `__index_level_0__`, which is no data."""
    return re.fullmatch(r"__index_level_\d+__", name) is not None


VENDORS: Codes = MappingProxyType({"cmt": 1, "vts": 2})
"""The vendors until 2014: Creative Mobile Technologies, and VeriFone Transportation Systems, which is now Curb.

The third vendor, DDS (Digital Dispatch Systems), has no code.
"""

PAYMENTS: Codes = MappingProxyType(
    {
        **dict.fromkeys(("credit", "cre", "crd"), 1),
        **dict.fromkeys(("cash", "cas", "csh"), 2),
        **dict.fromkeys(("no charge", "noc", "no"), 3),
        **dict.fromkeys(("dispute", "dis"), 4),
        **dict.fromkeys(("unknown", "unk"), 5),
    }
)
"""The payment types until 2014, which are text: whole words in 2009, and abbreviations since."""

STORED: Codes = MappingProxyType({"0": "N", "0.0": "N", "1": "Y", "1.0": "Y"})
"""`store_and_fwd_flag` as numbers, as in 2009 and in some records until 2014."""


def _era(color: str, period: str, names: str, *, csv: str = "", parquet: str = "", **rest: object) -> Era:
    """Create an era. `csv` and `parquet` are its months, such as `2009-01..2009-12 2019-01..`."""
    spans = (*_spans("CSV", csv), *_spans("Parquet", parquet))
    return Era(color, period, tuple(names.split()), spans, **rest)  # type: ignore[arg-type]


def _spans(file_format: str, months: str) -> list[Span]:
    return [Span(file_format, *span.split("..")) for span in months.split()]


def _renamed(**names: str) -> Mapping[str, str]:
    return MappingProxyType(names)


_TEXT_CODES: Mapping[str, Codes] = MappingProxyType({"payment_type": PAYMENTS, "store_and_fwd_flag": STORED})

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
_FHV_ZONES = "dispatching_base_num pickup_datetime dropOff_datetime PUlocationID DOlocationID"

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
        renamed=_renamed(
            trip_pickup_datetime="tpep_pickup_datetime",
            trip_dropoff_datetime="tpep_dropoff_datetime",
            start_lon="pickup_longitude",
            start_lat="pickup_latitude",
            rate_code="RatecodeID",
            store_and_forward="store_and_fwd_flag",
            end_lon="dropoff_longitude",
            end_lat="dropoff_latitude",
            fare_amt="fare_amount",
            surcharge="extra",
            tip_amt="tip_amount",
            tolls_amt="tolls_amount",
            total_amt="total_amount",
        ),
        codes=_TEXT_CODES,
        vendors=VENDORS,
        csv="2009-01..2009-12",
        parquet="2009-01..2009-12",
    ),
    _era(
        "yellow",
        "from 2010 to 2014",
        f"vendor_id pickup_datetime dropoff_datetime passenger_count trip_distance {_PLACES} rate_code "
        "store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type fare_amount surcharge mta_tax tip_amount "
        "tolls_amount total_amount",
        renamed=_renamed(
            vendor_id="vendor_name",
            pickup_datetime="tpep_pickup_datetime",
            dropoff_datetime="tpep_dropoff_datetime",
            rate_code="RatecodeID",
            surcharge="extra",
        ),
        codes=_TEXT_CODES,
        vendors=VENDORS,
        csv="2010-01..2014-12",
        parquet="2010-01..2010-12",
    ),
    _era(
        "yellow",
        "from 2015 to 2016-06",
        f"{_TPEP} {_PLACES} RatecodeID store_and_fwd_flag dropoff_longitude dropoff_latitude payment_type {_SUMS}",
        csv="2015-01..2016-06",
    ),
    # From 2016-07 to 2016-12, rows have two more fields than the header has names.
    _era("yellow", "from 2016-07 to 2018", _YELLOW_ZONES, padding=2, csv="2016-07..2018-12"),
    _era("yellow", "since 2019", f"{_YELLOW_ZONES} congestion_surcharge", csv="2019-01..2021-07"),
    _era(
        "yellow",
        "in files published since 2022-05",
        f"{_YELLOW_ZONES} congestion_surcharge Airport_fee",
        parquet="2011-01..2024-12",
    ),
    _era(
        "yellow",
        "since 2025",
        f"{_YELLOW_ZONES} congestion_surcharge Airport_fee cbd_congestion_fee",
        parquet="2025-01..",
    ),
    # In 2013-08 to 2015-06 and 2016-07 to 2016-12, rows have two more fields than the header has names.
    _era(
        "green",
        "from 2013-08 to 2014",
        f"{_LPEP_PLACES} {_GREEN_SUMS} total_amount payment_type trip_type",
        padding=2,
        csv="2013-08..2014-12",
    ),
    _era(
        "green",
        "from 2015 to 2016-06",
        f"{_LPEP_PLACES} {_GREEN_SUMS} improvement_surcharge total_amount payment_type trip_type",
        padding=2,
        csv="2015-01..2016-06",
    ),
    _era("green", "from 2016-07 to 2018", _GREEN_ZONES, padding=2, csv="2016-07..2018-12"),
    _era(
        "green",
        "since 2019",
        f"{_GREEN_ZONES} congestion_surcharge",
        csv="2019-01..2021-07",
        parquet="2014-01..2024-12",
    ),
    _era("green", "since 2025", f"{_GREEN_ZONES} congestion_surcharge cbd_congestion_fee", parquet="2025-01.."),
    _era(
        "fhv",
        "in 2015 and 2016",
        "dispatching_base_num pickup_date locationID",
        renamed=_renamed(pickup_date="pickup_datetime", locationid="PUlocationID"),
        csv="2015-01..2016-12",
    ),
    _era("fhv", "from 2017-01 to 2017-06", _FHV_ZONES, csv="2017-01..2017-06"),
    _era(
        "fhv",
        "from 2017-07 to 2017-12, and from 2019 to 2020-06 as first published",
        f"{_FHV_ZONES} SR_Flag",
        csv="2017-07..2017-12 2019-01..2020-06",
    ),
    _era(
        "fhv",
        "in 2018",
        f"{_FHV_ZONES} SR_Flag dispatching_base_number",
        refused="It has two columns for the dispatching base, Dispatching_base_num and Dispatching_base_number, and no "
        "data dictionary of the TLC says which of them is the affiliated base.",
        csv="2018-01..2018-12",
    ),
    _era(
        "fhv", "since 2019", f"{_FHV_ZONES} SR_Flag Affiliated_base_number", csv="2019-01..2021-07", parquet="2015-01.."
    ),
    _era(
        "fhvhv",
        "from 2019-02 to 2020-06 as first published",
        "hvfhs_license_num dispatching_base_num pickup_datetime dropoff_datetime PULocationID DOLocationID SR_Flag",
        csv="2019-02..2020-06",
    ),
    _era("fhvhv", "in files published since 2022-05", _FHVHV, parquet="2019-02..2024-12"),
    _era("fhvhv", "since 2025", f"{_FHVHV} cbd_congestion_fee", parquet="2025-01.."),
)
"""The eras of every color. No two of them have the same columns. Column order does not matter."""

CSV_ERAS: Mapping[str, Era] = MappingProxyType(
    {era.color: era for era in ERAS if era.period == "since 2019"}
    | {era.color: era for era in ERAS if (era.color, era.period) == ("fhvhv", "in files published since 2022-05")}
)
"""The era of each color's CSVs: those of the mirror of the TLC's files, 2019 to 2021-07.

The mirror does not have fhvhv. Its era is that of the TLC's Parquet files of the same years.
"""


def parquet_era(color: str, month: str) -> Era:
    """Return the era of the files of a color that the TLC publishes today for a month (`YYYY-MM`) since 2019."""
    newest = [era for era in ERAS if era.color == color and not era.refused][::-1]
    return next(era for era in newest if month >= _FIRST_MONTH_SINCE.get(era.period, ""))


_FIRST_MONTH_SINCE = {"since 2025": "2025-01"}
