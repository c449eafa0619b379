"""All that is Dagster, and nothing that is not: partitions, resources, IO managers, assets, checks, jobs, runs.

Not here: how a month is cleaned (`tlc`) or stored (`stores`).
"""
