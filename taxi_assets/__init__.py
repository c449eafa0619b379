"""New York City taxi trips as Dagster assets: five assets for each color, partitioned by month.

`docs/architecture.md` describes the packages and the direction of their imports.
"""
