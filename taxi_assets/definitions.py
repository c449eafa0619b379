"""The module that Dagster loads: the definitions for this machine's settings, built on request."""

import dagster as dg

from taxi_assets.defs.build import build_definitions
from taxi_assets.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The assets, checks, jobs and resources."""
    return build_definitions(Settings.load())
