"""Rules of tables as users write them, in TOML or on the command line, made into the engine's.

Light to import: what reads configurations needs the sections only, not what is behind them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from ..engine.transform.form import check_form
from ..errors import Refused
from .stores import resolve

if TYPE_CHECKING:
    from ..engine.transform.rules import Constant, Mask, Rules

Name = Annotated[str, Field(min_length=1)]
Form = Annotated[Name, AfterValidator(check_form)]
Value = StrictBool | StrictInt | StrictFloat | StrictStr


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HashMask(_Section):
    """`{ hash = "env:NAME" }`: the secret key by reference only, so that no such file holds it."""

    hash: Annotated[str, Field(pattern=r"^(env|file):.+")]


class FixedMask(_Section):
    """`{ fixed = "x" }`"""

    fixed: Value


class PartialMask(_Section):
    """`{ keep_first = 1, keep_last = 2 }`"""

    keep_first: Annotated[int, Field(ge=0)] = 0
    keep_last: Annotated[int, Field(ge=0)] = 0


class TableRules(_Section):
    """What becomes of a table on its way; the key is its name at the source, or a glob."""

    rename: Name | None = Field(default=None, description="The table's name at the target.")
    columns: tuple[Name, ...] | None = Field(
        default=None, min_length=1, description="Only these columns, those of the key among them."
    )
    exclude_columns: tuple[Name, ...] = Field(default=(), description="Not these columns.")
    rename_columns: Mapping[Name, Name] = Field(
        default_factory=dict, description="Names of columns at the target, by those at the source."
    )
    where: Name | None = Field(
        default=None, description="Only rows for which this SQL condition is true; others are deleted."
    )
    mask: Mapping[Name, Literal["null"] | HashMask | FixedMask | PartialMask] = Field(
        default_factory=dict, description="What stands in place of the values of a column."
    )
    constants: Mapping[Name, Value] = Field(
        default_factory=dict, description="Columns that are added, each with one value."
    )
    cast: Mapping[Name, Form] = Field(
        default_factory=dict, description="The form of a column at the target: text, decimal(10,2), int64, …"
    )
    deletes: Literal["apply", "mark", "ignore"] = Field(
        default="apply", description="What becomes of a row that is deleted at the source."
    )
    deleted_at: Name = Field(default="_deleted_at", description="The column that `mark` sets.")
    synced_at: Name | None = Field(
        default=None, description="A column that is added, with the time when the row was handed over."
    )
    transform: Name | None = Field(
        default=None, description="A Python function over batches of rows: module:function."
    )

    def rules(self) -> Rules:
        """The engine's rules. Refused for a key that is not where its reference says."""
        from ..engine.transform.rules import Rules
        from ..model import Deletes

        return Rules(
            rename=self.rename or "",
            columns=self.columns,
            exclude_columns=self.exclude_columns,
            rename_columns=dict(self.rename_columns),
            where=self.where or "",
            mask={column: _mask(mask) for column, mask in self.mask.items()},
            constants=dict(self.constants),
            cast=dict(self.cast),
            deletes=Deletes(self.deletes),
            deleted_at=self.deleted_at,
            synced_at=self.synced_at or "",
            function=self.transform or "",
            given=frozenset("function" if name == "transform" else name for name in self.model_fields_set),
        )


def _mask(mask: str | HashMask | FixedMask | PartialMask) -> Mask:
    from ..engine.transform.rules import Fixed, Hash, Null, Partial

    match mask:
        case HashMask():
            return Hash(os.fsencode(resolve(mask.hash)))
        case FixedMask():
            value: Constant = mask.fixed
            return Fixed(value)
        case PartialMask():
            return Partial(mask.keep_first, mask.keep_last)
    return Null()


def command_line_rules(
    store: Sequence[str] = (), where: Sequence[str] = (), modules: Sequence[str] = ()
) -> dict[str, Rules]:
    """Rules by table from `--store TABLE.COLUMN=FORM`, `--where TABLE=CONDITION` and `--transforms MODULE`.
    Refused for text of another form."""
    from ..engine.transform.cast import parse_type
    from ..engine.transform.registry import find_functions
    from ..engine.transform.rules import Rules

    found: dict[str, Rules] = {}

    def add(table: str, **members: Any) -> None:
        found[table] = Rules(**members).over(found.get(table, Rules()))

    for text in store:
        place, _, form = text.rpartition("=")
        table, _, column = place.rpartition(".")
        if not (table and column and form):
            raise Refused(
                "read", f"--store {text!r}", "it is not TABLE.COLUMN=FORM", "such as orders.total=text"
            )
        parse_type(form)
        add(table, cast={column: form})
    for text in where:
        table, _, condition = text.partition("=")
        if not (table and condition):
            example = "such as \"orders=status <> 'draft'\""
            raise Refused("read", f"--where {text!r}", "it is not TABLE=CONDITION", example)
        add(table.strip(), where=condition.strip())
    for module in modules:
        for function in find_functions(module):
            add(function.table, function=function.name)
    return found
