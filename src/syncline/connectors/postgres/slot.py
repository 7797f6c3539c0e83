"""What a stream has at the server: a publication and a replication slot, both of the stream's name.

The publication comes first, so that the slot's log never tells of a time without it (Race 2); what an
administrator made beforehand under that name is accepted when it fits.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import errors as server_errors
from psycopg import sql
from psycopg.rows import class_row

from ...connector import Notice
from ...errors import LogLost, NeedsOperator, Refused, SynclineError, Transient
from ...model import Position
from .catalog import Member
from .connection import Connection
from .lsn import parse_lsn
from .transactions import Announcer

PLUGIN = "pgoutput"
OWN_COMMENT = "made by Syncline, which drops it with its stream"
TAKEOVER_SECONDS = 10.0
ANEW = "the stream must begin anew: run with --replace to copy its tables again and swap them in"


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of pg_replication_slots; log positions as text, None where there is none (yet)."""

    plugin: str
    here: bool
    active_pid: int | None
    confirmed: str | None
    restart: str | None
    wal_status: str | None

    @property
    def being_made(self) -> bool:
        """A session still creates it, or died while it did."""
        return self.confirmed is None and self.active_pid is not None


def find_slot(session: Connection, stream: str) -> Slot | None:
    """The slot of that name, in whichever database."""
    query = """SELECT plugin, database = current_database() AS here, active_pid,
                      confirmed_flush_lsn::text AS confirmed, restart_lsn::text AS restart, wal_status
               FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'logical'"""
    with session.cursor(row_factory=class_row(Slot)) as cursor:
        return cursor.execute(query, [stream]).fetchone()


def check_server(session: Connection, stream: str, *, new: bool) -> None:
    """Raise Refused for the first fault of the server; with `new` also when one more slot has no room."""
    for fault in server_faults(session, new=new):
        raise fault


def server_faults(session: Connection, *, new: bool) -> Iterator[Refused]:
    """Why the server's log cannot be followed: logical decoding is off, the role may not use it, with `new`
    there is no room for one more slot. Each with the statement that an administrator may run."""
    query = """SELECT current_setting('wal_level'), current_setting('max_replication_slots')::int,
                      (SELECT count(*) FROM pg_replication_slots), current_user,
                      EXISTS (SELECT FROM pg_roles WHERE rolname = current_user
                              AND (rolreplication OR rolsuper))
                      OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication'
                                 AND pg_has_role(oid, 'USAGE')),
                      pg_is_in_recovery(),
                      (SELECT rolname FROM pg_roles WHERE rolname IN
                       ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin') LIMIT 1)"""
    row = session.execute(query).fetchone()
    assert row is not None
    level, room, slots, role, allowed, standby, managed = row
    faults: list[tuple[str, str]] = []
    if standby:
        faults.append(("the server is a standby", "name its primary"))
    if session.info.server_version < 140000:
        faults.append(("the server is older than PostgreSQL 14", "upgrade it"))
    if level != "logical" and not standby:
        why = f"wal_level is {level}, so that the log does not tell rows"
        faults.append((why, _MANAGED_LEVEL.get(managed, _LEVEL)))
    if not allowed:
        if managed == "rds_superuser":
            remedy = f"run {_text(session, 'GRANT rds_replication TO {}', role)} as its master user"
        else:
            remedy = f"run {_text(session, 'ALTER ROLE {} REPLICATION', role)} as a superuser"
        faults.append((f"role {role} may not read the log", remedy))
    if new and slots >= room:
        why = f"all {room} replication slots are taken"
        remedy = "drop one (SELECT slot_name, active FROM pg_replication_slots), or "
        faults.append((why, remedy + _more_room("max_replication_slots", room)))
    for why, remedy in faults:
        yield Refused("follow", f"database {session.info.dbname}", why, remedy)


_LEVEL = "run ALTER SYSTEM SET wal_level = 'logical' and restart the server"
# What a provider's role says of the server: there nobody may run ALTER SYSTEM.
_MANAGED_LEVEL = {
    "rds_superuser": "set rds.logical_replication to 1 in the instance's parameter group and reboot it",
    "cloudsqlsuperuser": "set the instance's flag cloudsql.logical_decoding to on, which restarts it",
    "azure_pg_admin": "set the server parameter wal_level to LOGICAL and restart the server",
}


def sender_fault(session: Connection) -> Refused | None:
    """Why no walsender can be had now, which a run would wait for."""
    query = """SELECT current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_stat_replication)"""
    row = session.execute(query).fetchone()
    assert row is not None
    room, taken = row
    if taken < room:
        return None
    why, remedy = f"all {room} walsenders are taken", _more_room("max_wal_senders", room)
    return Refused("follow", f"database {session.info.dbname}", why, remedy)


def _more_room(setting: str, room: int) -> str:
    return f"run ALTER SYSTEM SET {setting} = {room + 10} and restart the server"


def stream_faults(session: Connection, stream: str, found: Slot | None) -> Iterator[SynclineError]:
    """Why the slot of that name is none that the stream can go on with."""
    if found is None:
        return
    if not found.here or found.plugin != PLUGIN:
        yield Refused(
            "attach",
            f"stream {stream}",
            f"a replication slot of that name is there, of {found.plugin} or of another database",
            f"run SELECT pg_drop_replication_slot('{stream}') when nobody needs it",
        )
    elif find_publication(session, stream) is None:
        yield gap(stream, f"publication {stream} is gone while its slot is there")


@dataclass(frozen=True, slots=True)
class Publication:
    """A row of pg_publication with its tables; `filtered` are those it does not tell whole."""

    owned: bool
    own: bool
    whole: bool
    by_root: bool
    tables: frozenset[Member]
    filtered: frozenset[Member]


def find_publication(session: Connection, stream: str) -> Publication | None:
    """The publication of that name. `own`: made here; `owned`: by a role that is ours."""
    query = """SELECT pg_has_role(pubowner, 'USAGE'),
                      coalesce(obj_description(oid, 'pg_publication') = %s, false),
                      pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot
               FROM pg_publication WHERE pubname = %s"""
    row = session.execute(query, [OWN_COMMENT, stream]).fetchone()
    if row is None:
        return None
    members = "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s"
    tables = frozenset(session.execute(members, [stream]).fetchall())
    filtered: frozenset[Member] = frozenset()
    if session.info.server_version >= 150000:
        query = """SELECT nspname, relname FROM pg_publication_rel r
                   JOIN pg_publication p ON p.oid = prpubid JOIN pg_class c ON c.oid = prrelid
                   JOIN pg_namespace n ON n.oid = relnamespace
                   WHERE pubname = %s AND (prqual IS NOT NULL OR prattrs IS NOT NULL)"""
        filtered = frozenset(session.execute(query, [stream]).fetchall())
    owned, own, whole, by_root = row
    return Publication(owned, own, whole, by_root, tables, filtered)


def publish(session: Connection, stream: str, tables: Sequence[Member]) -> bool:
    """Make the publication tell at least these tables; True when it was made now. Refused, with the
    statement to run, when the role may not, or when one is there that leaves something out."""
    found = find_publication(session, stream)
    if found is None:
        create = _statement("CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
                            stream, tables)  # fmt: skip
        comment = sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(stream), OWN_COMMENT)
        _publish(session, stream, create, comment)
        return True
    for fault in publication_faults(session, stream, found, tables):
        raise fault
    missing = [table for table in tables if table not in found.tables]
    if missing:
        _publish(session, stream, _statement("ALTER PUBLICATION {} ADD TABLE {}", stream, missing))
    return False


def narrow(session: Connection, stream: str, tables: Sequence[Member]) -> None:
    """Take every other table out of a publication of our own."""
    found = find_publication(session, stream)
    if found is None or not (found.own and found.owned):
        return
    if others := sorted(found.tables - set(tables)):
        _publish(session, stream, _statement("ALTER PUBLICATION {} DROP TABLE {}", stream, others))


def publication_faults(
    session: Connection, stream: str, found: Publication, tables: Sequence[Member]
) -> Iterator[Refused]:
    """What the publication would leave out of these tables, each with the statement that mends it."""
    wanted = set(tables)
    name = sql.Identifier(stream).as_string(session)
    faults: list[tuple[str, str]] = []
    if not found.whole:
        why = "does not tell all of insert, update, delete and truncate"
        what = "SET (publish = 'insert, update, delete, truncate')"
        faults.append((why, f"run ALTER PUBLICATION {name} {what}"))
    if found.filtered & wanted:
        named = ", ".join(sorted(".".join(table) for table in found.filtered & wanted))
        faults.append((f"leaves out rows or columns of {named}", f"run DROP PUBLICATION {name}"))
    if not found.by_root and _partitioned(session, tables):
        remedy = f"run ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"
        faults.append(("tells partitions by themselves", remedy))
    for why, remedy in faults:
        yield Refused("follow", f"database {session.info.dbname}", f"publication {stream} {why}", remedy)


# A table that was planned with has been dropped.
_GONE = (server_errors.UndefinedTable, server_errors.InvalidSchemaName)


def _publish(session: Connection, stream: str, *statements: sql.Composed) -> None:
    try:
        with session.transaction():
            for statement in statements:
                session.execute(statement)
    except server_errors.InsufficientPrivilege as error:
        reason = error.diag.message_primary or str(error)
        remedy = f"run {statements[0].as_string(session)} as their owner or a superuser"
        raise Refused("publish the tables of", f"database {session.info.dbname}", reason, remedy) from None
    except (server_errors.DuplicateObject, server_errors.UniqueViolation, *_GONE) as error:
        raise Transient("publish the tables of", stream, str(error)) from None


def _partitioned(session: Connection, tables: Sequence[Member]) -> bool:
    query = """SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               WHERE relkind = 'p' AND (nspname, relname) IN
                     (SELECT * FROM unnest(%s::text[], %s::text[])) LIMIT 1"""
    spaces, names = [space for space, _ in tables], [name for _, name in tables]
    return session.execute(query, [spaces, names]).fetchone() is not None


def create_slot(
    session: Connection,
    connect: Callable[[], Connection],
    stream: str,
    stopped: threading.Event,
    notice: Notice,
) -> bool:
    """Make the slot; False when one was made meanwhile. The server waits for all transactions then
    running, prepared ones too: `notice` hears whose. Transient when `stopped` is set meanwhile."""
    outcome: list[BaseException | None] = []
    with contextlib.closing(connect()) as maker:
        process = maker.info.backend_pid

        def make() -> None:
            try:
                maker.execute("SELECT pg_create_logical_replication_slot(%s, %s)", [stream, PLUGIN])
                outcome.append(None)
            except BaseException as error:  # carried to the waiting thread, which raises it
                outcome.append(error)

        thread = threading.Thread(target=make, name=f"slot {stream}", daemon=True)
        announcer = Announcer(session, f"the log of stream {stream}", notice)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.05)
                announcer.tell_blocker(process)
                if stopped.is_set():
                    raise Transient("attach", f"stream {stream}", "it was interrupted")
        finally:
            if thread.is_alive():
                maker.cancel_safe(timeout=5.0)
            thread.join()
    error = outcome[0]
    if isinstance(error, server_errors.DuplicateObject):
        return False
    if isinstance(error, server_errors.ConfigurationLimitExceeded):
        check_server(session, stream, new=True)
    if error is not None:
        raise error
    return True


def free_slot(session: Connection, stream: str, stopped: threading.Event) -> None:
    """End whoever holds the slot, such as a receiver that has stalled (Race 12). NeedsOperator when the
    role may not, Transient when it does not end within TAKEOVER_SECONDS."""
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while (slot := find_slot(session, stream)) is not None and slot.active_pid is not None:
        process = slot.active_pid
        try:
            session.execute("SELECT pg_terminate_backend(%s)", [process])
        except server_errors.InsufficientPrivilege:
            raise NeedsOperator(
                "take over",
                f"replication slot {stream}",
                f"process {process}{_owner(session, process)} holds it and this role may not end it",
                f"run SELECT pg_terminate_backend({process}) as a superuser",
            ) from None
        if time.monotonic() > deadline:
            raise Transient(
                "take over", f"replication slot {stream}", f"process {process} does not let it go"
            )
        if stopped.wait(0.05):
            raise Transient("take over", f"replication slot {stream}", "it was interrupted")


def _owner(session: Connection, process: int) -> str:
    query = "SELECT usename FROM pg_stat_activity WHERE pid = %s"
    row = session.execute(query, [process]).fetchone()
    return f" of user {row[0]}" if row else ""


def drop(session: Connection, stream: str, stopped: threading.Event) -> None:
    """Take slot and publication away; an administrator's publication stays."""
    publication = find_publication(session, stream)
    statements = []
    if publication is not None and publication.own and publication.owned:
        statements.append(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(stream)))
    free_slot(session, stream, stopped)
    slot = find_slot(session, stream)
    if slot is not None and slot.here:
        statements.append(sql.SQL("SELECT pg_drop_replication_slot({})").format(stream))
    # One message, which the server carries out whole even if this process dies: never one without the
    # other. The slot goes last, as its going cannot be rolled back.
    if statements:
        with contextlib.suppress(server_errors.UndefinedObject):
            session.execute(sql.SQL("; ").join(statements))


def check(session: Connection, stream: str, after: Position) -> None:
    """Raise NeedsOperator when the slot's log does not hold everything after that position (Promise 7)."""
    slot = find_slot(session, stream)
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    why = ""
    if slot is None or not slot.here:
        why = f"replication slot {stream} is gone, so the changes after {after} are lost"
    elif slot.wal_status == "lost" or slot.confirmed is None or slot.restart is None:
        why = f"the server has invalidated replication slot {stream}, so the changes after {after} are lost"
    elif slot.plugin != PLUGIN:
        why = f"replication slot {stream} is one of {slot.plugin} instead of {PLUGIN}"
    elif parse_lsn(slot.confirmed) > parse_lsn(after):
        why = f"replication slot {stream} is at {slot.confirmed}, so the changes after {after} are lost"
    elif parse_lsn(row[0]) < parse_lsn(after):
        why = f"the log ends at {row[0]}, before {after}: an older primary or a restored backup"
    elif find_publication(session, stream) is None:
        why = f"publication {stream} is gone, so the log does not tell the changes after {after}"
    if why:
        raise gap(stream, why)


def gap(stream: str, why: str) -> SynclineError:
    """The error for a log that does not hold everything any more."""
    return LogLost("go on with", f"stream {stream}", f"there is a gap in its log: {why}", ANEW)


def _statement(text: str, stream: str, tables: Sequence[Member]) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
    return sql.SQL(text).format(sql.Identifier(stream), names)


def _text(session: Connection, statement: str, name: str) -> str:
    return sql.SQL(statement).format(sql.Identifier(name)).as_string(session)
