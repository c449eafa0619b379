"""The findings of `taxi doctor`: lines that can be searched and copied, or JSON."""

import json
import sys

import pytest

from taxi_assets.cli.doctor_view import print_finding, print_findings_json
from taxi_assets.operations.diagnosis import Finding, Verdict

GOOD = Finding("lake", Verdict.ok, "/data/" + "x" * 300 + " is writable")
BAD = Finding("postgres", Verdict.error, "The log:\nno [b]space[/b]", "Free some space.", "disk-full")


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe, a finding is one line of any length. Further lines and the remedy are indented below it."""
    print_finding(GOOD)
    print_finding(BAD)
    assert capsys.readouterr().out.splitlines() == [
        f"ok    lake       {GOOD.seen}",
        "error postgres   The log:",
        "                 no [b]space[/b]",
        "                 -> Free some space.",
    ]


def test_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, the verdict has a color, and a long line is not broken, so that it can be copied."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    print_finding(GOOD)
    printed = capsys.readouterr().out
    assert "\x1b[32mok" in printed
    assert GOOD.seen in printed


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has an object for each finding, with its verdict as a word and the slug of the error."""
    print_findings_json([GOOD, BAD])
    good, bad = json.loads(capsys.readouterr().out)
    assert good == {"system": "lake", "verdict": "ok", "seen": GOOD.seen, "remedy": "", "error": ""}
    assert bad == {
        "system": "postgres",
        "verdict": "error",
        "seen": BAD.seen,
        "remedy": "Free some space.",
        "error": "disk-full",
    }
