"""Contract tests of the private names of Dagster that the project uses. They show what a Dagster upgrade changes."""

import inspect
import re
from pathlib import Path

import pytest

from taxi_assets.instance import _dagster

TEXTS = [name for name in _dagster.__all__ if name.endswith("_TAG") or name == "NULL_EVENT_POINTER"]
FUNCTIONS = [name for name in _dagster.__all__ if name.islower()]
OTHERS = {
    "AssetCheckExecutionsTable",
    "BULK_ACTION_TERMINAL_STATUSES",
    "INDEX_SHARD_NAME",
    "RawMetadataValue",
    "SINGLETON_REPOSITORY_NAME",
    "SqlEventLogStorageTable",
}
CLASSES = sorted(set(_dagster.__all__) - {*TEXTS, *FUNCTIONS, *OTHERS})


def test_every_name_is_used() -> None:
    """Each name is used by a product module."""
    own = Path(_dagster.__file__)
    code = "".join(path.read_text() for path in own.parents[1].rglob("*.py") if path != own)
    assert [name for name in _dagster.__all__ if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize("name", [*TEXTS, "INDEX_SHARD_NAME", "SINGLETON_REPOSITORY_NAME"])
def test_tags_are_text(name: str) -> None:
    """Tags and pointers are texts that Dagster stores."""
    assert isinstance(getattr(_dagster, name), str)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_callable(name: str) -> None:
    """Names in lowercase are functions."""
    assert callable(getattr(_dagster, name))


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_classes(name: str) -> None:
    """All other names are classes."""
    assert inspect.isclass(getattr(_dagster, name))


def test_parameters_of_a_backfill() -> None:
    """A backfill accepts the parameters that the project passes."""
    expected = {"backfill_id", "status", "from_failure", "tags", "backfill_timestamp", "title", "partition_set_origin"}
    expected |= {"partition_names", "asset_selection", "run_config"}
    assert expected <= set(inspect.signature(_dagster.PartitionBackfill.__new__).parameters)


def test_statuses_of_a_backfill() -> None:
    """A canceled or failed backfill is finished. A requested or canceling one is not."""
    status = _dagster.BulkActionStatus
    assert {status.CANCELED, status.FAILED} <= set(_dagster.BULK_ACTION_TERMINAL_STATUSES)
    assert not {status.REQUESTED, status.CANCELING} & set(_dagster.BULK_ACTION_TERMINAL_STATUSES)


def test_columns_of_the_event_table() -> None:
    """The table of events has the columns that the project reads."""
    columns = set(_dagster.SqlEventLogStorageTable.c.keys())
    assert {"id", "event", "dagster_event_type", "run_id", "asset_key", "partition"} <= columns
