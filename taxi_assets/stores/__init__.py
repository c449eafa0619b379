"""The systems a month comes from and goes to, one file a system: plain classes that take a `TripMonth`.

Here: how to be atomic, repeatable and alone with each system.
Not here: Dagster, settings, what is inside a month of trips.
"""
