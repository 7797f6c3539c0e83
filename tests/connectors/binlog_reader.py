"""Reading a real server's binlog, for tests: everything after a moment, as Python values."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from syncline.connectors.mysql.charsets import Charset, read_charsets
from syncline.connectors.mysql.codec import column_of
from syncline.connectors.mysql.connection import Address, log_in
from syncline.connectors.mysql.decoder import Collected, Statement
from syncline.connectors.mysql.dump import Dump, Place
from syncline.connectors.mysql.gtid import GtidSet, MariaDBSet, MySQLSet
from syncline.connectors.mysql.reader import Reader, Transaction
from tests.mysql_family import run

SERVER = 4711

_ENDS = itertools.count(1)


@dataclass
class Change:
    """A change: I, U or D, the row after it, the row before it where it is another one."""

    table: str
    kind: str
    after: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)


def known(url: str) -> GtidSet:
    """The transactions that the server has."""
    if url.startswith("mariadb"):
        return MariaDBSet.parse(run(url, "SELECT @@gtid_binlog_pos")[0][0])
    return MySQLSet.parse(run(url, "SELECT @@global.gtid_executed")[0][0])


def file_place(url: str) -> Place:
    """The end of the log as file and offset."""
    statement = "SHOW MASTER STATUS" if url.startswith("mariadb") else "SHOW BINARY LOG STATUS"
    file, offset, *_ = run(url, statement)[0]
    return Place(None, file, offset)


def charsets(url: str) -> dict[int, Charset]:
    """The server's charsets by collation."""
    session = log_in(Address.parse(url))
    try:
        return read_charsets(session)
    finally:
        session.close()


@contextmanager
def reading(url: str, place: Place) -> Iterator[Reader]:
    """A reader from that place."""
    dump = Dump(Address.parse(url), SERVER)
    try:
        dump.start(place)
        yield Reader(dump, place)
    finally:
        dump.close()


def purge(url: str, file: str) -> None:
    """Begin a new file of the log and take away all up to that one."""
    run(url, "FLUSH BINARY LOGS")
    # The server keeps a file that an earlier reader, whose end it has not noticed, stood in, and for a moment
    # one that it would need after a crash.
    with reading(url, file_place(url)) as reader:
        list(reader.read(max_bytes=1, max_wait=0.5))
    deadline = time.monotonic() + 60
    while file in [name for name, *_ in run(url, "SHOW BINARY LOGS")]:
        assert time.monotonic() < deadline, "the server lets go of the file"
        run(url, f"PURGE BINARY LOGS TO '{file_place(url).file}'")
        time.sleep(0.1)


def transactions(url: str, place: Place, *, max_bytes: int = 1 << 30) -> list[Transaction]:
    """Everything from there up to now, told to be over by a table that is made and dropped for it."""
    database = run(url, "SELECT DATABASE()")[0][0]
    end = f"the_end_{next(_ENDS)}"
    run(url, f"CREATE TABLE {end} (n int)", f"DROP TABLE {end}")
    found: list[Transaction] = []
    with reading(url, place) as reader:
        for one in reader.read(max_bytes=max_bytes, max_wait=60):
            statements = [part for part in one.parts if isinstance(part, Statement)]
            if any(f"{end} " in part.text and part.database == database for part in statements):
                return found
            if not any("the_end_" in part.text for part in statements):
                found.append(one)
    raise AssertionError("the log did not come to its end within a minute")


def changes_of(url: str, found: list[Transaction], raw: Collection[str] = ()) -> list[Change]:
    """The changes of rows in these transactions; old rows by all of their columns. Those of `raw` come as
    bytes."""
    names = charsets(url)
    changes = []
    for part in (part for one in found for part in one.parts if isinstance(part, Collected)):
        columns = part.table.columns
        width = len(columns)
        decoded = part.read(tuple(range(width)))
        after, before = (
            [
                column_of(decoded, first + at, column, names, raw=column.name in raw).to_pylist()
                for at, column in enumerate(columns)
            ]
            for first in (0, width)
        )
        for row, kind in enumerate(decoded.changes):
            old = {column.name: before[at][row] for at, column in enumerate(columns)}
            new = {column.name: after[at][row] for at, column in enumerate(columns)}
            changes.append(
                Change(
                    part.table.name,
                    chr(kind),
                    {} if kind == ord("D") else new,
                    old if kind == ord("D") or any(value is not None for value in old.values()) else {},
                )
            )
    return changes
