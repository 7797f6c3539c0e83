"""A table in the place of another. RENAME TABLE commits by itself (Race 14), so the ledger says before it
which tables are to be swapped: whoever finds that there finishes it or takes it back, as the tables stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...model import Schema, TableState
from . import ledger
from .ddl import aside_name, replaced_name
from .session import Session
from .store import place
from .text import literal, quote, quoted

_REFERENCES = """
SELECT table_name, constraint_name, GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR '\\0'),
       GROUP_CONCAT(referenced_column_name ORDER BY ordinal_position SEPARATOR '\\0')
FROM information_schema.key_column_usage
WHERE table_schema = database() AND referenced_table_schema = database() AND referenced_table_name = {}
GROUP BY table_name, constraint_name
"""


def obstacle(session: Session, schema: Schema) -> str:
    """What would be lost with the old table; foreign keys of others are carried over to the new one."""
    name = literal(place(schema.table).name)
    kind = session.value(
        "SELECT table_type FROM information_schema.tables"
        f" WHERE table_schema = database() AND table_name = {name}"
    )
    if kind is not None and kind != "BASE TABLE":
        return f"it is a {kind.lower()}"
    trigger = session.value(
        "SELECT trigger_name FROM information_schema.triggers"
        f" WHERE event_object_schema = database() AND event_object_table = {name}"
    )
    return f"trigger {trigger} would go with it; drop it, and make it again afterwards" if trigger else ""


def swap(session: Session, stream: str, states: Sequence[TableState]) -> None:
    """Give the new tables, as far as they are there, the places of the old ones at once, and record the
    states; the old ones go. The ledger already says that it begins."""
    renames = []
    for state in states:
        table, new = place(state.schema.table).name, aside_name(state.schema.table)
        if not _is_there(session, new):
            continue  # it was done by a run that was killed
        old = replaced_name(state.schema.table)
        session.run(f"DROP TABLE IF EXISTS {quote(old)}")
        if _is_there(session, table):
            renames.append(f"{quote(table)} TO {quote(old)}")
        renames.append(f"{quote(new)} TO {quote(table)}")
    if renames:
        session.run(f"RENAME TABLE {', '.join(renames)}")
    finish(session, stream, states)


def finish(session: Session, stream: str, states: Sequence[TableState]) -> None:
    """After the renaming: let the foreign keys of others mean the new tables, and drop the old ones."""
    gone = [replaced_name(state.schema.table) for state in states]
    for state, old in zip(states, gone, strict=True):
        for table, name, columns, parents in session.rows(_REFERENCES.format(literal(old))):
            if table not in gone:
                to = place(state.schema.table).name, parents.split("\0")
                _carry_over(session, table, name, columns.split("\0"), *to)
    present = [old for old in gone if _is_there(session, old)]
    if present:
        session.run(f"DROP TABLE {quoted(present)}")
    session.run("START TRANSACTION")
    ledger.record(session, stream, [replace(state, aside=False) for state in states])
    session.run("COMMIT")


def resume(session: Session, stream: str) -> None:
    """Go on with a swap that was killed: RENAME is whole or not at all, so one table tells for all."""
    begun = ledger.states(session, stream, swapping=True)
    if not begun:
        return
    if any(_is_there(session, aside_name(state.schema.table)) for state in begun):
        session.run(f"UPDATE {ledger.TABLES} SET swapping = 0 WHERE stream = {literal(stream)}")
        return
    finish(session, stream, begun)


def _carry_over(
    session: Session, table: str, name: str, columns: Sequence[str], parent: str, parents: Sequence[str]
) -> None:
    rules = session.rows(
        "SELECT delete_rule, update_rule FROM information_schema.referential_constraints"
        f" WHERE constraint_schema = database() AND table_name = {literal(table)}"
        f" AND constraint_name = {literal(name)}"
    )
    actions = f" ON DELETE {rules[0][0]} ON UPDATE {rules[0][1]}" if rules else ""
    session.run(f"ALTER TABLE {quote(table)} DROP FOREIGN KEY {quote(name)}")
    session.run(
        f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} FOREIGN KEY ({quoted(columns)})"
        f" REFERENCES {quote(parent)} ({quoted(parents)}){actions}"
    )


def _is_there(session: Session, name: str) -> bool:
    query = "SELECT 1 FROM information_schema.tables WHERE table_schema = database() AND table_name = "
    return session.value(query + literal(name)) is not None
