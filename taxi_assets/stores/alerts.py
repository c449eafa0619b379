"""Channels that messages go to: Slack, mail, webhooks and whatever else Apprise knows.

An address holds secrets: of a channel nothing is told but its kind. Not here: what a message says, and when it is sent.
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
"""How long a message may take to reach all channels, in seconds. Dagster gives a sensor a minute for some of them."""

_AT_ONCE_S = 2.0
"""A channel that refused a message within these seconds has not taken it, and is asked once more."""

_PAUSE_S = 1.0
"""The time between the two tries, in seconds."""

_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+(?=[a-z0-9]+://)|\s+", re.IGNORECASE)
"""Spaces and new lines; as in Apprise also commas, which may be a part of an address, if another one follows."""

_LOGIN = re.compile(r"://\S*@")


@dataclass(frozen=True)
class Message:
    """What people are told; `good` where nothing went wrong."""

    title: str
    text: str
    good: bool = False


class Channels:
    """The channels of TAXI_ALERT_URLS, each of a kind, which is the scheme of its address, such as `slack`.

    Raises SettingsError for an address that Apprise cannot read.
    """

    def __init__(self, urls: str) -> None:
        addresses = [address for address in _BETWEEN_ADDRESSES.split(urls.strip()) if address]
        self._addresses = addresses
        self._services = [_open(address, f"{n} of {len(addresses)}") for n, address in enumerate(addresses, 1)]
        self._silent: set[int] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each channel, in their order."""
        return tuple(service.schema for service in self._services)

    def send(self, message: Message) -> None:
        """Send a message to all channels at once, without logins and addresses of channels, if it quotes any.

        One that refuses it at once is asked once more. One that was silent may have taken it: it is not asked again,
        nor for any later message. Raises StoreError, once the others have it, where a channel did not take it.
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
    """One message on its way to one channel, from the start; `said` is what the channel answered, if it did."""

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
        except Exception as error:  # noqa: BLE001  # what a channel dies of concerns it alone, and may quote its address
            self.said = type(error).__name__


_THREAD = "taxi-alert"


class _Mute(logging.Filter):
    """Lets nothing out that is logged while an address is read or a message sent: it may quote the address.

    The status that a server answered is kept for who sent the message.
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
    """The channel of an address; `place` says which of them it is. Raises SettingsError."""
    for name in (_APPRISE, "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_MUTE)
    with warnings.catch_warnings():
        # Of modules that Python will drop: it loads all its kinds to know one.
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
