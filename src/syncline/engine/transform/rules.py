"""What a user may ask of a table, as values."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

import orjson

from ...model import Deletes

Constant = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Hash:
    """HMAC-SHA256 (RFC 2104) of the cell's canonical text under a secret key, in hexadecimal digits."""

    key: bytes = field(repr=False)

    def told(self) -> dict[str, str]:
        """The mask as text that shows whether the key is another one, and not which."""
        return {"hash": hmac.digest(self.key, b"syncline: which key", "sha256").hex()[:16]}


@dataclass(frozen=True, slots=True)
class Null:
    """NULL, whatever the cell was."""

    def told(self) -> str:
        """The mask as text."""
        return "null"


@dataclass(frozen=True, slots=True)
class Fixed:
    """One value for every cell that is not NULL."""

    value: Constant

    def told(self) -> dict[str, Constant]:
        """The mask as text."""
        return {"fixed": self.value}


@dataclass(frozen=True, slots=True)
class Partial:
    """Stars but for so many characters at the start and at the end; a value that has no more than these
    becomes stars altogether."""

    first: int = 0
    last: int = 0

    def told(self) -> dict[str, int]:
        """The mask as text."""
        return {"keep_first": self.first, "keep_last": self.last}


Mask = Hash | Null | Fixed | Partial


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of one table. Column names are the source's, but in `constants`.

    `columns` are those to carry (None: all), `cast` gives the name of a canonical type by column,
    `deleted_at` the column that `deletes = mark` keeps, `synced_at` that of the time of writing ('': none),
    `function` the Python function that has the last word, as `module:function`. `given` names what was asked
    for by name: it counts where other rules mean the table too, also when it is what holds by default.
    """

    rename: str = ""
    columns: tuple[str, ...] | None = None
    exclude_columns: tuple[str, ...] = ()
    rename_columns: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    mask: Mapping[str, Mask] = field(default_factory=dict)
    constants: Mapping[str, Constant] = field(default_factory=dict)
    cast: Mapping[str, str] = field(default_factory=dict)
    deletes: Deletes = Deletes.APPLY
    deleted_at: str = "_deleted_at"
    synced_at: str = ""
    function: str = ""
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def named(self) -> dict[str, None]:
        """The source's columns that they name, in order."""
        names = [*(self.columns or ()), *self.exclude_columns, *self.rename_columns, *self.mask, *self.cast]
        return dict.fromkeys(names)

    def told(self) -> str:
        """The rules as text: another text is another transformation. A secret is not in it."""
        members: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.compare and value and value != each.default:
                members[each.name] = value
        if self.mask:
            members["mask"] = {column: mask.told() for column, mask in self.mask.items()}
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS).decode() if members else ""

    def over(self, other: Rules) -> Rules:
        """Both rules as one; where they clash, these."""
        joined: dict[str, Any] = {}
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name == "given":
                joined[each.name] = mine | theirs
            elif isinstance(mine, Mapping):
                joined[each.name] = {**theirs, **mine}
            else:
                wanted = each.name in self.given or (mine and mine != each.default)
                joined[each.name] = mine if wanted else theirs
        return Rules(**joined)


def is_glob(pattern: str) -> bool:
    """Whether a pattern may mean several tables."""
    return any(character in pattern for character in "*?[")


def rules_of(patterns: Mapping[str, Rules], name: str) -> Rules:
    """The rules of a table: of all patterns that mean it, a later one over an earlier one, its own name over
    all globs."""
    matching: Sequence[str] = sorted(
        (pattern for pattern in patterns if pattern == name or fnmatchcase(name, pattern)),
        key=lambda pattern: pattern == name,
    )
    found = Rules()
    for pattern in matching:
        found = patterns[pattern].over(found)
    return found
