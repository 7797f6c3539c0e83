"""The oracle knows what rules make of rows, and finds each way in which the target may be other than that."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.oracle import Form, Rules, compare

SOURCE = """
CREATE TABLE t (id INTEGER PRIMARY KEY, open BOOLEAN, name TEXT, n INTEGER, secret TEXT);
INSERT INTO t VALUES (1, 1, 'ann', 5, 'x'), (2, 0, 'bob', 6, 'y'), (3, 1, NULL, 7, 'z');
CREATE TABLE plain (id INTEGER PRIMARY KEY);
INSERT INTO plain VALUES (1);
"""
TARGET = """
CREATE TABLE t (id INTEGER PRIMARY KEY, open BOOLEAN, called TEXT, n TEXT, origin TEXT, gone TEXT);
INSERT INTO t VALUES (1, 1, 'ANN', '5', 'a', NULL), (2, 0, 'BOB', '6', 'a', '2024-01-01'),
                     (3, 1, NULL, '7', 'a', NULL), (9, 1, 'OLD', '9', 'a', '2024-01-01');
CREATE TABLE plain (id INTEGER PRIMARY KEY);
INSERT INTO plain VALUES (1);
"""
RULES = {
    "t": Rules(
        where=lambda row: row["open"] == 1,
        without=frozenset({"secret"}),
        forms={"name": Form("text", str.upper), "n": Form("text", str)},
        names={"name": "called"},
        constants={"origin": ("text", "a")},
        mark="gone",
    )
}

WRONG = {
    "UPDATE t SET called = 'ann' WHERE id = 1": "cell",
    "UPDATE t SET n = 6 WHERE id = 1": "cell",
    "UPDATE t SET origin = 'b' WHERE id = 3": "cell",
    "UPDATE t SET gone = NULL WHERE id = 2": "row added",
    "UPDATE t SET gone = '2024-01-01' WHERE id = 3": "row missing",
    "DELETE FROM t WHERE id = 1": "row missing",
    "DELETE FROM plain": "row missing",
    "ALTER TABLE t ADD COLUMN secret TEXT": "columns",
    "ALTER TABLE t DROP COLUMN origin": "columns",
}


def made(path: Path, script: str) -> str:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(script)
    return f"sqlite:///{path}"


def test_what_the_rules_make_is_equal(tmp_path: Path) -> None:
    counted: dict[str, int] = {}
    urls = made(tmp_path / "a.db", SOURCE), made(tmp_path / "b.db", TARGET)
    assert compare(*urls, rules=RULES, counted=counted) == []
    assert counted == {"t": 2, "plain": 1}
    assert compare(*urls) != []


@pytest.mark.parametrize("statement", WRONG)
def test_what_they_do_not_make_is_found(tmp_path: Path, statement: str) -> None:
    urls = made(tmp_path / "a.db", SOURCE), made(tmp_path / "b.db", f"{TARGET}; {statement}")
    assert {found.what for found in compare(*urls, rules=RULES)} == {WRONG[statement]}
