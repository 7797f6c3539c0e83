"""The types whose values are sent around, each with a maker of its values."""

from __future__ import annotations

from dataclasses import dataclass

from . import makers as m
from .makers import Make

SETUP = r"""
CREATE EXTENSION hstore; CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'it''s, "so" {so}', '', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nest AS (p pair, l numeric[], d date);
CREATE DOMAIN small AS int CHECK (value < 1000);
CREATE DOMAIN price AS numeric(12,3);
CREATE DOMAIN tags AS text[];
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN couple AS pair;
CREATE TYPE span_of_text AS RANGE (subtype = text);
CREATE SCHEMA "odd 'one"; CREATE TYPE "odd 'one"."Int (""x"")" AS ENUM ('a', 'b');
"""
"""What a database needs beside the tables; enums are made by Syncline where they are missing."""

MADE_BY_HAND = SETUP.partition("CREATE SCHEMA")[0]


@dataclass(frozen=True)
class Sort:
    """A type as PostgreSQL names it; `key`: it may be a key; `plain`: the values that SQLite can hold."""

    name: str
    type: str
    make: Make
    key: bool = True
    plain: Make | None = None


_MOOD = m.one_of("sad", 'it\'s, "so" {so}', "", "ok")
_PAIR = m.composite(m.integer(32), m.text)
_ANY_DECIMAL = m.edges(
    ["NaN", "Infinity", "-Infinity", "0", "0.000", "-0.10", "1" + "0" * 400, "0." + "0" * 300 + "1"],
    m.digits(60, 40),
    0.2,
)

SCALARS = (
    Sort("flag", "boolean", m.one_of("t", "f")),
    Sort("int2", "smallint", m.integer(16)),
    Sort("int4", "integer", m.integer(32)),
    Sort("int8", "bigint", m.integer(64)),
    Sort("float4", "real", m.binary_float(4), plain=m.binary_float(4, plain=True)),
    Sort("float8", "double precision", m.binary_float(8), plain=m.binary_float(8, plain=True)),
    Sort("numeric", "numeric", _ANY_DECIMAL),
    Sort("money2", "numeric(10,2)", m.edges(["NaN"], m.digits(8, 2), 0.05)),
    Sort("wide", "numeric(1000,400)", m.digits(600, 400)),
    Sort("rough", "numeric(3,-2)", m.digits(4, 0)),
    Sort("fine", "numeric(2,5)", m.one_of("0.00012", "-0.00099", "0", "NaN")),
    Sort("text", "text", m.text),
    Sort("varchar", "varchar(20)", m.at_most(20)),
    Sort("char", "char(6)", m.at_most(6)),
    Sort("bpchar", "bpchar", m.at_most(10)),
    Sort("letter", '"char"', m.one_of("a", "\x7f", "~", "\\", "", "1")),
    Sort("name", "name", m.at_most(15)),
    Sort("citext", "citext", m.text),
    Sort("bytes", "bytea", m.hexed),
    Sort("day", "date", m.day),
    Sort("clock", "time", m.clock),
    Sort("clock3", "time(3)", m.clock),
    Sort("timetz", "timetz", m.zoned_clock),
    Sort("moment", "timestamp", m.moment),
    Sort("moment0", "timestamp(0)", m.moment),
    Sort("instant", "timestamptz", m.zoned_moment),
    Sort("interval", "interval", m.interval),
    Sort("interval2", "interval day to second(2)", m.interval),
    Sort("uuid", "uuid", m.uuid),
    Sort("json", "json", m.document, key=False),
    Sort("jsonb", "jsonb", m.binary_document),
    Sort("xml", "xml", m.markup, key=False),
)

OWN = (
    Sort("mood", "mood", _MOOD),
    Sort("odd", '"odd \'one"."Int (""x"")"', m.one_of("a", "b")),
    Sort("small", "small", m.edges(["-2147483648", "999"], lambda rng: str(rng.randint(-9999, 999)))),
    Sort("price", "price", m.digits(9, 3)),
    Sort("tags", "tags", m.array(m.text)),
    Sort("feeling", "feeling", _MOOD, key=False),  # a domain over an enum has no =
    Sort("pair", "pair", _PAIR),
    Sort("couple", "couple", _PAIR),
    Sort("nest", "nest", m.composite(_PAIR, m.array(m.digits(5, 3)), m.day)),
    Sort("hstore", "hstore", m.one_of("", "a=>1", '"a b"=>NULL', r'"q\"\\"=>"x,y", "é"=>"\"=>"')),
    Sort("words", "span_of_text", m.one_of("empty", '["a","b""c")', "(,)", r'["\\","\\\\"]')),
)

SYSTEM = (
    Sort("range4", "int4range", m.ranged(m.whole_ends)),
    Sort("rangen", "numrange", m.ranged(m.decimal_ends)),
    Sort("rangetz", "tstzrange", m.ranged(m.moment_ends)),
    Sort("multi", "int4multirange", m.one_of("{}", "{[1,3),[7,)}", "{(,5]}", "{[1,2),[2,3)}")),
    Sort("inet", "inet", m.one_of("1.2.3.4", "1.2.3.4/8", "::1", "fe80::1/64", "::ffff:1.2.3.4/96")),
    Sort("cidr", "cidr", m.one_of("10.0.0.0/8", "::/0", "1.2.3.4/32")),
    Sort("macaddr", "macaddr", lambda rng: ":".join(f"{rng.randrange(256):02x}" for _ in range(6))),
    Sort("macaddr8", "macaddr8", lambda rng: ":".join(f"{rng.randrange(256):02x}" for _ in range(8))),
    Sort("bit", "bit(8)", lambda rng: f"{rng.randrange(256):08b}"),
    Sort("varbit", "varbit(40)", lambda rng: "".join(rng.choices("01", k=rng.randrange(41)))),
    Sort("money", "money", m.one_of("$1,234.50", "-$0.01", "0", "92233720368547758.07", "-5")),
    Sort("vector", "tsvector", m.one_of("", "a:1A b:2,3 'it''s':4", r"'\\' 'b c'", "é:16383")),
    Sort("query", "tsquery", m.one_of("", "a & !b | 'c d':*AB", "'it''s' <-> x <2> y")),
    Sort("oid", "oid", m.unsigned(32)),
    Sort("xid", "xid", m.unsigned(32), key=False),
    Sort("lsn", "pg_lsn", lambda rng: f"{rng.getrandbits(32):X}/{rng.getrandbits(32):X}"),
    Sort("snapshot", "pg_snapshot", m.one_of("1:1:", "10:20:10,14,15"), key=False),
    Sort("tid", "tid", m.one_of("(0,1)", "(4294967295,65535)")),
    Sort("path", "jsonpath", m.one_of("$.a[*] ? (@ > 1e400)", 'strict $."b c"'), key=False),
    Sort("point", "point", m.coordinates("(#,#)"), key=False),
    Sort("lseg", "lseg", m.coordinates("[(#,#),(#,#)]"), key=False),
    Sort("box", "box", m.coordinates("(#,#),(#,#)"), key=False),
    Sort("way", "path", m.coordinates("[(#,#),(#,#),(#,#)]"), key=False),
    Sort("polygon", "polygon", m.coordinates("((#,#),(#,#))"), key=False),
    Sort("circle", "circle", m.one_of("<(0,0),1>", "<(-1.5,1e300),0>", "<(NaN,1),Infinity>"), key=False),
    Sort("line", "line", m.one_of("{1,2,3}", "{-0.1,1e300,5}"), key=False),
    Sort("vector2", "int2vector", m.one_of("", "1 2 3", "-1"), key=False),
)

ARRAYS = (
    Sort("ints", "int[]", m.array(m.integer(32))),
    Sort("texts", "text[]", m.array(m.text)),
    Sort("chars", "char(6)[]", m.array(m.at_most(6))),
    Sort("varchars", "varchar(20)[]", m.array(m.at_most(20))),
    Sort("numerics", "numeric(12,2)[]", m.array(m.digits(8, 2))),
    Sort("floats", "double precision[]", m.array(m.binary_float(8))),
    Sort("bools", "boolean[]", m.array(m.one_of("t", "f"))),
    Sort("blobs", "bytea[]", m.array(m.hexed)),
    Sort("instants", "timestamptz[]", m.array(m.zoned_moment)),
    Sort("spells", "interval[]", m.array(m.interval)),
    Sort("moods", "mood[]", m.array(_MOOD)),
    Sort("odds", '"odd \'one"."Int (""x"")"[]', m.array(m.one_of("a", "b"))),
    Sort("pairs", "pair[]", m.array(_PAIR)),
    Sort("smalls", "small[]", m.array(m.one_of("1", "-7"))),
    Sort("feelings", "feeling[]", m.array(_MOOD)),
    Sort("docs", "jsonb[]", m.array(m.binary_document)),
    Sort("boxes", "box[]", m.array(m.coordinates("(#,#),(#,#)"), sign=";"), key=False),
    Sort("ranges", "int4range[]", m.array(m.ranged(m.whole_ends))),
    Sort("stores", "hstore[]", m.array(m.one_of("", 'a=>"1,2"'))),
)

ALL = SCALARS + OWN + SYSTEM + ARRAYS
