"""Validation of values against the config schemas of Dagster's components, through Dagster's public API."""

from collections.abc import Mapping
from typing import Any

import dagster as dg


def require_valid(schema: Any, config: Mapping[str, Any]) -> None:
    """Raise DagsterInvalidConfigError if a component with this config schema would reject the config."""

    @dg.op(config_schema=schema)
    def component() -> None:
        """Accept the config."""

    @dg.job
    def validation() -> None:
        component()

    dg.validate_run_config(validation, {"ops": {"component": {"config": dict(config)}}})
