"""Every private name of Dagster that this project uses. No other module imports Dagster's private modules.

The Dagster version is pinned. Before an upgrade, run the tests of these names to see what changed.
"""

from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.external_asset import create_external_asset_from_source_asset
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.metadata import RawMetadataValue
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemotePartitionSetOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RETRY_NUMBER_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_backfill_id
from dagster._utils.warnings import disable_dagster_warnings
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.serdes.errors import DeserializationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import AssetKey
    from dagster._core.execution.backfill import (
        BULK_ACTION_TERMINAL_STATUSES,
        BulkActionsFilter,
        BulkActionStatus,
        PartitionBackfill,
    )
    from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
    from dagster._core.storage.runs import SqlRunStorage
    from dagster._daemon.daemon import BackfillDaemon
    from sqlalchemy import Select

Selected = TypeVar("Selected", bound=tuple[Any, ...])

__all__ = [
    "AUTO_RETRY_RUN_ID_TAG",
    "BACKFILL_ID_TAG",
    "BULK_ACTION_TERMINAL_STATUSES",
    "CODE_VERSION_TAG",
    "DATA_VERSION_TAG",
    "INDEX_SHARD_NAME",
    "NULL_EVENT_POINTER",
    "PARTITION_NAME_TAG",
    "PRIORITY_TAG",
    "RETRY_NUMBER_TAG",
    "RUN_FAILURE_REASON_TAG",
    "SINGLETON_REPOSITORY_NAME",
    "WILL_RETRY_TAG",
    "AssetCheckExecutionsTable",
    "BackfillDaemon",
    "BulkActionStatus",
    "BulkActionsFilter",
    "DeserializationError",
    "ExecutionPlan",
    "InMemoryJob",
    "InProcessExecutor",
    "JobFailureData",
    "LoadableTargetOrigin",
    "ManagedGrpcPythonEnvCodeLocationOrigin",
    "PartitionBackfill",
    "PlanOrchestrationContext",
    "RawMetadataValue",
    "RemotePartitionSetOrigin",
    "RemoteRepositoryOrigin",
    "RunFailureReason",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqlRunStorage",
    "SqliteEventLogStorage",
    "UnresolvedAssetJobDefinition",
    "auto_reexecution_should_retry_run",
    "create_execution_plan",
    "create_external_asset_from_source_asset",
    "disable_dagster_warnings",
    "execute_run",
    "get_input_data_version_tag",
    "get_input_event_pointer_tag",
    "make_new_backfill_id",
    "modules_that_start_processes",
    "partition_set_snap_name_for_job_name",
    "without_wiped",
]


_BACKFILL, _EVENT_LOG = "dagster._core.execution.backfill", "dagster._core.storage.event_log"

_LATER = MappingProxyType(
    {
        **dict.fromkeys(("BULK_ACTION_TERMINAL_STATUSES", "BulkActionStatus", "BulkActionsFilter"), _BACKFILL),
        "PartitionBackfill": _BACKFILL,
        "partition_set_snap_name_for_job_name": "dagster._core.remote_representation.external_data",
        **dict.fromkeys(("AssetCheckExecutionsTable", "SqlEventLogStorageTable"), f"{_EVENT_LOG}.schema"),
        "SqlEventLogStorage": f"{_EVENT_LOG}.sql_event_log",
        **dict.fromkeys(("INDEX_SHARD_NAME", "SqliteEventLogStorage"), f"{_EVENT_LOG}.sqlite.sqlite_event_log"),
        "SqlRunStorage": "dagster._core.storage.runs",
        "BackfillDaemon": "dagster._daemon.daemon",
    }
)
"""Names of modules that `import dagster` does not load, because they take as long as it does: they import SQLAlchemy
and Alembic. Import these names where they are used."""


def __getattr__(name: str) -> Any:  # noqa: ANN401  # of any private name
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def without_wiped(
    storage: "SqlEventLogStorage", query: "Select[Selected]", keys: "Sequence[AssetKey]"
) -> "Select[Selected]":
    """Leave out of a query events of these assets from before somebody wiped the asset in the UI."""
    details = storage._get_assets_details(keys)  # noqa: SLF001  # no public method is for several assets
    return cast("Select[Selected]", storage._add_assets_wipe_filter_to_query(query, details, keys))  # noqa: SLF001


def modules_that_start_processes() -> list[ModuleType]:
    """Return the modules that start processes with their function `open_ipc_subprocess`: `dagster dev` and its servers.

    They are imported here because only `taxi dev` needs them: they import gRPC.
    """
    from dagster._cli import dev
    from dagster._grpc import server

    return [dev, server]
