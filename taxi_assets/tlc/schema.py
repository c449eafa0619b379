"""The columns of each color, in the order of the TLC and with canonical names, and the mapping of headers to them.

`LAYOUTS` contains the differences between colors; no other code refers to a column of one color by name. Types and
meanings follow the TLC data dictionaries and the TLC files of 2019 to 2021-07. Codes include those of the 2025 data
dictionaries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from taxi_assets.errors import BadHeader, MissingHeader, SeparatorLine, UnnamedColumn, WrongDelimiter
from taxi_assets.tlc.dialects import find_delimiter, find_delimiter_of_data, find_separator_line
from taxi_assets.tlc.eras import ERAS, Era, normalize, strip_quotes

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

    `codes` maps the values that the TLC data dictionary defines to their meanings; empty for a column without codes.
    `is_license` is true for TLC license numbers. Companies report them in any letter case and with spaces around them,
    so they are trimmed and in uppercase here, as in the TLC's list of bases.
    """

    name: str
    kind: Kind
    meaning: str
    codes: Mapping[int | str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    is_license: bool = False


@dataclass(frozen=True)
class Layout:
    """The columns of a color's files since 2019, and the roles of columns that checks and rules use.

    `trips` says in full sentences which trips the files contain.

    The roles are column names. `pickup` and `dropoff` are the times when a trip starts and ends, and `zones` are the
    taxi zones of its start and end. `passengers` is the number of passengers, and `total` is the total charge in US
    dollars; both are None for a color that does not report them.
    """

    color: str
    trips: str
    columns: tuple[Column, ...]
    pickup: str
    dropoff: str
    zones: tuple[str, str]
    passengers: str | None
    total: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The column names of a file, in the order of the TLC."""
        return tuple(column.name for column in self.columns)

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The columns of `clean_trips` and all downstream assets: those of the file, then `file_month`."""
        return (*self.columns, FILE_MONTH)

    @property
    def coded(self) -> tuple[Column, ...]:
        """The columns whose values are codes from the data dictionary."""
        return tuple(column for column in self.columns if column.codes)

    def arrow_schema(self) -> "pa.Schema":
        """The Arrow schema of `table_columns`: int64, double, string, timestamp[us] without a time zone, and date32."""
        import pyarrow as pa

        types = {
            Kind.integer: pa.int64(),
            Kind.decimal: pa.float64(),
            Kind.text: pa.string(),
            Kind.timestamp: pa.timestamp("us"),
            Kind.date: pa.date32(),
        }
        return pa.schema([(column.name, types[column.kind]) for column in self.table_columns])

    def map_header(self, header: Sequence[str]) -> tuple[str, ...]:
        """Map the header of a file to canonical column names, in the order of the file.

        Matching ignores letter case and surrounding spaces and quotes, because the TLC's spelling varies by year.
        Raises BadHeader, with the differences, if a column is missing, unknown or duplicated. If the columns are those
        of another color or period, the message says which. If the line is not a header with commas, the error says so.
        """
        canonical = {name.lower(): name for name in self.names}
        found = normalize(header)
        missing = [name for name in self.names if name.lower() not in found]
        unknown = [strip_quotes(name) for name, seen in zip(header, found, strict=True) if seen not in canonical]
        duplicated = [canonical[name] for name in canonical if found.count(name) > 1]
        if not missing and not duplicated and unknown and all(map(_is_unnamed, unknown)):
            raise self._unnamed_column(header, found)
        differences = {"missing": missing, "unknown": unknown, "duplicated": duplicated}
        if any(differences.values()):
            if _KNOWN_NAMES.isdisjoint(found):
                self._reject_other_dialects(",".join(header))
            raise self._bad_header(header, differences, _recognize(found))
        return tuple(canonical[name] for name in found)

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
        facts = {"color": self.color, "seen": _shorten(line.replace("\t", "\\t")), "expected": ",".join(self.names)}
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

    def _bad_header(self, header: Sequence[str], differences: Mapping[str, list[str]], era: Era | None) -> BadHeader:
        ours = f"columns of {self.color} trips since 2019"
        problem = f"has the columns of {era}. Expected the {ours}" if era else f"does not have the {ours}"
        facts = {kind: _shorten(", ".join(names)) for kind, names in differences.items() if names}
        listed, seen = "; ".join(f"{kind}: {names}" for kind, names in facts.items()), _shorten(",".join(header))
        facts |= {"era": str(era)} if era else {}
        return BadHeader(
            f'The header {problem}. Differences: {_shorten(listed)}. Seen: "{seen}".{_suspect_index(differences)}',
            color=self.color,
            seen=seen,
            expected=",".join(self.names),
            **facts,
        )


def _suspect_index(differences: Mapping[str, Sequence[str]]) -> str:
    """Return a sentence about the name that pandas gives an index if that is the only unknown column; or ""."""
    unknown = differences["unknown"]
    is_index = len(unknown) == 1 and unknown[0].lower() in ("index", "level_0") and not differences["missing"]
    return f' A column "{unknown[0]}" suggests that pandas wrote its index: use index=False.' if is_index else ""


def _is_unnamed(name: str) -> bool:
    """Whether a column has no name. pandas reads such a name as `Unnamed: 0` and may write it back."""
    return not name or name.lower().startswith("unnamed:")


def _recognize(found: Sequence[str]) -> Era | None:
    """Find the era with these normalized column names, in any order."""
    layouts = (Era(layout.color, "since 2019", layout.names) for layout in LAYOUTS.values())
    return next((era for era in (*layouts, *ERAS) if sorted(normalize(era.names)) == sorted(found)), None)


def _shorten(text: str) -> str:
    """Return the printable start of a text for a message, because the header of a file can be anything."""
    return "".join(character if character.isprintable() else "?" for character in text.strip()[:_SHOWN])


_SHOWN = 500
"""Maximum characters of a header in a message."""

ZONES = range(1, 266)
"""The zone IDs of the TLC taxi zone lookup table: 1 to 263 in the city, 264 unknown, 265 outside the city."""

FILE_MONTH = Column("file_month", Kind.date, "First day of the month of the file that contains the trip.")


def _columns(kind: Kind, **meanings: str) -> dict[str, Column]:
    return {name: Column(name, kind, meaning) for name, meaning in meanings.items()}


def _coded(name: str, kind: Kind, meaning: str, codes: Mapping[int | str, str]) -> dict[str, Column]:
    """Create a column with codes, which its description lists."""
    listed = ", ".join(f"{code} {text}" for code, text in codes.items())
    return {name: Column(name, kind, f"{meaning}: {listed}.", MappingProxyType(codes))}


_METERED = {
    **_columns(
        Kind.integer,
        passenger_count="Passengers in the vehicle, entered by the driver.",
        PULocationID="Taxi zone where the meter was engaged.",
        DOLocationID="Taxi zone where the meter was disengaged.",
    ),
    **_columns(
        Kind.decimal,
        trip_distance="Trip distance in miles, as measured by the taximeter.",
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

_CLOCK = "New York wall-clock time, without a time zone."


def _metered(*names: str, pickup: str, dropoff: str) -> tuple[Column, ...]:
    clock = _columns(
        Kind.timestamp,
        **{pickup: f"When the meter was engaged. {_CLOCK}", dropoff: f"When the meter was disengaged. {_CLOCK}"},
    )
    return tuple({**_METERED, **clock}[name] for name in names)


_YELLOW = Layout(
    color="yellow",
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
        pickup="tpep_pickup_datetime",
        dropoff="tpep_dropoff_datetime",
    ),
    pickup="tpep_pickup_datetime",
    dropoff="tpep_dropoff_datetime",
    zones=("PULocationID", "DOLocationID"),
    passengers="passenger_count",
    total="total_amount",
)

_GREEN = Layout(
    color="green",
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
        "congestion_surcharge",
        pickup="lpep_pickup_datetime",
        dropoff="lpep_dropoff_datetime",
    ),
    pickup="lpep_pickup_datetime",
    dropoff="lpep_dropoff_datetime",
    zones=("PULocationID", "DOLocationID"),
    passengers="passenger_count",
    total="total_amount",
)

_FHV = Layout(
    color="fhv",
    trips="Trips of for-hire vehicles (fhv) that a base dispatched. Trips of high-volume services, such as Uber and "
    "Lyft, are in other files since February 2019.",
    columns=(
        Column(
            "dispatching_base_num",
            Kind.text,
            "TLC license number of the base that dispatched the trip.",
            is_license=True,
        ),
        Column("pickup_datetime", Kind.timestamp, f"When the trip started. {_CLOCK}"),
        Column("dropOff_datetime", Kind.timestamp, f"When the trip ended. {_CLOCK}"),
        Column("PUlocationID", Kind.integer, "Taxi zone where the trip started."),
        Column("DOlocationID", Kind.integer, "Taxi zone where the trip ended."),
        Column("SR_Flag", Kind.integer, "1 if the trip was shared, otherwise missing."),
        Column(
            "Affiliated_base_number",
            Kind.text,
            "TLC license number of the base that the vehicle is affiliated with.",
            is_license=True,
        ),
    ),
    pickup="pickup_datetime",
    dropoff="dropOff_datetime",
    zones=("PUlocationID", "DOlocationID"),
    passengers=None,
    total=None,
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.color: layout for layout in (_YELLOW, _GREEN, _FHV)})

_KNOWN_NAMES = frozenset(
    name
    for names in (*(layout.names for layout in LAYOUTS.values()), *(era.names for era in ERAS))
    for name in normalize(names)
)
"""The names of the columns of all colors since 2009, in lowercase."""
