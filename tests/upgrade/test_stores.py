"""Bookkeeping and logs of earlier versions, as dumps: a stream goes on from them, and nothing is copied anew.

Each dump is what `syncline sync --follow` of that version left behind: three rows copied, one of them parked
by a CHECK constraint of the target, one more applied from the log. `{stream}` stands for the stream's name,
which follows from where both stores are, and `{source}` for the path of the source. The files are never
changed; a new form gets a new number beside them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from syncline.connectors.postgres.ledger import VERSION as POSTGRES_VERSION
from syncline.connectors.sqlite.meta import VERSION as SQLITE_VERSION
from syncline.control.stores import source_opener, target_opener
from syncline.model.position import stream_name

from ..cli.command import syncline

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted({path.name[:4] for path in GOLDEN.glob("*.sql")})


def read(dump: str, stream: str, source: Path) -> str:
    text = (GOLDEN / dump).read_text()
    return text.replace("{stream}", stream).replace("{source}", str(source))


def restore(path: Path, dump: str, stream: str) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as file:
        file.executescript(read(dump, stream, path.with_name("source.db")))


def named(source: str, target: str) -> str:
    with closing(source_opener(source)()) as one, closing(target_opener(target)()) as two:
        return stream_name(one.identity(), two.identity())


def write(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO t VALUES (5, 5, 'five')")
        file.execute("UPDATE t SET note = 'changed' WHERE id = 1")
        file.execute("DELETE FROM t WHERE id = 3")


def goes_on(source: str, target: str) -> None:
    """Three changes come from the log, the parked key stays; mended, both are equal and all is taken away."""
    listed = syncline("parked", "list", source, target, "--json")
    assert [entry["key"] for entry in listed.document["parked"]] == ["2"]
    asked = syncline("sync", source, target, "--json", "--quiet")
    (table,) = asked.document["tables"]
    assert (table["verdict"], table["rows_copied"], table["changes_applied"]) == ("parked", 0, 3), asked
    assert syncline("resync", source, target, "t").code == 0, "what this version added is there"


@pytest.mark.parametrize("version", VERSIONS)
def test_sqlite(version: str, tmp_path: Path) -> None:
    one, two = tmp_path / "source.db", tmp_path / "target.db"
    urls = f"sqlite:///{one}", f"sqlite:///{two}"
    restore(one, f"{version}-sqlite-source.sql", "s")
    restore(two, f"{version}-sqlite-target.sql", "s")
    stream = named(*urls)
    restore(one, f"{version}-sqlite-source.sql", stream)
    restore(two, f"{version}-sqlite-target.sql", stream)
    write(one)
    goes_on(*urls)
    assert syncline("sync", *urls, "--remove").code == 0
    for path in (one, two):
        with closing(sqlite3.connect(path)) as file:
            left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_syncline%' ESCAPE '\\'"
            assert file.execute(left).fetchone() == (0,), path


@pytest.mark.parametrize("version", VERSIONS)
def test_postgresql(version: str, tmp_path: Path, postgres_database: Callable[[], str]) -> None:
    one, target = tmp_path / "source.db", postgres_database()
    source = f"sqlite:///{one}"
    restore(one, f"{version}-postgres-source.sql", "s")
    stream = named(source, target)
    restore(one, f"{version}-postgres-source.sql", stream)
    dump = read(f"{version}-postgres-target.sql", stream, one)
    with psycopg.connect(target, autocommit=True) as server:
        server.execute(dump.encode())
    write(one)
    goes_on(source, target)
    assert syncline("sync", source, target, "--remove").code == 0
    with psycopg.connect(target) as server:
        assert server.execute("SELECT to_regnamespace('syncline')").fetchone() == (None,)


def test_every_version_has_its_dumps() -> None:
    stores = ("postgres-source", "postgres-target", "sqlite-source", "sqlite-target")
    for version in range(1, max(POSTGRES_VERSION, SQLITE_VERSION) + 1):
        for store in stores:
            assert (GOLDEN / f"{version:04}-{store}.sql").exists()


def test_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "source.db", tmp_path / "target.db"
    urls = f"sqlite:///{one}", f"sqlite:///{two}"
    restore(one, "0001-sqlite-source.sql", "s")
    restore(two, "0001-sqlite-target.sql", "s")
    restore(two, "0001-sqlite-target.sql", named(*urls))
    with closing(sqlite3.connect(two)) as file, file:
        file.execute("INSERT INTO _syncline_meta VALUES ('version', '99')")
    outcome = syncline("sync", *urls)
    assert outcome.code == 4, outcome
    assert outcome.err.count("\n") == 1
