"""Secrets that tests plant, and the search for them in everything that was written."""

import base64
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress

_MARK = "Qz7planted"
"""What all secrets of `plant` have in common."""


class Secrets:
    """Secrets by the place where each is planted, and the search for any part of them.

    A secret has characters that change when they are encoded, between two parts that do not. Each part is found in
    every form but base64, which depends on its position.
    """

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._common: set[bytes] = set()

    def plant(self, place: str, between: str = "@:/?%é\"'\\&# ") -> str:
        """Return a new secret for a place."""
        letters = re.sub("[^a-z]", "", place.lower())
        first, last = f"{letters}{_MARK}first", f"{letters}{_MARK}last"
        self._parts |= {first: place, last: place}
        self._common.update(_forms(_MARK))
        return f"{first}{between}{last}"

    def know(self, place: str, *parts: str) -> None:
        """Search for these parts of a secret too."""
        self._parts.update(dict.fromkeys(parts, place))
        self._common.update(form for part in parts for form in _forms(part))

    def found(self, text: bytes) -> set[str]:
        """Return the places whose secrets are in a text."""
        # Most texts, such as the files of an image, have none. For them, a few searches are enough.
        if not any(form in text for form in self._common):
            return set()
        return {place for part, place in self._parts.items() if any(form in text for form in _forms(part))}


def _forms(part: str) -> Iterator[bytes]:
    """Yield a part as it is, and in the middle of other text in base64."""
    yield part.encode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + part.encode())
        # The first and the last characters also depend on the text around it.
        yield encoded[4 if before else 0 : -4]


def readable(content: bytes) -> Iterator[bytes]:
    """Yield bytes, and what they are when they are decompressed."""
    yield content
    for decompress in (zlib.decompress, gzip.decompress):
        with suppress(zlib.error, OSError, EOFError):
            yield decompress(content)
