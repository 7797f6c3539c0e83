"""Comparing cells by value that travel as text (`model/types.py`): decimals, dates, moments.

Each cell becomes a text whose order by bytes is the order of the values, so that Arrow compares whole
columns. PostgreSQL's order: NaN equals itself and is above everything, BC dates lie before the others,
infinities at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_DECIMAL = r"^(?P<sign>-?)0*(?P<whole>\d*)(?:\.(?P<rest>\d*?)0*)?$"
_MOMENT = r"^(?P<year>\d+)-(?P<rest>[^ ]*(?: [0-9:.]+)?)(?:\+00)?(?P<bc>(?: BC)?)$"
_YEARS = 10_000
"""Added to a year: the earliest that any system has is 4714 BC."""


@dataclass(frozen=True, slots=True)
class Order:
    """Of two columns, cell by cell: whether the first is less, and whether both are equal; NULL where either
    is."""

    less: pa.Array
    equal: pa.Array


def order_numbers(left: pa.Array, right: pa.Array) -> Order:
    """Decimals as their digits, of any length, by value: 1.0 equals 1.00."""
    a, b = _Digits.of(left), _Digits.of(right)
    width = max(pc.max(pc.utf8_length(x.whole)).as_py() or 1 for x in (a, b))
    x, y = a.magnitude(width), b.magnitude(width)
    same = pc.equal(a.negative, b.negative)
    above = pc.if_else(a.negative, pc.greater(x, y), pc.less(x, y))
    less = pc.if_else(same, above, a.negative)
    return Order(less, pc.and_(same, pc.equal(x, y)))


def order_moments(left: pa.Array, right: pa.Array) -> Order:
    """Dates, or timestamps, by value."""
    a, b = _moment_key(left), _moment_key(right)
    return Order(pc.less(a, b), pc.equal(a, b))


@dataclass(frozen=True, slots=True)
class _Digits:
    """Numbers taken apart; the zeros that say nothing are gone. Infinity and NaN are letters, which stand
    after all digits."""

    negative: pa.Array
    whole: pa.Array
    rest: pa.Array

    @classmethod
    def of(cls, texts: pa.Array) -> _Digits:
        parts = pc.extract_regex(texts, _DECIMAL)
        finite = parts.is_valid()
        sign, whole, rest = (pc.struct_field(parts, name) for name in ("sign", "whole", "rest"))
        bare = pc.replace_substring(texts, "-", "")
        whole = pc.if_else(finite, whole, bare)
        rest = pc.if_else(finite, rest, "")
        zero = pc.and_(finite, pc.and_(pc.equal(whole, ""), pc.equal(rest, "")))
        minus = pc.if_else(finite, pc.equal(sign, "-"), pc.starts_with(texts, "-"))
        return cls(pc.and_not(minus, zero), whole, rest)

    def magnitude(self, width: int) -> pa.Array:
        """The number without its sign, so that more is later by bytes."""
        letters = pc.match_substring_regex(self.whole, "^[A-Za-z]")
        padded = pc.if_else(letters, self.whole, pc.utf8_lpad(self.whole, width, "0"))
        return pc.binary_join_element_wise(padded, self.rest, "")


def _moment_key(texts: pa.Array) -> pa.Array:
    parts = pc.extract_regex(texts, _MOMENT)
    year, rest, bc = (pc.struct_field(parts, name) for name in ("year", "rest", "bc"))
    number = pc.cast(year, pa.int64())
    number = pc.if_else(pc.equal(bc, ""), number, pc.subtract(1, number))
    shifted = pc.utf8_lpad(pc.cast(pc.add(number, _YEARS), pa.string()), 7, "0")
    key = pc.binary_join_element_wise(shifted, rest, "-")
    key = pc.if_else(pc.equal(texts, "infinity"), "~", key)
    return pc.if_else(pc.equal(texts, "-infinity"), "", key)
