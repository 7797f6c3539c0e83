"""A check in this process, and the one problem that a test is about."""

from __future__ import annotations

from typing import Any

import psycopg

from syncline.control.service import check as look
from syncline.engine.check import Findings, Found
from syncline.engine.report import Options
from syncline.model import Severity


def check(source: str, target: str, *, deep: bool = False, **options: Any) -> Findings:
    """What a check in this process finds."""
    return look(source, target, Options(**options), deep=deep).run()


def the(findings: Findings, *parts: str) -> Found:
    """The one problem whose reason or remedy has these parts."""
    found = [found for found in findings.problems if all(part in str(found.problem) for part in parts)]
    assert len(found) == 1, [str(found.problem) for found in findings.problems]
    return found[0]


def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    with psycopg.connect(url, autocommit=True) as server:
        for statement in statements:
            server.execute(statement.encode())


def severities(findings: Findings) -> set[Severity]:
    return {found.problem.severity for found in findings.problems}
