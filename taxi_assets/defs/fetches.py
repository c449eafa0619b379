"""What the instance remembers of a month's last fetch, so that an unchanged source need not be asked for all of it.

Not here: fetching (`stores.source`), and what other stations tell (`history`).
"""

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

from taxi_assets.defs.graph import asset_key
from taxi_assets.errors import MissingUpstream
from taxi_assets.stores.download import Version
from taxi_assets.stores.home import Home
from taxi_assets.stores.source import Fetched
from taxi_assets.tlc.raw import fingerprint
from taxi_assets.tlc.trips import TripMonth


def fetch_metadata(fetched: Fetched) -> dict[str, RawMetadataValue]:
    """What a fetch tells in the UI, and what `remembered` reads."""
    return {
        "source": dg.MetadataValue.url(fetched.address),
        "download": "not needed: the source has the version that is here" if fetched.unchanged else "done",
        "tries": fetched.tries,
        "resumed": fetched.resumed,
        "bytes": fetched.bytes,
        "sha256": fetched.sha256,
        "etag": fetched.version.etag or "",
        "last_modified": fetched.version.last_modified or "",
    }


def remembered(instance: dg.DagsterInstance, month: TripMonth) -> Fetched | None:
    """The month's last fetch, as its metadata tells; None where there was none, or one that told less."""
    wanted = dg.AssetRecordsFilter(asset_key(month.color, "raw_trips"), asset_partitions=[month.month])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        if record.asset_materialization:
            told = {name: entry.value for name, entry in record.asset_materialization.metadata.items()}
            if told.keys() >= {"source", "bytes", "sha256", "etag", "last_modified"}:
                version = Version(str(told["etag"]) or None, str(told["last_modified"]) or None)
                return Fetched(str(told["source"]), int(str(told["bytes"])), str(told["sha256"]), version)
    return None


def last_fetched(instance: dg.DagsterInstance, month: TripMonth, address: str, home: Home) -> Fetched | None:
    """The month's last fetch from `address`, if what it brought is still in `home`, byte for byte."""
    fetched = remembered(instance, month)
    if fetched is None or fetched.address != address:
        return None
    try:
        same = fingerprint(home.find_raw(month)) == fetched.sha256
    except MissingUpstream:
        return None
    return fetched if same else None
