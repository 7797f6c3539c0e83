"""PostgreSQL as a Target: claims, and what surrounds the transactions of `apply`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import psycopg
from psycopg import sql

from ...connector import Capabilities, Claim
from ...errors import Corruption, NeedsOperator, Transient
from ...model import (
    Key,
    Mark,
    Parked,
    Problem,
    Schema,
    SchemaChange,
    Severity,
    SpanRecord,
    TableName,
    TableState,
)
from . import alter, ddl, fit, indexes, ledger, omissions, problems, swap, unique
from .apply import PostgresApply
from .catalog import Member
from .connection import Connection
from .store import PostgresStore

GRACE = "1s"
"""How long an earlier worker may take to end its transaction by itself."""

CLAIM_TRIES = 5


class PostgresTarget(PostgresStore):
    """A database that streams write to, each through sessions that carry its name."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._stages: set[str] = set()
        self._staging: Connection | None = None
        self._uniques: dict[Member, list[unique.Unique]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Foreign keys are checked where the role may not switch them off."""
        return replace(super().capabilities, checks_references=not self.may_act_as_replica)

    def refusals(self, schema: Schema) -> Sequence[str]:
        """Names that are too long, and types that are not here."""
        with self._mapped("look at", self.name) as connection:
            return fit.refusals(connection, schema)

    def omissions(self, schema: Schema, planned: Collection[TableName] | None = None) -> Sequence[str]:
        """What cannot be said in PostgreSQL's SQL, and, once the table is made, what the server refused."""
        with self._mapped("look at", f"table {schema.table}") as connection:
            if planned is not None:
                found = omissions.before(connection, schema, self._member, planned)
            else:
                found = omissions.after(connection, schema, self._member, self._namespace)
            return list(dict.fromkeys(found))

    def mismatch(self, schema: Schema) -> str:
        """Each column that does not fit, and the key."""
        with self._mapped("look at", f"table {schema.table}") as connection:
            return fit.mismatch(connection, schema, self._member(schema), self._namespace)

    def alteration(self, schema: Schema) -> str:
        """One ALTER TABLE with all that it takes."""
        with self._mapped("look at", f"table {schema.table}") as connection:
            return fit.alteration(connection, schema, self._member(schema), self._namespace)

    def holds_rows(self, schema: Schema) -> bool:
        """Whether the table has a row."""
        member = self._member(schema)
        if not self._sort(member):
            return False
        query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(self._only(member))
        with self._mapped("look at", f"table {schema.table}") as connection:
            return connection.execute(query).fetchone() == (True,)

    def replaceable(self, schema: Schema) -> str:
        """What would be lost with the old table; foreign keys of others are carried over to the new one."""
        with self._mapped("look at", f"table {schema.table}") as connection:
            return swap.obstacle(connection, self._member(schema))

    def check(self, stream: str, tables: Sequence[Schema], *, nbytes: int | None) -> Sequence[Problem]:
        """Bookkeeping, new tables (one a namespace, as rights belong to these) and writing are rehearsed;
        triggers, sequences and narrower columns of the tables that are there; TLS. Of free room the server
        tells nothing."""
        found = list(problems.of_link(self._address))
        found += problems.of_bookkeeping(self._mapped, stream)
        with self._mapped("check", self.name) as connection:
            if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                return found[-1:]  # nothing at all can be written, and that is told
        tried: set[str] = set()
        for schema in tables:
            member = self._member(schema)
            if self._sort(member):
                found += self._check_existing(schema, member)
                continue
            with self._mapped("check", f"table {schema.table}") as connection:
                parents = [self._member(foreign.parent) for foreign in schema.foreign_keys]
                found += problems.of_references(connection, schema, parents)
            if member[0] not in tried and not self.refusals(schema):
                tried.add(member[0])
                make = partial(_make_table, schema=schema, member=member)
                what = "make", f"table {schema.table}"
                found += problems.rehearse(self._mapped, *what, make, schema.table)
        return found

    def _check_existing(self, schema: Schema, member: Member) -> list[Problem]:
        """Of a table that is there and fits."""
        if self.mismatch(schema):
            return []
        found = problems.of_written(self._mapped, schema, member)
        with self._mapped("check", f"table {schema.table}") as connection:
            replica = self.may_act_as_replica
            found += problems.of_triggers(connection, schema.table, member, as_replica=replica)
            sequences = self._sequences_of(connection, schema.table)
            found += problems.of_numbers(connection, schema.table, sequences)
            found += [
                Problem.about(Severity.WARN, schema.table, why, remedy)
                for why, remedy in fit.narrower(connection, schema, member, self._namespace)
            ]
        return found

    def claim(self, stream: str, holding: int | None = None) -> Claim:
        """Take the stream; the sessions of an earlier worker that still hold its row are ended (Race 12)."""
        with self._mapped("claim", f"stream {stream}") as connection:
            self._sessions.call_itself(_application(stream))
            for _ in range(CLAIM_TRIES):
                try:
                    with connection.transaction():
                        connection.execute(f"SET LOCAL lock_timeout = '{GRACE}'".encode())
                        ledger.make(connection)
                        return ledger.raise_fence(connection, stream, holding)
                except psycopg.errors.LockNotAvailable:
                    self._evict(connection, stream)
            others = [str(other) for other in ledger.holders(connection, _application(stream))]
        why = f"{others[0]} does not let it go" if others else "its row stays locked"
        raise Transient("claim", f"stream {stream}", why)

    def _evict(self, connection: Connection, stream: str) -> None:
        """End the sessions of the stream's earlier worker."""
        if not ledger.exists(connection):
            return
        for holder in ledger.holders(connection, _application(stream)):
            if not holder.ours:
                continue
            try:
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", [holder.process])
            except psycopg.errors.InsufficientPrivilege:
                raise NeedsOperator(
                    "claim",
                    f"stream {stream}",
                    f"{holder} holds it, and this role may not end it",
                    f"run SELECT pg_terminate_backend({holder.process}) as a superuser",
                ) from None

    def peek(self, stream: str) -> Claim | None:
        """The stream as it is, in one snapshot."""
        with self._mapped("look for", f"stream {stream}") as connection:
            try:
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    return ledger.read(connection, stream) if ledger.exists(connection) else None
            except psycopg.errors.UndefinedTable:
                return None  # taken away between the two looks

    def streams(self) -> Sequence[str]:
        """Every stream of this database's bookkeeping."""
        with self._mapped("look for", "streams") as connection:
            return ledger.streams(connection) if ledger.exists(connection) else []

    def spans(self, claim: Claim, table: TableName) -> Sequence[SpanRecord]:
        """The ledger of a table."""
        with self._mapped("read", f"spans of table {table}") as connection:
            return ledger.spans(connection, claim.stream, table)

    def prepare(self, schema: Schema, *, aside: bool) -> bool:
        """Make the table, and the schema and the enums that it needs."""
        namespace, name = self._member(schema)
        member = namespace, ddl.aside_name(name) if aside else name
        with self._mapped("make", f"table {schema.table}") as connection, connection.transaction():
            # Two streams that make the same schema or enum at once would get in each other's way.
            ledger.lock(connection)
            if aside:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(*member)))
            elif _exists(connection, member):
                return False
            self._forget_table(member)
            _make_table(connection, schema, member)
        return True

    def begin(self, claim: Claim, mark: Mark) -> PostgresApply:
        """The transaction that may move the position; it holds the stream's row alone (Promise 2)."""
        self._enter(claim)
        return PostgresApply(self, claim, mark, moves=True)

    def begin_copy(self, claim: Claim, mark: Mark) -> PostgresApply:
        """A transaction that shares the stream's row with others of its kind (Race 5)."""
        self._enter(claim)
        return PostgresApply(self, claim, mark, moves=False)

    def finish(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Indexes first, then foreign keys; each in a transaction of its own under the fence."""
        self._enter(claim)
        with self._mapped("finish", f"stream {claim.stream}") as connection, connection.transaction():
            ledger.hold(connection, claim, alone=False)
        for state in states:
            if state.created:
                with self._mapped("index", f"table {state.schema.table}") as connection:
                    indexes.build(connection, claim, state, self.member_of(state))
                    if state.aside:
                        old, new = self._member(state.schema), self.member_of(state)
                        indexes.carry_over(connection, claim, state, old, new)
        for state in states:
            if state.created and not state.aside:
                with self._mapped("add foreign keys to", f"table {state.schema.table}") as connection:
                    indexes.reference(
                        connection, claim, state, states, self._member, lenient=self.may_act_as_replica
                    )
        self._uniques.clear()

    def advance_sequences(self, schema: Schema, numbers: Mapping[str, int]) -> None:
        """Let each sequence go on after the number, in its own direction."""
        with self._mapped("advance the sequences of", f"table {schema.table}") as connection:
            for column, sequence, step in self._sequences_of(connection, schema.table):
                if column not in numbers:
                    continue
                number = sql.Literal(numbers[column])
                behind = sql.SQL("last_value < {0}" if step > 0 else "last_value > {0}")
                connection.execute(
                    sql.SQL(
                        "SELECT setval({0}::regclass, {1}) FROM {2}"
                        " WHERE {3} OR (last_value = {1} AND NOT is_called)"
                    ).format(
                        sql.Literal(sequence.as_string(connection)), number, sequence, behind.format(number)
                    )
                )

    def join(self, side: Claim, main: Claim, states: Sequence[TableState]) -> None:
        """Compare both positions under both fences, and hand the tables over (Race 4)."""
        subject = f"stream {side.stream} to {main.stream}"
        self._enter(main)
        with self._mapped("join", subject) as connection, connection.transaction():
            at = {
                claim.stream: ledger.hold(connection, claim, alone=True)
                for claim in sorted((side, main), key=lambda claim: claim.stream)
            }
            if at[side.stream] != at[main.stream]:
                why = f"one stands at {at[side.stream]}, the other at {at[main.stream]}"
                raise Corruption("join", subject, why)
            ledger.hand_over(connection, side.stream, main.stream)
            ledger.record(connection, main.stream, states)
        for state in states:  # a table that was copied anew is another one than before
            self._forget_table(self._member(state.schema))

    def swap(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Drop the old tables, give the new ones their names; states with it."""
        self._enter(claim)
        names = ", ".join(str(state.schema.table) for state in states)
        with self._mapped("swap", f"tables {names}") as connection, connection.transaction():
            ledger.hold(connection, claim, alone=True)
            swap.swap(connection, [(self._member(state.schema), state.schema) for state in states])
            ledger.record(connection, claim.stream, states)
        for state in states:
            self._forget_table(self._member(state.schema))

    def leave(self, claim: Claim, tables: Sequence[TableName]) -> None:
        """Drop what is aside, delete the tables' rows of the bookkeeping."""
        self._enter(claim)
        with self._mapped("leave", f"stream {claim.stream}") as connection, connection.transaction():
            ledger.hold(connection, claim, alone=True)
            known = ledger.read(connection, claim.stream)
            assert known is not None
            self._drop_aside(connection, [known.tables[table] for table in tables if table in known.tables])
            ledger.leave(connection, claim.stream, tables)

    def mark_removing(self, claim: Claim) -> None:
        """Record it under the fence."""
        with self._mapped("remove", f"stream {claim.stream}") as connection, connection.transaction():
            ledger.hold(connection, claim, alone=True)
            ledger.mark_removing(connection, claim.stream)

    def parked(self, stream: str) -> Sequence[Parked]:
        """The stream's parked keys."""
        with self._mapped("look for", f"parked keys of stream {stream}") as connection:
            return ledger.parked(connection, stream) if ledger.exists(connection) else []

    def ask_retry(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Mark them; the stream's owner looks for marks."""
        with self._mapped("ask for", f"parked keys of stream {stream}") as connection:
            change = "UPDATE syncline.parked SET asked = true"
            return ledger.change_parked(connection, change, stream, table, keys)

    def drop_parked(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Delete them."""
        with self._mapped("drop", f"parked keys of stream {stream}") as connection:
            return ledger.change_parked(connection, "DELETE FROM syncline.parked", stream, table, keys)

    def ask_anew(self, stream: str, tables: Sequence[TableName]) -> None:
        """Store it; the stream's owner looks there."""
        with self._mapped("ask for", f"tables of stream {stream}") as connection, connection.transaction():
            ledger.ask_anew(connection, stream, tables)

    def asked_anew(self, stream: str) -> Sequence[TableName]:
        """What is stored."""
        with self._mapped("look for", f"tables of stream {stream}") as connection:
            return ledger.asked_anew(connection, stream) if ledger.exists(connection) else []

    def forget(self, stream: str) -> None:
        """Delete the stream's rows, drop what it was building aside; with the last stream everything."""
        with self._mapped("forget", f"stream {stream}") as connection, connection.transaction():
            ledger.lock(connection)
            if not ledger.exists(connection):
                return
            ledger.make(connection)
            known = ledger.read(connection, stream)
            self._drop_aside(connection, known.tables.values() if known else ())
            ledger.forget(connection, stream)
            ledger.take_away(connection)

    def _drop_aside(self, connection: Connection, states: Iterable[TableState]) -> None:
        for state in states:
            if state.aside:
                aside = sql.Identifier(*self.member_of(state))
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(aside))

    # What `apply` asks for.

    @property
    def stages(self) -> set[str]:
        """The staging tables that the session has."""
        connection = self._session()
        if self._staging is not connection:
            self._staging, self._stages = connection, set()
        return self._stages

    @stages.setter
    def stages(self, names: set[str]) -> None:
        self._stages = names

    @cached_property
    def may_act_as_replica(self) -> bool:
        """Whether the role may switch triggers and foreign keys off for a transaction."""
        with self._mapped("connect to", self.name) as connection:
            query = "SELECT current_setting('is_superuser') = 'on'"
            if connection.info.server_version >= 150000:
                query += " OR has_parameter_privilege('session_replication_role', 'SET')"
            return connection.execute(query.encode()).fetchone() == (True,)

    def member_of(self, state: TableState) -> Member:
        """Where the rows of a table go."""
        namespace, name = self._member(state.schema)
        return namespace, ddl.aside_name(name) if state.aside else name

    def uniques(self, member: Member, key: Sequence[str]) -> Sequence[unique.Unique]:
        """The table's unique indexes beside the key."""
        if member not in self._uniques:
            self._uniques[member] = unique.find(self._session(), member, key)
        return self._uniques[member]

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """Alter a table in the session's open transaction, and forget what was known of it: staging tables
        have the old types."""
        member = self.member_of(state)
        done = alter.alter(self._session(), state, change, member, self._namespace)
        if done:
            self._uniques.pop(member, None)
            self._session().execute("DISCARD TEMP")
            self.stages = set()
        return done

    def deferred(self, member: Member, sort: str) -> Sequence[sql.Identifier]:
        """Deferrable constraints: the table's unique ones (`u`), or foreign keys that refer to it (`f`)."""
        return unique.find_deferrable(self._session(), member, sort)

    def has_new_uniques(self, member: Member, key: Sequence[str]) -> bool:
        """Look again; whether the table's unique indexes are others than were known."""
        known = self._uniques.pop(member, None)
        return self.uniques(member, key) != known

    def _enter(self, claim: Claim) -> None:
        """Name the session after the stream, so that a later worker finds it (Race 12)."""
        with self._mapped("write for", f"stream {claim.stream}"):
            self._sessions.call_itself(_application(claim.stream))

    def _forget_table(self, member: Member) -> None:
        """What was known of a table that is another one now."""
        self._sorts.pop(member, None)
        self._uniques.pop(member, None)
        if self.stages:
            self._session().execute("DISCARD TEMP")
            self.stages = set()


def _application(stream: str) -> str:
    return f"syncline {stream}"


def _exists(connection: Connection, member: Member) -> bool:
    query = """SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                              WHERE nspname = %s AND relname = %s)"""
    return connection.execute(query, member).fetchone() == (True,)


def _make_namespace(connection: Connection, name: str) -> None:
    """Make a schema, given as SQL writes it, where there is none."""
    if connection.execute("SELECT to_regnamespace(%s) IS NULL", [name]).fetchone() == (True,):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.SQL(name)))


def _make_table(connection: Connection, schema: Schema, member: Member) -> None:
    _make_namespace(connection, sql.Identifier(member[0]).as_string(connection))
    for enum in ddl.enums(schema):
        if connection.execute("SELECT to_regtype(%s) IS NULL", [enum.name]).fetchone() == (True,):
            _make_namespace(connection, ddl.namespace_of(enum.name))
            labels = sql.SQL(", ").join(map(sql.Literal, enum.labels))
            connection.execute(sql.SQL("CREATE TYPE {} AS ENUM ({})").format(sql.SQL(enum.name), labels))
    connection.execute(ddl.create_table(schema, sql.Identifier(*member)))
    for column in ddl.carried(schema):
        alter.set_default(connection, column, schema.system, member)
