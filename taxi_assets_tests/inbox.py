"""A notification channel for tests: a web server that receives the messages that Apprise posts as JSON."""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from taxi_assets_tests.web_server import Reply, WebServer

SECRET = "t0k3n-t0k3n"  # noqa: S105  # not a real secret


@dataclass(frozen=True)
class Mail:
    """A received message. `kind` is `success` or `failure`."""

    title: str
    text: str
    kind: str


class Inbox:
    """The channel on a web server. Its `address` is an Apprise URL that, like most of them, contains a secret."""

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self.address = f"json://ann:{SECRET}@{urlsplit(web.url).netloc}/{SECRET}"
        self.answer(Reply())

    def answer(self, *replies: Reply) -> None:
        """Set the next replies of the server. The last one is repeated."""
        self._web.replies[f"/{SECRET}"] = list(replies)

    @property
    def mails(self) -> list[Mail]:
        """The received messages, in order."""
        bodies = [json.loads(body) for body in self._web.posted]
        return [Mail(body["title"], body["message"], body["type"]) for body in bodies]
