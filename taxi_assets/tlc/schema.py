"""The columns of each color in all years, and the mapping of the headers of its files to them.

`LAYOUTS` contains the differences between colors; no other code refers to a column of one color by name. Names and
order are those of the TLC's current files, followed by the columns that only earlier files have. Types, meanings and
codes follow the TLC's data dictionaries, including those of 2025. Not here: which period has which columns (`eras`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from taxi_assets.errors import BadHeader, MissingHeader, SeparatorLine, UnnamedColumn, WrongDelimiter
from taxi_assets.tlc.dialects import find_delimiter, find_delimiter_of_data, find_separator_line
from taxi_assets.tlc.eras import CSV_ERAS, ERAS, Era, is_ignored, normalize, strip_quotes

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(StrEnum):
    """The type of a column's values. Every column is nullable."""

    integer = "integer"
    decimal = "decimal"
    text = "text"
    timestamp = "timestamp"
    date = "date"


@dataclass(frozen=True)
class Column:
    """A column: its canonical name, type and meaning.

    `unit` is that of its values, such as US dollars; empty for IDs, codes, text and times. `source` is where the
    meaning comes from; empty for the source that most columns of the table share.

    `codes` maps the values that the TLC data dictionary defines to their meanings; empty for a column without codes.
    `is_license` is true for TLC license numbers. Companies report them in any letter case and with spaces around them,
    so they are trimmed and in uppercase here, as in the TLC's list of bases.

    `is_later` is true for a column that tables of the first release do not have. A load adds it at their end.
    """

    name: str
    kind: Kind
    meaning: str
    codes: Mapping[int | str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    is_license: bool = False
    is_later: bool = False
    unit: str = ""
    source: str = ""


@dataclass(frozen=True)
class FileColumns:
    """The columns of a file: its era, and the canonical name of each column in the order of the file.

    The name is empty for a column that is ignored, such as the index of a pandas data frame.
    """

    era: Era
    names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The columns of a color, and the roles of columns that checks and rules use.

    `trips` says in full sentences which trips the files contain. `dictionary` is the data dictionary that the meanings
    of the columns come from.

    The roles are column names. `pickup` and `dropoff` are the times when a trip starts and ends, and `zones` are the
    taxi zones of its start and end. `passengers` is the number of passengers, and `total` is the total charge in US
    dollars. `miles` is the distance, `payment` the code of the payment type, and `fare`, `tips`, `tolls` and
    `driver_pay` are US dollars. Each of them is None for a color that does not report it. `charges` are the columns
    that add up to what the passenger pays, for a color that reports the charges but no total.
    """

    color: str
    trips: str
    columns: tuple[Column, ...]
    pickup: str
    dropoff: str
    zones: tuple[str, str]
    passengers: str | None
    total: str | None
    miles: str | None = None
    fare: str | None = None
    tips: str | None = None
    tolls: str | None = None
    driver_pay: str | None = None
    payment: str | None = None
    charges: tuple[str, ...] = ()
    dictionary: str = ""

    @property
    def table_meaning(self) -> str:
        """What the table of the color contains, which databases show as a comment on it."""
        return f"{self.trips} A row is a trip, as the TLC published it."

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in the order of `columns`."""
        return tuple(column.name for column in self.columns)

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns of the Parquet files of `clean_trips` and `lake_trips`: `columns`, then `file_month`."""
        return (*self.columns, FILE_MONTH)

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The columns of the tables in the warehouse and in Postgres.

        Columns that a later release introduced are last, because databases add columns at the end of a table. A new
        table therefore has the same order as one that an earlier release created.
        """
        later = [column for column in self.columns if column.is_later]
        return (*(column for column in self.columns if not column.is_later), FILE_MONTH, *later)

    def is_optional(self, name: str) -> bool:
        """Whether files and tables of an earlier release do not have a column. Its values are then missing."""
        return any(column.name.lower() == name.lower() for column in self.columns if column.is_later)

    @property
    def coded(self) -> tuple[Column, ...]:
        """The columns whose values are codes from the data dictionary."""
        return tuple(column for column in self.columns if column.codes)

    def arrow_schema(self) -> "pa.Schema":
        """The Arrow schema of `file_columns`: int64, double, string, timestamp[us] without a time zone, and date32."""
        return arrow_schema(self.file_columns)

    def arrow_table_schema(self, convert_name: Callable[[str], str] = str) -> "pa.Schema":
        """The Arrow schema of `table_columns`. `convert_name` converts the names to those of the table."""
        import pyarrow as pa

        schema = self.arrow_schema()
        return pa.schema([(convert_name(column.name), schema.field(column.name).type) for column in self.table_columns])

    def match_header(self, header: Sequence[str]) -> FileColumns:
        """Find the era of a file by its header, and the canonical name of each of its columns.

        Matching ignores letter case and surrounding spaces and quotes, because the TLC's spelling varies by year.
        Raises BadHeader, with the differences from the most similar era, if a column is missing, unknown or duplicated.
        If the columns are those of another color, or of an era that is not loaded, the message says so. If the line is
        not a header with commas, the error says so.
        """
        found = normalize(header)
        data = [name for name in found if not is_ignored(name)]
        era = next((era for era in ERAS if era.color == self.color and era.key == tuple(sorted(data))), None)
        if era and not era.refused:
            return FileColumns(era, tuple(self._canonical(era, name) for name in found))
        if era:
            raise self._refused(header, era)
        nearest = self._nearest(data)
        expected = dict(zip(normalize(nearest.names), nearest.names, strict=True))
        missing = [name for key, name in expected.items() if key not in data]
        unknown = [
            strip_quotes(name)
            for name, seen in zip(header, found, strict=True)
            if seen not in expected and not is_ignored(seen)
        ]
        duplicated = [name for key, name in expected.items() if data.count(key) > 1]
        if not missing and not duplicated and all(map(_is_unnamed, unknown)):
            raise self._unnamed_column(header, found)
        differences = {"missing": missing, "unknown": unknown, "duplicated": duplicated}
        if _KNOWN_NAMES.isdisjoint(found):
            self._reject_other_dialects(",".join(header))
        raise self._bad_header(header, differences, nearest, _recognize(data))

    def _canonical(self, era: Era, name: str) -> str:
        if is_ignored(name):
            return ""
        canonical = {column.name.lower(): column.name for column in self.columns}
        return era.renamed.get(name) or canonical[name]

    def _nearest(self, found: Sequence[str]) -> Era:
        """Return the era of this color with the fewest differences from normalized names, and the newest of them.

        For a header that has little in common with any era, it is the era of the mirror's CSVs.
        """
        current = CSV_ERAS[self.color]
        ours = [era for era in ERAS if era.color == self.color and not era.refused]
        nearest = min((current, *reversed(ours)), key=lambda era: len({*era.key} ^ {*found}))
        return nearest if len({*nearest.key} & {*found}) * 2 > len(nearest.key) else current

    def _refused(self, header: Sequence[str], era: Era) -> BadHeader:
        seen = _shorten(",".join(header))
        return BadHeader(
            f'The header has the columns of {era}, which are not loaded. {era.refused} Seen: "{seen}".',
            color=self.color,
            seen=seen,
            era=str(era),
        )

    def _unnamed_column(self, header: Sequence[str], found: Sequence[str]) -> UnnamedColumn:
        at = next(number for number, name in enumerate(found) if _is_unnamed(name))
        place = "The first column" if at == 0 else "The last column" if at == len(found) - 1 else f"Column {at + 1}"
        seen = _shorten(",".join(header))
        return UnnamedColumn(
            f'{place} of the file has no name. Expected the columns of {self.color} trips. Seen: "{seen}".',
            color=self.color,
            column=at + 1,
            seen=seen,
        )

    def _reject_other_dialects(self, line: str) -> None:
        """Raise a kind of BadHeader if the line is not a header, or has another delimiter than commas."""
        facts = {
            "color": self.color,
            "seen": _shorten(line.replace("\t", "\\t")),
            "expected": ",".join(CSV_ERAS[self.color].names),
        }
        seen = f'Seen: "{facts["seen"]}".'
        if delimiter := find_separator_line(line):
            raise SeparatorLine(
                f"The first line of the file only tells Excel the delimiter, {delimiter!r}. Expected the header. "
                f"{seen}",
                **facts,
                delimiter=delimiter,
            )
        if delimiter := find_delimiter(line, _KNOWN_NAMES):
            raise WrongDelimiter(
                f"The delimiter of the file is {delimiter!r}. Expected commas. {seen}",
                **facts,
                delimiter=repr(delimiter),
            )
        if delimiter := find_delimiter_of_data(line):
            also = "" if delimiter == "," else f" The delimiter seems to be {delimiter!r}. Expected commas."
            raise MissingHeader(
                f"The file has no header: its first line does not have the names of columns. Expected those of "
                f"{self.color} trips. {seen}{also}",
                **facts,
                delimiter=delimiter,
            )

    def _bad_header(
        self, header: Sequence[str], differences: Mapping[str, list[str]], nearest: Era, other: Era | None
    ) -> BadHeader:
        ours = f"columns of {nearest}"
        problem = f"has the columns of {other}. Expected the {ours}" if other else f"does not have the {ours}"
        facts = {kind: _shorten(", ".join(names)) for kind, names in differences.items() if names}
        listed, seen = "; ".join(f"{kind}: {names}" for kind, names in facts.items()), _shorten(",".join(header))
        facts |= {"era": str(other)} if other else {}
        return BadHeader(
            f'The header {problem}. Differences: {_shorten(listed)}. Seen: "{seen}".{_suspect_index(differences)}',
            color=self.color,
            seen=seen,
            expected=",".join(nearest.names),
            **facts,
        )


def _suspect_index(differences: Mapping[str, Sequence[str]]) -> str:
    """Return a sentence about the name that pandas gives an index if that is the only unknown column; or ""."""
    unknown = differences["unknown"]
    is_index = len(unknown) == 1 and unknown[0].lower() in ("index", "level_0") and not differences["missing"]
    return f' A column "{unknown[0]}" suggests that pandas wrote its index: use index=False.' if is_index else ""


def arrow_schema(columns: Iterable[Column]) -> "pa.Schema":
    """Return the Arrow schema of columns: int64, double, string, timestamp[us] without a time zone, and date32."""
    import pyarrow as pa

    types = {
        Kind.integer: pa.int64(),
        Kind.decimal: pa.float64(),
        Kind.text: pa.string(),
        Kind.timestamp: pa.timestamp("us"),
        Kind.date: pa.date32(),
    }
    return pa.schema([(column.name, types[column.kind]) for column in columns])


def _is_unnamed(name: str) -> bool:
    """Whether a column has no name. pandas reads such a name as `Unnamed: 0` and may write it back."""
    return not name or name.lower().startswith("unnamed:")


def _recognize(found: Sequence[str]) -> Era | None:
    """Find the era of any trips with these normalized column names, in any order."""
    return next((era for era in ERAS if era.key == tuple(sorted(found))), None)


def _shorten(text: str) -> str:
    """Return the printable start of a text for a message, because the header of a file can be anything."""
    return "".join(character if character.isprintable() else "?" for character in text.strip()[:_SHOWN])


_SHOWN = 500
"""Maximum characters of a header in a message."""

ZONES = range(1, 266)
"""The zone IDs of the TLC taxi zone lookup table: 1 to 263 in the city, 264 unknown, 265 outside the city."""

VENDOR_ID, VENDOR_NAME = "VendorID", "vendor_name"
"""The provider of a record as a code and, in files until 2014, as text."""

OURS = "taxi_assets"
"""The source of the meaning of a column that no file has."""

FILE_MONTH = Column("file_month", Kind.date, "First day of the month of the file that contains the trip.", source=OURS)

DOLLARS, MILES, DEGREES, SECONDS, PASSENGERS = "US dollars", "miles", "degrees", "seconds", "passengers"


def _columns(kind: Kind, unit: str = "", source: str = "", **meanings: str) -> dict[str, Column]:
    return {name: Column(name, kind, meaning, unit=unit, source=source) for name, meaning in meanings.items()}


def _later(kind: Kind, unit: str = "", source: str = "", **meanings: str) -> dict[str, Column]:
    columns = _columns(kind, unit, source, **meanings)
    return {name: replace(column, is_later=True) for name, column in columns.items()}


def _coded(name: str, kind: Kind, meaning: str, codes: Mapping[int | str, str]) -> dict[str, Column]:
    """Create a column with codes, which its description lists."""
    listed = ", ".join(f"{code} {text}" for code, text in codes.items())
    return {name: Column(name, kind, f"{meaning}: {listed}.", MappingProxyType(codes))}


def _license(name: str, meaning: str) -> Column:
    return Column(name, Kind.text, meaning, is_license=True)


_METERED = {
    **_columns(Kind.integer, PASSENGERS, passenger_count="Passengers in the vehicle, entered by the driver."),
    **_columns(
        Kind.integer,
        PULocationID="Taxi zone where the meter was engaged.",
        DOLocationID="Taxi zone where the meter was disengaged.",
    ),
    **_columns(Kind.decimal, MILES, trip_distance="Trip distance in miles, as measured by the taximeter."),
    **_columns(
        Kind.decimal,
        DOLLARS,
        fare_amount="Fare for time and distance, in US dollars.",
        extra="Rush hour and overnight charges, in US dollars.",
        mta_tax="MTA tax, in US dollars.",
        tip_amount="Tip paid by card, in US dollars. Cash tips are not included.",
        tolls_amount="Tolls, in US dollars.",
        ehail_fee="Fee for an e-hail, in US dollars. Always empty in TLC files.",
        improvement_surcharge="Improvement surcharge at the flag drop, in US dollars.",
        total_amount="Total charge to the passenger, in US dollars. Cash tips are not included.",
        congestion_surcharge="New York State congestion surcharge, in US dollars.",
    ),
    **_later(
        Kind.decimal,
        DOLLARS,
        Airport_fee="Fee for pickups at LaGuardia and John F. Kennedy airports, in US dollars.",
        cbd_congestion_fee="MTA Congestion Relief Zone charge per trip, in US dollars. In files since 2025.",
    ),
    **_later(
        Kind.decimal,
        DEGREES,
        "TLC data dictionary, 2015-09",
        pickup_longitude="Longitude where the meter was engaged, in degrees. In files until 2016-06.",
        pickup_latitude="Latitude where the meter was engaged, in degrees. In files until 2016-06.",
        dropoff_longitude="Longitude where the meter was disengaged, in degrees. In files until 2016-06.",
        dropoff_latitude="Latitude where the meter was disengaged, in degrees. In files until 2016-06.",
    ),
    **_later(
        Kind.text,
        source="TLC files",
        vendor_name="Provider of the record as text: CMT, VTS or DDS. In files until 2014.",
    ),
    **_coded(
        "VendorID",
        Kind.integer,
        "Provider of the record",
        {1: "Creative Mobile Technologies", 2: "Curb (formerly VeriFone)", 6: "Myle", 7: "Helix"},
    ),
    **_coded(
        "RatecodeID",
        Kind.integer,
        "Rate code at the end of the trip",
        {1: "standard", 2: "JFK", 3: "Newark", 4: "Nassau or Westchester", 5: "negotiated", 6: "group", 99: "unknown"},
    ),
    **_coded(
        "payment_type",
        Kind.integer,
        "How the passenger paid",
        {0: "Flex Fare", 1: "card", 2: "cash", 3: "no charge", 4: "dispute", 5: "unknown", 6: "voided"},
    ),
    **_coded("trip_type", Kind.integer, "How the trip was requested", {1: "street hail", 2: "dispatch"}),
    **_coded(
        "store_and_fwd_flag",
        Kind.text,
        "Whether the record was stored in the vehicle before it was sent to the server",
        {"Y": "yes", "N": "no"},
    ),
}

_PLACES = ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")

_CLOCK = "New York wall-clock time, without a time zone."


def _metered(*names: str, pickup: str, dropoff: str) -> tuple[Column, ...]:
    clock = _columns(
        Kind.timestamp,
        **{pickup: f"When the meter was engaged. {_CLOCK}", dropoff: f"When the meter was disengaged. {_CLOCK}"},
    )
    return tuple({**_METERED, **clock}[name] for name in names)


_YELLOW = Layout(
    color="yellow",
    dictionary="TLC data dictionary, 2025-03-18",
    trips="Trips of yellow taxis, which may be hailed anywhere in the city.",
    columns=_metered(
        *(
            "VendorID",
            "tpep_pickup_datetime",
            "tpep_dropoff_datetime",
            "passenger_count",
            "trip_distance",
            "RatecodeID",
        ),
        *("store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount", "extra", "mta_tax"),
        *("tip_amount", "tolls_amount", "improvement_surcharge", "total_amount", "congestion_surcharge"),
        *("Airport_fee", "cbd_congestion_fee", *_PLACES, "vendor_name"),
        pickup="tpep_pickup_datetime",
        dropoff="tpep_dropoff_datetime",
    ),
    pickup="tpep_pickup_datetime",
    dropoff="tpep_dropoff_datetime",
    zones=("PULocationID", "DOLocationID"),
    passengers="passenger_count",
    total="total_amount",
    miles="trip_distance",
    fare="fare_amount",
    tips="tip_amount",
    tolls="tolls_amount",
    payment="payment_type",
)

_GREEN = Layout(
    color="green",
    dictionary="TLC data dictionary, 2025",
    trips="Trips of green taxis, which may be hailed in northern Manhattan and in the other boroughs.",
    columns=_metered(
        *(
            "VendorID",
            "lpep_pickup_datetime",
            "lpep_dropoff_datetime",
            "store_and_fwd_flag",
            "RatecodeID",
            "PULocationID",
        ),
        *("DOLocationID", "passenger_count", "trip_distance", "fare_amount", "extra", "mta_tax", "tip_amount"),
        *("tolls_amount", "ehail_fee", "improvement_surcharge", "total_amount", "payment_type", "trip_type"),
        *("congestion_surcharge", "cbd_congestion_fee", *_PLACES),
        pickup="lpep_pickup_datetime",
        dropoff="lpep_dropoff_datetime",
    ),
    pickup="lpep_pickup_datetime",
    dropoff="lpep_dropoff_datetime",
    zones=("PULocationID", "DOLocationID"),
    passengers="passenger_count",
    total="total_amount",
    miles="trip_distance",
    fare="fare_amount",
    tips="tip_amount",
    tolls="tolls_amount",
    payment="payment_type",
)

_FHV = Layout(
    color="fhv",
    dictionary="TLC data dictionary, 2025",
    trips="Trips of for-hire vehicles (fhv) that a base dispatched. Trips of high-volume services, such as Uber and "
    "Lyft, are in other files since February 2019.",
    columns=(
        _license("dispatching_base_num", "TLC license number of the base that dispatched the trip."),
        Column("pickup_datetime", Kind.timestamp, f"When the trip started. {_CLOCK}"),
        Column("dropOff_datetime", Kind.timestamp, f"When the trip ended. {_CLOCK}"),
        Column("PUlocationID", Kind.integer, "Taxi zone where the trip started."),
        Column("DOlocationID", Kind.integer, "Taxi zone where the trip ended."),
        Column("SR_Flag", Kind.integer, "1 if the trip was shared, otherwise missing."),
        _license("Affiliated_base_number", "TLC license number of the base that the vehicle is affiliated with."),
    ),
    pickup="pickup_datetime",
    dropoff="dropOff_datetime",
    zones=("PUlocationID", "DOlocationID"),
    passengers=None,
    total=None,
)

_YES_NO: Mapping[int | str, str] = {"Y": "yes", "N": "no"}

_FHVHV = Layout(
    color="fhvhv",
    dictionary="TLC data dictionary, 2025",
    trips="Trips of high-volume for-hire services (fhvhv), such as Uber and Lyft.",
    columns=(
        replace(
            _coded(
                "hvfhs_license_num",
                Kind.text,
                "TLC license number of the company",
                {"HV0002": "Juno", "HV0003": "Uber", "HV0004": "Via", "HV0005": "Lyft"},
            )["hvfhs_license_num"],
            is_license=True,
        ),
        _license("dispatching_base_num", "TLC license number of the base that dispatched the trip."),
        _license("originating_base_num", "TLC license number of the base that received the request."),
        Column("request_datetime", Kind.timestamp, f"When the passenger requested the trip. {_CLOCK}"),
        Column("on_scene_datetime", Kind.timestamp, f"When the driver arrived, for accessible vehicles only. {_CLOCK}"),
        Column("pickup_datetime", Kind.timestamp, f"When the trip started. {_CLOCK}"),
        Column("dropoff_datetime", Kind.timestamp, f"When the trip ended. {_CLOCK}"),
        *_columns(
            Kind.integer,
            PULocationID="Taxi zone where the trip started.",
            DOLocationID="Taxi zone where the trip ended.",
        ).values(),
        *_columns(Kind.decimal, MILES, trip_miles="Trip distance in miles.").values(),
        *_columns(Kind.integer, SECONDS, trip_time="Trip duration in seconds.").values(),
        *_columns(
            Kind.decimal,
            DOLLARS,
            base_passenger_fare="Fare before tolls, tips, taxes and fees, in US dollars.",
            tolls="Tolls, in US dollars.",
            bcf="Black Car Fund surcharge, in US dollars.",
            sales_tax="New York State sales tax, in US dollars.",
            congestion_surcharge="New York State congestion surcharge, in US dollars.",
            airport_fee="Fee for trips to and from LaGuardia, Newark and John F. Kennedy airports, in US dollars.",
            tips="Tip, in US dollars.",
            driver_pay="Pay of the driver without tolls and tips, before commissions and taxes, in US dollars.",
        ).values(),
        *_coded("shared_request_flag", Kind.text, "Whether the passenger agreed to a shared ride", _YES_NO).values(),
        *_coded("shared_match_flag", Kind.text, "Whether the passenger shared the vehicle", _YES_NO).values(),
        *_coded(
            "access_a_ride_flag", Kind.text, "Whether the MTA's Access-A-Ride program administered the trip", _YES_NO
        ).values(),
        *_coded(
            "wav_request_flag", Kind.text, "Whether the passenger requested an accessible vehicle", _YES_NO
        ).values(),
        *_coded("wav_match_flag", Kind.text, "Whether the vehicle was accessible", _YES_NO).values(),
        *_columns(
            Kind.decimal,
            DOLLARS,
            cbd_congestion_fee="MTA Congestion Relief Zone charge per trip, in US dollars. In files since 2025.",
        ).values(),
        Column(
            "SR_Flag",
            Kind.integer,
            "1 if the trip was shared, otherwise missing. In CSVs until 2020-06.",
            source="TLC data dictionary of fhv trips",
        ),
    ),
    pickup="pickup_datetime",
    dropoff="dropoff_datetime",
    zones=("PULocationID", "DOLocationID"),
    passengers=None,
    total=None,
    miles="trip_miles",
    fare="base_passenger_fare",
    tips="tips",
    tolls="tolls",
    driver_pay="driver_pay",
    charges=(
        *("base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee"),
        *("cbd_congestion_fee", "tips"),
    ),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.color: layout for layout in (_YELLOW, _GREEN, _FHV, _FHVHV)})

_KNOWN_NAMES = frozenset(name for era in ERAS for name in normalize((*era.names, *era.renamed.values())))
"""The names of the columns of all colors since 2009, in lowercase."""
