"""Rows that cannot be carried are set aside by their key; everything else goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.conftest import Databases
from tests.runs import Following, sync, value, verdicts, wait_for

from .watch import count


def test_text_that_is_no_text_and_text_with_a_zero_in_it(
    tmp_path: Path, postgres_database: Databases
) -> None:
    path, target = tmp_path / "shop.db", postgres_database()
    source = f"sqlite:///{path}"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
        file.executemany("INSERT INTO t VALUES (?, ?)", [(n, "fine") for n in range(1, 50)])
        file.execute("INSERT INTO t VALUES (100, CAST(x'ff41fe' AS TEXT))")
        file.execute("INSERT INTO t VALUES (101, 'a' || char(0) || 'b')")
    assert verdicts(sync(source, target)) == {"t": "parked"}
    keys = "SELECT string_agg(key::text, ' ' ORDER BY key::text) FROM syncline.parked"
    assert value(target, keys) == "[100] [101]"
    assert count(target) == 49
    with Following(source, target):
        with closing(sqlite3.connect(path, timeout=10)) as file, file:
            file.execute("INSERT INTO t VALUES (102, CAST(x'fe' AS TEXT)), (103, 'fine')")
        wait_for(lambda: count(target, "id = 103") == 1, "the good row")
        with closing(sqlite3.connect(path, timeout=10)) as file, file:
            file.execute("UPDATE t SET note = 'mended' WHERE id >= 100")
        wait_for(lambda: count(target, "note = 'mended'") == 4, "the mended rows")
    assert verdicts(sync(source, target)) == {"t": "equal"}
