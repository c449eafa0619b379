"""How findings look: a line each, with a mark in color on a terminal; JSON for machines."""

import json
from collections.abc import Sequence

from taxi_assets.console.tables import open_console
from taxi_assets.news import Finding, Verdict

_STYLES = {Verdict.ok: "green", Verdict.warn: "yellow", Verdict.mend: "bold red"}

_INDENT = " " * 17


def print_finding(finding: Finding) -> None:
    """A line of what was seen, and, where something is to be done, a line of that."""
    from rich.text import Text

    remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
    said = f"{finding.seen}{remedy}".replace("\n", f"\n{_INDENT}")
    mark = Text(f"{finding.verdict:<5}", style=_STYLES[finding.verdict])
    # A line that is wrapped by hand could not be copied from a terminal.
    open_console().print(mark, Text(f"{finding.system:<10}"), Text(said), soft_wrap=True)


def print_findings_json(findings: Sequence[Finding]) -> None:
    """A JSON list with `system`, `verdict` (ok, warn or mend), `seen` and `remedy`."""
    print(json.dumps([vars(finding) for finding in findings], indent=1))  # noqa: T201
