"""What is PostgreSQL's own in reading: its catalog, its types, its text, its errors."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from syncline.connectors.postgres.codec import column_from_text, copy_text, rows_from_csv
from syncline.connectors.postgres.connection import Address
from syncline.connectors.postgres.store import COPY_TEXT, SERVER_DIGEST, PostgresStore
from syncline.errors import NeedsOperator, Refused, SynclineError, Transient
from syncline.model import CANONICAL, Column, Digest, Kind, Rows, Schema, Span, TableName, Type
from tests.conftest import Databases

EDGES = r"""
CREATE SCHEMA "Odd ""s";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE "Odd ""s"."we""ird T" (
    "k 1" text, "K2" uuid, k3 int, big text, a smallint, b boolean, n numeric(10,2), n2 numeric, f4 real,
    f8 float8, v varchar(20), c char(5), by bytea, d date, t time, ts timestamp(3), tz timestamptz,
    iv interval, j json, jb jsonb, m mood, arr int[], texts text[], moods mood[], p positive, ip inet,
    r int4range, bits bit(3), g int GENERATED ALWAYS AS (a * 2) STORED,
    PRIMARY KEY ("k 1", "K2", k3)
);
INSERT INTO "Odd ""s"."we""ird T" VALUES
(E'k\\.\n1', '00000000-0000-0000-0000-00000000000A', -1, E'\\N', -32768, true, 1.1, '1.10', 0.1, 'NaN',
 E'a\t"b\\N,\r\n', 'ab', '\x00ff5c0a', '0044-03-15 BC', '23:59:59.5', 'infinity', '-infinity',
 '1 mon 2 days 03:00:00.5', '{"a":  1.0}', '{"a":  1.0}', 'it''s ok', '{1,NULL}', '{"a b","\"",NULL,"NULL"}',
 '{sad}', 4, '10.0.0.1', '[1,3)', '101'),
('', '00000000-0000-0000-0000-000000000002', 0, '', 0, false,  0, 'NaN', '-0', '-0', '', '', '',
 'infinity', '00:00', '2024-02-29 23:59:59.999', '2024-02-29 23:59:59.5+02', 'P0D', 'null', 'null', 'sad',
 '{}', '{}', '{}', 1, '::1/64', 'empty', '000'),
('\.', '00000000-0000-0000-0000-000000000003', 2147483647, '\.', 32767, NULL, -0.01, 1e-30, 'Infinity',
 '5e-324', 'ü€🙂', 'e    ', '\x', '-infinity', '24:00', '4713-01-01 BC', 'infinity', 'P-1Y2M-3DT4H-5M-6.7S',
 '[]', '"x"', NULL, '{{1,2},{3,4}}', '{""}', NULL, NULL, NULL, NULL, NULL),
('"', '00000000-0000-0000-0000-000000000004', -2147483648, NULL, NULL, NULL, NULL,
 123456789012345678901234567890.123456789, 3.4e38, '-Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""


def run(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script.encode())


def tables(store: PostgresStore) -> dict[str, Schema]:
    return {str(schema.table): schema for schema in store.discover()}


def kinds(schema: Schema) -> dict[str, tuple[Kind, str]]:
    return {column.name: (column.type.kind, column.type.name) for column in schema.columns}


Opener = Callable[[str], PostgresStore]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens stores that are closed with the test."""
    stores: list[PostgresStore] = []

    def open_store(url: str) -> PostgresStore:
        stores.append(PostgresStore(url))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def edges(postgres_database: Databases) -> str:
    url = postgres_database()
    run(url, EDGES)
    return url


def test_types_keep_postgresqls_name_where_the_kind_alone_loses_it(opened: Opener, edges: str) -> None:
    schema = tables(opened(edges))['Odd "s.we"ird T']
    assert schema.table == TableName('we"ird T', 'Odd "s')
    assert schema.key == ("k 1", "K2", "k3")
    found = kinds(schema)
    assert found["v"] == (Kind.TEXT, "")
    assert schema.column("v").type.length == 20
    assert found["c"] == (Kind.TEXT, "character(5)")
    assert found["ts"] == (Kind.TIMESTAMP, "timestamp(3) without time zone")
    assert found["j"] == (Kind.JSON, "")
    assert found["jb"] == (Kind.JSON, "jsonb")
    assert found["m"] == (Kind.ENUM, "public.mood")
    assert schema.column("m").type.labels == ("sad", "it's ok")
    assert found["p"] == (Kind.INT32, "public.positive")
    assert found["ip"] == (Kind.OPAQUE, "inet")
    assert found["bits"] == (Kind.OPAQUE, "bit(3)")
    moods = schema.column("moods").type
    assert moods.element is not None
    assert (moods.kind, moods.element.kind) == (Kind.ARRAY, Kind.ENUM)
    assert schema.column("g").generated
    assert "g" not in schema.names
    assert Schema.from_json(schema.to_json()) == schema


def test_cells_at_the_edges_come_out_exactly(opened: Opener, edges: str) -> None:
    store = opened(edges)
    schema = tables(store)['Odd "s.we"ird T']
    rows = Rows.concat(list(store.read(schema, Span())))
    cells = {name: dict(zip(rows.array("k 1").to_pylist(), rows.array(name).to_pylist(), strict=True))
             for name in rows.columns}  # fmt: skip
    first, empty, dot, nulls = "k\\.\n1", "", "\\.", '"'
    assert set(cells["k 1"]) == {first, empty, dot, nulls}
    assert cells["big"] == {first: "\\N", empty: "", dot: "\\.", nulls: None}
    assert cells["v"] == {first: 'a\t"b\\N,\r\n', empty: "", dot: "ü€🙂", nulls: None}
    assert cells["K2"][first] == "00000000-0000-0000-0000-00000000000a"
    assert cells["b"] == {first: True, empty: False, dot: None, nulls: None}
    assert cells["n"] == {first: "1.10", empty: "0.00", dot: "-0.01", nulls: None}
    assert cells["n2"][first] == "1.10"
    assert cells["n2"][empty] == "NaN"
    assert cells["n2"][nulls] == "123456789012345678901234567890.123456789"
    assert math.isnan(cells["f8"][first])
    assert math.copysign(1, cells["f8"][empty]) == -1
    assert cells["f8"][dot] == 5e-324
    assert cells["f8"][nulls] == -math.inf
    assert cells["by"] == {first: b"\x00\xff\\\n", empty: b"", dot: b"", nulls: None}
    assert cells["d"][first] == "0044-03-15 BC"
    assert cells["ts"][first] == "infinity"
    assert cells["tz"][empty] == "2024-02-29 21:59:59.5+00"
    assert cells["iv"][first] == "P1M2DT3H0.5S"
    assert cells["j"][first] == '{"a":  1.0}'
    assert cells["texts"][first] == '{"a b","\\"",NULL,"NULL"}'


def test_rows_written_back_as_copy_text_are_the_same(opened: Opener, edges: str) -> None:
    store = opened(edges)
    schema = tables(store)['Odd "s.we"ird T']
    rows = Rows.concat(list(store.read(schema, Span())))
    with psycopg.connect(edges, autocommit=True) as connection:
        connection.execute('CREATE TABLE again (LIKE "Odd ""s"."we""ird T" INCLUDING ALL)')
        names = sql.SQL(", ").join(map(sql.Identifier, schema.names))
        with connection.cursor().copy(sql.SQL("COPY again ({}) FROM STDIN").format(names)) as copy:
            copy.write(copy_text(schema.stored, rows))
    again = tables(store)["again"]
    assert store.digest(again, Span(), SERVER_DIGEST) == store.digest(schema, Span(), SERVER_DIGEST)
    assert store.digest(again, Span(), CANONICAL) == store.digest(schema, Span(), CANONICAL)


def test_the_walsenders_text_of_a_cell_is_the_text_that_is_read(opened: Opener, edges: str) -> None:
    store = opened(edges)
    schema = tables(store)['Odd "s.we"ird T']
    raw = b"".join(part.raw for part in store.read(schema, Span(), format=COPY_TEXT))
    read = Rows.concat(list(store.read(schema, Span())))
    escapes = {b"\\n": b"\n", b"\\t": b"\t", b"\\r": b"\r", b"\\\\": b"\\"}
    lines = []
    for line in raw.splitlines():
        cells: list[bytes | None] = []
        for cell in line.split(b"\t"):
            text, at = b"", 0
            while at < len(cell):
                size = 2 if cell[at : at + 1] == b"\\" else 1
                text += escapes.get(cell[at : at + size], cell[at : at + size])
                at += size
            cells.append(None if cell == b"\\N" else text)
        lines.append(cells)
    for place, column in enumerate(schema.stored):
        parsed = column_from_text(pa.array([line[place] for line in lines], pa.binary()), column.type)
        assert parsed.type == column.type.arrow
        assert repr(parsed.to_pylist()) == repr(read.array(column.name).to_pylist())


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])),
            st.none() | st.binary(),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_copy_text_escapes_anything(cells: list[tuple[str, bytes | None]]) -> None:
    columns = (Column("t", Type(Kind.TEXT)), Column("b", Type(Kind.BYTES)))
    rows = Rows.of(
        ["t", "b"],
        [pa.array([t for t, _ in cells], pa.string()), pa.array([b for _, b in cells], pa.binary())],
    )
    raw = copy_text(columns, rows).decode()
    assert raw.count("\n") == len(cells)
    for line, (text, data) in zip(raw.split("\n"), cells, strict=False):
        first, second = line.split("\t")
        unescaped = first.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
        assert unescaped.replace("\0", "\\") == text
        assert second == ("\\N" if data is None else "\\\\x" + data.hex())


def test_a_slice_of_an_array_is_written_as_the_slice() -> None:
    columns = (Column("n", Type(Kind.INT64)),)
    array = pa.array(range(10)).slice(3, 4)
    assert copy_text(columns, Rows.of(["n"], [array])) == b"3\n4\n5\n6\n"


def test_text_that_is_no_text_is_named() -> None:
    with pytest.raises(NeedsOperator, match="cell of type text"):
        column_from_text(pa.array([b"\xff\xfe"], pa.binary()), Type(Kind.TEXT))
    with pytest.raises(NeedsOperator):
        column_from_text(pa.array([b"abc"], pa.binary()), Type(Kind.INT64))
    assert rows_from_csv((Column("a", Type(Kind.BOOL)),), b"").array("a").type == pa.bool_()


def test_a_cell_larger_than_the_pieces(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(
        url,
        r"""CREATE TABLE t (id int PRIMARY KEY, v text);
                 INSERT INTO t SELECT i, repeat(E'\n"\\', 100000) FROM generate_series(1, 30) i""",
    )
    store = opened(url)
    schema = tables(store)["t"]
    for format in (COPY_TEXT, "arrow"):
        parts = list(store.read(schema, Span(), format=format, max_bytes=1000))
        assert len(parts) == 30
        assert sum(part.count for part in parts) == 30
    assert rows_text(store, schema) == {'\n"\\' * 100000}


def rows_text(store: PostgresStore, schema: Schema) -> set[str]:
    return {cell for part in store.read(schema, Span()) for cell in part.array("v").to_pylist()}


def test_spans_follow_the_servers_order_of_keys(opened: Opener, edges: str) -> None:
    seed = int(os.environ.get("SYNCLINE_SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    run(edges, """CREATE TABLE keys (a text COLLATE "C", b mood, c int, d char(3), PRIMARY KEY (a, b, c, d));
                  CREATE TABLE words (w text COLLATE "en-x-icu" PRIMARY KEY)""")  # fmt: skip
    with psycopg.connect(edges) as connection:
        chosen = {
            (chance.choice(["", "a", "B", "ä", "'", "\\", "a b"]), chance.choice(["sad", "it's ok"]),
             chance.randrange(-5, 5), chance.choice(["", "x", "y z"]))
            for _ in range(200)
        }  # fmt: skip
        connection.cursor().executemany("INSERT INTO keys VALUES (%s, %s, %s, %s)", list(chosen))
        connection.cursor().executemany(
            "INSERT INTO words VALUES (%s)",
            [(w,) for w in ("a", "B", "b", "A", "ä", "z", "Z", "-a", "co-op", "coop")],
        )
    store = opened(edges)
    known = tables(store)
    for name, count in (("keys", len(chosen)), ("words", 10)):
        schema = known[name]
        for rows in (1, 3, 7, 1000):
            spans = store.split(schema, rows)
            digests = [store.digest(schema, span, SERVER_DIGEST) for span in spans]
            assert sum(digests, Digest()) == store.digest(schema, Span(), SERVER_DIGEST)
            assert max(digest.count for digest in digests) <= rows
            assert sum(digest.count for digest in digests) == count


def test_partitions_and_heirs(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
                CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
                CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
                INSERT INTO part SELECT i, i FROM generate_series(0, 19) i; ANALYZE;
                CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (base);
                INSERT INTO base VALUES (1); INSERT INTO heir VALUES (2)""")  # fmt: skip
    store = opened(url)
    known = tables(store)
    assert set(known) == {"part", "base", "heir"}
    assert known["part"].estimated_rows == 20
    assert {name: store.digest(schema, Span(), CANONICAL).count for name, schema in known.items()} == {
        "part": 20,
        "base": 1,
        "heir": 1,
    }


def test_what_cannot_be_synced_says_why_and_the_way_out(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE keyless (a int NOT NULL);
                CREATE TABLE by_index (a int NOT NULL, b int PRIMARY KEY);
                CREATE UNIQUE INDEX i ON by_index (a);
                ALTER TABLE by_index REPLICA IDENTITY USING INDEX i;
                CREATE TABLE full_one (a int NOT NULL UNIQUE); ALTER TABLE full_one REPLICA IDENTITY FULL;
                CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
                CREATE TABLE late (a int PRIMARY KEY DEFERRABLE);
                CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY);
                CREATE VIEW seen AS SELECT 1 AS a; CREATE MATERIALIZED VIEW kept AS SELECT 1 AS a;
                CREATE SCHEMA syncline; CREATE TABLE syncline.streams (a int PRIMARY KEY);
                CREATE TABLE left__syncline_new (a int PRIMARY KEY)""")  # fmt: skip
    problems = {str(schema.table): schema.problem for schema in opened(url).discover()}
    assert "no primary key" in problems.pop("keyless")
    assert problems.pop("by_index") == ""
    assert problems.pop("full_one") == ""
    assert "REPLICA IDENTITY DEFAULT" in problems.pop("nothing")
    assert "deferrable" in problems.pop("late")
    assert "SET LOGGED" in problems.pop("unlogged")
    assert problems.pop("seen") == "it is a view"
    assert problems.pop("kept") == "it is a materialized view"
    assert problems == {}
    assert tables(opened(url))["by_index"].key == ("a",)


def test_a_role_called_like_the_bookkeeping_finds_its_tables(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA syncline")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_user, current_schema()").fetchone() == (
            "syncline",
            "syncline",
        )
    assert [schema.table for schema in opened(url).discover()] == [TableName("t")]


def test_indexes_foreign_keys_and_sequences(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE parent (id bigserial PRIMARY KEY, mail text UNIQUE DEFERRABLE, n int, p point);
                CREATE INDEX plain ON parent (n, mail); CREATE UNIQUE INDEX partial ON parent (n) WHERE n > 0;
                CREATE INDEX low ON parent (lower(mail)); CREATE INDEX space ON parent USING gist (p);
                CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    parent bigint CONSTRAINT "of" REFERENCES parent ON DELETE CASCADE DEFERRABLE);
                INSERT INTO parent (n) SELECT i FROM generate_series(1, 7) i""")  # fmt: skip
    store = opened(url)
    known = tables(store)
    indexes = {index.name: index for index in known["parent"].indexes}
    assert {name for name, index in indexes.items() if index.portable} == {"plain", "parent_mail_key"}
    assert indexes["plain"].columns == ("n", "mail")
    assert indexes["parent_mail_key"].constraint
    assert indexes["partial"].unique
    (foreign,) = known["child"].foreign_keys
    assert (foreign.name, foreign.columns, foreign.parent) == ("of", ("parent",), TableName("parent"))
    assert (foreign.on_delete, foreign.deferrable) == ("CASCADE", True)
    assert known["parent"].column("id").identity
    assert known["parent"].column("id").default is None
    assert store.sequences(known["parent"]) == {"id": 7}
    assert store.sequences(known["child"]) == {}


def test_the_session_is_the_same_whatever_the_role_prefers(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    name = urlsplit(url).path[1:]
    for setting in ("TimeZone='Asia/Tokyo'", "DateStyle='SQL, DMY'", "IntervalStyle='postgres'",
                    "extra_float_digits=-3", "bytea_output='escape'", "statement_timeout='1ms'",
                    "default_transaction_isolation='serializable'", "synchronous_commit=off"):  # fmt: skip
        run(url, f"ALTER DATABASE {name} SET {setting}")
    run(
        url + "?options=-cstatement_timeout%3D0",
        """CREATE TABLE t (id int PRIMARY KEY, f float8, tz timestamptz,
        iv interval, by bytea);
        INSERT INTO t VALUES (1, 0.1::float8 + 0.2, '2024-05-06 07:08:09+00', '1 day', 'ab')""",
    )
    store = opened(url)
    (rows,) = store.read(tables(store)["t"], Span())
    assert rows.tuples() == [(1, 0.30000000000000004, "2024-05-06 07:08:09+00", "P1D", b"ab")]
    with store._mapped("look at", "settings") as connection:
        shown = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in
                 ("statement_timeout", "transaction_isolation", "synchronous_commit")]  # fmt: skip
    assert shown == [("0",), ("read committed",), ("on",)]


def test_rows_hidden_by_a_policy_are_an_error_and_not_missing(
    opened: Opener, postgres_database: Databases
) -> None:
    url = postgres_database()
    role = f"reader_{os.getpid()}"
    run(url, f"""CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
                 ALTER TABLE t ENABLE ROW LEVEL SECURITY;
                 CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT SELECT ON t TO {role}""")  # fmt: skip
    try:
        store = opened(_as(url, role, "secret"))
        with pytest.raises(SynclineError, match="row-level security"):
            list(store.read(tables(store)["t"], Span()))
        store.close()
    finally:
        run(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_plain_role_reads_and_is_told_what_it_lacks(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    role = f"reader_{os.getpid()}"
    run(url, f"""CREATE TABLE mine (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
                 CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT SELECT ON mine TO {role}""")  # fmt: skip
    try:
        store = opened(_as(url, role, "secret"))
        assert store.identity() == opened(url).identity()
        known = tables(store)
        assert list(store.read(known["mine"], Span())) == []
        with pytest.raises(Refused, match=f"GRANT SELECT ON other TO {role}"):
            list(store.read(known["other"], Span()))
        store.close()
    finally:
        run(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def _as(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("could not open relation with OID 44483", Transient),
        ("cache lookup failed for relation 44483", Transient),
        ("invalid page in block 7", NeedsOperator),
    ],
)
def test_a_table_that_is_dropped_under_a_look_at_the_catalog_is_transient(
    opened: Opener, postgres_database: Databases, said: str, kind: type[SynclineError]
) -> None:
    store = opened(postgres_database())
    statement = f"DO $$ BEGIN RAISE '{said}' USING ERRCODE = 'internal_error'; END $$"
    with pytest.raises(SynclineError, match=said) as caught, store._mapped("look at", "it") as connection:
        connection.execute(statement)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("syncline:", "syncline:wr0ng", "check user and password"),
        ("@127.0.0.1", "@nohost.invalid", "check the host"),
        ("/postgres", "/nowhere", "check the database's name"),
        ("/postgres", "/postgres?sslmode=require", "sslmode=disable"),
    ],
)
def test_a_wrong_url_is_one_line_without_its_password(
    opened: Opener, postgres_url: str, old: str, new: str, said: str
) -> None:
    password = urlsplit(postgres_url).password or ""
    head, found, tail = postgres_url.rpartition(old)
    assert found
    store = opened(head + new + tail)
    with pytest.raises(Refused, match=said) as caught:
        store.identity()
    text = str(caught.value)
    assert "\n" not in text
    assert password not in text + repr(store) + store.name
    assert "wr0ng" not in text


@pytest.mark.parametrize(
    "url", ["postgresql://u:pässw@rd@h/d?nonsense=1", "postgresql://[::1/x", "http://u:pw@h/"]
)
def test_a_url_that_is_none_is_refused(opened: Opener, url: str) -> None:
    with pytest.raises(Refused) as caught:
        opened(url)
    assert "pässw" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_nobody_listening_is_waited_for(opened: Opener) -> None:
    with pytest.raises(Transient, match="refused"):
        opened("postgresql://u@127.0.0.1:1/d").identity()


def test_a_remote_server_must_prove_itself() -> None:
    def mode(url: str) -> str:
        found = Address(url).conninfo()
        return next((part for part in found.split() if part.startswith("sslmode=")), "")

    assert mode("postgresql://db.example.com/d") == "sslmode=verify-full"
    assert mode("postgresql://10.1.2.3/d") == "sslmode=verify-full"
    assert mode("postgresql://db.example.com/d?sslmode=require") == "sslmode=require"
    for local in ("localhost", "127.0.0.1", "[::1]", ""):
        assert mode(f"postgresql://{local}/d") == ""
    assert mode("postgresql+psycopg://db.example.com/d") == "sslmode=verify-full"


def test_interrupt_ends_the_query_on_the_server_too(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, """CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
                CREATE VIEW slow AS SELECT id, pg_sleep(600)::text FROM t""")  # fmt: skip
    store = opened(url)
    schema = tables(store)["t"]
    slow = Schema(
        TableName("slow"), (*schema.columns, Column("pg_sleep", Type(Kind.TEXT))), ("id",), "postgres"
    )
    caught: list[BaseException] = []

    def read() -> None:
        try:
            list(store.read(slow, Span(), format=COPY_TEXT))
        except BaseException as error:
            caught.append(error)

    store._sorts["public", "slow"] = "p"
    thread = threading.Thread(target=read)
    thread.start()
    with psycopg.connect(url, autocommit=True) as connection:
        running = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%slow%' AND state = 'active'
                     AND datname = current_database()"""
        while connection.execute(running).fetchone() == (0,):
            time.sleep(0.01)
        store.interrupt()
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(caught[0], Transient)
        assert connection.execute(running).fetchone() == (0,)
        assert store.digest(schema, Span(), SERVER_DIGEST).count == 1
        store.close()
        store.close()
        own = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name LIKE 'syncline%'"""
        while connection.execute(own).fetchone() != (0,):
            time.sleep(0.01)


def test_a_lost_session_is_transient_and_made_anew(opened: Opener, postgres_database: Databases) -> None:
    url = postgres_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    store = opened(url)
    schema = tables(store)["t"]
    run(url, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
             " WHERE application_name = 'syncline'"
             " AND datname = current_database()")  # fmt: skip
    with pytest.raises(Transient):
        store.digest(schema, Span(), SERVER_DIGEST)
    assert store.digest(schema, Span(), SERVER_DIGEST) == Digest()
