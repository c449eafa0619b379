"""Sizes of files as text."""

_KILOBYTE, _MEGABYTE = 10**3, 10**6


def format_size(size: int) -> str:
    """Format a number of bytes for display, in bytes, kB or MB."""
    if size < _KILOBYTE:
        return f"{size} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= _MEGABYTE else f"{size / 1e3:,.1f} kB"
