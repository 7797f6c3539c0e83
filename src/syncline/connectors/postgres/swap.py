"""Puts tables that were built aside in the place of the old ones, with what belongs to a name and not to
rows: owner, privileges, publications, and the foreign keys of other tables."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from ...model import Schema
from . import ddl
from .catalog import Member
from .connection import Connection

# Whatever refers to the table or to its row type, or would go with it: each as a noun with its name.
_OBSTACLES = """
WITH old AS (SELECT c.oid, c.reltype, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
             WHERE n.nspname = %(namespace)s AND c.relname = %(name)s)
SELECT pg_describe_object(v.classid, v.objid, 0) FROM (
    SELECT DISTINCT 'pg_class'::regclass::oid AS classid, r.ev_class AS objid
    FROM old JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = old.oid
                             AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> old.oid
    UNION
    SELECT d.classid, d.objid FROM old
    JOIN pg_depend d ON d.deptype = 'n' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
     AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = old.oid)
       OR (d.refclassid = 'pg_type'::regclass AND d.refobjid = old.reltype))
    UNION
    SELECT 'pg_trigger'::regclass, t.oid FROM old
    JOIN pg_trigger t ON t.tgrelid = old.oid AND NOT tgisinternal
    UNION
    SELECT 'pg_policy'::regclass, p.oid FROM old JOIN pg_policy p ON p.polrelid = old.oid
    UNION
    SELECT 'pg_class'::regclass, i.inhrelid FROM old JOIN pg_inherits i ON i.inhparent = old.oid
) AS v ORDER BY 1 LIMIT 1
"""

_NOT_OURS = """
SELECT format('table %%s', k.conrelid::regclass) FROM pg_constraint k
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'f' AND n.nspname = %(namespace)s AND p.relname = %(name)s
  AND NOT pg_has_role(c.relowner, 'USAGE')
LIMIT 1
"""

_OWNER = """
SELECT format('it belongs to the role %%s; run ALTER TABLE %%I.%%I OWNER TO %%I as its owner',
              relowner::regrole, nspname, relname, current_user)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %(namespace)s AND relname = %(name)s AND NOT pg_has_role(relowner, 'USAGE')
"""

_OLD = """
SELECT c.oid::bigint, c.relowner::regrole::text,
       (SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE n.nspname = %s AND c.relname = %s
"""

# GRANTs, one a grantee and privilege; column privileges follow those of the table.
_GRANTS = """
SELECT a.privilege_type, NULL::name, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
       a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %(oid)s AND a.grantee <> c.relowner
UNION ALL
SELECT a.privilege_type, t.attname, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
       a.is_grantable
FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = %(oid)s AND t.attnum > 0
"""

_FOREIGN_KEYS = """
SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0
 AND k.confrelid = ANY(%(old)s::oid[]) AND NOT k.conrelid = ANY(%(old)s::oid[])
"""

_PUBLICATIONS = """
SELECT p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE r.prrelid = %s AND pg_has_role(p.pubowner, 'USAGE')
"""

_INDEXES = """
SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""

_RENAMES = """
SELECT x.relname, x.relkind::text FROM pg_class x
WHERE (x.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = %(oid)s::regclass)
    OR x.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
                 AND refclassid = 'pg_class'::regclass AND refobjid = %(oid)s::regclass
                 AND deptype IN ('a', 'i')))
  AND x.relkind IN ('i', 'S')
"""


def obstacle(connection: Connection, member: Member) -> str:
    """What would be lost or broken when the table is dropped; '' when nothing would."""
    parameters = {"namespace": member[0], "name": member[1]}
    row = connection.execute(_OBSTACLES, parameters).fetchone()
    if row is not None:
        return f"the target's {row[0]} hangs on it; drop that, or move it away, first"
    row = connection.execute(_NOT_OURS, parameters).fetchone()
    if row is not None:
        return f"a foreign key of the target's {row[0]}, which another role owns, refers to it"
    row = connection.execute(_OWNER, parameters).fetchone()
    return str(row[0]) if row is not None else ""


def swap(connection: Connection, tables: Sequence[tuple[Member, Schema]]) -> None:
    """Swap all of these in the caller's transaction."""
    old = {member: connection.execute(_OLD, member).fetchone() for member, _ in tables}
    oids = [row[0] for row in old.values() if row is not None]
    foreign = connection.execute(_FOREIGN_KEYS, {"old": oids}).fetchall()
    grants = {oid: connection.execute(_GRANTS, {"oid": oid}).fetchall() for oid in oids}
    publications = {oid: connection.execute(_PUBLICATIONS, [oid]).fetchall() for oid in oids}
    carried = {member: [name for (name,) in connection.execute(_INDEXES, member)] for member, _ in tables}
    for child, name, _ in foreign:
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.SQL(child), sql.Identifier(name))
        )
    if oids:
        names = [sql.Identifier(*member) for member, row in old.items() if row is not None]
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(names)))
    for member, schema in tables:
        row = old[member]
        _rename(connection, member, schema, row[2] if row is not None else None, carried[member])
        if row is None:
            continue
        table = sql.Identifier(*member)
        for (publication,) in publications[row[0]]:
            add = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}")
            connection.execute(add.format(sql.Identifier(publication), table))
        for privilege, column, grantee, grantable in grants[row[0]]:
            connection.execute(_grant(table, privilege, column, grantee, grantable))
        if connection.execute("SELECT current_user::regrole::text <> %s", [row[1]]).fetchone() == (True,):
            connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, sql.SQL(row[1])))
    for child, name, definition in foreign:
        _refer_again(connection, child, name, definition)


def _refer_again(connection: Connection, child: str, name: str, definition: str) -> None:
    """Give a table its foreign key again. Rows that have no parent now (their table stands still, or its
    stream elsewhere for a moment) are let be; the key holds for all that is written from here on."""
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
        sql.SQL(child), sql.Identifier(name), sql.SQL(definition)
    )
    try:
        with connection.transaction():
            connection.execute(add)
    except psycopg.errors.ForeignKeyViolation:
        connection.execute(sql.SQL("{} NOT VALID").format(add))


def _rename(
    connection: Connection, member: Member, schema: Schema, primary_key: str | None, carried: Sequence[str]
) -> None:
    """Give the new table its name, and its indexes and sequences theirs; `carried` had the old one's."""
    aside = ddl.aside_name(member[1])
    connection.execute(
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(
            sql.Identifier(member[0], aside), sql.Identifier(member[1])
        )
    )
    table = sql.Identifier(*member)
    wanted = {ddl.aside_name(name): name for name in (*carried, *(index.name for index in schema.indexes))}
    rows = connection.execute(_RENAMES, {"oid": table.as_string(connection)}).fetchall()
    for name, sort in rows:
        new = wanted.get(name) or name.replace(aside, member[1], 1)
        if name == f"{aside}_pkey"[: ddl.NAME_BYTES] or (name not in wanted and name.endswith("_pkey")):
            new = primary_key or new
        taken = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [_text(connection, member[0], new)])
        if new == name or taken.fetchone() == (True,):
            continue
        kind = sql.SQL("SEQUENCE" if sort == "S" else "INDEX")
        connection.execute(
            sql.SQL("ALTER {} {} RENAME TO {}").format(
                kind, sql.Identifier(member[0], name), sql.Identifier(new)
            )
        )


def _text(connection: Connection, namespace: str, name: str) -> str:
    return sql.Identifier(namespace, name).as_string(connection)


def _grant(
    table: sql.Identifier, privilege: str, column: str | None, grantee: str, grantable: bool
) -> sql.Composed:
    cells = sql.SQL("({})").format(sql.Identifier(column)) if column is not None else sql.SQL("")
    return sql.SQL("GRANT {} {} ON TABLE {} TO {}{}").format(
        sql.SQL(privilege),
        cells,
        table,
        sql.SQL(grantee),
        sql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )
