"""In whose name Google is asked, how long, and what its errors become; nothing secret is ever told."""

import base64
import json
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import RefreshError, TransportError
from requests import Response

from taxi_assets.errors import SettingsError, StoreError, StoreUnreachable
from taxi_assets.stores.google_cloud import GoogleAccount, Patience, can_pass, google_errors, reason, said
from taxi_assets_tests.google_server import Fault, GoogleServer, serve_google

SECRET = "s3cret"  # noqa: S105


@pytest.fixture(scope="module")
def private_key() -> str:
    """A private key of a service account that does not exist."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def key(private_key: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A service account's key; no emulator, and no credentials of this machine, are in the way."""
    for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return {
        "type": "service_account",
        "project_id": "nyc-trips",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "loader@nyc-trips.example",
        "token_uri": "https://token.example",
    }


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_key(encoded: bool, key: dict[str, str]) -> None:  # noqa: FBT001
    """A key is taken as it is or in base64, and brings its project."""
    text = json.dumps(key, indent=1)
    account = GoogleAccount(_encoded(text) if encoded else text)
    for client in (account.storage_client(), account.bigquery_client("EU")):
        assert client.project == "nyc-trips"
        assert client._credentials.service_account_email == "loader@nyc-trips.example"
    assert account.bigquery_client("EU").location == "EU"


def test_wrapped_base64(key: dict[str, str]) -> None:
    """Base64 that was broken into lines is read all the same."""
    text = base64.encodebytes(json.dumps(key).encode()).decode()
    assert "\n" in text.strip()
    assert GoogleAccount(text).storage_client().project == "nyc-trips"


def test_project(key: dict[str, str]) -> None:
    """The project that is set wins over that of the key."""
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
def test_unusable_key(change: dict[str, str], key: dict[str, str]) -> None:
    """JSON that is no service account's key is refused, without a word of what is in it."""
    text = json.dumps({name: value for name, value in {**key, "note": SECRET, **change}.items() if value is not None})
    with pytest.raises(
        SettingsError, match=r"TAXI_GCP_CREDENTIALS is .* key of a service account.*base64 -w0"
    ) as caught:
        GoogleAccount(text).storage_client()
    _require_quiet(caught.value, key)


@pytest.mark.parametrize("text", [SECRET, "{" + SECRET, _encoded(SECRET), "[1]", _encoded("[1]"), "/home/me/key.json"])
def test_unreadable_key(text: str, key: dict[str, str]) -> None:
    """What is no JSON, plain or in base64, is refused, without a word of what is in it."""
    with pytest.raises(SettingsError, match=r"TAXI_GCP_CREDENTIALS .*expected the JSON") as caught:
        GoogleAccount(text).bigquery_client()
    _require_quiet(caught.value, key)


def _require_quiet(error: BaseException, key: dict[str, str]) -> None:
    """Neither an error, nor what a traceback would show of its causes, has a secret in it."""
    assert error.__context__ is None or error.__suppress_context__
    for told in (str(error), repr(error), str(error.__cause__)):
        assert SECRET not in told
        assert key["private_key"][100:120] not in told


def test_repr(key: dict[str, str]) -> None:
    """An account can be shown: the key is not in it."""
    assert repr(GoogleAccount(json.dumps(key), "p")) == "GoogleAccount(project='p')"


def test_application_defaults(key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, Google's own defaults are used, such as the file that its variable names."""
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert GoogleAccount().storage_client().project == "nyc-trips"
    del key["project_id"]
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(SettingsError, match="name no Google project: set GOOGLE_CLOUD_PROJECT"):
        GoogleAccount().storage_client()


def test_no_credentials(key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are none, the three ways to give some are told."""
    assert key
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(
        SettingsError, match=r"no credentials.*TAXI_GCP_CREDENTIALS.*GOOGLE_APPLICATION_CREDENTIALS.*gcloud auth"
    ):
        GoogleAccount().bigquery_client()


def test_emulators_ask_for_nobody(key: dict[str, str], google: GoogleServer) -> None:
    """Where an emulator is set, nothing of the key is sent to it."""
    account = GoogleAccount(json.dumps(key))
    account.storage_client().bucket("trips").get_blob("nothing")
    assert google.seen
    assert not any("authorization" in request.headers for request in google.seen)


def test_key_is_used(key: dict[str, str]) -> None:
    """With a key, each request carries a token that Google gave for it."""
    with serve_google() as server:
        client = GoogleAccount(json.dumps({**key, "token_uri": f"{server.url}/token"})).bigquery_client()
        client._connection.API_BASE_URL = server.url
        with pytest.raises(exceptions.NotFound):
            client.get_table("nyc-trips.none.none")
    assert server.asked(r"GET .*/tables/none")[0].headers["authorization"] == "Bearer a-token"


def test_key_that_google_refuses(key: dict[str, str]) -> None:
    """A key that was deleted at Google is told, and not shown."""
    with serve_google() as server:
        server.faults = [Fault("/token", 400, "invalid_grant", "Invalid JWT Signature.", times=100)]
        client = GoogleAccount(json.dumps({**key, "token_uri": f"{server.url}/token"})).storage_client()
        with (
            pytest.raises(StoreError, match=r"it failed: Google does not accept the credentials: .*JWT") as caught,
            google_errors("it failed", "no roles"),
        ):
            client.get_bucket("trips")
    assert key["private_key"][100:120] not in str(caught.value)


def _error(status: int, word: str = "", message: str = "Something") -> GoogleAPICallError:
    response = Response()
    response.status_code = status
    response._content = json.dumps(
        {"error": {"message": message, "errors": [{"reason": word}] if word else []}}
    ).encode()
    text = f"GET https://google.example/x: {message}"
    return exceptions.from_http_status(status, text, response=response)  # type: ignore[no-untyped-call, no-any-return]


PASSING = {
    "503": _error(503),
    "429": _error(429),
    "500": _error(500),
    "408": _error(408),
    "403 rateLimitExceeded": _error(403, "rateLimitExceeded"),
    "400 backendError": _error(400, "backendError"),
    "reset": ConnectionResetError(),
    "token": TransportError("no route"),  # type: ignore[no-untyped-call]
}
LASTING = {
    "403": _error(403),
    "403 quotaExceeded": _error(403, "quotaExceeded"),
    "404": _error(404),
    "401": _error(401),
    "412": _error(412),
    "409": _error(409),
    "key": RefreshError("invalid_grant"),  # type: ignore[no-untyped-call]
    "bug": ValueError("a bug"),
    "disk": PermissionError("a disk"),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
def test_can_pass(error: Exception) -> None:
    """What another try may not meet is tried again."""
    assert can_pass(error)


@pytest.mark.parametrize("error", LASTING.values(), ids=LASTING)
def test_cannot_pass(error: Exception) -> None:
    """What stays is not."""
    assert not can_pass(error)


TOLD = {
    "503": (_error(503, message="Busy"), StoreUnreachable, "it failed: Google answered 503 Busy"),
    "403": (_error(403, message="No."), StoreError, "it failed: Google refused: 403 No. It takes the roles"),
    "tired": (
        RetryError("Timeout of 600.0s exceeded", _error(503, message="Busy")),  # type: ignore[no-untyped-call]
        StoreUnreachable,
        "it failed: tried again and again, Google answered 503 Busy",
    ),
    "line": (
        ConnectionResetError("reset"),
        StoreUnreachable,
        "it failed: Google cannot be reached: reset. Check the connection, then run this again",
    ),
}


@pytest.mark.parametrize(("error", "kind", "told"), TOLD.values(), ids=TOLD)
def test_told(error: Exception, kind: type[StoreError], told: str) -> None:
    """An error says what failed, what Google said without the address, and what to do; and whether it may pass."""
    with pytest.raises(StoreError) as caught, google_errors("it failed", "the roles"):
        raise error
    assert (caught.type, str(caught.value)) == (kind, told)


@pytest.mark.parametrize("error", [ValueError("a bug"), PermissionError("a disk"), SettingsError("a setting")])
def test_not_google(error: Exception) -> None:
    """Errors that are not Google's stay what they are."""
    with pytest.raises(type(error), match=str(error)), google_errors("it failed", "the roles"):
        raise error


def test_said() -> None:
    """A whole page from a proxy is cut, and spaces are made one."""
    response = Response()
    response.status_code = 502
    response._content = b"<html>"
    text = "GET https://google.example/x: " + "a  \n b " * 1000
    error = exceptions.from_http_status(502, text, response=response)  # type: ignore[no-untyped-call]
    assert said(error).startswith("502 a b a b")
    assert len(said(error)) < 700
    assert reason(error) == ""


def test_pauses() -> None:
    """Pauses double up to the longest, however often."""
    patience = Patience(1, 30, 600)
    assert [patience.pause_s(times) for times in (0, 1, 4, 5, 10_000)] == [1, 2, 16, 30, 30]
    assert patience.brief().give_up_s == 10
