"""The Dagster instance and the processes of its runs: opening it, the status of partitions, failures, and retention.

Schedules and sensors use this package, so it must not import the definitions (`defs`).

Not here: operations on months (`operations`).
"""
