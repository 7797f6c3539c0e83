"""Watches the position row at the target, from inside the target.

A trigger, ENABLE ALWAYS because an apply may run as a replica, records every change of a stream's
position with its fence, in the transaction that makes it. Whatever goes on at the other side, each
position must go on from the one before, further each time, under a fence that never goes back.

A second trigger, on a live table, records every row that is written there: each once, and (where the
target can name its transactions, as PostgreSQL can) by a transaction that moved the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .tables import Database

EXCLUDED = ("crash_watch.*", "crash_chain", "crash_rows")
"""The oracle's globs for what is made here."""

_POSTGRES = """
CREATE SCHEMA crash_watch;
CREATE TABLE crash_watch.chain (
  n bigint GENERATED ALWAYS AS IDENTITY, stream text, fence bigint, before text, after text,
  xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION crash_watch.record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO crash_watch.chain (stream, fence, before, after) VALUES (
    coalesce(NEW.stream, OLD.stream), coalesce(NEW.fence, OLD.fence), OLD.position, NEW.position);
  RETURN NULL;
END $$;
CREATE TRIGGER crash_moved AFTER UPDATE ON syncline.streams FOR EACH ROW
  WHEN (OLD.position IS DISTINCT FROM NEW.position) EXECUTE FUNCTION crash_watch.record();
CREATE TRIGGER crash_made AFTER INSERT OR DELETE ON syncline.streams FOR EACH ROW
  EXECUTE FUNCTION crash_watch.record();
ALTER TABLE syncline.streams ENABLE ALWAYS TRIGGER crash_moved;
ALTER TABLE syncline.streams ENABLE ALWAYS TRIGGER crash_made;
"""

_SQLITE = (
    "CREATE TABLE crash_chain (n INTEGER PRIMARY KEY, stream TEXT, fence INTEGER, before TEXT, after TEXT)",
    "CREATE TRIGGER crash_moved AFTER UPDATE ON _syncline_streams WHEN OLD.position IS NOT NEW.position "
    "BEGIN INSERT INTO crash_chain (stream, fence, before, after) "
    "VALUES (NEW.stream, NEW.fence, OLD.position, NEW.position); END",
    "CREATE TRIGGER crash_made AFTER INSERT ON _syncline_streams "
    "BEGIN INSERT INTO crash_chain (stream, fence, before, after) "
    "VALUES (NEW.stream, NEW.fence, NULL, NEW.position); END",
    "CREATE TRIGGER crash_gone AFTER DELETE ON _syncline_streams "
    "BEGIN INSERT INTO crash_chain (stream, fence, before, after) "
    "VALUES (OLD.stream, OLD.fence, OLD.position, NULL); END",
)

_POSTGRES_ROWS = """
CREATE TABLE crash_watch.rows (writer integer, counter bigint, xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION crash_watch.record_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO crash_watch.rows (writer, counter) VALUES (NEW.writer, NEW.counter);
  RETURN NULL;
END $$;
CREATE TRIGGER crash_row AFTER INSERT OR UPDATE ON acks FOR EACH ROW
  EXECUTE FUNCTION crash_watch.record_row();
ALTER TABLE acks ENABLE ALWAYS TRIGGER crash_row;
"""

_SQLITE_ROWS = (
    "CREATE TABLE crash_rows (writer INTEGER, counter INTEGER)",
    *(
        f"CREATE TRIGGER crash_row_{event} AFTER {event} ON acks "
        "BEGIN INSERT INTO crash_rows VALUES (NEW.writer, NEW.counter); END"
        for event in ("insert", "update")
    ),
)


@dataclass(frozen=True)
class Link:
    """One recorded move of a stream's position; None before the first and after the last."""

    stream: str
    fence: int
    before: str | None
    after: str | None


def install(database: Database) -> bool:
    """Make the triggers, once the target's bookkeeping is there; whether it was."""
    if not _is_there(database):
        return False
    _make(database, _POSTGRES, _SQLITE)
    return True


def watch_rows(database: Database) -> None:
    """Record from now on what is written to `acks`, which must be live."""
    _make(database, _POSTGRES_ROWS, _SQLITE_ROWS)


def _make(database: Database, postgres: str, sqlite: Sequence[str]) -> None:
    database.begin()
    for statement in sqlite if database.sqlite else [postgres]:
        database.execute(statement)
    database.execute("COMMIT")


def _is_there(database: Database) -> bool:
    if database.sqlite:
        question = "SELECT count(*) FROM sqlite_schema WHERE name = '_syncline_streams'"
    else:
        question = "SELECT count(*) FROM pg_tables WHERE schemaname = 'syncline' AND tablename = 'streams'"
    return bool(database.execute(question)[0][0])


def links(database: Database) -> list[Link]:
    """What was recorded, in order."""
    table = "crash_chain" if database.sqlite else "crash_watch.chain"
    return [
        Link(*row) for row in database.execute(f"SELECT stream, fence, before, after FROM {table} ORDER BY n")
    ]


def faults(database: Database) -> list[str]:
    """Everything that is wrong with the rows since `watch_rows`."""
    table = "crash_rows" if database.sqlite else "crash_watch.rows"
    found = []
    if not database.execute(f"SELECT 1 FROM {table} LIMIT 1"):
        found.append("none was written")
    twice = database.execute(
        f"SELECT writer, counter, count(*) FROM {table} GROUP BY writer, counter HAVING count(*) > 1"
    )
    if twice:
        found.append(f"{len(twice)} were written more than once, such as {twice[0]}")
    if not database.sqlite:
        strays = database.execute(
            f"SELECT count(*) FROM {table} WHERE xid NOT IN (SELECT xid FROM crash_watch.chain)"
        )[0][0]
        if strays:
            found.append(f"{strays} were written without the position having moved with them")
    return found


def breaks(recorded: list[Link]) -> list[str]:
    """Everything that is wrong with the chain of each stream."""
    found = []
    last: dict[str, Link] = {}
    for number, link in enumerate(recorded):
        previous = last.get(link.stream)
        last[link.stream] = link
        at = f"link {number} of {link.stream}, {link.before} to {link.after} under fence {link.fence}"
        if previous is not None and link.before != previous.after:
            found.append(f"{at}: a gap after {previous.after}")
        if previous is not None and previous.after is not None and link.fence < previous.fence:
            found.append(f"{at}: the fence was {previous.fence} before")
        if link.before is not None and link.after is not None and _place(link.after) <= _place(link.before):
            found.append(f"{at}: it does not go on")
    return found


def _place(position: str) -> int:
    """A position as a number, PostgreSQL's LSN or a count."""
    high, slash, low = position.partition("/")
    return (int(high, 16) << 32) + int(low, 16) if slash else int(high.partition(".")[0])
