"""The bookkeeping of streams in a target (Promise 1).

    _syncline_streams   stream, fence, position, source, removing
    _syncline_tables    stream, tbl and the members of a TableState
    _syncline_spans     stream, tbl, number, span, rows (NULL until they are in the target)
    _syncline_parked    stream, tbl, key and the other members of a Parked
    _syncline_asked     stream, tbl: the tables that somebody wants copied anew

Every function works in the transaction that is open, or reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from ...connector import Claim
from ...errors import Corruption, Superseded
from ...model import Identity, Key, Parked, Position, Schema, Span, SpanRecord, State, TableName, TableState
from .catalog import PREFIX
from .connection import Connection
from .meta import STREAMS

TABLES = f"{PREFIX}tables"
SPANS = f"{PREFIX}spans"
PARKED = f"{PREFIX}parked"
ASKED = f"{PREFIX}asked"
_KEPT = (TABLES, SPANS, PARKED, ASKED)
"""What is kept of tables, by stream and tbl."""


def create_ledger(db: Connection) -> None:
    """Make the bookkeeping where there is none, and what an earlier version has not made of it."""
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {STREAMS} (stream TEXT PRIMARY KEY, fence INTEGER NOT NULL,"
        " position TEXT, source TEXT, removing INTEGER NOT NULL DEFAULT 0)"
    )
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {TABLES} (stream TEXT, tbl TEXT, schema TEXT NOT NULL,"
        " state TEXT NOT NULL, floor TEXT, goal TEXT, created INTEGER NOT NULL, aside INTEGER NOT NULL,"
        " detail TEXT NOT NULL, PRIMARY KEY (stream, tbl))"
    )
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {SPANS} (stream TEXT, tbl TEXT, number INTEGER,"
        " span TEXT NOT NULL, rows INTEGER, PRIMARY KEY (stream, tbl, number))"
    )
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {PARKED} (stream TEXT, tbl TEXT, key TEXT, reason TEXT NOT NULL,"
        " since TEXT NOT NULL, asked INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (stream, tbl, key))"
    )
    db.execute(f"CREATE TABLE IF NOT EXISTS {ASKED} (stream TEXT, tbl TEXT, PRIMARY KEY (stream, tbl))")


def drop_ledger_if_unused(db: Connection) -> bool:
    """Take it away when it holds no stream; whether it did."""
    if db.value(f"SELECT count(*) FROM {STREAMS}"):
        return False
    for table in (STREAMS, *_KEPT):
        db.execute(f"DROP TABLE IF EXISTS {table}")
    return True


def take_fence(db: Connection, stream: str) -> int:
    """The stream's fence + 1; the stream is made where there is none."""
    db.execute(f"INSERT OR IGNORE INTO {STREAMS} (stream, fence) VALUES (?, 0)", (stream,))
    taken = db.value(f"UPDATE {STREAMS} SET fence = fence + 1 WHERE stream = ? RETURNING fence", (stream,))
    return int(taken)


def read_streams(db: Connection) -> list[str]:
    """The names of all streams."""
    return [name for (name,) in db.execute(f"SELECT stream FROM {STREAMS} ORDER BY 1")]


def read_claim(db: Connection, stream: str) -> Claim | None:
    """The stream as it stands, None when it is unknown."""
    if not db.has(STREAMS):
        return None
    sql = f"SELECT fence, position, source, removing FROM {STREAMS} WHERE stream = ?"
    row = db.row(sql, (stream,))
    if row is None:
        return None
    fence, position, source, removing = row
    return Claim(
        stream=stream,
        fence=fence,
        position=None if position is None else Position(position),
        source=None if source is None else Identity.from_json(orjson.loads(source)),
        removing=bool(removing),
        tables={state.schema.table: state for state in read_states(db, stream)},
    )


def check_fence(db: Connection, claim: Claim) -> Position | None:
    """The position that the target holds; Superseded when the fence is not this claim's (Promise 2)."""
    row = None
    if db.has(STREAMS):
        row = db.row(f"SELECT fence, position FROM {STREAMS} WHERE stream = ?", (claim.stream,))
    if row is None or row[0] != claim.fence:
        held = "the stream is gone" if row is None else f"another worker holds fence {row[0]}"
        raise Superseded(
            "write for", claim.stream, f"{held}, this one had {claim.fence}", "leave it to the other worker"
        )
    return None if row[1] is None else Position(row[1])


def check_position(db: Connection, claim: Claim) -> None:
    """Corruption when the target's position is another than the claim's."""
    held = check_fence(db, claim)
    if held != claim.position:
        raise Corruption(
            "write for",
            claim.stream,
            f"the position is {held}, expected {claim.position}",
            "compare the stores",
        )


def move_position(db: Connection, claim: Claim, after: Position | None, upto: Position) -> None:
    """Compare and swap; Corruption when somebody moved it under our own fence."""
    sql = f"UPDATE {STREAMS} SET position = ? WHERE stream = ? AND fence = ? AND position IS ?"
    if db.execute(sql, (upto, claim.stream, claim.fence, after)).rowcount != 1:
        raise Corruption(
            "move", f"the position of {claim.stream}", f"it is not {after}", "compare the stores"
        )


def start_stream(db: Connection, claim: Claim, source: Identity, position: Position) -> None:
    """Store the stream's source and its first position."""
    sql = f"UPDATE {STREAMS} SET source = ?, position = ? WHERE stream = ?"
    db.execute(sql, (orjson.dumps(source.to_json()).decode(), position, claim.stream))


def write_states(db: Connection, stream: str, states: Iterable[TableState]) -> None:
    """Store the states of these tables."""
    for state in states:
        db.execute(
            f"INSERT OR REPLACE INTO {TABLES} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream,
                table_text(state.schema.table),
                orjson.dumps(state.schema.to_json()).decode(),
                str(state.state),
                state.floor,
                state.goal,
                int(state.created),
                int(state.aside),
                state.detail,
            ),
        )


def read_states(db: Connection, stream: str) -> list[TableState]:
    """The states of a stream's tables."""
    rows = db.rows(
        "SELECT schema, state, floor, goal, created, aside, detail"
        f" FROM {TABLES} WHERE stream = ? ORDER BY rowid",
        (stream,),
    )
    return [_state(row) for row in rows]


def plan_spans(db: Connection, stream: str, table: TableName, spans: Sequence[Span]) -> None:
    """Put spans into the ledger in place of any that are there."""
    text = table_text(table)
    db.execute(f"DELETE FROM {SPANS} WHERE stream = ? AND tbl = ?", (stream, text))
    db.execute_many(
        f"INSERT INTO {SPANS} VALUES (?, ?, ?, ?, NULL)",
        [(stream, text, number, orjson.dumps(span.to_json()).decode()) for number, span in enumerate(spans)],
    )


def record_span(db: Connection, stream: str, table: TableName, number: int, rows: int) -> None:
    """Record that a span is copied; Corruption when the ledger has no span of that number."""
    sql = f"UPDATE {SPANS} SET rows = ? WHERE stream = ? AND tbl = ? AND number = ?"
    if db.execute(sql, (rows, stream, table_text(table), number)).rowcount != 1:
        raise Corruption("record", f"span {number} of {table}", "the ledger does not have it")


def read_spans(db: Connection, stream: str, table: TableName) -> list[SpanRecord]:
    """The ledger of one table, in order."""
    sql = f"SELECT span, rows FROM {SPANS} WHERE stream = ? AND tbl = ? ORDER BY number"
    rows = db.rows(sql, (stream, table_text(table)))
    return [SpanRecord(Span.from_json(orjson.loads(span)), copied) for span, copied in rows]


def hand_over(db: Connection, stream: str, to: str) -> None:
    """Give a stream's spans and parked keys to another stream, in place of what that has of these tables."""
    for table in (SPANS, PARKED):
        copied = f"SELECT tbl FROM {TABLES} WHERE stream = ?"
        db.execute(f"DELETE FROM {table} WHERE stream = ? AND tbl IN ({copied})", (to, stream))
        db.execute(f"UPDATE {table} SET stream = ? WHERE stream = ?", (to, stream))


def read_parked(db: Connection, stream: str) -> list[Parked]:
    """The parked keys of a stream."""
    sql = f"SELECT tbl, key, reason, since, asked FROM {PARKED} WHERE stream = ? ORDER BY tbl, rowid"
    return [
        Parked(
            TableName.from_json(orjson.loads(table)),
            Parked.load_key(key),
            reason,
            Position(since),
            bool(asked),
        )
        for table, key, reason, since, asked in db.rows(sql, (stream,))
    ]


def park(db: Connection, stream: str, entries: Sequence[Parked]) -> None:
    """Store parked keys; one that is there gets the new reason."""
    db.execute_many(
        f"INSERT INTO {PARKED} VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT (stream, tbl, key) DO UPDATE SET reason = excluded.reason, asked = 0",
        [(stream, table_text(entry.table), entry.dump_key(), entry.reason, entry.since) for entry in entries],
    )


def change_parked(
    db: Connection, change: str, stream: str, table: TableName | None, keys: Sequence[Key] | None
) -> int:
    """Run `change` (DELETE FROM … or UPDATE … SET …) over the parked keys that are meant; how many."""
    if table is None:
        return db.execute(f"{change} WHERE stream = ?", (stream,)).rowcount
    where = f"{change} WHERE stream = ? AND tbl = ?"
    if keys is None:
        return db.execute(where, (stream, table_text(table))).rowcount
    texts = [Parked(table, key, "", Position("")).dump_key() for key in keys]
    return sum(
        db.execute(f"{where} AND key = ?", (stream, table_text(table), text)).rowcount for text in texts
    )


def forget_stream(db: Connection, stream: str) -> None:
    """Delete all rows of a stream."""
    create_ledger(db)
    for table in (STREAMS, *_KEPT):
        db.execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))


def leave(db: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Delete all rows of these tables of a stream."""
    for kept in _KEPT:
        delete = f"DELETE FROM {kept} WHERE stream = ? AND tbl = ?"
        db.execute_many(delete, [(stream, table_text(table)) for table in tables])


def ask_anew(db: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Store that these tables are wanted anew."""
    create_ledger(db)
    insert = f"INSERT OR IGNORE INTO {ASKED} VALUES (?, ?)"
    db.execute_many(insert, [(stream, table_text(table)) for table in tables])


def asked_anew(db: Connection, stream: str) -> list[TableName]:
    """The tables that are wanted anew."""
    if not db.has(ASKED):
        return []
    rows = db.rows(f"SELECT tbl FROM {ASKED} WHERE stream = ? ORDER BY tbl", (stream,))
    return [TableName.from_json(orjson.loads(table)) for (table,) in rows]


def answer(db: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Delete what `ask_anew` stored of these tables."""
    delete = f"DELETE FROM {ASKED} WHERE stream = ? AND tbl = ?"
    db.execute_many(delete, [(stream, table_text(table)) for table in tables])


def table_text(table: TableName) -> str:
    """A table's name as the ledger's key."""
    return orjson.dumps(table.to_json()).decode()


def _state(row: tuple[Any, ...]) -> TableState:
    schema, state, floor, goal, created, aside, detail = row
    return TableState(
        schema=Schema.from_json(orjson.loads(schema)),
        state=State(state),
        floor=None if floor is None else Position(floor),
        goal=None if goal is None else Position(goal),
        created=bool(created),
        aside=bool(aside),
        detail=detail,
    )
