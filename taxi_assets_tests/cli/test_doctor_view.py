"""A finding is a line that can be read, searched and copied; for machines it is JSON."""

import json
import sys

import pytest

from taxi_assets.cli.doctor_view import print_finding, print_findings_json
from taxi_assets.news import Finding, Verdict

GOOD = Finding("lake", Verdict.ok, "/data/" + "x" * 300 + " can be written to")
BAD = Finding("postgres", Verdict.mend, "it said:\nno [b]room[/b]", "make room")


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a finding is one plain line however long; further lines, and what to do, stand below what was seen."""
    print_finding(GOOD)
    print_finding(BAD)
    assert capsys.readouterr().out.splitlines() == [
        f"ok    lake       {GOOD.seen}",
        "mend  postgres   it said:",
        "                 no [b]room[/b]",
        "                 -> make room",
    ]


def test_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the mark has a color, and a long line is not broken, so that it can be copied."""
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
    """For machines a finding is an object with its verdict in a word."""
    print_findings_json([GOOD, BAD])
    assert json.loads(capsys.readouterr().out)[1] == {
        "system": "postgres",
        "verdict": "mend",
        "seen": BAD.seen,
        "remedy": "make room",
    }
