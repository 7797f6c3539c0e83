"""Workers that are killed, or run out of memory: nothing of theirs stays, and the next one goes on."""

from __future__ import annotations

import resource
import signal

import psycopg

from tests.cli.command import start, syncline
from tests.oracle import compare
from tests.runs import execute, value, wait_for

from .watch import count, equal, live

OURS = "application_name LIKE 'syncline%' AND datname = current_database()"
SESSIONS = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"
STAGES = "SELECT count(*) FROM pg_class WHERE relname LIKE 'syncline\\_%' AND relpersistence = 't'"


def test_a_killed_worker_leaves_no_query_no_session_and_no_staging_table(pair: tuple[str, str]) -> None:
    source, target = pair
    with start("sync", *pair, "--follow") as worker:
        live(target)
        execute(source, "UPDATE t SET note = 'staged' WHERE id < 50")
        wait_for(lambda: count(target, "note = 'staged'") == 49, "a change by way of a staging table")
        with psycopg.connect(target) as application:
            application.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            execute(source, "UPDATE t SET n = -1")
            waiting = f"{SESSIONS} AND wait_event_type = 'Lock'"
            wait_for(lambda: value(target, waiting) == 1, "a statement that waits")
            worker.send_signal(signal.SIGKILL)
            worker.wait(30)
            # The lock lasts: a server that looks only at the end of a statement would keep them for as long.
            wait_for(lambda: value(source, SESSIONS) == 0 and value(target, SESSIONS) == 0, "their end", 60)
        assert value(target, STAGES) == 0
    assert count(target, "n = -1") == 0
    equal(source, target)


def test_a_worker_without_memory_says_so_in_one_line_and_the_next_one_goes_on(pair: tuple[str, str]) -> None:
    source, target = pair
    execute(source, "INSERT INTO t VALUES (1000, 0, repeat(md5('x'), 3000000))")

    def limit() -> None:
        # Imports and the stacks of threads take about 500 MB of address space, and the cell several times 96.
        resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))

    with start("sync", *pair, "--quiet", "--give-up-after", "3", preexec_fn=limit) as worker:
        out, err = worker.communicate(timeout=120)
    assert worker.returncode == 3, (out, err)
    assert "bug" not in err
    assert len(err.splitlines()) == 1, err
    assert syncline("sync", *pair).code == 0
    assert compare(source, target) == []
