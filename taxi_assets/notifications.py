"""Notification channels: Slack, email, webhooks and every other service that Apprise supports.

Apprise URLs contain secrets, so logs and errors show only the kind of a channel.
Not here: the text of a message, and when it is sent.
"""

import logging
import re
import threading
import warnings
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import TYPE_CHECKING

from taxi_assets.errors import InvalidNotificationUrl, MissingExtra, NotificationFailed

if TYPE_CHECKING:
    from apprise import NotifyBase

TIME_LIMIT_S = 8.0
"""Time limit for sending a message to all channels, in seconds.

A Dagster sensor evaluation times out after a minute, and may send several messages.
"""

_QUICK_FAILURE_S = 2.0
"""A send that fails within this time, in seconds, is retried once: the channel cannot have accepted the message."""

RETRY_DELAY_S = 1.0
"""Delay before the retry, in seconds."""

_SEPARATORS = re.compile(r"[\s,;]+(?=[a-z0-9]+://)|\s+", re.IGNORECASE)
"""Separators between URLs: whitespace, and, as in Apprise, commas and semicolons.

A comma or semicolon can also be part of a URL, so it separates only if another URL follows it.
"""

_LOGIN = re.compile(r"://\S*@")

_SECRET_PARAMETER = re.compile(r"([?&][\w%]*(?:pass|secret|token)[\w%]*=)[^&\s]*", re.IGNORECASE)
"""A parameter of a URL with a password. The password can contain an @, which then does not end a login."""


@dataclass(frozen=True)
class Message:
    """A notification. `good` is true if it reports a success."""

    title: str
    text: str
    good: bool = False


class Channels:
    """The channels of Apprise URLs. The kind of a channel is the scheme of its URL, such as `slack`.

    Raises SettingsError if Apprise is not installed or cannot parse a URL.
    """

    def __init__(self, urls: str) -> None:
        self._urls = [url for url in _SEPARATORS.split(urls.strip()) if url]
        self._services = [_open(url, number, len(self._urls)) for number, url in enumerate(self._urls, 1)]
        self._unresponsive: set[int] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each channel, in the order of the setting."""
        return tuple(service.schema for service in self._services)

    def send(self, message: Message) -> None:
        """Send a message to all channels in parallel, with any logins and channel URLs in its text removed.

        A send that fails immediately is retried once. A channel that does not respond in time may have accepted the
        message, so it is not retried, and it is skipped for all later messages. Raises NotificationFailed if a channel
        fails, after all other channels have been tried.
        """
        deadline = monotonic() + TIME_LIMIT_S
        message = replace(message, text=self._without_secrets(message.text))
        deliveries = [
            _Delivery(service, message) if number not in self._unresponsive else None
            for number, service in enumerate(self._services)
        ]
        failed = {}
        for number, delivery in enumerate(deliveries):
            if delivery:
                delivery.join(max(0.0, deadline - monotonic()))
            if delivery is None or delivery.is_alive():
                self._unresponsive.add(number)
                failed[number] = f"did not respond within {TIME_LIMIT_S:g} s"
            elif not delivery.accepted:
                failed[number] = delivery.error or "could not be reached, or rejected the message"
        if failed:
            reasons = "; ".join(f"{self.kinds[number]} {reason}" for number, reason in failed.items())
            raise NotificationFailed(
                f"The notification was not accepted by all channels: {reasons}.",
                channels=", ".join(self.kinds[number] for number in failed),
            )

    def _without_secrets(self, text: str) -> str:
        for url in self._urls:
            text = text.replace(url, "...")
        return _LOGIN.sub("://...@", _SECRET_PARAMETER.sub(r"\1...", text))


class _Delivery(threading.Thread):
    """A thread that sends one message to one channel and starts immediately.

    `accepted` is true if the channel accepted it, and `error` describes the channel's error if it is known.
    """

    def __init__(self, service: "NotifyBase", message: Message) -> None:
        super().__init__(name=_THREAD, daemon=True)
        self._service = service
        self._message = message
        self.accepted = False
        self.error = ""
        self.start()

    def run(self) -> None:
        started = monotonic()
        self._attempt()
        if not self.accepted and monotonic() - started < _QUICK_FAILURE_S:
            sleep(RETRY_DELAY_S)
            self._attempt()

    def _attempt(self) -> None:
        from apprise import NotifyFormat, NotifyType

        try:
            self.accepted = self._service.notify(
                title=self._message.title,
                body=self._message.text,
                notify_type=NotifyType.SUCCESS if self._message.good else NotifyType.FAILURE,
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001  # one channel must not stop the others; its error may show its URL
            self.error = f"failed with {type(error).__name__}"


_THREAD = "taxi-alert"


class _SecretFilter(logging.Filter):
    """Drops all log records of Apprise, and those of urllib3 while a message is sent: they may contain a channel's URL.

    Stores the HTTP status code of a failed request in the delivery, so that its error can include the code.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        thread = threading.current_thread()
        status = re.search(r"\berror=(\d{3})\b", record.getMessage())
        if isinstance(thread, _Delivery) and status:
            thread.error = f"responded with {status[1]}"
        return record.name != _APPRISE and not isinstance(thread, _Delivery)


_APPRISE = "apprise"

_SECRET_FILTER = _SecretFilter()


def _open(url: str, number: int, count: int) -> "NotifyBase":
    """Create the channel for a URL, the `number`th of `count`. Raises MissingExtra and InvalidNotificationUrl."""
    for name in (_APPRISE, "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_SECRET_FILTER)
    with warnings.catch_warnings():
        # Apprise imports all of its plugins, and some of them use modules that are deprecated in Python.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            from apprise import Apprise, AppriseAsset
            from apprise.plugins import N_MGR
        except ModuleNotFoundError as error:
            if error.name != _APPRISE:
                raise
            raise MissingExtra(
                "Notifications need the package apprise, which is not installed.", extra="alerts"
            ) from error

        asset = AppriseAsset(app_id="taxi", app_desc="New York's taxi trips")
        service = Apprise.instantiate(url, asset=asset)
        scheme = url.partition("://")[0].lower()
        kind = scheme if scheme in N_MGR else ""
    if service is None:
        raise InvalidNotificationUrl(
            f"Notification URL {number} of {count}{f' ({kind})' if kind else ''} is invalid, or its service needs a "
            "package that is not installed. The URL is not shown because it may contain a secret. Expected an Apprise "
            "URL.",
            number=number,
            count=count,
            kind=kind,
        )
    return service
