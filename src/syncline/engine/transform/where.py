"""Filters: a condition in SQL, decided for whole columns at once.

sqlglot reads the text (PostgreSQL's dialect); here stands what each piece means. There are columns,
constants, `= <> < <= > >=`, BETWEEN, IN with constants, LIKE, IS [NOT] NULL, IS [NOT] TRUE and FALSE, AND,
OR, NOT and parentheses, in three-valued logic as in SQL: a row passes when its condition is true, neither
false nor unknown. Values compare as PostgreSQL compares them, text by its bytes (collation "C"). Whatever
else the text holds is refused with its place.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Refused
from ...model import Kind, Rows, Schema, Type
from .operand import Incomparable, Operand, orderer
from .order import Order

if TYPE_CHECKING:
    from sqlglot.expressions import Expr

Truth = Callable[[Rows], pa.Array]
"""Of each row: true, false, or NULL for unknown."""

_TYPED = {"DATE": Kind.DATE, "TIME": Kind.TIME, "TIMESTAMP": Kind.TIMESTAMP, "TIMESTAMPTZ": Kind.TIMESTAMPTZ}
_SUBSET = (
    "a filter has columns, constants, = <> < <= > >=, BETWEEN, IN, LIKE, IS NULL, IS TRUE, IS FALSE, "
    "AND, OR, NOT and parentheses"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition over rows of one table, and the columns that it looks at."""

    columns: frozenset[str]
    truth: Truth

    def passing(self, rows: Rows) -> pa.Array:
        """True for the rows that pass; every cell of `columns` must have been sent."""
        return pc.fill_null(self.truth(rows), False)


def read_filter(text: str, schema: Schema) -> Filter:
    """The filter that a text means for a table. Refused, with the place, for whatever it cannot be."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except SqlglotError as error:
        places = [each["col"] for each in getattr(error, "errors", []) if each.get("col")]
        where = f" after character {places[0]}" if places else ""
        why = f"{text!r} does not read as a condition{where}"
        raise Refused("read", f"the filter of table {schema.table}", why, _SUBSET) from None
    reader = _Reader(text, schema)
    truth = reader.truth(tree)
    return Filter(frozenset(reader.columns), truth)


class _Reader:
    """Makes conditions out of sqlglot's tree, and keeps the columns it met."""

    def __init__(self, text: str, schema: Schema) -> None:
        self._text, self._schema = text, schema
        self.columns: set[str] = set()

    def truth(self, node: Expr) -> Truth:
        """The condition that a node means."""
        from sqlglot import exp

        given = {name for name, value in node.args.items() if value not in (None, False, [])}
        match node:
            case exp.Paren() if given == {"this"}:
                return self.truth(node.this)
            case exp.And() | exp.Or():
                left, right = self.truth(node.this), self.truth(node.expression)
                join = pc.and_kleene if isinstance(node, exp.And) else pc.or_kleene
                return lambda rows: join(left(rows), right(rows))
            case exp.Not():
                inner = self.truth(node.this)
                return lambda rows: pc.invert(inner(rows))
            case exp.Is() if given <= {"this", "expression", "negate"}:
                return _negated(node, self._is(node))
            case exp.Like() if given <= {"this", "expression", "negate"}:
                return _negated(node, self._like(node))
            case exp.In() if given <= {"this", "expressions"} and node.expressions:
                equal = [self._compare(node, node.this, each, "=") for each in node.expressions]
                return lambda rows: reduce(pc.or_kleene, (each(rows) for each in equal))
            case exp.Between() if given == {"this", "low", "high"}:
                low = self._compare(node, node.this, node.args["low"], ">=")
                high = self._compare(node, node.this, node.args["high"], "<=")
                return lambda rows: pc.and_kleene(low(rows), high(rows))
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._compare(node, node.this, node.expression, _SIGNS[type(node).__name__])
            case exp.Column() | exp.Boolean() | exp.Null():
                return self._plain(node)
        raise self._refused(node, "it is not of what a filter has")

    def _plain(self, node: Expr) -> Truth:
        operand = self._operand(node)
        if operand.column and (operand.type is None or operand.type.kind is not Kind.BOOL):
            raise self._refused(node, f"it is {operand.type}, and no condition by itself")
        if operand.column:
            return lambda rows: rows.array(operand.column)
        value = pa.scalar(None if operand.text is None else operand.text == "true", pa.bool_())
        return lambda rows: pa.repeat(value, rows.count)

    def _is(self, node: Expr) -> Truth:
        from sqlglot import exp

        asked = node.expression
        if isinstance(asked, exp.Null) and isinstance(node.this, exp.Column):
            name = self._operand(node.this).column
            return lambda rows: pc.is_null(rows.array(name))
        if isinstance(asked, exp.Boolean):
            inner, wanted = self.truth(node.this), bool(asked.this)
            return lambda rows: pc.fill_null(pc.equal(inner(rows), wanted), False)
        raise self._refused(node, "only NULL of a column, TRUE and FALSE can be asked with IS")

    def _like(self, node: Expr) -> Truth:
        from sqlglot import exp

        operand, pattern = self._operand(node.this), node.expression
        if not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise self._refused(node, "its pattern is no constant text")
        try:
            if not operand.column or operand.meaning is not Kind.TEXT:
                raise Incomparable("LIKE takes a column of text")
            expression = like_expression(pattern.this)
        except Incomparable as error:
            raise self._refused(node, str(error)) from None
        return lambda rows: pc.match_substring_regex(rows.array(operand.column), expression)

    def _compare(self, whole: Expr, left: Expr, right: Expr, sign: str) -> Truth:
        try:
            order = orderer(self._operand(left), self._operand(right), ordered=sign not in ("=", "<>"))
        except Incomparable as error:
            raise self._refused(whole, str(error)) from None
        outcome = _OUTCOMES[sign]
        return lambda rows: outcome(order(rows))

    def _operand(self, node: Expr) -> Operand:
        from sqlglot import exp

        match node:
            case exp.Paren():
                return self._operand(node.this)
            case exp.Column() if not node.table:
                return self._column(node)
            case exp.Literal():
                return Operand(text=node.this, numeric=not node.is_string)
            case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
                return Operand(text=f"-{node.this.this}", numeric=True)
            case exp.Boolean():
                return Operand(Type(Kind.BOOL), text="true" if node.this else "false")
            case exp.Null():
                return Operand()
            case exp.Cast() if isinstance(node.this, exp.Literal) and node.this.is_string:
                kind = _TYPED.get(node.to.this.name)
                if kind is not None and not node.to.expressions:
                    return Operand(Type(kind), text=node.this.this)
        raise self._refused(node, "it is neither a column nor a constant")

    def _column(self, node: Expr) -> Operand:
        name, quoted = node.name, node.this.quoted
        names = self._schema.names
        if name not in names and not quoted:
            name = next((known for known in names if known.lower() == name.lower()), name)
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise self._refused(
                node,
                f"the table has no column {name}",
                f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}",
            )
        self.columns.add(name)
        return Operand(self._schema.column(name).type, column=name)

    def _refused(self, node: Expr, why: str, remedy: str = _SUBSET) -> Refused:
        starts = [each.meta["start"] for each in node.walk() if "start" in each.meta]
        where = f" at character {min(starts) + 1}" if starts else ""
        piece = node.sql("postgres")
        return Refused(
            "read", f"the filter of table {self._schema.table}", f"{piece!r}{where}: {why}", remedy
        )


def like_expression(pattern: str) -> str:
    """RE2's expression for a pattern of LIKE; Incomparable for one that PostgreSQL refuses."""
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            character = next(characters, "")
            if not character:
                raise Incomparable("its pattern ends with a backslash")
            parts.append(_literal(character))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or _literal(character))
    return rf"(?s)\A{''.join(parts)}\z"


def _literal(character: str) -> str:
    return f"\\{character}" if character in r"\.+*?()|[]{}^$" else character


def _negated(node: Expr, truth: Truth) -> Truth:
    if not node.args.get("negate"):
        return truth
    return lambda rows: pc.invert(truth(rows))


_SIGNS = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_OUTCOMES: dict[str, Callable[[Order], pa.Array]] = {
    "=": lambda order: order.equal,
    "<>": lambda order: pc.invert(order.equal),
    "<": lambda order: order.less,
    "<=": lambda order: pc.or_(order.less, order.equal),
    ">": lambda order: pc.invert(pc.or_(order.less, order.equal)),
    ">=": lambda order: pc.invert(order.less),
}
