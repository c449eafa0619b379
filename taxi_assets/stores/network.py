"""Messages of network errors, without the exceptions that libraries wrap around them; and host names without address.

Not here: which other errors are transient.
"""

import re
import socket
from threading import Thread
from urllib.parse import urlsplit

RESOLVE_TIMEOUT_S = 2.5
"""How long to wait for the address of a host, in seconds. Without it, a resolver can take half a minute to give up."""

_LONGEST_REASON = 300
"""Maximum length of a text from a server in a message, in characters."""

_NO_ADDRESS = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The answers of name servers that a host has no address. Other errors are failures to get an answer."""


def describe_network_error(error: BaseException) -> str:
    """Return the message of the innermost error, without the query string of any URL.

    Query strings are removed because they may contain secrets, such as the signature of a signed URL.
    """
    from requests.exceptions import ProxyError

    inner = error
    while isinstance(cause := _inner(inner), BaseException):
        inner = cause
    text = re.sub(r"\?[^\s'\")]*", "", str(inner))
    text = shorten_reason((text.partition("): ")[2] or text).rstrip("."))
    return f"proxy error: {text}" if isinstance(error, ProxyError) else text


def shorten_reason(text: str) -> str:
    """Return the start of a text from a server, which can be as long as the server likes."""
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def find_resolution_error(error: BaseException | None) -> socket.gaierror | None:
    """Return the error of the name resolution that caused a network error, or None if it has another cause."""
    while error is not None and not isinstance(error, socket.gaierror):
        inner = _inner(error)
        error = inner if isinstance(inner, BaseException) else error.__cause__
    return error


def has_no_address(error: socket.gaierror) -> bool:
    """Return whether a name server answered that the host has no address, so that a retry would be of no use."""
    return error.errno in _NO_ADDRESS


def why_host_not_found(url: str) -> str:
    """Return why requests for a URL cannot find their host, or the proxy if one is configured; "" if they can.

    It waits for at most RESOLVE_TIMEOUT_S.
    """
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None)) or ""
    target = proxy or url
    host = urlsplit(target if "://" in target else f"http://{target}").hostname or ""
    name = f'{"the proxy " * bool(proxy)}"{host}"'
    reasons: list[str] = []

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror as error:
            reasons.append(f"{name} cannot be resolved to an address ({error.strerror})")
        except UnicodeError:  # not a valid name, which the request reports
            pass

    # The resolver cannot be interrupted.
    thread = Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(RESOLVE_TIMEOUT_S)
    if thread.is_alive():
        return f"{name} was not resolved to an address within {RESOLVE_TIMEOUT_S:g} s"
    return reasons[0] if reasons else ""


def _inner(error: BaseException) -> object:
    reason = getattr(error, "reason", None) or getattr(error, "original_error", None)
    return reason or next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
