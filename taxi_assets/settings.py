"""All settings: names, types, defaults and descriptions. No other module reads the configuration of the project.

Each field of `Settings` is the environment variable `TAXI_` plus the field's name in capitals. The file `.env` next to
`pyproject.toml` can also set it. The environment takes precedence over `.env`, and an empty value means the default.
"""

import difflib
import logging
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, Json, JsonValue, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from taxi_assets.errors import SettingsError, UnknownMonth, UnknownSetting
from taxi_assets.stores.source.known import MIRROR_URL, NAMES
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers
from taxi_assets.tlc.trips import COLORS, require_month

PREFIX = "TAXI_"
DOTENV = Path(__file__).parent.parent / ".env"

_OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""An owner that Dagster accepts."""

_UNUSABLE = re.compile(r"[?\\\n\r\udc80-\udcff]")
"""Characters that do not work in the path of TAXI_HOME, in this order: for SQLite, DuckDB, PostgreSQL and Dagster."""

_LONGEST_HOME = 440
"""Maximum length of the path of TAXI_HOME, in bytes. SQLite needs the rest of its 512 for the files in it."""


def _names(listed: str) -> list[str]:
    """Split a list with commas."""
    return [name.strip() for name in listed.split(",") if name.strip()]


class Settings(BaseSettings):
    """The settings of an installation. All paths are absolute."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    home: Path = Field(
        default=Path("taxi_home"),
        description="Folder for local data: raw and clean files, the lake, the warehouse, the embedded Postgres "
        "server, and the history of runs.",
    )
    source_url: str = Field(
        default=MIRROR_URL,
        description="Source of the monthly files: tlc (the Parquet files of the TLC since 2009), mirror (CSV files of "
        "2019-01 to 2021-07), a folder, or a file://, http:// or https:// URL of a folder, with files named "
        "{color}/{color}_tripdata_{month}.csv.gz. For other names, use a template that ends in .csv.gz, .csv or "
        ".parquet, with {color} and {month} (such as 2020-04), or with {color}, {year} and {month:02} (04). {month:d} "
        "is the month without a leading zero (4). {Color} and {COLOR} are the color with capital letters.",
    )
    lake_url: str = Field(
        default="",
        description="The lake: a folder, or gs://BUCKET with an optional prefix. Default: lake in TAXI_HOME.",
    )
    warehouse_url: str = Field(
        default="",
        description="The warehouse: duckdb:///FILE, with four slashes before an absolute path, or "
        "bigquery://PROJECT/DATASET, which requires a lake in a bucket. Default: warehouse.duckdb in TAXI_HOME.",
    )
    postgres_url: SecretStr | None = Field(
        default=None,
        description="URL of a Postgres database: postgresql://user:password@host:port/database. "
        "Default: an embedded server in TAXI_HOME.",
    )
    postgres_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Local port of the embedded Postgres server, for clients such as psql and pgAdmin. Default: none.",
    )
    bigquery_location: str = Field(
        default="US",
        description="Location for a new BigQuery dataset or bucket. Both must be in the same location.",
    )
    gcp_credentials: SecretStr | None = Field(
        default=None,
        description="Key of a Google service account: the JSON text itself, plain or in base64. "
        "Default: Google's Application Default Credentials.",
    )
    upload_chunk_mb: int = Field(
        default=8, ge=1, description="Chunk size in megabytes for uploads to a bucket. Use less on a slow connection."
    )
    upload_timeout_s: float = Field(
        default=300, gt=0, description="Timeout in seconds for Google's response to each chunk of an upload."
    )
    first_month: str | None = Field(
        default=None, description="First partition, YYYY-MM. Default: the first month that the source has."
    )
    last_month: str | None = Field(
        default=None,
        description="Last partition, YYYY-MM. Default: the last month that the source can have. For the mirror, which "
        "no longer changes, that is 2021-07. For other sources, it is the month before last, because the TLC publishes "
        "a month about two months after it ends.",
    )
    outside_month_limit: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Maximum share of trips in a file that start outside its month, 0 to 1. Above it, the month fails, "
        "because the file is probably that of another month.",
    )
    reject_limit: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Maximum share of rejected rows in a month, 0 to 1. Above it, the month fails.",
    )
    schedules: Literal["on", "off"] = Field(
        default="off",
        description="Initial status of the schedules, one per color, and of the sensor of the marts: on or off. You "
        "can change each one in the UI.",
    )
    schedule_cron: str = Field(
        default="0 5 1 * *",
        description="Cron expression, in New York time, of the schedules that check for new months.",
    )
    lookback_months: int = Field(
        default=6, ge=1, description="Number of a color's most recent partitions that its schedule checks."
    )
    alert_urls: SecretStr | None = Field(
        default=None,
        description="Apprise URLs to notify about failed runs and finished backfills, such as slack://..., "
        "mailtos://... or jsons://..., separated by spaces or new lines. Default: none.",
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000",
        description="URL of the Dagster UI, for the links in notifications. The UI accepts requests for its host, such "
        "as those of a reverse proxy.",
    )
    retries: int = Field(
        default=2, ge=0, description="Retries of a step after a transient error (a timeout, a busy database)."
    )
    retry_delay_s: float = Field(
        default=10,
        ge=0,
        description="Delay in seconds before the first retry of a step, with jitter. Later delays are longer.",
    )
    missing_passengers: MissingPassengers = Field(
        default=MissingPassengers.zero,
        description="Missing values of passenger_count in the lake: zero (set them to 0) or keep.",
    )
    zero_passengers: ZeroPassengers = Field(
        default=ZeroPassengers.drop, description="Rows with passenger_count = 0 in Postgres: drop or keep."
    )
    image: str = Field(
        default="taxi-assets:latest",
        description="Docker image of the deployment. make image builds it, and all containers use it.",
    )
    revision: str = Field(default="", description="Git revision of the code. The image sets it.")
    owners: str = Field(
        default="team:data-engineering",
        description="Owners of the assets in Dagster's catalog, separated by commas: email addresses or team:NAME.",
    )
    repository_url: str = Field(
        default="",
        description="Repository on GitHub or GitLab for links from assets to their code, with a branch if it is not "
        "main: https://github.com/ORG/REPO/tree/BRANCH. Default: links to local files.",
    )
    run_tags: Json[dict[str, dict[str, JsonValue]]] = Field(
        default="{}",  # type: ignore[arg-type]  # parsed like an environment variable
        description="Tags for the runs of each color's job, as a JSON object by color. A cluster can use them to "
        "assign resources.",
    )

    @classmethod
    def load(cls) -> Self:
        """Return the settings from the environment and from `.env`. Raises SettingsError.

        Variables in `.env` are added to the environment, because Dagster's `EnvVar`, Google's clients and child
        processes read it. pydantic's `env_file` would not do that. It would also use the value in `.env` if the
        variable is empty in the environment, which means the default here.
        """
        from dotenv import dotenv_values, load_dotenv

        in_dotenv = dotenv_values(DOTENV, interpolate=False)
        load_dotenv(DOTENV)
        _check_names(in_dotenv)
        try:
            return cls()
        except ValidationError as error:
            raise _invalid(error) from None

    @property
    def owner_names(self) -> list[str]:
        """The owners of the assets."""
        return _names(self.owners)

    def places(self) -> dict[str, str]:
        """Return the environment variables of the locations, with absolute paths, for a process in another folder."""
        names = ("home", "source_url", "lake_url", "warehouse_url")
        return {_variable(name): str(getattr(self, name)) for name in names}

    @field_validator("home")
    @classmethod
    def _is_usable(cls, value: Path) -> Path:
        text = str(_expand(value))
        if unusable := _UNUSABLE.search(text):
            name = {"\n": "a line break", "\r": "a carriage return"}.get(unusable[0], f'"{unusable[0]}"')
            name = "a byte that is not UTF-8" if unusable[0] > "\x7f" else name
            raise ValueError(f"the path has {name}, which databases in it cannot use. Expected a folder without it")
        if (length := len(os.fsencode(text))) > _LONGEST_HOME:
            raise ValueError(
                f"the path has {length:,} bytes, which is too long for databases in it. Maximum: {_LONGEST_HOME}"
            )
        return value

    @field_validator("first_month", "last_month")
    @classmethod
    def _is_month(cls, value: str | None) -> str | None:
        try:
            return value and require_month(value)
        except UnknownMonth as error:
            raise ValueError(str(error)) from error

    @field_validator("ui_url")
    @classmethod
    def _is_web_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL that starts with http:// or https://")
        return _without_login(value).rstrip("/")

    @field_validator("owners")
    @classmethod
    def _are_owners(cls, value: str) -> str:
        if invalid := [f'"{name}"' for name in _names(value) if not _OWNER.fullmatch(name)]:
            raise ValueError(f"{', '.join(invalid)}: expected an email address or team:NAME")
        return value

    @field_validator("repository_url")
    @classmethod
    def _is_repository(cls, value: str) -> str:
        if value and not re.match(r"https://[^/]*(github|gitlab)[^/]*/.+/", value):
            raise ValueError("expected a URL such as https://github.com/ORG/REPO")
        return _without_login(value).rstrip("/")

    @field_validator("run_tags")
    @classmethod
    def _have_known_colors(cls, value: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        if unknown := value.keys() - set(COLORS):
            listed = ", ".join(f'"{color}"' for color in sorted(unknown))
            raise ValueError(f"{listed}: expected {', '.join(COLORS)}")
        return value

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        """Make relative paths absolute, so that they stay valid if the working directory changes."""
        home = _expand(self.home)
        places = {
            "home": home,
            "source_url": _absolute(NAMES.get(self.source_url.lower(), self.source_url)),
            "lake_url": _absolute(self.lake_url or str(home / "lake")),
            "warehouse_url": _absolute_duckdb(self.warehouse_url or f"duckdb:///{home / 'warehouse.duckdb'}"),
        }
        for name, value in places.items():
            object.__setattr__(self, name, value)
        return self


def _without_login(url: str) -> str:
    """Return the URL of a link, which everyone sees. Raises ValueError if it has a login."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("the URL has a user name or a password, which links would show. Expected a URL without them")
    return url


def _expand(path: Path) -> Path:
    """Return an absolute path. Like a shell, keep the `~` of a user who does not exist."""
    with suppress(RuntimeError):
        path = path.expanduser()
    return path.absolute()


def _absolute(url: str) -> str:
    return url if "://" in url else str(_expand(Path(url)))


def _absolute_duckdb(url: str) -> str:
    scheme, slashes, path = url.partition(":///")
    return f"{scheme}:///{_expand(Path(path))}" if scheme == "duckdb" and slashes else url


def setting_names() -> list[str]:
    """Return the environment variables of all settings, in the order of the fields."""
    return [_variable(field) for field in Settings.model_fields]


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _check_names(in_dotenv: Iterable[str]) -> None:
    """Check for TAXI_ variables that are not settings, because a typo would otherwise be ignored.

    Raises UnknownSetting for a name in `.env`. Only warns about a name in the environment: for a service named taxi,
    Kubernetes sets variables such as TAXI_SERVICE_HOST.
    """
    known = setting_names()
    for name in (*in_dotenv, *os.environ):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            if name in in_dotenv:
                raise UnknownSetting(f"{name} is not a setting.{hint}", seen=name, expected=", ".join(nearest))
            warn_once(f"{name} is not a setting and is ignored.{hint}")


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process has logged it before."""
    _log.warning("warning: %s", message)


_log = logging.getLogger(__name__)


def _invalid(error: ValidationError) -> SettingsError:
    """Return an error with a line for each invalid setting. Values are left out because they can be secrets."""
    reasons = {
        str(wrong["loc"][0]): wrong["msg"].removeprefix("Value error, ").rstrip(".")
        for wrong in error.errors(include_url=False, include_input=False)
    }
    lines = [
        f"{_variable(field)} is invalid: {reason}. Description: {Settings.model_fields[field].description}"
        for field, reason in reasons.items()
    ]
    return SettingsError("\n".join(lines), setting=", ".join(map(_variable, reasons)))
