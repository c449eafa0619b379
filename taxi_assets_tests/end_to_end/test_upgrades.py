"""Homes that earlier releases created: this release shows their months, and loads them again without copies."""

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from taxi_assets.graph import TRIP_ASSETS
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.installation import web_path
from taxi_assets_tests.docs.pages import PROJECT
from taxi_assets_tests.end_to_end import releases
from taxi_assets_tests.end_to_end.releases import Release
from taxi_assets_tests.end_to_end.upgraded import (
    APRIL,
    FHV,
    FIRST,
    MARCH,
    MAY,
    OLD,
    ROWS,
    STORES,
    old_rows,
    rows,
    statuses,
)
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN
from taxi_assets_tests.web_server import Reply, WebServer, serve

pytestmark = pytest.mark.upgrades


@dataclass(frozen=True)
class Upgraded:
    """A TAXI_HOME into which an earlier release loaded OLD, with all settings of its `.env.example` at their defaults.

    `before` is what the earlier release showed as the status. Its embedded Postgres server is still running.
    """

    settings: Mapping[str, str]
    folder: Path
    before: Sequence[Mapping[str, Any]] = ()

    def taxi(self, *words: str) -> str:
        """Run `taxi` of this release, which must succeed, and return what it prints."""
        return _run(BIN / "taxi", *words, settings=self.settings, folder=self.folder)


def _run(program: Path, *words: str, settings: Mapping[str, str], folder: Path) -> str:
    """Run a program with these settings and no others. It must succeed without a warning about a setting."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAXI_")}
    done = subprocess.run(
        [program, *words], cwd=folder, env={**inherited, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert "TAXI_" not in done.stderr
    return done.stdout


def _all_settings(release: Release) -> dict[str, str]:
    """Every setting of a release with its default, as somebody has them who removed each # from its `.env.example`."""
    example = (release.folder / ".env.example").read_text()
    values = dotenv_values(stream=io.StringIO(re.sub(r"(?m)^# (?=[A-Z_]+=)", "", example)), interpolate=False)
    return {name: value or "" for name, value in values.items() if name.startswith("TAXI_")}


def _publish(web: WebServer, folder: Path, month: TripMonth) -> None:
    file = publish(folder / "source", month, ROWS)
    web.replies[web_path(month)] = [Reply(file.read_bytes(), headers={"ETag": f'"{month.month}"'})]


@pytest.fixture(scope="module", params=releases.COMMITS)
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The home of each release, loaded by its own `taxi` from a web server."""
    if not os.environ.get("TEST_UPGRADES"):
        pytest.skip("TEST_UPGRADES is not set: make test-upgrades installs the earlier releases")
    release = releases.install(request.param)
    folder = tmp_path_factory.mktemp("upgraded")
    with serve() as web:
        for month in (FIRST, *OLD, MAY):
            _publish(web, folder, month)
        places = {"TAXI_HOME": str(folder / "home"), "TAXI_SOURCE_URL": web.url, "NO_PROXY": "127.0.0.1"}
        settings = {**_all_settings(release), **places}
        created = Upgraded(settings, folder)
        try:
            for color, months in (("green", f"{MARCH.month}..{APRIL.month}"), ("fhv", FHV.month)):
                load = ("materialize", "--color", color, "--months", months)
                _run(release.taxi, *load, settings=settings, folder=folder)
            shown = _run(release.taxi, "status", "--json", settings=settings, folder=folder)
            yield replace(created, before=json.loads(shown))
        finally:
            created.taxi("stop")


def _counts(upgraded: Upgraded) -> dict[TripMonth, tuple[int, ...]]:
    """The rows of each month in the warehouse and in Postgres."""
    found: dict[TripMonth, tuple[int, ...]] = {}
    for color in ("green", "fhv"):
        for flags in STORES:
            sql = f"SELECT file_month, count(*) FROM {color}_taxi_trips GROUP BY 1"
            for line in upgraded.taxi("query", "--csv", *flags, sql).splitlines()[1:]:
                day, count = line.split(",")
                month = TripMonth(color, day[:7])
                found[month] = (*found.get(month, ()), int(count))
    return found


def test_each_release_has_a_commit() -> None:
    """Each version of the changelog that is released is in the list of releases."""
    released = re.findall(r"(?m)^## (\S+)$", (PROJECT / "CHANGELOG.md").read_text())
    assert released
    assert set(released) <= set(releases.COMMITS)


def test_upgrade(upgraded: Upgraded) -> None:
    """This release shows the months with the same row counts, and queries them in both stores.

    It loads an old and a new month with the server that the earlier release started, and then with its own. Every store
    has each month once, and the rows of months that were loaded again are the same as before.
    """
    assert len(upgraded.before) == len(OLD)
    shown = statuses(upgraded.taxi)
    before = {TripMonth(each["color"], each["month"]): each["rows"] for each in upgraded.before}
    assert {month: each["rows"] for month, each in shown.items()} == before
    # Releases that change the rows of the same file increase the code version, so months are stale.
    assert {each["status"] for each in shown.values()} <= {"loaded", "stale"}
    assert [each["run"] for each in shown.values() if each["error"]] == []

    old = rows(upgraded.taxi)
    assert _counts(upgraded) == {month: (ROWS, counts["postgres_trips"]) for month, counts in before.items()}

    load = ("materialize", "--color", "green", "--months")
    upgraded.taxi(*load, MARCH.month)
    assert "stopped" in upgraded.taxi("stop")
    assert not (upgraded.folder / "home/postgres/data/postmaster.pid").exists()
    upgraded.taxi(*load, f"{MARCH.month}..{MAY.month}")
    now = statuses(upgraded.taxi)
    assert {month for month, each in now.items() if each["status"] == "loaded"} >= {MARCH, APRIL, MAY}
    assert {month: each["rows"] for month, each in now.items() if month in OLD} == before
    assert set(now) == {*OLD, MAY}
    assert now[MAY]["rows"].keys() == set(TRIP_ASSETS)
    assert _counts(upgraded) == {month: (ROWS, each["rows"]["postgres_trips"]) for month, each in now.items()}
    assert old_rows(rows(upgraded.taxi)) == old
    assert {each["verdict"] for each in json.loads(upgraded.taxi("doctor", "--json"))} == {"ok"}
