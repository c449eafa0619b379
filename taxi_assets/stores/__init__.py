"""Connectors for the systems that months are read from and written to: one module per system, plain classes.

Here: atomicity, idempotence and locking for each system.
Not here: Dagster, settings, the content of a month of trips.
"""
