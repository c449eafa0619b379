"""Settings come from the environment and `.env`, are checked once, and say what is wrong by name and never by value."""

import re
from pathlib import Path

import pytest

from taxi_assets import settings as settings_module
from taxi_assets.defs.assets import build_assets
from taxi_assets.errors import SettingsError
from taxi_assets.settings import Settings
from taxi_assets.stores.source import MIRROR_URL


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, a `.env` of its own, and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_module, "DOTENV", tmp_path / ".env")
    for name in settings_module.setting_names():
        monkeypatch.delenv(name, raising=False)


def test_nothing_need_be_set(tmp_path: Path) -> None:
    """Every setting has a default, and all places are in TAXI_HOME, in this folder, but for the source."""
    settings = Settings.load()
    home = tmp_path / "taxi_home"
    assert settings.home == home
    assert settings.source_url == MIRROR_URL
    assert settings.lake_url == str(home / "lake")
    assert settings.warehouse_url == f"duckdb:///{home}/warehouse.duckdb"
    assert settings.postgres_url is None
    assert (settings.first_month, settings.last_month) == (None, None)


def test_relative_places_are_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative place means the folder where the command began, whatever folder comes later."""
    monkeypatch.setenv("TAXI_HOME", "here")
    monkeypatch.setenv("TAXI_SOURCE_URL", "../months")
    monkeypatch.setenv("TAXI_WAREHOUSE_URL", "duckdb:///tables.duckdb")
    settings = Settings.load()
    assert settings.home == tmp_path / "here"
    assert settings.source_url == f"{tmp_path}/../months"
    assert settings.warehouse_url == f"duckdb:///{tmp_path}/tables.duckdb"


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `.env` says counts where the environment says nothing."""
    (tmp_path / ".env").write_text("TAXI_FIRST_MONTH=2020-01\nTAXI_REJECT_LIMIT=0.5\n")
    monkeypatch.setenv("TAXI_FIRST_MONTH", "2020-06")
    settings = Settings.load()
    assert (settings.first_month, settings.reject_limit) == ("2020-06", 0.5)


def test_an_unknown_name_suggests_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error is an error, and comes with the name that was meant."""
    monkeypatch.setenv("TAXI_SORCE_URL", "x")
    with pytest.raises(SettingsError, match=r"TAXI_SORCE_URL is no setting: did you mean TAXI_SOURCE_URL\?"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAXI_REJECT_LIMIT", "many"),
        ("TAXI_REJECT_LIMIT", "1.5"),
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
        ("TAXI_RUN_TAGS", "large"),
        ("TAXI_RUN_TAGS", '{"blue": {"size": "large"}}'),
    ],
)
def test_a_bad_value_is_named_with_its_meaning(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be used is an error that names the setting and says what it means."""
    monkeypatch.setenv(name, value)
    field = Settings.model_fields[name.removeprefix("TAXI_").lower()]
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert name in str(caught.value)
    assert str(field.description) in str(caught.value)


@pytest.mark.parametrize(
    "owners", ["", "team:data-engineering", "ann@example.org", "ann@example.org, team:taxi", "team:Taxi & Co,"]
)
def test_owners_are_addresses_and_teams(owners: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken for an owner is what Dagster takes for one."""
    monkeypatch.setenv("TAXI_OWNERS", owners)
    build_assets(Settings.load())


@pytest.mark.parametrize("name", ["TAXI_POSTGRES_URL", "TAXI_ALERT_URLS", "TAXI_GCP_CREDENTIALS"])
def test_what_is_secret_is_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing the settings shows no password and no token."""
    monkeypatch.setenv(name, "postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(Settings.load())


def test_the_example_names_every_setting() -> None:
    """`.env.example` has a line for each setting, and no other."""
    example = Path(__file__).parent.parent / ".env.example"
    names = re.findall(r"^# (\w+)=", example.read_text(), re.MULTILINE)
    assert [name for name in names if name.startswith("TAXI_")] == settings_module.setting_names()
