"""Each kind of problem, produced for real and found by `check`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from services.postgres import Postgres
from syncline.connectors.sqlite import problems as sqlite_problems
from syncline.model import Severity
from tests import runs
from tests.mounts import mounted

from .checks import check, execute, severities, the
from .command import picture, syncline
from .pairs import TABLES, Pair, as_role

REFUSE, WARN, NOTE = Severity.REFUSE, Severity.WARN, Severity.NOTE


# Nothing wrong


def test_two_servers_with_nothing_wrong(servers: Pair) -> None:
    before = picture(servers.source), picture(servers.target)
    findings = check(servers.source, servers.target)
    assert severities(findings) <= {NOTE}, [str(found.problem) for found in findings.problems]
    assert findings.exit_code == 0
    assert [str(table) for table in findings.tables] == ["customers", "orders"]
    assert (picture(servers.source), picture(servers.target)) == before


def test_two_files_with_nothing_wrong(files: Pair, tmp_path: Path) -> None:
    before = picture(files.source), picture(files.target)
    findings = check(files.source, files.target, deep=True)
    assert severities(findings) <= {NOTE}
    assert (picture(files.source), picture(files.target)) == before
    assert check(files.source, f"sqlite:///{tmp_path}/new.db").exit_code == 0
    assert not (tmp_path / "new.db").exists()


def test_a_check_beside_a_running_follow_disturbs_nothing(servers: Pair) -> None:
    with runs.Following(servers.source, servers.target) as following:
        count = "SELECT count(*) FROM customers"
        runs.wait_for(lambda: _has(servers.target, "customers"), "the table")
        runs.wait_for(lambda: runs.value(servers.target, count) == 2, "the copy")
        findings = check(servers.source, servers.target)
        assert findings.exit_code == 0, [str(found.problem) for found in findings.problems]
        runs.execute(servers.source, "INSERT INTO customers VALUES (3, 'C')")
        runs.wait_for(lambda: runs.value(servers.target, count) == 3, "the change")
        following.stop()
        assert "Superseded" not in repr(following.error)


def _has(url: str, table: str) -> bool:
    return runs.value(url, f"SELECT to_regclass('{table}') IS NOT NULL") is True


# Everything at once


@pytest.fixture(scope="module")
def small() -> Iterator[Postgres]:
    """A server that has none of what a source needs."""
    server = Postgres("postgres-small")
    with server.in_use():
        with psycopg.connect(server.url, autocommit=True) as session:
            for setting in ("wal_level = 'replica'", "max_wal_senders = 0", "max_replication_slots = 0"):
                session.execute(f"ALTER SYSTEM SET {setting}".encode())
        server.stop()
        server.start()
        execute(server.url, TABLES, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
        yield server


def test_all_problems_are_listed_and_not_only_the_first(small: Postgres, files: Pair) -> None:
    findings = check(as_role(small.url, "plain", "plain"), files.target, tables=("customers", "nope"))
    assert findings.exit_code == 2
    for statement in (
        "ALTER SYSTEM SET wal_level = 'logical'",
        'ALTER ROLE "plain" REPLICATION',
        "ALTER SYSTEM SET max_replication_slots = 10",
        "ALTER SYSTEM SET max_wal_senders = 10",
        "GRANT SELECT ON public.customers TO plain",
    ):
        found = [found for found in findings.problems if found.problem.statement == statement]
        assert [found.problem.severity for found in found] == [REFUSE], statement
    assert the(findings, "has no such table").problem.severity is REFUSE


@pytest.mark.parametrize(
    ("role", "level", "right"),
    [
        ("rds_superuser", "rds.logical_replication to 1", "GRANT rds_replication"),
        ("cloudsqlsuperuser", "cloudsql.logical_decoding", "ALTER ROLE"),
        ("azure_pg_admin", "server parameter wal_level", "ALTER ROLE"),
    ],
)
def test_a_managed_server_is_told_its_own_way(
    small: Postgres, files: Pair, role: str, level: str, right: str
) -> None:
    execute(small.url, f"CREATE ROLE {role}")
    try:
        findings = check(as_role(small.url, "plain", "plain"), files.target)
        assert level in the(findings, "wal_level is replica").problem.remedy
        assert right in the(findings, "may not read the log").problem.remedy
    finally:
        execute(small.url, f"DROP ROLE {role}")


def test_a_standby(small: Postgres, files: Pair) -> None:
    folder = Path(str(runs.value(small.url, "SHOW data_directory")))
    small.stop()
    (folder / "standby.signal").touch()
    small.start()
    try:
        as_source = check(small.url, files.target)
        assert the(as_source, "is a standby", "name its primary").problem.severity is REFUSE
        as_target = check(files.source, small.url)
        assert the(as_target, "read-only", "name its primary").problem.severity is REFUSE
    finally:
        small.stop()
        (folder / "standby.signal").unlink()
        small.start()


def test_both_ends_that_cannot_be_opened(tmp_path: Path) -> None:
    findings = check(f"sqlite:///{tmp_path}/no.db", "postgresql://me@no-such-host.invalid/shop")
    assert the(findings, "no such file").end == "source"
    assert the(findings, "check the host").end == "target"
    assert findings.exit_code == 2


# PostgreSQL as source


def test_a_transaction_and_a_prepared_one_that_hold_up_the_start(servers: Pair) -> None:
    with psycopg.connect(servers.source, application_name="the app") as app:
        app.execute("INSERT INTO customers VALUES (7, 'open')")
        execute(
            servers.source,
            "BEGIN; INSERT INTO customers VALUES (8, 'x'); PREPARE TRANSACTION 'forgotten'",
        )
        findings = check(servers.source, servers.target)
        one = the(findings, "the start waits for", "(the app)", "open since").problem
        assert one.severity is WARN
        assert one.statement == f"SELECT pg_terminate_backend({app.info.backend_pid})"
        other = the(findings, "the start waits for", "prepared transaction 'forgotten'").problem
        assert other.statement == "ROLLBACK PREPARED 'forgotten'"
        assert not one.safe
        assert not other.safe, "it touches rows"
        app.rollback()
    execute(servers.source, "ROLLBACK PREPARED 'forgotten'")
    assert check(servers.source, servers.target).exit_code == 0


def test_what_no_stream_carries_is_named(servers: Pair) -> None:
    execute(
        servers.source,
        "CREATE VIEW seen AS SELECT * FROM customers",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM customers",
        "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY)",
        "CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE afar (line text) SERVER f OPTIONS (filename '/dev/null')",
        "CREATE TABLE keyless (n int)",
        "CREATE SEQUENCE invoices",
        "SELECT lo_create(0)",
    )
    findings = check(servers.source, servers.target)
    for parts in (
        ("it is a view",),
        ("it is a materialized view",),
        ("it is unlogged",),
        ("it is a foreign table",),
        ("no primary key", "no unique index"),
        ("sequence public.invoices", "not synced"),
        ("the log does not tell the 1 large objects",),
    ):
        assert the(findings, *parts).problem.severity is WARN
    unlogged = the(findings, "it is unlogged").problem
    assert (unlogged.statement, unlogged.safe) == ("ALTER TABLE public.fast SET LOGGED", False)
    assert findings.exit_code == 1
    skipped = syncline("sync", servers.source, servers.target, "--dry-run", "--json").document
    details = {table["detail"] for table in skipped["tables"] if table["verdict"] == "skipped"}
    assert details == {
        str(found.problem) for found in findings.problems if found.problem.table is not None
    }, "the words of the run"


def test_row_level_security_that_hides_rows(servers: Pair, role: str) -> None:
    execute(
        servers.source,
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; ALTER ROLE {role} REPLICATION",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    )
    problem = the(check(as_role(servers.source, role), servers.target), "row level security").problem
    assert problem.statement == f"ALTER ROLE {role} BYPASSRLS"
    execute(servers.source, problem.statement)
    assert "row level" not in str(check(as_role(servers.source, role), servers.target).problems)


def test_a_sequence_that_may_not_be_read(servers: Pair, role: str) -> None:
    execute(
        servers.source,
        "CREATE TABLE numbered (id serial PRIMARY KEY); INSERT INTO numbered DEFAULT VALUES",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; ALTER ROLE {role} REPLICATION",
    )
    problem = the(check(as_role(servers.source, role), servers.target), "numbered_id_seq").problem
    assert problem.severity is REFUSE
    execute(servers.source, problem.statement)
    assert "numbered_id_seq" not in str(check(as_role(servers.source, role), servers.target).problems)


def test_a_publication_of_an_administrator_that_misses_a_table(servers: Pair, role: str) -> None:
    execute(
        servers.source,
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; ALTER ROLE {role} REPLICATION",
    )
    source = as_role(servers.source, role)
    stream = check(source, servers.target).stream
    execute(servers.source, f"CREATE PUBLICATION {stream} FOR TABLE customers")
    problem = the(check(source, servers.target), "run ALTER PUBLICATION").problem
    assert "orders" in problem.statement
    assert problem.severity is REFUSE
    execute(servers.source, problem.statement)
    assert check(source, servers.target).exit_code == 0


def test_a_publication_that_leaves_things_out(servers: Pair) -> None:
    stream = check(servers.source, servers.target).stream
    execute(
        servers.source,
        f"CREATE PUBLICATION {stream} FOR TABLE customers WHERE (id > 1), orders WITH (publish = 'insert')",
    )
    findings = check(servers.source, servers.target)
    assert the(findings, "leaves out rows or columns of public.customers").problem.severity is REFUSE
    problem = the(findings, "does not tell all of insert").problem
    assert problem.statement.startswith("ALTER PUBLICATION")
    assert not problem.safe


def test_a_slot_of_that_name_that_is_somebody_elses(servers: Pair) -> None:
    stream = check(servers.source, servers.target).stream
    execute(servers.source, f"SELECT pg_create_logical_replication_slot('{stream}', 'test_decoding')")
    problem = the(check(servers.source, servers.target), "of test_decoding").problem
    assert problem.severity is REFUSE
    assert not problem.safe, "somebody may need it"


def test_tls_that_verifies_nobody(servers: Pair) -> None:
    parts = urlsplit(servers.source)
    # Another spelling of the loopback, which counts as a host elsewhere.
    elsewhere = parts._replace(netloc=f"{parts.username}:{parts.password}@127.1:{parts.port}")
    for mode, why in (("disable", "unencrypted"), ("prefer", "unencrypted")):
        url = urlunsplit(elsewhere._replace(query=f"sslmode={mode}"))
        problem = the(check(url, servers.target), why).problem
        assert (problem.severity, "verify-full" in problem.remedy) == (WARN, True)
        assert the(check(servers.target, url), why).end == "target"


# PostgreSQL as target


def test_rights_that_a_target_lacks_are_all_found(servers: Pair, role: str) -> None:
    database = urlsplit(servers.target).path[1:]
    execute(
        servers.target,
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)",
        f"REVOKE TEMP ON DATABASE {database} FROM PUBLIC",
        "CREATE TABLE numbered (id serial PRIMARY KEY)",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON numbered TO {role}; GRANT SELECT ON customers TO {role}",
    )
    execute(servers.source, "CREATE TABLE numbered (id serial PRIMARY KEY)")
    execute(servers.source, "DELETE FROM orders; DELETE FROM customers")
    target = as_role(servers.target, role)
    findings = check(servers.source, target)
    assert findings.exit_code == 2
    statements = [found.problem.statement for found in findings.problems if found.problem.severity is REFUSE]
    assert sorted(statement.partition(" TO ")[0] for statement in statements) == [
        f"GRANT CREATE, TEMP ON DATABASE {database}",
        'GRANT REFERENCES ON "public"."customers"',
        "GRANT SELECT, INSERT, UPDATE, DELETE ON customers",
        'GRANT SELECT, UPDATE ON SEQUENCE "public"."numbered_id_seq"',
        f"GRANT TEMP ON DATABASE {database}",
        "GRANT USAGE, CREATE ON SCHEMA public",
    ]
    execute(servers.target, *statements)
    assert check(servers.source, target).exit_code in (0, 1)
    outcome = syncline("sync", servers.source, target, "--quiet")
    assert outcome.code == 0, outcome


def test_a_target_that_differs_is_told_whole(servers: Pair) -> None:
    execute(
        servers.target,
        "CREATE UNLOGGED TABLE customers (id bigint, name text NOT NULL, age int NOT NULL)",
        "CREATE TABLE orders (id integer PRIMARY KEY, customer bigint NOT NULL, note varchar(10))",
    )
    findings = check(servers.source, servers.target)
    the(findings, "column age needs a value", "no primary key or unique index", "unlogged")
    problem = the(findings, "column customer is NOT NULL", "column note is character varying(10)").problem
    actions = ('ALTER COLUMN "customer" DROP NOT NULL', 'ALTER COLUMN "note" TYPE text')
    statement = f'ALTER TABLE "public"."orders" {", ".join(actions)}'
    assert (problem.severity, problem.remedy) == (REFUSE, f"run {statement}, or use --replace")
    assert (problem.statement, problem.conditional, problem.safe) == (statement, True, False)
    assert check(servers.source, servers.target, replace=True).exit_code == 0
    for found in findings.problems:
        execute(servers.target, found.problem.statement)
    again = check(servers.source, servers.target)
    execute(
        servers.target, the(again, "column id is integer there and bigint at the source").problem.statement
    )
    assert check(servers.source, servers.target).exit_code == 0
    assert syncline("sync", servers.source, servers.target, "--quiet").code == 0


def test_integers_too_small_for_what_may_come(servers: Pair) -> None:
    execute(
        servers.target,
        "CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL)",
        "CREATE TABLE orders (id smallint PRIMARY KEY, customer bigint, note text)",
    )
    findings = check(servers.source, servers.target)
    the(findings, "column id is integer there and bigint at the source: larger values are parked")
    the(findings, "column id is smallint there")
    assert findings.exit_code == 1


TRIGGER = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER plain_one BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER always_one BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE customers ENABLE ALWAYS TRIGGER always_one;
"""


def test_triggers_that_fire_and_those_that_do_not(servers: Pair, role: str) -> None:
    execute(servers.target, TRIGGER, f"ALTER TABLE customers OWNER TO {role}")
    as_superuser = check(servers.source, servers.target)
    assert the(as_superuser, "plain_one does not fire").problem.severity is NOTE
    always = the(as_superuser, "always_one fires").problem
    assert (always.severity, always.safe) == (WARN, False)
    as_owner = check(servers.source, as_role(servers.target, role))
    plain = the(as_owner, "plain_one fires").problem
    assert plain.statement == f'GRANT SET ON PARAMETER session_replication_role TO "{role}"'
    execute(servers.target, plain.statement)
    assert the(check(servers.source, as_role(servers.target, role)), "plain_one does not fire")


def test_row_level_security_at_the_target(servers: Pair, role: str) -> None:
    execute(
        servers.target,
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO {role}",
    )
    findings = check(servers.source, as_role(servers.target, role), tables=("customers",))
    problem = the(findings, "row-level security").problem
    assert problem.statement == f"ALTER ROLE {role} BYPASSRLS"


def test_what_a_swap_would_break(servers: Pair, role: str) -> None:
    execute(
        servers.target,
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text)",
        "CREATE VIEW names AS SELECT name FROM customers",
        "CREATE TABLE orders (id bigint PRIMARY KEY)",
    )
    findings = check(servers.source, servers.target, replace=True)
    assert the(findings, "view names hangs on it").problem.severity is REFUSE
    findings = check(servers.source, as_role(servers.target, role), replace=True)
    problem = the(findings, "it belongs to the role").problem
    assert problem.statement == f"ALTER TABLE public.orders OWNER TO {role}"


def test_tables_that_would_be_one(servers: Pair, files: Pair) -> None:
    execute(servers.source, "CREATE SCHEMA a", "CREATE TABLE a.b (id int PRIMARY KEY)")
    execute(servers.source, "CREATE TABLE a_b (id int PRIMARY KEY)")
    assert the(check(servers.source, files.target), "both would be a_b").problem.severity is REFUSE


# SQLite


def test_a_file_that_somebody_has_locked(files: Pair) -> None:
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"), isolation_level=None)) as app:
        app.execute("BEGIN IMMEDIATE")
        findings = check(files.source, files.target)
        assert the(findings, "waits for another process").problem.severity is WARN
        app.execute("ROLLBACK")
    assert check(files.source, files.target).exit_code == 0


def test_a_damaged_file(files: Pair) -> None:
    path = Path(files.source.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as file, file:
        file.executemany("INSERT INTO customers VALUES (?, ?)", ((n, "x" * 200) for n in range(10, 2000)))
        page = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'customers'").fetchone()[0]
        size = file.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as raw:
        raw.seek((page - 1) * size + 8)
        raw.write(os.urandom(200))
    assert the(check(files.source, files.target), "from a backup").problem.severity is REFUSE


def test_values_that_are_none_of_their_type_are_found_by_a_deep_look(files: Pair, servers: Pair) -> None:
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE amounts (id INTEGER PRIMARY KEY, amount INTEGER)")
        file.executemany("INSERT INTO amounts VALUES (?, ?)", [(1, 5), (2, "many"), (3, "few")])
    assert check(files.source, servers.target, exclude=("customers",)).exit_code == 0
    findings = check(files.source, servers.target, exclude=("customers",), deep=True)
    problem = the(findings, "2 rows would be parked", "id=2 holds 'many'").problem
    assert (problem.severity, str(problem.table)) == (WARN, "amounts")


def test_a_column_that_may_hold_anything_fits_sqlite_only(files: Pair, servers: Pair, tmp_path: Path) -> None:
    with closing(sqlite3.connect(files.source.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE free (id INTEGER PRIMARY KEY, what ANY) STRICT")
    findings = check(files.source, servers.target, tables=("free",))
    assert the(findings, "column what", "no exact form").problem.severity is REFUSE
    assert check(files.source, f"sqlite:///{tmp_path}/to.db", tables=("free",)).exit_code == 0


def test_triggers_of_a_file_fire(files: Pair) -> None:
    with closing(sqlite3.connect(files.target.removeprefix("sqlite:///"))) as file, file:
        file.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)")
        file.execute("CREATE TRIGGER seen AFTER INSERT ON customers BEGIN SELECT 1; END")
    assert the(check(files.source, files.target), "trigger seen fires").problem.severity is WARN


def test_a_folder_that_cannot_be_written(files: Pair, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        (disk / "shop.db").write_bytes(Path(files.source.removeprefix("sqlite:///")).read_bytes())
        with mounted(disk, "remount,ro"):
            as_source = check(f"sqlite:///{disk}/shop.db", files.target)
            assert the(as_source, "the file or its folder is read-only").problem.severity is REFUSE
            as_target = check(files.source, f"sqlite:///{disk}/copy.db")
            assert the(as_target, "the file or its folder is read-only").problem.severity is REFUSE
            for source, target in (
                (f"sqlite:///{disk}/shop.db", files.target),
                (files.source, f"sqlite:///{disk}/copy.db"),
            ):
                refused = syncline("sync", source, target, "--quiet")
                assert (refused.code, "is read-only" in refused.err) == (2, True), refused


def test_a_disk_without_room(servers: Pair, files: Pair, tmp_path: Path) -> None:
    execute(
        servers.source, "INSERT INTO orders SELECT n, NULL, repeat('x', 500) FROM generate_series(20, 9000) n"
    )
    with mounted(tmp_path / "disk", "size=1m") as disk:
        findings = check(servers.source, f"sqlite:///{disk}/copy.db")
        problem = the(findings, "the tables take", "are free here").problem
        assert problem.severity is WARN
        (disk / "shop.db").write_bytes(Path(files.source.removeprefix("sqlite:///")).read_bytes())
        assert the(check(f"sqlite:///{disk}/shop.db", files.target), "free for the log")


MOUNTS = """
24 1 0:22 / / rw - ext4 /dev/sda1 rw
25 24 0:23 / /home rw - nfs4 server:/home rw
26 25 0:24 / /home/me/my\\040disk rw shared:1 - xfs /dev/sdb1 rw
27 24 0:25 / /mnt/share rw - cifs //server/share rw
28 24 0:26 / /mnt/ssh rw - fuse.sshfs me@server: rw
""".lstrip()


@pytest.mark.parametrize(
    ("path", "kind", "remote"),
    [
        ("/var/lib/shop.db", "ext4", False),
        ("/home/me/shop.db", "nfs4", True),
        ("/home/me/my disk/shop.db", "xfs", False),
        ("/home2/shop.db", "ext4", False),
        ("/mnt/share/shop.db", "cifs", True),
        ("/mnt/ssh/shop.db", "fuse.sshfs", True),
    ],
)
def test_network_file_systems_are_known_by_their_mounts(
    tmp_path: Path, path: str, kind: str, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert sqlite_problems.file_system(path, mounts) == kind
    monkeypatch.setattr(sqlite_problems, "_MOUNTS", mounts)
    found = list(sqlite_problems.of_place(path, "here"))
    assert bool(found) is remote


def test_whoever_has_locked_a_table_is_named_instead_of_waited_for(servers: Pair) -> None:
    with psycopg.connect(servers.source, application_name="the app") as app:
        app.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        outcome = syncline("check", servers.source, servers.target)
        assert outcome.code == 3, outcome
        for part in ("table orders is locked by user syncline", "(the app)", "since"):
            assert part in outcome.err
        app.rollback()
