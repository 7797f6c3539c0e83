"""Random transactions that an application might write, the same for the same seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

from ...model import Kind, Schema
from .driver import Delete, Empty, Insert, Row, Update, Write
from .stage import BIG, column, identifier, table

VARIABLE = "SYNCLINE_SEED"

ORDERS = table(
    "orders",
    identifier(),
    column("note", Kind.TEXT),
    column("amount", Kind.INT32, nullable=False),
    column("scan", Kind.TEXT),
    column("paid", Kind.BOOL),
)
LINES = table(
    "order lines",
    identifier("order", Kind.INT32),
    identifier("label", Kind.TEXT),
    column("price", Kind.FLOAT64),
    column("raw", Kind.BYTES),
    key=("label", "order"),
)


def seed() -> int:
    """The seed of this run, printed so that a failure can be replayed with `SYNCLINE_SEED`."""
    number = int(os.environ.get(VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"{VARIABLE}={number}")  # noqa: T201 (shown by pytest where a case fails)
    return number


class Workload:
    """Transactions over `orders` and `order lines` that never fail: it knows which keys are there."""

    tables = ORDERS, LINES

    def __init__(self, seed: int, *, truncates: bool) -> None:
        self._random = random.Random(seed)
        self._truncates = truncates
        self._keys: dict[Schema, list[Row]] = {}
        self._there: dict[Schema, set[Row]] = {}
        for made in self.tables:
            self._clear(made)

    def transactions(self, count: int) -> Iterator[list[Write]]:
        """So many transactions, of one to a dozen writes each."""
        for _ in range(count):
            yield [self._write() for _ in range(self._random.choice((1, 1, 2, 3, 5, 12)))]

    def _clear(self, made: Schema) -> None:
        self._keys[made], self._there[made] = [], set()

    def _write(self) -> Write:
        made = self._random.choice(self.tables)
        chance = self._random.random()
        if self._truncates and chance > 0.998:
            self._clear(made)
            return Empty([made])
        if not self._keys[made] or chance < 0.4:
            key = self._new_key(made)
            self._add(made, key)
            return Insert(made, {**self._cells(made), **dict(zip(made.key, key, strict=True))})
        at = self._random.randrange(len(self._keys[made]))
        key = self._keys[made][at]
        if chance < 0.75:
            cells = self._cells(made)
            kept = self._random.sample(sorted(cells), self._random.randint(1, len(cells)))
            return Update(made, key, {name: cells[name] for name in kept})
        self._remove(made, at)
        if chance < 0.88:
            return Delete(made, key)
        moved = self._new_key(made)
        self._add(made, moved)
        cells = self._cells(made) if chance < 0.92 else {}
        return Update(made, key, {**cells, **dict(zip(made.key, moved, strict=True))})

    def _add(self, made: Schema, key: Row) -> None:
        self._keys[made].append(key)
        self._there[made].add(key)

    def _remove(self, made: Schema, at: int) -> None:
        keys = self._keys[made]
        keys[at], keys[-1] = keys[-1], keys[at]
        self._there[made].discard(keys.pop())

    def _new_key(self, made: Schema) -> Row:
        """A key that is free now; keys that were there before come again."""
        while True:
            if made is ORDERS:
                key: Row = (self._random.randint(-400, 400),)
            else:
                key = self._random.choice(("a", "B", "é", "", "x y")), self._random.randint(-99, 99)
            if key not in self._there[made]:
                return key

    def _cells(self, made: Schema) -> dict[str, Any]:
        choose = self._random.choice
        number = self._random.randint(-(2**31), 2**31 - 1)
        if made is ORDERS:
            return {
                "note": choose((None, "", f"note {number}", 'it\'s \\ "new"\n')),
                "amount": number,
                "scan": choose((None, "", "short", self._scan())),
                "paid": choose((None, True, False)),
            }
        return {
            "price": choose((None, 0.0, number / 7)),
            "raw": choose((None, b"", self._random.randbytes(20))),
        }

    def _scan(self) -> str:
        return self._random.randbytes(BIG // 4).hex()
