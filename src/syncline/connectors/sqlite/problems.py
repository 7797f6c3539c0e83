"""What would keep a file from being a source or a target, found without changing it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import Refused, SynclineError
from ...model import Problem, Severity, TableName
from .catalog import PREFIX
from .connection import Connection
from .triggers import LOG

WAL = "PRAGMA journal_mode=WAL"
LEAST_ROOM_BYTES = 64 << 20
"""What a log of some hundred thousand changes takes; a source with less free room is warned of."""

MOMENT_SECONDS = 0.25
"""How long a short transaction, such as one of our own, may hold the write lock."""

_LOCK_SECONDS = 1.0
_MOUNTS = Path("/proc/self/mountinfo")

# The names that Linux gives file systems of other machines (proc(5), "mountinfo"); SQLite's locks and the
# shared memory of its WAL mode need one kernel (sqlite.org/wal.html, "Disadvantages").
_REMOTE = re.compile(r"nfs.*|cifs|smb.*|9p|afs|ceph|gfs2?|glusterfs|lustre|ncpfs|fuse\.(?!fuseblk|portal).*")


def read_only_fault(path: str, name: str, operation: str) -> Refused | None:
    """Why the file cannot be written, or made: SQLite writes beside it too."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.access(folder, os.W_OK) and (not os.path.exists(path) or os.access(path, os.W_OK)):
        return None
    why = "the file or its folder is read-only"
    return Refused(operation, name, why, "grant the right to write to both")


def file_system(path: str, mounts: Path | None = None) -> str:
    """The kind of file system that a path is on, by the system's name of it; '' where it cannot be known."""
    try:
        lines = (mounts or _MOUNTS).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place, found = os.path.realpath(path) + "/", ("", "")
    for line in lines:
        mount, _, kind = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), mount.split()[4])
        if place.startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = point, kind.split()[0]
    return found[1]


def room(path: str) -> int:
    """Bytes free for this process where the file is, or is to be."""
    found = os.statvfs(os.path.dirname(os.path.realpath(path)))
    return found.f_bavail * found.f_frsize


def of_place(path: str, name: str) -> Iterator[Problem]:
    """What the place of the file does to it."""
    kind = file_system(path)
    if _REMOTE.fullmatch(kind):
        why = f"it is on a network file system ({kind}), where locks and WAL mode do not hold"
        yield Problem(Severity.WARN, "trust", name, why, "move it to a disk of this machine")


def of_contents(db: Connection, name: str, *, deep: bool) -> Iterator[Problem]:
    """What is broken in the file: quickly, or with `deep` against all of its indexes."""
    pragma = "integrity_check" if deep else "quick_check"
    try:
        told = str(db.value(f"PRAGMA {pragma}(1)"))
    except SynclineError as error:
        yield Problem.of(error)
        return
    if told != "ok":
        why = f"the file is damaged: {told}"
        yield Problem(Severity.REFUSE, "read", name, why, "restore the file from a backup")


def is_locked(db: Connection, seconds: float) -> bool:
    """Whether others hold the write lock for that long."""
    deadline = time.monotonic() + seconds
    while not db.attempt("BEGIN IMMEDIATE"):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    db.rollback()
    return False


def of_locks(db: Connection, name: str) -> Iterator[Problem]:
    """Whether another process holds the write lock, and for longer than a moment."""
    if is_locked(db, _LOCK_SECONDS):
        why = "the start waits for another process to end its transaction"
        yield Problem(Severity.WARN, "follow", name, why, "end it")


def of_journal(db: Connection, name: str) -> Iterator[Problem]:
    """That a stream changes the journal mode for as long as it lives."""
    journal = str(db.value("PRAGMA journal_mode"))
    if journal != "wal" and not db.has(LOG):
        why = f"its journal mode is {journal}, which a stream turns into WAL for as long as it lives"
        yield Problem(Severity.NOTE, "follow", name, why, f"run {WAL}")


def of_triggers(db: Connection, table: TableName, name: str) -> Iterator[Problem]:
    """The triggers of a target's table that are not ours: SQLite fires them for everybody."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
    for (trigger,) in db.rows(f"{sql} AND substr(name, 1, ?) <> ?", (name, len(PREFIX), PREFIX)):
        why = f"trigger {trigger} fires for each row that Syncline writes, and may change it or others"
        yield Problem.about(Severity.WARN, table, why, "drop it at the target for as long as it is one")


def of_room(path: str, name: str, nbytes: int | None) -> Iterator[Problem]:
    """Whether `nbytes` more, or a log of its own, have no room where the file is."""
    free = room(path)
    if nbytes is not None and nbytes > free:
        why = f"the tables take {_size(nbytes)} at the source, and {_size(free)} are free here"
        yield Problem(Severity.WARN, "write to", name, why, "make room")
    elif nbytes is None and free < LEAST_ROOM_BYTES:
        why = f"only {_size(free)} are free for the log that its triggers write"
        yield Problem(Severity.WARN, "follow", name, why, "make room")


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.0f} MB"
