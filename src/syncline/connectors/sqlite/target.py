"""A file as Target."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...connector import Claim
from ...errors import Corruption, Superseded
from ...model import Identity, Key, Mark, Parked, Problem, Schema, SpanRecord, TableName, TableState
from . import ledger, problems
from .apply import SqliteApply
from .catalog import PREFIX, describe, rowid_alias
from .connection import Connection, quote
from .declared import SYSTEM
from .meta import STREAMS, drop_meta, restore_journal, write_meta
from .store import SqliteStore, place
from .tables import added_column, aside_name, create_indexes, create_table, mismatch, omissions, refusals


class SqliteTarget(SqliteStore):
    """A file that is written to. It is made, where it is missing, by the first call that must write."""

    def identity(self) -> Identity:
        """As of a Store; a file that does not exist yet has no incarnation."""
        if self._exists():
            return super().identity()
        Connection.refuse_without_folder(self._path, self.name)
        return Identity(SYSTEM, os.path.realpath(self._path), "main")

    def discover(self) -> Sequence[Schema]:
        """As of a Store; nothing in a file that does not exist yet."""
        return super().discover() if self._exists() else []

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """As of a Store; nothing in a file that does not exist yet."""
        return super().sequences(schema) if self._exists() else {}

    def place(self, table: TableName) -> TableName:
        """`orders` as it is, `sales.orders` as `sales_orders`."""
        return place(table)

    def refusals(self, schema: Schema) -> Sequence[str]:
        """A sentence for each column whose type SQLite has no exact form for."""
        return refusals(schema)

    def omissions(self, schema: Schema, planned: Collection[TableName] | None = None) -> Sequence[str]:
        """What cannot be said in SQLite's SQL, before as after: the rest is made or an error."""
        return list(omissions(schema))

    def mismatch(self, schema: Schema) -> str:
        """How the existing table differs; '' when its columns keep every value of the schema's types."""
        name = place(schema.table).name
        if not self._exists():
            return ""
        sql = "SELECT type FROM sqlite_schema WHERE type <> 'trigger' AND name = ? COLLATE NOCASE"
        kind = self._db.value(sql, (name,))
        if kind is None:
            return ""
        if kind != "table":
            return f"it is {'an index' if kind == 'index' else 'a view'}"
        return mismatch(schema, describe(self._db, name, count=False))

    def alteration(self, schema: Schema) -> str:
        """One column can be added to a table without rows; nothing else can be altered here."""
        name = place(schema.table).name
        found = describe(self._db, name, count=False)
        there = {column.name.lower() for column in found.columns}
        missing = [column for column in schema.stored if column.name.lower() not in there]
        added = replace(found, columns=(*found.columns, *missing))
        if len(missing) != 1 or self.holds_rows(schema) or mismatch(schema, added):
            return ""
        return f"ALTER TABLE {quote(name)} ADD COLUMN {added_column(schema, missing[0])}"

    def holds_rows(self, schema: Schema) -> bool:
        """Whether the table exists with at least one row."""
        name = place(schema.table).name
        if not self._exists() or not self._db.has(name):
            return False
        return self._db.value(f"SELECT 1 FROM {quote(name)} LIMIT 1") is not None

    def replaceable(self, schema: Schema) -> str:
        """A view of the name cannot be swapped for a table. Whatever refers to a table does so by name
        here, and goes on with the new one."""
        if not self._exists():
            return ""
        sql = "SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ? COLLATE NOCASE"
        name = place(schema.table).name
        return f"{name} is a view" if self._db.value(sql, (name,)) else ""

    def check(self, stream: str, tables: Sequence[Schema], *, nbytes: int | None) -> Sequence[Problem]:
        """Rights, place and room of the file, who holds its lock, and triggers of the tables there."""
        found = list(problems.of_place(self._path, self.name))
        fault = problems.read_only_fault(self._path, self.name, "write to")
        if fault:
            return [*found, Problem.of(fault)]
        found += problems.of_room(self._path, self.name, nbytes or 0)
        if self._exists():
            found += problems.of_locks(self._db, self.name)
            for schema in tables:
                found += problems.of_triggers(self._db, schema.table, place(schema.table).name)
        return found

    def claim(self, stream: str, holding: int | None = None) -> Claim:
        """Fence + 1 first, then everything else is read, in one transaction (Race 12). The write lock of
        a hung worker ends with its process: until then the claim is Transient."""
        self._make()
        journal = str(self._db.value("PRAGMA journal_mode"))
        if journal != "wal":
            self._db.attempt("PRAGMA journal_mode=WAL")  # for readers beside the writes; works without
        with self._db.write():
            write_meta(self._db, journal)
            ledger.create_ledger(self._db)
            fence = ledger.take_fence(self._db, stream)
            if holding is not None and fence != holding + 1:
                reason = f"fence {fence - 1} was taken after {holding}"
                raise Superseded("claim", stream, reason, "leave it to the other worker")
            claim = ledger.read_claim(self._db, stream)
        if claim is None:
            raise Corruption("claim", stream, "its row is gone within the transaction that wrote it")
        return claim

    def peek(self, stream: str) -> Claim | None:
        """The stream as it is; makes nothing."""
        return ledger.read_claim(self._db, stream) if self._exists() else None

    def streams(self) -> Sequence[str]:
        """Every stream of this file's bookkeeping."""
        known = self._exists() and self._db.has(STREAMS)
        return ledger.read_streams(self._db) if known else []

    def spans(self, claim: Claim, table: TableName) -> Sequence[SpanRecord]:
        """The ledger of one table."""
        return ledger.read_spans(self._db, claim.stream, table)

    def prepare(self, schema: Schema, *, aside: bool) -> bool:
        """Make the table where it does not exist, references included: SQLite takes them nowhere else."""
        self._make()
        name = aside_name(schema.table) if aside else place(schema.table).name
        with self._db.write():
            if aside:  # what a killed run left there belongs to no ledger
                self._db.execute(f"DROP TABLE IF EXISTS {quote(name)}")
            if self._db.has(name):
                return False
            self._db.execute(create_table(schema, name))
        return True

    def begin(self, claim: Claim, mark: Mark) -> SqliteApply:
        """The transaction that may move the position."""
        return SqliteApply(self._db, claim, mark, copying=False)

    def begin_copy(self, claim: Claim, mark: Mark) -> SqliteApply:
        """A transaction that loads rows; the file's lock lets one at a time be open."""
        return SqliteApply(self._db, claim, mark, copying=True)

    def finish(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Build the indexes, each in a transaction of its own under the fence. References were declared
        when the table was made."""
        ledger.check_fence(self._db, claim)
        for state in states:
            if not state.created:
                continue
            name = aside_name(state.schema.table) if state.aside else place(state.schema.table).name
            for statement in create_indexes(self._db, state.schema, name):
                with self._db.write():
                    ledger.check_fence(self._db, claim)
                    self._db.execute(statement)

    def advance_sequences(self, schema: Schema, numbers: Mapping[str, int]) -> None:
        """Only AUTOINCREMENT remembers numbers; any other rowid alias goes on from the largest there is."""
        name = place(schema.table).name
        column = rowid_alias(self._db, name)
        if column not in numbers or not self._db.has("sqlite_sequence"):
            return
        sql = self._db.value("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,))
        if "AUTOINCREMENT" not in str(sql).upper():
            return
        with self._db.write():
            known = self._db.value("SELECT count(*) FROM sqlite_sequence WHERE name = ?", (name,))
            if not known:
                self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", (name,))
            move = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
            self._db.execute(move, (numbers[str(column)], name))

    def join(self, side: Claim, main: Claim, states: Sequence[TableState]) -> None:
        """The side stream's tables become the main stream's; the side stream is gone."""
        with self._db.write():
            for claim in (side, main):
                ledger.check_position(self._db, claim)
            if side.position != main.position:
                reason = f"it stands at {side.position}, the main stream at {main.position}"
                raise Corruption("join", side.stream, reason, "run again")
            ledger.hand_over(self._db, side.stream, main.stream)
            ledger.forget_stream(self._db, side.stream)
            ledger.write_states(self._db, main.stream, states)

    def swap(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Drop the old tables and rename the new ones in one transaction. Applications' triggers are made
        again on the new table; those of a log are not, so that its reader sees that the table is another
        one (Promise 4). Restartable: a table without a new one beside it is left alone."""
        renaming = bool(self._db.value("PRAGMA legacy_alter_table"))
        # Else the rename would be followed into views, triggers and references that mean the old name.
        self._db.execute("PRAGMA legacy_alter_table=ON")
        try:
            with self._db.write():
                ledger.check_fence(self._db, claim)
                for state in states:
                    self._take_place(state.schema)
                live = [replace(state, aside=False) for state in states]
                ledger.write_states(self._db, claim.stream, live)
        finally:
            self._db.execute(f"PRAGMA legacy_alter_table={int(renaming)}")

    def leave(self, claim: Claim, tables: Sequence[TableName]) -> None:
        """Drop what is aside, delete the tables' rows of the bookkeeping."""
        with self._db.write():
            ledger.check_fence(self._db, claim)
            for state in ledger.read_states(self._db, claim.stream):
                if state.aside and state.schema.table in tables:
                    self._db.execute(f"DROP TABLE IF EXISTS {quote(aside_name(state.schema.table))}")
            ledger.leave(self._db, claim.stream, tables)

    def mark_removing(self, claim: Claim) -> None:
        """Record that the stream is being taken away."""
        with self._db.write():
            ledger.check_fence(self._db, claim)
            sql = f"UPDATE {STREAMS} SET removing = 1 WHERE stream = ?"
            self._db.execute(sql, (claim.stream,))

    def parked(self, stream: str) -> Sequence[Parked]:
        """The stream's parked keys."""
        known = self._exists() and self._db.has(STREAMS)
        return ledger.read_parked(self._db, stream) if known else []

    def ask_retry(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Mark them; the stream's owner looks for marks."""
        return self._change_parked(f"UPDATE {ledger.PARKED} SET asked = 1", stream, table, keys)

    def drop_parked(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Delete them."""
        return self._change_parked(f"DELETE FROM {ledger.PARKED}", stream, table, keys)

    def _change_parked(
        self, change: str, stream: str, table: TableName | None, keys: Sequence[Key] | None
    ) -> int:
        if not self._exists() or not self._db.has(STREAMS):
            return 0
        with self._db.write():
            return ledger.change_parked(self._db, change, stream, table, keys)

    def ask_anew(self, stream: str, tables: Sequence[TableName]) -> None:
        """Store it; the stream's owner looks there."""
        with self._db.write():
            ledger.ask_anew(self._db, stream, tables)

    def asked_anew(self, stream: str) -> Sequence[TableName]:
        """What is stored."""
        known = self._exists() and self._db.has(STREAMS)
        return ledger.asked_anew(self._db, stream) if known else []

    def forget(self, stream: str) -> None:
        """All bookkeeping of the stream and its half-built tables; with the last stream all of it."""
        if not self._exists() or not self._db.has(STREAMS):
            return
        with self._db.write():
            for state in ledger.read_states(self._db, stream):
                if state.aside:
                    self._db.execute(f"DROP TABLE IF EXISTS {quote(aside_name(state.schema.table))}")
            ledger.forget_stream(self._db, stream)
            unused = ledger.drop_ledger_if_unused(self._db)
            journal = drop_meta(self._db) if unused else ""
        restore_journal(self._db, journal)

    def _exists(self) -> bool:
        return self._opened is not None or os.path.exists(self._path)

    def _make(self) -> None:
        """Open the file, making it where there is none. Refused where nothing can be written."""
        if fault := problems.read_only_fault(self._path, self.name, "write to"):
            raise fault
        if self._opened is None:
            self._opened = Connection(self._path, self.name, create=True)

    def _take_place(self, schema: Schema) -> None:
        name, new = place(schema.table).name, aside_name(schema.table)
        if not self._db.has(new):
            return
        triggers = self._db.rows(
            "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
            " AND substr(name, 1, ?) <> ?",
            (name, len(PREFIX), PREFIX),
        )
        self._db.execute(f"DROP TABLE IF EXISTS {quote(name)}")
        self._db.execute(f"ALTER TABLE {quote(new)} RENAME TO {quote(name)}")
        for (sql,) in triggers:
            self._db.execute(sql)
