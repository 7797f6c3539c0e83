"""The contract between the engine and a connector.

A connector is one object behind an entry point of the group `syncline.connectors`, named by the URL's
scheme. It opens Sources and Targets. A store object belongs to one thread at a time (`interrupt` excepted)
and owns its connections to the server; the engine opens as many as it has threads. Errors leave a
connector only as the classes of `syncline.errors`, each with one line and without a password.

Every blocking call returns within its `max_wait` or is ended by `interrupt()` (Promise 8).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from .model import (
    ARROW,
    CANONICAL,
    Batch,
    Digest,
    Identity,
    Key,
    Lag,
    Mark,
    Parked,
    Position,
    Problem,
    Rows,
    Schema,
    SchemaChange,
    Sighting,
    Span,
    SpanRecord,
    TableName,
    TableState,
    Writer,
)

Notice = Callable[[str], None]
"""Takes one sentence for the user while something takes long, such as whose transaction is waited for."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; the engine asks here and never for a connector's name.

    `formats` and `digests` are in the order of preference and end with `arrow` and `canonical-1`, which
    every store has. `writers` is how many transactions may load rows at once. `checks_references`: foreign
    keys that exist at the target are enforced on what streams write, so that parents must come first.
    `folds_case`: tables whose names differ in the case of ASCII letters only are one table.
    """

    formats: tuple[str, ...] = (ARROW,)
    digests: tuple[str, ...] = (CANONICAL,)
    writers: int = 1
    checks_references: bool = False
    folds_case: bool = False


class Store(Protocol):
    """A system that holds rows."""

    @property
    def name(self) -> str:
        """The store's address for messages, without a password."""

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""

    def identity(self) -> Identity:
        """Which store this is. The first call connects; it raises Refused for what the user got wrong
        (password, host, missing file or database), Transient for a server that is starting or away."""

    def discover(self) -> Sequence[Schema]:
        """Every table a user would expect to be synced, and by `problem` those that cannot be; without
        the tables that Syncline itself keeps."""

    def native(self, schema: Schema) -> Schema:
        """The schema for a stream between two stores of this system. Where a stored cell says more than
        its canonical value, its column becomes an opaque one, so that nothing of it is lost."""

    def split(self, schema: Schema, rows: int) -> Sequence[Span]:
        """Spans of about `rows` rows that together cover the whole table, open at both ends."""

    def read(
        self, schema: Schema, span: Span, *, format: str = ARROW, max_bytes: int = 8 << 20
    ) -> Iterator[Rows]:
        """The rows of a span in one statement's snapshot, in pieces of about `max_bytes`; in the format
        `arrow`, whatever was asked for, where they cannot be passed on unseen."""

    def read_keys(self, schema: Schema, keys: Rows) -> Rows:
        """The rows with these keys as they are now, in the format `arrow`; absent ones are left out."""

    def digest(self, schema: Schema, span: Span, scheme: str) -> Digest:
        """The digest of a span. Cells mean what `schema` says, also where it is another store's schema of
        the same table, so that equal rows in two systems have equal digests."""

    def sequences(self, schema: Schema) -> Mapping[str, int]:
        """For each identity column the last number that was given out; columns without one are left out."""

    def mends(self, statement: str) -> bool:
        """Whether `mend` runs this statement of a Problem: it changes no row, restarts nothing, and this
        role may give it. Changes nothing."""

    def mend(self, statement: str) -> None:
        """Run a statement that `mends` allows; Refused for any other."""

    def interrupt(self) -> None:
        """From any thread: ends what runs, on the server too; the call that ran raises Transient."""

    def close(self) -> None:
        """Close every connection; nothing stays open on the server. May be called twice."""


class Source(Store, Protocol):
    """A store with a change log that can be followed."""

    def attach(self, stream: str, tables: Sequence[Schema], notice: Notice) -> bool:
        """Make the log tell these tables to `stream` (publication and slot, or triggers); idempotent, and
        for tables that join later too. True when the log of the stream begins just now, False when it was
        there before and goes on. Raises Refused, before anything is changed, when the store or the rights
        do not allow it, with the statement that an administrator may run."""

    def check(
        self, stream: str, tables: Sequence[Schema], *, begun: bool, deep: bool = False
    ) -> Sequence[Problem]:
        """Everything that would keep `attach` from working for these tables now, in the words that it would
        use, and whatever else this end's state, rights and settings would do to the stream. `begun`: a
        target knows the stream. `deep`: also what takes as long as reading everything. Changes nothing."""

    def size(self, tables: Sequence[Schema]) -> int | None:
        """About how many bytes these tables take here; None where it cannot be known."""

    def writers(self, seconds: float) -> Sequence[Writer]:
        """Who has a transaction open that `floor` would wait for, and, as far as the store tells it, who
        else was active in the last `seconds`; our own sessions excepted."""

    def detach(self, stream: str) -> None:
        """Take away all that `attach` made for the stream; what is not there is no error, and what others
        made (a publication of the administrator's) stays."""

    def narrow(self, stream: str, tables: Sequence[Schema]) -> None:
        """Let the log tell the stream these of its tables only; what others made stays as it is."""

    def attached(self, stream: str) -> bool:
        """Whether the log of the stream is there."""

    def check_log(self, stream: str, after: Position) -> None:
        """Raise LogLost when the log does not hold everything after that position: log or slot lost,
        slot ahead of the position, log behind it (Promise 7)."""

    def floor(self, notice: Notice) -> Position:
        """A position up to which everything is visible to every snapshot taken later. Waits for all
        transactions now running, and tells through `notice` which one, since when and whose (Races 1, 2)."""

    def ceiling(self) -> Position:
        """A position at or after everything that anyone has read until now (Race 1)."""

    def changes(
        self,
        stream: str,
        tables: Sequence[Schema],
        after: Position,
        *,
        skip: str,
        max_bytes: int,
        max_wait: float,
        until: Position | None = None,
    ) -> Iterator[Batch]:
        """The batches after a position, endlessly, each beginning where the one before ended; a batch is
        cut between transactions, once it holds `max_bytes` or nothing more has arrived. Yields at least
        every `max_wait` seconds, an empty batch when there is nothing, so that the caller stays in charge.
        With `until` nothing after that position is yielded, and the iterator ends with a batch whose
        `upto` is not before it. Rows whose path names the store `skip` are left out (Race 16). A table
        that no longer fits its schema gives a SchemaChange; one that has a `schema` is told on in that shape.
        LogLost as in `check_log`."""

    def inspect(self, tables: Sequence[Schema]) -> Sequence[SchemaChange | Sighting]:
        """What the catalog says of these tables and the log does not (Promise 4, Race 7): a Sighting for
        each whose fingerprint is not that of its schema, a SchemaChange for one that the stream cannot go
        on with, or that was dropped: of that one `changes` tells what was written before. Nothing where
        `changes` tells it by itself. Quick, and stopped by nobody's lock."""

    def compare(self, a: Position, b: Position) -> int:
        """Below, at or above 0 as `a` is before, at or after `b`."""

    def release(self, stream: str, upto: Position) -> None:
        """The log up to that position is not needed by this stream any more. Callable while `changes` of
        the same store object is suspended at a yield. LogLost where it is found to be lost already."""

    def canary(self, stream: str, number: int) -> bool:
        """Write a message of that number into the log, for `changes` of the stream to tell of with the batch
        that reaches it. False, and nothing is written, where the log is read directly, so that there is
        nothing between that could stall."""

    def lag(self, stream: str, at: Position) -> Lag:
        """How far that position is behind, and how much log is retained for the stream."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A stream as a worker found it when it took the fence."""

    stream: str
    fence: int
    position: Position | None = None
    source: Identity | None = None
    removing: bool = False
    tables: Mapping[TableName, TableState] = field(default_factory=dict)

    def moved(self, position: Position) -> Claim:
        """The same claim once its worker has committed up to `position`."""
        return replace(self, position=position)


class Target(Store, Protocol):
    """A store that can be written to in transactions that carry the position (Promise 1).

    A table's name at the target is `place(table)`; every other method takes source schemas.
    """

    def place(self, table: TableName) -> TableName:
        """The target's name of a source's table, the same for every run."""

    def refusals(self, schema: Schema) -> Sequence[str]:
        """Why this table can never be held here exactly, a sentence a column (Promise 3); touches nothing."""

    def omissions(self, schema: Schema, planned: Collection[TableName] | None = None) -> Sequence[str]:
        """What of a table that Syncline makes is not made with it here, a sentence each: defaults, numbering,
        generated columns, indexes, foreign keys. With `planned`, the tables that the stream brings, as far
        as it can be told before the table is made; without, what the table that was made has not got."""

    def mismatch(self, schema: Schema) -> str:
        """How an existing target table differs from what `schema` needs (missing column, another type or
        key); '' when it fits or does not exist."""

    def alteration(self, schema: Schema) -> str:
        """The one statement after which an existing table that differs would have no `mismatch`; '' where
        there is none. What it makes of rows that are there is for a comparison to say."""

    def holds_rows(self, schema: Schema) -> bool:
        """Whether the table exists at the target with at least one row in it."""

    def replaceable(self, schema: Schema) -> str:
        """Why the existing table cannot be swapped for a new one (a view or a foreign key of a table
        outside the stream hangs on it); '' when it can or does not exist."""

    def check(self, stream: str, tables: Sequence[Schema], *, nbytes: int | None) -> Sequence[Problem]:
        """Everything that would keep this store from being the target of the stream's tables, besides what
        `refusals`, `mismatch` and `replaceable` tell, in the words of the method that would fail: rights,
        room for `nbytes` more, what else happens to rows written here. Changes nothing."""

    def claim(self, stream: str, holding: int | None = None) -> Claim:
        """Take the stream: fence + 1 first, then everything else is read (Race 12). Makes the bookkeeping
        where there is none. Ends whatever an earlier worker still holds open. With `holding`, the fence
        that this worker had: Superseded when the stream's fence is another by now."""

    def peek(self, stream: str) -> Claim | None:
        """The stream as it is, without taking it or making anything; None when it is unknown here."""

    def streams(self) -> Sequence[str]:
        """The names of all streams that this target keeps something of."""

    def spans(self, claim: Claim, table: TableName) -> Sequence[SpanRecord]:
        """The ledger of one table, in order; its place is the span's number."""

    def prepare(self, schema: Schema, *, aside: bool) -> bool:
        """Make the table with key, NOT NULL and defaults where it does not exist; True when it was made.
        With `aside` it is made beside the existing one, empty, under a name that only the target knows."""

    def begin(self, claim: Claim, mark: Mark) -> Apply:
        """The transaction that may move the position. Superseded when the fence is another's,
        Corruption when the position at the target is not `claim.position` (Promise 2)."""

    def begin_copy(self, claim: Claim, mark: Mark) -> Apply:
        """A transaction that loads rows and leaves the position alone; several may run at once, none beside
        `begin` of the same stream, all under the fence (Race 5). Superseded as in `begin`."""

    def finish(self, claim: Claim, states: Sequence[TableState]) -> None:
        """Build what was put off for the tables that Syncline made here: unique and other indexes, and the
        foreign keys whose parents are here as well. What exists is left alone; restartable."""

    def advance_sequences(self, schema: Schema, numbers: Mapping[str, int]) -> None:
        """Let the identity columns go on after these numbers; never backwards."""

    def join(self, side: Claim, main: Claim, states: Sequence[TableState]) -> None:
        """One transaction: the side stream's tables become the main stream's, in these states, and the
        side stream is gone. Corruption unless both positions are the same, Superseded as in `begin`."""

    def swap(self, claim: Claim, states: Sequence[TableState]) -> None:
        """One transaction: each of these tables, all built aside, takes the place of the old one, with its
        privileges, and the given states (in which `aside` is False again) are recorded."""

    def leave(self, claim: Claim, tables: Sequence[TableName]) -> None:
        """One transaction under the fence: these tables are the stream's no longer. Nothing is kept of them
        but their rows; what was half-built aside goes."""

    def mark_removing(self, claim: Claim) -> None:
        """Record that the stream is being taken away: the next run finishes a removal that was killed."""

    def parked(self, stream: str) -> Sequence[Parked]:
        """The parked keys of a stream, by table and age; none when the stream is unknown."""

    def ask_retry(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Ask the stream's owner to try parked keys again: those of a table, or all; how many there are."""

    def drop_parked(self, stream: str, table: TableName | None, keys: Sequence[Key] | None) -> int:
        """Give parked keys up: they stay as they are at the target until they change; how many there were."""

    def ask_anew(self, stream: str, tables: Sequence[TableName]) -> None:
        """Ask the owner of a stream that is known here, of now or later, to copy these tables anew, whether
        the stream has them yet or not. Kept until `Apply.answer`, so that it cannot be lost."""

    def asked_anew(self, stream: str) -> Sequence[TableName]:
        """What was asked for by `ask_anew` and is not answered yet."""

    def forget(self, stream: str) -> None:
        """Take away all bookkeeping of the stream, half-built tables beside others included; the rest of
        the bookkeeping goes too when this was the last stream."""


class Apply(Protocol):
    """An open transaction of a target. Leaving the `with` without `commit` rolls everything back.

    The mark is written first, so that the target's own log reader knows the transaction from its start.
    Rows that the table cannot take, or does not let go, raise Unfit. An `upsert` or a `delete` that did
    leaves the transaction as it was before the call; after a `load` that did it can only be rolled back.
    """

    def load(self, state: TableState, rows: Rows) -> None:
        """Add rows whose keys cannot be at the target; in any of the formats of `capabilities`."""

    def upsert(self, state: TableState, rows: Rows) -> Rows:
        """Write rows by key, at most one a key. An unsent cell leaves the target's as it is. Returns the
        keys of rows with unsent cells that are not at the target: for these nothing was written."""

    def delete(self, state: TableState, keys: Rows) -> None:
        """Delete by key; `keys` has the key's columns in the key's order; absent ones, and those
        that no row of this target can have, are no error."""

    def vacate(self, state: TableState, keys: Rows) -> None:
        """These rows are deleted later in this transaction, as others refer to them until then: where
        `checks_references`, let other rows have their unique values meanwhile, as far as that can be."""

    def truncate(self, states: Sequence[TableState]) -> None:
        """Delete all rows of these tables; never with a statement that commits by itself (Race 14)."""

    def alter(self, state: TableState, change: SchemaChange) -> bool:
        """Bring a live table to `change.schema` in this transaction: columns are renamed, widened, dropped,
        and added with the cells of `change.fill` in every row. False, with the transaction as it was, where
        this table cannot be, or this store does not alter tables within a transaction (Race 14)."""

    def record(self, states: Sequence[TableState]) -> None:
        """Store the states of these tables."""

    def park(self, parked: Sequence[Parked]) -> None:
        """Store parked keys; one that is parked already keeps its `since` and gets the new reason."""

    def unpark(self, table: TableName, keys: Sequence[Key]) -> None:
        """Take parked keys from the list."""

    def answer(self, tables: Sequence[TableName]) -> None:
        """Take tables from the list of those that somebody wants copied anew."""

    def plan_spans(self, state: TableState, spans: Sequence[Span]) -> None:
        """Put a table's spans into the ledger, in place of any that are there."""

    def record_span(self, state: TableState, number: int, rows: int) -> None:
        """Record that the span of that number is copied."""

    def start(self, source: Identity, position: Position) -> None:
        """Store the stream's source and first position."""

    def linger(self) -> None:
        """Called about twice a second while the rest of a transaction is waited for, so that no server takes
        the session for a forgotten one."""

    def commit(self, upto: Position | None = None) -> None:
        """Commit; with `upto` the position moves there in the same transaction (Promise 1)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Connector(Protocol):
    """What an entry point of `syncline.connectors` gives: opens stores by URL, connecting lazily.

    Both raise Refused for a URL that makes no sense, and for a role that the system cannot play."""

    def source(self, url: str) -> Source: ...

    def target(self, url: str) -> Target: ...
