"""The display of `taxi doctor` findings: one colored line for each, or JSON."""

import json
from collections.abc import Sequence

from taxi_assets.cli.tables import open_console
from taxi_assets.operations.diagnosis import Finding, Verdict

_STYLES = {Verdict.ok: "green", Verdict.warn: "yellow", Verdict.error: "bold red"}

_INDENT = " " * 17


def print_finding(finding: Finding) -> None:
    """Print a finding and, if there is something to do, the remedy on a line of its own."""
    from rich.text import Text

    remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
    text = f"{finding.seen}{remedy}".replace("\n", f"\n{_INDENT}")
    mark = Text(f"{finding.verdict:<5}", style=_STYLES[finding.verdict])
    # Let the terminal wrap the line, so that it can be copied without line breaks.
    open_console().print(mark, Text(f"{finding.system:<10}"), Text(text), soft_wrap=True)


def print_findings_json(findings: Sequence[Finding]) -> None:
    """Print findings as a JSON list of objects.

    Each has `system`, `verdict` (ok, warn or error), `seen`, `remedy`, and `error`: the slug of the error or empty.
    """
    print(json.dumps([vars(finding) for finding in findings], indent=1))
