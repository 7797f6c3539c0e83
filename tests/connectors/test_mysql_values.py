"""Every type of both systems at its edges: what the binlog tells is what SELECT gives, and what another
reader of the binlog finds."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

from syncline.connectors.mysql.connection import Address
from syncline.connectors.mysql.dump import Place
from syncline.errors import NeedsOperator
from tests.mysql_family import ask, connect, run

from .binlog_reader import changes_of, charsets, file_place, known, transactions

Databases = Callable[[], str]

MANY = ",".join(f"'label {at}'" for at in range(300))
NAMES = [f"s{at}" for at in range(64)]
SIXTY_FOUR = ",".join(f"'{name}'" for name in NAMES)
FRACTIONS = [
    (f"{type}({digits})", values)
    for digits in range(7)
    for type, values in (
        (
            "datetime",
            "'1000-01-01 00:00:00', '9999-12-31 23:59:59.9', '0000-00-00', '2024-02-29 12:00:00.123456'",
        ),
        (
            "timestamp",
            "'1970-01-01 00:00:01', '2038-01-19 03:14:07', '0000-00-00', '2000-02-29 23:59:59.654321'",
        ),
        ("time", "'-838:59:59', '838:59:59', '-00:00:00.4', '-99:00:01.999999', '00:00:00', '100:00:00.1'"),
    )
]

TYPES: list[tuple[str, str]] = [
    # Signs and collations stand in the log by place: years and geometry between others tell who has one.
    ("year", "1901, 2155, 0"),
    ("tinyint", "-128, 127, 0"),
    ("tinyint unsigned", "255, 0"),
    ("year", "2000"),
    ("bit(1)", "b'1', b'0'"),
    ("smallint unsigned", "65535"),
    ("smallint", "-32768, 32767"),
    ("mediumint", "-8388608, 8388607, -1"),
    ("mediumint unsigned", "16777215"),
    ("int", "-2147483648, 2147483647, -1"),
    ("int unsigned", "4294967295"),
    ("bigint", "-9223372036854775808, 9223372036854775807, -1"),
    ("bigint unsigned", "18446744073709551615, 9223372036854775808"),
    ("float", "1.1, -3.4028234e38, 1.17549435e-38, 0"),
    ("double unsigned", "1.7976931348623157e308, 5e-324, 0.1"),
    ("double", "-1.7976931348623157e308, -5e-324, -0.1"),
    (
        "decimal(65,30)",
        "-99999999999999999999999999999999999.999999999999999999999999999999, 1e-30, -1e-30, 0",
    ),
    ("decimal(65,30)", "99999999999999999999999999999999999.999999999999999999999999999999, 10, -1000000000"),
    ("decimal(9,9)", "0.999999999, -0.000000001, 0"),
    ("decimal(10,1) unsigned", "999999999.9, 0.1"),
    ("decimal(65,0)", "-99999999999999999999999999999999999999999999999999999999999999999, 7"),
    ("decimal(1,0)", "-9, 9"),
    ("bit(7)", "b'1111111', b'1'"),
    ("bit(12)", "b'100000000001'"),
    ("bit(64)", "18446744073709551615, 1"),
    ("date", "'1000-01-01', '9999-12-31', '0000-00-00', '2024-00-00', '2024-02-29'"),
    *FRACTIONS,
    ("char(10)", "'a', '', 'ñandú', '\U0001f600'"),
    ("char(255)", "REPEAT('é', 255), ''"),
    ("varchar(1)", "'', 'x'"),
    ("varchar(63)", "REPEAT('\U0001f600', 63)"),
    ("varchar(64)", "REPEAT('\U0001f600', 64), 'tab\\tline\\nback\\\\'"),
    ("tinytext", "REPEAT('x', 255), ''"),
    ("text", "REPEAT('x', 65535), ''"),
    ("mediumtext", "REPEAT('é', 40000)"),
    ("longtext", "'long'"),
    ("binary(5)", "x'00ff', x'0102030405'"),
    ("varbinary(255)", "REPEAT(x'00', 255), ''"),
    ("varbinary(256)", "REPEAT(x'ff', 256)"),
    ("tinyblob", "x'00'"),
    ("blob", "REPEAT(x'fe', 65535)"),
    ("mediumblob", "x'01'"),
    ("longblob", "x'02', ''"),
    ("enum('a', 'b', 'ü')", "'a', 'ü', 'bogus', 'b'"),
    (f"enum({MANY})", "'label 0', 'label 299'"),
    ("set('x', 'y', 'é')", "'x', 'y,é', '', 'x,y,é'"),
    (f"set({SIXTY_FOUR})", f"'s0,s63', '{','.join(NAMES)}'"),
    ("varchar(20) character set latin1", "'é€', CONVERT(x'818d' USING latin1)"),
    ("point", "NULL"),
    ("enum('é', 'ö') character set latin1", "'ö'"),
    ("varchar(20) character set latin2", "'ľščť'"),
    ("text character set cp1251", "'дом'"),
    ("varchar(20) character set koi8r", "'дом'"),
    ("char(9) character set greek", "'λόγος'"),
    ("varchar(9) character set hebrew", "'שלום'"),
    ("varchar(20) character set ucs2", "'é日本'"),
    ("varchar(20) character set utf16", "'\U0001f600é'"),
    ("varchar(20) character set utf32", "'\U0001f600é'"),
    ("varchar(20) character set utf8mb3", "'日本'"),
    ("varchar(20) character set ascii", "'plain'"),
    ("varchar(20) collate utf8mb4_bin", "'B', 'b'"),
    ("point", "ST_GeomFromText('POINT(1 -2.5)')"),
    ("geometry", "ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0)', 3857), ST_GeomFromText('POINT(0 0)')"),
    ("json", """'{"b": [1, 2.5, null, true], "a": "ü\\\\n"}', '[]', '{}', '"text"', '17', 'null'"""),
]
OWN = {
    "mariadb": [
        ("decimal(38,38)", "0.99999999999999999999999999999999999999, -1e-38"),
        ("varchar(9) collate utf8mb4_uca1400_as_cs", "'ñ'"),
        ("varchar(9) character set utf8mb3 collate utf8mb3_uca1400_ai_ci", "'日本'"),
        ("uuid", "'123e4567-e89b-12d3-a456-426655440000'"),
        ("inet6", "'::1', 'fe80::ff'"),
    ],
    "mysql": [
        ("vector(3)", "STRING_TO_VECTOR('[1,2,-0.5]')"),
        (
            "json",
            "JSON_ARRAY(CAST('2020-01-02' AS DATE), CAST('-12:34:56.5' AS TIME(2)), x'0001ff',"
            " CAST('2020-01-02 03:04:05.678' AS DATETIME(3)), CAST(-12.50 AS DECIMAL(10,2)),"
            " CAST(123456789012.000000001 AS DECIMAL(30,9)), CAST(0 AS DECIMAL(3)))",
        ),
        (
            "json",
            "JSON_OBJECT('k', REPEAT('x', 70000), 'l', JSON_ARRAY(1, -70000, 1e300)),"
            """JSON_ARRAY('\\b\\t"é\\\\/')""",
        ),
        ("json", "'[18446744073709551615, -9223372036854775808, 65535, -32768, 65536, 2147483648]'"),
    ],
}


def literals(text: str) -> list[str]:
    """A list of SQL expressions, cut at its commas by the server's own idea of brackets and quotes."""
    parts, depth, quote, part = [], 0, "", ""
    for before, character in zip(" " + text, text, strict=False):
        if quote:
            quote = "" if character == quote and before != "\\" else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        if character == "," and not quote and not depth:
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


def canonical(type: str, value: str | bytes | None) -> Any:
    """What a cell travels as, from what SELECT gives as text."""
    if value is None or isinstance(value, bytes):
        return value
    base = type.split("(")[0].split()[0]
    if base in ("tinyint", "smallint", "mediumint", "int", "bigint", "year"):
        return int(value)
    if base in ("float", "double"):
        return float(value)
    if base == "vector":
        return bytes.fromhex(value)
    if base in ("datetime", "timestamp", "time") and "." in value:
        value = value.rstrip("0").rstrip(".")
    return value + "+00" if base == "timestamp" else value


def asked(at: int, type: str) -> str:
    base = type.split("(")[0]
    if base == "float":
        return f"CAST(c{at} AS double)"
    if base == "decimal":
        return f"CAST(c{at} AS char)"
    return f"HEX(c{at})" if base in ("uuid", "inet6", "vector") else f"c{at}"


def fill(url: str, types: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Make a table of these types in the database and fill it; its rows as SELECT gives them."""
    shape = ", ".join(f"c{at} {type} NULL" for at, (type, _) in enumerate(types))
    columns = [literals(values) for _, values in types]
    session = connect(url, conv={}, init_command="SET time_zone = '+00:00', sql_mode = ''")
    ask(
        session,
        f"CREATE TABLE t (id int PRIMARY KEY, {shape}) CHARACTER SET utf8mb4",
    )
    for row in range(max(map(len, columns)) + 1):
        values = [column[row] if row < len(column) else "NULL" for column in columns]
        ask(session, f"INSERT INTO t VALUES ({row}, {', '.join(values)})")
    what = ", ".join(asked(at, type) for at, (type, _) in enumerate(types))
    found = ask(session, f"SELECT {what} FROM t ORDER BY id")
    session.close()
    return [{f"c{at}": canonical(types[at][0], cell) for at, cell in enumerate(row)} for row in found]


def comparable(type: str, value: Any) -> Any:
    """A cell of ours as SELECT's text is: those that travel as numbers of bits, as bytes."""
    base = type.split("(")[0]
    if base == "bit" and value is not None:
        size = (int(type[4:-1]) + 7) // 8
        return int(value).to_bytes(size, "big")
    return value


@pytest.mark.parametrize("system", ["mariadb", "mysql"])
def test_every_type_at_its_edges(system: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(f"{system}_database")()
    begin = known(url)
    types = [*TYPES, *OWN[system]]
    expected = fill(url, types)
    raw = {f"c{at}" for at, (type, _) in enumerate(types) if type in ("uuid", "inet6")}
    told = changes_of(url, transactions(url, Place(begin)), raw)
    assert len(told) == len(expected) > 5
    wrong = []
    for row, (change, wanted) in enumerate(zip(told, expected, strict=True)):
        for at, (type, _) in enumerate(types):
            found = comparable(type, change.after[f"c{at}"])
            if type in ("uuid", "inet6") and found is not None:
                assert len(found) == 16, "the bytes of the record, which the catalog alone can name"
            elif found != wanted[f"c{at}"]:
                wrong.append((row, type, found, wanted[f"c{at}"]))
    assert not wrong


@pytest.mark.filterwarnings("ignore:'db' is deprecated:DeprecationWarning")  # the other reader's own
@pytest.mark.parametrize("system", ["mariadb", "mysql"])
def test_another_reader_finds_the_same(system: str, request: pytest.FixtureRequest) -> None:
    """It does not know every charset, tells zero dates as nothing, and cuts the zeros of BINARY."""
    url: str = request.getfixturevalue(f"{system}_database")()
    begin, file = known(url), file_place(url)
    # It knows no tags.
    by_file: dict[str, Any] = {"log_file": file.file, "log_pos": file.offset, "resume_stream": True}
    place = {"auto_position": str(begin), "is_mariadb": True} if system == "mariadb" else by_file
    types = [(type, values) for type, values in TYPES if type.split("(")[0].split()[0] not in UNLIKE]
    types = [(type, values) for type, values in types if "character set" not in type]
    fill(url, types)
    told = [change.after for change in changes_of(url, transactions(url, Place(begin)))]
    address = Address.parse(url)
    settings = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
    }
    stream = BinLogStreamReader(
        connection_settings=settings,
        server_id=4712,
        only_events=[WriteRowsEvent],
        only_schemas=[address.database],
        blocking=True,  # else it connects anew for each event of MariaDB
        **place,
    )
    found: list[dict[str, Any]] = []
    while len(found) < len(told):
        found += [row["values"] for row in stream.fetchone().rows]
    stream.close()
    assert len(found) == len(told)
    compared = 0
    for theirs, ours in zip(found, told, strict=True):
        for at, (type, _) in enumerate(types):
            known_value, value = plain(type, theirs[f"c{at}"]), ours[f"c{at}"]
            if known_value is not None:
                compared += 1
                assert known_value == value, (type, known_value, value)
    assert compared > 100


def plain(type: str, value: Any) -> Any:
    """What another reader tells, as ours would; None where it tells less."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        if value == datetime(1970, 1, 1):
            return None  # a zero date
        text = value.isoformat(" ")
        return (text.rstrip("0") if "." in text else text) + ("+00" if type.startswith("timestamp") else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and type == "float":
        return struct.unpack("<f", struct.pack("<f", value))[0]
    if type.startswith("bit") and value is not None:
        return int(value, 2)
    if isinstance(value, str) and ("binary" in type or "blob" in type):
        return value.encode()
    if isinstance(value, (timedelta, set, dict, list)):
        return None
    return value


UNLIKE = {"json", "geometry", "point", "year", "enum", "set", "binary"}


@pytest.mark.parametrize("system", ["mariadb", "mysql"])
def test_every_charset_of_one_byte_is_read_as_the_server_reads_it(
    system: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(f"{system}_database")()
    single = {one.name: one for one in charsets(url).values() if one.table}
    assert {"latin1", "latin2", "cp866", "koi8r", "greek", "macce", "ascii"} <= set(single)
    shape = ", ".join(f"{name} varbinary(1)" for name in single)
    run(url, f"CREATE TABLE t (id int PRIMARY KEY, {shape})")
    values = ",".join(f"({at}{f', 0x{at:02x}' * len(single)})" for at in range(256))
    run(url, f"INSERT INTO t VALUES {values}")
    texts = ", ".join(f"MODIFY {name} varchar(1) CHARACTER SET {name}" for name in single)
    # Some have no character for some bytes, and take them nevertheless.
    session = connect(url, init_command="SET sql_mode = ''")
    ask(session, f"ALTER TABLE t {texts}")
    asked = ", ".join(f"CONVERT({name} USING utf8mb4)" for name in single)
    for at, *shown in ask(session, f"SELECT id, {asked} FROM t"):
        for charset, text in zip(single.values(), shown, strict=True):
            with contextlib.suppress(UnicodeDecodeError):
                assert charset.decode(bytes([at])) == text, (charset.name, at)
            assert not 32 <= at < 127 or charset.decode(bytes([at]))
    session.close()


def test_numbers_of_json_are_written_as_the_server_does(mysql_database: Databases) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    numbers = [struct.unpack("<d", choose.randbytes(8))[0] for _ in range(500)]
    numbers += [choose.uniform(-1, 1) * 10.0 ** choose.randint(-25, 25) for _ in range(1500)]
    numbers += [float(choose.randint(-(10**17), 10**17)) for _ in range(200)]
    numbers = [number for number in numbers if abs(number) < float("inf")]
    url = mysql_database()
    run(url, "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, j json)")
    begin = known(url)
    values = ",".join(
        f"(CAST({number!r}{'' if 'e' in repr(number) else 'e0'} AS JSON))" for number in numbers
    )
    run(url, f"INSERT INTO t (j) VALUES {values}")
    wanted = [text for (text,) in run(url, "SELECT CAST(j AS char) FROM t ORDER BY id")]
    assert [change.after["j"] for change in changes_of(url, transactions(url, Place(begin)))] == wanted


def test_what_is_no_row_in_columns_is_refused_by_name(mariadb_database: Databases) -> None:
    url = mariadb_database()
    for shape, value, why in (
        ("a text COMPRESSED", "REPEAT('x', 500)", "a compressed column"),
        ("a varchar(20) CHARACTER SET gbk", "'a'", "the charset gbk is not read"),
    ):
        run(url, f"CREATE OR REPLACE TABLE t (id int PRIMARY KEY, {shape})")
        begin = known(url)
        run(url, f"INSERT INTO t VALUES (1, {value})")
        with pytest.raises(NeedsOperator, match=why):
            changes_of(url, transactions(url, Place(begin)))
