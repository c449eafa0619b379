"""Every error that this project raises on purpose. Any other exception is a bug.

Each kind of error is declared here once: its slug, its meaning (the docstring), and its remedy. The code that raises an
error states only what was seen and what was expected. `TaxiAssetsError.explain` adds the remedy and the slug, for the
command line and for the events of a run. `docs/troubleshooting.md` is generated from this file.
"""

from typing import ClassVar, Self
from unicodedata import bidirectional, category


def printable(text: str) -> str:
    """Replace control characters, except line breaks and tabs, with "?".

    Text from files and servers is shown on terminals, which interpret control characters.
    """
    return "".join("?" if _controls(letter) else letter for letter in text)


def _controls(letter: str) -> bool:
    if letter in "\n\t":
        return False
    return category(letter) in _CONTROL or bidirectional(letter) in _DIRECTIONS


_CONTROL = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, surrogates, separators of lines and paragraphs."""

_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional classes of characters that change the order in which a terminal shows the text after them."""


class TaxiAssetsError(Exception):
    """Base class of all errors in this project.

    The message is one or more full sentences: what happened, with the value seen, then what was expected. `facts` maps
    names, such as `color` and `month`, to the values that caused the error. They also fill the placeholders of the
    remedy.
    """

    slug: ClassVar[str] = ""
    """A short, stable code. Empty for a class that only groups others and is never raised itself."""

    remedy: ClassVar[str] = ""
    """What to do, in terms of settings and commands. `{name}` stands for a fact."""

    group: ClassVar[str] = ""
    """The section of the troubleshooting page."""

    def __init__(self, message: str = "", **facts: str | float) -> None:
        super().__init__(printable(message))
        self.facts = {name: printable(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}

    def __init_subclass__(cls, slug: str = "", remedy: str = "", group: str = "") -> None:
        super().__init_subclass__()
        cls.slug, cls.remedy, cls.group = slug, remedy, group or cls.group

    def explain(self) -> str:
        """Return the complete text for users: the message, then the remedy, then the slug in brackets."""
        message = str(self).rstrip()
        lines = "\n" in message
        closed = message if lines or message.endswith((".", "!", "?")) else f"{message}."
        remedy = self.remedy.format_map(_Facts(self.facts))
        return ("\n" if lines else " ").join(filter(None, (closed, f"{remedy} [{self.slug}]".strip())))

    def within(self, context: str) -> Self:
        """Return the same error with `context` and a colon before its message."""
        return type(self)(f"{context}: {self}", **self.facts)


class _Facts(dict[str, str | float]):
    """The facts of an error. A fact that is not known shows its name in capitals, such as `MONTH`."""

    def __missing__(self, name: str) -> str:
        return name.upper()


BUG = "unexpected-error"
"""The slug of all other exceptions."""


# Settings


class SettingsError(
    TaxiAssetsError,
    slug="invalid-setting",
    group="Settings",
    remedy="Fix the setting in the environment or in .env. docs/settings.md lists all settings.",
):
    """A setting has an invalid value."""


class UnknownSetting(
    SettingsError,
    slug="unknown-setting",
    remedy="Rename or remove it in .env. docs/settings.md lists all settings.",
):
    """The file .env has a variable that starts with TAXI_ but is not a setting.

    Such a variable in the environment is only a warning, because Kubernetes sets some for a service named taxi.
    """


class InvalidSourceUrl(
    SettingsError,
    slug="invalid-source-url",
    remedy="Set TAXI_SOURCE_URL to a folder or to a file://, http:// or https:// URL, without a user name, a "
    "password or a query. If the server requires a login, put the user name and the password in ~/.netrc.",
):
    """The URL of the source is invalid, or has a user name, a password or a query, which may contain a secret."""


class InvalidFileUrl(
    SettingsError,
    slug="invalid-file-url",
    remedy="Use an absolute path after file://, such as file:///data/months.",
):
    """The path in a `file://` URL is not absolute."""


class InvalidLakeUrl(
    SettingsError,
    slug="invalid-lake-url",
    remedy="Set TAXI_LAKE_URL to a folder, a file:// URL, or gs://BUCKET with an optional prefix.",
):
    """The URL of the lake is neither a folder nor a valid bucket URL."""


class InvalidWarehouseUrl(
    SettingsError,
    slug="invalid-warehouse-url",
    remedy="Set TAXI_WAREHOUSE_URL to bigquery://PROJECT/DATASET or to duckdb:///FILE. An absolute path needs four "
    "slashes, as in duckdb:////data/trips.duckdb.",
):
    """The URL of the warehouse is neither that of a DuckDB file nor that of a BigQuery dataset."""


class MixedClouds(
    SettingsError,
    slug="lake-and-warehouse-differ",
    remedy="Set TAXI_LAKE_URL to gs://BUCKET and TAXI_WAREHOUSE_URL to bigquery://PROJECT/DATASET. To use a folder and "
    "DuckDB instead, unset both.",
):
    """The warehouse cannot load from the lake. BigQuery loads only from a bucket, and DuckDB only from a folder."""


class InvalidPostgresUrl(
    SettingsError,
    slug="invalid-postgres-url",
    remedy="Set TAXI_POSTGRES_URL to postgresql://user:password@host:port/database. In the password, write %40 for @"
    " and %2F for /.",
):
    """The URL of the PostgreSQL server cannot be parsed. The URL is not shown because it may contain a password."""


class InvalidSchedule(
    SettingsError,
    slug="invalid-schedule",
    remedy="Set TAXI_SCHEDULE_CRON to a cron expression with five fields (minute, hour, day of month, month, day of "
    "week), such as 0 5 1 * *.",
):
    """TAXI_SCHEDULE_CRON is not a valid cron expression."""


class InvalidNotificationUrl(
    SettingsError,
    slug="invalid-notification-url",
    remedy="Set TAXI_ALERT_URLS to Apprise URLs separated by spaces or new lines, such as "
    "slack://TOKEN_A/TOKEN_B/TOKEN_C, mailtos://USER:PASSWORD@example.org, or jsons://example.org/hook for a "
    "webhook. If the service needs another package, install it: see Apprise's documentation.",
):
    """Apprise cannot parse a notification URL, or its service needs a package that is not installed.

    The URL is not shown because it may contain a secret.
    """


class NoNotificationUrls(
    SettingsError,
    slug="no-notification-urls",
    remedy="Set TAXI_ALERT_URLS to one or more Apprise URLs, such as slack://TOKEN_A/TOKEN_B/TOKEN_C.",
):
    """Notifications were requested, but TAXI_ALERT_URLS is not set."""


class MissingExtra(SettingsError, slug="missing-package", remedy="Run: pip install 'taxi-assets[{extra}]'"):
    """A setting needs an optional package that is not installed."""


# Months, selections and backfills


class UnknownMonth(
    TaxiAssetsError,
    slug="unknown-month",
    group="Months and selections",
    remedy="Use a month in the form YYYY-MM (2021-01), a year (2021), or a range (2020-03..2020-07).",
):
    """The value is not a month, a year, or a range of months."""


class UnknownColor(UnknownMonth, slug="unknown-color", remedy="Use yellow, green, fhv, fhvhv, or all."):
    """The value is not a color of taxi trips."""


class NotAPartition(
    UnknownMonth,
    slug="not-a-partition",
    remedy="Choose another month, or change TAXI_FIRST_MONTH or TAXI_LAST_MONTH.",
):
    """The month is before the first partition or after the last one.

    The source, TAXI_FIRST_MONTH and TAXI_LAST_MONTH determine which partitions exist.
    """


class NoPartition(
    TaxiAssetsError,
    slug="no-partition",
    group="Months and selections",
    remedy="Select a partition in the Launchpad. In a terminal, run taxi materialize --color {color} --months 2020-04, "
    """or add --tags '{{"dagster/partition": "2020-04"}}' to dagster job execute, """
    "or add --partition 2020-04 to dg launch.",
):
    """A run that loads a month was started without a partition."""


class BadSelection(
    TaxiAssetsError,
    slug="invalid-selection",
    group="Months and selections",
    remedy="Use asset names separated by commas, such as clean_trips,lake_trips. Add + before a name to include "
    "everything upstream, or after it to include everything downstream, such as lake_trips+.",
):
    """The value of --select is invalid or matches no asset."""


class UnknownBackfill(
    TaxiAssetsError,
    slug="unknown-backfill",
    group="Months and selections",
    remedy="To see the IDs of the backfills, run: taxi backfill list",
):
    """The history of runs has no backfill with this ID."""


class NotResumable(
    UnknownBackfill,
    slug="backfill-not-resumable",
    remedy="To run a backfill of assets again, click Re-execute on its page in the UI. Resume backfills that load "
    "different assets with separate commands.",
):
    """The backfill was submitted for assets instead of a job, or the given backfills load different assets."""


class BackfillFailed(
    TaxiAssetsError,
    slug="backfill-failed",
    group="Runs and backfills",
    remedy="Fix the cause, then run: taxi backfill resume {backfill}",
):
    """The daemon stopped a backfill because of an error."""


class BackfillNotCanceled(
    TaxiAssetsError,
    slug="backfill-not-canceled",
    group="Runs and backfills",
    remedy="Run the command again, or cancel the backfill in the UI.",
):
    """The daemon continues a backfill even though its cancellation was requested several times."""


class RunsElsewhere(
    TaxiAssetsError,
    slug="runs-elsewhere",
    group="Runs and backfills",
    remedy="Use taxi backfill with the same options. The daemon then starts the runs.",
):
    """In a deployment, only the daemon can start runs. It would mark a run that was started elsewhere as failed."""


class AlreadyRunning(
    TaxiAssetsError,
    slug="dev-already-running",
    group="Runs and backfills",
    remedy="Use the UI at that address, stop the other taxi dev with Ctrl-C, or set TAXI_HOME to another folder.",
):
    """Another `taxi dev` uses the same TAXI_HOME. Two daemons would run every schedule and backfill twice."""


class DevStillEnding(
    AlreadyRunning, slug="dev-still-ending", remedy="Wait a moment, or end them with: kill -9 {processes}"
):
    """Processes of a `taxi dev` that was killed are still running, among them perhaps its daemon."""


class HistoryError(
    TaxiAssetsError,
    slug="history-unusable",
    group="Runs and backfills",
    remedy="Make sure that the disk has free space and that this user can write to the folder.",
):
    """Dagster's history of runs, in TAXI_HOME/dagster, cannot be read or written."""


class DamagedHistory(
    HistoryError,
    slug="damaged-history",
    remedy="Move the folder away. The history of runs then starts again, and loaded months stay: taxi adopt recognizes "
    "them.",
):
    """A database of the history of runs is damaged, or is not a database."""


class HistoryServerError(
    HistoryError,
    slug="history-server",
    remedy="The loaded months are not affected. Check that the server named in {config} is running and accepts the "
    "user and the password. In the deployment, run: docker compose ps postgres",
):
    """The PostgreSQL server with the history of runs is not available, or rejects the login."""


class InvalidInstanceConfig(
    HistoryError,
    slug="invalid-dagster-yaml",
    remedy="Fix the file, or delete it. The next command then creates a new one.",
):
    """The file `dagster.yaml` in TAXI_HOME/dagster is not valid."""


# Requests to the webserver


class UnknownHost(
    TaxiAssetsError,
    slug="unknown-host",
    group="Requests to the UI",
    remedy="If people open the UI under this name, set TAXI_UI_URL to that address and restart the UI.",
):
    """The host name of the request is not a name of the webserver. A malicious website can point its own name to it."""


class ForeignOrigin(
    TaxiAssetsError,
    slug="foreign-origin",
    group="Requests to the UI",
    remedy="If people open the UI at this address, set TAXI_UI_URL to it and restart the UI.",
):
    """The request comes from a web page of another server. Such a page could otherwise start runs."""


class MutationByGet(
    TaxiAssetsError,
    slug="mutation-by-get",
    group="Requests to the UI",
    remedy="Send the mutation by POST.",
):
    """The webserver accepts GraphQL mutations only by POST, because any web page can send GET requests."""


# The source and its files


class BadInput(TaxiAssetsError, group="The source and its files"):
    """The source file is not a month of trips of this color."""


class NotPublished(
    BadInput,
    slug="not-published",
    remedy="Choose a month that the source has, or set TAXI_SOURCE_URL to another source. The TLC publishes a month "
    "about two months after it ends. A mirror may not have the latest months.",
):
    """The source has no file for this color and month. A run of such a month loads nothing and does not fail."""


class OtherName(
    NotPublished,
    slug="other-file-name",
    remedy="If that is the file of the month, read it with: export TAXI_SOURCE_URL={template}",
):
    """The source folder does not have the file of the month under the expected name, but has a similar file.

    The remedy shows the value of TAXI_SOURCE_URL with which that file is read.
    """


class BadHeader(
    BadInput, slug="bad-header", remedy="Check the file at the source: it may belong to another color or year."
):
    """The file does not have the columns of its color."""


class BadFile(
    BadInput, slug="bad-file", remedy="Replace the file at the source with a valid CSV, then load the month again."
):
    """The name of the file is that of a CSV, but it does not have one row per line."""


class NotACsv(
    BadFile,
    slug="not-a-csv",
    remedy="Check what {address} contains, and whether it requires a login.",
):
    """The name of the file is that of a CSV, but it is a web page, such as a login form, or has another format."""


class WrongSuffix(
    NotACsv,
    slug="wrong-suffix",
    remedy="If all files of the source are like this one, rename them so that they end in {suffix}, and set "
    "TAXI_SOURCE_URL to a template that ends in {suffix}. Otherwise replace this file with the output of: {command}",
):
    """The file is a CSV whose name ends in .gz although it is not compressed, or the other way around."""


class CompressedTwice(
    NotACsv,
    slug="compressed-twice",
    remedy="Replace the file with the output of: {command}",
):
    """The file is compressed with gzip twice."""


class WrongPacking(
    NotACsv,
    slug="wrong-packing",
    remedy="Replace the file with the CSV that it contains. To extract it, run: {command}",
):
    """The file is an archive, such as tar or zip, or is not compressed with gzip."""


class ParquetSource(
    NotACsv,
    slug="parquet-file",
    remedy="If all files of the source are Parquet files, let their names and TAXI_SOURCE_URL end in .parquet.",
):
    """The name of the file is that of a CSV, but it is a Parquet file."""


class SpreadsheetFile(
    NotACsv,
    slug="spreadsheet-file",
    remedy="Use the original CSV file. A spreadsheet program changes the form of dates, and drops rows after row "
    "1,048,576.",
):
    """The file is a workbook of Excel or of another spreadsheet program."""


class WrongEncoding(
    NotACsv,
    slug="wrong-encoding",
    remedy="Replace the file with the output of: {command}",
):
    """The file is a text in UTF-16 or UTF-32. PowerShell and Excel write such files."""


class WrongLineEndings(
    BadFile,
    slug="wrong-line-endings",
    remedy="Replace the file with the output of: {command}",
):
    """The lines of the file end in carriage returns without line feeds, as on classic Mac OS."""


class NotParquet(
    BadFile,
    slug="not-parquet",
    remedy="Check what {address} contains, and whether it requires a login. The suffix in TAXI_SOURCE_URL says which "
    "format the files of the source have: .parquet, .csv or .csv.gz.",
):
    """The name of the file ends in .parquet, but it is a web page, such as a login form, or has another format."""


class BadColumnType(
    BadFile,
    slug="bad-column-type",
    remedy="Check the file at the source: it may belong to another color, or another program may have written it.",
):
    """A column of a Parquet file has a type whose values cannot be converted to those of the column."""


class CorruptFile(BadFile, slug="corrupt-file", remedy="Replace the file at the source, then load the month again."):
    """The file is damaged or truncated."""


class EmptyFile(BadFile, slug="empty-file", remedy="Check the file at the source, or load the month again later."):
    """The file is empty, or has a header but no rows."""


class TooManyRejects(
    BadInput,
    slug="too-many-rejects",
    remedy="Check the file at the source. To load the month without the rejected rows, increase TAXI_REJECT_LIMIT.",
):
    """More rows were rejected than TAXI_REJECT_LIMIT allows. The month was not published."""


class ManyInvalidRows(
    TooManyRejects,
    slug="many-invalid-rows",
    remedy="The rows do not have the form of the TLC's files. Compare the rejected row with a file of another month, "
    "and replace the file at the source.",
):
    """So many rows are invalid that something is wrong with the file. The month was not published.

    A higher TAXI_REJECT_LIMIT would load only a part of the month.
    """


class WrongTimestamps(
    ManyInvalidRows,
    slug="wrong-timestamps",
    remedy="Write timestamps as YYYY-MM-DD HH:MM:SS. In a spreadsheet program, set the format of these columns to "
    "yyyy-mm-dd hh:mm:ss before you save. With pandas: to_csv(NEW, index=False, date_format='%Y-%m-%d %H:%M:%S')",
):
    """Timestamps in the file have another form than in the TLC's files. The month was not published.

    For example, Excel replaces them when it saves a CSV.
    """


class NoValidRows(
    TooManyRejects,
    slug="no-valid-rows",
    remedy="Look at the file at the source, and replace it with a file in the TLC's format.",
):
    """No row of the file that was read is valid. Nothing is published."""


class WrongMonth(
    BadInput,
    slug="wrong-month",
    remedy="Replace the file at the source. If the file is correct, raise TAXI_OUTSIDE_MONTH_LIMIT.",
):
    """Most trips of the file start outside its month, so it is probably the file of another month."""


class WrongDelimiter(
    BadHeader,
    slug="wrong-delimiter",
    remedy="Write the file with commas, for example with pandas: "
    "pandas.read_csv(OLD, sep={delimiter}, dtype=str).to_csv(NEW, index=False)",
):
    """The values of the file are separated by semicolons, tabs or vertical bars instead of commas.

    In many languages, Excel separates the values of a CSV with semicolons.
    """


class SeparatorLine(
    BadHeader,
    slug="separator-line",
    remedy="Delete the first line of the file, and separate the values with commas.",
):
    """The first line of the file is an instruction for Excel, such as `sep=;`, instead of the header."""


class MissingHeader(
    BadHeader,
    slug="missing-header",
    remedy="If the columns are in this order, add this line at the start of the file: {expected}",
):
    """The first line of the file is not a header with the names of the columns, but data."""


class UnnamedColumn(
    BadHeader,
    slug="unnamed-column",
    remedy="If pandas wrote the file, write it without the index: DataFrame.to_csv(path, index=False). Otherwise "
    "remove the extra separator from every line.",
):
    """A column of the file has no name: an index at the start, or an extra separator at the end of each line."""


class InvalidZones(
    BadInput,
    slug="invalid-zones",
    remedy="Replace the file at the source, or remove it to use the built-in zones. Then run the job load_zones.",
):
    """The file of taxi zones does not have the expected columns, or does not list each of the 265 zones once."""


# Files, tables and counts of a month


class MissingUpstream(
    TaxiAssetsError,
    slug="missing-upstream",
    group="The data of a month",
    remedy="Load it first: taxi materialize --color {color} --months {month} --select +{asset}",
):
    """A file or object that an asset reads does not exist. It may be on another machine."""


class UnsupportedInput(
    TaxiAssetsError,
    slug="unsupported-input",
    group="The data of a month",
    remedy="Change the type annotation of the parameter, or python_type. docs/extend.md lists the types.",
):
    """An asset or a notebook requests a type that the upstream asset cannot be loaded as."""


class UnknownColumn(
    TaxiAssetsError,
    slug="unknown-column",
    group="The data of a month",
    remedy="Use the names in docs/data-dictionary.md, in the same letter case. In Postgres, they are in lowercase.",
):
    """The metadata of an input names a column that the asset does not have."""


class NoPartitionKey(
    TaxiAssetsError,
    slug="no-partition-key",
    group="The data of a month",
    remedy='Add partition_key="2020-03" to load_asset_value.',
):
    """A month was requested without the partition key that says which one."""


class NothingLoaded(
    TaxiAssetsError,
    slug="nothing-loaded",
    group="The data of a month",
    remedy="Load a month first, for example: taxi materialize --color {color} --months 2021-01",
):
    """The warehouse or the table in a query does not exist yet."""


class NotComputed(
    TaxiAssetsError,
    slug="not-computed",
    group="The data of a month",
    remedy="Compute it for a month that is loaded (taxi status lists them): "
    "taxi materialize --color {color} --months MONTH --select marts",
):
    """The table of a mart, such as daily_trips, does not exist yet."""


class ZonesNotLoaded(
    TaxiAssetsError,
    slug="zones-not-loaded",
    group="The data of a month",
    remedy="Run the job load_zones in the UI, or compute the marts of a loaded month, which also loads the zones: "
    "taxi materialize --color COLOR --months MONTH --select marts",
):
    """The table of taxi zones in a query does not exist yet."""


class DamagedFile(
    TaxiAssetsError,
    slug="damaged-file",
    group="The data of a month",
    remedy="Create it again: taxi materialize --color {color} --months {month} --select {asset}+",
):
    """A Parquet file in TAXI_HOME or in the lake is damaged, or does not contain trips of its color."""


class ForeignObject(
    TaxiAssetsError,
    slug="foreign-object",
    group="The data of a month",
    remedy="Move it away, or replace it with: taxi materialize --color {color} --months {month} --overwrite",
):
    """An object in the lake has the name of a month, but this project did not write it.

    It is neither loaded nor replaced.
    """


class CountMismatch(
    TaxiAssetsError,
    slug="count-mismatch",
    group="The data of a month",
    remedy="The month was not published. Report this as a bug, and include the month and the source.",
):
    """Two counts of the same rows differ, so rows were lost or duplicated."""


class InputChanged(
    CountMismatch,
    slug="input-changed",
    remedy="Run {asset} and everything downstream again: taxi materialize --color {color} --months {month} "
    "--select {asset}+",
):
    """A file or object does not have the expected number of rows, or has rows of another month."""


class SchemaMismatch(
    TaxiAssetsError,
    slug="schema-mismatch",
    group="The data of a month",
    remedy="The month was not published. Report this as a bug, and include the month and the source.",
):
    """A file that a step wrote does not have the columns and types that are declared for its color."""


class StoreMismatch(
    TaxiAssetsError,
    slug="store-mismatch",
    group="The data of a month",
    remedy="Another program may have changed the data. The check {check} shows all values that differ. Run {asset} "
    "again: taxi materialize --color {color} --months {month} --select {asset}",
):
    """The row count, sums or missing values in a store differ from those of the file that was loaded."""


# Stores in general


class StoreError(TaxiAssetsError, slug="store-error", group="Stores"):
    """A store rejected a request. The message gives the reason."""


class StoreUnreachable(
    StoreError, slug="store-unreachable", remedy="Check the connection, then run the command again."
):
    """A store did not respond, was temporarily unavailable, or closed the connection."""


class StoreBusy(
    StoreError,
    slug="store-busy",
    remedy="Wait until the other process finishes, or stop it, then run the command again.",
):
    """Another process, connection or run is using the same month or file."""


class ReplacedByAnotherRun(
    StoreBusy, slug="replaced-by-another-run", remedy="Run {asset} again after the other run has finished."
):
    """Another run replaced the data of this month at the same time."""


class IncompatibleTable(
    StoreError,
    slug="incompatible-table",
    remedy="Rename the table (ALTER TABLE {table} RENAME TO ...), or configure another database or dataset. Then load "
    "the months again.",
):
    """A table has the expected name, but different columns or partitioning. The table was not changed."""


class BadQuery(
    StoreError,
    slug="bad-query",
    remedy="Fix the query.",
):
    """The SQL of a query is invalid, or would change data."""


class OutputStalled(
    StoreError,
    slug="output-stalled",
    remedy="Write the result to a file: taxi query --parquet FILE, or taxi query --csv ... > FILE.",
):
    """The program that reads the output of `taxi query --csv` or `--json`, such as a pager, stopped reading.

    Until the query ends, no month can be loaded into the DuckDB warehouse.
    """


class UnknownTable(
    BadQuery,
    slug="unknown-table",
    remedy="Fix the name of the table. The tables of trips are yellow_taxi_trips, green_taxi_trips, fhv_taxi_trips and "
    "fhvhv_taxi_trips. Each exists once a month of its color has been loaded.",
):
    """A query names a table that does not exist."""


class NotificationFailed(
    StoreError,
    slug="notification-failed",
    remedy="Check TAXI_ALERT_URLS, then send a test message: taxi doctor --alert",
):
    """A notification channel rejected a message, could not be reached, or did not respond in time."""


# Access to the source


class SourceUnreachable(
    StoreUnreachable,
    slug="source-unreachable",
    group="The source and its files",
    remedy="Check the network and the proxy, and whether the address opens in a browser. Then run the command again.",
):
    """The source's server did not respond, or its response was incomplete, invalid or a temporary error."""


class SourceHostNotFound(
    StoreError,
    slug="source-host-not-found",
    group="The source and its files",
    remedy="Check the network and the proxy of this machine, and the spelling of the host in TAXI_SOURCE_URL. Then run "
    "the command again.",
):
    """The name of the source's host has no address. Either the name is wrong, or this machine is offline."""


class SourceRejected(
    StoreError,
    slug="source-rejected",
    group="The source and its files",
    remedy="Open the address in a browser to see what the server says: it may require a login or limit requests.",
):
    """The source's server rejected the request, and a retry would not help."""


class SourceForbidden(
    StoreError,
    slug="source-forbidden",
    group="The source and its files",
    remedy="Wait a few minutes, then run the command again with fewer workers. Check whether the proxy or the network "
    "of this machine is blocked, and whether {address} opens in a browser.",
):
    """The source's server rejects all requests, also for months that it has."""


class SourceRateLimited(
    StoreError,
    slug="source-rate-limited",
    group="The source and its files",
    remedy="Run the command again after that delay.",
):
    """The source's server limits the number of requests, and asks for a longer delay than a run waits."""


class SourceTlsError(
    StoreError,
    slug="source-tls",
    group="The source and its files",
    remedy="Check the address and the clock of this machine. If your network uses its own certificates, set "
    "REQUESTS_CA_BUNDLE to the path of the certificate file.",
):
    """No secure connection is possible: the server's certificate is not trusted, or the server does not support TLS."""


class SourceAddressInvalid(
    StoreError, slug="source-address", group="The source and its files", remedy="Check TAXI_SOURCE_URL."
):
    """The URL of a month is invalid, or has too many redirects."""


class SourceFolderMissing(
    StoreError,
    slug="source-folder-missing",
    group="The source and its files",
    remedy="Check TAXI_SOURCE_URL, and make sure that the disk is mounted.",
):
    """The source is a folder that does not exist."""


class BadShapes(
    BadInput,
    slug="bad-zone-shapes",
    remedy="Use the TLC's taxi_zones.zip, https://d37ci6vzurychx.cloudfront.net/misc/taxi_zones.zip. If the file was "
    "downloaded, delete it, and the next report downloads it again.",
):
    """The file with the shapes of the taxi zones is damaged, or is not a shapefile of taxi zones."""


class EmptySource(
    StoreError,
    slug="empty-source",
    group="The source and its files",
    remedy="Check TAXI_SOURCE_URL. If the source starts later, set TAXI_FIRST_MONTH to its first month. To generate "
    "sample months in a folder, run: taxi sample FOLDER --color COLOR --months MONTHS",
):
    """The source has no month: the folder is empty, or the server has none of the months that it should have."""


class OtherLayout(
    EmptySource,
    slug="other-source-layout",
    remedy="To read files with such names, run: export TAXI_SOURCE_URL={template}",
):
    """No file in the source folder has the expected name, but similar files exist.

    The remedy shows the value of TAXI_SOURCE_URL with which they are read.
    """


class SourceUnreadable(
    StoreError,
    slug="source-unreadable",
    group="The source and its files",
    remedy="Change the owner or the permissions of the file.",
):
    """The source has the file of a month, but this user cannot read it."""


# The machine


class DiskFull(
    StoreError,
    slug="disk-full",
    group="The machine",
    remedy="Free some space, or set TAXI_HOME to a folder on another disk. Then run the command again. Existing data "
    "did not change.",
):
    """The disk is full, or a disk quota has been reached."""


class OutOfMemory(
    StoreError,
    slug="out-of-memory",
    group="The machine",
    remedy="Use fewer workers (--workers 1), close other programs, or raise the limit: ulimit -v unlimited in a shell, "
    "or the memory of the container. Then run the command again. Existing data did not change.",
):
    """The process could not allocate memory, start a thread or load a library, or the system killed it.

    The memory of the machine is used up, or that of the container, or the process has a limit (`ulimit -v`).
    """


class NoPermission(
    StoreError,
    slug="no-permission",
    group="The machine",
    remedy="Run the command as the owner of {path}, give this user permission, or use another folder.",
):
    """This user is not allowed to read or write a file or folder."""


class ReadOnlyDisk(
    StoreError,
    slug="read-only-disk",
    group="The machine",
    remedy="Mount the file system for writing, or use another folder.",
):
    """The file system is mounted read-only."""


class WrongFileType(
    StoreError, slug="wrong-file-type", group="The machine", remedy="Move {path} away, or use another folder."
):
    """There is a file where a folder is expected, or a folder where a file is expected."""


class PathTooLong(StoreError, slug="path-too-long", group="The machine", remedy="Use a folder with a shorter path."):
    """The path of a file is longer than the file system or PostgreSQL allows."""


class DiskError(
    StoreError,
    slug="disk-error",
    group="The machine",
    remedy="The disk may be failing. Check the system log, and use a folder on another disk.",
):
    """The disk reported an input/output error."""


class PortInUse(
    StoreError,
    slug="port-in-use",
    group="The machine",
    remedy="Stop the other program, or use another port, such as {free_port}. For the UI, use taxi dev --port. For "
    "the embedded PostgreSQL server, set TAXI_POSTGRES_PORT.",
):
    """Another program is using the port, often an earlier `taxi dev` or another PostgreSQL server."""


class PortNotPermitted(
    StoreError,
    slug="port-not-permitted",
    group="The machine",
    remedy="Use another port, such as {free_port}, or run the command as root. For the UI, use taxi dev --port. For "
    "the embedded PostgreSQL server, set TAXI_POSTGRES_PORT.",
):
    """This user is not allowed to listen on the port."""


class AddressNotAvailable(
    StoreError,
    slug="address-not-available",
    group="The machine",
    remedy="Use 127.0.0.1 or another address of this machine.",
):
    """The UI cannot listen on the address, because it is not an address of this machine."""


# DuckDB


class DamagedWarehouse(
    StoreError,
    slug="damaged-warehouse",
    group="The warehouse in DuckDB",
    remedy="Move {path} away together with {path}.wal, then load its months again. The lake still has them: taxi "
    "materialize --color all --months MONTHS --select warehouse_trips",
):
    """The warehouse file is damaged, or is not a DuckDB database."""


class DuckDBError(
    StoreError,
    slug="duckdb-error",
    group="The warehouse in DuckDB",
    remedy="Fix the cause that DuckDB reports.",
):
    """DuckDB could not open, create or use the warehouse file."""


class WarehouseOpenElsewhere(
    StoreBusy,
    slug="warehouse-open-elsewhere",
    group="The warehouse in DuckDB",
    remedy="Close the file in the other program, then run the command again.",
):
    """Another program, such as a notebook or DBeaver, has the DuckDB file open, so no other process can open it."""


# PostgreSQL


class PostgresUnreachable(
    StoreUnreachable,
    slug="postgres-unreachable",
    group="PostgreSQL",
    remedy="Check that the server is running and that TAXI_POSTGRES_URL is correct. In a container, localhost is the "
    "container itself, not the host.",
):
    """The PostgreSQL server does not respond, is starting or stopping, or has too many connections."""


class PostgresHostNotFound(
    StoreError,
    slug="postgres-host-not-found",
    group="PostgreSQL",
    remedy="Check the spelling of the host in TAXI_POSTGRES_URL, and the network of this machine. Then run the command "
    "again.",
):
    """The name of the PostgreSQL server's host has no address."""


class PostgresLoginFailed(
    StoreError,
    slug="postgres-login",
    group="PostgreSQL",
    remedy="Check the user, password and database in TAXI_POSTGRES_URL.",
):
    """The PostgreSQL server rejected the user, the password, the database or the encryption of the connection."""


class PostgresConnectionLost(
    StoreUnreachable,
    slug="postgres-connection-lost",
    group="PostgreSQL",
    remedy="Nothing was changed. Run the command again.",
):
    """The connection to the PostgreSQL server was lost, or the server ended the transaction."""


class PostgresError(
    StoreError, slug="postgres-error", group="PostgreSQL", remedy="Fix the cause that PostgreSQL reports."
):
    """PostgreSQL rejected a statement."""


class PostgresPrivilege(
    StoreError,
    slug="postgres-privilege",
    group="PostgreSQL",
    remedy="Ask the owner of the database to run GRANT CREATE, USAGE ON SCHEMA public TO NAME, with the name of the "
    "user in TAXI_POSTGRES_URL. This user must also own the trip tables if they exist. Or use another user.",
):
    """The PostgreSQL user is not allowed to create or change the trip tables."""


class PostgresDiskFull(
    StoreError,
    slug="postgres-disk-full",
    group="PostgreSQL",
    remedy="Nothing was changed. Free space on the server's disk, then run the command again.",
):
    """The disk of the PostgreSQL server is full."""


class PostgresReadOnly(
    StoreError,
    slug="postgres-read-only",
    group="PostgreSQL",
    remedy="Set TAXI_POSTGRES_URL to a primary server, not a standby.",
):
    """The PostgreSQL server or the transaction is read-only, for example because the server is a standby."""


class TableLocked(
    StoreBusy,
    slug="table-locked",
    group="PostgreSQL",
    remedy="Nothing was changed. Wait until the other connection finishes, or close it. Then run the command again. To "
    "list the connections, run: SELECT pid, state, query FROM pg_stat_activity",
):
    """Another connection, often an idle transaction in a client, has a lock on the table."""


class EmbeddedPostgresError(
    StoreError,
    slug="embedded-postgres",
    group="PostgreSQL",
    remedy="Fix the cause that the log shows, most often a full disk. Then run the command again.",
):
    """The embedded PostgreSQL server, or one of its programs, failed."""


class EmbeddedPostgresStarting(
    StoreBusy,
    slug="embedded-postgres-starting",
    group="PostgreSQL",
    remedy="Check the server's log, run taxi stop, then run the command again.",
):
    """The embedded PostgreSQL server was still starting or stopping after the time limit."""


class EmbeddedPostgresPort(
    StoreError,
    slug="embedded-postgres-port",
    group="PostgreSQL",
    remedy="Run taxi stop. The next command starts the server on the configured port.",
):
    """The embedded PostgreSQL server was started before TAXI_POSTGRES_PORT was set or changed."""


class SocketFolderTaken(
    StoreError,
    slug="postgres-socket-folder",
    group="PostgreSQL",
    remedy="Delete the folder of the socket, or set TAXI_HOME to a shorter path without commas.",
):
    """The folder for the socket of the embedded PostgreSQL server belongs to another user, or others can access it.

    The socket is in this folder because the path of TAXI_HOME is too long for a socket or contains a comma.
    """


class PostgresAsRoot(
    StoreError,
    slug="postgres-as-root",
    group="PostgreSQL",
    remedy="Create that system user, or run the command as a user other than root.",
):
    """PostgreSQL does not run as root, and the system user that runs it instead cannot be created."""


# Google Cloud


class InvalidCredentials(
    SettingsError,
    slug="invalid-credentials",
    group="Google Cloud",
    remedy="Set TAXI_GCP_CREDENTIALS to the JSON of a service account key, plain or encoded in base64. To use other "
    "credentials, unset it and set GOOGLE_APPLICATION_CREDENTIALS to the path of their file. For examples, see "
    "docs/google-cloud.md.",
):
    """TAXI_GCP_CREDENTIALS is not a valid service account key. The value is not shown because it is a secret."""


class NoCredentials(
    SettingsError,
    slug="no-credentials",
    group="Google Cloud",
    remedy="Set TAXI_GCP_CREDENTIALS to a service account key, or set GOOGLE_APPLICATION_CREDENTIALS to the path of a "
    "credentials file, or run: gcloud auth application-default login",
):
    """No usable credentials for Google Cloud were found."""


class NoProject(
    SettingsError,
    slug="no-google-project",
    group="Google Cloud",
    remedy="Set GOOGLE_CLOUD_PROJECT, or set TAXI_GCP_CREDENTIALS to a service account key, which contains a project.",
):
    """The lake is in a bucket, but neither the credentials nor a setting contains the Google Cloud project to use."""


class LakeNotInBucket(
    SettingsError,
    slug="lake-not-in-bucket",
    group="Google Cloud",
    remedy="Set TAXI_LAKE_URL to gs://BUCKET, then run lake_trips again.",
):
    """BigQuery can only load from a bucket, but the month's file in the lake is in a folder."""


class GoogleError(StoreError, slug="google-error", group="Google Cloud", remedy="Fix the cause that Google reports."):
    """Google rejected a request."""


class GoogleUnreachable(
    StoreUnreachable,
    slug="google-unreachable",
    group="Google Cloud",
    remedy="Check the network and the proxy. Make sure that STORAGE_EMULATOR_HOST and BIGQUERY_EMULATOR_HOST are not "
    "set by mistake. Then run the command again.",
):
    """Google cannot be reached, or a temporary error lasted longer than the retries."""


class GoogleTlsError(
    StoreError,
    slug="google-tls",
    group="Google Cloud",
    remedy="Check the clock of this machine. If your network uses its own certificates, set REQUESTS_CA_BUNDLE to the "
    "path of the certificate file.",
):
    """No secure connection to Google is possible, usually because a certificate is not trusted."""


class GoogleLogin(
    StoreError,
    slug="google-login",
    group="Google Cloud",
    remedy="Set TAXI_GCP_CREDENTIALS to a valid key, or log in again: gcloud auth application-default login",
):
    """Google rejected the credentials. Usually, the key was deleted or the login has expired."""


class GooglePermission(
    StoreError,
    slug="google-permission",
    group="Google Cloud",
    remedy="Grant the account {roles}. For the commands, see docs/google-cloud.md.",
):
    """The account does not have a role that the request needs."""


class GoogleQuota(
    StoreError,
    slug="google-quota",
    group="Google Cloud",
    remedy="Run fewer months at once, try again later, or request a higher quota in the Google Cloud console, under "
    "IAM & Admin > Quotas.",
):
    """A quota of the project has been exceeded."""


class GoogleRateLimit(
    StoreUnreachable,
    slug="google-rate-limit",
    group="Google Cloud",
    remedy="Run fewer months at once, try again later, or request a higher quota in the Google Cloud console, under "
    "IAM & Admin > Quotas.",
):
    """Google limited the rate of requests, and retries did not help."""


class GoogleBilling(
    StoreError,
    slug="google-billing",
    group="Google Cloud",
    remedy="Link a billing account to the project: see step 2 in docs/google-cloud.md.",
):
    """The project has no active billing account."""


class UploadInterrupted(
    StoreUnreachable,
    slug="upload-interrupted",
    group="Google Cloud",
    remedy="Run the command again.",
):
    """An upload was interrupted, or the checksum of the object does not match that of the file."""


class BucketNameTaken(
    StoreError,
    slug="bucket-name-taken",
    group="Google Cloud",
    remedy="Choose another bucket name in TAXI_LAKE_URL. Bucket names are globally unique.",
):
    """The bucket name belongs to another project."""


class CannotCreate(
    StoreError,
    slug="cannot-create",
    group="Google Cloud",
    remedy="Check the bucket name in TAXI_LAKE_URL, the dataset name in TAXI_WAREHOUSE_URL, and the location in "
    "TAXI_BIGQUERY_LOCATION, such as US, EU or europe-west1.",
):
    """Google rejected the name or the location of a new bucket or dataset."""


class WrongLocation(
    StoreError,
    slug="wrong-location",
    group="Google Cloud",
    remedy="Set TAXI_BIGQUERY_LOCATION to the existing location, or use another bucket in TAXI_LAKE_URL or another "
    "dataset in TAXI_WAREHOUSE_URL. Keep the bucket and the dataset in the same location.",
):
    """The dataset is not in the configured location, or BigQuery cannot load from the location of the bucket."""


class TablesExpire(
    StoreError,
    slug="tables-expire",
    group="Google Cloud",
    remedy="If the project has no billing account, link one: projects without billing have such limits. Then run: "
    "{command}",
):
    """Tables or partitions of the dataset expire so early that most months would be deleted right after the load."""


class LoadJobFailed(
    StoreError,
    slug="load-job-failed",
    group="Google Cloud",
    remedy="The month in BigQuery did not change. Run lake_trips and then warehouse_trips again. If the error persists,"
    " the object in the lake does not match the table.",
):
    """A BigQuery load job failed."""


class LoadJobInterrupted(
    StoreUnreachable,
    slug="load-job-interrupted",
    group="Google Cloud",
    remedy="The month in BigQuery did not change. Run the command again later.",
):
    """A BigQuery load job failed several times with a temporary error."""


class LoadJobRunning(
    StoreBusy,
    slug="load-job-running",
    group="Google Cloud",
    remedy="The job continues in BigQuery. If you run the command again, it waits for the job. To see the status of "
    "the job, run: {command}",
):
    """A BigQuery load job has not finished within the time limit."""


class TooManyLoadJobs(
    StoreError,
    slug="too-many-load-jobs",
    group="Google Cloud",
    remedy="Try again tomorrow. If another account started the jobs, use that account, or grant this account {roles}.",
):
    """The same object was loaded too often today, or its load jobs belong to another account."""


TRANSIENT = (StoreUnreachable, StoreBusy)
"""Transient errors, which a retry may resolve. No other error is retried."""
