"""The comparison itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .rules import Ruled, Rules, Unmarked
from .stores import Store, Table, opened
from .values import Plain, exact, plain

SHOWN = 20  # differences that are spelt out for a table; the rest are counted


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in the two stores; `what` is one of `table`, `columns`, `row missing`,
    `row added`, `cell`, `more`."""

    table: str
    what: str
    detail: str
    key: tuple[Any, ...] = ()

    def __str__(self) -> str:
        place = f" key {', '.join(map(repr, self.key))}" if self.key else ""
        return f"{self.table}{place}: {self.what}: {self.detail}"


def compare(
    url_a: str,
    url_b: str,
    tables: Iterable[str] | None = None,
    *,
    exclude: Iterable[str] = (),
    rules: Mapping[str, Rules] | None = None,
    counted: dict[str, int] | None = None,
) -> list[Difference]:
    """What differs between two stores; nothing when they are equal. `tables` and `exclude` are globs of
    the first store's table names; `rules` are by these names, too. `counted`, when given, receives the rows
    of each table compared."""
    wanted = None if tables is None else list(tables)
    excluded = list(exclude)

    def takes_part(name: str) -> bool:
        return (wanted is None or _matches(name, wanted)) and not _matches(name, excluded)

    found: list[Difference] = []
    given = rules or {}
    marks = {table: rule.mark for table, rule in given.items() if rule.mark}
    with opened(url_a) as first, opened(url_b) as second:
        a, b = Ruled(first, given), Unmarked(second, marks)
        mixed = a.system != b.system
        ours = {_place(table, mixed): table for table in a.tables() if takes_part(table.name)}
        theirs = {_place(table, mixed): table for table in b.tables()}
        for place, table in ours.items():
            if place not in theirs:
                found.append(Difference(table.name, "table", "is not in the second store"))
                continue
            differences, rows = _compare_table(a, table, b, theirs[place])
            found += differences
            if counted is not None:
                counted[table.name] = rows
        found += [
            Difference(table.name, "table", "is not in the first store")
            for place, table in theirs.items()
            if place not in ours and takes_part(table.name)
        ]
    return found


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _place(table: Table, mixed: bool) -> str:
    """The name under which a table is looked for; SQLite has no schemas."""
    return table.name.replace(".", "_") if mixed else table.name


def _compare_table(a: Store, ours: Table, b: Store, theirs: Table) -> tuple[list[Difference], int]:
    there = {column.name: column for column in theirs.columns}
    here = {column.name for column in ours.columns}
    lacking = [c.name for c in ours.columns if c.name not in there and not c.generated]
    extra = [c.name for c in theirs.columns if c.name not in here and not c.generated]
    if lacking or extra:
        detail = f"lacking {', '.join(lacking) or 'none'}; added {', '.join(extra) or 'none'}"
        return [Difference(ours.name, "columns", detail)], 0
    columns = [column for column in ours.columns if column.name in there]
    names = [column.name for column in columns]
    if a.system == b.system:
        forms: list[Plain] = [exact] * len(names)
    elif a.system == "postgresql":
        forms = [plain(column.type) for column in columns]
    else:
        forms = [plain(there[name].type) for name in names]
    key = [names.index(name) for name in ours.key]
    if not key:
        return _compare_bags(a, ours, b, theirs, names, forms)
    return _compare_rows(a, ours, b, theirs, names, forms, key)


def _compare_rows(
    a: Store, ours: Table, b: Store, theirs: Table, names: list[str], forms: list[Plain], key: list[int]
) -> tuple[list[Difference], int]:
    found = _Found(ours.name)
    expected = {tuple(_form(forms[i], row[i]) for i in key): row for row in a.rows(ours, names)}
    rows = len(expected)
    for row in b.rows(theirs, names):
        at = tuple(row[i] for i in key)
        other = expected.pop(tuple(_form(forms[i], row[i]) for i in key), None)
        if other is None:
            found.add("row added", "is in the second store only", at)
            continue
        for name, form, left, right in zip(names, forms, other, row, strict=True):
            if _form(form, left) != _form(form, right):
                found.add("cell", f"{name} is {_short(left)} and {_short(right)}", at)
    for row in expected.values():
        found.add("row missing", "is in the first store only", tuple(row[i] for i in key))
    return found.all(), rows


def _compare_bags(
    a: Store, ours: Table, b: Store, theirs: Table, names: list[str], forms: list[Plain]
) -> tuple[list[Difference], int]:
    """Rows without a key: equal when every row stands as often in one store as in the other."""
    found = _Found(ours.name)
    left, right = (
        Counter(tuple(map(_form, forms, row)) for row in store.rows(table, names))
        for store, table in ((a, ours), (b, theirs))
    )
    for row, times in (left - right).items():
        found.add("row missing", f"{times} more of {_short(row)} in the first store")
    for row, times in (right - left).items():
        found.add("row added", f"{times} more of {_short(row)} in the second store")
    return found.all(), left.total()


class _Found:
    """The differences of one table, counted beyond the ones that are shown."""

    def __init__(self, table: str) -> None:
        self._table, self._shown, self._count = table, [], 0  # type: str, list[Difference], int

    def add(self, what: str, detail: str, key: tuple[Any, ...] = ()) -> None:
        self._count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(Difference(self._table, what, detail, key))

    def all(self) -> list[Difference]:
        more = self._count - len(self._shown)
        rest = [Difference(self._table, "more", f"and {more:,} more differences")] if more else []
        return self._shown + rest


def _form(form: Plain, cell: Any) -> Any:
    return None if cell is None else form(cell)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text):,} characters)"
