"""`taxi doctor`: every system tried."""

# ruff: noqa: D301  # click keeps the lines of a paragraph that begins with a real backspace

import sys

import click

from taxi_assets.settings import Settings


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="For machines: a JSON list, a finding an object, with its verdict."
)
@click.option("--alert", is_flag=True, help="Send a test message to the channels of TAXI_ALERT_URLS.")
def doctor(*, as_json: bool, alert: bool) -> None:
    """Try every system that the settings name, and say what to mend.

    A line for each: TAXI_HOME and its room, the source, the lake, the warehouse, Postgres, Dagster's history, the
    channels of alerts; and the versions at work, how psql and pgAdmin reach Postgres. What is written as a try is
    removed. The Postgres server of TAXI_HOME is started, as by any command.

    \b
    Each line begins with a word:
      ok        a run can use it
      warn      a run can use it, perhaps not for long
      mend      a run would fail: what was seen, and what to do

    \b
    Examples:
      taxi doctor
      taxi doctor --json
      taxi doctor --alert

    Exit status: 1 where something is to be mended.
    """
    from taxi_assets.console.doctor import print_finding, print_findings_json
    from taxi_assets.defs.doctor import examine
    from taxi_assets.news import Verdict

    findings = []
    try:
        for finding in examine(Settings.load(), alert=alert):
            findings.append(finding)
            if not as_json:
                print_finding(finding)
    finally:
        if as_json:
            print_findings_json(findings)
    if any(finding.verdict is Verdict.mend for finding in findings):
        sys.exit(1)
