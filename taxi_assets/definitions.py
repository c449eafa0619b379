"""What Dagster loads: the definitions under this machine's settings, made when they are asked for."""

import dagster as dg

from taxi_assets.defs.build import build_definitions
from taxi_assets.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The assets, checks, jobs and resources."""
    return build_definitions(Settings.load())
