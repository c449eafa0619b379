"""I/O managers: they publish the file that a step staged, and load published files for downstream steps.

A step writes its file completely and verifies it before it yields the file, so an I/O manager only receives complete
files. A transient error of a store retries the step, just like a transient error in the step's own code.

Not here: where files are stored and how they are published (`stores`).
"""

from abc import abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg

from taxi_assets.defs.metadata import file_metadata, size_metadata
from taxi_assets.defs.retries import translate_errors
from taxi_assets.partitions import month_of
from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets.stores.google.gcs import console_link
from taxi_assets.stores.lake import Lake, LakeObject
from taxi_assets.tlc.trips import TripMonth


class AssetFiles(dg.IOManager):
    """Base of the I/O managers. A subclass implements how a month is published and found."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401  # differs by subclass
        """Publish what the step staged. A transient error retries the step."""
        with translate_errors(context.step_context):
            self.publish(context, obj)

    def load_input(self, context: dg.InputContext) -> object:
        """Return what is published for the upstream partition. Raises MissingUpstream if nothing is."""
        month = month_of(context.asset_key, context.asset_partition_key)
        with translate_errors(_step(context)):
            return self.find(month)

    @abstractmethod
    def publish(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401
        """Publish the staged value, and add its location and size to the output's metadata."""

    @abstractmethod
    def find(self, month: TripMonth) -> object:
        """Return what is published for a month. Raises MissingUpstream if nothing is."""


class RawFiles(AssetFiles):
    """Stores raw files in TAXI_HOME."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def publish(self, context: dg.OutputContext, obj: StagedFile | Path) -> None:
        """Publish a staged raw file. A path means that the file is unchanged and already published."""
        with obj if isinstance(obj, StagedFile) else nullcontext():
            path = self._home.publish_raw(_output_month(context), obj) if isinstance(obj, StagedFile) else obj
        context.add_output_metadata(file_metadata(path))

    def find(self, month: TripMonth) -> Path:
        """Return the path of a month's raw file. Raises MissingUpstream if it does not exist."""
        return self._home.find_raw(month)


class CleanFiles(AssetFiles):
    """Stores clean files, and the files with rejected lines, in TAXI_HOME."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def publish(self, context: dg.OutputContext, obj: StagedClean) -> None:
        """Publish the files with the clean rows and the rejected lines."""
        with obj.rows, obj.rejected or nullcontext():
            path = self._home.publish_clean(_output_month(context), obj)
        context.add_output_metadata(file_metadata(path))

    def find(self, month: TripMonth) -> Path:
        """Return the path of a month's clean file. Raises MissingUpstream if it does not exist."""
        return self._home.find_clean(month)


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
            link = dg.MetadataValue.url(console_link(put.uri))
            context.add_output_metadata({"generation": str(put.generation), "console": link})

    def find(self, month: TripMonth) -> LakeObject:
        """Return a month's object.

        Raises MissingUpstream if it does not exist, and StoreError if it is not a Parquet file.
        """
        return self._lake.find(month)


def _output_month(context: dg.OutputContext) -> TripMonth:
    return month_of(context.asset_key, context.partition_key)


def _step(context: dg.InputContext) -> dg.StepExecutionContext | None:
    """Return the step that loads the input, or None outside of a run, such as in a notebook."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None
