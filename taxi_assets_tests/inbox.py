"""A channel of alerts that a test can look into: a web server that takes what Apprise posts as JSON."""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from taxi_assets_tests.web_server import Reply, WebServer

SECRET = "t0k3n-t0k3n"  # noqa: S105  # made up


@dataclass(frozen=True)
class Mail:
    """A message as it arrived."""

    title: str
    text: str
    kind: str


class Inbox:
    """The channel of a web server; its address, as of most channels, has a secret in it."""

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self.address = f"json://ann:{SECRET}@{urlsplit(web.url).netloc}/{SECRET}"
        self.answer(Reply())

    def answer(self, *replies: Reply) -> None:
        """What is answered from now on, the last again and again."""
        self._web.replies[f"/{SECRET}"] = list(replies)

    @property
    def mails(self) -> list[Mail]:
        """What arrived, in order."""
        told = [json.loads(body) for body in self._web.posted]
        return [Mail(mail["title"], mail["message"], mail["type"]) for mail in told]
