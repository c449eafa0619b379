"""Every error that this project raises on purpose. Any other exception is a bug.

TaxiAssetsError
├── SettingsError            a setting has an invalid name or value
├── UnknownMonth             a color or month that is not a partition
├── BadSelection             a selection that matches no asset
├── UnknownBackfill          a backfill ID that does not exist
├── BadInput                 the input is not a month of trips
│   ├── NotPublished         the source does not have this month
│   ├── BadHeader            the columns do not match the color
│   ├── BadFile              truncated, corrupt, empty, or not a CSV
│   └── TooManyRejects       more rows than allowed fail to parse
├── MissingUpstream          the output of an upstream asset does not exist
├── CountMismatch            two counts that must be equal differ
├── SchemaMismatch           a file was written with the wrong columns or types
└── StoreError               a system rejected a request or is unreachable
    ├── StoreUnreachable     no response, or the connection broke
    │   └── SourceUnreachable    the same, for the source of the raw files
    ├── StoreBusy            another writer held a lock for too long
    └── BadQuery             the SQL of a query is invalid

A message states what happened, what was expected, and what to do. `MAY_PASS` lists the transient errors, which are
worth a retry.
"""


class TaxiAssetsError(Exception):
    """Base class of all errors in this project. `facts` maps names to the values that caused the error."""

    def __init__(self, message: str = "", **facts: str | float) -> None:
        super().__init__(message)
        self.facts = facts


class SettingsError(TaxiAssetsError):
    """A setting has an invalid name or value."""


class UnknownMonth(TaxiAssetsError):
    """The color or month does not exist, does not exist yet, or is not a partition."""


class BadSelection(TaxiAssetsError):
    """The value of --select matches no asset."""


class UnknownBackfill(TaxiAssetsError):
    """No backfill in this instance has this ID."""


class BadInput(TaxiAssetsError):
    """The source file is not a month of trips of this color."""


class NotPublished(BadInput):
    """The source has no file for this month."""


class BadHeader(BadInput):
    """The columns of the file do not match its color."""


class BadFile(BadInput):
    """The file is truncated, corrupt, empty, or not a CSV."""


class TooManyRejects(BadInput):
    """More rows were rejected than TAXI_REJECT_LIMIT allows."""


class MissingUpstream(TaxiAssetsError):
    """The file that an upstream asset writes does not exist."""


class CountMismatch(TaxiAssetsError):
    """Two counts of the same rows differ: rows were lost or duplicated."""


class SchemaMismatch(TaxiAssetsError):
    """A newly written file does not have the columns and types declared for its color."""


class StoreError(TaxiAssetsError):
    """A store rejected a request or could not be reached."""


class StoreUnreachable(StoreError):
    """A store did not respond, was temporarily unavailable, or closed the connection early."""


class SourceUnreachable(StoreUnreachable):
    """The source did not respond, was temporarily unavailable, or closed the connection early."""


class StoreBusy(StoreError):
    """Another writer held the lock of the store past the timeout."""


class BadQuery(StoreError):
    """The SQL of a query is invalid."""


MAY_PASS = (StoreUnreachable, StoreBusy)
"""Transient errors, which a retry may resolve. No other error is worth a retry."""
