"""An installation that sends its notifications to an inbox, with sensors that are evaluated on demand."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from taxi_assets import notifications
from taxi_assets.graph import job_name
from taxi_assets.keys import asset_key
from taxi_assets.operations.runs import ORIGIN
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.defs.installation import OLD, Installation
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.months import publish
from taxi_assets_tests.web_server import Reply, WebServer, serve


class NotificationInstallation(Installation):
    """An installation whose source is a folder, with only the month `OLD`.

    Failed runs are marked for the number of retries in their tag.
    """

    def __init__(self, web: WebServer, inbox: Inbox) -> None:
        super().__init__()
        self.inbox = inbox
        self._web = web
        self._cursors: dict[str, str | None] = {}

    def start_test(self, sensor: str) -> None:
        """Evaluate the sensor, so that it has seen all earlier events, then empty the inbox."""
        self.inbox.answer(Reply())
        self.tick(sensor)
        self._web.posted.clear()

    def publish_page(self, month: TripMonth) -> None:
        """Publish a web page instead of a month."""
        path = Path(self.settings.source_url) / month.color / f"{month.stem}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<html>no trips here</html>")

    def create_run(
        self,
        month: TripMonth | None,
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
        tags: Mapping[str, str] | None = None,
    ) -> dg.DagsterRun:
        """Create a run of a month with a status. For a retry, the tags contain its parent run."""
        given = tags or {}
        partition = {"dagster/partition": month.month} if month else {}
        color = month.color if month else COLORS[0]
        job = self.definitions.resolve_job_def(job_name(color))
        return self.instance.create_run_for_job(
            # For all five assets, Dagster would plan each output and each check, which takes a while.
            job.get_subset(asset_selection={asset_key(color, "raw_trips")}),
            tags={**partition, **given},
            parent_run_id=given.get("dagster/parent_run_id"),
            root_run_id=given.get("dagster/root_run_id"),
            status=status,
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )

    def fail_run(
        self,
        month: TripMonth | None,
        message: str = "no such file",
        tags: Mapping[str, str] | None = None,
        parent: dg.DagsterRun | None = None,
        *,
        cancel: bool = False,
    ) -> dg.DagsterRun:
        """Create a failed run of a month. If it has a parent, it is the retry of that run and inherits its tags.

        With `cancel`, someone canceled it while it started.
        """
        inherited = {}
        if parent:
            ids = {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
            inherited = {**parent.tags, **ids}
            inherited.pop("dagster/will_retry", None)
        run = self.create_run(month, tags={**inherited, **(tags or {})})
        if cancel:
            self.instance.report_run_canceling(run)
        self.instance.report_run_failed(run, message)
        failed = self.instance.get_run_by_id(run.run_id)
        assert failed
        return failed

    def tick(self, sensor: str) -> str:
        """Evaluate a sensor from its cursor. Return its skip message."""
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

    def reset_cursor(self, sensor: str) -> None:
        """Delete the cursor of a sensor, so that its next evaluation is like the first."""
        del self._cursors[sensor]


@contextmanager
def open_notification_installation(folder: Path, empty_history: Path) -> Iterator[NotificationInstallation]:
    """Create an installation in a folder, for all tests of a module."""
    shutil.copytree(empty_history, folder / "home" / "dagster")
    config = folder / "home" / "dagster" / "dagster.yaml"
    retries = {"run_retries": {"enabled": True, "max_retries": 0}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **retries}))
    publish(folder, OLD, 1)
    with serve() as web, pytest.MonkeyPatch.context() as patch:
        inbox = Inbox(web)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("TAXI_HOME", str(folder / "home"))
        patch.setenv("TAXI_SOURCE_URL", str(folder))
        patch.setenv("TAXI_FIRST_MONTH", OLD.month)
        patch.setenv("TAXI_ALERT_URLS", inbox.address)
        patch.setenv("TAXI_UI_URL", "https://ui.example.org/")
        patch.setattr(notifications, "RETRY_DELAY_S", 0.0)
        with closing(NotificationInstallation(web, inbox)) as opened:
            yield opened
