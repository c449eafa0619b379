"""The asset `taxi_zones`: the TLC's taxi zones in the lake, the warehouse and Postgres.

Not here: the contents of the file (`tlc.zones`), and where a source has it (`stores.source`).
"""

from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

import dagster as dg

from taxi_assets.charts.shapes import shapes_file
from taxi_assets.connections import is_bucket
from taxi_assets.defs.descriptions import describe_zones, warehouse_kind
from taxi_assets.defs.mart_charts import find_shapes
from taxi_assets.defs.metadata import column_schema, work_metadata
from taxi_assets.defs.resources import PostgresResource
from taxi_assets.defs.retries import retry_tags, translate_errors
from taxi_assets.errors import BadShapes, StoreError
from taxi_assets.instance.processes import claim_run
from taxi_assets.settings import Settings
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.lake import Lake
from taxi_assets.stores.source.months import Source
from taxi_assets.stores.warehouse import Warehouse
from taxi_assets.tlc.marts import ZONE_COLUMNS, ZONES_TABLE
from taxi_assets.tlc.zones import BUILT_IN, FILE_NAME, built_in_zones, parse_zones

if TYPE_CHECKING:
    import pyarrow as pa


def taxi_zones(  # noqa: PLR0913, PLR0917  # one for each store
    context: dg.AssetExecutionContext,
    source: dg.ResourceParam[Source],
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
    postgres: dg.ResourceParam[PostgresResource],
    home: dg.ResourceParam[Home],
) -> dg.MaterializeResult:
    """The TLC's taxi zones: the borough, name and service zone of each zone ID.

    They come from `misc/taxi_zone_lookup.csv` of the source. If the source does not have the file, a built-in copy is
    used. Each store is replaced as a whole.

    If the source has the shapes of the zones, `misc/taxi_zones.zip`, they are kept in TAXI_HOME, for maps.
    """
    started = perf_counter()
    claim_run(context.instance, context.run)
    with translate_errors(context.get_step_execution_context()):
        zones, used = read_zones(source)
        places = (lake.put_zones(zones), warehouse.replace_zones(zones), postgres.open().replace_zones(zones))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(_version(zones)),
        metadata={
            **work_metadata(zones.num_rows, perf_counter() - started),
            "source": used,
            "shapes": _keep_shapes(source, home),
            **dict(zip(("lake_object", "dagster/table_name", "postgres_table"), places, strict=True)),
        },
    )


def _keep_shapes(source: Source, home: Home) -> str:
    """Keep the shapes of the zones, and return where they are, or why there are none. Maps are optional."""
    try:
        return str(shapes_file(home.folder)) if find_shapes(source, home.folder) else "the source does not have them"
    except (BadShapes, StoreError) as error:
        return error.explain()


def read_zones(source: Source) -> "tuple[pa.Table, str]":
    """Return the zones of a source, or the built-in ones, and the address of the file or `BUILT_IN`.

    Raises InvalidZones, and StoreError if the source does not respond.
    """
    file = source.misc(FILE_NAME)
    return (parse_zones(file.content, file.address), file.address) if file else (built_in_zones(), BUILT_IN)


def build_zones(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset of the taxi zones."""
    kinds = {"gcs" if is_bucket(settings) else "parquet", warehouse_kind(settings), "postgres"}
    return dg.asset(
        key=dg.AssetKey([ZONES_TABLE]),
        group_name="zones",
        kinds=kinds,
        tags={"domain": "taxi_trips", "layer": "reference"},
        owners=settings.owner_names,
        description=describe_zones(settings),
        metadata=column_schema(ZONE_COLUMNS),
        code_version="1",
        op_tags=retry_tags(settings),
    )(taxi_zones)


def _version(zones: "pa.Table") -> str:
    """Return the data version of the zones: a hash of their values."""
    return sha256(repr(zones.to_pylist()).encode()).hexdigest()[:16]
