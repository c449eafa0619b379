"""Messages of network errors, without the exceptions that libraries wrap around them.

Not here: which of them are transient.
"""

import re


def describe_network_error(error: BaseException) -> str:
    """Return the message of the innermost error, without the query string of any URL.

    Query strings are removed because they may contain secrets, such as the signature of a signed URL.
    """
    from requests.exceptions import ProxyError

    inner = error
    while isinstance(cause := _inner(inner), BaseException):
        inner = cause
    text = re.sub(r"\?[^\s'\")]*", "", str(inner))
    text = (text.partition("): ")[2] or text).rstrip(".")
    return f"proxy error: {text}" if isinstance(error, ProxyError) else text


def _inner(error: BaseException) -> object:
    reason = getattr(error, "reason", None) or getattr(error, "original_error", None)
    return reason or next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
