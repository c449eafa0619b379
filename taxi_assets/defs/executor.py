"""The executor of every run: it runs the steps in one process, after it has required a partition.

Without this requirement, Dagster fails the first step of a run without a partition with an error about its own code.

Not here: the runs (`jobs`), and what their steps do (`assets`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast

import dagster as dg

from taxi_assets.defs.retries import failure
from taxi_assets.errors import NoPartition
from taxi_assets.graph import SOURCE_TRIPS
from taxi_assets.instance._dagster import PARTITION_NAME_TAG, InProcessExecutor
from taxi_assets.instance.dev_processes import end_with_dev
from taxi_assets.instance.sqlite import kept_open
from taxi_assets.keys import split_step

if TYPE_CHECKING:
    from taxi_assets.instance._dagster import ExecutionPlan, PlanOrchestrationContext


class PartitionExecutor(InProcessExecutor):
    """Dagster's in-process executor, which fails a run that materializes assets but has no partition."""

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps of a run. Raises Failure if they need a partition that the run does not have.

        A run of `taxi dev` ends with it.
        """
        end_with_dev()
        instance, run = plan_context.instance, plan_context.dagster_run
        _require_partition(instance, run, execution_plan.step_keys_to_execute)
        with kept_open(instance, run.run_id):
            yield from super().execute(plan_context, execution_plan)


def build_executor() -> dg.ExecutorDefinition:
    """Return the executor, with the name and the run config of Dagster's in-process executor."""
    in_process = dg.in_process_executor
    create = cast("Callable[[dg.InitExecutorContext], InProcessExecutor]", in_process.executor_creation_fn)

    def create_own(context: dg.InitExecutorContext) -> PartitionExecutor:
        configured = create(context)
        return PartitionExecutor(configured.retries, configured.step_dependency_config)

    return dg.ExecutorDefinition(
        in_process.name,
        config_schema=in_process.config_schema.as_field(),
        executor_creation_fn=create_own,
        description=in_process.description,
    )


def _require_partition(instance: dg.DagsterInstance, run: dg.DagsterRun, steps: Iterable[str]) -> None:
    """Raise Failure if a step materializes an asset, which has partitions, and the run has none."""
    named = {split_step(step) for step in steps}
    colors = sorted({color for color, name in named if name and name != SOURCE_TRIPS})
    if PARTITION_NAME_TAG in run.tags or not colors:
        return
    # The daemon would retry the run, because no step failed.
    instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})
    raise failure(NoPartition("This run has no partition, so no month can be loaded.", color=",".join(colors)))
