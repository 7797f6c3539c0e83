"""The binlog of real servers, read: values, transactions, and what ends or bars the reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from services import Server
from syncline.connectors.mysql.connection import Address
from syncline.connectors.mysql.decoder import Collected, End, Statement
from syncline.connectors.mysql.dump import Dump, LogLost, Place
from syncline.connectors.mysql.gtid import MariaDBSet, MySQLSet
from syncline.errors import NeedsOperator, Refused, Transient
from tests.mysql_family import ask, connect, run

from .binlog_reader import SERVER, changes_of, file_place, known, purge, reading, transactions

Databases = Callable[[], str]
BOTH = pytest.mark.parametrize("system", ["mariadb", "mysql"])


@pytest.fixture
def url(request: pytest.FixtureRequest, system: str) -> str:
    """A fresh database of the system."""
    made: str = request.getfixturevalue(f"{system}_database")()
    return made


@pytest.fixture
def server(request: pytest.FixtureRequest, system: str) -> Server:
    """The system's server."""
    found: Server = request.getfixturevalue(f"{system}_server")
    return found


def kinds(url: str, found: list) -> list[str]:
    return [change.kind for change in changes_of(url, found)]


@BOTH
def test_transactions_come_whole_and_in_order_with_their_place(url: str) -> None:
    run(url, "CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE b (id int PRIMARY KEY)")
    begin = known(url)
    session = connect(url, autocommit=False)
    ask(
        session,
        "INSERT INTO a VALUES (1, 1), (2, 2)",
        "INSERT INTO b VALUES (1)",
        "UPDATE a SET n = 5 WHERE id = 2",
    )
    session.commit()
    ask(session, "INSERT INTO b VALUES (9)")
    session.rollback()
    ask(session, "DELETE FROM a WHERE id = 1", "UPDATE a SET id = 7")
    session.commit()
    session.close()
    first, second = found = transactions(url, Place(begin))
    assert [part.table.name for part in first.parts if isinstance(part, Collected)] == ["a", "b"]
    told = changes_of(url, [first])
    assert [(one.table, one.kind) for one in told] == [("a", "I"), ("a", "I"), ("a", "U"), ("b", "I")]
    assert told[2].before == {"id": 2, "n": 2}
    assert told[2].after == {"id": 2, "n": 5}
    assert [(one.kind, one.before, one.after) for one in changes_of(url, [second])] == [
        ("D", {"id": 1, "n": 1}, {}),
        ("U", {"id": 2, "n": 5}, {"id": 7, "n": 5}),
    ]
    # Both kinds of places lead to what comes after them.
    for place in (Place(first.known), Place(None, first.file, first.offset)):
        (again,) = transactions(url, place)
        assert (again.gtid, again.offset, kinds(url, [again])) == (second.gtid, second.offset, ["D", "U"])
    assert second.known is not None
    assert second.known.contains(first.known)  # type: ignore[arg-type]
    assert not begin.contains(second.known)  # type: ignore[arg-type]
    assert all(isinstance(one.end, End) and one.end.time > 1_700_000_000 for one in found)


@BOTH
def test_a_table_is_read_as_it_was_when_its_rows_were_written(url: str) -> None:
    run(url, "CREATE TABLE t (id int unsigned PRIMARY KEY, was varchar(10))")
    begin = known(url)
    run(
        url,
        "INSERT INTO t VALUES (4000000000, 'a')",
        "ALTER TABLE t MODIFY id bigint, CHANGE was now varchar(300), ADD more tinyint unsigned FIRST",
        "INSERT INTO t VALUES (200, -5, 'b')",
        "TRUNCATE TABLE t",
        "RENAME TABLE t TO u",
        "INSERT INTO u VALUES (1, 1, NULL)",
        "DROP TABLE u",
    )
    found = transactions(url, Place(begin))
    assert [(one.table, one.after) for one in changes_of(url, found)] == [
        ("t", {"id": 4000000000, "was": "a"}),
        ("t", {"more": 200, "id": -5, "now": "b"}),
        ("u", {"more": 1, "id": 1, "now": None}),
    ]
    statements = [part.text.split()[0] for one in found for part in one.parts if isinstance(part, Statement)]
    assert statements == ["ALTER", "TRUNCATE", "RENAME", "DROP"]
    assert found[0].parts[0].table.key == (0,)  # type: ignore[union-attr]
    assert found[2].parts[0].table.key == (1,)  # type: ignore[union-attr]


@BOTH
def test_rows_without_transactions_and_of_new_tables_are_told_as_well(url: str) -> None:
    run(url, "CREATE TABLE m (id int PRIMARY KEY) ENGINE=MyISAM", "CREATE TABLE t (id int PRIMARY KEY)")
    begin = known(url)
    run(
        url,
        "INSERT INTO m VALUES (1), (2)",
        "CREATE TABLE u (PRIMARY KEY (id)) SELECT id + 10 AS id FROM m",
        "CREATE TEMPORARY TABLE gone (id int)",
        "INSERT INTO gone VALUES (1)",
        "INSERT INTO t VALUES (7)",
        "DELETE FROM m",
    )
    found = transactions(url, Place(begin))
    told = [(one.table, one.kind, *(one.after or one.before).values()) for one in changes_of(url, found)]
    new = [("u", "I", 11), ("u", "I", 12)]
    assert told == [("m", "I", 1), ("m", "I", 2), *new, ("t", "I", 7), ("m", "D", 1), ("m", "D", 2)]
    made = [part.text for one in found for part in one.parts if isinstance(part, Statement)]
    assert "`u`" in made[0]
    assert not any("INSERT" in text for text in made)


@BOTH
def test_a_transaction_larger_than_the_bound_comes_in_pieces(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a varchar(200))")
    begin = known(url)
    values = ",".join(f"({at}, '{'x' * 200}')" for at in range(20_000))
    run(url, f"INSERT INTO t VALUES {values}", "INSERT INTO t VALUES (-1, 'next')")
    found = transactions(url, Place(begin), max_bytes=1 << 20)
    *pieces, last = [one for one in found if one.gtid == found[0].gtid]
    assert len(pieces) > 2
    assert all(one.end is None and one.known == begin for one in pieces)
    assert last.end is not None
    assert max(part.nbytes for one in pieces for part in one.parts if isinstance(part, Collected)) < 4 << 20
    ids = [one.after["id"] for one in changes_of(url, found)]
    assert ids == [*range(20_000), -1]


@BOTH
def test_a_row_larger_than_a_packet_comes_whole(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a longblob)")
    begin = known(url)
    # The event of the middle one ends where its packet does.
    sizes = (0xFF_FFFF - 1, 0xFF_FFFF - 58, 40_000_000)
    for at, size in enumerate(sizes):
        run(url, f"INSERT INTO t VALUES ({at}, REPEAT('{at}', {size}))")
    found = changes_of(url, transactions(url, Place(begin)))
    assert [(one.after["id"], len(one.after["a"])) for one in found] == list(enumerate(sizes))
    assert all(one.after["a"] == str(one.after["id"]).encode() * len(one.after["a"]) for one in found)


@BOTH
def test_compressed_transactions_are_read_as_any_other(url: str, system: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a varchar(2000))")
    session = connect(url)
    if system == "mariadb":
        ask(session, "SET GLOBAL log_bin_compress = 1", "SET GLOBAL log_bin_compress_min_len = 10")
    else:
        ask(session, "SET SESSION binlog_transaction_compression = 1")
    begin = known(url)
    try:
        ask(session, f"INSERT INTO t VALUES {','.join(f'({at}, REPEAT({at}, 500))' for at in range(1000))}")
        ask(session, "UPDATE t SET a = CONCAT('new', a)", "DELETE FROM t WHERE id % 2")
        comment = "x" * 300
        ask(session, f"ALTER TABLE t COMMENT '{comment}'")
        end = file_place(url)
        found = transactions(url, Place(begin))
    finally:
        if system == "mariadb":
            ask(session, "SET GLOBAL log_bin_compress = 0")
        session.close()
    told = changes_of(url, found)
    assert [one.kind for one in told] == ["I"] * 1000 + ["U"] * 1000 + ["D"] * 500
    assert all(one.after["a"] == str(one.after["id"]) * 500 for one in told[:1000])
    assert all(one.after["a"] == "new" + one.before["a"] for one in told[1000:2000])
    assert comment in found[-1].parts[0].text  # type: ignore[union-attr]
    assert (found[-1].file, found[-1].offset) == (end.file, end.offset)
    # It was compressed: half a megabyte of rows twice, and the log is a tenth of it.
    assert found[-1].offset - found[0].offset < 200_000


def test_a_compressed_transaction_comes_in_pieces_too(mysql_database: Databases) -> None:
    url = mysql_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a varchar(200))")
    begin = known(url)
    values = ",".join(f"({at}, '{'x' * 200}')" for at in range(10_000))
    run(url, "SET SESSION binlog_transaction_compression = 1", f"INSERT INTO t VALUES {values}")
    *pieces, last = found = transactions(url, Place(begin), max_bytes=1 << 20)
    assert len(pieces) > 1
    assert [one.end is None for one in found] == [True] * len(pieces) + [False]
    assert max(part.nbytes for one in pieces for part in one.parts if isinstance(part, Collected)) < 2 << 20
    assert [one.after["id"] for one in changes_of(url, found)] == [*range(10_000)]
    assert last.known != begin


@BOTH
def test_xa_rows_are_told_at_prepare_and_decided_later(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    begin = known(url)
    for xid, verdict in (("'one','b',7", "COMMIT"), ("'two'", "ROLLBACK")):
        run(
            url,
            f"XA START {xid}",
            f"INSERT INTO t VALUES ({len(xid)})",
            f"XA END {xid}",
            f"XA PREPARE {xid}",
            f"XA {verdict} {xid}",
        )
    run(url, "XA START 'three'", "INSERT INTO t VALUES (3)", "XA END 'three'", "XA COMMIT 'three' ONE PHASE")
    found = transactions(url, Place(begin))
    ends = [one.end for one in found]
    assert all(end is not None for end in ends)
    one, two = "X'6f6e65',X'62',7", "X'74776f',X'',1"
    told = [(end.prepared, end.committed, end.rolled_back) for end in ends if end is not None]
    assert told == [(one, "", ""), ("", one, ""), (two, "", ""), ("", "", two), ("", "", "")]
    assert [kinds(url, [one]) for one in found] == [["I"], [], ["I"], [], ["I"]]


@BOTH
def test_the_log_goes_on_in_the_next_file(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    begin, by_file = known(url), file_place(url)
    for at in range(3):
        run(url, f"INSERT INTO t VALUES ({at})", "FLUSH BINARY LOGS")
    files = []
    for place in (Place(begin), by_file):
        found = transactions(url, place)
        assert [one.after["id"] for one in changes_of(url, found)] == [0, 1, 2]
        files.append([one.file for one in found])
    assert files[0] == files[1] == sorted(set(files[0]))


@BOTH
def test_files_with_and_without_checksums_follow_one_another(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    begin, by_file = known(url), file_place(url)
    try:
        run(url, "INSERT INTO t VALUES (0)", "SET GLOBAL binlog_checksum = NONE", "INSERT INTO t VALUES (1)")
        without = known(url), file_place(url)
        run(url, "INSERT INTO t VALUES (2)")
        # Read while the server writes none, and after it does again.
        for place, ids in ((begin, [0, 1, 2]), (without[0], [2])):
            assert [one.after["id"] for one in changes_of(url, transactions(url, Place(place)))] == ids
    finally:
        run(url, "SET GLOBAL binlog_checksum = CRC32")
    run(url, "INSERT INTO t VALUES (3)")
    for place, ids in ((Place(begin), [0, 1, 2, 3]), (by_file, [0, 1, 2, 3]), (without[1], [2, 3])):
        assert [one.after["id"] for one in changes_of(url, transactions(url, place))] == ids


@BOTH
def test_what_was_purged_is_a_lost_log_by_name(url: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    begin, by_file = known(url), file_place(url)
    run(url, "INSERT INTO t VALUES (1)")
    purge(url, by_file.file)
    for place in (Place(begin), by_file):
        with pytest.raises(LogLost, match=r"cannot follow the binlog: .*; copy the tables anew"):
            transactions(url, place)


@BOTH
def test_a_place_that_the_log_does_not_have_is_a_lost_log(url: str, system: str) -> None:
    if system == "mariadb":
        ahead = MariaDBSet.parse("0-1-1000000")
    else:
        ahead = known(url).add(f"{run(url, 'SELECT @@server_uuid')[0][0]}:1000000")
    for place in (Place(ahead), Place(None, file_place(url).file, 1 << 30)):
        with pytest.raises(LogLost):
            transactions(url, place)


@BOTH
def test_what_cannot_be_followed_exactly_is_refused_with_what_mends_it(url: str, system: str) -> None:
    run(url, "CREATE TABLE t (id int PRIMARY KEY, a int, j json)")
    cases = [
        ("SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET a = 2", "binlog_row_image = 'FULL'"),
        ("SET SESSION binlog_format = STATEMENT", "UPDATE t SET a = 3", "binlog_format = 'ROW'"),
    ]
    if system == "mysql":
        partial = "UPDATE t SET j = JSON_SET(j, '$.a', 2)"
        cases.append(
            ("SET SESSION binlog_row_value_options = PARTIAL_JSON", partial, "binlog_row_value_options = ''")
        )
    run(url, """INSERT INTO t VALUES (1, 1, '{"a": 1, "b": "cccccccccccccccccccccccc"}')""")
    for setting, statement, remedy in cases:
        begin = known(url)
        run(url, setting, statement)
        with pytest.raises(NeedsOperator) as caught:
            transactions(url, Place(begin))
        assert remedy in str(caught.value)
    begin = known(url)
    session = connect(url)
    ask(session, "SET GLOBAL binlog_row_metadata = MINIMAL", "UPDATE t SET a = 4")
    ask(session, "SET GLOBAL binlog_row_metadata = FULL")
    session.close()
    with pytest.raises(NeedsOperator, match="SET GLOBAL binlog_row_metadata = 'FULL'"):
        transactions(url, Place(begin))


@BOTH
def test_a_quiet_server_is_waited_for_no_longer_than_asked_and_a_reader_can_be_interrupted(url: str) -> None:
    place = Place(known(url))
    dump = Dump(Address.parse(url), SERVER)
    dump.start(place)
    begun = time.monotonic()
    while dump.take(0.05):
        assert time.monotonic() < begun + 30, "what the server tells of itself ends"
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            while True:
                dump.take(600)
        except Transient as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    dump.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(Transient, match="interrupted"):
        dump.take(0)
    assert "interrupted" in str(ended[0])
    dump.close()


@BOTH
def test_a_server_that_dies_is_a_passing_error(url: str, server: Server) -> None:
    with reading(url, Place(known(url))) as reader:
        list(reader.read(max_bytes=1 << 20, max_wait=0.1))
        server.kill()
        with pytest.raises(Transient, match="cannot follow the binlog"):
            list(reader.read(max_bytes=1 << 20, max_wait=30))
    with pytest.raises(Transient, match="cannot connect to"):
        Dump(Address.parse(url), SERVER)
    server.start()
    with pytest.raises(Refused, match="cannot connect to"):
        Dump(Address.parse(url.replace("syncline:", "syncline:x")), SERVER)


def test_tagged_gtids_are_read_and_asked_for(mysql_database: Databases) -> None:
    url = mysql_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY)")
    begin = known(url)
    one, two = (f"{run(url, 'SELECT DATABASE()')[0][0]}_{tag}" for tag in ("blue", "green"))
    for at, tag in enumerate(("", one, one, two)):
        run(url, f"SET gtid_next = 'AUTOMATIC{':' + tag if tag else ''}'", f"INSERT INTO t VALUES ({at})")
    found = transactions(url, Place(begin))
    source = run(url, "SELECT @@server_uuid")[0][0]
    assert [each.gtid for each in found][1:] == [
        f"{source}:{one}:1",
        f"{source}:{one}:2",
        f"{source}:{two}:1",
    ]
    assert MySQLSet.parse(str(found[2].known)) == found[2].known
    for each, rest in ((found[1], [2, 3]), (found[2], [3]), (found[3], [])):
        again = changes_of(url, transactions(url, Place(each.known)))
        assert [change.after["id"] for change in again] == rest
