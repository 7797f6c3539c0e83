"""Makers of single values: PostgreSQL's input text from a random generator, edges first."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from random import Random
from uuid import UUID

Make = Callable[[Random], str]
"""A value's text as PostgreSQL reads it."""

_ALPHABETS = (
    "abcXYZ 019",
    "\"'{},()[]\\<>:;=-%_~",
    "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f\u00ad",
    "äßøπЖ漢字한ｆ",
    "אבגدهوܐ\u200e\u200f\u202e\u2066",
    "e\u0301a\u0308\u0323\ufeff\u200b\u200d\u2028\u2029\u0085\u00a0",
    "😀𝔘𐍈\U0001f468\U0010ffff\ufffe\uffff\ufffd\ue000",
)
_WORDS = (
    *(
        "",
        " ",
        "NULL",
        "null",
        "\\N",
        "\\.",
        "t",
        "0",
        "-0",
        "1e5",
        "NaN",
        "{}",
        "{NULL}",
        "\ufeff",
        "''",
        '""',
    ),
    *("\\x00", "\t", "\n", "\r\n", " x ", "infinity", "a,b", '"', "\\", "it's", "\x01", "x" * 5000),
)
_DAYS = (
    *("infinity", "-infinity", "4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "9999-12-31"),
    *("10000-01-01", "5874897-12-31", "1970-01-01", "2000-02-29"),
)
_MOMENTS = (
    *("infinity", "-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    *("0001-01-01 00:00:00", "1969-12-31 23:59:59.999999", "0044-03-15 12:00:00.5 BC"),
)


def one_of(*texts: str) -> Make:
    """One of a few."""
    return lambda rng: rng.choice(texts)


def edges(texts: Sequence[str], make: Make, share: float = 0.3) -> Make:
    """A share of given texts among others."""
    return lambda rng: rng.choice(texts) if rng.random() < share else make(rng)


def integer(bits: int) -> Make:
    """A signed integer of so many bits, with the ends and the small ones."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    ends = [str(number) for number in (low, low + 1, -1, 0, 1, high - 1, high)]
    return edges(ends, lambda rng: str(rng.randint(low, high) >> rng.randrange(bits)), 0.1)


def unsigned(bits: int) -> Make:
    """An unsigned integer of so many bits."""
    top = (1 << bits) - 1
    return edges(["0", "1", str(top)], lambda rng: str(rng.randint(0, top) >> rng.randrange(bits)), 0.1)


def digits(before: int, after: int) -> Make:
    """A decimal with up to so many digits before and behind its point, as it was written."""

    def make(rng: Random) -> str:
        whole = "".join(rng.choices("0123456789", k=rng.randint(1, before))) if before else "0"
        part = "".join(rng.choices("0123456789", k=rng.randint(0, after)))
        return rng.choice(["", "-"]) + whole + (f".{part}" if part else "")

    return make


def binary_float(width: int, plain: bool = False) -> Make:
    """Any float of 4 or 8 bytes; `plain` leaves out NaN and -0.0."""
    code, unit = ("<f", "<I") if width == 4 else ("<d", "<Q")
    names = ["Infinity", "-Infinity", "0", "1", "-1", "0.1", "1e-45" if width == 4 else "5e-324"]
    names += ["3.4028235e+38", "1.17549435e-38"] if width == 4 else ["1.7976931348623157e+308", "2.5e-310"]
    names += [] if plain else ["NaN", "-0"]

    def make(rng: Random) -> str:
        bits = rng.getrandbits(width * 8)
        if rng.random() < 0.2:  # subnormal
            bits &= 0x807FFFFF if width == 4 else 0x800FFFFFFFFFFFFF
        (value,) = struct.unpack(code, struct.pack(unit, bits))
        return "1.5" if math.isnan(value) or value == 0 else repr(value)

    return edges(names, make, 0.2)


def text(rng: Random) -> str:
    """Any text that PostgreSQL can hold."""
    if rng.random() < 0.3:
        return rng.choice(_WORDS)
    return "".join(rng.choice(rng.choice(_ALPHABETS)) for _ in range(rng.randrange(12)))


def at_most(length: int, make: Make = text) -> Make:
    """The beginning of a text; blanks at its end would be cut in silence by varchar's own cast rule."""
    return lambda rng: make(rng)[:length]


def hexed(rng: Random) -> str:
    """Bytes: none, a few, every one, many."""
    size = rng.choice([0, 1, 1, 2, 7, 16, 256, 20_000 if rng.random() < 0.05 else 3])
    return "\\x" + rng.randbytes(size).hex()


def day(rng: Random) -> str:
    """A date of any time that PostgreSQL knows."""
    if rng.random() < 0.2:
        return rng.choice(_DAYS)
    found = (date(1, 1, 1) + timedelta(days=rng.randrange(3_600_000))).isoformat()
    return found + (" BC" if rng.random() < 0.1 and not found.endswith("02-29") and found < "4700" else "")


def clock(rng: Random) -> str:
    """A time of day with zero to six places."""
    if rng.random() < 0.15:
        return rng.choice(["00:00:00", "24:00:00", "23:59:59.999999", "12:00:00.000001", "00:00:00.1"])
    seconds = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    return seconds + (
        "." + "".join(rng.choices("0123456789", k=rng.randint(1, 6))) if rng.random() < 0.6 else ""
    )


def zoned_clock(rng: Random) -> str:
    """A time of day with a zone, down to seconds of offset."""
    zone = f"{rng.choice('+-')}{rng.randrange(15):02}:{rng.randrange(60):02}"
    return clock(rng) + zone + (f":{rng.randrange(60):02}" if rng.random() < 0.2 else "")


def moment(rng: Random) -> str:
    """A timestamp of any time that PostgreSQL knows."""
    if rng.random() < 0.2:
        return rng.choice(_MOMENTS)
    found = (date(1, 1, 2) + timedelta(days=rng.randrange(3_600_000))).isoformat()
    at = clock(rng)
    era = " BC" if rng.random() < 0.1 and not found.endswith("02-29") and found < "4700" else ""
    return f"{found} {'23:00:00' if at == '24:00:00' else at}{era}"


def zoned_moment(rng: Random) -> str:
    """A timestamp with a zone."""
    found = moment(rng)
    if "infinity" in found or found.startswith(("4714", "294276")):
        return found
    zone = f"{rng.choice('+-')}{rng.randrange(15):02}:{rng.randrange(60):02}"
    return found.replace(" BC", "") + zone + (" BC" if "BC" in found else "")


def interval(rng: Random) -> str:
    """An interval whose months, days and time have signs of their own."""
    if rng.random() < 0.15:
        return rng.choice(["0", "178956970 years 7 months", "-178956970 years", "2147483647 days",
                           "-2147483648 days", "-00:00:00.000001", "-0.5 seconds", "1 mon -1 day 00:00:01",
                           "-1 mon 1 day -00:00:00.000001", "-1 year 1 mon", "2562047788:00:54.775807",
                           "-2562047788:00:54.775807", "1 day -23:59:59.9"])  # fmt: skip
    parts = [
        f"{rng.randint(-40, 40)} months",
        f"{rng.randint(-4000, 4000)} days",
        f"{rng.randint(-(10 ** rng.randint(1, 15)), 10**14)} microseconds",
    ]
    return " ".join(rng.sample(parts, rng.randint(1, 3)))


def uuid(rng: Random) -> str:
    """Any sixteen bytes."""
    return str(UUID(int=rng.getrandbits(128)))


def document(rng: Random, depth: int = 0, binary: bool = False) -> str:
    """JSON with edge numbers, blanks and (in the text form) keys that stand twice."""
    sort = rng.randrange(9 if depth < 3 else 6)
    if sort < 2:
        huge = ["1e400", "-1E-400"] if not binary else ["1e300", "-1e-300"]
        numbers = ["0", "-0", "-0.0", "1.10", "12345678901234567890123456789", "1e5", "0.1", *huge]
        return rng.choice(numbers)
    if sort < 4:
        words = text(rng)
        return json.dumps(words.replace("\x00", ""), ensure_ascii=rng.random() < 0.5)
    if sort < 6:
        return rng.choice(["true", "false", "null", '""', "[]", "{}"])
    inner = [document(rng, depth + 1, binary) for _ in range(rng.randrange(4))]
    if sort < 8:
        return "[" + rng.choice([",", ", ", " , "]).join(inner) + "]"
    keys = [json.dumps(rng.choice(["a", "b", "a", "é", ""])) for _ in inner]
    return "{" + ",".join(f"{key}:{value}" for key, value in zip(keys, inner, strict=True)) + "}"


def binary_document(rng: Random) -> str:
    """A document that jsonb can hold."""
    return document(rng, binary=True)


def markup(rng: Random) -> str:
    """XML: an element, a fragment, a declaration, entities."""
    words = "".join(c for c in at_most(8)(rng) if c.isprintable() and c not in "<&>\ufffe\uffff\ufffd")
    forms = [f"<a>{words}</a>", f"{words}", f"<a b='1'/><b>{words}</b>", "<a>&lt;&#233;</a>"]
    forms += ['<?xml version="1.0" standalone="yes"?><a/>', "<!-- c --><a/>", "<a>\n\t<b/></a>"]
    return rng.choice(forms)


def array(make: Make, bounds: bool = True, sign: str = ",") -> Make:
    """A literal of one to three dimensions, with NULLs and, here and there, bounds of its own."""

    def nested(rng: Random, sizes: Sequence[int]) -> str:
        if sizes:
            return "{" + sign.join(nested(rng, sizes[1:]) for _ in range(sizes[0])) + "}"
        if rng.random() < 0.15:
            return "NULL"
        return '"' + make(rng).replace("\\", "\\\\").replace('"', '\\"') + '"'

    def literal(rng: Random) -> str:
        if rng.random() < 0.1:
            return "{}"
        sizes = [rng.randint(1, 3) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        prefix = ""
        if bounds and rng.random() < 0.25:
            starts = [rng.randint(-3, 3) for _ in sizes]
            ends = [start + size - 1 for start, size in zip(starts, sizes, strict=True)]
            prefix = "".join(f"[{a}:{b}]" for a, b in zip(starts, ends, strict=True)) + "="
        return prefix + nested(rng, sizes)

    return literal


def composite(*makes: Make) -> Make:
    """A row literal; a field may be NULL."""

    def literal(rng: Random) -> str:
        cells = ("" if rng.random() < 0.15 else _in_row(make(rng)) for make in makes)
        return "(" + ",".join(cells) + ")"

    return literal


def _in_row(cell: str) -> str:
    return '"' + cell.replace("\\", "\\\\").replace('"', '""') + '"'


def ranged(make: Callable[[Random], tuple[str, str]]) -> Make:
    """A range: empty, open at an end, closed or half-open."""

    def literal(rng: Random) -> str:
        if rng.random() < 0.1:
            return "empty"
        low, high = make(rng)
        low, high = ("" if rng.random() < 0.1 else low), ("" if rng.random() < 0.1 else high)
        return f"{rng.choice('[(')}{low},{high}{rng.choice('])')}"

    return literal


def whole_ends(rng: Random) -> tuple[str, str]:
    """Two integers in order."""
    low = rng.randint(-(10**6), 10**6)
    return str(low), str(low + rng.randint(1, 10**6))


def decimal_ends(rng: Random) -> tuple[str, str]:
    """Two decimals in order."""
    low, high = sorted((rng.randint(-(10**9), 10**9), rng.randint(-(10**9), 10**9)))
    return f"{low}.50", f"{high}.500"


def moment_ends(rng: Random) -> tuple[str, str]:
    """Two timestamps in order, quoted for a range."""
    low = rng.randint(1000, 5000)
    return f'"{low}-01-01 00:00:00+02"', rng.choice([f'"{low + 1}-02-03 04:05:06.7+00"', "infinity"])


def coordinate(rng: Random) -> str:
    """A coordinate, mostly a short one."""
    return binary_float(8)(rng) if rng.random() < 0.3 else str(rng.randint(-99, 99) / 4)


def coordinates(form: str) -> Make:
    """A shape: every `#` of the form is a coordinate."""
    return lambda rng: "".join(coordinate(rng) if sign == "#" else sign for sign in form)
