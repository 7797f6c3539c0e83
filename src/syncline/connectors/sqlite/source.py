"""A file as Source: the log that its triggers write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from ...connector import Notice
from ...errors import LogLost, Refused, Transient
from ...model import Batch, Lag, Position, Problem, Schema, SchemaChange, Severity, Sighting, Writer
from . import problems
from .connection import Connection
from .log import LogReader, shape_changed
from .meta import drop_meta, restore_journal, write_meta
from .position import number_of, proves, read_end
from .store import SqliteStore
from .triggers import (
    ATTACHED,
    LOG,
    READERS,
    create_log,
    drop_log,
    is_dropped,
    triggers_missing,
    unwatch,
    watch,
)

_RELEASE_ROWS = 2_000  # a piece of pruning holds the write lock for milliseconds


class SqliteSource(SqliteStore):
    """A file whose log is followed. Positions are rows of the log (see `position`): one writer at a time
    holds the file, so the order of their numbers is the order of commits (Race 8 does not apply), and
    whatever a snapshot shows up to its largest number is whole transactions."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._releasing = threading.Lock()
        self._second: Connection | None = None
        self._discovered: tuple[int, Sequence[Schema]] | None = None
        self._sound: tuple[int, list[Schema]] | None = None

    def discover(self) -> Sequence[Schema]:
        """As of any file, but once for every schema that it comes to have: a look counts all rows, which may
        take long, and whoever follows looks for new tables again and again."""
        with self._db.snapshot():
            version = int(self._db.value("PRAGMA schema_version"))
            if self._discovered is None or self._discovered[0] != version:
                self._discovered = version, super().discover()
            return self._discovered[1]

    def attach(self, stream: str, tables: Sequence[Schema], notice: Notice) -> bool:
        """Triggers for these tables and a reader's row for the stream, in one transaction; it waits for
        the writer. Refused for a file that cannot be written or cannot be in WAL mode, where readers and
        writers would block each other. Transient for a table that is not as `tables` says by now."""
        if fault := self._read_only_fault():
            raise fault
        journal = str(self._db.value("PRAGMA journal_mode"))
        if journal != "wal" and self._db.value("PRAGMA journal_mode=WAL") != "wal":
            raise Refused(
                "follow",
                self.name,
                f"its journal mode is {journal} and cannot be WAL",
                "run PRAGMA journal_mode=WAL",
            )
        with self._db.write(notice, endless=True):
            create_log(self._db)
            write_meta(self._db, journal)
            for schema in tables:
                changed = shape_changed(self._db, schema)
                if changed:
                    raise Transient("attach", f"{schema.table} of {self.name}", changed)
                watch(self._db, schema)
                self._db.execute(
                    f"INSERT OR IGNORE INTO {ATTACHED} VALUES (?, ?)", (stream, schema.table.name)
                )
            top = number_of(read_end(self._db))
            sql = f"INSERT OR IGNORE INTO {READERS} VALUES (?, ?, ?)"
            return self._db.execute(sql, (stream, top, top)).rowcount == 1

    def check(
        self, stream: str, tables: Sequence[Schema], *, begun: bool, deep: bool = False
    ) -> Sequence[Problem]:
        """Rights, place, room, locks and journal of the file, and whether it is damaged."""
        found = list(problems.of_place(self._path, self.name))
        if fault := self._read_only_fault():
            found.append(Problem.of(fault))
        else:
            found += problems.of_room(self._path, self.name, None)
            found += problems.of_locks(self._db, self.name)
            found += problems.of_journal(self._db, self.name)
        found += problems.of_contents(self._db, self.name, deep=deep)
        if not begun and self.attached(stream):
            why = f"the log of stream {stream} is left behind: the target knows no such stream"
            remedy = "take it away with syncline sync FROM TO --remove"
            found.append(Problem(Severity.WARN, "follow", self.name, why, remedy))
        return found

    def size(self, tables: Sequence[Schema]) -> int | None:
        """The pages in use, when these are all tables: of one alone SQLite tells nothing quickly."""
        names = {table.table for table in tables}
        if any(not schema.problem and schema.table not in names for schema in self.discover()):
            return None
        pages, free, nbytes = (
            int(self._db.value(f"PRAGMA {name}")) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * nbytes

    def writers(self, seconds: float) -> Sequence[Writer]:
        """Whether somebody holds the write lock; SQLite does not tell who."""
        locked = problems.is_locked(self._db, problems.MOMENT_SECONDS)
        return [Writer("another process, which holds the file's write lock", True)] if locked else []

    def detach(self, stream: str) -> None:
        """Takes away the reader, the triggers that nobody else needs, and the log with the last reader."""
        with self._releasing:
            if self._second is not None:
                self._second.close()
                self._second = None
        if not self._db.has(LOG):
            return
        with self._db.write():
            self._db.execute(f"DELETE FROM {READERS} WHERE stream = ?", (stream,))
            self._leave(stream, self._tables_of(stream))
            last = not self._db.value(f"SELECT count(*) FROM {READERS}")
            if last:
                drop_log(self._db)
            journal = drop_meta(self._db) if last else ""
        restore_journal(self._db, journal)

    def narrow(self, stream: str, tables: Sequence[Schema]) -> None:
        """Take away the triggers of other tables that nobody else needs."""
        if not self._db.has(LOG):
            return
        kept = {schema.table.name for schema in tables}
        if set(self._tables_of(stream)) - kept:
            with self._db.write():
                self._leave(stream, [table for table in self._tables_of(stream) if table not in kept])

    def _tables_of(self, stream: str) -> list[str]:
        return [name for (name,) in self._db.rows(f"SELECT tbl FROM {ATTACHED} WHERE stream = ?", (stream,))]

    def _leave(self, stream: str, tables: Sequence[str]) -> None:
        for table in tables:
            self._db.execute(f"DELETE FROM {ATTACHED} WHERE stream = ? AND tbl = ?", (stream, table))
            if not self._db.value(f"SELECT count(*) FROM {ATTACHED} WHERE tbl = ?", (table,)):
                unwatch(self._db, table)

    def attached(self, stream: str) -> bool:
        """Whether the stream reads this file's log."""
        return self._reader(stream) is not None

    def check_log(self, stream: str, after: Position) -> None:
        """LogLost when the log is gone, was made after the position, ends before it or has another
        history there (another copy of the file was put in its place), or was released past it (the target
        is an older one). Promise 7."""
        with self._db.snapshot():
            place, reader, top = number_of(after), self._reader(stream), number_of(read_end(self._db))
            if reader is None:
                reason = "the stream's log is gone"
            elif top < place:
                reason = f"the log ends at {top}: an older file stands in its place"
            elif place < reader[0]:
                reason = f"the log begins at {reader[0]}"
            elif place < reader[1]:
                reason = f"the log is released up to {reader[1]}: the target is older than the log"
            elif not proves(self._db, after):
                reason = (
                    f"the log has another history at {place}: another copy of the file stands in its place"
                )
            else:
                return
        raise LogLost(
            "go on from",
            f"{after} in {self.name}",
            f"{reason}; changes are missing (a gap)",
            "copy the tables anew",
        )

    def floor(self, notice: Notice) -> Position:
        """The end of the log while nobody writes: whoever wrote when it was asked for has ended."""
        with self._db.write(notice, endless=True):
            return read_end(self._db)

    def ceiling(self) -> Position:
        """The end of the log: a commit and its log rows become visible as one."""
        return read_end(self._db)

    def inspect(self, tables: Sequence[Schema]) -> Sequence[SchemaChange | Sighting]:
        """By the tables' columns and the triggers that are to be there; not again while no statement has
        changed the file's schema, of which one number tells for all tables."""
        if not self._db.has(LOG):
            return ()
        with self._db.snapshot():
            look = int(self._db.value("PRAGMA schema_version")), list(tables)
            if look == self._sound:
                return ()
            found = {
                schema.table: shape_changed(self._db, schema) or triggers_missing(self._db, schema)
                for schema in tables
            }
            gone = {schema.table for schema in tables if found[schema.table] and is_dropped(self._db, schema)}
        changes = [SchemaChange(table, why, dropped=table in gone) for table, why in found.items() if why]
        self._sound = look if not changes else None
        return changes

    def compare(self, a: Position, b: Position) -> int:
        """By number."""
        return number_of(a) - number_of(b)

    def canary(self, stream: str, number: int) -> bool:
        """None: the log is a table, which is read where it is written."""
        return False

    def lag(self, stream: str, at: Position) -> Lag:
        """In rows of the log."""
        reader, top = self._reader(stream), number_of(read_end(self._db))
        return Lag(max(top - number_of(at), 0), top - reader[1] if reader else 0, "rows")

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
        """Batches up to the end of the log as it was when looked at: the transactions in between cannot be
        told apart, so that a run larger than `max_bytes` comes in pieces. A batch also ends where the
        mark changes, which only ever happens between transactions (Race 16). No snapshot is held while
        the caller works or the log is idle; rows up to the position that was looked at never change."""
        self.check_log(stream, after)
        at, end = after, until
        if end is not None and self.compare(at, end) >= 0:
            yield Batch(after, after)
            return
        reader = LogReader(self._db, tables, self.identity().id, skip)
        while end is None or self.compare(at, end) < 0:
            top = reader.wait(at, max_wait)
            top = end if end is not None and self.compare(top, end) > 0 else top
            while True:
                batch = reader.next_batch(at, top, max_bytes)
                yield batch
                at = batch.upto
                if self.compare(at, top) >= 0:
                    break

    def release(self, stream: str, upto: Position) -> None:
        """Delete what no reader needs any more, in pieces that hold the write lock for milliseconds, on a
        connection of its own: callable from any thread. The row at a reader's position stays, as the
        position is proven by it."""
        with self._releasing:
            if self._second is None:
                self._second = Connection(self._path, self.name)
            db = self._second
            with db.write():
                sql = f"UPDATE {READERS} SET released = max(released, ?) WHERE stream = ?"
                db.execute(sql, (number_of(upto), stream))
                least = db.value(f"SELECT min(released) FROM {READERS}")
            # The last row stays for ever: it is what the next number follows.
            last = min(int(least), int(db.value(f"SELECT max(seq) FROM {LOG}"))) - 1
            while (first := db.value(f"SELECT min(seq) FROM {LOG}")) is not None and first <= last:
                with db.running():
                    with db.write():
                        began = time.monotonic()
                        db.execute(f"DELETE FROM {LOG} WHERE seq <= ?", (min(first + _RELEASE_ROWS, last),))
                    # Others try the lock only now and then: half of the time it is to be free.
                    db.pause(time.monotonic() - began)

    def interrupt(self) -> None:
        """From any thread: whatever runs or waits raises Transient."""
        super().interrupt()
        second = self._second
        if second is not None:
            second.interrupt()

    def close(self) -> None:
        """Close both connections."""
        with self._releasing:
            if self._second is not None:
                self._second.close()
                self._second = None
        self._discovered = self._sound = None  # another file may be opened
        super().close()

    def _read_only_fault(self) -> Refused | None:
        return None if self._db.has(LOG) else problems.read_only_fault(self._path, self.name, "follow")

    def _reader(self, stream: str) -> tuple[int, int] | None:
        if not self._db.has(READERS):
            return None
        row = self._db.row(f"SELECT began, released FROM {READERS} WHERE stream = ?", (stream,))
        return None if row is None else (int(row[0]), int(row[1]))
