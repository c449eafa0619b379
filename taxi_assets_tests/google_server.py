"""A real HTTP server on loopback that responds as Cloud Storage and BigQuery do, and fails as a test requests.

It implements as much of them as this project uses: objects with generations, resumable uploads, tables with monthly
partitions, load jobs, and the few queries of the stores. Each request to BigQuery is validated against Google's
discovery document, which google-api-python-client contains: whatever is not in that document is added to `unknown`.
The server follows Google's documentation as this project understands it. It is not an independent reference.
"""

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from taxi_assets_tests.web_server import listening

Json = dict[str, Any]

STEP = 256 << 10
"""The unit of an incomplete upload, in bytes: the server keeps a multiple of it."""


class ResponseError(Exception):
    """An error response."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass
class Fault:
    """A fault of the next `times` requests whose `METHOD /path?query` matches `pattern`. By default an error 503."""

    pattern: str
    status: int = 503
    reason: str = "backendError"
    message: str = "Visibility check was unavailable. Please retry the request"
    times: int = 1
    lost: bool = False
    """The server processes the request, then closes the connection without a response."""
    cut_at: int | None = None
    """The server closes the connection after it has received this many bytes of the body."""
    before: Callable[[], None] | None = None
    """A function to call first. The request then proceeds normally."""


def skip(pattern: str, times: int = 1) -> Fault:
    """Create a fault that does nothing for the first requests, so that a later fault concerns the ones after them."""
    return Fault(pattern, before=lambda: None, times=times)


@dataclass
class Request:
    """A request. `complete` is false if a fault closed the connection within the body."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    complete: bool = True

    @property
    def json(self) -> Json:
        """The parsed body."""
        return json.loads(self.body) if self.body else {}

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{'&'.join(f'{name}={value}' for name, value in self.query.items())}"


@dataclass
class Stored:
    """An object in a bucket: its resource (metadata) and its content."""

    resource: Json
    content: bytes


Response = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


_STORAGE, _BIGQUERY = "/storage/v1/b", "/bigquery/v2/projects/([^/]+)"
_TABLES = f"{_BIGQUERY}/datasets/([^/]+)/tables"


@dataclass
class GoogleServer:
    """The state of the server, its faults, and the requests that it received."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """What is in the requests to BigQuery and not in Google's discovery document."""
    buckets: dict[str, Json] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    """By `gs://` URI."""
    step: int = STEP
    """The multiple of bytes that an incomplete upload keeps."""
    corrupts: bool = False
    """Whether the server changes the content of uploads."""
    checks_hash: bool = True
    """Whether the server verifies the checksum that a client sends."""
    datasets: dict[str, Json] = field(default_factory=dict)
    tables: dict[str, Json] = field(default_factory=dict)
    """By `project.dataset.table`."""
    rows: dict[str, int] = field(default_factory=dict)
    """By `project.dataset.table$YYYYMM`."""
    views: set[str] = field(default_factory=set)
    """The names of the views that were created."""
    jobs: dict[str, Json] = field(default_factory=dict)
    failures: list[Json] = field(default_factory=list)
    """The error results of the next load jobs, in order."""
    running_polls: int = 0
    """How many status requests report a load job as running before it ends."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _sessions: dict[str, tuple[Request, bytearray]] = field(default_factory=dict)
    _generation: int = 1_600_000_000_000_000

    def requests_to(self, pattern: str) -> list[Request]:
        """Return the requests whose `METHOD /path?query` matches `pattern`."""
        return [request for request in self.requests if re.search(pattern, str(request))]

    def next_fault(self, request: Request) -> Fault | None:
        """Return the fault of this request, if any, and count it."""
        found = next((fault for fault in self.faults if fault.times and re.search(fault.pattern, str(request))), None)
        if found:
            found.times -= 1
        return found

    def store(self, uri: str, content: bytes, resource: Json | None = None) -> Stored:
        """Store content as a new generation of an object."""
        self._generation += 1
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        complete = {
            **(resource or {}),
            "name": name,
            "bucket": bucket,
            "generation": str(self._generation),
            "metageneration": "1",
            "size": str(len(content)),
            "crc32c": crc32c(content),
        }
        self.objects[uri] = Stored(complete, content)
        return self.objects[uri]

    def respond(self, request: Request, fault: Fault | None) -> Response:
        """Process the request, or return the error of a fault."""
        try:
            if fault is None:
                return self._process(request)
            return _error_response(ResponseError(fault.status, fault.reason, fault.message))
        except ResponseError as error:
            return _error_response(error)

    def _process(self, request: Request) -> Response:
        if request.path.startswith("/bigquery/"):
            self.unknown += _unknown(request)
        for method, path, handle in self._ROUTES:
            found = re.fullmatch(path, request.path)
            if found and method == request.method:
                response = handle(self, request, *map(unquote, found.groups()))
                return response if isinstance(response, tuple) else (200, {}, json.dumps(response).encode())
        raise ResponseError(404, "notFound", f"Not Found: this server does not implement {request}")

    def _token(self, _: Request) -> Json:
        return {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}

    # Cloud Storage

    def _get_bucket(self, _: Request, bucket: str) -> Json:
        if bucket not in self.buckets:
            raise ResponseError(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[bucket]

    def _create_bucket(self, request: Request) -> Json:
        name = request.json["name"]
        if name in self.buckets:
            raise ResponseError(
                409,
                "conflict",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the "
                "system. Please select a different name and try again.",
            )
        if request.json["location"] == "MARS":
            raise ResponseError(400, "invalid", "The specified location constraint is not valid.")
        self.buckets[name] = request.json
        return self.buckets[name]

    def _object(self, bucket: str, name: str) -> Stored:
        uri = f"gs://{bucket}/{name}"
        if uri not in self.objects:
            raise ResponseError(404, "notFound", f"No such object: {bucket}/{name}")
        return self.objects[uri]

    def _get_object(self, _: Request, bucket: str, name: str) -> Json:
        return self._object(bucket, name).resource

    def _download(self, request: Request, bucket: str, name: str) -> Response:
        stored = self._object(bucket, name)
        if request.query.get("generation") not in (None, stored.resource["generation"]):
            raise ResponseError(404, "notFound", f"No such object: {bucket}/{name}")
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", "")) or [None, 0, len(stored.content)]
        start, end = int(span[1] or 0), min(int(span[2] or 0) + 1, len(stored.content))
        part = {
            "Content-Range": f"bytes {start}-{end - 1}/{len(stored.content)}",
            "x-goog-generation": stored.resource["generation"],
        }
        return 206, part, stored.content[start:end]

    def _patch_object(self, request: Request, bucket: str, name: str) -> Json:
        stored = self._object(bucket, name)
        if request.query.get("ifMetagenerationMatch") not in (None, stored.resource["metageneration"]):
            raise ResponseError(
                412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
            )
        stored.resource |= request.json
        stored.resource["metageneration"] = str(int(stored.resource["metageneration"]) + 1)
        return stored.resource

    def _delete_object(self, request: Request, bucket: str, name: str) -> Response:
        self._object(bucket, name)
        self._require_generation(request, f"gs://{bucket}/{name}")
        del self.objects[f"gs://{bucket}/{name}"]
        return 204, {}, b""

    def _upload(self, request: Request, bucket: str) -> Response | Json:
        self._get_bucket(request, bucket)
        if request.query["uploadType"] == "multipart":
            return self._upload_multipart(request, bucket)
        self._require_generation(request, f"gs://{bucket}/{request.json['name']}")
        self._sessions[str(len(self._sessions))] = (request, bytearray())
        return 200, {"Location": f"{self.url}/session/{bucket}/{len(self._sessions) - 1}"}, b""

    def _upload_multipart(self, request: Request, bucket: str) -> Json:
        boundary = request.headers["content-type"].partition('boundary="')[2].rstrip('"')
        _, metadata, content, _ = request.body.split(f"--{boundary}".encode())
        resource = json.loads(metadata.partition(b"\r\n\r\n")[2])
        return self.store(
            f"gs://{bucket}/{resource['name']}", content.partition(b"\r\n\r\n")[2][:-2], resource
        ).resource

    def _upload_chunk(self, request: Request, bucket: str, number: str) -> Response | Json:
        start, kept = self._sessions[number]
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", request.headers["content-range"])
        assert span is not None
        first = int(span[1]) if span[1] else len(kept)
        assert first <= len(kept), "a hole in the upload"
        # Like Google, ignore bytes that were received before.
        kept += request.body[len(kept) - first :]
        if not request.complete or span[2] == "*" or len(kept) < int(span[2]):
            del kept[len(kept) // self.step * self.step :]
            return 308, {"Range": f"bytes=0-{len(kept) - 1}"} if kept else {}, b""
        content = bytes(kept)
        if self.corrupts:
            content = bytes([content[0] ^ 1]) + content[1:]
        sent = request.headers.get("x-goog-hash", "").removeprefix("crc32c=")
        if self.checks_hash and sent not in ("", crc32c(content)):
            raise ResponseError(400, "invalid", f'Provided CRC32C "{sent}" doesn\'t match calculated CRC32C.')
        uri = f"gs://{bucket}/{start.json['name']}"
        self._require_generation(start, uri)
        resource = {**start.json, "contentType": start.headers.get("x-upload-content-type", "")}
        return self.store(uri, content, resource).resource

    def _require_generation(self, request: Request, uri: str) -> None:
        current = self.objects[uri].resource["generation"] if uri in self.objects else "0"
        if request.query.get("ifGenerationMatch", current) != current:
            raise ResponseError(
                412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
            )

    # BigQuery

    def _get_dataset(self, _: Request, project: str, dataset: str) -> Json:
        found = _find(self.datasets, f"{project}.{dataset}", "Dataset")
        return {**found, "datasetReference": {"projectId": project, "datasetId": dataset}}

    def _create_dataset(self, request: Request, project: str) -> Json:
        name = f"{project}.{request.json['datasetReference']['datasetId']}"
        if request.json["location"] == "MARS":
            raise ResponseError(400, "invalid", "Invalid value for location: MARS is not a valid value")
        return _create(self.datasets, name, request.json)

    def _get_table(self, _: Request, project: str, dataset: str, table: str) -> Json:
        return _find(self.tables, f"{project}.{dataset}.{table}", "Table")

    def _list_tables(self, _: Request, project: str, dataset: str) -> Json:
        _find(self.datasets, f"{project}.{dataset}", "Dataset")
        return {"tables": [table for name, table in self.tables.items() if name.startswith(f"{project}.{dataset}.")]}

    def _create_table(self, request: Request, project: str, dataset: str) -> Json:
        location = _find(self.datasets, f"{project}.{dataset}", "Dataset")["location"]
        name = f"{project}.{dataset}.{request.json['tableReference']['tableId']}"
        resource = {**request.json, "location": location, "id": name.replace(".", ":", 1), "etag": "1"}
        resource["schema"] = {"fields": [_stored_column(column) for column in request.json["schema"]["fields"]]}
        return _create(self.tables, name, {"type": "TABLE", **resource})

    def _patch_table(self, request: Request, project: str, dataset: str, table: str) -> Json:
        resource = _find(self.tables, f"{project}.{dataset}.{table}", "Table")
        if request.headers.get("if-match", resource["etag"]) != resource["etag"]:
            raise ResponseError(412, "conditionNotMet", "Precondition Failed")
        resource["schema"] = {"fields": [_stored_column(column) for column in request.json["schema"]["fields"]]}
        resource["description"] = request.json["description"]
        resource["etag"] += "1"
        return resource

    def _delete_table(self, _: Request, project: str, dataset: str, table: str) -> Response:
        name = f"{project}.{dataset}.{table}"
        if name in self.rows:  # a partition
            del self.rows[name]
        else:
            _find(self.tables, name, "Table")
            self.drop(name)
        return 204, {}, b""

    def drop(self, table: str) -> None:
        """Remove a table and its rows."""
        del self.tables[table]
        self.rows = {name: rows for name, rows in self.rows.items() if not name.startswith(f"{table}$")}

    def _get_job(self, request: Request, _: str, job: str) -> Json:
        resource = _find(self.jobs, job, "Job")
        assert request.query["location"] == resource["jobReference"]["location"]
        if resource["polls"] < self.running_polls:
            resource["polls"] += 1
            return resource
        if resource["status"]["state"] != "DONE":
            self._run_load(resource)
        return resource

    def _list_jobs(self, request: Request, _: str) -> Json:
        states = {"running": "RUNNING", "pending": "PENDING", "done": "DONE"}
        wanted = states[request.query["stateFilter"]]
        return {"jobs": [job for job in self.jobs.values() if job["status"]["state"] == wanted]}

    def _create_job(self, request: Request, _: str) -> Json:
        job = request.json
        if "query" in job["configuration"]:
            return self._dry_run(job)
        _create(self.jobs, job["jobReference"]["jobId"], {**job, "status": {"state": "RUNNING"}, "polls": 0})
        return self.jobs[job["jobReference"]["jobId"]]

    def _run_load(self, job: Json) -> None:
        """End a load job: replace a partition with the rows of a Parquet object, or fail.

        The columns of the job must be in the table and in the object. Whether BigQuery itself accepts a column that is
        not in the object is not documented.
        """
        job["status"] = {"state": "DONE"}
        problem = self.failures.pop(0) if self.failures else None
        try:
            if problem is None:
                self._replace_partition(job["configuration"]["load"])
        except ResponseError as error:
            problem = {"reason": error.reason, "message": str(error)}
        if problem:
            job["status"] |= {"errorResult": problem, "errors": [problem, *problem.pop("more", [])]}

    def _replace_partition(self, load: Json) -> None:
        destination = load["destinationTable"]
        table, _, month = destination["tableId"].partition("$")
        name = f"{destination['projectId']}.{destination['datasetId']}.{table}"
        existing = {field["name"].lower() for field in _find(self.tables, name, "Table")["schema"]["fields"]}
        assert (load["writeDisposition"], load["createDisposition"]) == ("WRITE_TRUNCATE", "CREATE_NEVER")
        columns = {field["name"].lower() for field in load["schema"]["fields"]}
        if unknown := columns - existing:
            message = f"Provided Schema does not match Table {name}. Cannot add fields (field: {min(unknown)})"
            raise ResponseError(400, "invalid", message)
        self.rows[f"{name}${month}"] = sum(_rows(self.objects, uri, columns) for uri in load["sourceUris"])

    def _dry_run(self, job: Json) -> Json:
        query = job["configuration"]["query"]["query"]
        assert job["configuration"]["dryRun"]
        kind = query.split()[0].upper()
        if kind not in ("SELECT", "DELETE"):
            raise ResponseError(400, "invalidQuery", f'Syntax error: Unexpected identifier "{kind}" at [1:1]')
        return {**job, "status": {"state": "DONE"}, "statistics": {"query": {"statementType": kind}}}

    def _query(self, request: Request, project: str) -> Json:
        """Return the row count of a table, or of the month in the parameters: the result of every query."""
        name = re.search(r"`([\w.-]+)`", request.json["query"])
        assert name is not None
        if request.json["query"].startswith("CREATE OR REPLACE VIEW"):
            self.views.add(name[1])
            return {"jobComplete": True, "jobReference": {"projectId": project, "jobId": "query", "location": "US"}}
        _find(self.tables, name[1], "Table")
        months = [found["parameterValue"]["value"][:7] for found in request.json.get("queryParameters", ())]
        partition = f"{name[1]}${''.join(months).replace('-', '')}"
        rows = sum(count for stored, count in self.rows.items() if stored.startswith(partition))
        return {
            "jobComplete": True,
            "jobReference": {"projectId": project, "jobId": "query", "location": "US"},
            "schema": {"fields": [{"name": "f0_", "type": "INTEGER"}]},
            "rows": [{"f": [{"v": str(rows)}]}],
            "totalRows": "1",
        }

    _ROUTES: ClassVar[list[tuple[str, str, Callable[..., Response | Json]]]] = [
        ("POST", "/token", _token),
        ("GET", f"{_STORAGE}/([^/]+)", _get_bucket),
        ("POST", _STORAGE, _create_bucket),
        ("GET", f"{_STORAGE}/([^/]+)/o/([^/]+)", _get_object),
        ("GET", f"/download{_STORAGE}/([^/]+)/o/([^/]+)", _download),
        ("PATCH", f"{_STORAGE}/([^/]+)/o/([^/]+)", _patch_object),
        ("DELETE", f"{_STORAGE}/([^/]+)/o/([^/]+)", _delete_object),
        ("POST", f"/upload{_STORAGE}/([^/]+)/o", _upload),
        ("PUT", "/session/([^/]+)/([0-9]+)", _upload_chunk),
        ("GET", f"{_BIGQUERY}/datasets/([^/]+)", _get_dataset),
        ("POST", f"{_BIGQUERY}/datasets", _create_dataset),
        ("GET", f"{_TABLES}/([^/]+)", _get_table),
        ("GET", _TABLES, _list_tables),
        ("POST", _TABLES, _create_table),
        ("PATCH", f"{_TABLES}/([^/]+)", _patch_table),
        ("DELETE", f"{_TABLES}/([^/]+)", _delete_table),
        ("GET", f"{_BIGQUERY}/jobs/([^/]+)", _get_job),
        ("GET", f"{_BIGQUERY}/jobs", _list_jobs),
        ("POST", f"{_BIGQUERY}/jobs", _create_job),
        ("POST", f"{_BIGQUERY}/queries", _query),
    ]


def _find(things: dict[str, Json], name: str, kind: str) -> Json:
    if name not in things:
        raise ResponseError(404, "notFound", f"Not found: {kind} {name}")
    return things[name]


def _create(things: dict[str, Json], name: str, resource: Json) -> Json:
    if name in things:
        raise ResponseError(409, "duplicate", f"Already Exists: {name}")
    things[name] = resource
    return resource


def _stored_column(column: Json) -> Json:
    """Return a column as BigQuery returns it, with the legacy names of types."""
    return {**column, "type": {"INT64": "INTEGER", "FLOAT64": "FLOAT"}.get(column["type"], column["type"])}


def _rows(objects: dict[str, Stored], uri: str, columns: set[str]) -> int:
    """Return the row count of a Parquet object that has these columns."""
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    if uri not in objects:
        raise ResponseError(404, "notFound", f"Not found: URI {uri}")
    metadata = read_metadata(pa.BufferReader(objects[uri].content))
    if missing := columns - {name.lower() for name in metadata.schema.names}:
        raise ResponseError(400, "invalid", f"Error while reading data, error message: no column {min(missing)}")
    return int(metadata.num_rows)


def crc32c(content: bytes) -> str:
    """Return the CRC32C checksum in Google's encoding."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


@cache
def _discovery() -> Json:
    """Return Google's description of the requests to BigQuery."""
    document = files("googleapiclient.discovery_cache.documents").joinpath("bigquery.v2.json")
    return json.loads(document.read_text())  # type: ignore[no-any-return]


def _unknown(request: Request) -> list[str]:
    """Return the parts of a request that are missing or different in Google's discovery document."""
    requested = request.path.removeprefix("/bigquery/v2/")
    methods = [method for resource in _discovery()["resources"].values() for method in resource["methods"].values()]
    for method in methods:
        path = re.sub(r"\{\+?\w+\}", "[^/]+", method.get("flatPath", method["path"]))
        if method["httpMethod"] == request.method and re.fullmatch(path, requested):
            known = {*method.get("parameters", {}), *_discovery()["parameters"], *_CLIENT_PARAMETERS}
            found = [f"{request}: parameter {name}" for name in request.query if name not in known]
            body = method.get("request")
            return found + [
                f"{request}: {error}" for error in (_schema_errors(request.json, body, "body") if body else [])
            ]
    return [f"{request}: no such method"]


_CLIENT_PARAMETERS = ("projection",)
"""Parameters that Google's client adds to a request for a job although the document does not list them."""


def _schema_errors(value: Any, schema: Json, at: str) -> list[str]:
    """Return the differences between a value and a schema of the discovery document."""
    if "$ref" in schema:
        return _schema_errors(value, _discovery()["schemas"][schema["$ref"]], at)
    kind = schema["type"]
    if kind == "object" and isinstance(value, dict):
        fields, other = schema.get("properties", {}), schema.get("additionalProperties")
        unknown = [f"{at}.{name} is not a field" for name in value if name not in fields and other is None]
        inside = [(name, item, fields.get(name, other)) for name, item in value.items() if fields.get(name, other)]
        return unknown + [
            error for name, item, below in inside for error in _schema_errors(item, below, f"{at}.{name}")
        ]
    if kind == "array" and isinstance(value, list):
        return [error for item in value for error in _schema_errors(item, schema["items"], f"{at}[]")]
    types: dict[str, tuple[type, ...]] = {"string": (str,), "boolean": (bool,), "integer": (int,), "any": (object,)}
    right = isinstance(value, types.get(kind, (int, float) if kind == "number" else ()))
    listed = "enum" not in schema or value in schema["enum"]
    return [] if right and listed else [f"{at} is {value!r}, expected {schema.get('enum', kind)}"]


def create_account() -> dict[str, str]:
    """Return the key of a service account that does not exist."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return {
        "type": "service_account",
        "project_id": "nyc-trips",
        "private_key_id": "1",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "client_email": "loader@nyc-trips.example",
        "token_uri": "https://token.example/token",
    }


def redirect(monkeypatch: pytest.MonkeyPatch, server: GoogleServer) -> None:
    """Send all requests of Google's clients, also those for a token, to a server on loopback."""
    send = HTTPAdapter.send

    def send_to_server(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        request.url = f"{server.url}{parts.path}?{parts.query}"
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", send_to_server)


@contextmanager
def serve_google() -> Iterator[GoogleServer]:
    """Start an empty server."""
    server = GoogleServer()
    with listening(_handler(server), bugs=server.unknown) as server.url:
        yield server


def _handler(server: GoogleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # sends head and body together, otherwise each response waits 40 ms for the client

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)
            with server.lock:
                server.requests.append(request)
                fault = server.next_fault(request)
            length = int(headers.get("content-length", 0))
            cut = fault is not None and fault.cut_at is not None
            request.body = self.rfile.read(min(length, fault.cut_at or 0) if fault and cut else length)
            request.complete = len(request.body) == length
            if fault and fault.before:
                fault.before()
            with server.lock:
                error = fault if fault and not (fault.lost or cut or fault.before) else None
                response = server.respond(request, error)
            if fault and (fault.lost or cut):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(*response)

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            kind = {"Content-Type": "application/json; charset=UTF-8"}
            for name, value in {**kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


def _error_response(error: ResponseError) -> Response:
    """Return an error in Google's format."""
    reasons = [{"domain": "global", "reason": error.reason, "message": str(error)}]
    body = {"error": {"code": error.status, "message": str(error), "errors": reasons}}
    return error.status, {}, json.dumps(body).encode()
