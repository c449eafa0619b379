"""Google credentials, retries, and the translation of Google's errors. No message contains a secret."""

import base64
import json
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from google.api_core import exceptions
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import RefreshError, TransportError
from google.cloud.storage.exceptions import DataCorruption
from requests import Response
from requests.exceptions import SSLError

from taxi_assets.errors import (
    TRANSIENT,
    GoogleBilling,
    GoogleError,
    GoogleLogin,
    GooglePermission,
    GoogleQuota,
    GoogleRateLimit,
    GoogleTlsError,
    GoogleUnreachable,
    InvalidCredentials,
    NoCredentials,
    NoProject,
    SettingsError,
    StoreError,
    TaxiAssetsError,
    UploadInterrupted,
)
from taxi_assets.stores.google.account import GoogleAccount
from taxi_assets.stores.google.retry import (
    RetryPolicy,
    describe_google_error,
    error_reason,
    is_transient,
    translate_google_errors,
)
from taxi_assets_tests.google_server import Fault, GoogleServer, create_account, redirect, serve_google

SECRET = "s3cret"  # noqa: S105


@pytest.fixture(scope="module")
def _account() -> dict[str, str]:
    return create_account()


@pytest.fixture
def key(_account: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A service account key, in an environment without emulators and without a project."""
    for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return dict(_account)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_key_names_the_project(encoded: bool, key: dict[str, str]) -> None:  # noqa: FBT001
    """A key can be plain JSON or base64, and provides the project."""
    text = json.dumps(key, indent=1)
    account = GoogleAccount(_encoded(text) if encoded else text)
    assert account.storage_client().project == "nyc-trips"
    client = account.bigquery_client("EU")
    assert (client.project, client.location) == ("nyc-trips", "EU")


def test_accept_base64_with_line_breaks(key: dict[str, str]) -> None:
    """Base64 with line breaks is accepted."""
    text = base64.encodebytes(json.dumps(key).encode()).decode()
    assert "\n" in text.strip()
    assert GoogleAccount(text).storage_client().project == "nyc-trips"


def test_configured_project_overrides_key(key: dict[str, str]) -> None:
    """A configured project overrides that of the key."""
    assert GoogleAccount(json.dumps(key), project="other").bigquery_client().project == "other"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "authorized_user"},
        {"private_key": SECRET},
        {"private_key": ""},
        {"client_email": None},
        {"token_uri": None},
    ],
    ids="-".join,
)
def test_reject_invalid_key(change: dict[str, str], key: dict[str, str]) -> None:
    """JSON that is not a valid service account key raises an error that contains nothing of it."""
    text = json.dumps({name: value for name, value in {**key, "note": SECRET, **change}.items() if value is not None})
    with pytest.raises(InvalidCredentials) as caught:
        GoogleAccount(text).storage_client()
    _assert_no_secret(caught.value, key)


@pytest.mark.parametrize("text", [SECRET, "{" + SECRET, _encoded(SECRET), "[1]", _encoded("[1]"), "/home/me/key.json"])
def test_reject_key_that_is_not_json(text: str, key: dict[str, str]) -> None:
    """A key that is not a JSON object, plain or in base64, raises an error that contains nothing of it."""
    with pytest.raises(InvalidCredentials) as caught:
        GoogleAccount(text).bigquery_client()
    _assert_no_secret(caught.value, key)


def _assert_no_secret(error: TaxiAssetsError, key: dict[str, str]) -> None:
    """Assert that neither an error nor the traceback of its causes contains a secret."""
    assert error.__context__ is None or error.__suppress_context__
    for text in (error.explain(), repr(error), str(error.facts), str(error.__cause__)):
        assert SECRET not in text
        assert key["private_key"][100:120] not in text


def test_repr_hides_key(key: dict[str, str]) -> None:
    """The representation of an account does not contain the key."""
    assert repr(GoogleAccount(json.dumps(key), "p")) == "GoogleAccount(project='p')"


def test_application_default_credentials(key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, Application Default Credentials are used. They may lack a project."""
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert GoogleAccount().storage_client().project == "nyc-trips"
    del key["project_id"]
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(NoProject):
        GoogleAccount().storage_client()


def test_no_credentials(key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are no credentials, the error contains Google's message."""
    assert key
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(NoCredentials) as caught:
        GoogleAccount().bigquery_client()
    assert "default credentials" in str(caught.value.facts["seen"])


def test_send_no_credentials_to_emulator(key: dict[str, str], google: GoogleServer) -> None:
    """If an emulator is configured, the client sends it no credentials."""
    account = GoogleAccount(json.dumps(key))
    account.storage_client().bucket("trips").get_blob("nothing")
    assert google.requests
    assert not any("authorization" in request.headers for request in google.requests)


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_authenticate_with_key(
    encoded: bool,  # noqa: FBT001
    key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both clients request a token for the service account of the key and send it with each request."""
    text = json.dumps(key)
    account = GoogleAccount(_encoded(text) if encoded else text)
    with serve_google() as server:
        redirect(monkeypatch, server)
        account.storage_client().bucket("trips").get_blob("nothing")
        with pytest.raises(exceptions.NotFound):
            account.bigquery_client().get_table("nyc-trips.none.none")
    for pattern in ("GET /storage/", "GET /bigquery/"):
        assert [request.headers["authorization"] for request in server.requests_to(pattern)] == ["Bearer a-token"]
    issuers = [_issuer(request.body.decode()) for request in server.requests_to("POST /token")]
    assert issuers == ["loader@nyc-trips.example"] * 2


def _issuer(body: str) -> str:
    """Return the account that signed the request for a token."""
    payload = parse_qs(body)["assertion"][0].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["iss"])


def test_key_deleted_at_google(key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that Google rejects raises GoogleLogin with Google's message and without the key."""
    with serve_google() as server:
        redirect(monkeypatch, server)
        server.faults = [Fault("/token", 400, "invalid_grant", "Invalid JWT Signature.", times=100)]
        client = GoogleAccount(json.dumps(key)).storage_client()
        with pytest.raises(GoogleLogin) as caught, translate_google_errors("It failed", "no roles"):
            client.get_bucket("trips")
    assert "Invalid JWT Signature" in str(caught.value)
    assert key["private_key"][100:120] not in caught.value.explain()


def _response(status: int, content: bytes) -> Response:
    response = Response()
    response.status_code = status
    response.raw = BytesIO(content)
    return response


def _error(status: int, reason: str = "", message: str = "Something") -> GoogleAPICallError:
    errors = [{"reason": reason}] if reason else []
    response = _response(status, json.dumps({"error": {"message": message, "errors": errors}}).encode())
    text = f"GET https://google.example/x: {message}"
    return exceptions.from_http_status(status, text, response=response)  # type: ignore[no-untyped-call, no-any-return]


TRANSIENT_ERRORS = {
    "503": _error(503),
    "429": _error(429),
    "500": _error(500),
    "408": _error(408),
    "403 rateLimitExceeded": _error(403, "rateLimitExceeded"),
    "400 backendError": _error(400, "backendError"),
    "connection reset": ConnectionResetError(),
    "token": TransportError("no route"),  # type: ignore[no-untyped-call]
}
OTHER_ERRORS = {
    "403": _error(403),
    "403 quotaExceeded": _error(403, "quotaExceeded"),
    "404": _error(404),
    "401": _error(401),
    "412": _error(412),
    "409": _error(409),
    "key": RefreshError("invalid_grant"),  # type: ignore[no-untyped-call]
    "certificate": SSLError("self-signed certificate"),
    "bug": ValueError("a bug"),
    "disk": PermissionError("a disk"),
}


@pytest.mark.parametrize("error", TRANSIENT_ERRORS.values(), ids=TRANSIENT_ERRORS)
def test_transient(error: Exception) -> None:
    """Rate limits, server errors and lost connections are transient."""
    assert is_transient(error)


@pytest.mark.parametrize("error", OTHER_ERRORS.values(), ids=OTHER_ERRORS)
def test_not_transient(error: Exception) -> None:
    """Other errors are not retried."""
    assert not is_transient(error)


TRANSLATIONS: dict[str, tuple[Exception, type[TaxiAssetsError], str]] = {
    "503": (_error(503, message="Busy"), GoogleUnreachable, "503 Busy"),
    "429": (_error(429, message="Slow down"), GoogleRateLimit, "429 Slow down"),
    "403 rateLimitExceeded": (_error(403, "rateLimitExceeded", "Slow"), GoogleRateLimit, "403 Slow"),
    "403 quotaExceeded": (_error(403, "quotaExceeded", "Too much"), GoogleQuota, "403 Too much"),
    "403 billing": (_error(403, message="Billing is disabled"), GoogleBilling, "403 Billing is disabled"),
    "401": (_error(401, message="Who?"), GoogleLogin, "401 Who?"),
    "403": (_error(403, message="No."), GooglePermission, "403 No"),
    "404": (_error(404, message="None"), GoogleError, "404 None"),
    "retries": (
        RetryError("Timeout of 600.0s exceeded", _error(503, message="Busy")),  # type: ignore[no-untyped-call]
        GoogleUnreachable,
        "503 Busy",
    ),
    "retries of a rate limit": (
        RetryError("Timeout of 600.0s exceeded", _error(429, message="Slow down")),  # type: ignore[no-untyped-call]
        GoogleRateLimit,
        "429 Slow down",
    ),
    "retries without a cause": (
        RetryError("Timeout of 600.0s exceeded", None),  # type: ignore[no-untyped-call]
        GoogleUnreachable,
        "Timeout of 600.0s exceeded, last exception: None",
    ),
    "connection": (ConnectionResetError("reset"), GoogleUnreachable, "reset"),
    "certificate": (SSLError("self-signed certificate"), GoogleTlsError, "self-signed certificate"),
}


@pytest.mark.parametrize(("error", "kind", "seen"), TRANSLATIONS.values(), ids=TRANSLATIONS)
def test_translate(error: Exception, kind: type[TaxiAssetsError], seen: str) -> None:
    """The kind of error depends on Google's error. The message has the context and Google's message without the URL."""
    with pytest.raises(StoreError) as caught, translate_google_errors("It failed", "the roles", month="2020-03"):
        raise error
    assert caught.type is kind
    assert str(caught.value).startswith("It failed")
    assert seen in str(caught.value)
    assert "google.example" not in str(caught.value)
    roles = {"roles": "the roles"} if kind is GooglePermission else {}
    assert caught.value.facts == {"month": "2020-03", "seen": seen, **roles}
    assert isinstance(caught.value, TRANSIENT) == (is_transient(error) or isinstance(error, RetryError))


def test_translate_checksum_mismatch() -> None:
    """An object whose checksum differs from that of the file is an interrupted upload."""
    with pytest.raises(UploadInterrupted) as caught, translate_google_errors("It failed", "the roles", month="2020-03"):
        raise DataCorruption(_response(200, b""))
    assert caught.value.facts == {"month": "2020-03"}


@pytest.mark.parametrize("error", [ValueError("a bug"), PermissionError("a disk"), SettingsError("a setting")])
def test_translate_only_google_errors(error: Exception) -> None:
    """Errors that are not Google's are not translated."""
    with pytest.raises(type(error)) as caught, translate_google_errors("It failed", "the roles"):
        raise error
    assert caught.value is error


def test_shorten_long_message() -> None:
    """The message of a whole page, such as a proxy returns, is shortened to one line."""
    text = "GET https://google.example/x: " + "a  \n b " * 1000
    error = exceptions.from_http_status(502, text, response=_response(502, b"<html>"))  # type: ignore[no-untyped-call]
    assert describe_google_error(error).startswith("502 a b a b")
    assert len(describe_google_error(error)) < 700
    assert error_reason(error) == ""


def test_delays() -> None:
    """Delays double up to the longest one, after any number of attempts."""
    policy = RetryPolicy(1, 30, 600)
    assert [policy.delay_s(attempt) for attempt in (0, 1, 4, 5, 10_000)] == [1, 2, 16, 30, 30]


def test_brief_policy() -> None:
    """A brief policy has a total timeout of at most 10 seconds and the same delays."""
    assert RetryPolicy(1, 30, 600).brief() == RetryPolicy(1, 30, 10)
    assert RetryPolicy(1, 30, 5).brief() == RetryPolicy(1, 30, 5)
