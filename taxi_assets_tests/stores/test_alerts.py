"""Channels take messages, or say which did not; nothing of an address is ever shown but its kind."""

import logging
import socket
import time

import pytest

from taxi_assets.errors import SettingsError, StoreError
from taxi_assets.stores import alerts
from taxi_assets.stores.alerts import Channels, Message
from taxi_assets_tests.inbox import SECRET, Inbox
from taxi_assets_tests.web_server import Reply, WebServer

MESSAGE = Message("green 2021-03 failed", "no such thing\nhttp://127.0.0.1:3000/runs/1")


@pytest.fixture
def inbox(web: WebServer) -> Inbox:
    """A channel that takes everything."""
    return Inbox(web)


@pytest.fixture
def nobody() -> str:
    """The address of a channel where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"json://127.0.0.1:{listener.getsockname()[1]}/{SECRET}"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "_PAUSE_S", 0.0)


def test_every_channel_gets_a_message_once(inbox: Inbox) -> None:
    """A message arrives at each channel as it is, with its title, and says whether it is good."""
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
    ids=["spaces", "lines", "commas", "commas inside", "of the service itself"],
)
def test_addresses_are_told_apart(urls: str, kinds: tuple[str, ...]) -> None:
    """Addresses stand by spaces or new lines, or as Apprise has it by commas, which may also be inside one."""
    assert Channels(urls).kinds == kinds


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (f"json://a {SECRET}", "address 2 of 2 cannot be read,"),
        (f"https://example.org/{SECRET}", "address 1 of 1 cannot be read,"),
        (f"slack://{SECRET}", "address 1 of 1 cannot be read as slack,"),
        (f"{SECRET}://x", "address 1 of 1 cannot be read,"),
    ],
    ids=["no address", "no kind", "too short", "secret for a scheme"],
)
def test_an_address_that_cannot_be_read_is_not_shown(
    urls: str, said: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """An address that Apprise cannot read is told by its place and its kind, with the form that it should have."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SettingsError, match="TAXI_ALERT_URLS") as caught:
        Channels(urls)
    assert said in str(caught.value)
    assert "jsons://example.org/hook" in str(caught.value)
    assert SECRET not in f"{caught.value} {caplog.text} {capfd.readouterr()}"


def test_a_channel_that_refuses_is_told_by_its_kind(
    inbox: Inbox, nobody: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Channels that do not take a message are told by kind and reason, also of no log; the others have it."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError) as caught:
        Channels(f"{nobody} {inbox.address}").send(MESSAGE)
    assert "did not get through to json (it could not be reached, or refused). Check" in str(caught.value)
    assert [mail.title for mail in inbox.mails] == [MESSAGE.title]
    inbox.answer(Reply(status=403))
    with pytest.raises(StoreError) as refused:
        Channels(inbox.address).send(MESSAGE)
    assert "did not get through to json (it answered 403)" in str(refused.value)
    assert SECRET not in f"{caught.value} {refused.value} {caplog.text} {capfd.readouterr()}"


def test_a_channel_that_refuses_once_is_asked_again(inbox: Inbox) -> None:
    """A server that is over in a moment has the message at the second try, and there is no third."""
    channels = Channels(inbox.address)
    inbox.answer(Reply(status=503), Reply())
    channels.send(MESSAGE)
    inbox.answer(Reply(status=503), Reply(status=503), Reply())
    with pytest.raises(StoreError):
        channels.send(MESSAGE)
    assert len(inbox.mails) == 4


def test_a_silent_channel_holds_nobody_up(inbox: Inbox, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up in time, and not asked for later messages; the others have them."""
    monkeypatch.setattr(alerts, "PATIENCE_S", 0.3)
    web.replies["/silent"] = [Reply(b"x", stall_at=0)]
    channels = Channels(f"{web.url.replace('http', 'json')}/silent {inbox.address}")
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(StoreError, match="json \\(silent for"):
            channels.send(MESSAGE)
    assert time.monotonic() - started < 0.8
    assert len(inbox.mails) == 4


def test_a_channel_that_dies_is_told(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever a kind of channel dies of, it is told by name only, with no traceback."""

    def broken(**_: object) -> bool:
        raise KeyError(SECRET)

    channels = Channels(inbox.address)
    monkeypatch.setattr(channels._services[0], "notify", broken)
    with pytest.raises(StoreError, match="json \\(KeyError\\)"):
        channels.send(MESSAGE)
    assert capfd.readouterr() == ("", "")


def test_a_login_in_a_message_is_left_out(inbox: Inbox) -> None:
    """An error that quotes an address with a password goes out without it."""
    Channels(inbox.address).send(
        Message("x", "no connection to postgresql://ann:hun/ter@2@db.example.org/trips: refused")
    )
    assert inbox.mails[0].text == "no connection to postgresql://...@db.example.org/trips: refused"
