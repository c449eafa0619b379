"""Files in TAXI_HOME and in the lake that are damaged, or that another program wrote: they are not loaded."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.operations.adoption import adopt
from taxi_assets.operations.progress import Progress, ProgressEvent
from taxi_assets.operations.runs import RunSpec, run_month
from taxi_assets.operations.wipe import Wiper
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.store_installation import ROWS, StoreInstallation, figures

GREEN = TripMonth("green", "2021-03")
LAKE_OBJECT = "data/green/green_tripdata_2021-03.parquet"
CLEAN = "clean/green/green_tripdata_2021-03.parquet"


@pytest.fixture
def installation(home: Path) -> Iterator[StoreInstallation]:
    """An installation whose source has one month."""
    with closing(StoreInstallation()) as created:
        assert created.home == home
        created.publish(GREEN)
        yield created


def _lake_path(installation: StoreInstallation) -> Path:
    """Return the path of the month's object in the lake, in an existing folder."""
    path = Path(installation.settings.lake_url) / LAKE_OBJECT
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _table() -> bytes:
    """Return a Parquet file of another program."""
    from io import BytesIO

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = BytesIO()
    pq.write_table(pa.table({"x": [1, 2, 3]}), file)
    return file.getvalue()


FOREIGN = {"text": b"to do", "CSV": b"VendorID,x\n1,2\n", "another table": _table()}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_a_foreign_object_is_replaced_only_on_request(content: bytes, installation: StoreInstallation) -> None:
    """A run does not replace an object that another program wrote. With `overwrite`, it does."""
    path = _lake_path(installation)
    path.write_bytes(content)
    end = installation.run(GREEN)[-1]
    assert end.what is Progress.failed
    facts = figures(installation.failures(end.run_id)["lake_trips"].metadata)
    assert facts == {"error": "foreign-object", **GREEN.facts, "uri": str(path)}
    assert "--color green --months 2021-03 --overwrite" in end.error
    assert path.read_bytes() == content
    assert installation.warehouse.count(GREEN) == 0
    assert _overwrite(installation)[-1].what is Progress.done
    assert installation.lake.find(GREEN).rows == ROWS
    assert installation.warehouse.count(GREEN) == ROWS


def _overwrite(installation: StoreInstallation) -> list[ProgressEvent]:
    """Run the month with `overwrite`."""
    events: list[ProgressEvent] = []
    spec = RunSpec(TRIP_ASSETS, overwrite=True)
    run_month(installation.definitions, installation.instance, GREEN, spec, events.append)
    return events


def test_a_foreign_object_is_not_loaded(installation: StoreInstallation) -> None:
    """The warehouse does not load an object that another program put in the place of a month's object."""
    installation.load(GREEN)
    path = _lake_path(installation)
    path.write_bytes(_table())
    end = installation.run(GREEN, "warehouse_trips")[-1]
    facts = figures(installation.failures(end.run_id)["warehouse_trips"].metadata)
    assert facts == {"error": "foreign-object", **GREEN.facts, "uri": str(path)}
    assert installation.warehouse.count(GREEN) == ROWS


@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_a_foreign_object_is_not_adopted(content: bytes, installation: StoreInstallation) -> None:
    """`taxi adopt` does not recognize an object that another program wrote. `taxi wipe` lists and deletes it."""
    path = _lake_path(installation)
    path.write_bytes(content)
    assert list(adopt(installation.settings, installation.instance, COLORS)) == []
    wiper = Wiper(installation.settings, installation.instance)
    [stored] = wiper.find([GREEN], ["lake"])
    assert [(item.place, item.bytes) for item in stored.items] == [(str(path), len(content))]
    assert path.read_bytes() == content
    list(wiper.remove([stored]))
    assert not path.exists()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "another format": lambda _: b"<html>no trips here</html>",
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "damaged rows": lambda content: content[:100] + bytes(len(content) // 2) + content[100 + len(content) // 2 :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("asset", ["lake_trips", "postgres_trips"])
def test_a_damaged_clean_file(asset: str, damage: str, installation: StoreInstallation) -> None:
    """The error for a damaged clean file has its path and the command that creates it again. No store changes."""
    installation.load(GREEN)
    path = installation.home / CLEAN
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    end = installation.run(GREEN, asset)[-1]
    facts = figures(installation.failures(end.run_id)[asset].metadata)
    assert facts == {"error": "damaged-file", **GREEN.facts, "uri": str(path), "asset": "clean_trips"}
    for fact in (str(path), "--color green --months 2021-03 --select clean_trips+"):
        assert fact in end.error
    assert installation.lake.find(GREEN).rows == ROWS
    assert installation.postgres.count(GREEN) > 0
    assert installation.run(GREEN, "clean_trips", asset)[-1].what is Progress.done


@pytest.mark.parametrize("damage", list(DAMAGES)[1:])
def test_a_damaged_lake_object(damage: str, installation: StoreInstallation) -> None:
    """The error for a damaged object has its path and a command. That command replaces it, without `--overwrite`."""
    installation.load(GREEN)
    path = _lake_path(installation)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    end = installation.run(GREEN, "warehouse_trips")[-1]
    facts = figures(installation.failures(end.run_id)["warehouse_trips"].metadata)
    assert facts == {"error": "damaged-file", **GREEN.facts, "uri": str(path), "asset": "lake_trips"}
    for fact in (str(path), "--color green --months 2021-03 --select lake_trips+"):
        assert fact in end.error
    assert installation.warehouse.count(GREEN) == ROWS
    assert installation.run(GREEN, "lake_trips", "warehouse_trips")[-1].what is Progress.done
