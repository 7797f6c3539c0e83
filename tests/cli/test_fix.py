"""What `check --fix` runs and what it leaves, and what findings look like."""

from __future__ import annotations

import os
import pty
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests import runs

from .checks import check, execute, the
from .command import start, syncline
from .pairs import Pair, as_role


def test_what_is_safe_is_fixed_and_nothing_else(servers: Pair) -> None:
    execute(
        servers.source,
        "CREATE TABLE codes (code text NOT NULL UNIQUE, n int); INSERT INTO codes VALUES ('a', 1)",
        "CREATE EXTENSION hstore; CREATE TABLE bags (id int PRIMARY KEY, bag hstore)",
        "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY)",
    )
    stream = check(servers.source, servers.target).stream
    execute(servers.source, f"SELECT pg_create_logical_replication_slot('{stream}', 'pgoutput')")
    execute(servers.source, f"CREATE PUBLICATION {stream} FOR TABLE customers")
    outcome = syncline("check", servers.source, servers.target, "--fix", "--yes", "--json")
    results = {(fixed["at"], fixed["statement"]): fixed["result"] for fixed in outcome.document["fixed"]}
    assert results == {
        ("source", "ALTER TABLE public.codes REPLICA IDENTITY USING INDEX codes_code_key"): "done",
        ("target", "CREATE EXTENSION hstore SCHEMA public"): "done",
        ("source", f"SELECT pg_drop_replication_slot('{stream}')"): "done",
    }
    for statement in (statement for _, statement in results):
        assert statement in outcome.err, "shown before it ran"
    assert outcome.code == 1, "the unlogged table is left"
    outcome = syncline("sync", servers.source, servers.target, "--quiet", "--json")
    verdicts = {table["table"]: table["verdict"] for table in outcome.document["tables"]}
    assert (verdicts.pop("fast"), set(verdicts.values())) == ("skipped", {"equal"})


def test_a_right_that_the_role_may_give_itself(servers: Pair, role: str) -> None:
    database = urlsplit(servers.source).path[1:]
    execute(
        servers.source,
        f"ALTER ROLE {role} REPLICATION; GRANT CREATE ON DATABASE {database} TO {role}",
        f"ALTER TABLE orders OWNER TO {role}; ALTER TABLE customers OWNER TO {role}",
        f"REVOKE ALL ON customers FROM {role}",
    )
    source = as_role(servers.source, role)
    problem = the(check(source, servers.target), "may not read it").problem
    assert problem.safe
    outcome = syncline("check", source, servers.target, "--fix", "--yes")
    assert outcome.code == 0, outcome
    execute(
        servers.source, f"ALTER TABLE customers OWNER TO CURRENT_USER; REVOKE ALL ON customers FROM {role}"
    )
    problem = the(check(source, servers.target), "may not read it").problem
    assert not problem.safe, "another's table"


def test_a_slot_that_is_read_or_known_is_never_taken_away(servers: Pair) -> None:
    with runs.Following(servers.source, servers.target):
        runs.wait_for(
            lambda: runs.value(servers.target, "SELECT to_regclass('customers')") is not None, "the table"
        )
        findings = check(servers.source, servers.target)
        assert "left behind" not in str(findings.problems)
    findings = check(servers.source, servers.target)
    assert "left behind" not in str(findings.problems), "the target knows the stream"


def test_the_journal_mode_of_a_file(files: Pair) -> None:
    outcome = syncline("check", files.source, files.target, "--fix", "--yes")
    assert (outcome.code, "PRAGMA journal_mode=WAL" in outcome.err) == (0, True), outcome
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(("answer", "mode"), [(b"y", "wal"), (b"n", "delete")])
def test_a_terminal_is_asked_before_anything_runs(files: Pair, answer: bytes, mode: str) -> None:
    ours, theirs = pty.openpty()
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = start("check", files.source, files.target, "--fix", env={"NO_COLOR": "1"}, **ends)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            if b"run it?" in part:
                os.write(ours, answer + b"\n")
            written += part
    except OSError:  # Linux says so when the last writer has closed a terminal
        pass
    os.close(ours)
    assert process.wait() == 0, written
    assert b"at the source: PRAGMA journal_mode=WAL" in written
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_nobody_who_could_answer(files: Pair) -> None:
    outcome = syncline("check", files.source, files.target, "--fix")
    assert (outcome.code, "add --yes" in outcome.err) == (2, True), outcome
    outcome = syncline("check", files.source, files.target, "--yes")
    assert (outcome.code, "add --fix" in outcome.err) == (2, True), outcome


# What it looks like


def test_findings_stand_under_their_store_and_table_with_the_statement_alone_on_its_line(
    servers: Pair,
) -> None:
    execute(servers.source, "CREATE TABLE codes (code text NOT NULL UNIQUE)")
    outcome = syncline("check", servers.source, servers.target)
    lines = outcome.out.splitlines()
    at = lines.index("  table codes")
    assert lines[0].startswith("source  postgresql://syncline@")
    assert lines[at + 1].startswith("    ! it has no primary key")
    statement, _, comment = lines[at + 2].strip().partition("  -- ")
    assert statement == "ALTER TABLE public.codes REPLICA IDENTITY USING INDEX codes_code_key;"
    assert comment == "as its owner (--fix)"
    assert lines[-1].endswith("2 tables would be synced")
    assert "\x1b" not in outcome.out


def test_one_store_is_not_enough(files: Pair) -> None:
    outcome = syncline("check", files.source)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "takes two databases, FROM and TO, or one pipeline" in outcome.err
