"""Promise 8 in the suite: one transaction of 200,000 rows passes with a budget of 8 MiB."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from syncline.engine.report import Options
from tests.crash.ends import opened
from tests.crash.tables import Database

from .process import MIB, Sync

ROWS = 200_000
BOUND_MIB = 165
"""What the program may take beside itself, which is 85 MiB, and 50 more where pandas is installed: pyarrow
loads it then. These rows are 100 MiB, and held at once take several times that."""

INSERT = f"""WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS})
             INSERT INTO told SELECT n, replace('1234567890', '0', '{"a text that is copied " * 22}'), n % 7
             FROM numbers"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("source", "target"), [("postgres", "sqlite"), ("sqlite", "postgres")])
def test_a_transaction_larger_than_memory_passes(source: str, target: str, tmp_path: Path) -> None:
    assert Options().max_bytes == 8 * MIB
    with (
        opened(source, "source", tmp_path) as a,
        opened(target, "target", tmp_path) as b,
        closing(Database(a.url)) as writer,
    ):
        writer.execute("CREATE TABLE told (id integer PRIMARY KEY, text text, n integer)")
        writer.execute("INSERT INTO told VALUES (0, 'the first', 0)")

        def holds(number: int) -> bool:
            return b.ask(lambda database: bool(database.execute(f"SELECT 1 FROM told WHERE id = {number}")))

        with Sync(a.url, b.url, "--follow", log=tmp_path / "log") as sync:
            sync.until(lambda: "told: live" in (tmp_path / "log").read_text(), "it was live", 60)
            itself = sync.peak_bytes
            writer.execute(INSERT)
            sync.until(lambda: holds(ROWS), "the rows arrived", 120)
            took = (sync.peak_bytes - itself) / MIB
            assert itself > 0, "memory was measured"
            assert 0 < took < BOUND_MIB, f"{took:.0f} MiB were resident beside {itself / MIB:.0f}"
            assert sync.interrupt()[0] == 130
        assert b.ask(lambda database: database.execute("SELECT count(*) FROM told")) == [(ROWS + 1,)]
