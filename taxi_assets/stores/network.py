"""What errors of the network say, without what libraries wrap around it.

Not here: which of them are worth another try.
"""

import re


def said_by_network(error: BaseException) -> str:
    """What went wrong, without the wrapping of those who passed it on, and without the query of any address.

    Servers sign addresses there, so that it may be a secret.
    """
    from requests.exceptions import ProxyError

    inner = error
    while isinstance(cause := _inner(inner), BaseException):
        inner = cause
    text = re.sub(r"\?[^\s'\")]*", "", str(inner))
    text = (text.partition("): ")[2] or text).rstrip(".")
    return f"the proxy: {text}" if isinstance(error, ProxyError) else text


def _inner(error: BaseException) -> object:
    reason = getattr(error, "reason", None) or getattr(error, "original_error", None)
    return reason or next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
