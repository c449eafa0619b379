"""The page of each asset in the UI: its Markdown text and its location, from the settings, the color and the asset.

The text has the contents of the asset (the docstring of its compute function), where its data is, a query to try, and
the source of the data with its cadence and license.

Not here: the checks of an asset (`checks`), and the columns of a color (`tlc.schema`).
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import dagster as dg

from taxi_assets.connections import is_bigquery, is_bucket, open_home
from taxi_assets.graph import SOURCE_TRIPS, job_name, mart_job_name
from taxi_assets.instance._dagster import RawMetadataValue
from taxi_assets.settings import Settings
from taxi_assets.stores.duckdb import open_duckdb
from taxi_assets.stores.files.folder_lake import open_folder
from taxi_assets.stores.files.staging import local_path
from taxi_assets.stores.google.addresses import dataset_of, folder_link, table_link
from taxi_assets.stores.lake import ZONES_NAME
from taxi_assets.stores.postgres.embedded import DATABASE
from taxi_assets.stores.source.known import MIRROR_URL, TLC_URL
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.marts import DAILY_TRIPS, RULES, ZONES_TABLE, Mart
from taxi_assets.tlc.published import SUFFIX as PARQUET
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth, trips_table

_TLC = "https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page"
_DICTIONARY = "https://www.nyc.gov/assets/tlc/downloads/pdf/data_dictionary_trip_records_{name}.pdf"
_DICTIONARIES = {"fhvhv": "hvfhs"}  # the name of a color in the address of its data dictionary, if it is another one
_OPEN_DATA = "https://cityofnewyork.github.io/opendatatsm/publicpolicies.html"

_LICENSE = (
    f"public data of the City of New York. [City law]({_OPEN_DATA}) makes public data sets available without a license "
    "requirement or restrictions on their use. The TLC does not guarantee that the records are accurate or complete."
)


@dataclass(frozen=True)
class _Place:
    """Where the data of an asset is: in Markdown, as metadata of the definition, and how to query it.

    `language` is that of the block of code, such as `sh`.
    """

    text: str
    metadata: RawMetadataValue
    query: str
    language: str = "sh"


def describe_asset(settings: Settings, color: str, asset: str, contents: str) -> str:
    """Return the description of a color's asset in Markdown. `contents` says what the asset contains."""
    place = _PLACES[asset](settings, color)
    return "\n\n".join(
        [
            contents,
            f"**Location:** {place.text}",
            f"**Try it:**\n\n```{place.language}\n{place.query}\n```",
            *_about_the_source(settings, color),
        ]
    )


def describe_mart(settings: Settings, mart: Mart, color: str) -> str:
    """Return the description of a color's mart in Markdown."""
    place = _mart(settings, mart, color)
    rules = "\n".join(f"- `{rule.name}`: {rule.meaning}" for rule in RULES)
    return "\n\n".join(
        [
            f"A summary of each month of {color} trips. The warehouse computes it from `warehouse_trips`. {mart.rows}",
            *([f"Trips with implausible values stay in all sums, and are counted:\n\n{rules}"] * (mart is DAILY_TRIPS)),
            f"**Location:** {place.text}. The view `{mart.name}` has the figures of all colors.",
            f"**Try it:**\n\n```{place.language}\n{place.query}\n```",
            (
                f"**Cadence:** the sensor `marts` computes a month when its `warehouse_trips` is updated, if it is on. "
                f"The job `{mart_job_name(color)}` computes chosen months."
            ),
            f"**License:** {_LICENSE}",
        ]
    )


def mart_location(settings: Settings, mart: Mart, color: str) -> dict[str, RawMetadataValue]:
    """Return where a color's mart is, as metadata of its definition."""
    return {"location": _mart(settings, mart, color).metadata}


def describe_zones(settings: Settings) -> str:
    """Return the description of the taxi zones in Markdown."""
    query = _taxi_query("SELECT Borough, count(*) AS zones\nFROM taxi_zones\nGROUP BY Borough ORDER BY Borough")
    place = _in_warehouse(settings, ZONES_TABLE, query)
    contents = (
        "The TLC's taxi zones: the borough, name and service zone of each zone ID. They come from "
        "`misc/taxi_zone_lookup.csv` of the source. If the source does not have the file, a built-in copy is used, and "
        "the metadata says so. Names such as `N/A` are text, and some zones share a name."
    )
    return "\n\n".join(
        [
            contents,
            f"**Location:** {place.text}, the table of the same name in Postgres, and `{ZONES_NAME}` in the lake.",
            f"**Try it:**\n\n```{place.language}\n{place.query}\n```",
            f"**License:** {_LICENSE}",
        ]
    )


def location(settings: Settings, color: str, asset: str) -> dict[str, RawMetadataValue]:
    """Return where the data of a color's asset is, as metadata of its definition."""
    return {"location": _PLACES[asset](settings, color).metadata}


def file_kind(settings: Settings) -> str:
    """Return the kind in the UI of the files that the source has: `csv` or `parquet`."""
    return "parquet" if Source(settings.source_url).suffix == PARQUET else "csv"


def warehouse_kind(settings: Settings) -> str:
    """Return the kind in the UI of the tables in the warehouse: `bigquery` or `duckdb`."""
    return "bigquery" if is_bigquery(settings) else "duckdb"


def _about_the_source(settings: Settings, color: str) -> Iterator[str]:
    """Yield the source of a color's trips, how often it changes, and its license."""
    dictionary = _DICTIONARY.format(name=_DICTIONARIES.get(color, color))
    yield (
        f"**Source:** [trip record data]({_TLC}) of the New York City Taxi and Limousine Commission (TLC). "
        f"{LAYOUTS[color].trips} The [data dictionary]({dictionary}) explains the columns."
    )
    news = f"The schedule `{job_name(color)}` loads new months, if it is on."
    if settings.source_url == MIRROR_URL:
        last = Source().span(color)[1]
        news = f"This installation reads a copy for the Data Engineering Zoomcamp course, which ends with {last}."
    elif settings.source_url == TLC_URL:
        first = Source(settings.source_url).span(color)[0]
        news = f"This installation reads the TLC's own Parquet files, which start with {first}. {news}"
    yield f"**Cadence:** the TLC publishes one file per month, about two months after the month ends. {news}"
    yield f"**License:** {_LICENSE}"


def _source(settings: Settings, color: str) -> _Place:
    source = Source(settings.source_url)
    address = source.address(TripMonth(color, settings.first_month or source.span(color)[0]))
    if (path := local_path(address)) is not None:
        return _Place(f"files such as `{path}`", dg.MetadataValue.path(path.parent), f"ls -l {shlex.quote(str(path))}")
    link = f"[{PurePosixPath(address).name}]({address})"
    return _Place(f"files such as {link}", dg.MetadataValue.url(address), f"curl -sIL {shlex.quote(address)}")


def _raw(settings: Settings, color: str) -> _Place:
    files = open_home(settings).raw_files(color)
    csv = f"read_csv({_text(files)}, all_varchar = true, strict_mode = false)"
    table = _text(files) if files.suffix == PARQUET else csv
    return _files(settings, files, f"SELECT *\nFROM {table}\nLIMIT 5")


def _clean(settings: Settings, color: str) -> _Place:
    return _parquet(settings, color, open_home(settings).clean_files(color))


def _lake(settings: Settings, color: str) -> _Place:
    objects = PurePosixPath(TripMonth(color, _ANY_MONTH).object_name).parent
    if not is_bucket(settings):
        return _parquet(settings, color, open_folder(settings.lake_url).folder / objects / "*.parquet")
    uri = f"{settings.lake_url.rstrip('/')}/{objects}"
    link = folder_link(uri)
    return _Place(f"[{uri}/]({link})", dg.MetadataValue.url(link), f"gcloud storage ls -l {shlex.quote(uri)}")


_ANY_MONTH = "2020-04"
"""A month to ask for names that are the same in every month."""


def _warehouse(settings: Settings, color: str) -> _Place:
    table = trips_table(color)
    return _in_warehouse(settings, table, _taxi_query(_summarize(color, table)))


def _mart(settings: Settings, mart: Mart, color: str) -> _Place:
    table = mart.table(color)
    # The second column is the number of trips.
    names = ", ".join(column.name for column in mart.columns[:2])
    query = f"SELECT file_month, {names}\nFROM {table}\nORDER BY trips DESC LIMIT 5"
    return _in_warehouse(settings, table, _taxi_query(query))


def _in_warehouse(settings: Settings, table: str, query: str) -> _Place:
    """Return the place of a table in the warehouse."""
    if not is_bigquery(settings):
        path = open_duckdb(settings.warehouse_url).path
        return _Place(f"the table `{table}` in the DuckDB file `{path}`", dg.MetadataValue.path(path), query)
    project, dataset = dataset_of(settings.warehouse_url)
    link = table_link(project, dataset, table)
    text = f"the BigQuery table [{project}.{dataset}.{table}]({link})"
    return _Place(text, dg.MetadataValue.url(link), query)


def _postgres(settings: Settings, color: str) -> _Place:
    table = trips_table(color)
    # The URL may contain a password.
    server = (
        "the database in `TAXI_POSTGRES_URL`"
        if settings.postgres_url
        else f"the database `{DATABASE}` of the embedded server in `{settings.home / 'postgres'}`"
    )
    text = f"the table `{table}` in {server}. To see how psql and pgAdmin connect to it, run `taxi doctor`."
    return _Place(text, f"public.{table}", _taxi_query(_summarize(color, table), "--postgres "))


_PLACES: dict[str, Callable[[Settings, str], _Place]] = {
    SOURCE_TRIPS: _source,
    "raw_trips": _raw,
    "clean_trips": _clean,
    "lake_trips": _lake,
    "warehouse_trips": _warehouse,
    "postgres_trips": _postgres,
}


def _parquet(settings: Settings, color: str, files: Path) -> _Place:
    return _files(settings, files, _summarize(color, _text(files)))


def _files(settings: Settings, files: Path, sql: str) -> _Place:
    """Return the place of files that a pattern matches."""
    text, metadata = f"`{files}`, one file per month", dg.MetadataValue.path(files.parent)
    # `taxi query` reads files only in the folder of a DuckDB warehouse.
    if not is_bigquery(settings) and files.is_relative_to(open_duckdb(settings.warehouse_url).path.parent):
        return _Place(text, metadata, _taxi_query(sql))
    return _Place(text, metadata, f'import duckdb\n\nduckdb.sql("""\n{sql}\n""").show()', "python")


def _summarize(color: str, table: str) -> str:
    """Return a query for the number of trips in each month, and their average charge if the color reports it.

    The query has several lines, because the UI does not wrap the lines of a block of code.
    """
    total = LAYOUTS[color].total
    average = f", avg({total}) AS average_total" if total else ""
    return f"SELECT file_month, count(*) AS trips{average}\nFROM {table}\nGROUP BY file_month ORDER BY file_month"


def _taxi_query(sql: str, options: str = "") -> str:
    """Return the shell command that runs a query, in double quotes unless a shell would interpret its characters."""
    sql = f"\n{sql}"
    quoted = shlex.quote(sql) if set(sql) & set('"$`\\!') else f'"{sql}"'
    return f"taxi query {options}{quoted}"


def _text(path: Path) -> str:
    """Return a path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"
