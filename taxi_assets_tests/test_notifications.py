"""Notification channels: parsing of URLs, delivery, errors, and that secrets are not shown."""

import logging
import socket
import sys
import time

import apprise
import pytest

from taxi_assets import notifications
from taxi_assets.errors import InvalidNotificationUrl, MissingExtra, NotificationFailed
from taxi_assets.notifications import Channels, Message
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.web_server import Reply, WebServer

MESSAGE = Message("green 2021-03 failed", "no such thing\nhttp://127.0.0.1:3000/runs/1")


@pytest.fixture
def inbox(web: WebServer) -> Inbox:
    """Create a channel that accepts every message."""
    return Inbox(web)


@pytest.fixture
def unreachable() -> str:
    """Return the URL of a channel whose port is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"json://127.0.0.1:{listener.getsockname()[1]}/{SECRET}"


@pytest.fixture(autouse=True)
def _no_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "RETRY_DELAY_S", 0.0)


def test_send_to_each_channel_once(inbox: Inbox) -> None:
    """Each channel receives a message once, unchanged, with its title and whether it reports a success."""
    channels = Channels(f"{inbox.address} {inbox.address}")
    channels.send(MESSAGE)
    channels.send(Message("done", "all", good=True))
    assert [(mail.title, mail.text, mail.kind) for mail in inbox.mails] == [
        *[(MESSAGE.title, MESSAGE.text, "failure")] * 2,
        *[("done", "all", "success")] * 2,
    ]


@pytest.mark.parametrize(
    ("urls", "kinds"),
    [
        ("json://a jsons://b", ("json", "jsons")),
        (" json://a\n\n  jsons://b?to=x,y \n", ("json", "jsons")),
        ("json://a, jsons://b;xml://c", ("json", "jsons", "xml")),
        ("mailto://ann:pw@example.org?to=a@example.org,b@example.org", ("mailto",)),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", ("slack",)),
    ],
    ids=["spaces", "lines", "commas", "commas in a URL", "URL of the service"],
)
def test_split_urls(urls: str, kinds: tuple[str, ...]) -> None:
    """URLs are separated by spaces, new lines or, as in Apprise, commas, which can also be part of a URL."""
    assert Channels(urls).kinds == kinds


@pytest.mark.parametrize(
    ("urls", "facts"),
    [
        (f"json://a {SECRET}", {"number": 2, "count": 2, "kind": ""}),
        (f"https://example.org/{SECRET}", {"number": 1, "count": 1, "kind": ""}),
        (f"slack://{SECRET}", {"number": 1, "count": 1, "kind": "slack"}),
        (f"{SECRET}://x", {"number": 1, "count": 1, "kind": ""}),
    ],
    ids=["no URL", "no kind", "too short", "secret as scheme"],
)
def test_invalid_url(
    urls: str, facts: dict[str, str | int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error for an invalid URL has its position and kind. The URL itself is not shown."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidNotificationUrl) as caught:
        Channels(urls)
    assert caught.value.facts == facts
    assert f"{facts['number']} of {facts['count']}" in str(caught.value)
    assert str(facts["kind"]) in str(caught.value)
    assert SECRET not in f"{caught.value.explain()} {caplog.text} {capfd.readouterr()}"


def test_apprise_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Apprise the error has the package and the extra that installs it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingExtra) as caught:
        Channels("json://a")
    assert caught.value.facts == {"extra": "alerts"}
    assert "apprise" in str(caught.value)


def test_failed_channel(
    inbox: Inbox, unreachable: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error has the kind of each failed channel and the reason; the other channels receive the message."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotificationFailed) as caught:
        Channels(f"{unreachable} {inbox.address}").send(MESSAGE)
    assert caught.value.facts == {"channels": "json"}
    assert [mail.title for mail in inbox.mails] == [MESSAGE.title]
    inbox.answer(Reply(status=403))
    with pytest.raises(NotificationFailed) as rejected:
        Channels(inbox.address).send(MESSAGE)
    assert "json responded with 403" in str(rejected.value)
    assert SECRET not in f"{caught.value.explain()} {rejected.value.explain()} {caplog.text} {capfd.readouterr()}"


def test_retry_once(inbox: Inbox) -> None:
    """A channel that rejects a message immediately receives it a second time, but not a third time."""
    channels = Channels(inbox.address)
    inbox.answer(Reply(status=503), Reply())
    channels.send(MESSAGE)
    inbox.answer(Reply(status=503), Reply(status=503), Reply())
    with pytest.raises(NotificationFailed):
        channels.send(MESSAGE)
    assert len(inbox.mails) == 4


def test_unresponsive_channel(inbox: Inbox, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that does not respond in time is skipped for later messages; the other channels receive them."""
    monkeypatch.setattr(notifications, "TIME_LIMIT_S", 0.3)
    web.replies["/silent"] = [Reply(b"x", stall_at=0)]
    channels = Channels(f"{web.url.replace('http', 'json')}/silent {inbox.address}")
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(NotificationFailed) as caught:
            channels.send(MESSAGE)
        assert caught.value.facts == {"channels": "json"}
        assert "0.3 s" in str(caught.value)
    assert time.monotonic() - started < 0.8
    assert len(inbox.mails) == 4


def test_channel_raises(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """For an exception in a channel only its class is shown, without a traceback."""

    def fail(*_: object, **__: object) -> bool:
        raise KeyError(SECRET)

    monkeypatch.setattr(apprise.NotifyBase, "notify", fail)
    with pytest.raises(NotificationFailed) as caught:
        Channels(inbox.address).send(MESSAGE)
    assert "KeyError" in str(caught.value)
    assert SECRET not in caught.value.explain()
    assert capfd.readouterr() == ("", "")


def test_remove_login_from_message(inbox: Inbox) -> None:
    """A user name and a password in a URL are removed from the text."""
    Channels(inbox.address).send(
        Message("x", "no connection to postgresql://ann:hun/ter@2@db.example.org/trips: refused")
    )
    assert inbox.mails[0].text == "no connection to postgresql://...@db.example.org/trips: refused"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db:5432/trips?user=ann&password=a@s3cr3t",
        "postgresql://db:5432/trips?password=a@s3cr3t&user=ann",
        "postgresql://db:5432/trips?user=ann&password=a%40s3cr3t&sslmode=require",
        "postgresql://ann@db/trips?sslpassword=s3cr3t@b&passfile=/a@s3cr3t",
        "postgresql://ann:s3cr3t@db/trips?password=a@s3cr3t",
        "postgresql://db/trips?PASSWORD=s3cr3t",
    ],
)
def test_remove_password_in_a_parameter_from_message(url: str, inbox: Inbox) -> None:
    """A password in a parameter of a URL is removed from the text, wherever it is and whatever it contains."""
    Channels(inbox.address).send(Message("x", f"no connection to {url} since 10:00, ask ann@example.org"))
    [mail] = inbox.mails
    assert "s3cr3t" not in mail.text
    assert mail.text.startswith("no connection to postgresql://")
    assert mail.text.endswith(" since 10:00, ask ann@example.org")


def test_remove_channel_url_from_message(inbox: Inbox) -> None:
    """The URL of a channel is removed from the text."""
    Channels(inbox.address).send(Message("x", f"rejected by {inbox.address}"))
    assert inbox.mails[0].text == "rejected by ..."
