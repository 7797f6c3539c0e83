"""A process that keeps writing to the shop until its stdin is closed, then tells what it wrote as JSON.

python -m syncline.cli.demo.writer SHOP.db SEED
"""

from __future__ import annotations

import json
import random
import select
import sqlite3
import sys
from collections import Counter
from contextlib import closing

from .shop import BUSY_SECONDS, CUSTOMERS, PRODUCTS, STATES, insert_order, sku

PAUSE_SECONDS = 0.004


class Writer:
    """Writes one small transaction after another."""

    def __init__(self, shop: sqlite3.Connection, rng: random.Random) -> None:
        self._shop, self._rng = shop, rng
        self.counts: Counter[str] = Counter()

    def write(self) -> None:
        """One transaction of a random kind."""
        kinds = (self._sell, self._advance, self._cancel, self._renumber, self._swap, self._restock)
        self._shop.execute("BEGIN IMMEDIATE")
        with self._shop:
            self._rng.choice(kinds)()
        self.counts["transactions"] += 1

    def _sell(self) -> None:
        self.counts["inserted"] += insert_order(self._shop, self._rng, None, self._customer())

    def _advance(self) -> None:
        change = "UPDATE orders SET state = ?, note = 'changed' WHERE id = ?"
        self._count("updated", change, (self._rng.choice(STATES), self._order()))

    def _cancel(self) -> None:
        order = self._order()
        self._count("deleted", "DELETE FROM order_lines WHERE order_id = ?", (order,))
        self._count("deleted", "DELETE FROM orders WHERE id = ?", (order,))

    def _renumber(self) -> None:
        """Change the key of an order's first line, and let another take its place."""
        order = self._order()
        last = "(SELECT max(line) FROM order_lines WHERE order_id = ?)"
        change = f"UPDATE order_lines SET line = 1 + {last} WHERE order_id = ? AND line = 1"
        self._count("keys changed", change, (order, order))
        back = "UPDATE order_lines SET line = 1 WHERE order_id = ? AND line = 2"
        self._count("keys changed", back, (order,))

    def _swap(self) -> None:
        """Swap the e-mail addresses of two customers, which are unique."""
        one, two = self._rng.sample(range(1, CUSTOMERS + 1), 2)
        addresses = dict(
            self._shop.execute("SELECT id, email FROM customers WHERE id IN (?, ?)", (one, two)).fetchall()
        )
        change = "UPDATE customers SET email = ? WHERE id = ?"
        for customer, address in ((one, "moving"), (two, addresses[one]), (one, addresses[two])):
            self._count("updated", change, (address, customer))

    def _restock(self) -> None:
        change = "UPDATE products SET stock = stock + ?, picture = NULL WHERE sku = ?"
        self._count("updated", change, (self._rng.randint(1, 50), sku(self._rng.randrange(PRODUCTS))))

    def _count(self, what: str, statement: str, values: tuple[object, ...]) -> None:
        self.counts[what] += self._shop.execute(statement, values).rowcount

    def _customer(self) -> int:
        return self._rng.randint(1, CUSTOMERS)

    def _order(self) -> int:
        (last,) = self._shop.execute("SELECT max(id) FROM orders").fetchone()
        wanted = self._rng.randint(1, last)
        (order,) = self._shop.execute("SELECT min(id) FROM orders WHERE id >= ?", (wanted,)).fetchone()
        return int(order)


def main(path: str, seed: int) -> None:
    """Write until stdin ends, so that no writer outlives the demo."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as shop:
        shop.execute("PRAGMA foreign_keys = ON")
        writer = Writer(shop, random.Random(seed))
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            writer.write()
    sys.stdout.write(json.dumps(writer.counts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
