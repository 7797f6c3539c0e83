"""A database as Target: claims, and what surrounds the transactions of `apply`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import pymysql

from ...connector import Claim
from ...errors import Corruption, NeedsOperator, Refused, Transient
from ...model import Key, Mark, Parked, Problem, Schema, SpanRecord, TableName, TableState
from . import catalog, ddl, fit, ledger, problems, swap
from .apply import MysqlApply
from .session import LOCK_SECONDS, Session, number_of
from .store import MysqlStore, next_number, place
from .text import literal, quote
from .writing import Table

GRACE_SECONDS = 1
"""How long an earlier worker may take to end its transaction by itself."""

CLAIM_TRIES = 5
SESSIONS = 16
"""How many sessions of a stream are known to its next worker."""

_LOCKED = 1205


class MysqlTarget(MysqlStore):
    """A database that streams write to. Each session that does holds a lock of its stream's name, by which
    the next worker finds it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._entered: tuple[int, str] | None = None

    def place(self, table: TableName) -> TableName:
        """`orders` as it is, `sales.orders` as `sales_orders`."""
        return place(table)

    def refusals(self, schema: Schema) -> Sequence[str]:
        """Names that are too long, and types that are not here."""
        with self._mapped("look at", self.name) as session:
            return fit.refusals(schema, session.server)

    def omissions(self, schema: Schema, planned: Collection[TableName] | None = None) -> Sequence[str]:
        """What cannot be said in the server's SQL, and foreign keys whose parents are not here."""
        with self._mapped("look at", f"table {schema.table}") as session:
            there = {foreign.parent for foreign in schema.foreign_keys}
            there = {table for table in there if catalog.describe(session, place(table).name)}
            return list(ddl.omissions(schema, there | set(planned or ())))

    def mismatch(self, schema: Schema) -> str:
        """How the existing table differs, all of it."""
        with self._mapped("look at", f"table {schema.table}") as session:
            there = catalog.describe(session, place(schema.table).name)
            return fit.mismatch(schema, there) if there else ""

    def alteration(self, schema: Schema) -> str:
        """None is known: what differs is for the operator to change."""
        return ""

    def holds_rows(self, schema: Schema) -> bool:
        """Whether the table exists with at least one row."""
        with self._mapped("look at", f"table {schema.table}") as session:
            if catalog.describe(session, place(schema.table).name) is None:
                return False
            return session.value(f"SELECT 1 FROM {self._table(schema)} LIMIT 1") is not None

    def replaceable(self, schema: Schema) -> str:
        """A view, and a table with triggers, cannot be swapped."""
        with self._mapped("look at", f"table {schema.table}") as session:
            return swap.obstacle(session, schema)

    def check(self, stream: str, tables: Sequence[Schema], *, nbytes: int | None) -> Sequence[Problem]:
        """Rights, TLS, LOAD DATA, and what else happens to rows of the tables that are there. Of free room
        the server tells nothing."""
        with self._mapped("check", self.name) as session:
            return list(problems.of_target(session, self._address, tables))

    def claim(self, stream: str, holding: int | None = None) -> Claim:
        """Take the stream; the sessions of an earlier worker that still hold its row are ended (Race 12).
        What a killed swap left is finished."""
        with self._mapped("claim", f"stream {stream}") as session:
            ledger.create(session)
            for _ in range(CLAIM_TRIES):
                try:
                    with self._patient(session), _transaction(session):
                        ledger.raise_fence(session, stream, holding)
                        found = ledger.read(session, stream)
                    break
                except pymysql.err.OperationalError as error:
                    if number_of(error) != _LOCKED:
                        raise
                    self._evict(session, stream)
            else:
                raise Transient("claim", f"stream {stream}", "its row stays locked")
            if found and any(state.aside for state in found.tables.values()):
                swap.resume(session, stream)
                found = ledger.read(session, stream)
        if found is None:
            raise Corruption("claim", stream, "its row is gone within the transaction that wrote it")
        self._described.clear()
        return found

    @contextlib.contextmanager
    def _patient(self, session: Session) -> Iterator[None]:
        session.run(f"SET innodb_lock_wait_timeout = {GRACE_SECONDS}")
        try:
            yield
        finally:
            session.run(f"SET innodb_lock_wait_timeout = {LOCK_SECONDS}")

    def _evict(self, session: Session, stream: str) -> None:
        """End the sessions of the stream's earlier worker: those that hold a lock of its name."""
        locks = ", ".join(f"IS_USED_LOCK({literal(name)})" for name in self._locks(stream))
        for holder in session.rows(f"SELECT {locks}")[0]:
            if holder is None or int(holder) == session.id:
                continue
            try:
                session.run(f"KILL {holder}")
            except pymysql.err.Error as error:
                if number_of(error) == 1094:
                    continue  # it is gone
                raise NeedsOperator(
                    "claim",
                    f"stream {stream}",
                    f"session {holder} holds it, and this user may not end it",
                    f"run KILL {holder} as an administrator",
                ) from None

    def _locks(self, stream: str) -> list[str]:
        """Names of locks, which are the whole server's and of 64 characters."""
        digest = hashlib.blake2b(f"{self._address.database}\0{stream}".encode(), digest_size=12).hexdigest()
        return [f"syncline {digest} {number}" for number in range(SESSIONS)]

    def _enter(self, session: Session, claim: Claim) -> None:
        """Let the session be found by the stream's next worker."""
        if self._entered == (session.id, claim.stream):
            return
        if self._entered is not None and self._entered[0] == session.id:
            session.run("DO RELEASE_ALL_LOCKS()")
        for name in self._locks(claim.stream):
            if session.value(f"SELECT GET_LOCK({literal(name)}, 0)") == "1":
                break
        self._entered = session.id, claim.stream

    def peek(self, stream: str) -> Claim | None:
        """The stream as it is, in one snapshot."""
        with self._mapped("look for", f"stream {stream}") as session:
            if not ledger.exists(session):
                return None
            session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with _transaction(session):
                return ledger.read(session, stream)

    def streams(self) -> Sequence[str]:
        """Every stream of this database's bookkeeping."""
        with self._mapped("look for", "streams") as session:
            return ledger.streams(session) if ledger.exists(session) else []

    def spans(self, claim: Claim, table: TableName) -> Sequence[SpanRecord]:
        """The ledger of one table."""
        with self._mapped("read", f"spans of table {table}") as session:
            return ledger.spans(session, claim.stream, table)

    def prepare(self, schema: Schema, *, aside: bool) -> bool:
        """Make the table where it does not exist."""
        name = ddl.aside_name(schema.table) if aside else place(schema.table).name
        with self._mapped("make", f"table {schema.table}") as session:
            self._described.pop(name, None)
            if aside:  # what a killed run left there belongs to no ledger
                session.run(f"DROP TABLE IF EXISTS {quote(name)}")
            elif catalog.describe(session, name):
                return False
            query = "SELECT collation_name FROM information_schema.collations"
            collations = {row[0] for row in session.rows(query)}
            session.run(ddl.create_table(schema, name, session.server, collations))
        return True

    def begin(self, claim: Claim, mark: Mark) -> MysqlApply:
        """The transaction that may move the position; it holds the stream's row alone (Promise 2)."""
        return MysqlApply(self, claim, mark, moves=True)

    def begin_copy(self, claim: Claim, mark: Mark) -> MysqlApply:
        """A transaction that shares the stream's row with others of its kind (Race 5)."""
        return MysqlApply(self, claim, mark, moves=False)

    def finish(self, claim: Claim, states: Sequence[TableState]) -> None:
        """The indexes of a table in one statement, then the foreign keys; all commit by themselves, and so
        stand behind a look at the fence."""
        for state in states:
            if state.created:
                with self._mapped("index", f"table {state.schema.table}") as session:
                    self._check_fence(session, claim)
                    self._index(session, state)
        for state in states:
            if state.created and not state.aside:
                with self._mapped("add foreign keys to", f"table {state.schema.table}") as session:
                    self._check_fence(session, claim)
                    self._reference(session, state)
        self._described.clear()

    def _check_fence(self, session: Session, claim: Claim) -> None:
        with _transaction(session):
            ledger.hold(session, claim, alone=False)

    def _index(self, session: Session, state: TableState) -> None:
        described = catalog.describe(session, self._name_of(state))
        if described is None:
            return
        present = {(index.columns, index.unique) for index in described.schema.indexes}
        wanted = [
            index
            for index in state.schema.indexes
            if (index.columns, index.unique) not in present | {(described.schema.key, True)}
        ]
        clauses = [ddl.create_index(index, state.schema, described) for index in wanted]
        if clauses := list(filter(None, clauses)):
            session.run(f"ALTER TABLE {quote(self._name_of(state))} {', '.join(clauses)}")

    def _reference(self, session: Session, state: TableState) -> None:
        described = catalog.describe(session, self._name_of(state))
        if described is None:
            return
        present = {(foreign.columns, foreign.parent) for foreign in described.schema.foreign_keys}
        names = "SELECT constraint_name FROM information_schema.referential_constraints"
        for foreign in state.schema.foreign_keys:
            parent = place(foreign.parent)
            if (foreign.columns, parent) in present or not catalog.describe(session, parent.name):
                continue
            taken = {row[0] for row in session.rows(f"{names} WHERE constraint_schema = database()")}
            clause = ddl.add_foreign_key(state.schema, foreign, taken)
            session.run(f"ALTER TABLE {quote(self._name_of(state))} {clause}")

    def advance_sequences(self, schema: Schema, numbers: Mapping[str, int]) -> None:
        """Let AUTO_INCREMENT go on after the number, never backwards."""
        name = place(schema.table).name
        with self._mapped("advance the numbers of", f"table {schema.table}") as session:
            described = catalog.describe(session, name)
            if described is None or described.numbered not in numbers:
                return
            number = numbers[described.numbered] + 1
            if number > next_number(session, name):
                session.run(f"ALTER TABLE {quote(name)} AUTO_INCREMENT = {number}")

    def join(self, side: Claim, main: Claim, states: Sequence[TableState]) -> None:
        """Compare both positions under both fences, and hand the tables over (Race 4)."""
        subject = f"stream {side.stream} to {main.stream}"
        with self._mapped("join", subject) as session:
            self._enter(session, main)
            with _transaction(session):
                at = {
                    claim.stream: ledger.hold(session, claim, alone=True)
                    for claim in sorted((side, main), key=lambda claim: claim.stream)
                }
                if at[side.stream] != at[main.stream]:
                    why = f"one stands at {at[side.stream]}, the other at {at[main.stream]}"
                    raise Corruption("join", subject, why)
                ledger.hand_over(session, side.stream, main.stream)
                ledger.record(session, main.stream, states)
        self._described.clear()

    def swap(self, claim: Claim, states: Sequence[TableState]) -> None:
        """The ledger says what is swapped; then it is, and the ledger says so: `claim` finishes what was
        killed between."""
        names = ", ".join(str(state.schema.table) for state in states)
        with self._mapped("swap", f"tables {names}") as session:
            with _transaction(session):
                ledger.hold(session, claim, alone=True)
                ledger.mark_swapping(session, claim.stream, [state.schema.table for state in states])
            swap.swap(session, claim.stream, states)
        self._described.clear()

    def leave(self, claim: Claim, tables: Sequence[TableName]) -> None:
        """Delete the tables' rows of the bookkeeping, then drop what is aside."""
        with self._mapped("leave", f"stream {claim.stream}") as session:
            with _transaction(session):
                ledger.hold(session, claim, alone=True)
                states = ledger.states(session, claim.stream)
                ledger.leave(session, claim.stream, tables)
            self._drop_aside(session, [state for state in states if state.schema.table in tables])

    def mark_removing(self, claim: Claim) -> None:
        """Record that the stream is being taken away."""
        with self._mapped("remove", f"stream {claim.stream}") as session, _transaction(session):
            ledger.hold(session, claim, alone=True)
            ledger.mark_removing(session, claim.stream)

    def parked(self, stream: str) -> Sequence[Parked]:
        """The stream's parked keys."""
        with self._mapped("look for", f"parked keys of stream {stream}") as session:
            return ledger.parked(session, stream) if ledger.exists(session) else []

    def ask_retry(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Mark them; the stream's owner looks for marks."""
        return self._change_parked(f"UPDATE {ledger.PARKED} SET asked = 1", stream, table, keys)

    def drop_parked(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Delete them."""
        return self._change_parked(f"DELETE FROM {ledger.PARKED}", stream, table, keys)

    def _change_parked(
        self, change: str, stream: str, table: TableName | None, keys: Sequence[Key] | None
    ) -> int:
        with self._mapped("change", f"parked keys of stream {stream}") as session:
            if not ledger.exists(session):
                return 0
            with _transaction(session):
                return ledger.change_parked(session, change, stream, table, keys)

    def ask_anew(self, stream: str, tables: Sequence[TableName]) -> None:
        """Store it; the stream's owner looks there."""
        with self._mapped("ask for", "tables to be copied anew") as session:
            ledger.create(session)
            with _transaction(session):
                ledger.ask_anew(session, stream, tables)

    def asked_anew(self, stream: str) -> Sequence[TableName]:
        """What is stored."""
        with self._mapped("look for", "tables to be copied anew") as session:
            return ledger.asked_anew(session, stream) if ledger.exists(session) else []

    def forget(self, stream: str) -> None:
        """All bookkeeping of the stream and its half-built tables; with the last stream all of it."""
        with self._mapped("forget", f"stream {stream}") as session:
            if not ledger.exists(session):
                return
            self._drop_aside(session, ledger.states(session, stream))
            with _transaction(session):
                ledger.forget(session, stream)
            ledger.drop_if_unused(session)

    def _drop_aside(self, session: Session, states: Sequence[TableState]) -> None:
        for state in states:
            if state.aside:
                session.run(f"DROP TABLE IF EXISTS {quote(ddl.aside_name(state.schema.table))}")

    def _name_of(self, state: TableState) -> str:
        return ddl.aside_name(state.schema.table) if state.aside else place(state.schema.table).name

    def _table_of(self, session: Session, state: TableState) -> Table:
        """Where a state's rows go; Refused for a table that knows no transactions."""
        name = self._name_of(state)
        described = self._describe(session, name)
        if described.engine.upper() != "INNODB":
            why = f"its engine is {described.engine}, which has no transactions"
            raise Refused("write to", f"table {name}", why, f"run ALTER TABLE {name} ENGINE=InnoDB")
        return Table(name, state.schema, described)


@contextlib.contextmanager
def _transaction(session: Session) -> Iterator[None]:
    """A transaction around a block: committed at its end, rolled back by any exception."""
    session.run("START TRANSACTION")
    try:
        yield
        session.run("COMMIT")
    except BaseException:
        with contextlib.suppress(pymysql.err.Error, OSError):
            session.run("ROLLBACK")
        raise
