"""Every setting: its name, its type, its default and its meaning. Nothing else reads the environment.

A setting is the environment variable `TAXI_` and the field's name in capitals, or the same line in a file `.env` beside
`pyproject.toml`; the environment wins.
"""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, Json, JsonValue, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from taxi_assets.errors import SettingsError, UnknownMonth
from taxi_assets.stores.source import MIRROR_URL
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers
from taxi_assets.tlc.trips import COLORS, require_month

PREFIX = "TAXI_"
DOTENV = Path(__file__).parent.parent / ".env"

_OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""What Dagster takes for an owner."""


class Settings(BaseSettings):
    """The settings of one installation. Paths are absolute once it is made."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    home: Path = Field(
        default=Path("taxi_home"),
        description="Folder for local files: raw and clean months, the lake, the warehouse, Postgres, Dagster.",
    )
    source_url: str = Field(
        default=MIRROR_URL,
        description="Where months come from: a folder, or the file://, http:// or https:// address of one, that holds "
        "{color}/{color}_tripdata_{month}.csv.gz; or a full address with {color} and {month}.",
    )
    lake_url: str = Field(
        default="",
        description="The lake: a folder, or gs://BUCKET with an optional prefix. Default: lake in TAXI_HOME.",
    )
    warehouse_url: str = Field(
        default="",
        description="The warehouse: duckdb:///FILE, with four slashes before an absolute path, or "
        "bigquery://PROJECT/DATASET, which loads from a lake in a bucket. Default: warehouse.duckdb in TAXI_HOME.",
    )
    postgres_url: SecretStr | None = Field(
        default=None,
        description="A Postgres server, postgresql://user:password@host:port/database. "
        "Default: an embedded server in TAXI_HOME.",
    )
    postgres_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port on this machine for the embedded Postgres server, for psql and pgAdmin. Default: none.",
    )
    bigquery_location: str = Field(
        default="US",
        description="Location of a BigQuery dataset or bucket that has to be created. Keep both in the same place.",
    )
    gcp_credentials: SecretStr | None = Field(
        default=None,
        description="Key of a Google service account: the JSON itself, plain or base64. "
        "Default: Google's application default credentials.",
    )
    upload_chunk_mb: int = Field(
        default=8, ge=1, description="Megabytes in each chunk of an upload to a bucket. Use less on a slow connection."
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
        "is frozen, that is 2021-07; for other sources it is the month before last, because the TLC publishes late.",
    )
    reject_limit: float = Field(
        default=0.01, ge=0, le=1, description="Share of rows, 0 to 1, that may be rejected before a month fails."
    )
    schedules: Literal["on", "off"] = Field(
        default="off",
        description="Whether schedules, one per color, start switched on: on or off. The UI has a switch for each.",
    )
    schedule_cron: str = Field(
        default="0 5 1 * *", description="Cron expression, in New York time, of the schedules that look for new months."
    )
    lookback_months: int = Field(
        default=6, ge=1, description="How many of a color's last partitions the schedules look at."
    )
    alert_urls: SecretStr | None = Field(
        default=None,
        description="Apprise URLs to notify about failed runs and finished backfills, such as slack://..., "
        "mailtos://... or jsons://..., separated by spaces or new lines. Default: none.",
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="Address of Dagster's UI. Links in alerts start with it."
    )
    retries: int = Field(
        default=2, ge=0, description="Retries of a step after a transient error (a timeout, a busy database)."
    )
    retry_delay_s: float = Field(
        default=10,
        ge=0,
        description="Seconds before a step's first retry, plus or minus as many at random. Later waits are longer.",
    )
    missing_passengers: MissingPassengers = Field(
        default=MissingPassengers.zero,
        description="Rows with a missing passenger_count in the lake: zero (make it 0) or keep.",
    )
    zero_passengers: ZeroPassengers = Field(
        default=ZeroPassengers.drop, description="Rows with a passenger_count of 0 in Postgres: drop or keep."
    )
    image: str = Field(
        default="taxi-assets:latest",
        description="Image of the deployment, which make image builds and every container runs.",
    )
    revision: str = Field(default="", description="Git revision of the code in an image. The image sets it.")
    owners: str = Field(
        default="team:data-engineering",
        description="Owners of the assets in Dagster's catalog, separated by commas: email addresses or team:NAME.",
    )
    repository_url: str = Field(
        default="",
        description="Repository on GitHub or GitLab that assets link to, with a branch if it is not main: "
        "https://github.com/ORG/REPO/tree/BRANCH. Default: links to local files.",
    )
    run_tags: Json[dict[str, dict[str, JsonValue]]] = Field(
        default="{}",  # type: ignore[arg-type]  # read as the environment is
        description="Tags for the runs of each color's job, as JSON by color. A cluster can assign resources by them.",
    )

    @classmethod
    def load(cls) -> Self:
        """The settings of the environment and of `.env`, which joins the environment. Raises SettingsError."""
        from dotenv import load_dotenv

        load_dotenv(DOTENV)
        _require_known(os.environ)
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    def places(self) -> dict[str, str]:
        """The environment variables of the places, absolute: for a process that starts in another folder."""
        names = ("home", "source_url", "lake_url", "warehouse_url")
        return {f"{PREFIX}{name.upper()}": str(getattr(self, name)) for name in names}

    @field_validator("first_month", "last_month")
    @classmethod
    def _is_month(cls, value: str | None) -> str | None:
        try:
            return value and require_month(value)
        except UnknownMonth as error:
            raise ValueError(str(error)) from error

    @field_validator("ui_url")
    @classmethod
    def _is_web_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        return value.rstrip("/")

    @field_validator("owners")
    @classmethod
    def _are_owners(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if strange := [name for name in names if not _OWNER.fullmatch(name)]:
            raise ValueError(f"{', '.join(strange)}: expected an e-mail address, or team:NAME")
        return value

    @field_validator("repository_url")
    @classmethod
    def _is_repository(cls, value: str) -> str:
        if value and not re.match(r"https://[^/]*(github|gitlab)[^/]*/.+/", value):
            raise ValueError("expected a repository on GitHub or GitLab, such as https://github.com/ORG/REPO")
        return value.rstrip("/")

    @field_validator("run_tags")
    @classmethod
    def _are_colors(cls, value: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        if unknown := value.keys() - set(COLORS):
            raise ValueError(f"{', '.join(sorted(unknown))}: expected {', '.join(COLORS)}")
        return value

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        """Make relative places absolute, once, so that no later change of folder moves them."""
        home = self.home.expanduser().absolute()
        places = {
            "home": home,
            "source_url": _absolute(self.source_url),
            "lake_url": _absolute(self.lake_url or str(home / "lake")),
            "warehouse_url": _absolute_duckdb(self.warehouse_url or f"duckdb:///{home / 'warehouse.duckdb'}"),
        }
        for name, value in places.items():
            object.__setattr__(self, name, value)
        return self


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).expanduser().absolute())


def _absolute_duckdb(url: str) -> str:
    scheme, slashes, path = url.partition(":///")
    return f"{scheme}:///{Path(path).expanduser().absolute()}" if scheme == "duckdb" and slashes else url


def setting_names() -> list[str]:
    """The environment variables that are settings, in their order."""
    return [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def _require_known(names: Iterable[str]) -> None:
    """Raise SettingsError for a TAXI_ name that is no setting: a typing error would else go unseen."""
    known = setting_names()
    for name in names:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(known)}."
            raise SettingsError(f"{name} is no setting: {hint} It is set in the environment or in {DOTENV}")


def _explain(error: ValidationError) -> str:
    """Each bad setting by its name, with what is wrong, and without its value, which may be a secret."""
    lines = []
    for wrong in error.errors(include_url=False, include_input=False):
        name = str(wrong["loc"][0])
        lines.append(f"{PREFIX}{name.upper()}: {wrong['msg']}. Meaning: {Settings.model_fields[name].description}")
    return "\n".join(lines)
