"""What the version of a month stands for at each step: the content that came in, and the rules that shaped it.

The same input under the same rules has the same version, wherever and however often it is made: what is downstream is
stale exactly where its input's version is another one. Not here: who compares versions.
"""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType

from taxi_assets.tlc.parquet import Footer
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers
from taxi_assets.tlc.schema import Layout

CODE_VERSIONS: Mapping[str, str] = MappingProxyType(
    {"raw_trips": "1", "clean_trips": "1", "lake_trips": "1", "warehouse_trips": "1", "postgres_trips": "1"}
)
"""The version of each asset's code. Raise it when the same input and rules give other rows, columns or values.

A test compares what the code makes of fixed input with what it made under the version that stands here.
"""


def clean_version(raw_sha256: str) -> str:
    """The version of the clean rows of a raw file."""
    return _version("clean_trips", raw_sha256)


def version_of_clean(footer: Footer) -> str:
    """The version of a clean file: as its footer states it, or, in a file that states none, by its raw file."""
    return footer.version or clean_version(footer.source)


def lake_version(clean: str, layout: Layout, rule: MissingPassengers) -> str:
    """The version of the lake's object of a clean month; the rule counts only for a color that reports passengers."""
    return _version("lake_trips", clean, *([str(rule)] if layout.passengers else []))


def warehouse_version(lake: str) -> str:
    """The version of the warehouse's rows of an object."""
    return _version("warehouse_trips", lake)


def postgres_version(clean: str, layout: Layout, rule: ZeroPassengers) -> str:
    """The version of Postgres' rows of a clean month; the rule counts only for a color that reports passengers."""
    return _version("postgres_trips", clean, *([str(rule)] if layout.passengers else []))


def _version(asset: str, *parts: str) -> str:
    return sha256("\n".join((asset, CODE_VERSIONS[asset], *parts)).encode()).hexdigest()[:_DIGITS]


_DIGITS = 16
"""Enough that no two versions of a month are ever the same by chance, and few enough to be read."""
