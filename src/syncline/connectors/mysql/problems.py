"""What would keep a database from being a target, found without changing it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...model import Problem, Schema, Severity
from . import catalog, fit
from .session import Address, Session
from .store import place
from .text import literal

LOADS = "SET GLOBAL local_infile = ON"
_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES")


def of_target(session: Session, address: Address, tables: Sequence[Schema]) -> Iterator[Problem]:
    """Of the link, the server, the user's rights and the tables that are there."""
    if address.tls_fault:
        remedy = "set ssl_mode=verify_identity in the URL"
        yield Problem(Severity.WARN, "trust", address.name, address.tls_fault, remedy)
    if session.value("SELECT @@global.read_only") == "1" and not _has(session, "SUPER"):
        why, remedy = "the server is read-only", "name its primary"
        yield Problem(Severity.REFUSE, "write to", address.name, why, remedy)
    if not session.server.loads:
        why = "local_infile is off, so that rows are copied by statements, which takes longer"
        yield Problem(Severity.NOTE, "load into", address.name, why, f"run {LOADS} as an administrator")
    lacking = [right for right in (*_NEEDED, "CREATE TEMPORARY TABLES") if not _has(session, right)]
    if lacking:
        user = session.value("SELECT current_user()") or ""
        grantee = "@".join(f"'{part}'" for part in user.rsplit("@", 1))
        statement = f"GRANT {', '.join(lacking)} ON {address.database}.* TO {grantee}"
        why = f"the user lacks {', '.join(lacking)}"
        yield Problem(Severity.REFUSE, "write to", address.name, why, f"run {statement} as an administrator")
    for schema in tables:
        yield from _of_table(session, schema)


def _of_table(session: Session, schema: Schema) -> Iterator[Problem]:
    there = catalog.describe(session, place(schema.table).name)
    if there is None or fit.mismatch(schema, there):
        return
    query = (
        "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = database()"
        f" AND event_object_table = {literal(place(schema.table).name)}"
    )
    for (trigger,) in session.rows(query):
        why = f"trigger {trigger} fires for each row that Syncline writes, and may change it or others"
        remedy = "drop it at the target for as long as it is one"
        yield Problem.about(Severity.WARN, schema.table, why, remedy)
    for why in fit.narrower(schema, there):
        yield Problem.about(Severity.WARN, schema.table, why)


def _has(session: Session, right: str) -> bool:
    """Whether the user has a right on this database, or on all. Who has a role may have any."""
    database = session.value("SELECT database()") or ""
    for (grant,) in session.rows("SHOW GRANTS"):
        found = re.match(r"GRANT (.+?) ON (?:TABLE )?(\S+) TO ", grant)
        if found is None:
            return True
        on = found[2].replace("`", "")
        if on != "*.*" and not _matches(on.removesuffix(".*"), database):
            continue
        if "ALL PRIVILEGES" in found[1] or right in found[1].split(", "):
            return True
    return False


def _matches(pattern: str, database: str) -> bool:
    """Whether a grant's name of databases, with the wild cards of LIKE, means this one."""
    signs = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return bool(re.fullmatch("".join(signs.get(part) or re.escape(part[-1]) for part in parts), database))
