"""PostgreSQL as a Source: logical decoding by pgoutput through a walsender.

A Position is a log sequence number as text. One LogStream runs inside each `changes`; everything else goes
through the store's session.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import psycopg

from ... import failpoints
from ...connector import Notice
from ...errors import Refused, Transient
from ...model import Batch, Lag, Position, Problem, Schema, SchemaChange, Sighting, Writer
from . import evolve, fingerprint, problems, slot, transactions
from .catalog import Member
from .connection import Connection, rehearsed, translated
from .cutter import CANARY_PREFIX, Cutter
from .evolve import Told
from .lsn import format_lsn, parse_lsn
from .pgoutput import Relation
from .replication import LogStream, ServerError
from .store import PostgresStore

# How often the walsender is asked for its position while a given one is waited for, and how long a slot
# that is held is waited for before its holder is ended: one that has just closed needs a moment.
ASK_SECONDS: Final = 0.05
GRACE_SECONDS: Final = 0.5
PUBLISHED_CHECK_SECONDS: Final = 10.0

FLUSH_PREFIX: Final = "syncline.flush"


class PostgresSource(PostgresStore):
    """A PostgreSQL database whose log can be followed."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._stopped = threading.Event()
        self._log: LogStream | None = None
        self._log_lock = threading.Lock()
        self._following = ""

    def attach(self, stream: str, tables: Sequence[Schema], notice: Notice) -> bool:
        """Publication first, then the slot (Race 2); either may have been made by an administrator."""
        self._stopped.clear()
        with self._mapped("attach", f"stream {stream}") as session:
            found = slot.find_slot(session, stream)
            if found is not None and found.being_made:
                # Its maker died: the server takes the slot away with that session.
                slot.free_slot(session, stream, self._stopped)
                found = slot.find_slot(session, stream)
            slot.check_server(session, stream, new=found is None)
            for fault in slot.stream_faults(session, stream, found):
                raise fault
            slot.publish(session, stream, [self._member(table) for table in tables])
            failpoints.hit("attach.publication")
            if found is not None:
                return False
            return slot.create_slot(session, self._connect, stream, self._stopped, notice)

    def check(
        self, stream: str, tables: Sequence[Schema], *, begun: bool, deep: bool = False
    ) -> Sequence[Problem]:
        """Server, role, slot and publication as `attach` finds them; who would be waited for; what slots
        keep; rights to sequences; what no stream carries; TLS."""
        found = list(problems.of_link(self._address))
        with self._mapped("check", self.name) as session:
            found += problems.of_log(session, stream, [self._member(table) for table in tables])
            found += problems.of_keeping(session, stream, begun=begun)
            found += problems.of_contents(session)
        for schema in tables:
            try:
                self.sequences(schema)
            except Refused as error:
                found.append(Problem.of(error, schema.table))
        return found

    def size(self, tables: Sequence[Schema]) -> int | None:
        """What the server says, without indexes; a table that somebody has locked is not waited for."""
        query = """SELECT sum(pg_table_size(tree.relid))::bigint FROM pg_class c
                   JOIN pg_namespace n ON n.oid = relnamespace
                   CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(c.oid)
                                       UNION SELECT c.oid) AS tree
                   WHERE (nspname, relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"""
        members = [self._member(table) for table in tables]
        parts = [space for space, _ in members], [name for _, name in members]
        with self._mapped("measure", self.name) as session:
            try:
                with rehearsed(session):
                    row = session.execute(query, parts).fetchone()
            except psycopg.errors.LockNotAvailable:
                return None
        return row[0] if row is not None else None

    def writers(self, seconds: float) -> Sequence[Writer]:
        """By pg_stat_activity and the running transactions."""
        with self._mapped("look at", self.name) as session:
            return [Writer(*writer) for writer in transactions.writers(session, seconds)]

    def detach(self, stream: str) -> None:
        """End whoever reads the log of the stream; drop slot and publication."""
        self._stopped.clear()
        with self._mapped("detach", f"stream {stream}") as session:
            slot.drop(session, stream, self._stopped)

    def narrow(self, stream: str, tables: Sequence[Schema]) -> None:
        """Take other tables out of the publication, unless an administrator made it."""
        with self._mapped("narrow", f"publication {stream}") as session:
            slot.narrow(session, stream, [self._member(table) for table in tables])

    def attached(self, stream: str) -> bool:
        """Whether the slot is there."""
        with self._mapped("look for", f"replication slot {stream}") as session:
            found = slot.find_slot(session, stream)
        return found is not None and found.here and not found.being_made

    def check_log(self, stream: str, after: Position) -> None:
        """NeedsOperator for a Gap: slot lost, invalidated or ahead, log behind (Promise 7)."""
        with self._mapped("look at", f"replication slot {stream}") as session:
            slot.check(session, stream, after)

    def floor(self, notice: Notice) -> Position:
        """The log's end, once every transaction that ran then has ended. The end is read first: what
        commits at or before it ran, or had ended, when the snapshot after it was taken (Race 1)."""
        self._stopped.clear()
        with self._mapped("take", "a floor of the log") as session:
            floor = _log_end(session)
            # A snapshot lists nothing that began after the last transaction to end: end one.
            _end_transaction(session)
            transactions.wait_for_running(session, self._stopped, "a consistent start", notice)
        return format_lsn(floor)

    def ceiling(self) -> Position:
        """The log's end: a row that anyone has read was written before it (Race 1)."""
        with self._mapped("take", "a ceiling of the log") as session:
            ceiling = _log_end(session)
            # It is written out as well: the server sends nothing further, and after a crash it would write
            # other log in that place. Log of an open or an asynchronous transaction may wait for long.
            flushed = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
            if session.execute(flushed, [format_lsn(ceiling)]).fetchone() != (True,):
                _end_transaction(session)
        return format_lsn(ceiling)

    def inspect(self, tables: Sequence[Schema]) -> Sequence[SchemaChange | Sighting]:
        """By the fingerprints of the room's `fingerprint`, and what `evolve` makes of new ones."""
        with self._mapped("look at", self.name) as session:
            members = {self._member(schema): schema for schema in tables}
            return fingerprint.inspect(session, members, evolve.explain)

    def compare(self, a: Position, b: Position) -> int:
        """By log sequence number."""
        return parse_lsn(a) - parse_lsn(b)

    def release(self, stream: str, upto: Position) -> None:
        """Confirm to the walsender, at once when one runs; any thread may call it. Nothing but this moves
        the slot (Promise 1). LogLost when the server has invalidated it."""
        lsn = parse_lsn(upto)
        with self._log_lock:
            if self._log is not None and self._following == stream:
                self._log.confirm(lsn)
                return
        advance = """SELECT pg_replication_slot_advance(
                         slot_name, least(%s::pg_lsn, pg_current_wal_flush_lsn()))
                     FROM pg_replication_slots
                     WHERE slot_name = %s AND active_pid IS NULL AND confirmed_flush_lsn < %s::pg_lsn"""
        with self._mapped("release", f"the log of stream {stream}") as session:
            try:
                session.execute(advance, [upto, stream, upto])
            except psycopg.errors.ObjectNotInPrerequisiteState as error:  # the server has invalidated it
                raise slot.gap(stream, error.diag.message_primary or str(error)) from None

    def canary(self, stream: str, number: int) -> bool:
        """A logical message in a transaction of its own, so that it is written out at once."""
        with self._mapped("measure", f"the log of stream {stream}") as session:
            _end_transaction(session, CANARY_PREFIX, f"{stream} {number}")
        return True

    def lag(self, stream: str, at: Position) -> Lag:
        """Bytes of log after that position, and bytes kept since the slot's restart."""
        query = """SELECT greatest(0, pg_current_wal_lsn() - %s::pg_lsn)::bigint,
                          coalesce((SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots
                                    WHERE slot_name = %s), 0)::bigint"""
        with self._mapped("measure", f"the log of stream {stream}") as session:
            row = session.execute(query, [at, stream]).fetchone()
        assert row is not None
        return Lag(*row)

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
        """As `Source.changes`; a slot that another receiver holds is taken over (Race 12)."""
        start, end = parse_lsn(after), parse_lsn(until) if until is not None else None
        if end is not None and start >= end:
            self.check_log(stream, after)
            yield Batch(after, after)
            return
        members = {self._member(schema): schema for schema in tables}
        cutter = Cutter(
            members,
            self._judge,
            stream=stream,
            own=self.identity().id,
            skip=skip,
            after=start,
            until=end,
            max_bytes=max_bytes,
        )
        self._stopped.clear()
        with self._open_log(stream) as log:
            for _ in self._start(log, stream, after, max_wait):
                yield cutter.cut()
            yield from self._follow(log, stream, cutter, members, max_wait, asking=end is not None)

    def interrupt(self) -> None:
        """End waits and the walsender's stream too."""
        super().interrupt()
        self._stopped.set()
        with self._log_lock:
            if self._log is not None:
                self._log.interrupt()

    @contextlib.contextmanager
    def _open_log(self, stream: str) -> Iterator[LogStream]:
        log = LogStream(self._walsender())
        try:
            with self._log_lock:
                self._log, self._following = log, stream
            yield log
        finally:
            with self._log_lock:
                self._log, self._following = None, ""
            log.close()

    def _start(self, log: LogStream, stream: str, after: Position, max_wait: float) -> Iterator[None]:
        """Start the stream; yields at least every `max_wait` seconds while another holds the slot."""
        begun = told = time.monotonic()
        with self._told_by_server(stream):
            log.connect()
        while True:
            try:
                log.start(stream, stream, parse_lsn(after))
                break
            except ServerError as error:
                with self._told_by_server(stream):
                    if error.sqlstate != "55006":  # object in use
                        self.check_log(stream, after)
                        raise
            if time.monotonic() - begun > GRACE_SECONDS:
                with self._mapped("take over", f"replication slot {stream}") as session:
                    slot.free_slot(session, stream, self._stopped)
            elif self._stopped.wait(0.02):
                raise Transient("follow", f"stream {stream}", "it was interrupted")
            if time.monotonic() - told >= max_wait:
                yield
                told = time.monotonic()
        # Only now nobody else can move the slot: START_REPLICATION skips in silence what it has
        # confirmed (Race 13).
        self.check_log(stream, after)

    def _follow(
        self,
        log: LogStream,
        stream: str,
        cutter: Cutter,
        members: Mapping[Member, Schema],
        max_wait: float,
        *,
        asking: bool,
    ) -> Iterator[Batch]:
        due = asked = 0.0
        look = 0.0
        while not cutter.finished:
            now = time.monotonic()
            if now >= look:
                self._stop_unpublished(stream, cutter, members)
                look = now + PUBLISHED_CHECK_SECONDS
            due = due or now + max_wait
            if now - asked >= (ASK_SECONDS if asking else max_wait):
                log.ask()
                asked = now
            patience = 0.0 if cutter.waiting else min(due, asked + ASK_SECONDS if asking else due) - now
            with self._told_by_server(stream):
                frames = log.take(max(patience, 0.0))
            yield from cutter.feed(frames)
            if not cutter.finished and (time.monotonic() >= due or (cutter.waiting and not frames)):
                yield cutter.cut()
                due = 0.0
        yield cutter.cut()

    def _stop_unpublished(
        self, stream: str, cutter: Cutter, members: Mapping[tuple[str, str], Schema]
    ) -> None:
        """Stop the tables that the publication does not tell any more: the log says nothing about that."""
        with self._mapped("look at", f"publication {stream}") as session:
            publication = slot.find_publication(session, stream)
        if publication is None:
            raise slot.gap(stream, f"publication {stream} is gone")
        for member, schema in members.items():
            if member in publication.tables:
                continue
            anew = [seen for seen in self.inspect([schema]) if isinstance(seen, SchemaChange)]
            if anew and anew[0].dropped:
                continue  # what was written before is told still; whoever looks at the catalog finds it out
            why = f"it is no longer published: dropped, renamed or taken out of publication {stream}"
            cutter.stop(schema.table, anew[0].description if anew else why, lasting=not anew)

    @contextlib.contextmanager
    def _told_by_server(self, stream: str) -> Iterator[None]:
        """What a walsender says, as one of our errors."""
        try:
            yield
        except ServerError as error:
            if error.sqlstate in ("58P01", "42704", "55000"):
                # A file of the log, the publication or the slot itself is missing, or it was invalidated.
                raise slot.gap(stream, error.message) from None
            kind = psycopg.errors.lookup(error.sqlstate)
            raise translated(kind(error.message), "follow", f"stream {stream}", self._address) from None

    def _judge(self, schema: Schema, relation: Relation) -> SchemaChange | None:
        """What became of the columns, in one snapshot of the catalog as it is by now."""
        told = [Told(c.name, c.type_oid, c.type_modifier) for c in relation.columns]
        with (
            self._mapped("look at", f"the columns of table {schema.table}") as session,
            session.transaction(),
        ):
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # The catalog's own search path: names come out as they did for the schema.
            session.execute("SET LOCAL search_path = pg_catalog")
            return evolve.explain(session, schema, relation.id, told)


def _log_end(session: Connection) -> int:
    """Where the server will write next; Refused on a standby, which writes nothing."""
    row = session.execute("SELECT pg_is_in_recovery()").fetchone()
    if row == (True,):
        name = f"database {session.info.dbname}"
        raise Refused("follow", name, "the server is a standby", "name its primary")
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return parse_lsn(row[0])


def _end_transaction(session: Connection, prefix: str = FLUSH_PREFIX, content: str = "") -> None:
    """Begin and end a transaction of our own, with all log up to its end written out."""
    with session.transaction():
        # Not for a standby: that may be away for long.
        session.execute("SET LOCAL synchronous_commit = local")
        session.execute("SELECT pg_logical_emit_message(true, %s, %s)", [prefix, content])
