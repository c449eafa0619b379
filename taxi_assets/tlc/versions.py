"""Data versions of a month for each asset, computed from the version of the input and the rules that were applied.

The same input and rules always produce the same version, so a downstream asset is stale only if the version of its
input changed. Not here: comparing versions.
"""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType

from taxi_assets.tlc.marts import Mart
from taxi_assets.tlc.parquet import Footer
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers
from taxi_assets.tlc.schema import Layout

CODE_VERSIONS: Mapping[str, str] = MappingProxyType(
    {"raw_trips": "1", "clean_trips": "2", "lake_trips": "1", "warehouse_trips": "1", "postgres_trips": "1"}
)
"""The code version of each asset. Increase it when the same input and rules produce different rows, columns or values.

A new column without any values, such as one that only later files have, needs no new version: stored months are widened
when they are read. A test compares the output for a fixed input with the recorded output of the current version.
"""

FIRST_CODE_VERSION = "1"
"""The code version of clean files whose footer does not contain a data version."""

EARLIER_CODE_VERSIONS = (FIRST_CODE_VERSION,)
"""The earlier code versions of clean files that stores may contain."""


def clean_version(raw_sha256: str, code: str = "") -> str:
    """The data version of the clean rows of a raw file, from its SHA-256 (hexadecimal) and a code version.

    By default, it is the current code version.
    """
    return _version("clean_trips", raw_sha256, code=code)


def version_of_clean(footer: Footer) -> str:
    """The data version of a clean file: from its footer or, if missing there, from the SHA-256 of its raw file."""
    return footer.version or clean_version(footer.source, FIRST_CODE_VERSION)


def code_of_clean(footer: Footer) -> str:
    """The code version of a clean file; empty if its data version is not that of any code version."""
    version = version_of_clean(footer)
    codes = (CODE_VERSIONS["clean_trips"], *EARLIER_CODE_VERSIONS)
    return next((code for code in codes if version == clean_version(footer.source, code)), "")


def lake_version(clean: str, layout: Layout, rule: MissingPassengers) -> str:
    """The data version of a lake object. The rule has an effect only for a color that reports passengers."""
    return _version("lake_trips", clean, *([str(rule)] if layout.passengers else []))


def warehouse_version(lake: str) -> str:
    """The data version of the rows in the warehouse, from the version of the lake object."""
    return _version("warehouse_trips", lake)


def postgres_version(clean: str, layout: Layout, rule: ZeroPassengers) -> str:
    """The data version of the rows in Postgres. The rule has an effect only for a color that reports passengers."""
    return _version("postgres_trips", clean, *([str(rule)] if layout.passengers else []))


def mart_version(warehouse: str, mart: Mart) -> str:
    """The data version of a mart's rows, from the version of the trips in the warehouse."""
    return _version(mart.name, warehouse, code=mart.code_version)


def _version(asset: str, *parts: str, code: str = "") -> str:
    return sha256("\n".join((asset, code or CODE_VERSIONS[asset], *parts)).encode()).hexdigest()[:_DIGITS]


_DIGITS = 16
"""Hexadecimal digits of a version: enough to avoid collisions, and short enough to read."""
