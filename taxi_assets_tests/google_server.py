"""A real HTTP server on loopback that answers as Cloud Storage and BigQuery do, and fails as a test tells it to.

It knows as much of them as this project asks: objects with generations, resumable uploads, tables with monthly
partitions, load jobs, and the few queries that the stores make. Each request to BigQuery is held against Google's
discovery document, which google-api-python-client carries: what that does not know is put into `unknown`.
It is this project's reading of Google's documentation, not an independent witness.
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
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taxi_assets_tests.web_server import listening

Json = dict[str, Any]

STEP = 256 << 10
"""Bytes. An upload keeps multiples of this of what has arrived."""


class GoogleError(Exception):
    """An answer of Google's that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass
class Fault:
    """What befalls the next `times` requests whose `METHOD /path?query` has a match for `on`."""

    on: str
    status: int = 503
    reason: str = "backendError"
    message: str = "Visibility check was unavailable. Please retry the request"
    times: int = 1
    lost: bool = False
    """The work is done, and the connection cut before the answer."""
    cut_at: int | None = None
    """The connection is cut when so many bytes of the body have arrived."""
    before: Callable[[], None] | None = None
    """Done first; then the request goes on as if nothing had happened."""


@dataclass
class Request:
    """A request as it came in; `body` is not yet read where `read_body` was not called."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    whole: bool = True

    @property
    def json(self) -> Json:
        """The body."""
        return json.loads(self.body) if self.body else {}

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{'&'.join(f'{name}={value}' for name, value in self.query.items())}"


@dataclass
class Stored:
    """An object of a bucket."""

    resource: Json
    content: bytes


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class GoogleServer:
    """What is stored, what went wrong, and what was asked."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """What Google's discovery document does not know of the requests to BigQuery."""
    buckets: dict[str, Json] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    """By `gs://` address."""
    corrupts: bool = False
    """Whether bytes change on their way to the disk."""
    checks_hash: bool = True
    """Whether the checksum that a client sends is looked at."""
    datasets: dict[str, Json] = field(default_factory=dict)
    tables: dict[str, Json] = field(default_factory=dict)
    """By `project.dataset.table`."""
    rows: dict[str, int] = field(default_factory=dict)
    """By `project.dataset.table$YYYYMM`."""
    jobs: dict[str, Json] = field(default_factory=dict)
    failures: list[Json] = field(default_factory=list)
    """What the next load jobs end with, in order."""
    pending: int = 0
    """How often a load job is asked for before it is done."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _sessions: dict[str, tuple[Request, bytearray]] = field(default_factory=dict)
    _generation: int = 1_600_000_000_000_000

    def asked(self, on: str) -> list[Request]:
        """The requests whose `METHOD /path?query` has a match."""
        return [request for request in self.seen if re.search(on, str(request))]

    def fault(self, request: Request) -> Fault | None:
        """What befalls this request."""
        found = next((fault for fault in self.faults if fault.times and re.search(fault.on, str(request))), None)
        if found:
            found.times -= 1
        return found

    def store(self, uri: str, content: bytes, resource: Json | None = None) -> Stored:
        """Let content appear as a new generation of an object."""
        self._generation += 1
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        told = {
            **(resource or {}),
            "name": name,
            "bucket": bucket,
            "generation": str(self._generation),
            "metageneration": "1",
            "size": str(len(content)),
            "crc32c": crc32c(content),
        }
        self.objects[uri] = Stored(told, content)
        return self.objects[uri]

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """Do what is asked, or fail as a fault says."""
        try:
            if fault is None:
                return self._do(request)
            return _error(GoogleError(fault.status, fault.reason, fault.message))
        except GoogleError as error:
            return _error(error)

    def _do(self, request: Request) -> Answer:
        if request.path.startswith("/bigquery/"):
            self.unknown += _unknown(request)
        for method, path, do in _ROUTES:
            found = re.fullmatch(path, request.path)
            if found and method == request.method:
                answer = do(self, request, *map(unquote, found.groups()))
                return answer if isinstance(answer, tuple) else (200, {}, json.dumps(answer).encode())
        raise GoogleError(404, "notFound", f"Not Found: this server does not know {request}")

    def _token(self, _: Request) -> Json:
        return {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}

    # Cloud Storage

    def _get_bucket(self, _: Request, bucket: str) -> Json:
        if bucket not in self.buckets:
            raise GoogleError(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[bucket]

    def _make_bucket(self, request: Request) -> Json:
        name = request.json["name"]
        if name in self.buckets:
            raise GoogleError(
                409,
                "conflict",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the "
                "system. Please select a different name and try again.",
            )
        if request.json["location"] == "MARS":
            raise GoogleError(400, "invalid", "The specified location constraint is not valid.")
        self.buckets[name] = request.json
        return self.buckets[name]

    def _object(self, bucket: str, name: str) -> Stored:
        uri = f"gs://{bucket}/{name}"
        if uri not in self.objects:
            raise GoogleError(404, "notFound", f"No such object: {bucket}/{name}")
        return self.objects[uri]

    def _get_object(self, _: Request, bucket: str, name: str) -> Json:
        return self._object(bucket, name).resource

    def _download(self, request: Request, bucket: str, name: str) -> Answer:
        stored = self._object(bucket, name)
        if request.query.get("generation") not in (None, stored.resource["generation"]):
            raise GoogleError(404, "notFound", f"No such object: {bucket}/{name}")
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
            raise GoogleError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        stored.resource |= request.json
        stored.resource["metageneration"] = str(int(stored.resource["metageneration"]) + 1)
        return stored.resource

    def _delete_object(self, request: Request, bucket: str, name: str) -> Answer:
        self._object(bucket, name)
        self._require_generation(request, f"gs://{bucket}/{name}")
        del self.objects[f"gs://{bucket}/{name}"]
        return 204, {}, b""

    def _upload(self, request: Request, bucket: str) -> Answer | Json:
        self._get_bucket(request, bucket)
        if request.query["uploadType"] == "multipart":
            return self._upload_at_once(request, bucket)
        self._require_generation(request, f"gs://{bucket}/{request.json['name']}")
        self._sessions[str(len(self._sessions))] = (request, bytearray())
        return 200, {"Location": f"{self.url}/session/{bucket}/{len(self._sessions) - 1}"}, b""

    def _upload_at_once(self, request: Request, bucket: str) -> Json:
        boundary = request.headers["content-type"].partition('boundary="')[2].rstrip('"')
        _, about, content, _ = request.body.split(f"--{boundary}".encode())
        resource = json.loads(about.partition(b"\r\n\r\n")[2])
        return self.store(
            f"gs://{bucket}/{resource['name']}", content.partition(b"\r\n\r\n")[2][:-2], resource
        ).resource

    def _upload_chunk(self, request: Request, bucket: str, number: str) -> Answer | Json:
        start, kept = self._sessions[number]
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", request.headers["content-range"])
        assert span is not None
        first = int(span[1]) if span[1] else len(kept)
        assert first <= len(kept), "a hole in the upload"
        # As Google does, nothing is taken of what is there already.
        kept += request.body[len(kept) - first :]
        if not request.whole or span[2] == "*" or len(kept) < int(span[2]):
            del kept[len(kept) // STEP * STEP :]
            return 308, {"Range": f"bytes=0-{len(kept) - 1}"} if kept else {}, b""
        content = bytes(kept)
        if self.corrupts:
            content = bytes([content[0] ^ 1]) + content[1:]
        sent = request.headers.get("x-goog-hash", "").removeprefix("crc32c=")
        if self.checks_hash and sent not in ("", crc32c(content)):
            raise GoogleError(400, "invalid", f'Provided CRC32C "{sent}" doesn\'t match calculated CRC32C.')
        uri = f"gs://{bucket}/{start.json['name']}"
        self._require_generation(start, uri)
        about = {**start.json, "contentType": start.headers.get("x-upload-content-type", "")}
        return self.store(uri, content, about).resource

    def _require_generation(self, request: Request, uri: str) -> None:
        there = self.objects[uri].resource["generation"] if uri in self.objects else "0"
        if request.query.get("ifGenerationMatch", there) != there:
            raise GoogleError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")

    # BigQuery

    def _get_dataset(self, _: Request, project: str, dataset: str) -> Json:
        place = _found(self.datasets, f"{project}.{dataset}", "Dataset")
        return {**place, "datasetReference": {"projectId": project, "datasetId": dataset}}

    def _make_dataset(self, request: Request, project: str) -> Json:
        name = f"{project}.{request.json['datasetReference']['datasetId']}"
        if request.json["location"] == "MARS":
            raise GoogleError(400, "invalid", "Invalid value for location: MARS is not a valid value")
        return _made(self.datasets, name, request.json)

    def _get_table(self, _: Request, project: str, dataset: str, table: str) -> Json:
        return _found(self.tables, f"{project}.{dataset}.{table}", "Table")

    def _make_table(self, request: Request, project: str, dataset: str) -> Json:
        place = _found(self.datasets, f"{project}.{dataset}", "Dataset")
        name = f"{project}.{dataset}.{request.json['tableReference']['tableId']}"
        resource = {**request.json, "location": place["location"], "id": name.replace(".", ":", 1), "etag": "1"}
        resource["schema"] = {"fields": [_as_told(column) for column in request.json["schema"]["fields"]]}
        return _made(self.tables, name, {"type": "TABLE", **resource})

    def _patch_table(self, request: Request, project: str, dataset: str, table: str) -> Json:
        resource = _found(self.tables, f"{project}.{dataset}.{table}", "Table")
        if request.headers.get("if-match", resource["etag"]) != resource["etag"]:
            raise GoogleError(412, "conditionNotMet", "Precondition Failed")
        resource["schema"] = {"fields": [_as_told(column) for column in request.json["schema"]["fields"]]}
        resource["etag"] += "1"
        return resource

    def _delete_table(self, _: Request, project: str, dataset: str, table: str) -> Answer:
        name = f"{project}.{dataset}.{table}"
        if name in self.rows:  # a partition
            del self.rows[name]
        else:
            _found(self.tables, name, "Table")
            self.drop(name)
        return 204, {}, b""

    def drop(self, table: str) -> None:
        """Forget a table and its rows."""
        del self.tables[table]
        self.rows = {name: rows for name, rows in self.rows.items() if not name.startswith(f"{table}$")}

    def _get_job(self, request: Request, _: str, job: str) -> Json:
        resource = _found(self.jobs, job, "Job")
        assert request.query["location"] == resource["jobReference"]["location"]
        if resource["asked"] < self.pending:
            resource["asked"] += 1
            return resource
        if resource["status"]["state"] != "DONE":
            self._run_load(resource)
        return resource

    def _list_jobs(self, request: Request, _: str) -> Json:
        states = {"running": "RUNNING", "pending": "PENDING", "done": "DONE"}
        wanted = states[request.query["stateFilter"]]
        return {"jobs": [job for job in self.jobs.values() if job["status"]["state"] == wanted]}

    def _make_job(self, request: Request, _: str) -> Json:
        job = request.json
        if "query" in job["configuration"]:
            return self._plan(job)
        _made(self.jobs, job["jobReference"]["jobId"], {**job, "status": {"state": "RUNNING"}, "asked": 0})
        return self.jobs[job["jobReference"]["jobId"]]

    def _run_load(self, job: Json) -> None:
        """Replace a partition by the rows of a Parquet object, or end with an error."""
        job["status"] = {"state": "DONE"}
        problem = self.failures.pop(0) if self.failures else None
        try:
            if problem is None:
                self._replace_partition(job["configuration"]["load"])
        except GoogleError as error:
            problem = {"reason": error.reason, "message": str(error)}
        if problem:
            job["status"] |= {"errorResult": problem, "errors": [problem, *problem.pop("more", [])]}

    def _replace_partition(self, load: Json) -> None:
        to = load["destinationTable"]
        table, _, month = to["tableId"].partition("$")
        name = f"{to['projectId']}.{to['datasetId']}.{table}"
        _found(self.tables, name, "Table")
        assert (load["writeDisposition"], load["createDisposition"]) == ("WRITE_TRUNCATE", "CREATE_NEVER")
        self.rows[f"{name}${month}"] = sum(_rows(self.objects, uri) for uri in load["sourceUris"])

    def _plan(self, job: Json) -> Json:
        query = job["configuration"]["query"]["query"]
        assert job["configuration"]["dryRun"]
        kind = query.split()[0].upper()
        if kind not in ("SELECT", "DELETE"):
            raise GoogleError(400, "invalidQuery", f'Syntax error: Unexpected identifier "{kind}" at [1:1]')
        return {**job, "status": {"state": "DONE"}, "statistics": {"query": {"statementType": kind}}}

    def _query(self, request: Request, project: str) -> Json:
        """The count of a month, the only query that is understood."""
        name = re.search(r"`([\w.-]+)`", request.json["query"])
        assert name is not None
        _found(self.tables, name[1], "Table")
        month = request.json["queryParameters"][0]["parameterValue"]["value"]
        rows = self.rows.get(f"{name[1]}${month[:7].replace('-', '')}", 0)
        return {
            "jobComplete": True,
            "jobReference": {"projectId": project, "jobId": "asked", "location": "US"},
            "schema": {"fields": [{"name": "f0_", "type": "INTEGER"}]},
            "rows": [{"f": [{"v": str(rows)}]}],
            "totalRows": "1",
        }


_STORAGE, _BIGQUERY = "/storage/v1/b", "/bigquery/v2/projects/([^/]+)"
_TABLES = f"{_BIGQUERY}/datasets/([^/]+)/tables"
_ROUTES: list[tuple[str, str, Callable[..., Answer | Json]]] = [
    ("POST", "/token", GoogleServer._token),
    ("GET", f"{_STORAGE}/([^/]+)", GoogleServer._get_bucket),
    ("POST", _STORAGE, GoogleServer._make_bucket),
    ("GET", f"{_STORAGE}/([^/]+)/o/([^/]+)", GoogleServer._get_object),
    ("GET", f"/download{_STORAGE}/([^/]+)/o/([^/]+)", GoogleServer._download),
    ("PATCH", f"{_STORAGE}/([^/]+)/o/([^/]+)", GoogleServer._patch_object),
    ("DELETE", f"{_STORAGE}/([^/]+)/o/([^/]+)", GoogleServer._delete_object),
    ("POST", f"/upload{_STORAGE}/([^/]+)/o", GoogleServer._upload),
    ("PUT", "/session/([^/]+)/([0-9]+)", GoogleServer._upload_chunk),
    ("GET", f"{_BIGQUERY}/datasets/([^/]+)", GoogleServer._get_dataset),
    ("POST", f"{_BIGQUERY}/datasets", GoogleServer._make_dataset),
    ("GET", f"{_TABLES}/([^/]+)", GoogleServer._get_table),
    ("POST", _TABLES, GoogleServer._make_table),
    ("PATCH", f"{_TABLES}/([^/]+)", GoogleServer._patch_table),
    ("DELETE", f"{_TABLES}/([^/]+)", GoogleServer._delete_table),
    ("GET", f"{_BIGQUERY}/jobs/([^/]+)", GoogleServer._get_job),
    ("GET", f"{_BIGQUERY}/jobs", GoogleServer._list_jobs),
    ("POST", f"{_BIGQUERY}/jobs", GoogleServer._make_job),
    ("POST", f"{_BIGQUERY}/queries", GoogleServer._query),
]


def _found(things: dict[str, Json], name: str, kind: str) -> Json:
    if name not in things:
        raise GoogleError(404, "notFound", f"Not found: {kind} {name}")
    return things[name]


def _made(things: dict[str, Json], name: str, resource: Json) -> Json:
    if name in things:
        raise GoogleError(409, "duplicate", f"Already Exists: {name}")
    things[name] = resource
    return resource


def _as_told(column: Json) -> Json:
    """A column as BigQuery gives it back, with the older names of types."""
    return {**column, "type": {"INT64": "INTEGER", "FLOAT64": "FLOAT"}.get(column["type"], column["type"])}


def _rows(objects: dict[str, Stored], uri: str) -> int:
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    if uri not in objects:
        raise GoogleError(404, "notFound", f"Not found: URI {uri}")
    return int(read_metadata(pa.BufferReader(objects[uri].content)).num_rows)


def crc32c(content: bytes) -> str:
    """A checksum as Google writes it."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


@cache
def _discovery() -> Json:
    """Google's own description of BigQuery's requests."""
    document = files("googleapiclient.discovery_cache.documents").joinpath("bigquery.v2.json")
    return json.loads(document.read_text())  # type: ignore[no-any-return]


def _unknown(request: Request) -> list[str]:
    """What Google's discovery document does not know of a request, or knows otherwise."""
    place = request.path.removeprefix("/bigquery/v2/")
    methods = [method for resource in _discovery()["resources"].values() for method in resource["methods"].values()]
    for method in methods:
        path = re.sub(r"\{\+?\w+\}", "[^/]+", method.get("flatPath", method["path"]))
        if method["httpMethod"] == request.method and re.fullmatch(path, place):
            known = {*method.get("parameters", {}), *_discovery()["parameters"], *_OF_THE_CLIENT}
            found = [f"{request}: parameter {name}" for name in request.query if name not in known]
            body = method.get("request")
            return found + [f"{request}: {wrong}" for wrong in (_misfits(request.json, body, "body") if body else [])]
    return [f"{request}: no such method"]


_OF_THE_CLIENT = ("projection",)
"""What Google's own client adds to a request for a job, though the document does not have it."""


def _misfits(value: Any, schema: Json, at: str) -> list[str]:
    """Where a value is not as a schema of the discovery document says."""
    if "$ref" in schema:
        return _misfits(value, _discovery()["schemas"][schema["$ref"]], at)
    kind = schema["type"]
    if kind == "object" and isinstance(value, dict):
        fields, other = schema.get("properties", {}), schema.get("additionalProperties")
        unknown = [f"{at}.{name} is no field" for name in value if name not in fields and other is None]
        inside = [(name, item, fields.get(name, other)) for name, item in value.items() if fields.get(name, other)]
        return unknown + [wrong for name, item, below in inside for wrong in _misfits(item, below, f"{at}.{name}")]
    if kind == "array" and isinstance(value, list):
        return [wrong for item in value for wrong in _misfits(item, schema["items"], f"{at}[]")]
    types: dict[str, tuple[type, ...]] = {"string": (str,), "boolean": (bool,), "integer": (int,), "any": (object,)}
    right = isinstance(value, types.get(kind, (int, float) if kind == "number" else ()))
    listed = "enum" not in schema or value in schema["enum"]
    return [] if right and listed else [f"{at} is {value!r}, expected {schema.get('enum', kind)}"]


@contextmanager
def serve_google() -> Iterator[GoogleServer]:
    """A server that has nothing yet."""
    server = GoogleServer()
    with listening(_handler(server), bugs=server.unknown) as server.url:
        yield server


def _handler(server: GoogleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body go as one, or each answer would wait 40 ms for the client's kernel

        def _do(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)
            with server.lock:
                server.seen.append(request)
                fault = server.fault(request)
            length = int(headers.get("content-length", 0))
            cut = fault is not None and fault.cut_at is not None
            request.body = self.rfile.read(min(length, fault.cut_at or 0) if fault and cut else length)
            request.whole = len(request.body) == length
            if fault and fault.before:
                fault.before()
            with server.lock:
                instead = fault if fault and not (fault.lost or cut or fault.before) else None
                answer = server.answer(request, instead)
            if fault and (fault.lost or cut):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(*answer)

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            kind = {"Content-Type": "application/json; charset=UTF-8"}
            for name, value in {**kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler


def _error(error: GoogleError) -> Answer:
    """An error as Google writes it."""
    reasons = [{"domain": "global", "reason": error.reason, "message": str(error)}]
    told = {"error": {"code": error.status, "message": str(error), "errors": reasons}}
    return error.status, {}, json.dumps(told).encode()
