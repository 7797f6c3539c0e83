"""What a target keeps of each stream: the tables of the schema `syncline`.

    streams   one row a stream: fence, position, source; every transaction of the stream locks it
    tables    the state of each of a stream's tables
    spans     which spans of a table are copied
    parked    keys whose rows could not be written, and why
    asked     tables that somebody wants copied anew

Everything here runs inside a transaction of the caller's. Names are the source's; `namespace` is '' where a
table is in the source's default schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

from ...connector import Claim
from ...errors import Corruption, Superseded
from ...model import Identity, Key, Parked, Position, Schema, Span, SpanRecord, State, TableName, TableState
from .connection import Connection

VERSION = 1

_MAKING = "SELECT pg_advisory_xact_lock(hashtextextended('syncline bookkeeping', 0))"

_MAKE = """
CREATE TABLE IF NOT EXISTS syncline.streams (
    stream text PRIMARY KEY,
    version int NOT NULL,
    fence bigint NOT NULL,
    position text,
    source jsonb,
    removing boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS syncline.tables (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    floor text,
    goal text,
    schema json NOT NULL,
    created boolean NOT NULL,
    aside boolean NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (stream, namespace, name)
);
CREATE TABLE IF NOT EXISTS syncline.spans (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    number int NOT NULL,
    span jsonb NOT NULL,
    rows bigint,
    PRIMARY KEY (stream, namespace, name, number)
);
CREATE TABLE IF NOT EXISTS syncline.parked (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    since text NOT NULL,
    asked boolean NOT NULL DEFAULT false,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, namespace, name, key)
);
CREATE TABLE IF NOT EXISTS syncline.asked (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, namespace, name)
);
COMMENT ON SCHEMA syncline IS 'what Syncline keeps of the streams that write to this database';
"""


_KEPT = ("asked", "parked", "spans", "tables")
"""What is kept of tables, by stream, namespace and name."""

TABLES = ("streams", *_KEPT)
"""All that is ours in the schema `syncline`."""


def exists(connection: Connection) -> bool:
    """Whether there is bookkeeping."""
    row = connection.execute("SELECT to_regclass('syncline.streams') IS NOT NULL").fetchone()
    return row == (True,)


def _complete(connection: Connection) -> bool:
    """Whether there are all tables; an earlier version of Syncline has made fewer."""
    row = connection.execute("SELECT to_regclass('syncline.asked') IS NOT NULL").fetchone()
    return row == (True,)


def lock(connection: Connection) -> None:
    """Until the end of the transaction nobody else makes or takes away what streams share."""
    connection.execute(_MAKING)


def make(connection: Connection) -> None:
    """Make the bookkeeping where there is none, and what an earlier version has not made of it; nobody else
    makes it or takes it away until the end of the transaction."""
    lock(connection)
    if _complete(connection):
        return
    row = connection.execute("SELECT to_regnamespace('syncline') IS NULL").fetchone()
    if row == (True,):
        connection.execute("CREATE SCHEMA syncline")
    connection.execute(_MAKE)


def take_away(connection: Connection) -> None:
    """Drop the bookkeeping when no stream is left, and its schema unless somebody put something else in."""
    lock(connection)
    left = "SELECT FROM syncline.streams LIMIT 1"
    if not exists(connection) or connection.execute(left).fetchone() is not None:
        return
    connection.execute("LOCK TABLE syncline.streams IN ACCESS EXCLUSIVE MODE")
    if connection.execute(left).fetchone() is not None:
        return
    names = ", ".join(f"syncline.{table}" for table in _KEPT)
    connection.execute(f"DROP TABLE {names}, syncline.streams".encode())
    empty = """SELECT pg_has_role(nspowner, 'USAGE')
                  AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid)
                  AND NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = n.oid)
                  AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = n.oid)
               FROM pg_namespace n WHERE nspname = 'syncline'"""
    if connection.execute(empty).fetchone() == (True,):
        connection.execute("DROP SCHEMA syncline")


def raise_fence(connection: Connection, stream: str, holding: int | None) -> Claim:
    """Fence + 1 first, then everything else is read (Race 12). Superseded when it is not `holding`."""
    connection.execute(
        "INSERT INTO syncline.streams (stream, version, fence) VALUES (%s, %s, 0) ON CONFLICT DO NOTHING",
        [stream, VERSION],
    )
    row = connection.execute(
        "UPDATE syncline.streams SET fence = fence + 1, updated_at = clock_timestamp() WHERE stream = %s"
        " RETURNING version, fence",
        [stream],
    ).fetchone()
    assert row is not None
    version, fence = row
    if version != VERSION:
        raise Corruption(
            "go on with",
            f"stream {stream}",
            f"its bookkeeping is of version {version}, and this program knows version {VERSION}",
            "use the program that made it",
        )
    if holding is not None and fence != holding + 1:
        raise superseded(stream, fence - 1, holding)
    claim = read(connection, stream)
    assert claim is not None
    return claim


def streams(connection: Connection) -> list[str]:
    """The names of all streams."""
    return [name for (name,) in connection.execute("SELECT stream FROM syncline.streams ORDER BY 1")]


def read(connection: Connection, stream: str) -> Claim | None:
    """The stream as it stands; None when there is no such stream."""
    row = connection.execute(
        "SELECT fence, position, source, removing FROM syncline.streams WHERE stream = %s", [stream]
    ).fetchone()
    if row is None:
        return None
    fence, position, source, removing = row
    rows = connection.execute(
        "SELECT schema::text, state, floor, goal, created, aside, detail FROM syncline.tables"
        " WHERE stream = %s ORDER BY namespace, name",
        [stream],
    ).fetchall()
    states = [
        TableState(Schema.from_json(orjson.loads(schema)), State(state), *rest)
        for schema, state, *rest in rows
    ]
    return Claim(
        stream,
        fence,
        position,
        Identity.from_json(source) if source is not None else None,
        removing,
        {state.schema.table: state for state in states},
    )


def hold(connection: Connection, claim: Claim, *, alone: bool) -> Position | None:
    """Lock the stream's row until the end of the transaction, with others who do so or `alone`; its
    position. Superseded when the fence is another's (Promise 2)."""
    lock = "UPDATE" if alone else "SHARE"
    query = f"SELECT fence, position FROM syncline.streams WHERE stream = %s FOR {lock}"
    try:
        row = connection.execute(query.encode(), [claim.stream]).fetchone()
    except psycopg.errors.UndefinedTable:  # whoever took the last stream away took the bookkeeping along
        row = None
    if row is None:
        raise superseded(claim.stream, None, claim.fence)
    fence, position = row
    if fence != claim.fence:
        raise superseded(claim.stream, fence, claim.fence)
    return Position(position) if position is not None else None


def move(connection: Connection, claim: Claim, after: Position | None, upto: Position) -> None:
    """Compare and swap the position under the fence (Promise 2)."""
    moved = connection.execute(
        "UPDATE syncline.streams SET position = %s, updated_at = clock_timestamp()"
        " WHERE stream = %s AND fence = %s AND position IS NOT DISTINCT FROM %s",
        [upto, claim.stream, claim.fence, after],
    ).rowcount
    if moved != 1:
        found = hold(connection, claim, alone=True)
        raise displaced(claim.stream, found, after)


def start(connection: Connection, claim: Claim, source: Identity, position: Position) -> None:
    """Store where the stream begins."""
    connection.execute(
        "UPDATE syncline.streams SET source = %s, position = %s WHERE stream = %s AND fence = %s",
        [_json(source.to_json()), position, claim.stream, claim.fence],
    )


def mark_removing(connection: Connection, stream: str) -> None:
    """Record that the stream is being taken away."""
    connection.execute("UPDATE syncline.streams SET removing = true WHERE stream = %s", [stream])


def record(connection: Connection, stream: str, states: Sequence[TableState]) -> None:
    """Store the states of tables."""
    rows = [
        (
            stream,
            *_key(state.schema.table),
            state.state,
            state.floor,
            state.goal,
            _json(state.schema.to_json()),
            state.created,
            state.aside,
            state.detail,
        )
        for state in states
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO syncline.tables VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (stream, namespace, name) DO UPDATE SET state = excluded.state,"
            " floor = excluded.floor, goal = excluded.goal, schema = excluded.schema,"
            " created = excluded.created, aside = excluded.aside, detail = excluded.detail",
            rows,
        )


def spans(connection: Connection, stream: str, table: TableName) -> list[SpanRecord]:
    """The ledger of a table."""
    rows = connection.execute(
        "SELECT span, rows FROM syncline.spans WHERE stream = %s AND namespace = %s AND name = %s"
        " ORDER BY number",
        [stream, *_key(table)],
    ).fetchall()
    return [SpanRecord(Span.from_json(span), rows) for span, rows in rows]


def plan_spans(connection: Connection, stream: str, table: TableName, planned: Sequence[Span]) -> None:
    """Put spans into a table's ledger, in place of any that are there."""
    connection.execute(
        "DELETE FROM syncline.spans WHERE stream = %s AND namespace = %s AND name = %s",
        [stream, *_key(table)],
    )
    connection.execute(
        "INSERT INTO syncline.spans SELECT %s, %s, %s, place - 1, span::jsonb"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS planned (span, place)",
        [stream, *_key(table), [_json(span.to_json()) for span in planned]],
    )


def record_span(connection: Connection, stream: str, table: TableName, number: int, rows: int) -> None:
    """Record a span's rows; Corruption when the ledger has no such span, or has it as copied."""
    recorded = connection.execute(
        "UPDATE syncline.spans SET rows = %s WHERE stream = %s AND namespace = %s AND name = %s"
        " AND number = %s AND rows IS NULL",
        [rows, stream, *_key(table), number],
    ).rowcount
    if recorded != 1:
        why = "the ledger has no such span that is not copied"
        raise Corruption("record", f"span {number} of table {table}", why)


def parked(connection: Connection, stream: str) -> list[Parked]:
    """The parked keys of a stream."""
    rows = connection.execute(
        "SELECT namespace, name, key::text, reason, since, asked FROM syncline.parked WHERE stream = %s"
        " ORDER BY namespace, name, parked_at, key",
        [stream],
    ).fetchall()
    return [
        Parked(TableName(name, namespace or None), Parked.load_key(key), *rest)
        for namespace, name, key, *rest in rows
    ]


def park(connection: Connection, stream: str, entries: Sequence[Parked]) -> None:
    """Store parked keys; one that is there gets the new reason."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO syncline.parked VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (stream, namespace, name, key)"
            " DO UPDATE SET reason = excluded.reason, asked = false",
            [(stream, *_key(entry.table), entry.dump_key(), entry.reason, entry.since) for entry in entries],
        )


def change_parked(
    connection: Connection, change: str, stream: str, table: TableName | None, keys: Sequence[Key] | None
) -> int:
    """Run `change` (DELETE FROM … or UPDATE … SET …) over the parked keys that are meant; how many."""
    conditions: list[str] = ["stream = %s"]
    values: list[object] = [stream]
    if table is not None:
        conditions.append("(namespace, name) = (%s, %s)")
        values += _key(table)
    if table is not None and keys is not None:
        conditions.append("key = ANY(%s::jsonb[])")
        values.append([Parked(table, key, "", Position("")).dump_key() for key in keys])
    return connection.execute(f"{change} WHERE {' AND '.join(conditions)}".encode(), values).rowcount


def hand_over(connection: Connection, side: str, main: str) -> None:
    """Give a side stream's tables, spans and parked keys to the main stream, in place of what that one has
    of these tables; the side stream is gone."""
    for statement in (
        *(
            f"DELETE FROM syncline.{kept} m USING syncline.tables s WHERE m.stream = %(main)s"
            " AND s.stream = %(side)s AND (m.namespace, m.name) = (s.namespace, s.name)"
            for kept in ("parked", "spans", "tables")
        ),
        "UPDATE syncline.tables SET stream = %(main)s WHERE stream = %(side)s",
        "UPDATE syncline.spans SET stream = %(main)s WHERE stream = %(side)s",
        "UPDATE syncline.parked SET stream = %(main)s WHERE stream = %(side)s",
        "DELETE FROM syncline.streams WHERE stream = %(side)s",
    ):
        connection.execute(statement.encode(), {"main": main, "side": side})


def forget(connection: Connection, stream: str) -> None:
    """Delete all rows of a stream."""
    for table in TABLES:
        connection.execute(f"DELETE FROM syncline.{table} WHERE stream = %s".encode(), [stream])


def leave(connection: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Delete all rows of these tables of a stream."""
    keys = [_key(table) for table in tables]
    with connection.cursor() as cursor:
        for kept in _KEPT:
            delete = f"DELETE FROM syncline.{kept} WHERE stream = %s AND (namespace, name) = (%s, %s)"
            cursor.executemany(delete.encode(), [(stream, *key) for key in keys])


def ask_anew(connection: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Store that these tables are wanted anew."""
    make(connection)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO syncline.asked VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [(stream, *_key(table)) for table in tables],
        )


def asked_anew(connection: Connection, stream: str) -> list[TableName]:
    """The tables that are wanted anew."""
    if not _complete(connection):
        return []
    query = "SELECT namespace, name FROM syncline.asked WHERE stream = %s ORDER BY 1, 2"
    rows = connection.execute(query, [stream]).fetchall()
    return [TableName(name, namespace or None) for namespace, name in rows]


def answer(connection: Connection, stream: str, tables: Sequence[TableName]) -> None:
    """Delete what `ask_anew` stored of these tables."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "DELETE FROM syncline.asked WHERE stream = %s AND (namespace, name) = (%s, %s)",
            [(stream, *_key(table)) for table in tables],
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that may stand in the way of a claim: `ours` when it is one of an earlier worker."""

    process: int
    user: str
    since: str
    ours: bool

    def __str__(self) -> str:
        return f"process {self.process} of user {self.user}, in a transaction since {self.since},"


def holders(connection: Connection, application: str) -> list[Holder]:
    """Who holds the stream's row. Row locks have no catalog, so these are the sessions of an earlier worker,
    which have its application name, with any lock, and others that lock rows of the bookkeeping."""
    query = """SELECT a.pid AS process, coalesce(a.usename, '?') AS user,
                      coalesce(a.xact_start::text, 'a time that only its owner may see') AS since,
                      a.application_name = %(application)s AS ours
               FROM pg_stat_activity a
               WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND EXISTS (
                   SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted
                    AND (a.application_name = %(application)s AND l.locktype <> 'virtualxid'
                         OR l.relation = 'syncline.streams'::regclass
                            AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')))
               ORDER BY ours DESC, process"""
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        return cursor.execute(query, {"application": application}).fetchall()


def superseded(stream: str, fence: int | None, mine: int) -> Superseded:
    """The error for a fence that is another worker's."""
    why = "the stream is gone" if fence is None else f"another worker holds fence {fence}"
    return Superseded("write for", f"stream {stream}", f"{why}, this one had {mine}", "leave it to that one")


def displaced(stream: str, found: Position | None, expected: Position | None) -> Corruption:
    """The error for a position that is not where this worker left it."""
    return Corruption(
        "apply", f"stream {stream}", f"its position is {found}, not {expected}", "find out who wrote it"
    )


def _key(table: TableName) -> tuple[str, str]:
    return table.schema or "", table.name


def _json(members: Mapping[str, Any] | Sequence[Any]) -> str:
    return orjson.dumps(members).decode()
