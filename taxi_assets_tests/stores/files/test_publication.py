"""The rows and the rejected lines of a month are one publication, for readers at any moment and after a kill."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.stores.files.home import Home, StagedClean
from taxi_assets.tlc.parquet import write_row_groups
from taxi_assets.tlc.schema import LAYOUTS
from taxi_assets.tlc.trips import TripMonth

MONTH = TripMonth("fhv", "2021-01")
LAYOUT = LAYOUTS[MONTH.color]

KILLED = """
import os, sys
from pathlib import Path
from taxi_assets.stores.files.staging import StagedFile
from taxi_assets_tests.stores.files.test_publication import publish
publications, real = iter(range(9)), StagedFile.publish
def publish_or_die(staged, target=None):
    if next(publications) == int(sys.argv[2]):
        os._exit(9)
    return real(staged, target)
StagedFile.publish = publish_or_die
publish(Path(sys.argv[1]), "new", rejects=3)
os._exit(9)
"""


def publish(folder: Path, version: str, rejects: int) -> None:
    """Publish a month whose rows have a version, and whose rejected lines contain it."""
    home = Home(folder, ".csv.gz")
    with home.stage_clean(MONTH) as rows, home.stage_rejected(MONTH) as rejected:
        write_row_groups(rows.path, LAYOUT, [LAYOUT.arrow_schema().empty_table()], "any", version)
        if rejects:
            pq.write_table(pa.table({"text": [version] * rejects}), rejected.path)
        else:
            rejected.discard()
        home.publish_clean(MONTH, StagedClean(rows, rejected if rejects else None, version))


def _read(home: Home) -> tuple[str, set[str]]:
    """Return the version of the rows, and the versions in their rejected lines."""
    version = pq.read_schema(home.find_clean(MONTH)).metadata[b"taxi_assets.version"].decode()
    rejected = home.find_rejected(MONTH)
    return version, set(pq.read_table(rejected)["text"].to_pylist()) if rejected else set()


def test_rejected_lines_belong_to_the_rows(tmp_path: Path) -> None:
    """A new publication replaces both files. One without rejected lines leaves none."""
    home = Home(tmp_path, ".csv.gz")
    for version, rejects in (("one", 2), ("two", 1), ("two", 1), ("three", 0), ("four", 1)):
        publish(tmp_path, version, rejects)
        assert _read(home) == (version, {version} if rejects else set())
        assert len(list((tmp_path / "rejected" / MONTH.color).glob("*.parquet"))) == bool(rejects)


def test_rejected_lines_of_the_previous_release(tmp_path: Path) -> None:
    """Rejected lines that the previous release published, without a version in the name, are found and replaced."""
    home = Home(tmp_path, ".csv.gz")
    publish(tmp_path, "one", rejects=1)
    rejected = home.find_rejected(MONTH)
    assert rejected
    old = rejected.rename(rejected.with_name(f"{MONTH.stem}.parquet"))
    assert home.find_rejected(MONTH) == old
    assert old.as_posix() in [item.place for item in home.clean_items(MONTH)]
    publish(tmp_path, "two", rejects=1)
    assert not old.exists()


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_killed_process_leaves_one_publication(survived: int, tmp_path: Path) -> None:
    """A process that is killed after any of its renames leaves the old month or the new one, never a mixture."""
    publish(tmp_path, "old", rejects=2)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(survived)]
    assert subprocess.run(command, check=False, env=os.environ).returncode == 9
    version = "new" if survived == 2 else "old"
    assert _read(Home(tmp_path, ".csv.gz")) == (version, {version})
    publish(tmp_path, "next", rejects=1)
    assert _read(Home(tmp_path, ".csv.gz")) == ("next", {"next"})
    assert len(list((tmp_path / "rejected" / MONTH.color).iterdir())) == 1


def _publish_many(folder: Path) -> None:
    for number in range(1, 40):
        publish(folder, str(number), rejects=1)


def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    """A reader that reads while months are published sees rows with their own rejected lines."""
    publish(tmp_path, "0", rejects=1)
    home = Home(tmp_path, ".csv.gz")
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(_publish_many, tmp_path)
        seen = []
        while not publishing.done():
            try:
                seen.append(_read(home))
            except FileNotFoundError:  # replaced between the two reads
                continue
        publishing.result()
    assert seen
    # The rows may be replaced between the two reads, but rejected lines never belong to older rows.
    assert all(not rejected or int(min(rejected)) >= int(version) for version, rejected in seen)
