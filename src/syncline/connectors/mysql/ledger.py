"""The bookkeeping of streams in a target (Promise 1), and the mark of its transactions.

    _syncline_streams   stream, fence, position, source, removing
    _syncline_tables    stream, tbl, the members of a TableState, and whether it is being swapped in
    _syncline_spans     stream, tbl, number, span, rows (NULL until they are in the target)
    _syncline_parked    stream, tbl, key and the other members of a Parked; `id` is its age
    _syncline_asked     stream, tbl: the tables that somebody wants copied anew
    _syncline_marks     empty: a row goes in and out in every transaction of a stream before anything else,
                        so that the server's log says by which path the rows came (Race 16)

Every function works in the transaction that is open, or reads; `create` alone makes tables, which commits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pymysql

from ...connector import Claim
from ...errors import Corruption, Superseded
from ...model import (
    Identity,
    Key,
    Mark,
    Parked,
    Position,
    Schema,
    Span,
    SpanRecord,
    State,
    TableName,
    TableState,
)
from .catalog import PREFIX
from .session import Session, number_of
from .text import literal

STREAMS = f"{PREFIX}streams"
TABLES = f"{PREFIX}tables"
SPANS = f"{PREFIX}spans"
PARKED = f"{PREFIX}parked"
ASKED = f"{PREFIX}asked"
MARKS = f"{PREFIX}marks"
_KEPT = (TABLES, SPANS, PARKED, ASKED)
"""What is kept of tables, by stream and tbl."""

_ROWS_AT_ONCE = 500
_NO_TABLE = 1146
_NAMES = "stream VARCHAR(128) NOT NULL, tbl VARCHAR(512) NOT NULL"
_MADE = {
    STREAMS: "stream VARCHAR(128) PRIMARY KEY, fence BIGINT NOT NULL, position LONGTEXT, source LONGTEXT,"
    " removing TINYINT NOT NULL DEFAULT 0",
    TABLES: f"id BIGINT PRIMARY KEY AUTO_INCREMENT, {_NAMES}, `schema` LONGTEXT NOT NULL,"
    " state VARCHAR(32) NOT NULL, floor LONGTEXT, goal LONGTEXT, created TINYINT NOT NULL,"
    " aside TINYINT NOT NULL, detail LONGTEXT NOT NULL, swapping TINYINT NOT NULL DEFAULT 0,"
    " UNIQUE KEY (stream, tbl)",
    SPANS: f"{_NAMES}, number BIGINT, span LONGTEXT NOT NULL, `rows` BIGINT,"
    " PRIMARY KEY (stream, tbl, number)",
    PARKED: f"id BIGINT PRIMARY KEY AUTO_INCREMENT, {_NAMES}, digest BINARY(16) NOT NULL,"
    " `key` LONGTEXT NOT NULL, reason LONGTEXT NOT NULL, since LONGTEXT NOT NULL,"
    " asked TINYINT NOT NULL DEFAULT 0, UNIQUE KEY (stream, digest)",
    ASKED: f"{_NAMES}, PRIMARY KEY (stream, tbl)",
    MARKS: "id BIGINT PRIMARY KEY AUTO_INCREMENT, mark LONGTEXT NOT NULL",
}


def create(session: Session) -> None:
    """Make what is missing of the bookkeeping."""
    there = {name for (name,) in session.rows(_THERE)}
    for table, columns in _MADE.items():
        if table not in there:
            session.run(
                f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
                " ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )


_THERE = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
    f" AND table_name LIKE '{PREFIX.replace('_', '!_')}%' ESCAPE '!'"
)


def exists(session: Session) -> bool:
    """Whether there is a bookkeeping."""
    return session.value(f"{_THERE} AND table_name = '{STREAMS}'") is not None


def drop_if_unused(session: Session) -> None:
    """Take it away when it holds no stream."""
    if session.value(f"SELECT 1 FROM {STREAMS} LIMIT 1") is None:
        session.run(f"DROP TABLE IF EXISTS {', '.join(_MADE)}")


def write_mark(session: Session, mark: Mark) -> None:
    """The transaction's first rows in the server's log."""
    session.run(f"INSERT INTO {MARKS} (mark) VALUES ({literal(mark.dumps())})")
    session.run(f"DELETE FROM {MARKS} WHERE id = LAST_INSERT_ID()")


def raise_fence(session: Session, stream: str, holding: int | None) -> None:
    """The stream's fence + 1; the stream is made where there is none. Superseded when `holding` is given and
    the fence was another."""
    session.run(f"INSERT IGNORE INTO {STREAMS} (stream, fence) VALUES ({literal(stream)}, 0)")
    named = f"WHERE stream = {literal(stream)}"
    fence = int(session.value(f"SELECT fence FROM {STREAMS} {named} FOR UPDATE") or 0)
    if holding is not None and fence != holding:
        reason = f"fence {fence} was taken after {holding}"
        raise Superseded("claim", stream, reason, "leave it to the other worker")
    session.run(f"UPDATE {STREAMS} SET fence = fence + 1 {named}")


def streams(session: Session) -> list[str]:
    """The names of all streams."""
    return [name for (name,) in session.rows(f"SELECT stream FROM {STREAMS} ORDER BY 1")]


def read(session: Session, stream: str) -> Claim | None:
    """The stream as it stands, None when it is unknown."""
    query = f"SELECT fence, position, source, removing FROM {STREAMS} WHERE stream = {literal(stream)}"
    found = session.rows(query)
    if not found:
        return None
    ((fence, position, source, removing),) = found
    return Claim(
        stream=stream,
        fence=int(fence),
        position=None if position is None else Position(position),
        source=None if source is None else Identity.from_json(orjson.loads(source)),
        removing=removing == "1",
        tables={state.schema.table: state for state in states(session, stream)},
    )


def hold(session: Session, claim: Claim, *, alone: bool) -> Position | None:
    """Lock the stream's row, alone or with others of a copy; its position. Superseded when the fence is not
    this claim's (Promise 2)."""
    lock = "FOR UPDATE" if alone else "LOCK IN SHARE MODE"
    query = f"SELECT fence, position FROM {STREAMS} WHERE stream = {literal(claim.stream)} {lock}"
    try:
        found = session.rows(query)
    except pymysql.err.ProgrammingError as error:
        if number_of(error) != _NO_TABLE:
            raise
        found = []
    if not found or int(found[0][0]) != claim.fence:
        held = f"another worker holds fence {found[0][0]}" if found else "the stream is gone"
        raise Superseded(
            "write for", claim.stream, f"{held}, this one had {claim.fence}", "leave it to the other worker"
        )
    return None if found[0][1] is None else Position(found[0][1])


def displaced(stream: str, held: Position | None, wanted: Position | None) -> Corruption:
    """The position is another than the one that this worker left there."""
    return Corruption("write for", stream, f"the position is {held}, expected {wanted}", "compare the stores")


def move(session: Session, claim: Claim, after: Position | None, upto: Position) -> None:
    """Compare and swap; Corruption when somebody moved it under our own fence."""
    found = session.rows(
        f"SELECT position FROM {STREAMS} WHERE stream = {literal(claim.stream)} AND fence = {claim.fence}"
    )
    if found != [(after,)]:
        raise displaced(claim.stream, found[0][0] if found else None, after)
    session.run(
        f"UPDATE {STREAMS} SET position = {literal(upto)} WHERE stream = {literal(claim.stream)}"
        f" AND fence = {claim.fence} AND position <=> {literal(after)}"
    )


def start(session: Session, claim: Claim, source: Identity, position: Position) -> None:
    """Store the stream's source and its first position."""
    session.run(
        f"UPDATE {STREAMS} SET source = {literal(orjson.dumps(source.to_json()).decode())},"
        f" position = {literal(position)} WHERE stream = {literal(claim.stream)}"
    )


def mark_removing(session: Session, stream: str) -> None:
    """Record that the stream is being taken away."""
    session.run(f"UPDATE {STREAMS} SET removing = 1 WHERE stream = {literal(stream)}")


def record(session: Session, stream: str, tables: Iterable[TableState]) -> None:
    """Store the states of these tables."""
    for state in tables:
        members = {
            "`schema`": orjson.dumps(state.schema.to_json()).decode(),
            "state": str(state.state),
            "floor": state.floor,
            "goal": state.goal,
            "created": int(state.created),
            "aside": int(state.aside),
            "detail": state.detail,
            "swapping": 0,
        }
        names, cells = ", ".join(members), ", ".join(map(literal, members.values()))
        sets = ", ".join(f"{name} = {literal(cell)}" for name, cell in members.items())
        session.run(
            f"INSERT INTO {TABLES} (stream, tbl, {names})"
            f" VALUES ({literal(stream)}, {literal(table_text(state.schema.table))}, {cells})"
            f" ON DUPLICATE KEY UPDATE {sets}"
        )


def states(session: Session, stream: str, *, swapping: bool = False) -> list[TableState]:
    """The states of a stream's tables, or only of those that are being swapped in."""
    found = session.rows(
        f"SELECT `schema`, state, floor, goal, created, aside, detail FROM {TABLES}"
        f" WHERE stream = {literal(stream)}{' AND swapping' if swapping else ''} ORDER BY id"
    )
    return [_state(row) for row in found]


def mark_swapping(session: Session, stream: str, tables: Sequence[TableName]) -> None:
    """Record that these tables take the place of others now."""
    for table in tables:
        session.run(f"UPDATE {TABLES} SET swapping = 1 WHERE {_named(stream, table)}")


def plan_spans(session: Session, stream: str, table: TableName, spans: Sequence[Span]) -> None:
    """Put spans into the ledger in place of any that are there."""
    session.run(f"DELETE FROM {SPANS} WHERE {_named(stream, table)}")
    head = f"{literal(stream)}, {literal(table_text(table))}"
    rows = [
        f"({head}, {number}, {literal(orjson.dumps(span.to_json()).decode())}, NULL)"
        for number, span in enumerate(spans)
    ]
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        session.run(f"INSERT INTO {SPANS} VALUES {', '.join(rows[at : at + _ROWS_AT_ONCE])}")


def record_span(session: Session, stream: str, table: TableName, number: int, rows: int) -> None:
    """Record that a span is copied; Corruption when the ledger has no span of that number."""
    span = f"{_named(stream, table)} AND number = {number}"
    if session.value(f"SELECT 1 FROM {SPANS} WHERE {span}") is None:
        raise Corruption("record", f"span {number} of {table}", "the ledger does not have it")
    session.run(f"UPDATE {SPANS} SET `rows` = {rows} WHERE {span}")


def spans(session: Session, stream: str, table: TableName) -> list[SpanRecord]:
    """The ledger of one table, in order."""
    query = f"SELECT span, `rows` FROM {SPANS} WHERE {_named(stream, table)} ORDER BY number"
    return [
        SpanRecord(Span.from_json(orjson.loads(span)), None if copied is None else int(copied))
        for span, copied in session.rows(query)
    ]


def hand_over(session: Session, stream: str, to: str) -> None:
    """Give a stream's spans and parked keys to another stream, in place of what that has of these tables;
    the stream itself goes."""
    for kept in (SPANS, PARKED):
        copied = f"SELECT tbl FROM {TABLES} WHERE stream = {literal(stream)}"
        session.run(f"DELETE FROM {kept} WHERE stream = {literal(to)} AND tbl IN ({copied})")
        session.run(f"UPDATE {kept} SET stream = {literal(to)} WHERE stream = {literal(stream)}")
    forget(session, stream)


def parked(session: Session, stream: str) -> list[Parked]:
    """The parked keys of a stream."""
    query = (
        f"SELECT tbl, `key`, reason, since, asked FROM {PARKED} WHERE stream = {literal(stream)}"
        " ORDER BY tbl, id"
    )
    return [
        Parked(
            TableName.from_json(orjson.loads(table)),
            Parked.load_key(key),
            reason,
            Position(since),
            asked == "1",
        )
        for table, key, reason, since, asked in session.rows(query)
    ]


def park(session: Session, stream: str, entries: Sequence[Parked]) -> None:
    """Store parked keys; one that is there keeps its age and gets the new reason."""
    for entry in entries:
        table, key = table_text(entry.table), entry.dump_key()
        cells = (stream, table, _digest(table, key), key, entry.reason, entry.since)
        session.run(
            f"INSERT INTO {PARKED} (stream, tbl, digest, `key`, reason, since)"
            f" VALUES ({', '.join(map(literal, cells))})"
            f" ON DUPLICATE KEY UPDATE reason = {literal(entry.reason)}, asked = 0"
        )


def change_parked(
    session: Session, change: str, stream: str, table: TableName | None, keys: Sequence[Key] | None
) -> int:
    """Run `change` (DELETE FROM … or UPDATE … SET …) over the parked keys that are meant; how many."""
    where = f"stream = {literal(stream)}" if table is None else _named(stream, table)
    if keys is not None and table is not None:
        text = table_text(table)
        digests = [_digest(text, Parked(table, key, "", Position("")).dump_key()) for key in keys]
        where += f" AND digest IN ({', '.join(map(literal, digests)) or 'NULL'})"
    found = int(session.value(f"SELECT count(*) FROM {PARKED} WHERE {where}") or 0)
    session.run(f"{change} WHERE {where}")
    return found


def forget(session: Session, stream: str) -> None:
    """Delete all rows of a stream."""
    for table in (STREAMS, *_KEPT):
        session.run(f"DELETE FROM {table} WHERE stream = {literal(stream)}")


def leave(session: Session, stream: str, tables: Sequence[TableName]) -> None:
    """Delete all rows of these tables of a stream."""
    for table in tables:
        for kept in _KEPT:
            session.run(f"DELETE FROM {kept} WHERE {_named(stream, table)}")


def ask_anew(session: Session, stream: str, tables: Sequence[TableName]) -> None:
    """Store that these tables are wanted anew."""
    for table in dict.fromkeys(tables):
        text = literal(table_text(table))
        session.run(f"INSERT IGNORE INTO {ASKED} VALUES ({literal(stream)}, {text})")


def asked_anew(session: Session, stream: str) -> list[TableName]:
    """The tables that are wanted anew."""
    query = f"SELECT tbl FROM {ASKED} WHERE stream = {literal(stream)} ORDER BY tbl"
    return [TableName.from_json(orjson.loads(table)) for (table,) in session.rows(query)]


def answer(session: Session, stream: str, tables: Sequence[TableName]) -> None:
    """Delete what `ask_anew` stored of these tables."""
    for table in tables:
        session.run(f"DELETE FROM {ASKED} WHERE {_named(stream, table)}")


def table_text(table: TableName) -> str:
    """A table's name as the ledger's key."""
    return orjson.dumps(table.to_json()).decode()


def _named(stream: str, table: TableName) -> str:
    return f"stream = {literal(stream)} AND tbl = {literal(table_text(table))}"


def _digest(table: str, key: str) -> bytes:
    """A key of any length as one that an index holds."""
    return hashlib.blake2b(f"{table}\0{key}".encode(), digest_size=16).digest()


def _state(row: tuple[Any, ...]) -> TableState:
    schema, state, floor, goal, created, aside, detail = row
    return TableState(
        schema=Schema.from_json(orjson.loads(schema)),
        state=State(state),
        floor=None if floor is None else Position(floor),
        goal=None if goal is None else Position(goal),
        created=created == "1",
        aside=aside == "1",
        detail=detail,
    )
