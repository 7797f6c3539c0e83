"""What becomes of a table's schema under rules, and why some rules cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import pyarrow as pa

from ...errors import Refused
from ...model import Column, Deletes, ForeignKey, Index, Kind, Schema, TableName, Transformed, Type
from .cast import find_cast, parse_type
from .mask import find_mask
from .rules import Constant, Fixed, Partial, Rules

Change = Callable[[pa.Array], tuple[pa.Array, pa.Array | None]]
"""A column's cells in their new form, and True for those that have none; None when all have one."""

_CONSTANTS: dict[type, Kind] = {bool: Kind.BOOL, int: Kind.INT64, float: Kind.FLOAT64, str: Kind.TEXT}
_MOMENT = Type(Kind.TIMESTAMPTZ)


@dataclass(frozen=True, slots=True)
class Carried:
    """A column of the source that is carried: its name there, the column it becomes, and how its cells
    change (None: they stay)."""

    source: str
    column: Column
    change: Change | None


def carried_columns(origin: Schema, rules: Rules) -> list[Carried]:
    """The columns that are carried, in the source's order. Refused for a rule that touches the key, or that
    cannot keep its promise."""
    _refuse_key_rules(origin, rules)
    carried = []
    for column in origin.stored:
        chosen = rules.columns is None or column.name in rules.columns
        if chosen and column.name not in rules.exclude_columns:
            carried.append(_carry(origin, column, rules))
    return carried


def _carry(origin: Schema, column: Column, rules: Rules) -> Carried:
    name = column.name
    made, change = column, None
    if name in rules.mask and name in rules.cast:
        refuse(origin, f"column {name} has a mask and a cast", "leave one of them away")
    if name in rules.cast:
        wanted = parse_type(rules.cast[name])
        cast = find_cast(column.type, wanted)
        if cast is None:
            refuse(origin, f"column {name} ({column.type}) has no exact cast to {wanted}", "cast it to text")
        if wanted.kind is not column.type.kind or wanted != column.type:
            made, change = Column(name, wanted, column.nullable), cast
    elif name in rules.mask:
        found = find_mask(rules.mask[name], column)
        if isinstance(found, str):
            refuse(origin, f"column {name} cannot be masked so: {found}", "choose another mask")
        made, masking = found
        change = _certain(masking)
    return Carried(name, replace(made, name=rules.rename_columns.get(name, name)), change)


def _certain(masking: Callable[[pa.Array], pa.Array]) -> Change:
    return lambda cells: (masking(cells), None)


def _refuse_key_rules(origin: Schema, rules: Rules) -> None:
    """A key must be the same row's at both ends, and be found from either: it may be renamed, no more."""
    for name in origin.key:
        left_out = rules.columns is not None and name not in rules.columns
        why = {
            "is left out": left_out or name in rules.exclude_columns,
            "is masked": name in rules.mask,
            "is cast": name in rules.cast,
        }
        for what, applies in why.items():
            if applies:
                reason = f"column {name} is of the key and {what}"
                refuse(origin, reason, "carry the key as it is; it may be renamed")


def refuse(origin: Schema, why: str, remedy: str) -> NoReturn:
    """Refused, about a table."""
    raise Refused("transform", f"table {origin.table}", why, remedy)


def constants(rules: Rules) -> dict[Column, Constant]:
    """The columns that hold one value in every row, with it."""
    return {
        Column(name, Type(_CONSTANTS[type(value)]), nullable=False): value
        for name, value in rules.constants.items()
    }


def stamps(rules: Rules) -> list[Column]:
    """The columns in which the target keeps times of its own."""
    marked = [Column(rules.deleted_at, _MOMENT)] if rules.deletes is Deletes.MARK else []
    return marked + ([Column(rules.synced_at, _MOMENT)] if rules.synced_at else [])


def refuse_twins(origin: Schema, columns: Sequence[Column]) -> None:
    """Refuse two columns of one name."""
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            refuse(origin, f"two columns would be {column.name}", "rename one of them")
        seen.add(column.name)


def transformed_schema(
    origin: Schema, rules: Rules, carried: Sequence[Carried], added: Sequence[Column], names: Names
) -> Schema:
    """The schema that the target sees: `added` columns come after the carried ones."""
    own = rules.deletes is Deletes.MARK
    renamed = {each.source: each.column.name for each in carried}
    touched = len(renamed) < len(origin.stored) or any(
        each.change or each.source != each.column.name for each in carried
    )
    # An expression of the source's over columns that are others here would mean something else, or nothing.
    generated = () if touched or rules.function else tuple(c for c in origin.columns if c.generated)
    columns = (*(each.column for each in carried), *generated, *added)
    refuse_twins(origin, columns)
    return Schema(
        table=names.table(origin.table),
        columns=columns,
        key=tuple(renamed[name] for name in origin.key),
        system=origin.system,
        indexes=tuple(_indexes(origin, rules, carried, touched)),
        foreign_keys=tuple(names.foreign_keys(origin)),
        estimated_rows=origin.estimated_rows,
        fingerprint=origin.fingerprint,
        transformed=Transformed(
            origin=origin,
            rules=rules.told(),
            filtered=bool(rules.where or rules.function),
            deletes=rules.deletes,
            deleted_at=rules.deleted_at if own else "",
            synced_at=rules.synced_at,
        ),
    )


def _indexes(origin: Schema, rules: Rules, carried: Sequence[Carried], touched: bool) -> Iterable[Index]:
    """The indexes that still mean something. One over values that are no longer distinct, or over rows that
    stay when the source has deleted them, is not unique any more."""
    renamed = {each.source: each.column.name for each in carried}
    blurred = {name for name, mask in rules.mask.items() if isinstance(mask, Fixed | Partial)}
    for index in origin.indexes:
        if rules.function or (touched and not index.portable) or not set(index.columns) <= set(renamed):
            continue
        columns = tuple(renamed[name] for name in index.columns)
        unique = index.unique and not blurred & set(index.columns) and rules.deletes is Deletes.APPLY
        changed = columns != index.columns or unique != index.unique
        if changed and not index.portable:
            continue
        yield replace(
            index,
            columns=columns,
            unique=unique,
            constraint=index.constraint and not changed,
            definition="" if changed else index.definition,
        )


def left_out(schema: Schema) -> Iterable[str]:
    """What of the source's table its rules leave no meaning, a clause each."""
    if schema.transformed is None:
        return
    origin = schema.transformed.origin
    made = {index.name: index for index in schema.indexes}
    if any(column.generated for column in origin.columns) and schema.stored == schema.columns:
        yield "columns that are generated are not made under its rules"
    for index in origin.indexes:
        if index.name not in made:
            yield f"index {index.name} is not made under its rules"
        elif index.unique and not made[index.name].unique:
            yield f"index {index.name} is not unique under its rules"
    if lost := len(origin.foreign_keys) - len(schema.foreign_keys):
        yield f"{lost} of its foreign keys {'is' if lost == 1 else 'are'} not made under its rules"


class Names:
    """What tables and columns are called at the target, and which foreign keys still hold there."""

    def __init__(self, rules: Callable[[TableName], Rules]) -> None:
        self._rules = rules

    def table(self, table: TableName) -> TableName:
        """The name that a table has at the target, before the target places it."""
        rename = self._rules(table).rename
        if not rename:
            return table
        schema, _, name = rename.rpartition(".")
        return TableName(name, schema or None)

    def foreign_keys(self, origin: Schema) -> Iterable[ForeignKey]:
        """The references whose both ends stay what they are; a row's parent must not be left out by rules,
        nor be gone while the row stays."""
        mine = self._rules(origin.table)
        for foreign in origin.foreign_keys:
            theirs = self._rules(foreign.parent)
            columns = _kept(mine, foreign.columns)
            parent_columns = _kept(theirs, foreign.parent_columns)
            if columns is None or parent_columns is None or theirs.where or theirs.function or mine.function:
                continue
            if mine.deletes is not Deletes.APPLY and theirs.deletes is Deletes.APPLY:
                continue
            yield replace(
                foreign,
                columns=columns,
                parent=self.table(foreign.parent),
                parent_columns=parent_columns,
            )


def _kept(rules: Rules, columns: Sequence[str]) -> tuple[str, ...] | None:
    """The new names of columns whose cells are carried as they are or one-to-one; None when one is not."""
    for name in columns:
        if (rules.columns is not None and name not in rules.columns) or name in rules.exclude_columns:
            return None
        if name in rules.cast or name in rules.mask:
            return None
    return tuple(rules.rename_columns.get(name, name) for name in columns)
