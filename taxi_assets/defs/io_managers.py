"""IO managers: they publish what a station staged, and give the next station what was published.

A store that may do it later is tried again with its station, as at work.
A station writes its file to the end and holds it against its limits before it returns: what comes here is whole.
Not here: where files lie and how they appear (`stores`).
"""

from abc import abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.context.system import StepExecutionContext
from pydantic import Field

from taxi_assets.defs.metadata import file_metadata, size_metadata
from taxi_assets.defs.partitions import month_of
from taxi_assets.defs.retries import tried_again
from taxi_assets.stores.files import StagedFile
from taxi_assets.stores.gcs import console_link
from taxi_assets.stores.home import Home, StagedClean
from taxi_assets.stores.lake import Lake, LakeObject, open_folder
from taxi_assets.tlc.trips import TripMonth


class StationOutputs(dg.ConfigurableIOManager):
    """What a kind of station leaves: how it is published and found is each kind's own."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401  # each kind's own
        """Publish what the station staged."""
        with tried_again(context.step_context):
            self.publish(context, obj)

    def load_input(self, context: dg.InputContext) -> object:
        """What is published of the upstream partition."""
        month = month_of(context.asset_key, context.asset_partition_key)
        with tried_again(_step(context)):
            return self.find(month)

    @abstractmethod
    def publish(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ANN401
        """Let what was staged appear."""

    @abstractmethod
    def find(self, month: TripMonth) -> object:
        """What is published of a month."""


class RawFiles(StationOutputs):
    """Raw months in TAXI_HOME."""

    folder: str = Field(description="TAXI_HOME")
    raw_suffix: str = Field(description="The suffix of the source's files")

    def home(self) -> Home:
        """The folder that the months lie in."""
        return Home(Path(self.folder), self.raw_suffix)

    def publish(self, context: dg.OutputContext, obj: StagedFile | Path) -> None:
        """Let the raw file appear; a path is that of one that is there already."""
        with obj if isinstance(obj, StagedFile) else nullcontext():
            path = self.home().publish_raw(_output_month(context), obj) if isinstance(obj, StagedFile) else obj
        context.add_output_metadata(file_metadata(path))

    def find(self, month: TripMonth) -> Path:
        """The raw file of a month."""
        return self.home().find_raw(month)


class CleanFiles(StationOutputs):
    """Clean months, and the lines rejected from them, in TAXI_HOME."""

    folder: str = Field(description="TAXI_HOME")

    def home(self) -> Home:
        """The folder that the months lie in."""
        return Home(Path(self.folder), raw_suffix="")

    def publish(self, context: dg.OutputContext, obj: StagedClean) -> None:
        """Let the clean rows and the rejected lines appear."""
        with obj.rows, obj.rejected or nullcontext():
            path = self.home().publish_clean(_output_month(context), obj)
        context.add_output_metadata(file_metadata(path))

    def find(self, month: TripMonth) -> Path:
        """The clean file of a month."""
        return self.home().find_clean(month)


class LakeObjects(StationOutputs):
    """Months as objects of a lake: the course's GcsBucket block."""

    url: str = Field(description="TAXI_LAKE_URL")

    def lake(self) -> Lake:
        """The lake of this URL."""
        return open_folder(self.url)

    def publish(self, context: dg.OutputContext, obj: StagedFile) -> None:
        """Put the object into the lake."""
        with obj:
            put = self.lake().put(_output_month(context), obj)
        uri = put.uri if put.uri.startswith("gs://") else Path(put.uri).as_uri()
        context.add_output_metadata({"dagster/uri": uri, "uri": put.uri, **size_metadata(put.bytes)})
        if put.generation is not None:
            link = dg.MetadataValue.url(console_link(put.uri))
            context.add_output_metadata({"generation": str(put.generation), "console": link})

    def find(self, month: TripMonth) -> LakeObject:
        """The object of a month."""
        return self.lake().find(month)


def _output_month(context: dg.OutputContext) -> TripMonth:
    return month_of(context.asset_key, context.partition_key)


def _step(context: dg.InputContext) -> StepExecutionContext | None:
    """The step that loads; None where nothing runs, as in a notebook."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None
