"""Between two SQLite files every value stays as it is stored, whatever its class and spelling."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.runs import sync, verdicts

TABLE = """CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, price DECIMAL(10,2), n INTEGER, ok BOOLEAN,
                           r REAL, j JSON, u UUID, x, b BLOB, note VARCHAR(5) UNIQUE)"""
ROWS = [
    (1, "2024-01-01 00:00:00.000000", "1.10", 7, 1, 0.1, '{"a":  1}', "ABCDEF", 1, b"\x00\xff", "a"),
    (2, "2024-01-01T00:00:00Z", 1.1, "seven", 2, 1e300, "1", None, 1.5, "text in a blob", "longer than five"),
    (3, 1704067200, 10**15, 2**63 - 1, "yes", "real?", b"json", b"uuid", b"x", 5, None),
    (4, None, float("inf"), -(2**63), None, float("-inf"), "", "", "", "", 'it\'s "quoted"\n\ttwo lines'),
]


def stored(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as file:
        names = [row[1] for row in file.execute("PRAGMA table_info(t)")]
        both = ", ".join(f'"{name}", typeof("{name}")' for name in names)
        return file.execute(f"SELECT {both} FROM t ORDER BY id").fetchall()


def test_values_of_any_class_are_copied_and_streamed_as_they_are_stored(tmp_path: Path) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with closing(sqlite3.connect(source)) as file, file:
        file.execute(TABLE)
        file.executemany(f"INSERT INTO t VALUES ({', '.join('?' * 11)})", ROWS)

    def change(*_: object, **__: object) -> None:
        with closing(sqlite3.connect(source)) as file, file:
            file.execute("UPDATE t SET note = NULL, at = '2024-02-29 10:00:00.100' WHERE id = 1")
            file.execute("UPDATE t SET note = 'a', price = 'cheap' WHERE id = 2")
            file.execute("INSERT OR REPLACE INTO t (id, note, x) VALUES (9, 'new', 'streamed')")

    urls = f"sqlite:///{source}", f"sqlite:///{target}"
    assert verdicts(sync(*urls, after={"split": change})) == {"t": "equal"}
    assert stored(source) == stored(target)
    assert len(stored(target)) == 5
