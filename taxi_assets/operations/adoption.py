"""Adopt months that exist in stores but not in Dagster: report them as materializations without loading anything.

Such months come from the previous release, whose assets had different keys, or from a lake or database that was filled
in some other way. Not here: loading months (`runs`), and the command (`cli`).
"""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from taxi_assets.connections import has_postgres_data, open_home, open_lake, open_postgres, open_warehouse
from taxi_assets.errors import DamagedFile, ForeignObject, MissingUpstream, TaxiAssetsError
from taxi_assets.graph import SOURCE_TRIPS, TRIP_ASSETS, UPSTREAM
from taxi_assets.instance._dagster import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from taxi_assets.instance.opening import dagster_home, open_instance
from taxi_assets.instance.partition_status import observed_versions, read_history
from taxi_assets.instance.read_only import open_readable
from taxi_assets.keys import asset_key
from taxi_assets.partitions import partition_keys
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.files.locks import locked
from taxi_assets.stores.files.os_errors import translate_os_errors
from taxi_assets.stores.lake import Lake, LakeObject
from taxi_assets.stores.source.download import Version
from taxi_assets.tlc import parquet
from taxi_assets.tlc.raw import count_rows, fingerprint
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers, count_passengers
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import COLORS, TripMonth, format_by_color
from taxi_assets.tlc.versions import (
    CODE_VERSIONS,
    clean_version,
    code_of_clean,
    lake_version,
    postgres_version,
    version_of_clean,
    warehouse_version,
)

_ROWS = "dagster/partition_row_count"

_ADOPTED = "adopted"
"""The metadata key that marks a materialization as adopted, that is, reported here and not by a run."""

_DONE = "taxi_assets/previous_release_adopted"
"""The key in the cursor storage of the instance that is set after the previous release's months are adopted."""

_FIRST_EVENT = "1"
"""An event ID that precedes every event of an asset's input, so that Dagster considers the asset stale.

It is 1, because Dagster treats 0 as no event. In an empty instance, the first event reported here belongs to a source.
"""

_UNKNOWN = "unknown"
"""The data version of an input if no file, object or event records it."""


@dataclass(frozen=True)
class Adopted:
    """An adopted month, with the row count of each asset that was not in Dagster before."""

    month: TripMonth
    rows: Mapping[str, int]


@contextmanager
def open_upgraded(settings: Settings, *, reading: bool = False) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance in TAXI_HOME and adopt the months that the previous release loaded.

    If adoption fails, it prints a warning, and the next command tries again. With `reading`, this user need not be able
    to write to TAXI_HOME: what would be written to the history is lost then.
    """
    with (open_readable if reading else open_instance)(settings.home) as instance:
        months: list[TripMonth] = []
        try:
            for found in adopt_previous_release(settings, instance):
                if not months:
                    _print("Recognizing the months that the previous release loaded...")
                months.append(found.month)
        except TaxiAssetsError as error:
            _print(
                f"warning: not all months that the previous release loaded are recognized yet: "
                f"{error.explain()}\nAfter you fix this, run taxi adopt or any other command to try again."
            )
        if months:
            _print(f"Recognized: {format_by_color(months)}")
        yield instance


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def adopt_previous_release(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Adopted]:
    """Adopt the months that the previous release loaded, whose asset keys had no color. This runs once per instance.

    It reads only the stores that the previous release loaded. Raises the same errors as `adopt`; after an error, the
    next call runs it again.
    """
    cursors = instance.daemon_cursor_storage
    if cursors.get_cursor_values({_DONE}):
        return
    keys = set(instance.all_asset_keys())
    if loaded := [name for name in TRIP_ASSETS if dg.AssetKey(name) in keys]:
        yield from adopt(settings, instance, assets=loaded)
    cursors.set_cursor_values({_DONE: "yes"})


def adopt(
    settings: Settings,
    instance: dg.DagsterInstance,
    colors: Sequence[str] = COLORS,
    assets: Collection[str] = TRIP_ASSETS,
) -> Iterator[Adopted]:
    """Report months of `colors` that exist in the stores of `assets` but not in Dagster. Yield each after its report.

    Only months that are partitions are considered. An asset that does not match its input is reported as stale. Raises
    StoreError if a store cannot be read, and BadFile for a damaged raw file; months reported before the error remain
    reported.
    """
    # The lock prevents concurrent adoptions from reporting the same month twice.
    with locked(dagster_home(settings.home) / ".adopt.lock", waiting_for="another taxi adopt"):
        known = {history.month: history.rows for history in read_history(instance, settings)}
        stores, previous = _Stores(settings, assets), _PreviousRelease(instance)
        for color in colors:
            published = instance.get_materialized_partitions(asset_key(color, SOURCE_TRIPS))
            observed = observed_versions(instance, color)
            for key in partition_keys(settings, color):
                found = _Found(TripMonth(color, key), stores, previous, instance, observed.get(key, ""))
                new = [asset for asset in found.rows if asset not in known.get(found.month, {})]
                if new:
                    if key not in published:
                        _report_published(instance, found.month)
                    found.report(new)
                    yield Adopted(found.month, {asset: found.rows[asset] for asset in new})


def _report_published(instance: dg.DagsterInstance, month: TripMonth) -> None:
    """Report the source asset of a month as materialized, so that the UI shows the month as published."""
    event = dg.AssetMaterialization(asset_key(month.color, SOURCE_TRIPS), partition=month.month)
    instance.report_runless_asset_event(event)


@dataclass
class _Stores:
    """The stores of `assets`. The first lookup in a table reads the row counts of all its months."""

    settings: Settings
    assets: Collection[str]
    _tables: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def raw(self, month: TripMonth) -> Path | None:
        """The raw file of a month, or None if it does not exist."""
        try:
            return self._home.find_raw(month)
        except MissingUpstream:
            return None

    def clean(self, month: TripMonth) -> Path | None:
        """The clean file of a month, or None if it does not exist."""
        try:
            return self._home.find_clean(month)
        except MissingUpstream:
            return None

    def lake(self, month: TripMonth) -> LakeObject | None:
        """The lake object of a month; None if it does not exist, or if another program wrote it. Raises StoreError."""
        try:
            return self._lake.find(month) if "lake_trips" in self.assets else None
        except (MissingUpstream, ForeignObject):
            return None

    def table(self, asset: str, month: TripMonth) -> int:
        """The row count of a month in the warehouse or Postgres; 0 if it was never loaded. Raises StoreError."""
        if (asset, month.color) not in self._tables:
            self._tables[asset, month.color] = self._count(asset, month) if asset in self.assets else {}
        return self._tables[asset, month.color].get(month.month, 0)

    def _count(self, asset: str, month: TripMonth) -> dict[str, int]:
        """The row count of every month (`YYYY-MM`) in the table that contains `month`."""
        if asset == "postgres_trips" and not has_postgres_data(self.settings):
            return {}
        store = (open_warehouse if asset == "warehouse_trips" else open_postgres)(self.settings)
        if not store.total_rows(month):
            return {}
        counted = store.query(f"SELECT file_month, count(*) FROM {month.table} GROUP BY file_month")
        return {f"{day:%Y-%m}": int(rows) for day, rows in counted.rows if day}

    @cached_property
    def _home(self) -> Home:
        return open_home(self.settings)

    @cached_property
    def _lake(self) -> Lake:
        return open_lake(self.settings)


@dataclass(frozen=True)
class _Record:
    """The latest materialization of a month by the previous release. `event` is its event ID in Dagster."""

    event: int
    metadata: Mapping[str, dg.MetadataValue[Any]]
    code: str

    def value(self, name: str) -> str:
        """A metadata value; empty if it does not exist."""
        return str(self.metadata[name].value) if name in self.metadata else ""

    @property
    def rows(self) -> int:
        """The row count of the month."""
        return int(self.value(_ROWS) or 0)

    @property
    def fetched(self) -> str:
        """The source version that was downloaded, in the format of an observation; empty if it is not known."""
        if not self.metadata.keys() >= {"etag", "last_modified", "bytes"}:
            return ""
        version = Version(self.value("etag") or None, self.value("last_modified") or None)
        return version.fingerprint(int(self.value("bytes")))


class _PreviousRelease:
    """Events of the previous release in this instance. The color is in its partition keys, not in its asset keys."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def record(self, asset: str, month: TripMonth) -> _Record | None:
        """The latest materialization of a month; None if there is none or the month was wiped later."""
        key, partitions = dg.AssetKey(asset), [_previous_key(month)]
        made = self._instance.fetch_materializations(dg.AssetRecordsFilter(key, partitions), limit=1).records
        if not made or not (event := made[0].asset_materialization):
            return None
        if self._observations[asset].get(partitions[0], 0) > made[0].storage_id:
            since = dg.AssetRecordsFilter(key, partitions, after_storage_id=made[0].storage_id)
            if any(map(_is_wipe, self._instance.fetch_observations(since, limit=_MOST_OBSERVATIONS).records)):
                return None
        return _Record(made[0].storage_id, event.metadata, (event.tags or {}).get(CODE_VERSION_TAG, ""))

    @cached_property
    def _observations(self) -> Mapping[str, Mapping[str, int]]:
        """The event ID of the latest observation of each asset and partition. Almost all observations are wipes."""
        event_type, newest = dg.DagsterEventType.ASSET_OBSERVATION, self._instance.get_latest_storage_id_by_partition
        return {asset: newest(dg.AssetKey(asset), event_type) for asset in TRIP_ASSETS}

    def observed(self, month: TripMonth) -> str:
        """The latest observed source version of a month; empty if it is not known."""
        return self._observed.get(_previous_key(month), {}).get(DATA_VERSION_TAG, "")

    @cached_property
    def _observed(self) -> Mapping[str, Mapping[str, str]]:
        return self._instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey(SOURCE_TRIPS), dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG]
        )


_MOST_OBSERVATIONS = 100
"""Maximum number of observations to read after a materialization."""


def _is_wipe(record: dg.EventLogRecord) -> bool:
    return bool(record.asset_observation and "wiped" in record.asset_observation.metadata)


def _previous_key(month: TripMonth) -> str:
    return f"{month.color}|{month.month}"


class _Found:
    """The stored data of a month, and its report to Dagster.

    `observed` is the latest source version that this release observed; empty if it is not known.
    """

    def __init__(
        self, month: TripMonth, stores: _Stores, previous: _PreviousRelease, instance: dg.DagsterInstance, observed: str
    ) -> None:
        self.month = month
        self._settings, self._previous, self._instance, self._observed = stores.settings, previous, instance, observed
        self._layout = LAYOUTS[month.color]
        self._records: dict[str, _Record | None] = {}
        self._made_by_run: set[str] = set()
        self._raw, self._clean, self._lake = stores.raw(month), stores.clean(month), stores.lake(month)
        self._footer = self._read_footer()
        self.rows = self._count({name: stores.table(name, month) for name in ("warehouse_trips", "postgres_trips")})
        """The row count of each asset that exists, in pipeline order."""

    def _count(self, tables: Mapping[str, int]) -> Mapping[str, int]:
        """The row count of each asset, given the row counts in `tables`.

        Raw and clean files may be gone together with the machine that created them, such as a pod. If another store
        has the month, the counts that the previous release recorded for these files are used.
        """
        files = {"raw_trips": self._count_raw(), "clean_trips": self._footer.rows if self._footer else 0}
        counts = {**files, "lake_trips": self._lake.rows if self._lake else 0, **tables}
        if any(counts.values()):
            records = {name: self._record(name) for name, rows in files.items() if not rows}
            counts |= {name: record.rows for name, record in records.items() if record}
        return {name: rows for name, rows in counts.items() if rows}

    def _count_raw(self) -> int:
        if self._raw is None:
            return 0
        record = self._record("raw_trips")
        with translate_os_errors(self._raw):
            return record.rows if record else count_rows(self._raw)

    def _read_footer(self) -> parquet.Footer | None:
        import pyarrow as pa

        if self._clean is None:
            return None
        try:
            with translate_os_errors(self._clean):
                return parquet.read_footer(self._clean)
        except pa.ArrowInvalid as error:
            raise DamagedFile(
                f"{self._clean} is not a Parquet file, or is damaged: {error}.",
                **self.month.facts,
                asset="clean_trips",
                path=str(self._clean),
            ) from error

    def _record(self, asset: str) -> _Record | None:
        """The record of the previous release for an asset, if it matches the stored data."""
        if asset not in self._records:
            record = self._previous.record(asset, self.month)
            self._records[asset] = record if record and self._is_there(asset, record) else None
        return self._records[asset]

    def _is_there(self, asset: str, record: _Record) -> bool:
        match asset:
            case "raw_trips":
                return self._raw is None or record.value("bytes") == str(self._raw.stat().st_size)
            case "clean_trips":
                return self._footer is None or record.rows == self._footer.rows
        return record.rows == self.rows[asset]

    def report(self, new: Sequence[str]) -> None:
        """Report the `new` assets as materialized: stale ones first, the others after their inputs."""
        raw = self._record("raw_trips") if "raw_trips" in new else None
        fetched = raw.fetched if raw else ""
        seen = self._observed or (fetched and (self._previous.observed(self.month) or fetched))
        if seen and not self._observed:
            key, tags = asset_key(self.month.color, SOURCE_TRIPS), {DATA_VERSION_TAG: seen}
            self._instance.report_runless_asset_event(dg.AssetObservation(key, partition=self.month.month, tags=tags))
        versions, fits = {SOURCE_TRIPS: seen} if seen else {}, {}
        for asset in self.rows:
            made_from = versions.get(UPSTREAM[asset])
            if asset in new:
                fits[asset] = fetched in ("", seen) if asset == "raw_trips" else self._fits(asset, made_from)
                # The version of a stale asset differs from that of a new run, so its downstream assets are stale, too.
                versions[asset] = self._version(asset, made_from if made_from and fits[asset] else _UNKNOWN)
            else:
                versions[asset] = self._read_known(asset)
        for asset in sorted(new, key=lambda name: fits[name]):
            pointer = self._instance.event_log_storage.get_maximum_record_id() if fits[asset] else _FIRST_EVENT
            self._report(asset, versions[asset], str(pointer) if UPSTREAM[asset] in versions else NULL_EVENT_POINTER)

    def _report(self, asset: str, version: str, pointer: str) -> None:
        record, upstream = self._record(asset), asset_key(self.month.color, UPSTREAM[asset])
        self._instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key(self.month.color, asset),
                description="Recognized: the store already contained this month",
                partition=self.month.month,
                metadata={**(record.metadata if record else {}), _ROWS: self.rows[asset], _ADOPTED: True},
                tags={
                    DATA_VERSION_TAG: version,
                    CODE_VERSION_TAG: (record and record.code) or self._code_version(asset),
                    get_input_data_version_tag(upstream): _ADOPTED,
                    get_input_event_pointer_tag(upstream): pointer,
                },
            )
        )

    def _code_version(self, asset: str) -> str:
        """The code version of stored data that no release recorded."""
        recorded = code_of_clean(self._footer) if asset == "clean_trips" and self._footer else ""
        return recorded or CODE_VERSIONS[asset]

    def _read_known(self, asset: str) -> str:
        """Read the data version of an asset from Dagster, and remember whether a run materialized it."""
        wanted = dg.AssetRecordsFilter(asset_key(self.month.color, asset), [self.month.month])
        newest = self._instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
        if newest and _ADOPTED not in newest.metadata:
            self._made_by_run.add(asset)
        return ((newest and newest.tags) or {}).get(DATA_VERSION_TAG, "")

    def _fits(self, asset: str, made_from: str | None) -> bool:
        """Whether an asset matches the current version of its input, `made_from`, as far as that can be determined.

        `made_from` is None if the input does not exist, and empty if its version is not recorded.
        """
        if made_from is None:
            return True
        if made_from and asset == "clean_trips" and self._footer:
            return self._footer.source == made_from and code_of_clean(self._footer) != ""
        if made_from and asset == "lake_trips" and self._lake and self._lake.version:
            return self._lake.version in {lake_version(made_from, self._layout, rule) for rule in MissingPassengers}
        return self._is_newer(asset) and self._has_rows_of_input(asset)

    def _is_newer(self, asset: str) -> bool:
        """Whether an asset from the previous release is newer than its input. True if that is not known."""
        made, source = self._record(asset), self._record(UPSTREAM[asset])
        if made and UPSTREAM[asset] in self._made_by_run:
            return False
        return not (made and source) or made.event > source.event

    def _has_rows_of_input(self, asset: str) -> bool:
        rows, before = self.rows[asset], self.rows[UPSTREAM[asset]]
        if asset == "postgres_trips" and self._clean:
            return rows in (before, before - count_passengers(self._clean, self._layout)[1])
        return rows <= before if asset in ("clean_trips", "postgres_trips") else rows == before

    def _version(self, asset: str, made_from: str) -> str:
        """The data version of the stored data, as a run would report it for input version `made_from`."""
        record = self._record(asset)
        rule = record.value("rule") if record else ""
        match asset:
            case "raw_trips":
                return (record and record.value("sha256")) or (fingerprint(self._raw) if self._raw else _UNKNOWN)
            case "clean_trips":
                return version_of_clean(self._footer) if self._footer else clean_version(made_from)
            case "lake_trips":
                missing = MissingPassengers(rule or self._settings.missing_passengers)
                return (self._lake and self._lake.version) or lake_version(made_from, self._layout, missing)
            case "warehouse_trips":
                return warehouse_version(made_from)
        return postgres_version(made_from, self._layout, ZeroPassengers(rule or self._settings.zero_passengers))
