"""A terminal that a program writes to."""

import os
from contextlib import suppress


def rest_of(terminal: int) -> bytes:
    """All that a terminal's program still prints, until it ends."""
    printed = b""
    # At the end of the program, Linux says that there is no terminal any more.
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            printed += piece
    return printed
