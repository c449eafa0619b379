"""The definitions that Dagster loads: assets, asset checks, I/O managers, resources, jobs, schedules, and sensors.

Not here: how a month is cleaned (`tlc`) or stored (`stores`), what the Dagster instance records (`instance`), and what
runs the definitions (`operations`).
"""

import gc

import dagster as dg  # noqa: F401  # what is frozen below

# The objects of Dagster's modules never become garbage. Otherwise, Python searches them for it while it imports the
# modules of this package, which takes as long as importing them, and again in every process that runs months.
gc.freeze()
