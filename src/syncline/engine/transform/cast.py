"""Casts of one column to another canonical type: exact, or the row is refused (Promise 3).

A cast that would have to round, cut or guess is not there at all. What is text afterwards is the canonical
text of `model/types.py`; floats are written as `NaN`, `Infinity`, `-0` and else with the fewest digits that
mean them, bytes as PostgreSQL does: `\\x` and hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Refused
from ...model import Kind, Type
from ...model.types import INTEGERS
from .form import parse_form
from .order import order_numbers

Cells = tuple[pa.Array, pa.Array]
"""The cells in the new type, and True for those that have no exact form in it."""

Cast = Callable[[pa.Array], Cells]

FLOATS = {Kind.FLOAT32, Kind.FLOAT64}
_DATE = r"(\d{4}|[1-9]\d{4,6})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{0,5}[1-9])?"
FORMS = {  # the canonical texts of `model/types.py`
    Kind.DECIMAL: r"^(-?\d+(\.\d+)?|NaN|-?Infinity)$",
    Kind.DATE: rf"^(-?infinity|{_DATE}( BC)?)$",
    Kind.TIME: rf"^({_TIME}|24:00:00)$",
    Kind.TIMESTAMP: rf"^(-?infinity|{_DATE} {_TIME}( BC)?)$",
    Kind.TIMESTAMPTZ: rf"^(-?infinity|{_DATE} {_TIME}\+00( BC)?)$",
    Kind.UUID: r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
}
_INTEGER = r"^(0|-?[1-9]\d*)$"
_EXACT_FLOAT = 1 << 53


def parse_type(text: str) -> Type:
    """The canonical type of a name such as `text`, `int64` or `decimal(10,2)`. Refused for another name."""
    try:
        kind, precision, scale = parse_form(text)
    except ValueError as error:
        reason, _, remedy = str(error).partition("; ")
        raise Refused("read", f"the type {text!r}", reason, remedy) from None
    return Type(kind, precision=precision, scale=scale)


def find_cast(source: Type, wanted: Type) -> Cast | None:
    """The cast from one type to another; None when there is no exact one."""
    have, kind = source.kind, wanted.kind
    texts = (Kind.TEXT, Kind.ENUM)
    if kind is Kind.TEXT:
        return lambda cells: _all_fit(_to_text(cells, have))
    if kind is Kind.DECIMAL and have in (Kind.DECIMAL, *texts, *INTEGERS):
        return lambda cells: _to_decimal(_to_text(cells, have), wanted)
    if kind in INTEGERS:
        return _integer_cast(have, wanted)
    if kind in FLOATS and have in FLOATS | INTEGERS:
        return lambda cells: _to_float(cells, wanted)
    if kind is Kind.BOOL and have in (*texts, *INTEGERS):
        yes, no = ("true", "false") if have in texts else ("1", "0")
        return lambda cells: _to_bool(_to_text(cells, have), yes, no)
    if kind is Kind.TIMESTAMP and have is Kind.DATE:
        return lambda cells: _all_fit(_midnight(cells))
    if kind in FORMS and have in texts:
        return lambda cells: _fitting(cells, pc.match_substring_regex(cells, FORMS[kind]))
    return None


def _integer_cast(have: Kind, wanted: Type) -> Cast | None:
    if have is Kind.BOOL:
        return lambda cells: _all_fit(pc.cast(pc.cast(cells, pa.int8()), wanted.arrow))
    if have in INTEGERS | {Kind.DECIMAL}:
        whole = r"^-?\d+(\.0*)?$"
    elif have in (Kind.TEXT, Kind.ENUM):
        whole = _INTEGER
    else:
        return None
    return lambda cells: _to_integer(_to_text(cells, have), whole, wanted)


def text_of(cells: pa.Array, kind: Kind) -> pa.Array:
    """Cells as their canonical text."""
    return _to_text(cells, kind)


def _all_fit(cells: pa.Array) -> Cells:
    return cells, pa.repeat(pa.scalar(False), len(cells))


def _fitting(cells: pa.Array, fits: pa.Array) -> Cells:
    """The cells that fit; the others are refused, and NULL meanwhile."""
    bad = pc.fill_null(pc.invert(fits), False)
    return pc.if_else(bad, pa.scalar(None, cells.type), cells), bad


def _to_text(cells: pa.Array, kind: Kind) -> pa.Array:
    if kind is Kind.BOOL:
        return pc.if_else(cells, "true", "false")
    if kind is Kind.BYTES:
        coded = cells.dictionary_encode()
        hexed = pa.array(["\\x" + cell.hex() for cell in coded.dictionary.to_pylist()], pa.string())
        return hexed.take(coded.indices)
    texts = pc.cast(cells, pa.string())
    if kind in FLOATS:
        for written, meant in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
            texts = pc.if_else(pc.equal(texts, written), meant, texts)
    return texts


def _to_decimal(texts: pa.Array, wanted: Type) -> Cells:
    cells, bad = _fitting(texts, pc.match_substring_regex(texts, FORMS[Kind.DECIMAL]))
    if wanted.precision is None:
        return cells, bad
    scale = wanted.scale or 0
    # What lies behind the scale must be zeros, what is missing is filled up with them.
    shape = rf"^(?P<whole>-?\d+)(?:\.(?P<rest>\d{{0,{scale}}})0*)?$"
    parts = pc.extract_regex(cells, shape)
    rest = pc.utf8_rpad(pc.struct_field(parts, "rest"), scale, "0")
    whole = pc.struct_field(parts, "whole")
    full = pc.binary_join_element_wise(whole, rest, ".") if scale else whole
    nan = pc.fill_null(pc.equal(cells, "NaN"), False)
    full = pc.if_else(nan, "NaN", full)
    digits = pc.utf8_length(pc.utf8_ltrim(whole, "-0"))
    fits = pc.or_(nan, pc.fill_null(pc.less_equal(digits, wanted.precision - scale), False))
    lost = pc.or_(bad, pc.and_(texts.is_valid(), pc.invert(fits)))
    return pc.if_else(lost, pa.scalar(None, pa.string()), full), lost


def _to_integer(texts: pa.Array, whole: str, wanted: Type) -> Cells:
    fits = pc.match_substring_regex(texts, whole)
    digits = pc.replace_substring_regex(texts, r"\.0*$", "")
    low, high = _bounds(wanted.kind)
    for bound, sign in ((low, 1), (high, -1)):
        limit = pa.repeat(pa.scalar(str(bound)), len(texts))
        pair = (digits, limit) if sign > 0 else (limit, digits)
        fits = pc.and_(fits, pc.invert(order_numbers(*pair).less))
    kept, bad = _fitting(digits, fits)
    return pc.cast(kept, wanted.arrow), bad


def _bounds(kind: Kind) -> tuple[int, int]:
    bits = int(re.sub(r"\D", "", kind))
    return (0, (1 << bits) - 1) if kind.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _to_float(cells: pa.Array, wanted: Type) -> Cells:
    if not pa.types.is_floating(cells.type):
        limit = _EXACT_FLOAT if wanted.kind is Kind.FLOAT64 else 1 << 24
        fits = pc.less_equal(cells, pa.scalar(limit, cells.type))
        if cells.type == pa.int64():
            fits = pc.and_(fits, pc.greater_equal(cells, -limit))
        kept, bad = _fitting(cells, fits)
        return pc.cast(kept, wanted.arrow), bad
    narrow = pc.cast(cells, wanted.arrow, safe=False)
    same = pc.equal(pc.cast(narrow, cells.type), cells)
    return _fitting(narrow, pc.or_(same, pc.is_nan(cells)))


def _to_bool(texts: pa.Array, yes: str, no: str) -> Cells:
    fits = pc.or_(pc.equal(texts, yes), pc.equal(texts, no))
    return _fitting(pc.equal(texts, yes), fits)


def _midnight(cells: pa.Array) -> pa.Array:
    era = pc.if_else(pc.ends_with(cells, " BC"), " BC", "")
    day = pc.replace_substring(cells, " BC", "")
    moments = pc.binary_join_element_wise(day, pc.binary_join_element_wise("00:00:00", era, ""), " ")
    return pc.if_else(pc.match_substring(cells, "infinity"), cells, moments)
