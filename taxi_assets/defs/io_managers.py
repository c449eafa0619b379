"""I/O managers: they publish the file that a step staged, and load months for downstream assets.

A step writes its file completely and verifies it before it yields the file, so an I/O manager only receives complete
files. A transient error of a store retries the step, just like a transient error in the step's own code.

Not here: where files are stored and how they are published (`stores`), and what a downstream asset gets (`inputs`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from taxi_assets.defs.inputs import load_trips
from taxi_assets.defs.metadata import file_metadata, size_metadata
from taxi_assets.defs.retries import translate_errors
from taxi_assets.errors import UnsupportedInput
from taxi_assets.partitions import month_of
from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.google.addresses import object_link
from taxi_assets.stores.lake import Lake, LakeObject, damage_reported
from taxi_assets.stores.postgres.store import PostgresStore
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc import parquet
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth

if TYPE_CHECKING:
    import pyarrow as pa


class AssetTrips(dg.IOManager):
    """Base of the I/O managers: months are loaded as the type that the downstream asset declares."""

    def load_input(self, context: dg.InputContext) -> object:
        """Return the input's partitions as the type of its annotation. Raises what `load_trips` raises."""
        with translate_errors(_step(context)):
            return load_trips(self, context)

    @property
    @abstractmethod
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """The types other than data frames, and what loads a month as each of them."""

    @abstractmethod
    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Return the columns of an asset's months."""

    @abstractmethod
    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield a month in parts, with these columns."""


class AssetFiles(AssetTrips):
    """Base of the I/O managers of files. A subclass implements how a month is published and found."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401  # differs by subclass
        """Publish what the step staged. A transient error retries the step."""
        with translate_errors(context.step_context):
            self.publish(context, obj)

    @abstractmethod
    def publish(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401
        """Publish the staged value, and add its location and size to the output's metadata."""

    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Return the columns of the Parquet files of the asset's color."""
        return LAYOUTS[asset.path[0]].arrow_schema()


class RawFiles(AssetFiles):
    """Stores raw files in TAXI_HOME."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def publish(self, context: dg.OutputContext, obj: StagedFile | Path) -> None:
        """Publish a staged raw file. A path means that the file is unchanged and already published."""
        with obj if isinstance(obj, StagedFile) else nullcontext():
            path = self._home.publish_raw(_output_month(context), obj) if isinstance(obj, StagedFile) else obj
        context.add_output_metadata(file_metadata(path))

    @property
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """The path of a month's raw file."""
        return dict.fromkeys((Path, Any), self._home.find_raw)

    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Raise UnsupportedInput: the columns and values of raw files differ by month."""
        raise UnsupportedInput(
            f'"{asset.to_user_string()}" cannot be loaded as a data frame, because the columns and types of raw files '
            f'differ by month. Expected Path, or the data frame of "{asset.path[0]}/clean_trips".',
            asset=asset.path[-1],
        )

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":  # noqa: ARG002
        """Yield nothing: `schema` refuses."""
        yield from ()


class CleanFiles(AssetFiles):
    """Stores clean files, and the files with rejected lines, in TAXI_HOME."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def publish(self, context: dg.OutputContext, obj: StagedClean) -> None:
        """Publish the files with the clean rows and the rejected lines."""
        with obj.rows, obj.rejected or nullcontext():
            path = self._home.publish_clean(_output_month(context), obj)
        context.add_output_metadata(file_metadata(path))

    @property
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """The path of a month's clean file."""
        return dict.fromkeys((Path, Any), self._home.find_clean)

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the row groups of a month's clean file. Raises MissingUpstream and DamagedFile."""
        path = self._home.find_clean(month)
        with damage_reported(month, str(path), "clean_trips"):
            yield from parquet.read_columns(path, LAYOUTS[month.color], columns)


class LakeObjects(AssetFiles):
    """Stores months as objects in a lake. It replaces the `GcsBucket` block of the Data Engineering Zoomcamp."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def publish(self, context: dg.OutputContext, obj: StagedFile) -> None:
        """Upload the staged file to the lake as the month's object."""
        with obj:
            put = self._lake.put(_output_month(context), obj)
        uri = put.uri if put.uri.startswith("gs://") else Path(put.uri).as_uri()
        context.add_output_metadata({"dagster/uri": uri, "uri": put.uri, **size_metadata(put.bytes)})
        if put.generation is not None:
            link = dg.MetadataValue.url(object_link(put.uri))
            context.add_output_metadata({"generation": str(put.generation), "console": link})

    @property
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """The path of a month's object if the lake is a folder, and the object, which the warehouse loads."""
        return {Path: self._path, Any: self._lake.find, LakeObject: self._lake.find}

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the row groups of a month's object. Raises the same errors as `Lake.read`."""
        return self._lake.read(month, columns)

    def _path(self, month: TripMonth) -> Path:
        """Return the path of a month's object. Raises UnsupportedInput if the lake is a bucket."""
        found = self._lake.find(month)
        if not found.uri.startswith("gs://"):
            return Path(found.uri)
        raise UnsupportedInput(
            f'"{found.uri}" is in a bucket, so it has no path. Expected a data frame, or the Path of '
            f'"{month.color}/clean_trips".',
            asset="lake_trips",
            seen=found.uri,
        )


class AssetTables(AssetTrips):
    """Base of the I/O managers of tables, which only load: the steps fill their tables themselves."""

    @property
    def others(self) -> Mapping[Any, Callable[[TripMonth], object]]:
        """None: a month in a table is only available as a data frame."""
        return {}

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:  # noqa: ARG002
        """Raise UnsupportedInput. Dagster does not call it for a step that yields no value."""
        raise UnsupportedInput(
            f'The I/O manager of "{context.asset_key.to_user_string()}" can only load months. Expected an asset that '
            "writes its table itself and returns no value.",
            asset=context.asset_key.path[-1],
        )


class WarehouseTables(AssetTables):
    """Loads months from the warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Return the columns of the color's table in the warehouse."""
        return LAYOUTS[asset.path[0]].arrow_table_schema()

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of a month. Raises the same errors as `Warehouse.read`."""
        return self._warehouse.read(month, columns)


class PostgresTables(AssetTables):
    """Loads months from Postgres. `open_store` starts the embedded server if it is used and not running."""

    def __init__(self, open_store: Callable[[], PostgresStore]) -> None:
        self._open_store = open_store

    def schema(self, asset: dg.AssetKey) -> "pa.Schema":
        """Return the columns of the color's table in Postgres, whose names are in lowercase."""
        return LAYOUTS[asset.path[0]].arrow_table_schema(str.lower)

    def read(self, month: TripMonth, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Yield the rows of a month. Raises the same errors as `PostgresStore.read`."""
        return self._open_store().read(month, columns)


def _output_month(context: dg.OutputContext) -> TripMonth:
    return month_of(context.asset_key, context.partition_key)


def _step(context: dg.InputContext) -> dg.StepExecutionContext | None:
    """Return the step that loads the input, or None outside of a run, such as in a notebook."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None
