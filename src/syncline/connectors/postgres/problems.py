"""What would keep a database from being a source or a target, found without changing anything.

What a run would do is rehearsed: done in a transaction that is rolled back, so that a problem has the words
of the refusal it stands for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import psycopg
from psycopg import sql

from ...errors import Refused, SynclineError, Transient
from ...model import Problem, Schema, Severity, TableName
from . import ledger, slot, transactions
from .catalog import BOOKKEEPING, Member
from .connection import Address, Connection, rehearsed

Mapped = Callable[[str, str], AbstractContextManager[Connection]]

_OWN_NAME = "^syncline_[0-9a-f]{12}(_side)?$"

# What `--fix` may run: no row changes, no server is restarted, no table is rewritten.
_MENDS = re.compile(
    r"GRANT [A-Z, ]+ ON .+ TO .+"
    r"|ALTER TABLE .+ REPLICA IDENTITY (DEFAULT|USING INDEX .+)"
    r"|CREATE (SCHEMA|EXTENSION|TYPE) .+"
    r"|ALTER TYPE .+ ADD VALUE .+"
    r"|DROP PUBLICATION syncline_[0-9a-f]{12}(_side)?"
    r"|SELECT pg_drop_replication_slot\('syncline_[0-9a-f]{12}(_side)?'\)"
)

_LEFT_SLOTS = """
SELECT slot_name, slot_name IN (%(stream)s::text, %(stream)s::text || '_side'),
       pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
FROM pg_replication_slots
WHERE database = current_database() AND NOT active AND slot_name ~ %(own)s ORDER BY 1
"""

_LEFT_PUBLICATIONS = """
SELECT pubname FROM pg_publication p
WHERE pubname ~ %(own)s AND obj_description(p.oid, 'pg_publication') = %(comment)s
  AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = pubname) ORDER BY 1
"""

# A sequence that no column owns or draws from.
_LOOSE_SEQUENCES = """
SELECT format('%%I.%%I', nspname, relname) FROM pg_class s JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'S' AND relpersistence <> 't' AND nspname <> %s
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
                  AND d.deptype IN ('a', 'i', 'e'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_attrdef'::regclass
                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid)
ORDER BY 1
"""

_TRIGGERS = """
SELECT tgname, tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %s AND relname = %s AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY 1
"""


def mends(session: Connection, statement: str) -> bool:
    """Whether the statement is harmless and this role may give it: the latter is tried, and undone."""
    if _MENDS.fullmatch(statement) is None:
        return False
    if statement.startswith("SELECT pg_drop"):  # cannot be undone
        return True
    warnings: list[str] = []

    def warned(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(diagnostic.sqlstate or "")

    session.add_notice_handler(warned)
    try:
        with rehearsed(session):
            run(session, statement)
    except psycopg.Error:
        return False
    finally:
        session.remove_notice_handler(warned)
    return "01007" not in warnings  # privilege not granted: the GRANT did nothing


def run(session: Connection, statement: str) -> None:
    """Run one statement, and never more: only the extended protocol, which binary results ask for, refuses
    to take several."""
    session.execute(statement.encode(), binary=True)


def of_link(address: Address) -> Iterator[Problem]:
    """What anybody on the way to the server could read, or pretend to be."""
    if fault := address.tls_fault:
        remedy = "write sslmode=verify-full into the URL, with sslrootcert=FILE for an authority of your own"
        yield Problem(Severity.WARN, "trust", address.name, fault, remedy)


def of_log(session: Connection, stream: str, tables: Sequence[Member]) -> Iterator[Problem]:
    """What `attach` would refuse: server, role, slot, publication."""
    found = slot.find_slot(session, stream)
    yield from map(Problem.of, slot.server_faults(session, new=found is None))
    if fault := slot.sender_fault(session):
        yield Problem.of(fault)
    if session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
        return
    unfit = [Problem.of(fault) for fault in slot.stream_faults(session, stream, found)]
    yield from unfit
    if unfit or not tables:
        return
    publication = slot.find_publication(session, stream)
    if publication is not None:
        unfit = [Problem.of(fault) for fault in slot.publication_faults(session, stream, publication, tables)]
        yield from unfit
    if not unfit:
        try:
            with contextlib.suppress(psycopg.errors.LockNotAvailable), rehearsed(session):
                slot.publish(session, stream, tables)
        except SynclineError as error:
            yield Problem.of(error)
    yield from _of_start(session, new=found is None)


def _of_start(session: Connection, *, new: bool) -> Iterator[Problem]:
    """Whose transactions a start would wait for."""
    subject = f"database {session.info.dbname}"
    for clause, remedy in transactions.standing(session, everywhere=new):
        yield Problem(Severity.WARN, "follow", subject, f"the start waits for {clause}", remedy)


def of_keeping(session: Connection, stream: str, *, begun: bool) -> Iterator[Problem]:
    """How much log slots keep, and slots and publications of ours that were left behind."""
    subject = f"database {session.info.dbname}"
    row = session.execute("SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size'").fetchone()
    if row == ("-1",):
        why = "nothing bounds the log that the slot of a stopped stream keeps (max_slot_wal_keep_size is -1)"
        remedy = "run ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' when that is what the disk can spare"
        yield Problem(Severity.NOTE, "follow", subject, why, remedy)
    found = slot.find_slot(session, stream)
    if found is not None and found.wal_status == "unreserved":
        why = f"the log that stream {stream} needs is about to be taken away (max_slot_wal_keep_size)"
        yield Problem(Severity.WARN, "follow", subject, why, "run the sync before the next checkpoint")
    if session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
        return
    for name, own, kept in session.execute(_LEFT_SLOTS, {"stream": stream, "own": _OWN_NAME}).fetchall():
        drop = f"run SELECT pg_drop_replication_slot('{name}')"
        if not own:
            why = f"replication slot {name} of another stream is not being read, and keeps {kept} of log"
            yield Problem(Severity.NOTE, "follow", subject, why, f"{drop} when nobody is to go on with it")
        elif not begun:
            why = f"replication slot {name} is left behind: the target knows no such stream"
            why += f", and it keeps {kept} of log"
            yield Problem(Severity.WARN, "follow", subject, why, drop)
    left = {"own": _OWN_NAME, "comment": slot.OWN_COMMENT}
    for (name,) in session.execute(_LEFT_PUBLICATIONS, left).fetchall():
        why = f"publication {name} is left behind, without its slot"
        yield Problem(Severity.NOTE, "follow", subject, why, f"run DROP PUBLICATION {name}")


def of_contents(session: Connection) -> Iterator[Problem]:
    """What no stream carries, and nobody would miss until it is needed."""
    subject = f"database {session.info.dbname}"
    if session.info.parameter_status("server_encoding") == "SQL_ASCII":
        why = "its encoding is SQL_ASCII, which takes any bytes: text that is no UTF-8 would end the run"
        yield Problem(Severity.WARN, "read", subject, why, "mend such text at the source")
    for (name,) in session.execute(_LOOSE_SEQUENCES, [BOOKKEEPING]):
        why = f"sequence {name} belongs to no column, and is not synced"
        remedy = "make it at the target as well, and set it by hand when you switch"
        yield Problem(Severity.WARN, "sync", subject, why, remedy)


def of_bookkeeping(mapped: Mapped, stream: str) -> list[Problem]:
    """What `claim` and the first batch would be refused."""

    def claim(session: Connection) -> None:
        ledger.make(session)
        ledger.raise_fence(session, stream, None)

    def stage(session: Connection) -> None:
        session.execute("CREATE TEMP TABLE syncline_rehearsal (number int)")

    return [
        *rehearse(mapped, "claim", f"stream {stream}", claim),
        *rehearse(mapped, "write for", f"stream {stream}", stage),
    ]


def of_written(mapped: Mapped, schema: Schema, member: Member) -> list[Problem]:
    """What the role would be refused when it writes to a table that is there. The server looks at rights
    when it plans, and no trigger fires then."""
    names = sql.SQL(", ").join(map(sql.Identifier, schema.names))
    table = sql.Identifier(*member)
    plain = next((column.name for column in schema.stored if not column.identity), None)
    statements = [
        sql.SQL("EXPLAIN SELECT {0} FROM {1}").format(names, table),
        sql.SQL("EXPLAIN INSERT INTO {1} ({0}) OVERRIDING SYSTEM VALUE SELECT {0} FROM {1}").format(
            names, table
        ),
        sql.SQL("EXPLAIN DELETE FROM {}").format(table),
    ]
    if plain is not None:
        update = sql.SQL("EXPLAIN UPDATE {0} SET {1} = {1}").format(table, sql.Identifier(plain))
        statements.append(update)

    def write(session: Connection) -> None:
        for statement in statements:
            session.execute(statement)

    return rehearse(mapped, "write to", f"table {schema.table}", write, schema.table)


def of_triggers(
    session: Connection, table: TableName, member: Member, *, as_replica: bool
) -> Iterator[Problem]:
    """Which triggers of a target's table fire for what streams write, and which do not."""
    for name, enabled in session.execute(_TRIGGERS, member).fetchall():
        fires = enabled == "A" or (enabled == "R") is as_replica
        if not fires:
            why = f"trigger {name} does not fire for rows that Syncline writes"
            yield Problem.about(Severity.NOTE, table, why)
            continue
        why = f"trigger {name} fires for each row that Syncline writes, and may change it or others"
        if as_replica:
            form = sql.SQL("run ALTER TABLE {} ENABLE TRIGGER {} as its owner")
            remedy = form.format(sql.Identifier(*member), sql.Identifier(name)).as_string(session)
        elif session.info.server_version >= 150000:
            role = sql.Identifier(_role(session)).as_string(session)
            remedy = f"run GRANT SET ON PARAMETER session_replication_role TO {role} as a superuser"
        else:
            remedy = "write as a superuser, for whom it does not fire"
        yield Problem.about(Severity.WARN, table, why, remedy)


def of_references(session: Connection, schema: Schema, parents: Sequence[Member]) -> Iterator[Problem]:
    """Which tables of others a table that will be made here may not refer to."""
    for parent in parents:
        name = sql.Identifier(*parent).as_string(session)
        query = "SELECT to_regclass(%s) IS NULL OR has_table_privilege(to_regclass(%s), 'REFERENCES')"
        if session.execute(query, [name, name]).fetchone() != (True,):
            role = sql.Identifier(_role(session)).as_string(session)
            why, remedy = (
                f"permission denied for table {parent[1]}",
                f"run GRANT REFERENCES ON {name} TO {role}",
            )
            error = Refused("add foreign keys to", f"table {schema.table}", why, f"{remedy} as its owner")
            yield Problem.of(error, schema.table)


def of_numbers(
    session: Connection, table: TableName, sequences: Sequence[tuple[str, sql.Identifier, int]]
) -> Iterator[Problem]:
    """Which of the sequences behind a target's table the role may not let go on."""
    for _, sequence, _ in sequences:
        name = sequence.as_string(session)
        query = "SELECT has_sequence_privilege(%s, 'SELECT') AND has_sequence_privilege(%s, 'UPDATE')"
        if session.execute(query, [name, name]).fetchone() != (True,):
            role = sql.Identifier(_role(session)).as_string(session)
            why = f"permission denied for sequence {name}"
            remedy = f"run GRANT SELECT, UPDATE ON SEQUENCE {name} TO {role} as its owner"
            yield Problem.of(Refused("advance the sequences of", f"table {table}", why, remedy), table)


def rehearse(
    mapped: Mapped,
    operation: str,
    subject: str,
    work: Callable[[Connection], None],
    table: TableName | None = None,
) -> list[Problem]:
    """What the server would refuse of a piece of work; what only has to wait for a lock is no problem."""
    try:
        with (
            mapped(operation, subject) as session,
            contextlib.suppress(psycopg.errors.LockNotAvailable),
            rehearsed(session),
        ):
            work(session)
    except Transient:
        raise
    except SynclineError as error:
        return [Problem.of(error, table)]
    return []


def _role(session: Connection) -> str:
    row = session.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])
