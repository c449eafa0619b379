"""The last fetch of a month as recorded in the instance, so that an unchanged file is not downloaded again.

Not here: fetching (`stores.source`), and the metadata of other assets (`partition_status`).
"""

import dagster as dg

from taxi_assets.errors import MissingUpstream
from taxi_assets.instance._dagster import RawMetadataValue
from taxi_assets.keys import asset_key
from taxi_assets.stores.files.home import Home
from taxi_assets.stores.source.download import Version
from taxi_assets.stores.source.months import Fetched
from taxi_assets.tlc.raw import fingerprint
from taxi_assets.tlc.trips import TripMonth


def fetch_metadata(fetched: Fetched) -> dict[str, RawMetadataValue]:
    """Return the metadata of a fetch, which the UI shows and `last_fetch` reads."""
    return {
        "source": dg.MetadataValue.url(fetched.address),
        "download": "not needed: the file is unchanged at the source" if fetched.unchanged else "done",
        "tries": fetched.tries,
        "resumed": fetched.resumed,
        "bytes": fetched.bytes,
        "sha256": fetched.sha256,
        "etag": fetched.version.etag or "",
        "last_modified": fetched.version.last_modified or "",
    }


def last_fetch(instance: dg.DagsterInstance, month: TripMonth) -> Fetched | None:
    """Return the month's last fetch from its metadata, or None if there is none or its metadata is incomplete."""
    wanted = dg.AssetRecordsFilter(asset_key(month.color, "raw_trips"), asset_partitions=[month.month])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        if record.asset_materialization:
            values = {name: entry.value for name, entry in record.asset_materialization.metadata.items()}
            if values.keys() >= {"source", "bytes", "sha256", "etag", "last_modified"}:
                version = Version(str(values["etag"]) or None, str(values["last_modified"]) or None)
                return Fetched(str(values["source"]), int(str(values["bytes"])), str(values["sha256"]), version)
    return None


def reusable_fetch(instance: dg.DagsterInstance, month: TripMonth, address: str, home: Home) -> Fetched | None:
    """Return the month's last fetch, or None if it cannot be reused.

    It can be reused if it came from `address` and its file is still in `home`, byte for byte.
    """
    fetched = last_fetch(instance, month)
    if fetched is None or fetched.address != address:
        return None
    try:
        same = fingerprint(home.find_raw(month)) == fetched.sha256
    except MissingUpstream:
        return None
    return fetched if same else None
