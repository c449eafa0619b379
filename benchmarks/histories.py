"""Histories of runs, generated without loading any trips."""

from pathlib import Path


def report_months(home: Path, number: int) -> None:
    """Report that all assets were materialized for a number of months of three colors, with the usual metadata."""
    import dagster as dg

    from taxi_assets.defs.metadata import column_schema
    from taxi_assets.graph import TRIP_ASSETS
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.keys import asset_key
    from taxi_assets.tlc.schema import LAYOUTS
    from taxi_assets.tlc.trips import parse_months

    colors = ("yellow", "green", "fhv")
    with open_instance(home) as instance:
        for month in parse_months("2013-01..2040-12")[: number // len(colors)]:
            for color in colors:
                metadata = {"dagster/partition_row_count": 500, **column_schema(LAYOUTS[color].table_columns)}
                for name in TRIP_ASSETS:
                    key = asset_key(color, name)
                    event = dg.AssetMaterialization(key, metadata=metadata, partition=month)
                    instance.report_runless_asset_event(event)
