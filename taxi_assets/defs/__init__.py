"""The definitions that Dagster loads: assets, asset checks, I/O managers, resources, jobs, schedules, and sensors.

Not here: how a month is cleaned (`tlc`) or stored (`stores`), what the Dagster instance records (`instance`), and what
runs the definitions (`operations`).
"""
