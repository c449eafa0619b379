"""Read what a program prints on a pseudoterminal."""

import os
from contextlib import suppress


def read_rest(terminal: int) -> bytes:
    """Return everything that the program on a terminal still prints until it ends."""
    printed = b""
    # Linux reports an I/O error when the program has ended.
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            printed += piece
    return printed
