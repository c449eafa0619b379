"""Known secrets are planted wherever an installation reads one, and then everything that was written is searched."""

import base64
import gzip
import io
import json
import logging
import os
import shlex
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.notification_installation import NotificationInstallation
from taxi_assets_tests.defs.ui import opened_ui
from taxi_assets_tests.end_to_end.image import files_in
from taxi_assets_tests.google_server import Fault, create_account, redirect, serve_google
from taxi_assets_tests.inbox import Inbox
from taxi_assets_tests.months import publish
from taxi_assets_tests.planted import Secrets, readable
from taxi_assets_tests.program import run_here
from taxi_assets_tests.web_server import Reply, WebServer

MONTH, REFUSED = TripMonth("green", "2020-01"), TripMonth("green", "2020-02")

_ENTRIES = """
metadataEntries {
  label description
  ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url } ... on PathMetadataEntry { path }
  ... on JsonMetadataEntry { jsonString } ... on MarkdownMetadataEntry { mdStr }
  ... on CodeReferencesMetadataEntry {
    codeReferences { ... on UrlCodeReference { url } ... on LocalFileCodeReference { filePath } }
  }
}
"""
_ERROR = "error { message stack errorChain { error { message stack } } }"
_REPOSITORY = '{repositoryLocationName: "taxi_assets.definitions", repositoryName: "__repository__"}'

QUERIES = (
    f"""
    {{ runsOrError {{ ... on Runs {{ results {{
      runConfigYaml jobName tags {{ key value }}
      eventConnection {{ events {{
        ... on MessageEvent {{ message }}
        ... on MaterializationEvent {{ description {_ENTRIES} }}
        ... on ObservationEvent {{ description {_ENTRIES} }}
        ... on EngineEvent {{ {_ENTRIES} engineError: {_ERROR} }}
        ... on ExecutionStepFailureEvent {{ {_ERROR} }}
        ... on ExecutionStepUpForRetryEvent {{ {_ERROR} }}
        ... on RunFailureEvent {{ {_ERROR} }}
      }} }}
    }} }} }} }}
    """,
    f"""
    {{ workspaceOrError {{ ... on Workspace {{ locationEntries {{
      displayMetadata {{ key value }}
      locationOrLoadError {{
        ... on PythonError {{ message stack }}
        ... on RepositoryLocation {{ repositories {{
          displayMetadata {{ key value }}
          allTopLevelResourceDetails {{
            name description configuredValues {{ key value }} configFields {{ name description defaultValueAsJson }}
          }}
          jobs {{ name description tags {{ key value }} {_ENTRIES} }}
          sensors {{ name description }}
          schedules {{ name description }}
          assetNodes {{ assetKey {{ path }} description {_ENTRIES} op {{ description metadata {{ key value }} }} }}
        }} }}
      }}
    }} }} }} }}
    """,
    """
    { instance {
      info executablePath runLauncher { name } runQueueConfig { tagConcurrencyLimitsYaml }
      daemonHealth { allDaemonStatuses { daemonType lastHeartbeatErrors { message stack } } }
    } }
    """,
    f"""
    {{ utilizedEnvVarsOrError(repositorySelector: {_REPOSITORY}) {{
      ... on EnvVarWithConsumersList {{ results {{ envVarName envVarConsumers {{ name }} }} }}
    }} }}
    """,
)
"""What the pages of the UI show: runs with their logs, the code location with its resources, and the instance."""


def test_search_finds_every_form() -> None:
    """A secret is found if it is encoded for a URL, as JSON or as a login in base64, in part, or compressed."""
    secrets = Secrets()
    secret = secrets.plant("one")
    shown = (repr(secret), json.dumps(secret), quote(secret, safe=""), secret[-19:], secret[:21])
    texts = [text.encode() for text in shown]
    texts += [base64.b64encode(f"{'u' * length}:{secret}".encode()) for length in range(3)]
    assert all(secrets.found(text) == {"one"} for text in texts)
    assert all(secrets.found(b"".join(readable(zlib.compress(text)))) for text in texts)
    assert not secrets.found(b"another")


def test_files_of_every_layer_are_read() -> None:
    """The files of a saved image are read from each layer, also if it is compressed or if a later layer deletes them.

    A layer in another format is an error, because its files would not be searched.
    """
    deleted, added = _archive({"opt/.env": b"secret"}), _archive({"./opt/.wh..env": b"", "opt/code.py": b"pass"})
    manifest = json.dumps(
        [{"Config": "config.json", "Layers": ["1/layer.tar", "2/layer.tar", "blobs/sha256/3"]}]
    ).encode()
    layers = {"1/layer.tar": deleted, "2/layer.tar": _archive({}), "blobs/sha256/3": gzip.compress(added)}
    saved = io.BytesIO(_archive({**layers, "config.json": b"{}", "manifest.json": manifest}))
    assert dict(files_in(saved)) == {
        "opt/.env": b"secret",
        "opt/.wh..env": b"",
        "opt/code.py": b"pass",
        "config.json": b"{}",
        "manifest.json": manifest,
    }
    with pytest.raises(AssertionError):
        list(files_in(io.BytesIO(_archive({**layers, "2/layer.tar": b"other", "manifest.json": manifest}))))


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive with these files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def _stored(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what is in each file below a folder, and each value in a database of Dagster, which compresses some."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        for text in readable(content):
            yield str(path.relative_to(folder)), text
        if content.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as database:
                tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for table in tables:
                    for row in database.execute(f'SELECT * FROM "{table}"'):
                        blobs = [value for value in row if isinstance(value, bytes)]
                        for text in (text for blob in blobs for text in readable(blob)):
                            yield f"{path.relative_to(folder)}: {table}", text


@pytest.fixture
def account(secrets: Secrets, postgres_server: str) -> Iterator[str]:
    """The URL of a database whose user has a password that the server checks."""
    password = secrets.plant("Postgres")
    server = psycopg2.connect(postgres_server.replace("//taxi@", "//postgres@"))
    server.autocommit = True
    folder = Path(postgres_server.partition("host=")[2].partition("&")[0])
    rules = (folder / "pg_hba.conf").read_text()
    with closing(server), server.cursor() as cursor:
        try:
            (folder / "pg_hba.conf").write_text(f"local all ann scram-sha-256\n{rules}")
            cursor.execute("CREATE ROLE ann LOGIN PASSWORD %s", [password])
            cursor.execute("CREATE DATABASE planted OWNER ann")
            cursor.execute("SELECT pg_reload_conf()")
            yield postgres_server.replace("//taxi@/ny_taxi", f"//ann:{quote(password, safe='')}@/planted")
        finally:
            (folder / "pg_hba.conf").write_text(rules)
            cursor.execute("DROP DATABASE planted WITH (FORCE)")
            cursor.execute("DROP ROLE ann")
            cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture
def secrets() -> Secrets:
    """No secrets yet."""
    return Secrets()


class Planted:
    """An installation with secrets, and everything that its commands print.

    All its files are in `folder`: TAXI_HOME, the temporary folder, and the working directory of its commands.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.texts: dict[str, bytes] = {}
        self._capfd = capfd
        for name in ("work", "tmp"):
            (folder / name).mkdir()
        monkeypatch.chdir(folder / "work")
        monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
        monkeypatch.setattr(tempfile, "tempdir", None)

    def run(self, words: str, *, fails: bool = False, **variables: str) -> None:
        """Run `taxi` so that it prints tracebacks, with some other settings. Keep its output."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            code = run_here(patch, "--debug", *shlex.split(words))
        printed = self._capfd.readouterr()
        output = f"{printed.out}\n{printed.err}"
        self.texts[f"{len(self.texts)}: taxi {words} with {', '.join(variables)}"] = output.encode()
        assert bool(code) == fails, f"{words} ended with {code}:\n{output}"

    def leaks(self, secrets: Secrets) -> dict[str, set[str]]:
        """Return the places of the secrets in each text that was printed, and in each file, if there are any."""
        everything = [*self.texts.items(), *_stored(self.folder)]
        return {name: places for name, text in everything if (places := secrets.found(text))}


@pytest.fixture
def settings(
    account: str, secrets: Secrets, web: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of an installation, with a secret in every setting and variable that can have one.

    Its source is a web server that has one month and refuses another one.
    """
    user = tmp_path_factory.mktemp("user")
    login = secrets.plant("login of the source", between="@:/?%")
    (user / ".netrc").write_text(f"machine 127.0.0.1 login ann password {login}\n")
    path = publish(user, MONTH, 20)
    web.replies[f"/green/{path.name}"] = [Reply(path.read_bytes())]
    web.replies[f"/green/{REFUSED.stem}.csv.gz"] = [Reply(status=403)]
    password = quote(secrets.plant("password of the channel"), safe="")
    channel = secrets.plant("address of the channel", between="-")
    web.replies[f"/{channel}"] = [Reply()]
    proxy = quote(secrets.plant("proxy"), safe="")
    return {
        "HOME": str(user),
        "NO_PROXY": "127.0.0.1",
        "HTTP_PROXY": f"http://ann:{proxy}@127.0.0.1:1",
        "PGPASSWORD": secrets.plant("PGPASSWORD"),
        "TAXI_SOURCE_URL": web.url,
        "TAXI_FIRST_MONTH": MONTH.month,
        "TAXI_LAST_MONTH": REFUSED.month,
        "TAXI_POSTGRES_URL": account,
        "TAXI_ALERT_URLS": f"json://ann:{password}@{urlsplit(web.url).netloc}/{channel}",
        "TAXI_GCP_CREDENTIALS": json.dumps({"type": "service_account", "private_key": secrets.plant("unused key")}),
    }


@pytest.fixture
def planted(
    home: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Planted:
    """An installation with secrets, in which nothing has run."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Planted(home.parent, monkeypatch, capfd)


def test_secrets_are_written_nowhere(
    planted: Planted,
    secrets: Secrets,
    web: WebServer,
    dead_postgres_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No secret is printed, logged, stored, sent in a notification, or in a response of the UI.

    That holds for commands that succeed, and for each kind of failure of a server that a secret is for.
    """
    caplog.set_level(logging.DEBUG)
    with closing(NotificationInstallation(web, Inbox(web))) as installation:
        installation.tick("alert_failed_runs")
        _succeed(planted)
        _fail(planted, secrets, dead_postgres_url)
        _fail_in_google_cloud(planted, secrets)
        _refuse(planted, secrets)
        installation.tick("alert_failed_runs")
        with opened_ui(installation.instance) as ui:
            planted.texts.update({query: json.dumps(ui.ask(query)).encode() for query in QUERIES})
    planted.texts["notifications"] = b"".join(web.posted)
    planted.texts["log"] = caplog.text.encode()
    assert secrets.found(str(web.seen).encode()) == {"login of the source"}
    assert f"{MONTH} failed at postgres_trips".encode() in planted.texts["notifications"]
    assert all(b"postgres_trips" in planted.texts[query] for query in QUERIES[:2])
    assert planted.leaks(secrets) == {}


def _succeed(planted: Planted) -> None:
    """Run the commands that read or write something. Each of them succeeds."""
    for words in (
        f"materialize {_OPTIONS}",
        f"materialize --color green --months {REFUSED.month}",
        "status --json",
        "query --json 'SELECT count(*) FROM green_taxi_trips'",
        "query --postgres --csv 'SELECT * FROM green_taxi_trips'",
        f"report {_OPTIONS}",
        "adopt --color green",
        "doctor --alert",
        f"backfill {_OPTIONS} --json",
    ):
        planted.run(words)


_OPTIONS = f"--color green --months {MONTH.month}"


def _fail(planted: Planted, secrets: Secrets, dead_url: str) -> None:
    """Fail to log in, to reach a server, and to use a proxy."""
    wrong = os.environ["TAXI_POSTGRES_URL"].replace("plantedlast", "plantedwrong")
    password, parameter = (quote(secrets.plant(place), safe="") for place in ("another password", "parameter"))
    dead = dead_url.replace("taxi@", f"ann:{password}@")
    for url in (wrong, dead, f"{dead_url}?user=ann&password={parameter}"):
        planted.run(f"materialize {_OPTIONS} --select postgres", fails=True, TAXI_POSTGRES_URL=url)
    planted.run("query --postgres 'SELECT 1'", fails=True, TAXI_POSTGRES_URL=wrong)
    planted.run("doctor --json", fails=True, TAXI_POSTGRES_URL=dead)
    planted.run(f"materialize {_OPTIONS} --fresh", fails=True, TAXI_SOURCE_URL="http://source.example")
    refused = f"json://ann:{password}@127.0.0.1:1/{parameter}"
    planted.run("doctor --alert", fails=True, TAXI_ALERT_URLS=refused)


def _fail_in_google_cloud(planted: Planted, secrets: Secrets) -> None:
    """Use a key that Google accepts, without a permission, and one that is not valid."""
    key = create_account()
    secrets.know("key of Google", *key["private_key"].split("\n")[1:-2])
    places = {"TAXI_LAKE_URL": "gs://planted", "TAXI_WAREHOUSE_URL": "bigquery://nyc-trips/trips"}
    with serve_google() as server, pytest.MonkeyPatch.context() as patch:
        redirect(patch, server)
        server.faults.append(Fault("(?!POST /token)", 403, "forbidden", "Permission denied", times=1000))
        encoded = base64.b64encode(json.dumps(key).encode()).decode()
        planted.run("doctor", fails=True, TAXI_GCP_CREDENTIALS=encoded, **places)
        assert any("authorization" in request.headers for request in server.requests)
    planted.run("doctor", fails=True, **places)
    planted.run("doctor", fails=True, TAXI_GCP_CREDENTIALS=secrets.plant("no key"), **places)


def _refuse(planted: Planted, secrets: Secrets) -> None:
    """Set settings to URLs with a login that they must not have."""
    for name in (
        *("TAXI_SOURCE_URL", "TAXI_LAKE_URL", "TAXI_WAREHOUSE_URL", "TAXI_POSTGRES_URL"),
        *("TAXI_UI_URL", "TAXI_REPOSITORY_URL"),
    ):
        login = f"ann:{quote(secrets.plant(name), safe='')}"
        planted.run("doctor", fails=True, **{name: f"https://{login}@github.com/ann/trips"})
    planted.run("doctor", fails=True, TAXI_ALERT_URLS=f"slack://{secrets.plant('TAXI_ALERT_URLS', between=' ')}")
