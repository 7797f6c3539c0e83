"""Transactions that run: which they are, whose, and the wait until they have ended (Races 1, 2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ...connector import Notice
from ...errors import Transient
from .connection import Connection

PATIENCE_SECONDS = 1.0
"""How long a wait is not worth a notice."""

# A transaction of another database can change none of our tables.
_RUNNING = """
SELECT xid::text FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
WHERE NOT EXISTS (SELECT FROM pg_stat_activity
                  WHERE backend_xid::text::bigint = mod(xid::text::bigint, 4294967296)
                    AND datname <> current_database())
  AND NOT EXISTS (SELECT FROM pg_prepared_xacts
                  WHERE transaction::text::bigint = mod(xid::text::bigint, 4294967296)
                    AND database <> current_database())
"""

_STILL_RUNNING = """
SELECT xid::text FROM unnest(%s::xid8[]) AS xid
WHERE NOT pg_visible_in_snapshot(xid, pg_current_snapshot())
"""

# The ids of both views are cut to 32 bits.
_WHOSE = """
SELECT format('the prepared transaction %%s of user %%s, open since %%s; '
              'COMMIT PREPARED or ROLLBACK PREPARED ends it', quote_literal(gid), owner, prepared),
       format('run ROLLBACK PREPARED %%s when nobody is to commit it', quote_literal(gid))
FROM pg_prepared_xacts WHERE transaction::text::bigint = ANY(%(xids)s)
UNION ALL
SELECT format('the transaction of user %%s in process %%s%%s, open since %%s%%s', usename, pid,
              CASE WHEN application_name <> '' THEN ' (' || application_name || ')' END,
              coalesce(xact_start::text, 'a time that only its owner may see'),
              CASE WHEN wait_event = 'SyncRep' THEN ', which waits for a synchronous standby' END),
       format('run SELECT pg_terminate_backend(%%s) when it may be undone', pid)
FROM pg_stat_activity WHERE backend_xid::text::bigint = ANY(%(xids)s)
"""

_ACTIVE = """
SELECT format('user %%s in process %%s%%s, active %%s s ago', usename, pid,
              CASE WHEN application_name <> '' THEN ' (' || application_name || ')' END,
              extract(epoch FROM clock_timestamp() - state_change)::numeric(9, 1))
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND backend_xid IS NULL AND application_name NOT LIKE 'syncline%%'
  AND state_change > clock_timestamp() - make_interval(secs => %s)
ORDER BY state_change DESC
"""

_LOCKERS = """
SELECT format('table %s is locked by user %s in process %s%s, since %s', relation::regclass, usename,
              l.pid, CASE WHEN application_name <> '' THEN ' (' || application_name || ')' END, xact_start)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE locktype = 'relation' AND granted AND mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY xact_start
"""

_WAITED_FOR = """
SELECT transactionid::text FROM pg_locks
WHERE pid = %s AND locktype = 'transactionid' AND NOT granted
"""


class Announcer:
    """Tells whose transactions are waited for: once it takes long, and anew whenever they change."""

    def __init__(self, session: Connection, what: str, notice: Notice) -> None:
        self._session, self._what, self._notice = session, what, notice
        self._begun = time.monotonic()
        self._told: list[str] = []

    def tell(self, xids: Sequence[str]) -> None:
        """These transactions are waited for now."""
        if time.monotonic() - self._begun < PATIENCE_SECONDS:
            return
        whose = describe(self._session, xids)
        if whose and whose != self._told:
            self._told = whose
            more = f" and {len(whose) - 1} more" if len(whose) > 1 else ""
            self._notice(f"{self._what} waits for {whose[0]}{more}")

    def tell_blocker(self, process: int) -> None:
        """Whatever transaction that server process waits for is waited for now."""
        self.tell([xid for (xid,) in self._session.execute(_WAITED_FOR, [process])])


def describe(session: Connection, xids: Sequence[str]) -> list[str]:
    """A clause for each of these transactions that still runs: user, process or name, since when."""
    return [clause for clause, _ in _described(session, xids)]


def _described(session: Connection, xids: Sequence[str]) -> list[tuple[str, str]]:
    short = [int(xid) & 0xFFFFFFFF for xid in xids]
    return session.execute(_WHOSE, {"xids": short}).fetchall()


def standing(session: Connection, *, everywhere: bool) -> list[tuple[str, str]]:
    """The transactions that a start now would tell that it waits for, each as a clause and what ends it.
    With `everywhere` those of other databases too, which the making of a slot waits for as well."""
    query = "SELECT xid::text FROM pg_snapshot_xip(pg_current_snapshot()) AS xid" if everywhere else _RUNNING
    running = [xid for (xid,) in session.execute(query.encode())]
    if running:
        time.sleep(PATIENCE_SECONDS)
        running = [xid for (xid,) in session.execute(_STILL_RUNNING, [running])]
    return _described(session, running)


def lockers(session: Connection) -> list[str]:
    """Who keeps everybody else from even looking at a table of this database, a clause a table."""
    return [clause for (clause,) in session.execute(_LOCKERS)]


def writers(session: Connection, seconds: float) -> list[tuple[str, bool]]:
    """Whose transactions run in this database now (True), and who else was active in the last seconds."""
    running = [xid for (xid,) in session.execute(_RUNNING)]
    return [(clause, True) for clause in describe(session, running)] + [
        (clause, False) for (clause,) in session.execute(_ACTIVE, [seconds])
    ]


def wait_for_running(session: Connection, stopped: threading.Event, what: str, notice: Notice) -> None:
    """Return once every transaction of this database that began before the last one to end and runs now
    has ended, prepared ones and those that wait for a standby too. Transient when `stopped` is set."""
    running = [xid for (xid,) in session.execute(_RUNNING)]
    announcer = Announcer(session, what, notice)
    pause = 0.005
    while running:
        announcer.tell(running)
        if stopped.wait(pause):
            raise Transient("wait for", "running transactions", "it was interrupted")
        running = [xid for (xid,) in session.execute(_STILL_RUNNING, [running])]
        pause = min(2 * pause, 0.2)
