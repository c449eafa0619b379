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

from taxi_assets.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from apprise import NotifyBase

PATIENCE_S = 8.0
"""Time limit for sending a message to all channels, in seconds.

A Dagster sensor evaluation times out after a minute, and may send several messages.
"""

_AT_ONCE_S = 2.0
"""A send that fails within this time, in seconds, is retried once: the channel cannot have accepted the message."""

_PAUSE_S = 1.0
"""Delay before the retry, in seconds."""

_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+(?=[a-z0-9]+://)|\s+", re.IGNORECASE)
"""Separators between URLs: whitespace, and, as in Apprise, commas and semicolons.

A comma or semicolon can also be part of a URL, so it separates only if another URL follows it.
"""

_LOGIN = re.compile(r"://\S*@")


@dataclass(frozen=True)
class Message:
    """A notification. `good` is true if it reports a success."""

    title: str
    text: str
    good: bool = False


class Channels:
    """The channels in TAXI_ALERT_URLS. The kind of a channel is the scheme of its URL, such as `slack`.

    Raises SettingsError if Apprise cannot parse a URL.
    """

    def __init__(self, urls: str) -> None:
        addresses = [address for address in _BETWEEN_ADDRESSES.split(urls.strip()) if address]
        self._addresses = addresses
        self._services = [_open(address, f"{n} of {len(addresses)}") for n, address in enumerate(addresses, 1)]
        self._silent: set[int] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each channel, in the order of the setting."""
        return tuple(service.schema for service in self._services)

    def send(self, message: Message) -> None:
        """Send a message to all channels in parallel, with any logins and channel URLs in its text removed.

        A send that fails immediately is retried once. A channel that does not respond in time may have accepted the
        message, so it is not retried, and it is skipped for all later messages. Raises StoreError if a channel fails,
        after all other channels have been tried.
        """
        deadline = monotonic() + PATIENCE_S
        message = replace(message, text=self._without_secrets(message.text))
        deliveries = [
            _Delivery(service, message) if number not in self._silent else None
            for number, service in enumerate(self._services)
        ]
        failed = []
        for number, delivery in enumerate(deliveries):
            if delivery:
                delivery.join(max(0.0, deadline - monotonic()))
            if delivery is None or delivery.is_alive():
                self._silent.add(number)
                failed.append(f"{self.kinds[number]} (silent for {PATIENCE_S:.0f} seconds)")
            elif not delivery.taken:
                failed.append(f"{self.kinds[number]} ({delivery.said or 'it could not be reached, or refused'})")
        if failed:
            raise StoreError(
                f"the alert did not get through to {', '.join(failed)}. Check the addresses in TAXI_ALERT_URLS: taxi "
                "doctor --alert tries them"
            )

    def _without_secrets(self, text: str) -> str:
        for address in self._addresses:
            text = text.replace(address, "...")
        return _LOGIN.sub("://...@", text)


class _Delivery(threading.Thread):
    """A thread that sends one message to one channel and starts immediately.

    `said` is the error that the channel returned, if it returned one.
    """

    def __init__(self, service: "NotifyBase", message: Message) -> None:
        super().__init__(name=_THREAD, daemon=True)
        self._service = service
        self._message = message
        self.taken = False
        self.said = ""
        self.start()

    def run(self) -> None:
        started = monotonic()
        self._try()
        if not self.taken and monotonic() - started < _AT_ONCE_S:
            sleep(_PAUSE_S)
            self._try()

    def _try(self) -> None:
        from apprise import NotifyFormat, NotifyType

        try:
            self.taken = self._service.notify(
                title=self._message.title,
                body=self._message.text,
                notify_type=NotifyType.SUCCESS if self._message.good else NotifyType.FAILURE,
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001  # one channel must not stop the others; its error may show its URL
            self.said = type(error).__name__


_THREAD = "taxi-alert"


class _Mute(logging.Filter):
    """Drops all log records of Apprise, and those of urllib3 while a message is sent: they may contain a channel's URL.

    Stores the HTTP status code of a failed request in the delivery, so that its error can include the code.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        thread = threading.current_thread()
        answered = re.search(r"\berror=(\d{3})\b", record.getMessage())
        if isinstance(thread, _Delivery) and answered:
            thread.said = f"it answered {answered[1]}"
        return record.name != _APPRISE and not isinstance(thread, _Delivery)


_APPRISE = "apprise"

_MUTE = _Mute()


def _open(address: str, place: str) -> "NotifyBase":
    """Create the channel for a URL. `place` is its position for errors, such as `1 of 2`. Raises SettingsError."""
    for name in (_APPRISE, "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_MUTE)
    with warnings.catch_warnings():
        # Apprise imports all of its plugins, and some of them use modules that are deprecated in Python.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise, AppriseAsset
        from apprise.plugins import N_MGR

        asset = AppriseAsset(app_id="taxi", app_desc="New York's taxi trips")
        service = Apprise.instantiate(address, asset=asset)
        scheme = address.partition("://")[0].lower()
        kind = f" as {scheme}" if scheme in N_MGR else ""
    if service is None:
        raise SettingsError(
            f"TAXI_ALERT_URLS: address {place} cannot be read{kind}, or its kind needs a package that is missing. It "
            "is not shown, since it may hold a secret. Expected addresses of Apprise by spaces or new lines, such as "
            "slack://TOKEN_A/TOKEN_B/TOKEN_C, mailtos://USER:PASSWORD@example.org, or, for a webhook, "
            "jsons://example.org/hook"
        )
    return service
