"""A client of Dagster's UI: the GraphQL requests of its buttons, executed in this process without a web server."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster_graphql.schema import create_schema

from taxi_assets.defs.build import build_definitions
from taxi_assets.instance._dagster import SINGLETON_REPOSITORY_NAME, LoadableTargetOrigin, disable_dagster_warnings
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.settings import Settings
from taxi_assets_tests.defs.dagster_internals import (
    AssetGraph,
    CodeLocationOrigin,
    InProcessCodeLocationOrigin,
    WorkspaceLoadTarget,
    WorkspaceProcessContext,
)

_MODULE = ORIGIN.code_location_origin.location_name

_LAUNCH_RUN = """
mutation LaunchPipelineExecution($params: ExecutionParams!) {
  launched: launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { id } }
    ... on Error { message }
  }
}
"""

_LAUNCH_BACKFILL = """
mutation LaunchPartitionBackfill($params: LaunchBackfillParams!) {
  launched: launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""


class _ThisProcess(WorkspaceLoadTarget):
    """The project's code location, loaded in this process."""

    def create_origins(self) -> Sequence[CodeLocationOrigin]:
        """Return the only code location."""
        return [InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), location_name=_MODULE)]


class UI:
    """The UI of an instance."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace
        self._schema = create_schema()
        self._graph: AssetGraph = build_definitions(Settings.load()).resolve_asset_graph()

    def materialize(self, assets: Iterable[dg.AssetKey], month: str) -> str:
        """Materialize one partition of assets with their checks, like the button of the graph. Return the run ID."""
        keys = list(assets)
        checks = [check for key in keys for check in self._graph.get(key).check_keys]
        params = {
            "mode": "default",
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": month}]},
            "selector": {
                "repositoryLocationName": _MODULE,
                "repositoryName": SINGLETON_REPOSITORY_NAME,
                "jobName": "__ASSET_JOB",
                "assetSelection": [{"path": key.path} for key in keys],
                "assetCheckSelection": [
                    {"assetKey": {"path": check.asset_key.path}, "name": check.name} for check in checks
                ],
            },
        }
        run_id: str = self._launch(_LAUNCH_RUN, params)["run"]["id"]
        return run_id

    def backfill(self, assets: Iterable[dg.AssetKey], months: Sequence[str]) -> str:
        """Materialize several partitions of assets, like the button of the graph. Return the backfill ID."""
        selection = [{"path": key.path} for key in assets]
        params = {"assetSelection": selection, "partitionNames": list(months)}
        backfill_id: str = self._launch(_LAUNCH_BACKFILL, params)["backfillId"]
        return backfill_id

    def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """Return the data of the response to a GraphQL document. Raises AssertionError if it has errors."""
        context = self._workspace.create_request_context()
        result = asyncio.run(self._schema.execute_async(document, variables=variables, context=context))
        assert not result.errors, result.errors
        data: dict[str, Any] = result.data
        return data

    def _launch(self, mutation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a mutation launched. Raises AssertionError if it is rejected."""
        launched: dict[str, Any] = self.ask(mutation, params=params)["launched"]
        assert "message" not in launched, launched
        return launched


@contextmanager
def opened_ui(instance: dg.DagsterInstance) -> Iterator[UI]:
    """Open the UI of an instance, with the settings of the environment."""
    # Dagster itself uses its deprecated functions.
    with disable_dagster_warnings(), WorkspaceProcessContext(instance, _ThisProcess()) as workspace:
        yield UI(workspace)
