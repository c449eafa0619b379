"""The private names of Dagster that the project uses are what it takes them for."""

import inspect
from pathlib import Path

import pytest

from taxi_assets.instance import _dagster

TEXTS = [name for name in _dagster.__all__ if name.endswith("_TAG") or name == "NULL_EVENT_POINTER"]
CALLABLES = [name for name in _dagster.__all__ if name.islower()]
TYPES = [
    "BackfillDaemon",
    "BulkActionStatus",
    "BulkActionsFilter",
    "DagsterDefinitionChangedDeserializationError",
    "DagsterInvalidAssetSelectionError",
    "InMemoryJob",
    "JobFailureData",
    "ManagedGrpcPythonEnvCodeLocationOrigin",
    "PartitionBackfill",
    "RemotePartitionSetOrigin",
    "RemoteRepositoryOrigin",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlRunStorage",
    "StepExecutionContext",
    "UnresolvedAssetJobDefinition",
]


def test_every_name_is_used() -> None:
    """What nothing imports any more goes from the list."""
    own = Path(_dagster.__file__)
    code = "".join(path.read_text() for path in own.parents[1].rglob("*.py") if path != own)
    assert [name for name in _dagster.__all__ if name not in code] == []


@pytest.mark.parametrize("name", TEXTS)
def test_tags_are_dagsters(name: str) -> None:
    """Tags and pointers are texts that Dagster writes into its history."""
    assert isinstance(getattr(_dagster, name), str)


@pytest.mark.parametrize("name", CALLABLES)
def test_functions_can_be_called(name: str) -> None:
    """Functions are functions."""
    assert callable(getattr(_dagster, name))


@pytest.mark.parametrize("name", TYPES)
def test_types_are_types(name: str) -> None:
    """Classes are classes."""
    assert inspect.isclass(getattr(_dagster, name))


def test_backfills_are_made_from_what_the_project_gives() -> None:
    """A backfill takes the arguments that the project submits one with."""
    expected = {"backfill_id", "status", "from_failure", "tags", "backfill_timestamp", "title", "partition_set_origin"}
    expected |= {"partition_names", "asset_selection", "run_config"}
    assert expected <= set(inspect.signature(_dagster.PartitionBackfill.__new__).parameters)


def test_backfills_have_the_statuses_that_the_project_asks_for() -> None:
    """A backfill is requested, cancelled, failed or over, and the last ones are final."""
    status = _dagster.BulkActionStatus
    assert {status.CANCELED, status.FAILED} <= set(_dagster.BULK_ACTION_TERMINAL_STATUSES)
    assert not {status.REQUESTED, status.CANCELING} & set(_dagster.BULK_ACTION_TERMINAL_STATUSES)


def test_events_are_stored_in_the_columns_that_the_project_reads() -> None:
    """The table of events has an id, the event as JSON, its type, its run, its asset and its partition."""
    columns = set(_dagster.SqlEventLogStorageTable.c.keys())
    assert {"id", "event", "dagster_event_type", "run_id", "asset_key", "partition"} <= columns
