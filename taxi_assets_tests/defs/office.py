"""An installation whose alerts come to an inbox, and whose sensors look when a test says so."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from taxi_assets.graph import asset_key, job_name
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.stores import alerts
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import Installation
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.web_server import Reply, WebServer, serve


class Office(Installation):
    """One whose source is a folder. Its daemon would run failed runs again as often as their tag says."""

    def __init__(self, web: WebServer, inbox: Inbox) -> None:
        super().__init__()
        self.inbox = inbox
        self._web = web
        self._cursors: dict[str, str | None] = {}

    def begin(self, sensor: str) -> None:
        """Forget what was told, and let the sensor see what was before."""
        self.inbox.answer(Reply())
        self.tick(sensor)
        self._web.posted.clear()

    def publish_page(self, month: TripMonth) -> None:
        """Let the source have a web page in a month's place."""
        place = Path(self.settings.source_url) / month.color / f"{month.stem}.csv.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("<html>no trips here</html>")

    def start(
        self,
        month: TripMonth | None,
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
        tags: Mapping[str, str] | None = None,
    ) -> dg.DagsterRun:
        """A run of a month in this state; in its tags, the run that it is a retry of."""
        told = tags or {}
        partition = {"dagster/partition": month.month} if month else {}
        color = month.color if month else COLORS[0]
        job = self.definitions.resolve_job_def(job_name(color))
        return self.instance.create_run_for_job(
            # Of all five assets Dagster would plan each output and each check, which takes a while.
            job.get_subset(asset_selection={asset_key(color, "raw_trips")}),
            tags={**partition, **told},
            parent_run_id=told.get("dagster/parent_run_id"),
            root_run_id=told.get("dagster/root_run_id"),
            status=status,
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )

    def fail(
        self,
        month: TripMonth | None,
        said: str = "no such thing",
        tags: Mapping[str, str] | None = None,
        parent: dg.DagsterRun | None = None,
    ) -> dg.DagsterRun:
        """A run of a month that failed; where it has a parent, it was that one's retry, and has its tags."""
        inherited = {}
        if parent:
            ids = {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
            inherited = {**parent.tags, **ids}
            inherited.pop("dagster/will_retry", None)
        run = self.start(month, tags={**inherited, **(tags or {})})
        self.instance.report_run_failed(run, said)
        failed = self.instance.get_run_by_id(run.run_id)
        assert failed
        return failed

    def tick(self, sensor: str) -> str:
        """Let a sensor look, from where it was; what it says about it."""
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            self.instance,
            cursor=self._cursors.get(sensor),
            repository_def=repository,
            sensor_name=sensor,
            resources=repository.get_top_level_resources(),
        ) as context:
            evaluated = repository.get_sensor_def(sensor).evaluate_tick(context)
        assert not any(reaction.error for reaction in evaluated.dagster_run_reactions or ())
        self._cursors[sensor] = evaluated.cursor
        return evaluated.skip_message or ""

    def forget(self, sensor: str) -> None:
        """Let a sensor look as if it were the first time."""
        del self._cursors[sensor]


@contextmanager
def office_in(folder: Path, empty_history: Path) -> Iterator[Office]:
    """An office in a folder, for all tests of a module."""
    shutil.copytree(empty_history, folder / "home" / "dagster")
    config = folder / "home" / "dagster" / "dagster.yaml"
    retries = {"run_retries": {"enabled": True, "max_retries": 0}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **retries}))
    with serve() as web, pytest.MonkeyPatch.context() as patch:
        inbox = Inbox(web)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("TAXI_HOME", str(folder / "home"))
        patch.setenv("TAXI_SOURCE_URL", str(folder))
        patch.setenv("TAXI_ALERT_URLS", inbox.address)
        patch.setenv("TAXI_UI_URL", "https://ui.example.org/")
        patch.setattr(alerts, "_PAUSE_S", 0.0)
        with closing(Office(web, inbox)) as made:
            yield made
