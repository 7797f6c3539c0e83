"""What the tests of this folder look at while a stream is followed."""

from __future__ import annotations

from tests.oracle import compare
from tests.runs import sync, value, verdicts, wait_for


def count(url: str, where: str = "true") -> object:
    """The rows of `t` that a condition holds for; 0 without the table."""
    if value(url, "SELECT to_regclass('t') IS NULL"):
        return 0
    return value(url, f"SELECT count(*) FROM t WHERE {where}")


def live(target: str, tables: int = 1) -> None:
    """Wait until so many tables are live."""
    there = "SELECT to_regclass('syncline.tables') IS NOT NULL"
    states = "SELECT count(*) FROM syncline.tables WHERE state = 'live'"
    wait_for(lambda: value(target, there) is True and value(target, states) == tables, "live tables")


def equal(source: str, target: str) -> None:
    """Let a last run end the stream, and compare both stores by plain drivers."""
    report = sync(source, target)
    assert set(verdicts(report).values()) == {"equal"}, report
    differences = compare(source, target)
    assert differences == [], differences
