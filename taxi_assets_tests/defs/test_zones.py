"""Tests of the asset of taxi zones: which file it uses, and the stores that it fills."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from taxi_assets.defs.zones import read_zones
from taxi_assets.errors import InvalidZones, TaxiAssetsError
from taxi_assets.graph import LOAD_ZONES
from taxi_assets.operations.runs import run_job
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.zones import BUILT_IN, FILE_NAME, built_in_zones, parse_zones
from taxi_assets_tests.defs.store_installation import StoreInstallation
from taxi_assets_tests.months import folder_of
from taxi_assets_tests.web_server import Reply, WebServer

OLD_WORDING = {264: ("Unknown", "NV"), 265: ("Unknown", "NA")}
"""The borough and name of zones in earlier versions of the TLC's file."""


def _file(header: str, wording: dict[int, tuple[str, str]], line_end: str = "\r\n") -> bytes:
    zones = [tuple(zone.values()) for zone in built_in_zones().to_pylist()]
    rows = [(number, *wording.get(number, (borough, name)), service) for number, borough, name, service in zones]
    return line_end.join([header, *(",".join(f'"{value}"' for value in row) for row in rows)]).encode()


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """An installation without a file of zones at its source."""
    assert home.exists()
    with closing(StoreInstallation()) as created:
        yield created


def _stored(installation: StoreInstallation) -> list[set[tuple[object, ...]]]:
    """Return the zones in the warehouse, in Postgres and in the lake."""
    sql = "SELECT * FROM taxi_zones"
    lake = pq.read_table(installation.home / "lake/data/zones/taxi_zone_lookup.parquet").to_pylist()
    return [
        {tuple(row) for row in installation.warehouse.query(sql).rows},
        {tuple(row) for row in installation.postgres.query(sql).rows},
        {tuple(row.values()) for row in lake},
    ]


def _used(installation: StoreInstallation) -> object:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["taxi_zones"]))
    record = installation.instance.fetch_materializations(wanted, limit=1).records[0]
    assert record.asset_materialization
    return record.asset_materialization.metadata["source"].value


def test_load(installation: StoreInstallation) -> None:
    """The zones of the source replace the built-in ones in all stores, and an invalid file replaces nothing."""
    assert run_job(installation.definitions, installation.instance, LOAD_ZONES) == ""
    assert _used(installation) == BUILT_IN
    (zones,) = set(map(frozenset, _stored(installation)))
    assert len(zones) == 265
    assert (265, "N/A", "Outside of NYC", "N/A") in zones

    file = installation.source / "misc" / FILE_NAME
    file.parent.mkdir()
    file.write_bytes(_file('"locationid","borough","zone","service_zone"', OLD_WORDING))
    assert run_job(installation.definitions, installation.instance, LOAD_ZONES) == ""
    assert _used(installation) == str(file)
    (zones,) = set(map(frozenset, _stored(installation)))
    assert len(zones) == 265
    assert (265, "Unknown", "NA", "N/A") in zones

    file.write_bytes(b"<html>not found</html>")
    assert "[invalid-zones]" in run_job(installation.definitions, installation.instance, LOAD_ZONES)
    assert {frozenset(stored) for stored in _stored(installation)} == {zones}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has the columns"),
        (_file("LocationID,Borough,Zone", {}), "has the columns"),
        (_file("LocationID,Borough,Zone,service_zone", {})[:-40], "values"),
        (_file("LocationID,Borough,Zone,service_zone", {}).rpartition(b"\r\n")[0], "Missing IDs: 265"),
        (_file("LocationID,Borough,Zone,service_zone", {7: ("Queens", "")}), "row 8"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_invalid_file(content: bytes, problem: str) -> None:
    """A file with other columns, or without each zone once, is an error that says what is wrong."""
    with pytest.raises(InvalidZones, match=problem) as error:
        parse_zones(content, "zones.csv")
    assert error.value.facts == {"address": "zones.csv"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(_file("Zone,LocationID,service_zone,Borough", {})), InvalidZones),
        (Reply(_file("LocationID,Borough,Zone,service_zone", {}, "\n")), None),
        (Reply(status=404), BUILT_IN),
        (Reply(status=403), BUILT_IN),
        (Reply(status=503, headers={"Retry-After": "999"}), TaxiAssetsError),
    ],
)
def test_server(reply: Reply, expected: str | type[TaxiAssetsError] | None, web: WebServer) -> None:
    """If a server answers 404 or 403, the built-in zones are used. An invalid file and a broken server are errors."""
    web.replies[f"/misc/{FILE_NAME}"] = [reply]
    if isinstance(expected, type):
        with pytest.raises(expected):
            read_zones(Source(web.url))
        return
    zones, used = read_zones(Source(web.url))
    assert (zones, used) == (built_in_zones(), expected or f"{web.url}/misc/{FILE_NAME}")


@pytest.mark.real_trips
def test_real_files() -> None:
    """The TLC's versions of the file have 265 zones, whose boroughs and names are text."""
    files = [
        folder_of("REAL_TRIPS", "real months") / "misc" / FILE_NAME,
        *sorted(folder_of("AWKWARD_TRIPS", "awkward files").glob("taxi_zone_lookup*.csv")),
    ]
    assert len(files) == 3
    for file in files:
        zones = parse_zones(file.read_bytes(), str(file))
        assert (zones.num_rows, [zones[name].null_count for name in zones.column_names]) == (265, [0] * 4)
    assert parse_zones(files[0].read_bytes(), "") == built_in_zones()
