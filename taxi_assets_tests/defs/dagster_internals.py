"""The private names of Dagster that only tests use. Those that the project uses are in `taxi_assets.instance._dagster`.

The Dagster version is pinned. An upgrade that moves one of these names fails here and in no other test module.
"""

from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.instance.config import PoolGranularity
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import CodeLocationOrigin, InProcessCodeLocationOrigin
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._grpc.server import DagsterApiServer
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster._utils import get_run_crash_explanation

__all__ = [
    "PARENT_RUN_ID_TAG",
    "ROOT_RUN_ID_TAG",
    "AssetCheckEvaluation",
    "AssetGraph",
    "AssetGraphView",
    "CachingStaleStatusResolver",
    "CodeLocationOrigin",
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterApiServer",
    "InProcessCodeLocationOrigin",
    "InstigatorState",
    "InstigatorStatus",
    "InstigatorTick",
    "InstigatorType",
    "LaunchRunContext",
    "PartitionKeyFilter",
    "PoolGranularity",
    "RepositorySnap",
    "RunLauncher",
    "RunsTable",
    "ScheduleInstigatorData",
    "StaleStatus",
    "StepFailureData",
    "TemporalContext",
    "TickStatus",
    "WorkspaceLoadTarget",
    "WorkspaceProcessContext",
    "get_and_update_asset_status_cache_value",
    "get_run_crash_explanation",
]
