"""`syncline parked` over real stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.command import syncline


def test_parked_keys_are_listed_dropped_and_retried(tmp_path: Path) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    urls = f"sqlite:///{source}", f"sqlite:///{target}"
    with closing(sqlite3.connect(source)) as file, file:
        file.execute("CREATE TABLE t (a TEXT, b INTEGER, n INTEGER, PRIMARY KEY (a, b))")
        file.executemany("INSERT INTO t VALUES (?, ?, ?)", [("x", 1, 1), ("x", 2, -1), ("y z", 3, -1)])
    with closing(sqlite3.connect(target)) as file, file:
        file.execute("CREATE TABLE t (a TEXT, b INTEGER, n INTEGER CHECK (n > 0), PRIMARY KEY (a, b))")

    done = syncline("sync", *urls)
    assert done.code == 1
    assert "parked" in done.out
    listed = syncline("parked", "list", *urls, "--json")
    assert listed.code == 1
    keys = [(entry["table"], entry["key"]) for entry in listed.document["parked"]]
    assert keys == [("t", "x, 2"), ("t", "y z, 3")]
    assert "CHECK constraint" in syncline("parked", "list", *urls).out

    shown = syncline("parked", "show", *urls, "t", "x, 2", "--json").document["parked"]
    assert [one["row"] for one in shown] == [{"a": "x", "b": "2", "n": "-1"}]
    assert "  n = -1\n" in syncline("parked", "show", *urls).out

    unknown = syncline("parked", "drop", *urls, "t", "nobody, 7")
    assert unknown.code == 2
    assert unknown.err.count("\n") == 1
    assert syncline("parked", "drop", *urls, "t", "x, 2").code == 0
    assert syncline("parked", "retry", *urls).code == 0
    assert "to be tried again" in syncline("parked", "list", *urls).out

    with closing(sqlite3.connect(source)) as file, file:
        file.execute("UPDATE t SET n = 5 WHERE n < 0")
    assert syncline("sync", *urls).code == 0
    nothing = syncline("parked", "list", *urls)
    assert (nothing.code, nothing.out) == (0, "no key is parked\n")


def test_a_pipeline_is_named_and_its_masks_stay(tmp_path: Path) -> None:
    source, target, config = tmp_path / "source.db", tmp_path / "target.db", tmp_path / "syncline.toml"
    with closing(sqlite3.connect(source)) as file, file:
        file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, mail TEXT)")
        file.executemany("INSERT INTO t VALUES (?, ?, ?)", [(1, 1, "a@x.org"), (2, -1, "b@x.org")])
    with closing(sqlite3.connect(target)) as file, file:
        file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER CHECK (n > 0), mail TEXT)")
    config.write_text(
        f'[pipelines.shop]\nfrom = "sqlite:///{source}"\nto = "sqlite:///{target}"\n'
        '[pipelines.shop.tables.t]\nmask = { mail = "null" }\n'
    )
    where = ("--config", str(config))
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    assert syncline("run", "--once", *where, env=env).code == 1
    (listed,) = syncline("parked", "list", "shop", *where, "--json").document["parked"]
    assert (listed["table"], listed["key"]) == ("t", "2")
    (shown,) = syncline("parked", "show", "shop", *where, "--json").document["parked"]
    assert shown["row"] == {"id": "2", "n": "-1", "mail": None}
    assert "b@x.org" not in syncline("parked", "show", "shop", *where).out
    assert syncline("parked", "retry", "shop", "t", "2", *where).code == 0
    assert syncline("parked", "drop", "shop", *where).code == 0
