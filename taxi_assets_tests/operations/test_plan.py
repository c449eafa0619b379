"""Plans list the months to load, and the months to skip with the reason, before any run starts."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from taxi_assets.cli.options import each_month
from taxi_assets.errors import EmptySource, NotAPartition, SourceFolderMissing, SourceForbidden, SourceRejected
from taxi_assets.graph import TRIP_ASSETS, job_name
from taxi_assets.operations.plan import Which, plan_backfill, plan_months
from taxi_assets.operations.progress import Progress
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.settings import Settings
from taxi_assets.stores.source.known import MIRROR_URL
from taxi_assets.stores.source.months import Source
from taxi_assets.tlc.trips import TripMonth, months_before, parse_months
from taxi_assets_tests.defs.installation import FolderInstallation, web_path
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer

FILES = ("raw_trips", "clean_trips")


def _months(color: str, months: str) -> list[TripMonth]:
    return [TripMonth(color, month) for month in parse_months(months)]


@pytest.fixture
def installation(home: Path) -> Iterator[FolderInstallation]:
    """An installation with nothing loaded and a source with one old month."""
    assert home.exists()
    with closing(FolderInstallation()) as opened:
        yield opened


def test_the_newest_month_comes_first(installation: FolderInstallation) -> None:
    """A backfill starts with the newest month, and keeps the given order of colors within a month."""
    green, yellow = _months("green", "2020-01..2020-02"), _months("yellow", "2020-01..2020-02")
    installation.publish(*green, *yellow)
    plan = installation.plan([*green, *yellow])
    assert list(plan.wanted) == [green[1], yellow[1], green[0], yellow[0]]
    assert plan.left_out == {}
    size = (installation.source / "green" / "green_tripdata_2020-02.csv.gz").stat().st_size
    assert plan.wanted[green[1]] == size


def test_months_that_cannot_be_loaded_are_left_out(installation: FolderInstallation) -> None:
    """A backfill leaves out months that are not partitions or not published, and gives the reason."""
    early, published, absent = _months("green", "2018-12..2019-02")
    installation.publish(published)
    late = TripMonth("green", "2999-01")
    plan = installation.plan([early, published, absent, late])
    assert list(plan.wanted) == [published]
    assert plan.left_out[early].startswith("not a partition")
    assert "2019-01 (TAXI_FIRST_MONTH)" in plan.left_out[early]
    assert (plan.left_out[absent], plan.left_out[late]) == ("not published", "not published")


def test_a_month_with_another_file_is_left_out(installation: FolderInstallation, web: WebServer) -> None:
    """A backfill leaves out a month whose URL returns a web page, and gives both as the reason."""
    [month] = _months("green", "2020-01")
    web.replies[web_path(month)] = [Reply(b"<html>no trips here</html>")]
    settings = Settings(home=installation.settings.home, source_url=web.url)
    plan = plan_backfill(settings, installation.instance, [month], TRIP_ASSETS, Which.all)
    assert plan.wanted == {}
    assert plan.left_out[month].startswith("not published")
    assert web_path(month) in plan.left_out[month]
    assert "HTML" in plan.left_out[month]


def test_months_under_other_names(installation: FolderInstallation) -> None:
    """A plan has one hint for the months that a template reads, with the template ready to paste."""
    published, second, third, absent = _months("green", "2020-01..2020-04")
    installation.publish(published, second, third)
    (installation.source / "Green").mkdir()
    for month in (second, third):
        path = installation.source / "green" / f"{month.stem}.csv.gz"
        path.rename(installation.source / "Green" / path.name)
    months = [published, second, third, absent]
    for plan in (installation.plan(months), plan_months(installation.settings, months, TRIP_ASSETS)):
        assert list(plan.wanted) == [published]
        assert plan.left_out == dict.fromkeys(months[1:], "not published")
        [hint] = plan.hints
        assert hint.startswith("green 2020-02..2020-03: ")
        assert f'"{installation.source}/Green/{second.stem}.csv.gz"' in hint
        template = f"{installation.source}/{{Color}}/{{color}}_tripdata_{{month}}.csv.gz"
        assert hint.endswith(f"export TAXI_SOURCE_URL='{template}'")
    installation.publish(second, third)
    assert installation.plan(months).hints == []


@pytest.mark.parametrize("kind", [SourceFolderMissing, EmptySource])
def test_a_missing_or_empty_folder_is_an_error(kind: type[Exception], installation: FolderInstallation) -> None:
    """If the source folder does not exist or has no month, no month counts as not published."""
    shutil.rmtree(installation.source)
    if kind is EmptySource:
        (installation.source / "green").mkdir(parents=True)
    months = _months("green", "2020-01")
    with pytest.raises(kind):
        installation.plan(months)
    with pytest.raises(kind):
        plan_months(installation.settings, months, TRIP_ASSETS)


def test_a_server_without_any_month_is_an_error(installation: FolderInstallation, web: WebServer) -> None:
    """If a server has no wanted month, it must have the first partition of a color, or its URL is wrong."""
    first, absent = _months("green", "2020-02..2020-03")
    settings = Settings(home=installation.settings.home, source_url=web.url)
    with pytest.raises(EmptySource) as error:
        plan_months(settings, [absent], TRIP_ASSETS)
    assert web.url in str(error.value)
    with pytest.raises(EmptySource):
        plan_backfill(settings, installation.instance, [absent], TRIP_ASSETS, Which.all)
    web.replies[web_path(first)] = [Reply(publish(installation.source, first, 1).read_bytes())]
    late = Settings(home=installation.settings.home, source_url=web.url, first_month=first.month)
    assert plan_months(late, [absent], TRIP_ASSETS).left_out == {absent: "not published"}


def test_a_copy_of_the_mirror_is_a_source(installation: FolderInstallation, web: WebServer) -> None:
    """A server that starts in 2019, as the mirror does, is a source, although the TLC has earlier months."""
    [first, absent] = [TripMonth("green", month) for month in ("2019-01", "2020-03")]
    web.replies[web_path(first)] = [Reply(publish(installation.source, first, 1).read_bytes())]
    settings = Settings(home=installation.settings.home, source_url=web.url)
    assert plan_months(settings, [absent], TRIP_ASSETS).left_out == {absent: "not published"}


def test_a_loaded_month_shows_that_the_source_is_there(installation: FolderInstallation, web: WebServer) -> None:
    """A server that has the newest loaded month is a source, even without the first partitions."""
    loaded, absent = _months("green", "2020-01..2020-02")
    installation.publish(loaded)
    installation.run(loaded, *FILES[:1])
    web.replies[web_path(loaded)] = [Reply(publish(installation.source, loaded, 10).read_bytes())]
    settings = Settings(home=installation.settings.home, source_url=web.url)
    plan = plan_backfill(settings, installation.instance, [absent], TRIP_ASSETS, Which.all)
    assert plan.left_out == {absent: "not published"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_month_is_left_out(status: int, installation: FolderInstallation, web: WebServer) -> None:
    """A server that answers 404 for absent files, and rejects one month, does not fail the other months."""
    published, rejected = _months("green", "2020-01..2020-02")
    web.replies[web_path(published)] = [Reply(publish(installation.source, published, 1).read_bytes())]
    web.replies[web_path(rejected)] = [Reply(b"no", status=status)]
    settings = Settings(home=installation.settings.home, source_url=web.url)
    for plan in (
        plan_backfill(settings, installation.instance, [published, rejected], TRIP_ASSETS, Which.all),
        plan_months(settings, [published, rejected], TRIP_ASSETS),
    ):
        assert list(plan.wanted) == [published]
        assert plan.left_out[rejected].startswith("rejected by the source")
        assert str(status) in plan.left_out[rejected]


@pytest.mark.parametrize(("status", "kind"), [(401, SourceRejected), (403, SourceForbidden)])
def test_a_server_that_rejects_everything_is_an_error(
    status: int, kind: type[Exception], installation: FolderInstallation, web: WebServer
) -> None:
    """If a server also rejects requests for the months that it must have, the login or the URL is wrong."""
    months = _months("green", "2020-01..2020-02")
    web.missing = Reply(b"no", status=status)
    settings = Settings(home=installation.settings.home, source_url=web.url)
    with pytest.raises(kind):
        plan_backfill(settings, installation.instance, months, TRIP_ASSETS, Which.all)
    with pytest.raises(kind):
        plan_months(settings, months, TRIP_ASSETS)


def _publish_like_the_tlc(web: WebServer, *months: TripMonth) -> Settings:
    """Publish months as Parquet on a server that answers 403 for others, and return the settings that use it."""
    web.missing = Reply(b"AccessDenied", status=403)
    for month in months:
        web.replies[f"/{month.stem}.parquet"] = [Reply(b"PAR1" + bytes(996))]
    return Settings(source_url=f"{web.url}/{{color}}_tripdata_{{month}}.parquet", first_month="2009-01")


def test_months_that_a_server_forbids_are_not_published(installation: FolderInstallation, web: WebServer) -> None:
    """A plan of 40 months sends one request for each, and two more if the server answers 403 for absent months."""
    months = _months("yellow", "2022-01..2025-04")
    settings = _publish_like_the_tlc(web, *months[:-3])
    plan = plan_backfill(settings, installation.instance, months, TRIP_ASSETS, Which.all)
    assert list(plan.wanted) == months[:-3][::-1]
    assert plan.left_out == dict.fromkeys(reversed(months[-3:]), "not published")
    assert len(web.paths) == len(months) + 2
    web.paths.clear()
    assert plan_months(settings, months, TRIP_ASSETS).wanted == dict.fromkeys(months[:-3], 1000)
    assert len(web.paths) == len(months) + 2


def test_a_plan_of_absent_months_only(installation: FolderInstallation, web: WebServer) -> None:
    """If no month is published, the first month of the TLC shows that the server is the source."""
    months = _months("yellow", "2022-01..2025-04")
    settings = _publish_like_the_tlc(web, TripMonth("yellow", "2009-01"))
    plan = plan_backfill(settings, installation.instance, months, TRIP_ASSETS, Which.all)
    assert plan.left_out == dict.fromkeys(reversed(months), "not published")
    assert len(web.paths) == len(months) + 2


def test_a_server_that_starts_to_throttle(
    installation: FolderInstallation, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server starts to answer 403 while months are looked up, the rest does not count as not published."""
    months = _months("yellow", "2022-01..2025-04")
    settings = _publish_like_the_tlc(web, TripMonth("yellow", "2009-01"), *months[:-3])
    well = web.next_reply
    monkeypatch.setattr(web, "next_reply", lambda path: well(path) if len(web.paths) <= 20 else web.missing)
    with pytest.raises(SourceForbidden, match="forbidden or throttled"):
        plan_backfill(settings, installation.instance, months, TRIP_ASSETS, Which.all)


def test_estimated_disk(web: WebServer) -> None:
    """A plan has the estimated bytes at each store that it loads into, for the months whose size is known."""
    months = _months("yellow", "2024-01..2024-02")
    settings = _publish_like_the_tlc(web, *months)
    plan = plan_months(settings, months, TRIP_ASSETS)
    assert list(plan.disk) == ["raw", "clean", "lake", "warehouse", "postgres"]
    assert plan.disk["raw"] == 2000
    assert all(size > 0 for size in plan.disk.values())
    assert list(plan_months(settings, months, ["raw_trips", "clean_trips"]).disk) == ["raw", "clean"]
    assert plan_months(settings, months, ["lake_trips"]).disk == {}
    assert plan_months(settings, _months("yellow", "2024-01"), TRIP_ASSETS).disk["raw"] == 1000


def test_missing_and_failed_months(installation: FolderInstallation) -> None:
    """Missing months lack at least one asset; failed months failed in their newest run. Others are left out."""
    loaded, partial, failed, absent = _months("fhv", "2020-01..2020-04")
    installation.publish(loaded, partial, absent)
    installation.publish_page(failed)
    installation.run(loaded, *FILES)
    installation.run(partial, *FILES[:1])
    assert installation.run(failed, *FILES)[-1].what is Progress.failed
    installation.publish(failed)
    months = [loaded, partial, failed, absent]
    missing = installation.plan(months, Which.missing, FILES)
    assert list(missing.wanted) == [absent, failed, partial]
    assert missing.left_out == {loaded: "already loaded"}
    again = installation.plan(months, Which.failed, FILES)
    assert list(again.wanted) == [failed]
    assert set(again.left_out.values()) == {"not failed"}
    assert list(installation.plan(months, Which.all, FILES).wanted) == [absent, failed, partial, loaded]
    assert loaded in installation.plan(months, Which.missing).wanted


def test_a_month_is_missing_after_its_publication(installation: FolderInstallation) -> None:
    """A run of an unpublished month is not a failure. Once the month is published, it counts as missing."""
    [month] = _months("green", "2020-01")
    assert installation.run(month, *FILES)[-1].what is Progress.not_published
    assert installation.plan([month], Which.missing, FILES).left_out == {month: "not published"}
    assert installation.plan([month], Which.failed, FILES).left_out == {month: "not failed"}
    installation.publish(month)
    assert list(installation.plan([month], Which.missing, FILES).wanted) == [month]


def test_a_running_month_is_left_out(installation: FolderInstallation) -> None:
    """A month with a run in progress is left out; the same month of another color is not."""
    [month], [other] = _months("green", "2020-01"), _months("yellow", "2020-01")
    installation.publish(month, other)
    job = installation.definitions.resolve_job_def(job_name(month.color))
    installation.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags=job.get_tags_for_partition_key(month.month, selected_asset_keys=None),
        remote_job_origin=ORIGIN.get_job_origin(job.name),
    )
    plan = installation.plan([month, other])
    assert plan.left_out == {month: "already running"}
    assert list(plan.wanted) == [other]


def test_requests_to_the_source_only_for_raw_files(
    installation: FolderInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assets that use the clean files or the lake need no request to the source."""
    [month] = _months("green", "2020-01")
    requested: list[TripMonth] = []
    monkeypatch.setattr(Source, "look_up", lambda _, month: requested.append(month))
    assets = ("lake_trips", "warehouse_trips")
    assert installation.plan([month], assets=assets).wanted == {month: None}
    assert plan_months(installation.settings, [month], assets).wanted == {month: None}
    assert requested == []
    assert installation.plan([month]).left_out == {month: "not published"}
    assert requested == [month]


def test_a_command_leaves_out_unpublished_months(installation: FolderInstallation) -> None:
    """`taxi materialize` keeps the given order and leaves out months that are not published."""
    published, absent = _months("green", "2020-02..2020-03")
    other = TripMonth("fhv", "2020-01")
    late = TripMonth("green", "2999-01")
    installation.publish(published, other)
    plan = plan_months(installation.settings, [published, absent, late, other], TRIP_ASSETS)
    assert list(plan.wanted) == [published, other]
    assert plan.left_out == {absent: "not published", late: "not published"}
    assert plan.wanted[other] == (installation.source / "fhv" / f"{other.stem}.csv.gz").stat().st_size


def test_a_command_loads_a_loaded_month_again(installation: FolderInstallation) -> None:
    """`taxi materialize` also loads months that are already loaded."""
    [month] = _months("green", "2020-01")
    installation.publish(month)
    installation.run(month, *FILES)
    assert list(plan_months(installation.settings, [month], FILES).wanted) == [month]


def test_a_command_runs_a_month_with_another_file(web: WebServer) -> None:
    """A month whose URL returns a web page still has a run, which fails with the reason."""
    [month] = _months("green", "2020-01")
    web.replies[web_path(month)] = [Reply(b"<html>no trips here</html>")]
    assert plan_months(Settings(source_url=web.url), [month], TRIP_ASSETS).wanted == {month: None}


def test_a_command_rejects_months_that_are_not_partitions(
    installation: FolderInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month outside the bounds is an error that names the month, both bounds and their settings."""
    with pytest.raises(NotAPartition, match=r"green 2018-12 .* 2019-01 \(TAXI_FIRST_MONTH\)"):
        plan_months(installation.settings, _months("green", "2018-12"), TRIP_ASSETS)
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-02")
    monkeypatch.setenv("TAXI_LAST_MONTH", "2020-03")
    settings = Settings.load()
    for month in _months("green", "2020-01,2020-04"):
        with pytest.raises(NotAPartition, match=r"2020-02 \(TAXI_FIRST_MONTH\) .* 2020-03 \(TAXI_LAST_MONTH\)"):
            plan_months(settings, [month], TRIP_ASSETS)


def test_the_mirror_has_no_later_months() -> None:
    """The mirror does not change, so later months are not published, without a request."""
    settings = Settings(source_url=MIRROR_URL)
    late = _months("yellow", "2021-08..2021-10")
    assert plan_months(settings, late, TRIP_ASSETS).left_out == dict.fromkeys(late, "not published")


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ("2020", "2020-01..2020-12"),
        ("2019..2020", "2019-01..2020-12"),
        ("2020-4", "2020-04"),
        ("2020-11..", "2020-11..2021-07"),
        ("..2019-2", "2019-01..2019-02"),
    ],
)
def test_years_and_open_ranges(value: str, listed: str) -> None:
    """A year is all its months, and an open range ends at the last partition of each color."""
    settings = Settings(source_url=MIRROR_URL)
    assert each_month(("green", "fhv"), value, settings) == [*_months("green", listed), *_months("fhv", listed)]


def test_an_open_range_ends_at_the_last_possible_month(installation: FolderInstallation) -> None:
    """For a source without a last month, an open range ends at the last month that can be published by now."""
    [last, _] = months_before(f"{datetime.now(UTC):%Y-%m}", 2)
    months = each_month(("green",), "2020-01..", installation.settings)
    assert months[0] == TripMonth("green", "2020-01")
    # At the end of a month, New York is some hours behind.
    assert months[-1].month in {last, *months_before(last, 1)}
