"""Every error that this project raises on purpose. What is not here is a bug.

TaxiAssetsError
├── SettingsError            a setting that cannot be used
├── UnknownMonth             a color or month that is no partition here
├── BadSelection             words that select no station
├── UnknownBackfill          an id that no backfill has here
├── BadInput                 what came in is not a month of trips
│   ├── NotPublished         the source has no such month
│   ├── BadHeader            the columns are not this color's
│   ├── BadFile              cut short, corrupt, empty, or no CSV at all
│   └── TooManyRejects       more rows than allowed do not parse
├── MissingUpstream          the station before this one has not run here
├── CountMismatch            two counts that must agree do not
├── SchemaMismatch           a file that was written has other columns than it must have
└── StoreError               a system refused, or cannot be reached
    ├── StoreUnreachable     it did not answer, or not to the end
    │   └── SourceUnreachable    the source, of months, did not
    ├── StoreBusy            another writer held it for too long
    └── BadQuery             the SQL asked of it is wrong

A message says what was seen, what was expected and what to do. What may pass by itself, so that the same may be tried
again, is in `MAY_PASS`.
"""


class TaxiAssetsError(Exception):
    """Base of all errors of this project; `facts` are the figures that were seen, by name."""

    def __init__(self, message: str = "", **facts: str | float) -> None:
        super().__init__(message)
        self.facts = facts


class SettingsError(TaxiAssetsError):
    """A setting has a name or a value that cannot be used."""


class UnknownMonth(TaxiAssetsError):
    """A color or a month that does not exist, or not yet, or not here."""


class BadSelection(TaxiAssetsError):
    """The words given to --select name no station."""


class UnknownBackfill(TaxiAssetsError):
    """No backfill has this id here."""


class BadInput(TaxiAssetsError):
    """What the source holds is not a month of trips of this color."""


class NotPublished(BadInput):
    """The source has no file for this month."""


class BadHeader(BadInput):
    """The file's columns are not those of its color."""


class BadFile(BadInput):
    """The file is cut short, corrupt, empty, or no CSV."""


class TooManyRejects(BadInput):
    """More rows were rejected than the setting allows."""


class MissingUpstream(TaxiAssetsError):
    """The file that an earlier station makes is not here."""


class CountMismatch(TaxiAssetsError):
    """Two counts of the same rows disagree: rows were lost or doubled."""


class SchemaMismatch(TaxiAssetsError):
    """A file that was just written does not have the columns and types that are declared for its color."""


class StoreError(TaxiAssetsError):
    """A store refused the work or could not be reached."""


class StoreUnreachable(StoreError):
    """A store did not answer, answered that it cannot now, or broke off."""


class SourceUnreachable(StoreUnreachable):
    """The source did not answer, answered that it cannot now, or broke off."""


class StoreBusy(StoreError):
    """Another writer held the store's lock for longer than the wait."""


class BadQuery(StoreError):
    """The SQL asked of a store is wrong."""


MAY_PASS = (StoreUnreachable, StoreBusy)
"""What another try, a little later, may not meet. Nothing else is worth one."""
