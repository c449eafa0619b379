"""`taxi doctor`: check every configured system."""

import sys

import click

from taxi_assets.cli.activity import activity, while_waiting
from taxi_assets.cli.options import load_settings


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list with an object for each check and its verdict."
)
@click.option("--alert", is_flag=True, help="Send a test message to TAXI_ALERT_URLS.")
def doctor(*, as_json: bool, alert: bool) -> None:
    """Check every configured system and show how to fix what is wrong.

    It prints a line for TAXI_HOME and its free space, the source, the lake, the warehouse, Postgres, Dagster's history
    and the notification channels. It also shows the versions in use, and how to connect with psql and pgAdmin. It
    deletes everything that it writes as a test. Like other commands, it starts the Postgres server in TAXI_HOME.

    \b
    Each line starts with a verdict:
      ok        a run can use it
      warn      a run can use it now, but may not be able to soon
      error     a run would fail; the line says why and how to fix it

    \b
    Examples:
      taxi doctor
      taxi doctor --json
      taxi doctor --alert

    Exit codes: 0 success, 1 at least one error.
    """
    with activity("Starting Dagster"):
        from taxi_assets.cli.doctor_view import print_finding, print_findings_json
        from taxi_assets.operations.diagnosis import Verdict, examine

    findings = []
    try:
        for finding in while_waiting("Checking", examine(load_settings(), alert=alert)):
            findings.append(finding)
            if not as_json:
                print_finding(finding)
    finally:
        if as_json:
            print_findings_json(findings)
    if any(finding.verdict is Verdict.error for finding in findings):
        sys.exit(1)
