"""A TAXI_HOME into which tests load real months with the `taxi` command."""

from dataclasses import dataclass
from pathlib import Path

from taxi_assets_tests.program import run_well


@dataclass
class TaxiHome:
    """A TAXI_HOME and its source, a folder or a template, and the `taxi` command with these settings."""

    folder: Path
    source: Path | str

    def taxi(self, *words: str) -> str:
        """Run `taxi`, which must succeed, and return what it prints."""
        settings = {"TAXI_HOME": str(self.folder), "TAXI_SOURCE_URL": str(self.source)}
        return run_well("taxi", *words, settings=settings)

    def counts(self, *flags: str, color: str) -> dict[str, int]:
        """The row count of each month in a color's table."""
        sql = f"SELECT file_month, count(*) FROM {color}_taxi_trips GROUP BY file_month"
        lines = self.taxi("query", "--csv", *flags, sql).splitlines()[1:]
        return {line.split(",")[0][:7]: int(line.split(",")[1]) for line in lines}
