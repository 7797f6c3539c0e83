"""One connection to a file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote as quote_url

from ...errors import Corruption, NeedsOperator, Refused, SynclineError, Transient

BUSY_SECONDS = 30.0
_LIBRARY_WAIT_SECONDS = 0.05  # SQLite's own wait cannot be interrupted: short, ours goes round it
_BACKOFF_SECONDS = 0.02
_NOTICE_SECONDS = 1.0
_PREFIX = "sqlite:///"

T = TypeVar("T")
_File = tuple[int, ...]
"""Device and number of a file; empty when there is none."""


def parse_url(url: str) -> str:
    """The path in `sqlite:///path`: three slashes for a relative one, four for an absolute one. Refused
    for anything else, an in-memory database included."""
    path = url.removeprefix(_PREFIX)
    if path == url or not path or path.startswith(":memory:"):
        raise Refused(
            "open", url, "it names no file", "write sqlite:///relative.db or sqlite:////absolute.db"
        )
    if "?" in path:
        raise Refused(
            "open", url, "a SQLite URL takes no parameters here", "leave out the ? and what follows"
        )
    return path


def quote(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class Connection:
    """A connection in autocommit with explicit transactions.

    A statement that meets another writer's lock is tried again for `patience` seconds and then raises
    Transient. `interrupt` ends what runs, waits included. For one thread at a time, `interrupt` excepted.
    """

    def __init__(self, path: str, subject: str, *, create: bool = False) -> None:
        self.subject = subject
        self.patience = BUSY_SECONDS
        self._stop = threading.Event()
        self._running = 0
        self._path, beside = path, os.path.realpath(path)
        self._log_paths = (beside + "-wal", beside + "-shm")
        before = _file_at(path)  # before it is opened: what is put there in between counts as another one
        if not create and not os.path.exists(path):
            raise Refused("open", subject, "no such file", "check the path of the URL")
        self.refuse_without_folder(path, subject)
        uri = f"file:{quote_url(path)}?mode={'rwc' if create else 'rw'}"
        try:
            self._db = sqlite3.connect(
                uri,
                uri=True,
                timeout=_LIBRARY_WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # interrupt and close come from other threads
            )
        except sqlite3.Error as error:
            raise Refused("open", subject, str(error), "check the path and its permissions") from None
        # Whatever bytes an application has called text: one bad cell is its row's trouble, not the file's.
        self._db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        try:
            # No cascade may run behind the log's back, and a commit is on the disk (Promise 1).
            self.execute("PRAGMA foreign_keys=OFF")
            self.execute("PRAGMA synchronous=FULL")
            self.value("SELECT count(*) FROM sqlite_schema")
        except BaseException:
            self._db.close()
            raise
        self._file: _File = before or _file_at(path)
        self._log = self._log_files()

    @staticmethod
    def refuse_without_folder(path: str, subject: str) -> None:
        """Refused when the folder that is to hold the file does not exist."""
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise Refused("open", subject, "its folder does not exist", "make the folder first")

    def execute(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        endless: bool = False,
        notice: Callable[[str], None] | None = None,
    ) -> sqlite3.Cursor:
        """Run one statement, waiting for other writers: `patience` seconds, or with `endless` until
        interrupted."""
        return self._patiently(lambda: self._db.execute(sql, parameters), endless, notice)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row inside an open transaction; returns how many rows it changed.
        sqlite3.IntegrityError passes through: its meaning is the caller's."""
        try:
            with self.running():
                return self._db.executemany(sql, rows).rowcount
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self.translate(error) from None

    def fetch(self, cursor: sqlite3.Cursor, count: int) -> list[tuple[Any, ...]]:
        """The next rows of a cursor, at most `count`."""
        try:
            with self.running():
                return cursor.fetchmany(count)
        except sqlite3.Error as error:
            raise self.translate(error) from None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._patiently(lambda: self._db.execute(sql, parameters).fetchall(), False, None)

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, None when there is none."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def attempt(self, sql: str) -> bool:
        """Run one statement once, without waiting; False when another connection stands in its way."""
        try:
            self._db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return False
        return True

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first cell of the first row, None when there is none."""
        found = self.row(sql, parameters)
        return found[0] if found else None

    def has(self, name: str) -> bool:
        """Whether the file has a table or view of that name."""
        sql = "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
        return self.value(sql, (name,)) is not None

    def begin(self, notice: Callable[[str], None] | None = None, endless: bool = False) -> None:
        """Take the file's only write lock: from here on no other transaction can be open. Nothing is ever
        written into a file that nobody finds any more: see `raise_if_replaced`."""
        self.raise_if_replaced()
        self.execute("BEGIN IMMEDIATE", endless=endless, notice=notice)

    def commit(self) -> None:
        """Commit what was begun."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was begun; a transaction that SQLite itself has ended is no error. An interrupt may
        meet this too: then the end of the connection, which is near, undoes it."""
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF != sqlite3.SQLITE_INTERRUPT:
                    raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block of the open transaction that any exception undoes, and nothing else of it."""
        self.execute("SAVEPOINT rows")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO rows")
                self._db.execute("RELEASE rows")
            raise
        self.execute("RELEASE rows")

    @contextmanager
    def write(self, notice: Callable[[str], None] | None = None, endless: bool = False) -> Iterator[None]:
        """A write transaction around a block: committed at its end, rolled back by any exception."""
        self.begin(notice, endless)
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A short read transaction: all statements of the block see one state of the file. Within an open
        transaction it adds nothing."""
        if self._db.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.rollback()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around everything that `interrupt` is to end; the outermost begins with no interrupt open."""
        if not self._running:
            self._stop.clear()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def pause(self, seconds: float) -> None:
        """Wait within `running`; Transient when interrupted."""
        self._stop.wait(seconds)
        self.raise_if_stopped()

    def raise_if_replaced(self) -> None:
        """Transient when another file stands under the path than the one that is open, or under those of
        its write-ahead log: what is written there is not seen here, and the other way round.
        NeedsOperator when there is none, or when the old one's log is left beside the new one: whoever
        opened them would play the one into the other."""
        file, log = _file_at(self._path), self._log_files()
        if not file:
            raise NeedsOperator("use", self.subject, "the file is gone", "put it back and run again")
        # The log stays for as long as a connection is open: only another hand takes it away.
        if file != self._file and log == self._log and self._holds_log():
            raise NeedsOperator(
                "use",
                self.subject,
                "another file was put in its place, beside the write-ahead log of the old one",
                f"end whoever has it open, remove {' and '.join(self._log_paths)}, and run again",
            )
        if file != self._file or (all(self._log) and log != self._log):
            raise Transient("use", self.subject, "another file was put in its place")
        self._log = log

    def _holds_log(self) -> bool:
        with suppress(OSError):
            return os.path.getsize(self._log_paths[0]) > 0
        return False

    def _log_files(self) -> tuple[_File, ...]:
        return tuple(map(_file_at, self._log_paths))

    def interrupt(self) -> None:
        """From any thread: what runs raises Transient; when nothing runs, nothing happens."""
        if self._running:
            self._stop.set()
        try:
            self._db.interrupt()
        except sqlite3.ProgrammingError:
            return  # it was closed meanwhile

    def close(self) -> None:
        """Close; may be called twice. The last connection of all plays the write-ahead log into the file as
        it closes: not when that log was taken away, as another file stands there now."""
        replaced = all(self._log) and self._log_files() != self._log
        with _shared_lock(self._path) if replaced else nullcontext():
            self._db.close()

    def raise_if_stopped(self) -> None:
        """Raise Transient when `interrupt` was called meanwhile."""
        if self._stop.is_set():
            raise Transient("use", self.subject, "the call was interrupted")

    def translate(self, error: sqlite3.Error) -> SynclineError:
        """The error in our classes, by SQLite's primary result code (sqlite.org/rescode.html)."""
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        text = str(error)
        if code == sqlite3.SQLITE_INTERRUPT:
            return Transient("use", self.subject, "the call was interrupted")
        if _is_busy(error):
            return Transient(
                "use", self.subject, "another process holds the file's lock", "end its transaction"
            )
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_PROTOCOL):
            return Transient("use", self.subject, text)
        if code == sqlite3.SQLITE_FULL:
            return NeedsOperator("write to", self.subject, "the disk is full", "make room and run again")
        if code == sqlite3.SQLITE_NOTADB:
            return Refused("open", self.subject, "the file is not a SQLite database", "check the path")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            remedy = "grant the right to write to the file and its folder"
            return Refused("write to", self.subject, text, remedy)
        if code == sqlite3.SQLITE_CORRUPT:
            return Corruption("read", self.subject, text, "restore the file from a backup")
        return NeedsOperator("use", self.subject, text)

    def _patiently(self, run: Callable[[], T], endless: bool, notice: Callable[[str], None] | None) -> T:
        began, told = time.monotonic(), notice is None
        with self.running():
            while True:
                try:
                    return run()
                except sqlite3.Error as error:
                    waited = time.monotonic() - began
                    if not _is_busy(error) or not (endless or waited < self.patience):
                        raise self.translate(error) from None
                    if not told and notice is not None and waited > _NOTICE_SECONDS:
                        notice(f"waiting for another process to end its transaction on {self.subject}")
                        told = True
                self.pause(_BACKOFF_SECONDS)


@contextmanager
def _shared_lock(path: str) -> Iterator[None]:
    """A lock that keeps this process too from SQLite's exclusive one (fcntl(2), "Open file description
    locks"; SHARED_FIRST and SHARED_SIZE of SQLite's os_unix.c); none where the system has no such locks."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0x40000002, 510, 0)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
        yield
    finally:
        os.close(descriptor)


def _file_at(path: str) -> _File:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino


def _is_busy(error: sqlite3.Error) -> bool:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
