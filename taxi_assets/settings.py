"""Every setting: its name, its type, its default and its meaning. Nothing else reads the environment.

A setting is the environment variable `TAXI_` and the field's name in capitals, or the same line in a file `.env` beside
`pyproject.toml`; the environment wins.
"""

import difflib
import os
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


class Settings(BaseSettings):
    """The settings of one installation. Paths are absolute once it is made."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    home: Path = Field(
        default=Path("taxi_home"),
        description="Where local files live: raw and clean months, the lake, the warehouse, Postgres, Dagster.",
    )
    source_url: str = Field(
        default=MIRROR_URL,
        description="Where months come from: a folder, or a file://, http:// or https:// base of "
        "{color}/{color}_tripdata_{month}.csv.gz, or a whole template with {color} and {month}.",
    )
    lake_url: str = Field(
        default="",
        description="Where objects go: a folder, or gs://BUCKET, with a prefix if you like. "
        "Default: lake in TAXI_HOME.",
    )
    warehouse_url: str = Field(
        default="",
        description="Where tables go: duckdb:///FILE, with four slashes before an absolute path, or "
        "bigquery://PROJECT/DATASET, which loads from a lake in a bucket. Default: warehouse.duckdb in TAXI_HOME.",
    )
    postgres_url: SecretStr | None = Field(
        default=None,
        description="A Postgres server, postgresql://user:password@host:port/database. "
        "Default: one of its own in TAXI_HOME.",
    )
    postgres_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="A port of this machine for its own Postgres to listen on, for psql and pgAdmin. Default: none.",
    )
    bigquery_location: str = Field(
        default="US", description="Where a missing BigQuery dataset, or bucket, is made. Both are best in one place."
    )
    gcp_credentials: SecretStr | None = Field(
        default=None,
        description="The JSON of a Google service account's key, as it is or in base64. "
        "Default: Google's application defaults.",
    )
    upload_chunk_mb: int = Field(
        default=8, ge=1, description="Megabytes that are sent to a bucket at once. Slow lines want few."
    )
    upload_timeout_s: float = Field(
        default=300, gt=0, description="Seconds that Google may take to answer, each chunk for itself."
    )
    first_month: str = Field(default="2019-01", description="The first partition, YYYY-MM.")
    reject_limit: float = Field(
        default=0.01, ge=0, le=1, description="The share of rows, 0 to 1, that may be rejected before a month fails."
    )
    schedules: Literal["on", "off"] = Field(
        default="off",
        description="Whether the schedules, one a color, are on from the start. The UI turns each on and off.",
    )
    schedule_cron: str = Field(
        default="0 5 1 * *", description="When the schedules look for new months, as a cron line in New York's time."
    )
    lookback_months: int = Field(
        default=6, ge=1, description="How many months back, from the last whole one, the schedules look."
    )
    alert_urls: SecretStr | None = Field(
        default=None,
        description="Where failed runs and finished backfills are told: addresses of Apprise, such as slack://..., "
        "mailtos://... or jsons://..., by spaces or new lines. Default: nowhere.",
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="Where people find Dagster's UI: links in alerts begin with it."
    )
    retries: int = Field(
        default=2, ge=0, description="How often a station is tried again at what may pass: no answer, or a busy store."
    )
    retry_delay_s: float = Field(
        default=10,
        ge=0,
        description="Seconds before a station is tried again, give or take as many; each further pause is longer.",
    )
    missing_passengers: MissingPassengers = Field(
        default=MissingPassengers.zero,
        description="What becomes of a missing passenger_count in the lake: zero, or keep.",
    )
    zero_passengers: ZeroPassengers = Field(
        default=ZeroPassengers.drop, description="What becomes of rows with 0 passengers in Postgres: drop, or keep."
    )
    image: str = Field(
        default="taxi-assets:latest",
        description="The image of the deployment: what make image builds, and every container runs.",
    )
    revision: str = Field(
        default="", description="The revision of the code that an image was built from. The image says it itself."
    )
    run_tags: Json[dict[str, dict[str, JsonValue]]] = Field(
        default="{}",  # type: ignore[arg-type]  # read as the environment is
        description="Tags that the runs of a color carry, as JSON by color: by them a cluster gives each color its "
        "resources.",
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

    @field_validator("first_month")
    @classmethod
    def _is_month(cls, value: str) -> str:
        try:
            return require_month(value)
        except UnknownMonth as error:
            raise ValueError(str(error)) from error

    @field_validator("ui_url")
    @classmethod
    def _is_web_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
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
