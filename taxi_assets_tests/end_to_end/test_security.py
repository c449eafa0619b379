"""Other web pages in the user's browser cannot start runs through `taxi dev`. Through `dagster dev`, they can."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from taxi_assets.instance.opening import dagster_home, open_instance
from taxi_assets.tlc.trips import TripMonth
from taxi_assets_tests.defs.daemon import until
from taxi_assets_tests.months import publish
from taxi_assets_tests.program import BIN
from taxi_assets_tests.web_server import Reply, serve

MONTH = TripMonth("fhv", "2020-02")

NO_RUNS = "concurrency: {runs: {max_concurrent_runs: 0}}\ntelemetry: {enabled: false}\n"
"""The configuration of an instance whose daemon starts no run: launched runs stay in the queue."""

LAUNCH = """
mutation { launchRun(executionParams: {
  selector: {
    repositoryLocationName: "taxi_assets.definitions", repositoryName: "__repository__", jobName: "load_fhv"
  }
  mode: "default"
  executionMetadata: {tags: [{key: "dagster/partition", value: "2020-02"}, {key: "launched_by", value: "NAME"}]}
}) { __typename } }
"""
RUNS = "{ runsOrError { ... on Runs { results { tags { key value } } } } }"

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "graphql-ws",
}

ATTACKER = "attacker.example"

PAGE = """
<!doctype html>
<iframe name="frame"></iframe>
<form method="post" target="frame" action="{form}"></form>
<script>
  const image = new Image();
  const done = (element) => new Promise((resolve) => element.onload = element.onerror = resolve);
  const requests = [done(image), done(document.querySelector("iframe"))];
  image.src = "{image}";
  document.forms[0].submit();
  requests.push(fetch("{fetch}", {{method: "POST", mode: "no-cors"}}));
  Promise.allSettled(requests).then(() => fetch("/done", {{method: "POST", body: "done"}}));
</script>
"""
"""A page that sends a mutation to another server in each of the ways that need no permission of that server.

It tells its own server when all responses have arrived.
"""


class Server(NamedTuple):
    """A running webserver on the loopback interface."""

    port: int

    @property
    def url(self) -> str:
        """The URL that a user opens."""
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send a request with these headers, and return the status and the text of the response."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        # The response to a websocket has no end.
        text = "" if response.status == 101 else response.read().decode()
        connection.close()
        return response.status, text

    def names(self) -> set[str]:
        """The names under which runs were launched."""
        _, text = self.send("POST", graphql(RUNS))
        runs: list[dict[str, Any]] = json.loads(text)["data"]["runsOrError"]["results"]
        return {tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "launched_by"}


def graphql(document: str) -> str:
    """The path of a GraphQL document, which Dagster also reads from the URL of a POST request."""
    return f"/graphql?{urlencode({'query': document})}"


def launch(name: str) -> str:
    """The path of a mutation that launches a run under this name."""
    return graphql(LAUNCH.replace("NAME", name))


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[Server]:
    """Run a webserver on an empty history, in which runs are only queued."""
    home = folder / "home"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text(NO_RUNS)
    open_instance(home).dispose()
    publish(folder / "source", MONTH, 10)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        server = Server(found.getsockname()[1])
    places = {
        "TAXI_HOME": str(home),
        "TAXI_SOURCE_URL": str(folder / "source"),
        "DAGSTER_HOME": str(dagster_home(home)),
    }
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(server.port)],
            cwd=folder,
            env={**os.environ, **places},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: responds(server), "a response of the webserver")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def responds(server: Server) -> bool:
    """Whether the server responds. Before it listens, it refuses connections."""
    try:
        return server.send("GET", "/server_info")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running `taxi dev`."""
    with serving(tmp_path_factory.mktemp("protected"), str(BIN / "taxi"), "dev") as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The webserver that `dagster dev` starts."""
    command = [sys.executable, "-m", "dagster_webserver", "-m", "taxi_assets.definitions"]
    with serving(tmp_path_factory.mktemp("plain"), *command) as server:
        yield server


def test_queries_by_get_are_accepted(protected: Server) -> None:
    """Queries by GET are accepted, as before, and documents that are not valid get Dagster's own response."""
    assert protected.send("GET", graphql("{ version }"))[0] == 200
    assert protected.send("GET", graphql("mutation {"))[0] == 400


def test_a_mutation_beside_a_query_is_refused(protected: Server) -> None:
    """A document by GET that contains a mutation is refused, whichever operation it names."""
    document = graphql("query a { version } mutation b { __typename }")
    assert [protected.send("GET", f"{document}&operationName={name}")[0] for name in "ab"] == [403, 403]


def test_the_ui_can_launch_runs(protected: Server) -> None:
    """A mutation by POST is accepted from a page of the UI, and from a program, which sends no origin."""
    status, text = protected.send("POST", launch("ui"), {"Origin": protected.url})
    assert status == 200
    assert "LaunchRunSuccess" in text
    own = {"Host": f"localhost:{protected.port}", "Origin": f"http://localhost:{protected.port}"}
    assert protected.send("POST", launch("ui on localhost"), own)[0] == 200
    assert protected.send("POST", launch("program"))[0] == 200
    assert protected.names() >= {"ui", "ui on localhost", "program"}


ATTACKS = {
    "mutation by GET": ("GET", {}),
    "page of another server": ("POST", {"Origin": f"http://{ATTACKER}"}),
    "page of another port": ("POST", {"Origin": "http://127.0.0.1:1"}),
    "page without an origin": ("POST", {"Origin": "null"}),
    "rebound name": ("POST", {"Host": f"{ATTACKER}:3000", "Origin": f"http://{ATTACKER}:3000"}),
    "rebound name without an origin": ("POST", {"Host": ATTACKER}),
}
"""The method and the headers of requests that a browser sends for a page of another server."""


@pytest.mark.parametrize("name", ATTACKS)
def test_taxi_dev_refuses_requests_of_other_pages(name: str, protected: Server) -> None:
    """The response is 403 with a short reason, and no run is launched."""
    method, headers = ATTACKS[name]
    status, reason = protected.send(method, launch(name), headers)
    assert status == 403
    assert len(reason) < 250
    assert any(slug in reason for slug in ("[mutation-by-get]", "[foreign-origin]", "[unknown-host]"))
    assert name not in protected.names()


@pytest.mark.parametrize("name", ATTACKS)
def test_dagster_accepts_requests_of_other_pages(name: str, plain: Server) -> None:
    """Without the protection, each of these requests launches a run. If not, Dagster now has its own protection."""
    method, headers = ATTACKS[name]
    status, text = plain.send(method, launch(name), headers)
    assert status == 200
    assert "LaunchRunSuccess" in text
    assert name in plain.names()


FOREIGN_WEBSOCKETS = [
    {"Origin": f"http://{ATTACKER}"},
    {"Host": f"{ATTACKER}:3000", "Origin": f"http://{ATTACKER}:3000"},
]


def test_websockets_of_the_ui_are_accepted(protected: Server) -> None:
    """The UI can open a websocket, which its subscriptions use."""
    assert protected.send("GET", "/graphql", {**WEBSOCKET, "Origin": protected.url})[0] == 101


@pytest.mark.parametrize("headers", FOREIGN_WEBSOCKETS, ids=["foreign origin", "rebound name"])
def test_websockets_of_other_pages_are_refused(headers: dict[str, str], protected: Server) -> None:
    """A page of another server cannot open a websocket, which would show it the logs of runs."""
    assert protected.send("GET", "/graphql", WEBSOCKET | headers)[0] == 403


@pytest.mark.parametrize("headers", FOREIGN_WEBSOCKETS, ids=["foreign origin", "rebound name"])
def test_dagster_accepts_websockets_of_other_pages(headers: dict[str, str], plain: Server) -> None:
    """Without the protection, every page can open a websocket."""
    assert plain.send("GET", "/graphql", WEBSOCKET | headers)[0] == 101


def test_other_pages_cannot_show_the_ui_in_a_frame(protected: Server) -> None:
    """A browser does not show the UI in a frame of another server's page, where a user could click without noticing."""
    connection = HTTPConnection("127.0.0.1", protected.port, timeout=60)
    connection.request("GET", "/runs")
    assert connection.getresponse().headers["X-Frame-Options"] == "SAMEORIGIN"
    connection.close()


def test_a_page_in_a_browser_launches_no_run(protected: Server, tmp_path: Path) -> None:
    """In a real browser, the image, the form and the script of another server's page launch no run."""
    visit(protected, tmp_path)
    assert not {"image", "form", "fetch"} & protected.names()


def test_a_page_in_a_browser_launches_runs_with_dagster(plain: Server, tmp_path: Path) -> None:
    """Without the protection, the same page launches a run in each of these ways."""
    visit(plain, tmp_path)
    assert plain.names() >= {"image", "form", "fetch"}


def visit(target: Server, profile: Path) -> None:
    """Open a page of another server in Chromium that sends mutations to the target. Skip the test without Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    ways = {way: f"{target.url}{launch(way)}" for way in ("image", "form", "fetch")}
    with serve() as attacker:
        attacker.replies["/"] = [Reply(PAGE.format(**ways).encode(), headers={"Content-Type": "text/html"})]
        browser = subprocess.Popen(
            [
                *(chromium, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "--no-proxy-server",
                f"--host-resolver-rules=MAP {ATTACKER} 127.0.0.1",
                f"--user-data-dir={profile}",
                attacker.url.replace("127.0.0.1", ATTACKER),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(lambda: bool(attacker.posted), "the responses to a page in Chromium")
        finally:
            os.killpg(browser.pid, signal.SIGTERM)
            browser.wait(timeout=30)
