"""Settings come from the environment and `.env`. Errors name the invalid settings, but do not show secrets."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from taxi_assets import settings as settings_module
from taxi_assets.defs.assets import build_assets
from taxi_assets.errors import SettingsError, UnknownSetting
from taxi_assets.settings import Settings
from taxi_assets.stores.source.known import MIRROR_URL, TLC_URL


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of `.env` in an empty working directory, with no settings in the environment, which is restored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_module, "DOTENV", tmp_path / ".env")
    with patch.dict(os.environ):
        for name in settings_module.setting_names():
            os.environ.pop(name, None)
        yield tmp_path / ".env"


def test_defaults(tmp_path: Path) -> None:
    """Every setting has a default, and all locations except the source are in TAXI_HOME."""
    settings = Settings.load()
    home = tmp_path / "taxi_home"
    assert settings.home == home
    assert settings.source_url == MIRROR_URL
    assert settings.lake_url == str(home / "lake")
    assert settings.warehouse_url == f"duckdb:///{home}/warehouse.duckdb"
    assert settings.postgres_url is None
    assert (settings.first_month, settings.last_month) == (None, None)


def test_resolve_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths start at the working directory in which the settings are loaded."""
    monkeypatch.setenv("TAXI_HOME", "here")
    monkeypatch.setenv("TAXI_SOURCE_URL", "../months")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "duckdb:///tables.duckdb")
    settings = Settings.load()
    assert settings.home == tmp_path / "here"
    assert settings.source_url == f"{tmp_path}/../months"
    assert settings.warehouse_url == f"duckdb:///{tmp_path}/tables.duckdb"


@pytest.mark.parametrize(
    ("value", "url"),
    [("tlc", TLC_URL), ("TLC", TLC_URL), ("Tlc", TLC_URL), ("mirror", MIRROR_URL), ("MIRROR", MIRROR_URL)],
)
def test_source_by_name(value: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the public sources stand for their URLs, in any letter case, also in other processes."""
    monkeypatch.setenv("TAXI_SOURCE_URL", value)
    settings = Settings.load()
    assert settings.source_url == url
    assert settings.places()["TAXI_SOURCE_URL"] == url
    assert Settings(source_url=url).source_url == url


def test_a_folder_with_the_name_of_a_source(tmp_path: Path) -> None:
    """A folder that has the name of a source needs its path."""
    assert Settings(source_url="./tlc").source_url == f"{tmp_path}/tlc"


def test_home_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, `~` is expanded to the home folder of the user, unless that user does not exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    settings = Settings(source_url="~/{color}/{month}.csv", lake_url="~nobody-has-this-name/lake")
    assert settings.source_url == "/home/me/{color}/{month}.csv"
    assert settings.lake_url == f"{tmp_path}/~nobody-has-this-name/lake"


@pytest.mark.parametrize("name", ["a?b", "a\\b", "a\nb", "a\rb", "a\udcffb", "a" * 441])
def test_home_that_databases_cannot_use(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that SQLite, DuckDB or PostgreSQL could not use later is rejected, also if only the whole path has it."""
    monkeypatch.setenv("TAXI_HOME", f"/{name}")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert caught.value.facts == {"setting": "TAXI_HOME"}
    assert "databases" in str(caught.value)
    assert Settings(home=Path("/a#b c%41\t*[é]'\",:")).home.is_absolute()
    if len(name) < 10:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.delenv("TAXI_HOME")
        with pytest.raises(SettingsError):
            Settings.load()


def test_environment_takes_precedence_over_dotenv(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in `.env` is used only if the environment has none."""
    dotenv.write_text("TAXI_FIRST_MONTH=2020-01\nTAXI_REJECT_LIMIT=0.5\n")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-06")
    settings = Settings.load()
    assert (settings.first_month, settings.reject_limit) == ("2020-06", 0.5)


def test_empty_value_means_the_default(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value is the default, and an empty variable in the environment also hides the value in `.env`."""
    dotenv.write_text("TAXI_FIRST_MONTH=2020-01\nTAXI_LAST_MONTH=\n")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "")
    settings = Settings.load()
    assert (settings.first_month, settings.last_month) == (None, None)


def test_add_dotenv_to_the_environment(dotenv: Path) -> None:
    """Variables of other programs are allowed in `.env`, and all of them can be read from the environment."""
    dotenv.write_text("GOOGLE_CLOUD_PROJECT=taxi\nPOSTGRES_PASSWORD=hunter2\nTAXI_POSTGRES_URL=postgresql://host/db\n")
    Settings.load()
    assert (os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["POSTGRES_PASSWORD"]) == ("taxi", "hunter2")
    assert os.environ["TAXI_POSTGRES_URL"] == "postgresql://host/db"


UNKNOWN = pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TAXI_SORCE_URL", "TAXI_SOURCE_URL"),
        ("TAXI_REJECTED_LIMIT", "TAXI_REJECT_LIMIT"),
        ("TAXI_OUTSIDE_MONTHS_LIMIT", "TAXI_OUTSIDE_MONTH_LIMIT"),
        ("TAXI_XYZ", ""),
        ("TAXI_", "TAXI_HOME"),
    ],
)


@UNKNOWN
def test_reject_an_unknown_setting_in_dotenv(name: str, nearest: str, dotenv: Path) -> None:
    """A typo in `.env` is an error that suggests the nearest setting."""
    dotenv.write_text(f"{name}=hunter2\n")
    with pytest.raises(UnknownSetting) as error:
        Settings.load()
    assert error.value.facts == {"seen": name, "expected": nearest}
    assert name in str(error.value)
    assert nearest in str(error.value)
    assert "hunter2" not in error.value.explain()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the warnings since the last call. The process has not warned before."""
    settings_module.warn_once.cache_clear()

    def read() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        caplog.clear()
        return messages

    return read


@UNKNOWN
def test_warn_about_an_unknown_setting_in_the_environment(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    """A typo in the environment is a warning that suggests the nearest setting. Its value is not shown."""
    monkeypatch.setenv(name, "hunter2")
    assert Settings.load() == Settings()
    [warning] = warnings()
    assert name in warning
    assert nearest in warning
    assert "hunter2" not in warning


def test_warn_once_in_a_process(monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]) -> None:
    """Each unknown name is reported once, however often the settings are loaded."""
    # What Kubernetes sets for a service that is named taxi.
    names = ("TAXI_SERVICE_HOST", "TAXI_SERVICE_PORT", "TAXI_PORT_3000_TCP")
    for name in names:
        monkeypatch.setenv(name, "10.0.0.1")
    Settings.load()
    assert sorted(warning.split()[1] for warning in warnings()) == sorted(names)
    Settings.load()
    assert warnings() == []
    monkeypatch.setenv("TAXI_SERVICE_HOTS", "10.0.0.1")
    Settings.load()
    assert len(warnings()) == 1


def test_other_names_are_not_settings(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    """Names without the prefix are those of other programs."""
    for name in ("TAXIS", "TAXIHOME", "MY_TAXI_HOME"):
        monkeypatch.setenv(name, "x")
    dotenv.write_text("TAXICAB=x\nNYC_TAXI_URL=x\n")
    Settings.load()
    assert warnings() == []


def test_a_name_in_both_places_is_an_error(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    """A name in `.env` is an error also if the environment has it, and the first one is reported."""
    monkeypatch.setenv("TAXI_ABC", "x")
    monkeypatch.setenv("TAXI_B", "x")
    dotenv.write_text("TAXI_HOME=here\nTAXI_B=x\nTAXI_A=x\n")
    with pytest.raises(UnknownSetting) as error:
        Settings.load()
    assert error.value.facts["seen"] == "TAXI_B"
    assert warnings() == []


@pytest.mark.parametrize("limit", ["0", "0.25", "1", "1.0"])
def test_the_limit_of_pickups_outside_the_month(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAXI_OUTSIDE_MONTH_LIMIT is a share, 0.5 by default."""
    assert Settings.load().outside_month_limit == 0.5
    monkeypatch.setenv("TAXI_OUTSIDE_MONTH_LIMIT", limit)
    assert Settings.load().outside_month_limit == float(limit)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAXI_REJECT_LIMIT", "many"),
        ("TAXI_REJECT_LIMIT", "1.5"),
        ("TAXI_OUTSIDE_MONTH_LIMIT", "50%"),
        ("TAXI_OUTSIDE_MONTH_LIMIT", "-0.1"),
        ("TAXI_OUTSIDE_MONTH_LIMIT", "1.01"),
        ("TAXI_OUTSIDE_MONTH_LIMIT", "nan"),
        ("TAXI_FIRST_MONTH", "2019-13"),
        ("TAXI_FIRST_MONTH", "2019"),
        ("TAXI_LAST_MONTH", "2021-7"),
        ("TAXI_OWNERS", "ann@example.org, data engineering"),
        ("TAXI_OWNERS", "team:"),
        ("TAXI_MISSING_PASSENGERS", "one"),
        ("TAXI_POSTGRES_PORT", "70000"),
        ("TAXI_SCHEDULES", "sometimes"),
        ("TAXI_LOOKBACK_MONTHS", "0"),
        ("TAXI_UI_URL", "localhost:3000"),
        ("TAXI_UI_URL", "https://ann:hunter2@trips.example.org"),
        ("TAXI_REPOSITORY_URL", "https://ann:hunter2@github.com/org/trips"),
        ("TAXI_RUN_TAGS", "large"),
        ("TAXI_RUN_TAGS", '{"blue": {"size": "large"}}'),
    ],
)
def test_reject_an_invalid_value(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the name and the description of the setting, and no secret of its value."""
    monkeypatch.setenv(name, value)
    field = Settings.model_fields[name.removeprefix("TAXI_").lower()]
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert (error.type, error.value.facts) == (SettingsError, {"setting": name})
    assert str(error.value).startswith(f"{name} is invalid: ")
    assert str(field.description) in str(error.value)
    assert "hunter2" not in error.value.explain()


def test_error_has_all_invalid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each invalid setting has its own line."""
    monkeypatch.setenv("TAXI_REJECT_LIMIT", "1.5")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2019-13")
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert error.value.facts == {"setting": "TAXI_FIRST_MONTH, TAXI_REJECT_LIMIT"}
    first, second = str(error.value).splitlines()
    assert first.startswith('TAXI_FIRST_MONTH is invalid: "2019-13" ')
    assert second.startswith("TAXI_REJECT_LIMIT is invalid: ")


@pytest.mark.parametrize(
    "owners", ["", "team:data-engineering", "ann@example.org", "ann@example.org, team:taxi", "team:Taxi & Co,"]
)
def test_accept_email_addresses_and_teams_as_owners(owners: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster accepts all owners that the settings accept."""
    monkeypatch.setenv("TAXI_OWNERS", owners)
    build_assets(Settings.load())


@pytest.mark.parametrize("name", ["TAXI_POSTGRES_URL", "TAXI_ALERT_URLS", "TAXI_GCP_CREDENTIALS"])
def test_do_not_print_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed settings contain no passwords and tokens."""
    monkeypatch.setenv(name, "postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(Settings.load())


@pytest.mark.parametrize("name", ["TAXI_REPOSITORY_URL", "TAXI_UI_URL", "TAXI_POSTGRES_PORT", "TAXI_RUN_TAGS"])
def test_errors_do_not_contain_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of an invalid value does not contain it, because it can be a secret in the wrong place."""
    monkeypatch.setenv("TAXI_POSTGRES_URL", "postgresql://me:hunter2@host/db")
    monkeypatch.setenv(name, "ftp://me:hunter2@host/db")
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert name in str(error.value)
    assert "hunter2" not in error.value.explain()


def test_example_has_every_setting() -> None:
    """`.env.example` has a line for each setting, in order, and no unknown settings."""
    example = Path(__file__).parent.parent / ".env.example"
    names = re.findall(r"^# (\w+)=", example.read_text(), re.MULTILINE)
    assert [name for name in names if name.startswith("TAXI_")] == settings_module.setting_names()
