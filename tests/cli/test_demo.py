"""`syncline demo`, as a newcomer runs it."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from syncline.cli.demo import shop
from syncline.cli.demo.writer import Writer

from .command import syncline


def test_the_demo_shows_every_table_equal(tmp_path: Path) -> None:
    outcome = syncline("demo", env={"TMPDIR": str(tmp_path)}, seconds=110)
    assert outcome.code == 0, outcome
    report = outcome.out.partition("4. Once more")[2]
    verdicts = dict(re.findall(r"^(\w+) +(equal|different|not compared)\b", report, re.MULTILINE))
    assert verdicts == dict.fromkeys(shop.TABLES, "equal")
    assert re.search(
        r"in [1-9][\d,]* transactions: [1-9].* inserted, [1-9].* updated, [1-9].* deleted", outcome.out
    )
    (folder,) = tmp_path.iterdir()
    left, right = folder / "shop.db", folder / "copy.db"
    assert shop.differences(left, right) == 0
    for path in (left, right):
        with closing(sqlite3.connect(path)) as file:
            names = [name for (name,) in file.execute("SELECT name FROM sqlite_schema")]
            assert [name for name in names if "syncline" in name] == []
            assert file.execute("PRAGMA foreign_key_check").fetchall() == []
    assert str(left) in outcome.out.partition("What to try next")[2]


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    left, right = tmp_path / "a.db", tmp_path / "b.db"
    assert shop.make(left, 1) > 90_000
    right.write_bytes(left.read_bytes())
    assert shop.differences(left, right) == 0
    with closing(sqlite3.connect(left, isolation_level=None)) as file:
        writer = Writer(file, random.Random(1))
        while not writer.counts["keys changed"]:
            writer.write()
    assert shop.differences(left, right) > 0
